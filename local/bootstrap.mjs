/**
 * What every npm script calls, on the Node that the machine has (20 or later), before there is anything else:
 * brings the dependencies when they are missing or older than the lockfile, and hands over to the Node 24 among them.
 *
 *     node local/bootstrap.mjs up|mill|test|soak|bench|verify [words …]
 *
 * Ends with the exit code of what it ran. No dependency, no TypeScript.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, constants as os } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const pnpm = "pnpm@12.21.0";
const bin = join(root, "node_modules", ".bin");
const stamp = join(root, "node_modules", ".millrace-lockfile");

const verbs = {
  up: [join(root, "cli/main.ts"), "up"],
  mill: [join(root, "cli/main.ts")],
  test: [join(root, "tests/run.ts"), "test"],
  soak: [join(root, "tests/run.ts"), "soak"],
  bench: [join(root, "tests/run.ts"), "bench"],
};

const [verb = "", ...words] = process.argv.slice(2);
if (verb !== "verify" && !Object.hasOwn(verbs, verb)) {
  console.error(`millrace: "${verb}" is none of ${[...Object.keys(verbs), "verify"].join(", ")}`);
  process.exit(2);
}
await ensureDependencies();
process.exit(verb === "verify" ? await verify() : await run(node24(), [...verbs[verb], ...words]));

/** Everything a change must pass, in the order of its price; all of it, so that one run tells all. Types are looked at while tests begin. */
async function verify() {
  const groups = [
    [["format and lint", join(bin, "biome"), ["check"]]],
    [
      ["types", join(bin, "tsc"), ["-p", "tsconfig.json"]],
      ["tests", node24(), [...verbs.test, ...words]],
    ],
  ];
  const failed = [];
  for (const steps of groups) {
    console.error(`== ${steps.map(([title]) => title).join(", ")}`);
    const codes = await Promise.all(steps.map(([, command, args]) => run(command, args)));
    const interrupted = codes.find((code) => code > 128);
    if (interrupted !== undefined) return interrupted;
    failed.push(...steps.filter((_, i) => codes[i] !== 0).map(([title]) => title));
  }
  if (failed.length > 0) console.error(`verify: failed: ${failed.join(", ")}`);
  return failed.length > 0 ? 1 : 0;
}

/**
 * Runs a command to its end and answers its exit code (128 + number for a signal, as a shell does).
 *
 * It gets a session of its own, and each signal from here: otherwise a Ctrl-C would reach it twice or more, from the
 * terminal, from npm and from this process. When this process is killed without warning, a pipe that only it holds open
 * tells the child (follow-parent.mjs).
 */
function run(command, args) {
  const isNode = command === node24();
  const follow = isNode ? ["--import", pathToFileURL(join(root, "local", "follow-parent.mjs")).href] : [];
  const child = spawn(command, [...follow, ...args], {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    detached: true,
    cwd: isNode ? process.cwd() : root,
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ""}`, MILLRACE_LIFELINE_FD: "3" },
  });
  child.stdio[3].on("error", () => {}); // the child may close its end first
  const last = new Map();
  const forward = (signal) => {
    // npm passes on what the terminal has already sent to all: within a second it is the same signal.
    const now = Date.now();
    if (now - (last.get(signal) ?? 0) < 1000) return;
    last.set(signal, now);
    child.kill(signal);
  };
  const handlers = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGWINCH"].map((signal) => {
    const handler = signal === "SIGWINCH" ? () => child.kill(signal) : () => forward(signal);
    process.on(signal, handler);
    return [signal, handler];
  });
  // npm killed without warning leaves this process behind: end as if asked to.
  const parent = process.ppid;
  const orphaned = setInterval(() => {
    if (process.env.npm_lifecycle_event && process.ppid !== parent) forward("SIGTERM");
  }, 500);
  return new Promise((resolve) => {
    const finish = (code) => {
      clearInterval(orphaned);
      for (const [signal, handler] of handlers) process.off(signal, handler);
      resolve(code);
    };
    child.once("error", (error) => {
      console.error(`millrace: cannot run ${command}: ${error.message}`);
      finish(1);
    });
    child.once("exit", (code, signal) => finish(code ?? 128 + (os.signals[signal] ?? 0)));
  });
}

/** The Node among the dependencies, or this one where that does not run and this one is new enough. */
function node24() {
  const brought = join(bin, process.platform === "win32" ? "node.exe" : "node");
  node24.path ??= spawnSync(brought, ["--version"]).status === 0 ? brought : undefined;
  if (!node24.path && Number(process.versions.node.split(".")[0]) >= 24) node24.path = process.execPath;
  if (node24.path) return node24.path;
  console.error(`millrace: the Node 24 that npm brought does not run here (${brought}): install Node 24 and try again`);
  process.exit(1);
}

/** Installs what the lockfile says, once, however many ask at the same time. */
async function ensureDependencies() {
  const wanted = createHash("sha256")
    .update(readFileSync(join(root, "pnpm-lock.yaml")))
    .digest("hex");
  const isThere = () => existsSync(join(bin, "node")) && readOr(stamp, "") === wanted;
  if (isThere()) return;
  const release = await lock(join(root, ".cache", "install.lock"));
  try {
    if (isThere()) return;
    console.error("millrace: bringing the dependencies (the first time about a minute) …");
    const problem = await install();
    if (problem !== undefined) {
      console.error(problem);
      console.error(
        "millrace: the dependencies could not be brought. See above for why (no network? disk full?), then run again, " +
          `or by hand: npx --yes ${pnpm} install --frozen-lockfile`,
      );
      process.exitCode = 1;
    } else writeFileSync(stamp, wanted);
  } finally {
    release();
  }
  if (process.exitCode) process.exit();
}

/** Answers what pnpm wrote when it failed. */
function install() {
  return new Promise((resolve) => {
    const env = { ...process.env, CI: "true", ...homeFor(process.env) };
    const child = spawn("npx", ["--yes", pnpm, "install", "--frozen-lockfile"], {
      cwd: root,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      shell: process.platform === "win32",
    });
    let output = "";
    const collect = (chunk) => {
      output = (output + chunk).slice(-20_000);
    };
    child.stdout.on("data", collect);
    child.stderr.on("data", collect);
    child.once("error", (error) => resolve(`npx: ${error.message} (npm comes with Node)`));
    child.once("close", (code) => resolve(code === 0 ? undefined : output));
  });
}

/** npm and pnpm keep what they download under the home folder; without a usable one, under the checkout. */
function homeFor(env) {
  const home = env.HOME || homedir();
  try {
    accessSync(home, constants.W_OK);
    return { HOME: home };
  } catch {
    const own = join(root, ".cache", "home");
    mkdirSync(own, { recursive: true });
    return { HOME: own };
  }
}

/** A lock file that names its holder; that of a dead process is taken over. Answers how to give it back. */
async function lock(path) {
  mkdirSync(join(path, ".."), { recursive: true });
  const mine = `${path}.${process.pid}`;
  writeFileSync(mine, String(process.pid));
  try {
    for (;;) {
      try {
        linkSync(mine, path);
        return () => rmSync(path, { force: true });
      } catch (error) {
        if (error.code !== "EEXIST") throw error;
      }
      const holder = readOr(path, "");
      if (holder && !isAlive(Number(holder))) {
        const aside = `${path}.stale.${process.pid}`;
        try {
          renameSync(path, aside);
          if (readOr(aside, "") !== holder) linkSync(aside, path); // another took it over first: give it back
        } catch {
          // another was faster
        }
        rmSync(aside, { force: true });
        continue;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function readOr(path, fallback) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return fallback;
  }
}
