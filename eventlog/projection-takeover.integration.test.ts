/** A projector that is killed on this machine is taken over at once; one that is only frozen keeps its lease. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { perform } from "./fixtures/ledger.ts";
import { assertExact, caughtUp, checkpoints, eventually, openWorld, type World } from "./fixtures/projecting.ts";
import type { ProcessSettings } from "./fixtures/projector-process.ts";
import { ownerText, parseOwner, thisOwner } from "./owner.ts";

const test = suite("taking over a projection", { timeoutMs: 120_000 });
const PROCESS = fileURLToPath(new URL("fixtures/projector-process.ts", import.meta.url));
const LEASE_MS = 90_000;

function start({ defer }: TestContext, { nats, postgresUrl }: World) {
  const settings: ProcessSettings = { nats, postgresUrl, batchMost: 20, leaseMs: LEASE_MS };
  const child = spawn(process.execPath, [PROCESS, JSON.stringify(settings)], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = once(child, "exit");
  defer(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return { child, ended };
}

test("killed: nobody waits for its lease; frozen: it counts as living", async (context) => {
  if (thisOwner().place === "") context.skip("this system has no /proc");
  const of = await openWorld();
  context.defer(() => of.close());
  await perform(of.log, "acc_1", { type: "Open", owner: "ada" });
  const first = start(context, of);
  await caughtUp(of);
  const holders = async () => (await checkpoints(of)).map(({ owner }) => parseOwner(owner ?? "")?.pid);
  assert.ok((await holders()).every((pid) => pid === first.child.pid));

  first.child.kill("SIGSTOP");
  const second = start(context, of);
  await eventually("the second one has looked", async () => {
    const beats = await of.postgres.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'projector-process'",
    );
    return beats[0]!.n >= 2;
  });
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.ok(
    (await holders()).every((pid) => pid === first.child.pid),
    "a frozen one is not taken for dead",
  );

  first.child.kill("SIGKILL");
  await first.ended;
  const began = Date.now();
  await perform(of.log, "acc_2", { type: "Open", owner: "bob" });
  await caughtUp(of);
  assert.ok(Date.now() - began < LEASE_MS / 2, "long before the lease would have ended");
  assert.ok((await holders()).every((pid) => pid === second.child.pid));
  await assertExact(of);
});

test("an owner as text says the same; what is no such text says nothing", () => {
  const owner = thisOwner();
  assert.equal(parseOwner(ownerText(owner)), owner);
  for (const text of ["", "host:12:abc", "host:x:abc 1 boot", "anything at all goes"])
    assert.is(parseOwner(text), undefined);
});

test.run();
