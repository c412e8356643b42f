/** Caddy as it is kept on one machine: it comes up, keeps what it was given, and leaves nothing. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { testFolder } from "../tests/harness/servers.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { findCaddy } from "./binaries.ts";
import { prepareCaddy, type RunningCaddy, startCaddy } from "./caddy.ts";
import { freePort, isPortFree } from "./ports.ts";
import { isAlive } from "./process.ts";
import { readSettings } from "./settings.ts";

const test = suite("caddy", { timeoutMs: 60_000 });

interface Asked {
  readonly status: number;
  readonly body: string;
}

function ask(where: object, path: string, method = "GET", body = ""): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const headers = { host: "127.0.0.1", "content-type": "application/json" };
    const sent = request({ ...where, path, method, headers, agent: false }, async (answer) => {
      let text = "";
      for await (const chunk of answer) text += chunk;
      resolve({ status: answer.statusCode!, body: text });
    });
    sent.once("error", reject);
    sent.end(body);
  });
}

const adminOf = (caddy: RunningCaddy) => ({ socketPath: caddy.admin.slice("unix/".length) });

async function started({ skip, defer }: TestContext, dataDir: string): Promise<RunningCaddy> {
  const found = await findCaddy({ bring: true });
  if (found.path === undefined) skip(found.why);
  const caddy = await startCaddy({ dataDir });
  defer(() => caddy.stop());
  return caddy;
}

test("it answers at once, and after SIGKILL comes back with what it was given, at today's addresses", async (context) => {
  const dataDir = testFolder("caddy");
  const caddy = await started(context, dataDir);
  const { port } = caddy;
  const nothing = await ask({ host: "127.0.0.1", port }, "/");
  assert.equal(nothing, { status: 404, body: "No application is reachable under this name.\n" });

  const config = JSON.parse((await ask(adminOf(caddy), "/config/")).body);
  config.apps.http.servers.apps.routes = [{ handle: [{ handler: "static_response", body: "given" }] }];
  assert.is((await ask(adminOf(caddy), "/config/", "POST", JSON.stringify(config))).status, 200);
  assert.is((await ask({ host: "127.0.0.1", port }, "/")).body, "given");

  await caddy.kill();
  const again = await caddy.restart();
  context.defer(() => again.stop());
  assert.is(again.port, port);
  assert.is((await ask({ host: "127.0.0.1", port }, "/")).body, "given");
  await again.stop();

  const elsewhere = await startCaddy({ dataDir, port: await freePort() });
  context.defer(() => elsewhere.stop());
  assert.is.not(elsewhere.port, port);
  assert.is((await ask({ host: "127.0.0.1", port: elsewhere.port }, "/")).body, "given");
  await elsewhere.stop();
  assert.not.ok(isAlive(elsewhere.pid));
  assert.ok(await isPortFree(elsewhere.port));
});

test("a kept configuration that a power cut tore is left, and a long path has its admin API on the loopback", async (context) => {
  const dataDir = join(testFolder("caddy"), "long-".repeat(20));
  mkdirSync(join(dataDir, "config", "caddy"), { recursive: true });
  writeFileSync(join(dataDir, "config", "caddy", "autosave.json"), '{"apps":{"http":{"ser');
  const caddy = await started(context, dataDir);
  assert.match(caddy.admin, /^127\.0\.0\.1:\d+$/);
  assert.is((await ask({ host: "127.0.0.1", port: caddy.port }, "/")).status, 404);
});

test("a Caddy that a dead supervisor left is ended before the next start", async (context) => {
  const dataDir = testFolder("caddy");
  const first = await started(context, dataDir);
  const prepared = await prepareCaddy({ dataDir, port: first.port });
  await prepared!.beforeStart();
  await first.exited;
  assert.not.ok(isAlive(first.pid));
  assert.not.ok(existsSync(prepared!.admin.slice("unix/".length)));
});

test("a program that cannot be had is no error, one whose port is taken says so", async (context) => {
  assert.is(await withoutCaddy(() => prepareCaddy({ dataDir: testFolder("none"), bring: false })), undefined);
  const caddy = await started(context, testFolder("caddy"));
  const second = await startCaddy({ dataDir: testFolder("second"), port: caddy.port }).catch((error: Error) => error);
  assert.instance(second, Error);
  assert.match((second as Error).message, /address already in use/);
});

async function withoutCaddy<T>(act: () => Promise<T>): Promise<T> {
  const before = process.env.MILLRACE_CADDY;
  process.env.MILLRACE_CADDY = "/nonexistent/caddy";
  try {
    return await act();
  } finally {
    if (before === undefined) delete process.env.MILLRACE_CADDY;
    else process.env.MILLRACE_CADDY = before;
  }
}

test("its settings: folders from a list, a domain that is one", () => {
  const folder = testFolder("settings");
  writeFileSync(join(folder, "millrace.toml"), '[apps]\nlocal_sources = ["repos", "/srv/git"]\ndomain = "Apps!"\n');
  assert.throws(() => readSettings({ folder, env: {} }), /is not a name of hosts/);
  writeFileSync(join(folder, "millrace.toml"), '[apps]\nlocal_sources = ["repos", "/srv/git"]\n');
  const { values } = readSettings({ folder, env: {} });
  assert.equal(values.localSources, [join(folder, "repos"), "/srv/git"]);
  assert.equal([values.appsDomain, values.tls, values.publicPort], ["localhost", "off", undefined]);
  assert.ok(readFileSync(join(folder, "millrace.toml"), "utf8").includes("repos"));
});

test.run();
