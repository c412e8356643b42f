/** The bootstrap in a small checkout of its own: bringing dependencies, handing over, signals, sudden death. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { testFolder } from "../tests/harness/servers.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { isAlive, waitFor } from "./process.ts";

const test = suite("bootstrap");
const lockfile = "lockfileVersion: '9.0'\n";

/** A checkout whose dependencies are there, and whose `cli/main.ts` is this program. */
function checkout(main: string, { installed = true } = {}): string {
  const root = testFolder("checkout");
  for (const folder of ["local", "cli", "bin"]) mkdirSync(join(root, folder));
  for (const name of ["bootstrap.mjs", "follow-parent.mjs"]) {
    copyFileSync(fileURLToPath(new URL(name, import.meta.url)), join(root, "local", name));
  }
  writeFileSync(join(root, "package.json"), '{ "type": "module" }');
  writeFileSync(join(root, "pnpm-lock.yaml"), lockfile);
  writeFileSync(join(root, "cli", "main.ts"), main);
  if (installed) install(root);
  return root;
}

function install(root: string): void {
  mkdirSync(join(root, "node_modules", ".bin"), { recursive: true });
  symlinkSync(process.execPath, join(root, "node_modules", ".bin", "node"));
  const stamp = createHash("sha256").update(lockfile).digest("hex");
  writeFileSync(join(root, "node_modules", ".millrace-lockfile"), stamp);
}

interface Ran {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; output: string }>;
}

function bootstrap({ defer }: TestContext, root: string, words: string[], env: Record<string, string> = {}): Ran {
  const child = spawn(process.execPath, [join(root, "local", "bootstrap.mjs"), ...words], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, npm_lifecycle_event: "", ...env },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += chunk;
    });
  }
  const ended = new Promise<{ code: number | null; output: string }>((resolve) => {
    child.once("close", (code) => resolve({ code, output }));
  });
  defer(() => child.kill("SIGKILL"));
  return { child, ended };
}

/** A program that writes its pid and each signal into files, and ends with 7 a moment after SIGTERM. */
const listening = `
import { appendFileSync, writeFileSync } from "node:fs";
writeFileSync("pid", String(process.pid));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {
  appendFileSync("signals", signal + "\\n");
  if (signal === "SIGTERM") setTimeout(() => process.exit(7), 300);
});
setInterval(() => {}, 1000);
`;

async function pidOf(root: string): Promise<number> {
  assert.ok(
    await waitFor(() => existsSync(join(root, "pid")) && readFileSync(join(root, "pid"), "utf8") !== "", 20_000),
  );
  return Number(readFileSync(join(root, "pid"), "utf8"));
}

const signalsOf = (root: string) =>
  existsSync(join(root, "signals")) ? readFileSync(join(root, "signals"), "utf8") : "";

test("words and exit code pass through", async (context) => {
  const root = checkout("console.log(JSON.stringify(process.argv.slice(2))); process.exitCode = 42;");
  const mill = await bootstrap(context, root, ["mill", "app", "list", "--json"]).ended;
  assert.equal(mill, { code: 42, output: '["app","list","--json"]\n' });
  const up = await bootstrap(context, root, ["up", "--port", "1"]).ended;
  assert.equal(up, { code: 42, output: '["up","--port","1"]\n' });
  const wrong = await bootstrap(context, root, ["dance"]).ended;
  assert.is(wrong.code, 2);
  assert.match(wrong.output, '"dance" is none of up, mill');
});

test("a signal reaches the child once, and its exit code comes back", async (context) => {
  const root = checkout(listening);
  const { child, ended } = bootstrap(context, root, ["up"]);
  await pidOf(root);
  // A Ctrl-C comes from the terminal, and again from npm.
  child.kill("SIGINT");
  await new Promise((resolve) => setTimeout(resolve, 50));
  child.kill("SIGINT");
  assert.ok(await waitFor(() => signalsOf(root) !== "", 10_000));
  child.kill("SIGTERM");
  assert.is((await ended).code, 7);
  assert.is(signalsOf(root), "SIGINT\nSIGTERM\n");
});

test("a child that a signal ends: 128 and its number, as in a shell", async (context) => {
  const root = checkout("process.kill(process.pid, 'SIGKILL'); setInterval(() => {}, 1000);");
  assert.is((await bootstrap(context, root, ["up"]).ended).code, 137);
});

test("kill -9 of the bootstrap: the child is asked to end", async (context) => {
  const root = checkout(listening);
  const { child } = bootstrap(context, root, ["up"]);
  const pid = await pidOf(root);
  child.kill("SIGKILL");
  assert.ok(await waitFor(() => !isAlive(pid), 10_000));
  assert.is(signalsOf(root), "SIGTERM\n");
});

/** An npx on the path that notes its calls and does what is given. */
function withNpx(root: string, act: string): Record<string, string> {
  const npx = join(root, "bin", "npx");
  writeFileSync(npx, `#!/bin/sh\necho "$@" >> '${root}/calls'\n${act}\n`);
  chmodSync(npx, 0o755);
  return { PATH: `${join(root, "bin")}:${process.env.PATH}` };
}

test("missing dependencies are brought, once when two ask at the same time, and again when the lockfile changes", async (context) => {
  const root = checkout("console.log('runs')", { installed: false });
  const act = `sleep 0.5; mkdir -p node_modules/.bin; ln -sf '${process.execPath}' node_modules/.bin/node`;
  const env = withNpx(root, act);
  const both = await Promise.all([1, 2].map(() => bootstrap(context, root, ["mill"], env).ended));
  for (const { code, output } of both) {
    assert.is(code, 0);
    assert.match(output, "runs");
  }
  const calls = () => readFileSync(join(root, "calls"), "utf8").trim().split("\n");
  assert.is(calls().length, 1);
  assert.match(calls()[0]!, /^--yes pnpm@[\d.]+ install --frozen-lockfile$/);
  await bootstrap(context, root, ["mill"], env).ended;
  assert.is(calls().length, 1);
  appendFileSync(join(root, "pnpm-lock.yaml"), "# changed\n");
  await bootstrap(context, root, ["mill"], env).ended;
  assert.is(calls().length, 2);
});

test("dependencies that cannot be brought: why, and what to do; the next one may try again", async (context) => {
  const root = checkout("console.log('runs')", { installed: false });
  const env = withNpx(root, "echo ERR_PNPM_NO_NETWORK; exit 1");
  const { code, output } = await bootstrap(context, root, ["mill"], env).ended;
  assert.is(code, 1);
  assert.match(output, "ERR_PNPM_NO_NETWORK");
  assert.match(output, /by hand: npx --yes pnpm@[\d.]+ install --frozen-lockfile/);
  assert.not.match(output, "runs");
  const again = withNpx(root, `mkdir -p node_modules/.bin; ln -sf '${process.execPath}' node_modules/.bin/node`);
  assert.is((await bootstrap(context, root, ["mill"], again).ended).code, 0);
});

test("a killed installation does not lock the next one out", async (context) => {
  const root = checkout("console.log('runs')", { installed: false });
  mkdirSync(join(root, ".cache"));
  writeFileSync(join(root, ".cache", "install.lock"), "999999999");
  const env = withNpx(root, `mkdir -p node_modules/.bin; ln -sf '${process.execPath}' node_modules/.bin/node`);
  assert.is((await bootstrap(context, root, ["mill"], env).ended).code, 0);
});

test.run();
