/** The whole of one machine, with small services in place of the real ones: up, down, and every way to die. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { testFolder } from "../tests/harness/servers.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { findCaddy } from "./binaries.ts";
import { freePort, isPortFree } from "./ports.ts";
import { isAlive, waitFor } from "./process.ts";
import { lastRunState, type RunningService, readRunState, stopRun } from "./run-state.ts";
import { isToken } from "./secrets.ts";

const script = fileURLToPath(new URL("./fixtures/up.ts", import.meta.url));
const test = suite("platform", { timeoutMs: 90_000 });

interface Up {
  readonly child: ChildProcess;
  readonly url: string;
  readonly ownerTokenFile: string;
  readonly services: readonly RunningService[];
}

function launch(dataDir: string, port: number, env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [script, dataDir, `${port}`], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
}

async function up({ defer }: TestContext, dataDir: string, port: number, env?: Record<string, string>): Promise<Up> {
  const child = launch(dataDir, port, env);
  defer(() => end(child));
  let errors = "";
  child.stderr!.on("data", (chunk) => {
    errors += chunk;
  });
  const line = await new Promise<string>((resolve, reject) => {
    createInterface(child.stdout!).once("line", resolve);
    child.once("exit", (code) => reject(new Error(`ended with ${code}: ${errors}`)));
  });
  return { child, ...(JSON.parse(line) as Omit<Up, "child">) };
}

/** What a start that must fail says, and its exit code. */
async function refused(dataDir: string, port: number): Promise<{ code: number | null; text: string }> {
  const child = launch(dataDir, port);
  let text = "";
  child.stderr!.on("data", (chunk) => {
    text += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, text };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

async function allGone(services: readonly RunningService[]): Promise<void> {
  const gone = await waitFor(() => services.every(({ pid }) => !isAlive(pid!)), 10_000);
  const left = services.filter(({ pid }) => isAlive(pid!)).map(({ name, pid }) => `${name} ${pid}`);
  assert.ok(gone, `still there: ${left.join(", ")}`);
  for (const { name, ports } of services) {
    for (const port of Object.values(ports)) assert.ok(await isPortFree(port), `${name}'s port ${port} is not free`);
  }
}

/** Made once, for all that leave it stopped: the first start of a PostgreSQL takes longest. */
let dataDir: string;
let port: number;

test.before(async () => {
  dataDir = join(testFolder("up"), "data");
  port = await freePort();
});

test("up: everything runs, and other terminals see it; down: all has ended and the ports are free", async (context) => {
  const { child, url, ownerTokenFile, services } = await up(context, dataDir, port);
  assert.equal(
    services.map(({ name, state }) => `${name} ${state}`),
    ["nats ready", "postgres ready", "projector ready", "gateway ready"],
  );
  assert.is(readRunState(dataDir)?.pid, child.pid);
  assert.is(readRunState(dataDir)?.facts.url, url);
  const environment = (await (await fetch(`${url}/environment`)).json()) as Record<string, string>;
  assert.match(environment.MILLRACE_NATS_URL!, /^nats:\/\/127\.0\.0\.1:\d+$/);
  assert.match(environment.MILLRACE_POSTGRES_URL!, /^postgres:\/\/millrace:.+@127\.0\.0\.1:\d+\/millrace$/);
  assert.is(environment.MILLRACE_OWNER_TOKEN_FILE, ownerTokenFile);

  // A second one on the same folder is refused, naming the first.
  const { code, text } = await refused(dataDir, await freePort());
  assert.is(code, 1);
  assert.match(text, `as process ${child.pid}`);
  assert.ok(isAlive(services[0]!.pid!));

  assert.is(await stopRun(dataDir), "stopped");
  await allGone(services);
  assert.is(readRunState(dataDir), undefined);
  assert.is(await stopRun(dataDir), "nothing");
  assert.match(readFileSync(join(dataDir, "logs", "gateway.log"), "utf8"), "ending in order");
});

test("with an orchestrator Caddy comes too; without Caddy all the rest is there", async (context) => {
  if ((await findCaddy({ bring: true })).path === undefined) context.skip("there is no Caddy");
  const { child, url, services } = await up(context, dataDir, port, { MILLRACE_TEST_ORCHESTRATOR: "1" });
  const caddy = services.find(({ name }) => name === "caddy");
  assert.is(caddy?.state, "ready");
  const environment = (await (await fetch(`${url}/environment`)).json()) as Record<string, string>;
  assert.is(environment.MILLRACE_PUBLIC_LISTEN, `127.0.0.1:${caddy!.ports.public}`);
  assert.is(environment.MILLRACE_CADDY_ADMIN, `unix/${join(dataDir, "caddy", "admin.sock")}`);
  assert.equal([environment.MILLRACE_APPS_DOMAIN, environment.MILLRACE_APPS_TLS], ["localhost", "off"]);
  assert.is(environment.MILLRACE_LOCAL_SOURCES, join(dataDir, "local-sources"));
  const publicUrl = readRunState(dataDir)?.facts.publicUrl;
  assert.is((await fetch(`${publicUrl}/`)).status, 404);
  process.kill(caddy!.pid!, "SIGKILL");
  const isBack = () =>
    readRunState(dataDir)!.services.some((one) => one.name === "caddy" && one.restarts === 1 && one.state === "ready");
  assert.ok(await waitFor(isBack, 20_000), "Caddy did not come back");
  assert.is((await fetch(`${publicUrl}/`)).status, 404);
  await end(child);
  await allGone(services);

  const without = { MILLRACE_TEST_ORCHESTRATOR: "1", MILLRACE_CADDY: join(dataDir, "none") };
  const again = await up(context, dataDir, port, without);
  assert.equal(
    again.services.map(({ name }) => name),
    ["nats", "postgres", "projector", "orchestrator", "gateway"],
  );
  const told = (await (await fetch(`${again.url}/environment`)).json()) as Record<string, string>;
  assert.is(told.MILLRACE_CADDY_ADMIN || undefined, undefined);
  await end(again.child);
});

test("secrets are made once, readable by their owner only; a process that dies is started again, the others go on", async (context) => {
  const first = await up(context, dataDir, port);
  const token = readFileSync(first.ownerTokenFile, "utf8").trim();
  assert.ok(isToken(token, "mrp"));
  const folder = join(dataDir, "secrets");
  assert.is(statSync(folder).mode & 0o777, 0o700);
  assert.equal(readdirSync(folder).sort(), [
    "backup.key",
    "master.key",
    "nats-door.password",
    "nats-issuer.seed",
    "nats.json",
    "owner.token",
    "postgres.password",
  ]);
  for (const name of readdirSync(folder)) assert.is(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  for (const name of ["run.json", "logs/nats.log", "logs/postgres.log"]) {
    assert.not.match(readFileSync(join(dataDir, name), "utf8"), token);
  }
  await end(first.child);

  const second = await up(context, dataDir, port);
  assert.is(readFileSync(second.ownerTokenFile, "utf8").trim(), token);
  // Same ports as before: an address noted somewhere stays good.
  assert.equal(
    second.services.slice(0, 2).map(({ ports }) => ports),
    first.services.slice(0, 2).map(({ ports }) => ports),
  );
  for (const name of ["nats", "postgres", "gateway"]) {
    process.kill(second.services.find((service) => service.name === name)!.pid!, "SIGKILL");
  }
  const isBack = (name: string) => {
    const now = readRunState(dataDir)?.services.find((service) => service.name === name);
    return now?.state === "ready" && now.restarts === 1 && now.lastExit === "SIGKILL";
  };
  for (const name of ["nats", "postgres", "gateway"]) {
    assert.ok(await waitFor(() => isBack(name), 20_000), `${name} is back`);
  }
  assert.is((await fetch(`${second.url}/readyz`)).status, 200);
  const projector = readRunState(dataDir)!.services.find(({ name }) => name === "projector")!;
  assert.is(projector.restarts, 0);
  await end(second.child);
});

test("kill -9 of the supervisor: its children end with it, and the next start is clean; so it is after kill -9 of everything", async (context) => {
  let running = await up(context, dataDir, port);
  // By the kernel's death signal; then by watchers, where there is none.
  for (const env of [{ MILLRACE_WITHOUT_SETPRIV: "1" }, {}]) {
    running.child.kill("SIGKILL");
    await allGone(running.services);
    running = await up(context, dataDir, port, env);
    assert.is(running.services.length, 4);
  }
  process.kill(running.child.pid!, "SIGKILL");
  for (const { pid } of running.services) process.kill(pid!, "SIGKILL");
  running = await up(context, dataDir, port);
  assert.is(running.services.length, 4);
  await end(running.child);
});

test("a taken port is refused before anything is started", async ({ defer }) => {
  const fresh = join(testFolder("port"), "data");
  const taken = await freePort();
  const other = createServer().listen(taken, "127.0.0.1");
  defer(() => other.close());
  const { code, text } = await refused(fresh, taken);
  assert.is(code, 1);
  assert.match(text, `port ${taken} is taken`);
  assert.not.ok(existsSync(join(fresh, "postgres")));
});

/** What the small services look for, until the end of the test. */
function mark({ defer }: TestContext, name: string): void {
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(join(dataDir, name), "");
  defer(() => rmSync(join(dataDir, name)));
}

test("a service that does not come up: the end of its log, and nothing left running", async (context) => {
  mark(context, "fail");
  const { code, text } = await refused(dataDir, port);
  assert.is(code, 1);
  assert.match(text, "projector does not start");
  assert.match(text, "the file says that I am to fail");
  assert.ok(lastRunState(dataDir)!.services.every(({ pid }) => pid === undefined || !isAlive(pid)));
});

test("asked to end while it starts: it does, in order, and says so", async (context) => {
  mark(context, "not-ready");
  const child = launch(dataDir, port);
  context.defer(() => child.kill("SIGKILL"));
  let text = "";
  child.stderr!.on("data", (chunk) => {
    text += chunk;
  });
  const code = new Promise<number | null>((resolve) => child.once("close", resolve));
  const isWaiting = () => readRunState(dataDir)?.services.some(({ name, pid }) => name === "projector" && pid);
  assert.ok(await waitFor(() => isWaiting() === true, 20_000));
  const { services } = readRunState(dataDir)!;
  child.kill("SIGTERM");
  assert.is(await code, 1);
  assert.match(text, "interrupted while starting");
  await allGone(services);
});

test.run();
