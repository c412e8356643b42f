/** Projections while PostgreSQL or NATS is away, restarted, killed or emptied: nothing is lost, nothing is there twice. */
import * as assert from "uvu/assert";
import { startOwnNats, startRestartablePostgres } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { perform, randomFrom, someCommand } from "./fixtures/ledger.ts";
import {
  assertExact,
  caughtUp,
  checkpoints,
  eventually,
  openWorld,
  startProjector,
  type World,
} from "./fixtures/projecting.ts";
import { Postgres } from "./postgres.ts";

const test = suite("projections in outages", { timeoutMs: 120_000 });
let server: Awaited<ReturnType<typeof startRestartablePostgres>>;

test.before(async () => {
  server = await startRestartablePostgres();
});

let databases = 0;

/** Writes until the signal, as fast as one writer can. @returns how much */
async function keepWriting(of: World, signal: AbortSignal, seed: number): Promise<number> {
  const random = randomFrom(seed);
  let written = 0;
  while (!signal.aborted) {
    const id = `acc_${Math.floor(random() * 30)}`;
    await perform(of.log, id, someCommand(random)).then(
      () => written++,
      () => {}, // NATS is away: what was not acknowledged may be written again.
    );
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return written;
}

for (const how of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
  test(`PostgreSQL ended by ${how} under load, twice: goes on by itself`, async ({ defer }) => {
    const of = await openWorld({ postgresUrl: await server.createDatabase(`outage_${++databases}`) });
    defer(() => of.close());
    const projector = startProjector(of);
    defer(() => projector.stop());
    const stop = new AbortController();
    const writing = keepWriting(of, stop.signal, databases);
    for (let round = 0; round < 2; round++) {
      const before = await of.log.head("ledger");
      await eventually("much is projected", async () => (await checkpoints(of)).every(({ seq }) => seq > before + 30));
      await server.stop(how);
      await eventually("it says so", () => projector.trouble() !== undefined);
      const head = await of.log.head("ledger");
      await eventually("commands go on meanwhile", async () => (await of.log.head("ledger")) > head + 20);
      await server.restart();
    }
    stop.abort();
    assert.ok((await writing) > 100);
    await caughtUp(of);
    await assertExact(of);
    assert.is(projector.trouble(), undefined);
  });
}

test("a database that is lost is filled again, by itself", async ({ defer }) => {
  const of = await openWorld({ postgresUrl: await server.createDatabase("lost") });
  defer(() => of.close());
  const projector = startProjector(of);
  defer(() => projector.stop());
  const stop = new AbortController();
  const writing = keepWriting(of, stop.signal, 7);
  await eventually("some is projected", async () => (await checkpoints(of)).some(({ seq }) => seq > 50));
  const admin = new Postgres({ url: server.url, name: "admin", most: 1 });
  defer(() => admin.close());
  await admin.run("DROP DATABASE lost WITH (FORCE)");
  await eventually("it says so", () => projector.trouble() !== undefined);
  await admin.run("CREATE DATABASE lost");
  await eventually("it is built again", async () => (await checkpoints(of)).some(({ shown }) => shown));
  stop.abort();
  await writing;
  await caughtUp(of);
  await assertExact(of);
});

test("a table that was taken away is built again", async ({ defer }) => {
  const of = await openWorld({ postgresUrl: await server.createDatabase("taken") });
  defer(() => of.close());
  const projector = startProjector(of);
  defer(() => projector.stop());
  const random = randomFrom(3);
  for (let i = 0; i < 100; i++) await perform(of.log, `acc_${i % 10}`, someCommand(random));
  await caughtUp(of);
  await of.postgres.run("DROP TABLE projection.accounts_v1_b1 CASCADE");
  for (let i = 0; i < 20; i++) await perform(of.log, `acc_${i % 10}`, someCommand(random));
  await eventually("the view is back", async () => (await of.postgres.query("SELECT FROM v.accounts")).length >= 0);
  await caughtUp(of);
  await assertExact(of);
});

test("NATS killed under load, twice: goes on by itself", async ({ defer }) => {
  let nats = await startOwnNats();
  const of = await openWorld({ postgresUrl: await server.createDatabase("nats"), nats });
  defer(() => of.close());
  const projector = startProjector(of);
  defer(() => projector.stop());
  const stop = new AbortController();
  const writing = keepWriting(of, stop.signal, 8);
  for (let round = 0; round < 2; round++) {
    const before = await of.log.head("ledger");
    await eventually("much is projected", async () => (await checkpoints(of)).some(({ seq }) => seq > before + 30));
    await nats.kill();
    await new Promise((resolve) => setTimeout(resolve, 300));
    nats = await nats.restart();
    await eventually("the log answers", () => of.log.head("ledger").then(() => true));
  }
  stop.abort();
  await writing;
  await caughtUp(of);
  await assertExact(of);
});

test.run();
