/** Sealing on a real server: who can read what, rotation, erasure, and what lies on the disk. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { startOwnNats, testFolder } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { connectNats, type Nats } from "./connection.ts";
import { type OnUnseal, PLAINTEXT_MOST, parseMasterKeys, type SealedValue, Sealing } from "./sealing.ts";
import { registry } from "./telemetry.ts";

const test = suite("sealing");

const organisation = "org_01kajzq4v0e8r9t2m5x7c3d6fg";
const masterA = randomBytes(32).toString("base64");
const masterB = randomBytes(32).toString("base64");
const store = testFolder("sealing");

interface Server {
  readonly url: string;
  readonly user: string;
  readonly password: string;
}
let server: Server;
let subjects = 0;
const fresh = () => ({ organisation, subject: `sec_${++subjects}` });
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("utf8");
const open: (() => unknown)[] = [];

test.before(async () => {
  server = await startOwnNats({ dataDir: store });
});
test.after(async () => {
  for (const close of open.splice(0)) await close();
});

async function connect(): Promise<Nats> {
  const nats = await connectNats({ url: server.url, user: server.user, password: server.password, name: "sealing" });
  open.push(() => nats.close());
  return nats;
}

/** As another process would: its own connection, its own cache. */
async function openSealing(masters = masterA, onUnseal?: OnUnseal): Promise<Sealing> {
  const nats = await connect();
  const sealing = await Sealing.open({ nats, masterKeys: parseMasterKeys(masters), ...(onUnseal && { onUnseal }) });
  open.push(() => sealing.close());
  return sealing;
}

const failure = async (work: Promise<unknown>): Promise<any> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

/** Polls until it holds; ten seconds. */
async function until(holds: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ten seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Files of the server's store that hold these bytes; it writes beside and renames, so one may be gone. */
function filesWith(needle: Buffer | string): string[] {
  return readdirSync(store, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => {
      try {
        return readFileSync(file).includes(needle);
      } catch (error) {
        if ((error as { code?: string }).code === "ENOENT") return false;
        throw error;
      }
    });
}

/** How many revisions of a subject's record the bucket's stream holds. */
async function revisions(subject: string): Promise<number> {
  const nats = await connect();
  const filter = `$KV.KEYS.data.${organisation}.${subject}`;
  const info = await nats.jsm.streams.info("KV_KEYS", { subjects_filter: filter });
  return info.state.subjects?.[filter] ?? 0;
}

/** The wrapped keys of a subject as they stand in the bucket now, without using the code under test. */
async function wrappedKeys(subject: string): Promise<Array<{ master: string; data: string }>> {
  const nats = await connect();
  const message = await nats.jsm.streams.getMessage("KV_KEYS", {
    last_by_subj: `$KV.KEYS.data.${organisation}.${subject}`,
  });
  return Object.values(message!.json<{ keys: Record<string, { master: string; data: string }> }>().keys);
}

test("what is sealed is unsealed, by this process and by another", async () => {
  const sealing = await openSealing();
  const place = fresh();
  const sealed = await sealing.seal(place, "hunter2 ✓");
  assert.equal(Object.keys(sealed).sort(), ["data", "iv", "key", "subject", "v"]);
  assert.is(text(await sealing.unseal(sealed, { organisation, purpose: "test" })), "hunter2 ✓");
  const other = await openSealing();
  assert.is(
    text(await other.unseal(JSON.parse(JSON.stringify(sealed)), { organisation, purpose: "test" })),
    "hunter2 ✓",
  );
  const bytes = randomBytes(PLAINTEXT_MOST);
  assert.equal(
    new Uint8Array(await other.unseal(await sealing.seal(place, bytes), { organisation, purpose: "test" })),
    new Uint8Array(bytes),
  );
  const again = await sealing.seal(place, "hunter2 ✓");
  assert.is.not(again.data, sealed.data, "the same value looks different each time");
});

test("two processes that make the first key at the same moment use one", async () => {
  const all = await Promise.all([openSealing(), openSealing(), openSealing()]);
  for (let round = 0; round < 10; round++) {
    const place = fresh();
    const sealed = await Promise.all(all.map((sealing, i) => sealing.seal(place, `value ${i}`)));
    assert.is(new Set(sealed.map(({ key }) => key)).size, 1);
    for (const [i, one] of sealed.entries()) {
      assert.is(text(await all[(i + 1) % 3]!.unseal(one, { organisation, purpose: "test" })), `value ${i}`);
    }
  }
});

test("a changed value is refused", async () => {
  const sealing = await openSealing();
  const sealed = await sealing.seal(fresh(), "the value");
  const flip = (textual: string, at: number) =>
    `${textual.slice(0, at)}${textual[at] === "A" ? "B" : "A"}${textual.slice(at + 1)}`;
  const changed: SealedValue[] = [
    { ...sealed, iv: flip(sealed.iv, 3) },
    { ...sealed, data: flip(sealed.data, 0) },
    { ...sealed, data: flip(sealed.data, sealed.data.length - 6) },
    { ...sealed, data: sealed.data.slice(0, -4) },
    { ...sealed, data: "" },
    { ...sealed, iv: "" },
    { ...sealed, v: 2 as 1 },
    { ...sealed, subject: "../*" },
  ];
  for (const one of changed)
    assert.is(
      (await failure(sealing.unseal(one, { organisation, purpose: "test" })))?._tag,
      "SealBroken",
      JSON.stringify(one),
    );
  assert.is(text(await sealing.unseal(sealed, { organisation, purpose: "test" })), "the value");
});

test("a value of another organisation or subject is refused, even when both have the same data key", async () => {
  const sealing = await openSealing();
  const mine = fresh();
  const sealed = await sealing.seal(mine, "mine");
  const foreign = { organisation: "org_other", subject: mine.subject };
  assert.is(
    (await failure(sealing.unseal(sealed, { organisation: "org_other", purpose: "test" })))._tag,
    "DataKeyMissing",
  );
  const theirs = await sealing.seal(foreign, "theirs");
  assert.is(
    (await failure(sealing.unseal({ ...sealed, key: theirs.key }, { organisation: "org_other", purpose: "test" })))
      ._tag,
    "SealBroken",
  );
  const second = fresh();
  const secondSealed = await sealing.seal(second, "second");
  assert.is(
    (
      await failure(
        sealing.unseal(
          { ...sealed, subject: second.subject, key: secondSealed.key },
          { organisation, purpose: "test" },
        ),
      )
    )._tag,
    "SealBroken",
  );
  // Whoever can write to the bucket copies a record: the wrapping is bound to its place, too.
  const nats = await connect();
  const third = fresh();
  const record = await nats.jsm.streams.getMessage("KV_KEYS", {
    last_by_subj: `$KV.KEYS.data.${organisation}.${mine.subject}`,
  });
  await nats.js.publish(`$KV.KEYS.data.${organisation}.${third.subject}`, record!.data);
  assert.is(
    (await failure(sealing.unseal({ ...sealed, subject: third.subject }, { organisation, purpose: "test" })))._tag,
    "SealBroken",
  );
});

test("too much, or a subject that is no token, is refused before anything is written", async () => {
  const sealing = await openSealing();
  assert.instance(await failure(sealing.seal(fresh(), randomBytes(PLAINTEXT_MOST + 1))), RangeError);
  for (const subject of ["", "a.b", "*", ">", "a b", "x".repeat(129), "ä"]) {
    assert.instance(await failure(sealing.seal({ organisation, subject }, "x")), TypeError, subject);
    assert.instance(await failure(sealing.erase({ organisation, subject })), TypeError, subject);
  }
});

test("every unsealing is told before the plaintext is out, and whoever cannot write it down withholds it", async () => {
  const told: unknown[] = [];
  let broken = false;
  const sealing = await openSealing(masterA, async (unsealing) => {
    if (broken) throw new Error("the log is away");
    told.push(unsealing);
  });
  const place = fresh();
  const sealed = await sealing.seal(place, "signing key");
  await sealing.unseal(sealed, { organisation, purpose: "sign a release" });
  assert.equal(told, [{ ...place, purpose: "sign a release", key: sealed.key }]);
  broken = true;
  assert.is(
    (await failure(sealing.unseal(sealed, { organisation, purpose: "sign a release" }))).message,
    "the log is away",
  );
});

test("a new data key is for new values; old ones stay readable, here and elsewhere", async () => {
  const [sealing, other] = await Promise.all([openSealing(), openSealing()]);
  const place = fresh();
  const old = await sealing.seal(place, "old");
  await other.unseal(old, { organisation, purpose: "test" });
  const id = await sealing.rotateDataKey(place);
  const young = await sealing.seal(place, "young");
  assert.is(young.key, id);
  assert.is.not(old.key, id);
  for (const one of [sealing, other]) {
    assert.is(text(await one.unseal(old, { organisation, purpose: "test" })), "old");
    assert.is(text(await one.unseal(young, { organisation, purpose: "test" })), "young");
  }
  await Promise.all([sealing.rotateDataKey(place), other.rotateDataKey(place)]);
  assert.is((await wrappedKeys(place.subject)).length, 4, "of two rotations at once none is lost");
});

test("a new master key wraps all again; what the old one had wrapped is off the disk", async () => {
  const before = await openSealing(masterA);
  const places = [fresh(), fresh(), fresh()];
  const values = await Promise.all(places.map((place, i) => before.seal(place, `value ${i}`)));
  const olds = (await Promise.all(places.map(({ subject }) => wrappedKeys(subject)))).flat();
  for (const { data } of olds) assert.ok(filesWith(data).length > 0, "the test can see wrapped keys on the disk");

  const during = await openSealing(`${masterB}\n${masterA}`);
  const rotation = await during.rotateMasterKey();
  assert.ok(rotation.rewrapped >= 3);
  // The record that the test above copied to a foreign place cannot be unwrapped there.
  assert.ok(rotation.failed.every(({ _tag }) => _tag === "SealBroken"));
  assert.is((await during.rotateMasterKey()).rewrapped, 0, "a second time there is nothing to do");
  for (const { data } of olds) assert.equal(filesWith(data), []);

  const after = await openSealing(masterB);
  for (const [i, value] of values.entries())
    assert.is(text(await after.unseal(value, { organisation, purpose: "test" })), `value ${i}`);
  const late = await openSealing(masterA);
  const error = await failure(late.unseal(values[0]!, { organisation, purpose: "test" }));
  assert.is(error._tag, "MasterKeyUnknown");
  assert.match(error.message, /Add that key as a further line to MILLRACE_MASTER_KEY_FILE/);
  assert.not.match(error.message, new RegExp(masterB.slice(0, 12).replaceAll(/[+/]/g, ".")));
});

test("erased is erased: for every process at once, for ever, and on the disk", async () => {
  const [sealing, other] = await Promise.all([openSealing(masterB), openSealing(masterB)]);
  const place = fresh();
  const first = await sealing.seal(place, "first");
  await sealing.rotateDataKey(place);
  const second = await sealing.seal(place, "second");
  const wrapped = await wrappedKeys(place.subject);
  assert.is(wrapped.length, 2);
  assert.is(await revisions(place.subject), 1, "a superseded revision goes at once");
  assert.is(text(await other.unseal(first, { organisation, purpose: "test" })), "first");

  await sealing.erase(place);
  for (const value of [first, second])
    assert.is((await failure(sealing.unseal(value, { organisation, purpose: "test" })))._tag, "Erased");
  await until(
    async () => (await failure(other.unseal(first, { organisation, purpose: "test" })))?._tag === "Erased",
    "the other replica forgets",
  );
  assert.is((await failure(sealing.seal(place, "third")))._tag, "Erased");
  assert.is((await failure(sealing.rotateDataKey(place)))._tag, "Erased");
  await sealing.erase(place);
  const later = await openSealing(masterB);
  assert.is((await failure(later.unseal(first, { organisation, purpose: "test" })))._tag, "Erased");

  for (const { data } of wrapped) assert.equal(filesWith(data), [], "a wrapped key lies on the disk");
  assert.is(await revisions(place.subject), 0, "a revision is left in the stream");
});

test("a bucket that was lost is told from an erasure", async () => {
  const sealing = await openSealing(masterB);
  const sealed = await sealing.seal(fresh(), "x");
  const error = await failure(sealing.unseal({ ...sealed, subject: "sec_never" }, { organisation, purpose: "test" }));
  assert.is(error._tag, "DataKeyMissing");
  assert.match(error.message, /Restore the bucket/);
});

/** Runs an operation in a process of its own that dies at a place. @returns how it ended */
async function runUntilDeath(
  operation: string,
  dieAt: string,
  masters: string,
  subject: string,
): Promise<string | number> {
  const child: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, "fixtures/sealing-step.ts")], {
    env: {
      ...process.env,
      MILLRACE_DIE_AT: dieAt,
      STEP: JSON.stringify({ ...server, operation, organisation, subject, masters: masters.split("\n") }),
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
  return signal ?? code!;
}

test("cut off in the middle of a rotation, it goes on and nothing is lost or left", {
  timeoutMs: 120_000,
}, async () => {
  const newest = randomBytes(32).toString("base64");
  const sealing = await openSealing(masterB);
  const places = [fresh(), fresh(), fresh()];
  const values = await Promise.all(places.map((place, i) => sealing.seal(place, `value ${i}`)));
  const olds = (await Promise.all(places.map(({ subject }) => wrappedKeys(subject)))).flat();
  const masters = `${newest}\n${masterB}`;
  for (const place of [
    "sealing.rotate-master:1",
    "keys.write.after:1",
    "keys.overwrite:2",
    "keys.write.dropped:4",
    "sealing.rotate-master:2",
  ]) {
    assert.is(await runUntilDeath("rotateMasterKey", place, masters, "-"), "SIGKILL", place);
    const meanwhile = await openSealing(masters);
    for (const [i, value] of values.entries())
      assert.is(text(await meanwhile.unseal(value, { organisation, purpose: "test" })), `value ${i}`, place);
  }
  assert.is(await runUntilDeath("rotateMasterKey", "", masters, "-"), 0);
  for (const { data } of olds) assert.equal(filesWith(data), []);
  const after = await openSealing(newest);
  for (const [i, value] of values.entries())
    assert.is(text(await after.unseal(value, { organisation, purpose: "test" })), `value ${i}`);
});

test("cut off in the middle of an erasure, it is finished by the next process that opens", {
  timeoutMs: 120_000,
}, async () => {
  for (const at of ["keys.erase.before:1", "keys.erase.marked:1", "keys.overwrite:1", "keys.erase.dropped:1"]) {
    const sealing = await openSealing(masterB);
    const place = fresh();
    const sealed = await sealing.seal(place, "to be erased");
    const wrapped = await wrappedKeys(place.subject);
    assert.is(await runUntilDeath("erase", at, masterB, place.subject), "SIGKILL", at);
    const next = await openSealing(masterB);
    const seen = await failure(next.unseal(sealed, { organisation, purpose: "test" }));
    if (at === "keys.erase.before:1") {
      assert.is(seen, undefined, "nothing had been said yet");
      continue;
    }
    assert.is(seen?._tag, "Erased", at);
    for (const { data } of wrapped) assert.equal(filesWith(data), [], at);
  }
});

test("a first data key that is made while the subject is erased does not outlive it", async () => {
  const [sealing, other] = await Promise.all([openSealing(masterB), openSealing(masterB)]);
  for (let round = 0; round < 20; round++) {
    const place = fresh();
    const [sealed] = await Promise.all([failure(sealing.seal(place, "x")), other.erase(place)]);
    assert.ok(sealed === undefined || sealed._tag === "Erased", String(sealed));
    assert.is(await revisions(place.subject), 0);
  }
});

test("neither plaintext, nor data key, nor master key is anywhere in the server's store", async () => {
  const value = randomBytes(24).toString("hex");
  const sealing = await openSealing(masterB);
  const nats = await connect();
  await nats.jsm.streams.add({ name: "EVENTS", subjects: ["events.>"] } as never);
  await nats.js.publish("events.x", JSON.stringify(await sealing.seal(fresh(), value)));
  assert.equal(filesWith(value), []);
  for (const master of [masterA, masterB]) {
    assert.equal(filesWith(master), []);
    assert.equal(filesWith(Buffer.from(master, "base64")), []);
  }
  assert.ok(filesWith("events.x").length > 0, "the test can see what is on the disk");
});

test("openings are counted by outcome", async () => {
  const metrics = await registry.metrics();
  for (const outcome of ["ok", "erased", "failed"])
    assert.match(metrics, new RegExp(`millrace_unseals_total\\{outcome="${outcome}"\\} [1-9]`));
});

test.run();
