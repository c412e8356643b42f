/** Firmware without internet, roll-outs, bulk operations under hand, and what an apply can write only in a second round: by an agent on simulated devices. */
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { makeId } from "@millrace/contracts/ids.ts";
import { type BulkState, bulk } from "@millrace/domain/devices/bulk.ts";
import { type RolloutState, rollout } from "@millrace/domain/devices/rollout.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import * as assert from "uvu/assert";
import { freePort, openSite, type Site } from "../../../tests/harness/devices.ts";
import { eventually } from "../../../tests/harness/eventually.ts";
import { deferToEndOfFile, suite } from "../../../tests/harness/suite.ts";
import type { DeviceHandle } from "../../../tests/simulators/shelly/face.ts";
import { firmwareImage } from "../../../tests/simulators/shelly/fleet.ts";

const test = suite("operations on devices", { timeoutMs: 120_000 });

let site: Site;
let [one, two, old, pair, locked]: DeviceHandle[] = [];
const asked: Record<string, number> = {};
const NEW = { app: "S1G3", version: "1.99.0", buildId: "20270101-000000/1.99.0-gabc1234" };
const NEW_GEN1 = "20270101-000000/v1.99.0-gabc1234";

/** The maker: its indexes, and its images. */
async function startMaker(): Promise<string> {
  const server = createServer((request, response) => {
    const url = request.url ?? "";
    asked[url] = (asked[url] ?? 0) + 1;
    const { port } = server.address() as AddressInfo;
    const of = (name: string) => `http://127.0.0.1:${port}${name}`;
    const known: Record<string, string | Buffer> = {
      [`/update/${NEW.app}`]: JSON.stringify({
        name: NEW.app,
        stable: { version: NEW.version, build_id: NEW.buildId, url: of("/new.zip") },
      }),
      "/gen1": JSON.stringify({ isok: true, data: { "SHSW-25": { version: NEW_GEN1, url: of("/gen1.zip") } } }),
      "/new.zip": firmwareImage(NEW),
      "/gen1.zip": firmwareImage({ app: "SHSW-25", version: NEW_GEN1, buildId: "" }),
    };
    const answer = known[url];
    response.writeHead(answer === undefined ? 404 : 200).end(answer);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  deferToEndOfFile(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test.before(async () => {
  const maker = await startMaker();
  site = await openSite(
    {
      devices: [
        { model: "S3SW-001X16EU" },
        { model: "S3SW-001X16EU" },
        { model: "SHSW-25" },
        { model: "S3SW-002P16EU" },
        { model: "S3SW-001X16EU" },
      ],
    },
    {
      MILLRACE_FIRMWARE_LISTEN: `127.0.0.1:${await freePort()}`,
      MILLRACE_FIRMWARE_INDEX: `${maker}/update`,
      MILLRACE_FIRMWARE_INDEX_GEN1: `${maker}/gen1`,
    },
  );
  [one, two, old, pair, locked] = [...site.fleet.devices];
  for (const handle of site.fleet.devices) await site.add(handle);
  await site.agent();
  for (const handle of site.fleet.devices) {
    const known = async () => ((await site.device(site.idOf(handle))).observed === null ? undefined : true);
    await eventually(known, "every device is read");
  }
});

const stateOf = async <S>(kind: Kind<S, any>, id: string): Promise<S> =>
  (await site.log.aggregates.load(kind, id)).state;
const until = <S>(kind: Kind<S, any>, id: string, what: string, holds: (state: S) => boolean): Promise<S> =>
  eventually(
    async () => {
      const state = await stateOf(kind, id);
      return holds(state) ? state : undefined;
    },
    what,
    60_000,
  ).catch(async (error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(await stateOf(kind, id)).slice(0, 1_500)}`);
  });
const untilBulk = (id: string, what: string, holds: (state: BulkState) => boolean) => until(bulk, id, what, holds);
const untilRollout = (id: string, what: string, holds: (state: RolloutState) => boolean) =>
  until(rollout, id, what, holds);

async function startBulk(handles: ReadonlyArray<DeviceHandle>, more: object = {}): Promise<string> {
  const id = makeId("blk", Date.now(), randomBytes(10));
  const usual = { asked: { kind: "reboot" }, atOnce: 1, haltAtPercent: 100, expiresInMs: 600_000, ...more };
  const devices = handles.map((handle) => site.idOf(handle));
  await site.execute([{ kind: bulk, id, command: { do: "request", devices, ...usual } as never }]);
  return id;
}

test("firmware from here: fetched once from the maker, offered and served to devices that have no internet", async () => {
  const offered = async () => (await site.device(site.idOf(one!))).offered ?? undefined;
  assert.is((await eventually(offered, "what the index has is told")).version, NEW.version);
  const updated = await Promise.all([one, old].map((handle) => site.done(site.idOf(handle!), { kind: "firmware" })));
  for (const state of updated) assert.is(state.state, "succeeded", JSON.stringify(state.failure));
  assert.is((await site.device(site.idOf(one!))).firmware?.version, NEW.version);
  assert.is((await site.device(site.idOf(old!))).firmware?.build, NEW_GEN1);
  assert.is((await site.device(site.idOf(one!))).offered, null);
  const begun = updated[0]!.steps.trigger?.output?.result ?? "";
  assert.match(begun, /^http:\/\/127\.0\.0\.1:\d+\/firmware\/[0-9a-f]{64}\.zip$/);
  assert.is((await fetch(begun.replace(/[0-9a-f]{64}/, "0".repeat(64)))).status, 404);
  assert.equal([asked["/new.zip"], asked["/gen1.zip"]], [1, 1]);
});

test("a roll-out goes on stage by stage, halts where too many fail, and goes on when it is told to", async () => {
  const id = makeId("rlo", Date.now(), randomBytes(10));
  const devices = [two, locked, pair].map((handle) => site.idOf(handle!));
  const spec = { name: "autumn", firmware: {}, soakMs: 0, haltAtPercent: 0, atOnce: 1, expiresInMs: 600_000 };
  // For the model of the last there is nothing, which is no failure.
  locked!.fault({ kind: "error", match: "Shelly.Update" });
  await site.execute([{ kind: rollout, id, command: { do: "start", ...spec, devices, stages: [1, 1, 1] } as never }]);
  const halted = await untilRollout(id, "it halts", ({ state }) => state === "halted");
  assert.equal([halted.counts.succeeded, halted.counts.failed], [1, 1]);
  assert.is((await site.device(site.idOf(two!))).firmware?.version, NEW.version);
  assert.is(asked["/new.zip"], 1);
  locked!.heal();
  await site.execute([{ kind: rollout, id, command: { do: "resume" } }]);
  const ended = await untilRollout(id, "it ends", ({ state }) => state === "completed");
  assert.equal([ended.counts.succeeded, ended.counts.failed], [2, 1]);
});

test("a bulk operation that is paused asks nobody, goes on, and is cancelled after what is under way", async () => {
  const boots = () => [one, two, pair].map((handle) => handle!.stats.boots);
  const before = boots();
  const id = await startBulk([one!, two!, pair!]);
  await untilBulk(id, "the first is asked", ({ cursor }) => cursor >= 1);
  await site.execute([{ kind: bulk, id, command: { do: "pause" } }]);
  const paused = await untilBulk(id, "nothing is under way", ({ running }) => Object.keys(running).length === 0);
  assert.is(paused.state, "paused");
  const { cursor } = paused;
  await site.execute([{ kind: bulk, id, command: { do: "resume" } }]);
  await untilBulk(id, "another is asked", (state) => state.cursor > cursor || state.state === "completed");
  await site.execute([{ kind: bulk, id, command: { do: "cancel" } }]).catch(() => {});
  const ended = await untilBulk(id, "it ends", ({ state }) => state === "cancelled" || state === "completed");
  const rebooted = boots().filter((count, i) => count > before[i]!).length;
  assert.is(ended.counts.succeeded, rebooted);
  assert.is(ended.cursor, rebooted);
});

test("a script with its code, and another profile with what only that has: written in a second round", async () => {
  const id = site.idOf(pair!);
  const code = `${"// filling\n".repeat(300)}print("hall");\n`;
  await site.want(id, { scripts: [{ name: "hall", enable: false, code }] });
  const scripted = await site.done(id, { kind: "apply", dryRun: false });
  assert.is(scripted.state, "succeeded", JSON.stringify(scripted.failure));
  assert.is((pair!.stored() as any).scripts[0].code, code);
  const first = (await site.device(id)).identity?.profile;
  assert.is(first, "switch");
  await site.want(id, { sys: { device: { profile: "cover" } }, "cover:0": { name: "Blind" } });
  const switched = await site.done(id, { kind: "apply", dryRun: false });
  assert.is(switched.state, "succeeded", JSON.stringify(switched.failure));
  assert.is((await site.device(id)).identity?.profile, "cover");
  assert.is((pair!.config("cover:0") as any).name, "Blind");
});

test("a login by an apply: set from a secret, known to the agent from then on, and taken off again", async () => {
  const id = site.idOf(locked!);
  const password = await site.secret("login", "correct horse");
  await site.want(id, { auth: { enable: true, password: { $secret: password } } });
  const set = await site.done(id, { kind: "apply", dryRun: false });
  assert.is(set.state, "succeeded", JSON.stringify(set.failure));
  assert.is((await site.done(id, { kind: "read" })).state, "succeeded");
  assert.is((await site.device(id)).credentials?.scheme, "digest");
  assert.is(locked!.stats.failedLogins, 0);
  await site.want(id, { auth: { enable: false } });
  const off = await site.done(id, { kind: "apply", dryRun: false });
  assert.is(off.state, "succeeded", JSON.stringify(off.failure));
  assert.is((await site.done(id, { kind: "read" })).state, "succeeded");
});

test.run();
