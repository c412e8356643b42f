/** Sealing when it is cut off in the middle, and when several processes do the same at once, on one server and on three. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type Suite, suite } from "../tests/harness/suite.ts";
import { failure, fresh, openVault, organisation, text, type Vault } from "./fixtures/vault.ts";

const master = randomBytes(32).toString("base64");
let vault: Vault;

const test = suite("sealing, cut off");

test.before(async () => {
  vault = await openVault();
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
      STEP: JSON.stringify({ ...vault.server, operation, organisation, subject, masters: masters.split("\n") }),
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
  const sealing = await vault.openSealing(master);
  // More than the deaths below can get through, so that each of them meets work that is not done yet.
  const places = Array.from({ length: 8 }, fresh);
  const values = await Promise.all(places.map((place, i) => sealing.seal(place, `value ${i}`)));
  const olds = (await Promise.all(places.map(({ subject }) => vault.wrappedKeys(subject)))).flat();
  const masters = `${newest}\n${master}`;
  for (const place of [
    "sealing.rotate-master:1",
    "keys.write.after:1",
    "keys.overwrite:2",
    "keys.write.dropped:4",
    "sealing.rotate-master:2",
  ]) {
    assert.is(await runUntilDeath("rotateMasterKey", place, masters, "-"), "SIGKILL", place);
    const meanwhile = await vault.openSealing(masters);
    for (const [i, value] of values.entries())
      assert.is(text(await meanwhile.unseal(value, { organisation, purpose: "test" })), `value ${i}`, place);
  }
  assert.is(await runUntilDeath("rotateMasterKey", "", masters, "-"), 0);
  for (const { data } of olds) assert.equal(vault.filesWith(data), []);
  const after = await vault.openSealing(newest);
  for (const [i, value] of values.entries())
    assert.is(text(await after.unseal(value, { organisation, purpose: "test" })), `value ${i}`);
});

test("cut off in the middle of an erasure, it is finished by the next process that opens", {
  timeoutMs: 120_000,
}, async () => {
  for (const at of ["keys.erase.before:1", "keys.erase.marked:1", "keys.overwrite:1", "keys.erase.dropped:1"]) {
    const sealing = await vault.openSealing(master);
    const place = fresh();
    const sealed = await sealing.seal(place, "to be erased");
    const wrapped = await vault.wrappedKeys(place.subject);
    assert.is(await runUntilDeath("erase", at, master, place.subject), "SIGKILL", at);
    const next = await vault.openSealing(master);
    const seen = await failure(next.unseal(sealed, { organisation, purpose: "test" }));
    if (at === "keys.erase.before:1") {
      assert.is(seen, undefined, "nothing had been said yet");
      continue;
    }
    assert.is(seen?._tag, "Erased", at);
    for (const { data } of wrapped) assert.equal(vault.filesWith(data), [], at);
  }
});

/** Several processes at once; the server answers who comes second differently from time to time. */
function races(test: Suite, rounds: number): void {
  test("a first data key that is made while the subject is erased does not outlive it", async () => {
    const [sealing, other] = await Promise.all([vault.openSealing(master), vault.openSealing(master)]);
    for (let round = 0; round < rounds; round++) {
      const place = fresh();
      const [sealed] = await Promise.all([failure(sealing.seal(place, "x")), other.erase(place)]);
      assert.ok(sealed === undefined || sealed._tag === "Erased", String(sealed));
      assert.is(await vault.revisions(place.subject), 0);
    }
  });

  test("three that rotate and erase the same at once: all succeed, no key is lost, nothing is left", async () => {
    const all = await Promise.all([vault.openSealing(master), vault.openSealing(master), vault.openSealing(master)]);
    for (let round = 0; round < rounds; round++) {
      const place = fresh();
      await all[0]!.seal(place, "x");
      const made = await Promise.all(all.map((sealing) => sealing.rotateDataKey(place)));
      assert.is(new Set(made).size, 3);
      assert.is((await vault.wrappedKeys(place.subject)).length, 4);
      assert.is(await vault.revisions(place.subject), 1);
      await Promise.all(all.map((sealing) => sealing.erase(place)));
      assert.is(await vault.revisions(place.subject), 0);
    }
  });
}

races(test, 30);
test.run();

const three = suite("sealing on three servers");

three.before(async () => {
  vault = await openVault(3);
});
races(three, 10);
three.run();
