/**
 * The agent dies at each fault point of what it does, and another goes on: every task ends once, as it should, nothing is made twice, and
 * nothing of a trial is left on a device.
 */
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Asked } from "@millrace/contracts/devices/task-parts.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { bulk, isBulkOver } from "@millrace/domain/devices/bulk.ts";
import { device } from "@millrace/domain/devices/device.ts";
import { profile } from "@millrace/domain/devices/profile.ts";
import { rollout } from "@millrace/domain/devices/rollout.ts";
import { scan } from "@millrace/domain/devices/scan.ts";
import { task } from "@millrace/domain/devices/task.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import * as assert from "uvu/assert";
import { freePort, openSite, type Site } from "../harness/devices.ts";
import { eventually } from "../harness/eventually.ts";
import { deferToEndOfFile, suite } from "../harness/suite.ts";
import type { DeviceHandle } from "../simulators/shelly/face.ts";
import { firmwareImage } from "../simulators/shelly/fleet.ts";

const test = suite("deaths of the agent, all of them", { timeoutMs: 45 * 60_000 });

const stable = { version: "1.99.0", buildId: "20270101-000000/1.99.0-gabc1234" };
const ENDS = new Set(["TaskSucceeded", "TaskFailed", "TaskCancelled", "TaskExpired"]);
const PATIENCE_MS = 120_000;

let site: Site;
let main: DeviceHandle;
let others: readonly DeviceHandle[];
let nth = 0;

const newId = (prefix: string): string => makeId(prefix, Date.now(), randomBytes(10));

async function endedOnce(id: string, state: string): Promise<void> {
  const over = await site.over(id, PATIENCE_MS);
  assert.is(over.state, state, JSON.stringify(over.failure));
  const ends = (await site.events(task, id)).filter(({ type }) => ENDS.has(type));
  assert.is(ends.length, 1, `${id} ended ${ends.length} times`);
}

/** A task that succeeds. @param handle which device */
const doing =
  (asked: () => Asked, check: () => void = () => {}, handle: () => DeviceHandle = () => main) =>
  async () => {
    const id = await site.ask(site.idOf(handle()), asked());
    return async () => {
      await endedOnce(id, "succeeded");
      check();
    };
  };

/** An aggregate that comes to its end by itself. */
async function untilOver<S>(kind: Kind<S, any>, id: string, isOver: (state: S) => boolean): Promise<S> {
  let last: S | undefined;
  const look = async () => {
    last = (await site.log.aggregates.load(kind, id)).state;
    return isOver(last) ? last : undefined;
  };
  return eventually(look, `the end of ${id}`, PATIENCE_MS).catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(last).slice(0, 2_000)}`);
  });
}

async function applying(configuration: Record<string, unknown>, state = "succeeded") {
  const id = site.idOf(main);
  await site.want(id, configuration);
  const asked = await site.ask(id, { kind: "apply", dryRun: false });
  return () => endedOnce(asked, state);
}

const JOB = { enable: true, timespec: "0 0 7 * * *", calls: [{ method: "Switch.Set", params: { id: 0, on: true } }] };
const points = (step: string, ...when: string[]): string[] => when.map((one) => `task.${step}.${one}`);
const ALL = ["before", "during", "after", "recorded"];
const MOST = ["before", "after", "recorded"];

interface Row {
  readonly what: string;
  readonly at: ReadonlyArray<string>;
  /** Of the agents. */
  readonly env?: () => Readonly<Record<string, string>>;
  /** Asks for it. @returns waits for its end, and looks whether it is as it should be */
  readonly begin: () => Promise<() => Promise<void>>;
}

const ROWS: ReadonlyArray<Row> = [
  {
    what: "an update by an image that the agent keeps",
    at: ["image.before", "image.during", "image.after"],
    env: () => maker.env,
    begin: async () => {
      const version = `1.99.${nth}`;
      maker.release(version);
      const handle = others[3]!;
      const before = handle.stats.calls["Shelly.Update"] ?? 0;
      const wait = await doing(
        () => ({ kind: "firmware" }),
        () => assert.is(handle.stats.calls["Shelly.Update"], before + 1),
        () => handle,
      )();
      return async () => {
        await wait();
        assert.is((await site.device(site.idOf(handle))).firmware?.version, version);
        const fetched = maker.fetched(version);
        assert.ok(fetched === 1 || fetched === 2, `the maker was asked ${fetched} times`);
        const kept = readdirSync(join(site.folder, "device-agent"), { recursive: true }) as string[];
        assert.ok(kept.some((name) => /[0-9a-f]{64}$/.test(name)));
      };
    },
  },
  {
    what: "a wish for many",
    at: ["bulk.configure.before", "bulk.configure.recorded"],
    begin: async () => {
      const id = newId("blk");
      const devices = others.slice(-3).map((handle) => site.idOf(handle));
      const before = await Promise.all(devices.map(async (one) => (await site.device(one)).generation));
      const asked = { kind: "configure", dryRun: false, addTags: [`wish-${nth}`] };
      const spec = { asked, devices, atOnce: 1, haltAtPercent: 100, expiresInMs: 600_000 };
      await site.execute([{ kind: bulk, id, command: { do: "request", ...spec } as never }]);
      return async () => {
        const state = await untilOver(bulk, id, isBulkOver);
        assert.equal([state.counts.succeeded, state.results], [3, "sss"]);
        for (const [i, one] of devices.entries()) {
          const { tags, generation } = await site.device(one);
          assert.ok(tags.includes(`wish-${nth}`));
          assert.is(generation, before[i]! + 1, "it is wished once");
        }
      };
    },
  },
  {
    what: "a roll-out",
    at: ["bulk.select.before", "bulk.select.recorded", "rollout.stage.before", "rollout.stage.recorded"],
    begin: async () => {
      const id = newId("rlo");
      for (const handle of others.slice(-2)) {
        const { tags } = await site.device(site.idOf(handle));
        const spec = { tags: [...tags.filter((tag) => !/^roll-/.test(tag)), `roll-${nth}`] };
        await site.execute([{ kind: device, id: site.idOf(handle), command: { do: "change", spec } }]);
      }
      const select = { where: { tag: `roll-${nth}` } };
      const spec = { firmware: {}, soakMs: 0, haltAtPercent: 100, atOnce: 1, expiresInMs: 600_000, stages: [] };
      const command = { do: "start", name: `r${nth}`, devices: [], select, stagesAsked: [{ devices: 1 }], ...spec };
      await site.execute([{ kind: rollout, id, command: command as never }]);
      return async () => {
        const state = await untilOver(rollout, id, (now) => now.state === "completed");
        assert.is(state.counts.succeeded, 2);
      };
    },
  },
  {
    what: "an apply that makes a schedule",
    at: [
      "task.begin.before",
      "task.begin.recorded",
      ...points("read", ...MOST),
      ...points("plan", ...MOST),
      ...points("write", ...ALL),
      ...points("verify", ...MOST),
      "task.finish.before",
      "task.finish.recorded",
    ],
    begin: async () => {
      const name = `n${nth}`;
      const wait = await applying({ schedules: nth % 2 === 0 ? [JOB] : [], sys: { device: { name } } });
      return async () => {
        await wait();
        assert.is((main.config("sys") as any).device.name, name);
        assert.is(((main.stored() as any).schedules ?? []).length, nth % 2 === 0 ? 1 : 0);
      };
    },
  },
  {
    what: "an apply to another network",
    at: [...points("guard", ...MOST), ...points("confirm", ...MOST)],
    begin: async () => {
      const ssid = (main.status("wifi") as any).ssid === "other" ? "home" : "other";
      const pass = await site.secret(`net-${nth}`, NETWORKS[ssid]!);
      const wait = await applying({ wifi: { sta: { ssid, pass: { $secret: pass }, enable: true } } });
      return async () => {
        await wait();
        assert.is((main.status("wifi") as any).ssid, ssid);
        assert.equal(
          ((main.stored() as any).schedules ?? []).filter((one: any) => /wifi/i.test(JSON.stringify(one))),
          [],
        );
      };
    },
  },
  {
    what: "an apply that fails, and is taken back",
    at: [...points("undo.plan", ...MOST), ...points("undo.write", ...MOST), ...points("undo.verify", ...MOST)],
    begin: async () => {
      const before = (main.config("switch:0") as any).name;
      main.fault({ kind: "error", match: "Sys.SetConfig" });
      const wait = await applying({ "switch:0": { name: `t${nth}` }, sys: { device: { name: `t${nth}` } } }, "failed");
      return async () => {
        await wait();
        main.heal();
        assert.is((main.config("switch:0") as any).name, before);
      };
    },
  },
  {
    what: "a reboot",
    at: [...points("check", ...MOST), ...points("trigger", ...MOST), ...points("await", ...MOST)],
    begin: doing(() => ({ kind: "reboot" })),
  },
  {
    what: "an action",
    at: [...points("prepare", ...MOST), ...points("act", ...MOST)],
    begin: async () => {
      const on = (main.status("switch:0") as any).output as boolean;
      const wait = await doing(() => ({ kind: "action", component: "switch:0", action: "toggle" }))();
      return async () => {
        await wait();
        assert.is((main.status("switch:0") as any).output, !on);
      };
    },
  },
  {
    what: "an update of firmware",
    at: [
      ...points("check", ...MOST),
      ...points("trigger", ...MOST),
      ...points("await", ...MOST),
      ...points("verify", ...MOST),
    ],
    begin: async () => {
      const handle = others[firmwareNext++]!;
      return doing(
        () => ({ kind: "firmware" }),
        () => assert.is(handle.stats.calls["Shelly.Update"], 1),
        () => handle,
      )();
    },
  },
  {
    what: "another password",
    at: [...points("check", ...MOST), ...points("set", ...MOST), ...points("confirm", ...MOST)],
    begin: async () => {
      const handle = others[0]!;
      const id = site.idOf(handle);
      const credentials = await site.credentials(id, handle, `password-${nth}`);
      const asked = await site.ask(id, { kind: "authentication", scheme: credentials.scheme }, { credentials });
      return async () => {
        await endedOnce(asked, "succeeded");
        assert.is((await site.done(id, { kind: "read" })).state, "succeeded");
        assert.ok(handle.stats.failedLogins < 10, `${handle.stats.failedLogins} failed logins`);
      };
    },
  },
  {
    what: "a bulk operation on what a selection finds",
    at: [
      "bulk.select.before",
      "bulk.select.recorded",
      "bulk.ask.before",
      "bulk.ask.recorded",
      "bulk.complete.before",
      "bulk.complete.recorded",
    ],
    begin: async () => {
      const id = newId("blk");
      const spec = { asked: { kind: "read" }, devices: [], atOnce: 2, haltAtPercent: 100, expiresInMs: 600_000 };
      const select = { where: { model: main.model } };
      await site.execute([{ kind: bulk, id, command: { do: "request", ...spec, select } as never }]);
      return async () => {
        const state = await untilOver(bulk, id, isBulkOver);
        assert.is(state.counts.succeeded, state.spec!.devices.length);
        const asked = (await site.events(bulk, id)).filter(({ type }) => type === "BulkTaskAsked");
        assert.is(asked.length, state.spec!.devices.length);
      };
    },
  },
  {
    what: "a scan that takes in what it finds",
    at: [
      "scan.before",
      "scan.found.recorded",
      "scan.adopt.before",
      "scan.adopt.after",
      "scan.complete.before",
      "scan.complete.recorded",
    ],
    begin: async () => {
      const id = newId("scn");
      // One that nobody has taken in yet.
      const fresh = strangers[scanNext++]!;
      const ranges = [`${fresh.address}:${site.fleet.port}`];
      const spec = { site: "home", mdns: false, ranges, adopt: true, tags: [] };
      await site.execute([{ kind: scan, id, command: { do: "request", spec } }]);
      return async () => {
        const state = await untilOver(scan, id, ({ state: now }) => now === "completed" || now === "failed");
        assert.equal([state.state, Object.keys(state.findings)], ["completed", [fresh.mac]]);
        const found = (await site.events(scan, id)).filter(({ type }) => type === "DevicesFound");
        assert.is(found.length, 1, "what is found again is not told again");
      };
    },
  },
  {
    what: "a profile that changes",
    at: ["profile.resolve.after", "profile.reached.before", "profile.reached.recorded"],
    begin: async () => {
      const id = await profileOf();
      const configuration = { sys: { device: { name: `p${nth}` } } };
      await site.execute([{ kind: profile, id, command: { do: "change", spec: { configuration } } }]);
      return async () => {
        await untilOver(profile, id, (state) => state.reachedGeneration === state.generation);
        const { desired, resolvedOf } = await site.device(site.idOf(others[1]!));
        assert.equal(desired, configuration);
        assert.is(resolvedOf[0]!.id, id);
      };
    },
  },
  {
    what: "what is found is told",
    at: ["device.report.before", "device.report.after"],
    begin: async () => {
      const name = `seen-${nth}`;
      others[2]!.change("switch:0", { name });
      return async () => {
        await eventually(
          async () => {
            const { observed } = await site.device(site.idOf(others[2]!));
            return (observed as any)?.["switch:0"]?.name === name ? true : undefined;
          },
          "the change is told",
          PATIENCE_MS,
        );
      };
    },
  },
];

const NETWORKS: Record<string, string> = { home: "first-password", other: "second-password" };
/** The maker: an index of one model, and its images. */
async function startMaker() {
  const app = "S1G3";
  let version = "";
  const asked: Record<string, number> = {};
  const server = createServer((request, response) => {
    const url = request.url ?? "";
    asked[url] = (asked[url] ?? 0) + 1;
    const buildId = `20270101-000000/${version}-gabc1234`;
    const image = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${version}.zip`;
    if (url === `/update/${app}`) {
      response.end(JSON.stringify({ name: app, stable: { version, build_id: buildId, url: image } }));
    } else if (url === `/${version}.zip`) response.end(firmwareImage({ app, version, buildId }));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  deferToEndOfFile(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  return {
    release: (next: string) => {
      version = next;
    },
    fetched: (of: string) => asked[`/${of}.zip`] ?? 0,
    env: {
      MILLRACE_FIRMWARE_LISTEN: `127.0.0.1:${await freePort()}`,
      MILLRACE_FIRMWARE_INDEX: `http://127.0.0.1:${(server.address() as AddressInfo).port}/update`,
    },
  };
}

let maker: Awaited<ReturnType<typeof startMaker>>;
const FIRMWARE = 12;
const SCANS = 6;
let firmwareNext = 4;
let scanNext = 0;
let strangers: readonly DeviceHandle[] = [];
let profileId: string | undefined;

async function profileOf(): Promise<string> {
  if (profileId !== undefined) return profileId;
  const id = newId("prf");
  const configuration = { sys: { device: { name: "p" } } };
  await site.execute([{ kind: profile, id, command: { do: "create", spec: { name: "names", configuration } } }]);
  const { generation } = (await site.log.aggregates.load(profile, id)).state;
  const resolved = { desired: configuration, profiles: [{ id, generation }] };
  const command = { do: "configure" as const, profiles: [id], resolved };
  await site.execute([{ kind: device, id: site.idOf(others[1]!), command }]);
  profileId = id;
  return id;
}

test.before(async () => {
  maker = await startMaker();
  const count = 1 + 4 + FIRMWARE + 2 + SCANS;
  const model = "S3SW-001X16EU";
  site = await openSite({
    networks: NETWORKS,
    devices: Array.from({ length: count }, (_, i) => ({ model, ...(i > 4 ? { updates: { stable } } : {}) })),
  });
  const [first, ...rest] = site.fleet.devices;
  main = first!;
  others = rest.slice(0, -SCANS);
  strangers = rest.slice(-SCANS);
  for (const handle of [main, ...others]) await site.add(handle);
  const agent = await site.start();
  for (const handle of [main, ...others]) {
    const known = async () => ((await site.device(site.idOf(handle))).observed === null ? undefined : true);
    await eventually(known, "every device is read", PATIENCE_MS);
  }
  await agent.kill();
});

const ONLY = process.env.SOAK_DEATHS_OF;

for (const { what, at, begin, env } of ROWS) {
  for (const point of at) {
    if (ONLY !== undefined && !`${what} ${point}`.includes(ONLY)) continue;
    test(`${what}: ${point}`, async () => {
      nth += 1;
      const end = await begin();
      await site.died(await site.start(point, env?.()), PATIENCE_MS);
      const agent = await site.start(undefined, env?.());
      try {
        await end();
      } finally {
        await agent.kill();
        main.heal();
      }
    });
  }
}

test.run();
