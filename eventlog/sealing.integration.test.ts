/** Sealing on a real server: who can read what, rotation, erasure, and what lies on the disk. */
import { randomBytes } from "node:crypto";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { failure, fresh, openVault, organisation, text, until, type Vault } from "./fixtures/vault.ts";
import { PLAINTEXT_MOST, type SealedValue } from "./sealing.ts";
import { registry } from "./telemetry.ts";

const test = suite("sealing");

const masterA = randomBytes(32).toString("base64");
const masterB = randomBytes(32).toString("base64");
let vault: Vault;

test.before(async () => {
  vault = await openVault();
});

test("what is sealed is unsealed, by this process and by another", async () => {
  const sealing = await vault.openSealing(masterA);
  const place = fresh();
  const sealed = await sealing.seal(place, "hunter2 ✓");
  assert.equal(Object.keys(sealed).sort(), ["data", "iv", "key", "subject", "v"]);
  assert.is(text(await sealing.unseal(sealed, { organisation, purpose: "test" })), "hunter2 ✓");
  const other = await vault.openSealing(masterA);
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
  const all = await Promise.all([vault.openSealing(masterA), vault.openSealing(masterA), vault.openSealing(masterA)]);
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
  const sealing = await vault.openSealing(masterA);
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
  const sealing = await vault.openSealing(masterA);
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
  const nats = await vault.connect();
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
  const sealing = await vault.openSealing(masterA);
  assert.instance(await failure(sealing.seal(fresh(), randomBytes(PLAINTEXT_MOST + 1))), RangeError);
  for (const subject of ["", "a.b", "*", ">", "a b", "x".repeat(129), "ä"]) {
    assert.instance(await failure(sealing.seal({ organisation, subject }, "x")), TypeError, subject);
    assert.instance(await failure(sealing.erase({ organisation, subject })), TypeError, subject);
  }
});

test("every unsealing is told before the plaintext is out, and whoever cannot write it down withholds it", async () => {
  const told: unknown[] = [];
  let broken = false;
  const sealing = await vault.openSealing(masterA, async (unsealing) => {
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
  const [sealing, other] = await Promise.all([vault.openSealing(masterA), vault.openSealing(masterA)]);
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
  assert.is((await vault.wrappedKeys(place.subject)).length, 4, "of two rotations at once none is lost");
});

test("a new master key wraps all again; what the old one had wrapped is off the disk", async () => {
  const before = await vault.openSealing(masterA);
  const places = [fresh(), fresh(), fresh()];
  const values = await Promise.all(places.map((place, i) => before.seal(place, `value ${i}`)));
  const olds = (await Promise.all(places.map(({ subject }) => vault.wrappedKeys(subject)))).flat();
  for (const { data } of olds) assert.ok(vault.filesWith(data).length > 0, "the test can see wrapped keys on the disk");

  const during = await vault.openSealing(`${masterB}\n${masterA}`);
  const rotation = await during.rotateMasterKey();
  assert.ok(rotation.rewrapped >= 3);
  // The record that the test above copied to a foreign place cannot be unwrapped there.
  assert.ok(rotation.failed.every(({ _tag }) => _tag === "SealBroken"));
  assert.is((await during.rotateMasterKey()).rewrapped, 0, "a second time there is nothing to do");
  for (const { data } of olds) assert.equal(vault.filesWith(data), []);

  const after = await vault.openSealing(masterB);
  for (const [i, value] of values.entries())
    assert.is(text(await after.unseal(value, { organisation, purpose: "test" })), `value ${i}`);
  const late = await vault.openSealing(masterA);
  const error = await failure(late.unseal(values[0]!, { organisation, purpose: "test" }));
  assert.is(error._tag, "MasterKeyUnknown");
  assert.match(error.message, /Add that key as a further line to MILLRACE_MASTER_KEY_FILE/);
  assert.not.match(error.message, new RegExp(masterB.slice(0, 12).replaceAll(/[+/]/g, ".")));
});

test("erased is erased: for every process at once, for ever, and on the disk", async () => {
  const [sealing, other] = await Promise.all([vault.openSealing(masterB), vault.openSealing(masterB)]);
  const place = fresh();
  const first = await sealing.seal(place, "first");
  await sealing.rotateDataKey(place);
  const second = await sealing.seal(place, "second");
  const wrapped = await vault.wrappedKeys(place.subject);
  assert.is(wrapped.length, 2);
  assert.is(await vault.revisions(place.subject), 1, "a superseded revision goes at once");
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
  const later = await vault.openSealing(masterB);
  assert.is((await failure(later.unseal(first, { organisation, purpose: "test" })))._tag, "Erased");

  for (const { data } of wrapped) assert.equal(vault.filesWith(data), [], "a wrapped key lies on the disk");
  assert.is(await vault.revisions(place.subject), 0, "a revision is left in the stream");
});

test("a bucket that was lost is told from an erasure", async () => {
  const sealing = await vault.openSealing(masterB);
  const sealed = await sealing.seal(fresh(), "x");
  const error = await failure(sealing.unseal({ ...sealed, subject: "sec_never" }, { organisation, purpose: "test" }));
  assert.is(error._tag, "DataKeyMissing");
  assert.match(error.message, /Restore the bucket/);
});

test("neither plaintext, nor data key, nor master key is anywhere in the server's store", async () => {
  const value = randomBytes(24).toString("hex");
  const sealing = await vault.openSealing(masterB);
  const nats = await vault.connect();
  await nats.jsm.streams.add({ name: "EVENTS", subjects: ["events.>"] } as never);
  await nats.js.publish("events.x", JSON.stringify(await sealing.seal(fresh(), value)));
  assert.equal(vault.filesWith(value), []);
  for (const master of [masterA, masterB]) {
    assert.equal(vault.filesWith(master), []);
    assert.equal(vault.filesWith(Buffer.from(master, "base64")), []);
  }
  assert.ok(vault.filesWith("events.x").length > 0, "the test can see what is on the disk");
});

test("openings are counted by outcome", async () => {
  const metrics = await registry.metrics();
  for (const outcome of ["ok", "erased", "failed"])
    assert.match(metrics, new RegExp(`millrace_unseals_total\\{outcome="${outcome}"\\} [1-9]`));
});

test.run();
