/** NATS servers and PostgreSQL, alone and in a cluster: start, crash, start again, refusals. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { startOwnNats, testFolder, testNats, testPostgres, threeServers } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { findCaddy } from "./binaries.ts";
import { startNats } from "./nats.ts";
import { probeNats } from "./nats-probe.ts";
import { isPortFree } from "./ports.ts";
import { startPostgres } from "./postgres.ts";
import { query } from "./postgres-probe.ts";

const test = suite("servers", { timeoutMs: 90_000 });

async function rejection(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
  } catch (error) {
    return (error as Error).message;
  }
  return assert.unreachable("it should have failed") as never;
}

test("NATS: after kill -9 the same port and data", async () => {
  const server = await startOwnNats();
  const config = join(server.logFile, "..", "nats.conf");
  assert.is(statSync(config).mode & 0o777, 0o600);
  assert.match(readFileSync(config, "utf8"), '"sync_interval": "always"');
  assert.equal(await server.kill(), { code: null, signal: "SIGKILL" });
  assert.ok(await isPortFree(server.port));
  const again = await server.restart();
  assert.is(again.url, server.url);
  assert.is(again.password, server.password);
  assert.equal(await again.stop(), { code: 0, signal: null });
});

test("NATS: a wrong password, and a port that something else has, are told at once", async () => {
  const { url, user } = await testNats();
  const port = Number(new URL(url).port);
  const refused = await rejection(() =>
    probeNats({ host: "127.0.0.1", port, user, password: "wrong", timeoutMs: 20_000 }),
  );
  assert.match(refused, "Authorization Violation");
  const taken = await rejection(() => startNats({ dataDir: join(testFolder("taken"), "nats"), port }));
  assert.match(taken, /Authorization Violation|address already in use/);
});

test("NATS: three servers, of which any one may end and come back", async () => {
  const { cluster, urls } = await threeServers();
  assert.is(new Set(urls).size, 3);
  await cluster.servers[0]!.kill();
  const back = await cluster.restart(0);
  assert.is(back.url, urls[0]);
});

test("PostgreSQL: databases of one's own, with a password, and what was written is there after kill -9", async ({
  defer,
}) => {
  const dataDir = join(testFolder("postgres"), "data");
  const server = await startPostgres({ dataDir });
  defer(() => server.kill());
  const url = await server.createDatabase("shop");
  await query(url, "create table t as select 1 as n");
  assert.match(await rejection(() => server.createDatabase("no name")), "is no name for a database");
  const wrong = url.replace(/:[^:@]+@/, ":wrong@");
  assert.match(await rejection(() => query(wrong, "select 1")), "password authentication failed");
  await server.kill();
  const again = await startPostgres({ dataDir, port: server.port });
  defer(() => again.stop("SIGQUIT"));
  await query(url, "insert into t values (2)");
});

test("PostgreSQL: a stale pid file that names somebody else's process does not hinder the start", async ({ defer }) => {
  const dataDir = join(testFolder("stale"), "data");
  const server = await startPostgres({ dataDir });
  const before = readFileSync(join(server.dataDir, "postmaster.pid"), "utf8");
  await server.kill();
  const sleeper = spawn("sleep", ["60"]);
  defer(() => sleeper.kill());
  writeFileSync(join(server.dataDir, "postmaster.pid"), before.replace(/^\d+/, `${sleeper.pid}`));
  const again = await startPostgres({ dataDir });
  defer(() => again.stop("SIGQUIT"));
});

test("PostgreSQL: a first start that was interrupted is begun anew; data of another version is refused", async ({
  defer,
}) => {
  const folder = testFolder("versions");
  const dataDir = join(folder, "data");
  writeFileSync(`${dataDir}.making`, "half made");
  const server = await startPostgres({ dataDir });
  await server.stop();
  assert.not.ok(existsSync(`${dataDir}.making`));
  writeFileSync(join(server.dataDir, "PG_VERSION"), "12\n");
  assert.match(await rejection(() => startPostgres({ dataDir })), "was made by PostgreSQL 12, this is 18");
  defer(() => server.kill());
});

test("a test's databases differ", async () => {
  assert.is.not(await testPostgres(), await testPostgres());
});

test("Caddy is found or brought", async ({ skip }) => {
  const caddy = await findCaddy({ bring: true });
  if (caddy.path === undefined) return skip(caddy.why);
  assert.ok(existsSync(caddy.path));
});

test.run();
