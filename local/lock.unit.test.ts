import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { LockedError, lockHolder, takeLock, waitForLock } from "./lock.ts";

const test = suite("lock");

function path({ defer }: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "millrace-lock-"));
  defer(() => rmSync(folder, { recursive: true }));
  return join(folder, "lock");
}

test("is held once, and names its holder", (context) => {
  const file = path(context);
  const lock = takeLock(file);
  assert.is(lockHolder(file), process.pid);
  assert.throws(
    () => takeLock(file),
    (error: unknown) => error instanceof LockedError && error.pid === process.pid,
  );
  lock.release();
  assert.is(lockHolder(file), undefined);
  takeLock(file).release();
});

test("is waited for", async (context) => {
  const file = path(context);
  const lock = takeLock(file);
  setTimeout(() => lock.release(), 150);
  (await waitForLock(file, 5000)).release();
  const held = takeLock(file);
  context.defer(() => held.release());
  let refused: unknown;
  await waitForLock(file, 50).catch((error) => {
    refused = error;
  });
  assert.instance(refused, LockedError);
});

test("is taken over from a dead process", async (context) => {
  const file = path(context);
  const child = spawn("true");
  await new Promise((resolve) => child.once("exit", resolve));
  writeFileSync(file, JSON.stringify({ pid: child.pid, startTime: "1", nonce: "old" }));
  assert.is(lockHolder(file), undefined);
  const lock = takeLock(file);
  assert.is(lockHolder(file), process.pid);
  lock.release();
});

test("is taken over when the pid is another process's by now", (context) => {
  const file = path(context);
  writeFileSync(file, JSON.stringify({ pid: process.pid, startTime: "before my time", nonce: "old" }));
  takeLock(file).release();
});

test("a release after a takeover leaves the new holder's lock alone", (context) => {
  const file = path(context);
  const old = takeLock(file);
  rmSync(file);
  const fresh = takeLock(file);
  old.release();
  assert.is(lockHolder(file), process.pid);
  fresh.release();
});

test.run();
