/**
 * A Docker engine for tests: its own data, socket, control group and process tree, beside (and without a trace in)
 * whatever engine the machine has. It ends, with all its containers, when this process does.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { askDocker, dockerPrograms, programOf } from "@millrace/local/docker.ts";
import { waitFor } from "@millrace/local/process.ts";
import type { GuardOptions } from "./docker-guard.ts";

const guard = fileURLToPath(new URL("./docker-guard.ts", import.meta.url));

export interface TestEngine {
  readonly unavailable?: undefined;
  /** `unix:///…` */
  readonly endpoint: string;
  /** SIGKILL to dockerd; its containers go on. Resolves when it does not answer any more. */
  kill(): Promise<void>;
  /** Again, on the same data. Resolves when it answers. */
  start(): Promise<void>;
  /** SIGSTOP and SIGCONT to dockerd. */
  freeze(): void;
  thaw(): void;
  /** Removes its containers and networks and ends it. */
  stop(): Promise<void>;
}

export interface NoEngine {
  /** Why there can be none here. */
  readonly unavailable: string;
}

/**
 * @param folder for its data; its path must be short (a socket lies in it).
 * @throws Error when an engine should run here and does not start.
 */
export async function startTestEngine(folder: string): Promise<TestEngine | NoEngine> {
  if (process.platform !== "linux") return { unavailable: "an engine of the tests' own needs Linux" };
  if (process.getuid?.() !== 0) return { unavailable: "an engine of the tests' own needs root" };
  const programs = await dockerPrograms({ bring: true });
  if (!("folders" in programs)) return { unavailable: programs.why };
  const namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const probe = spawnSync("unshare", [...namespaces, "mount", "-t", "tmpfs", "tmpfs", "/run"], { encoding: "utf8" });
  if (probe.status !== 0)
    return { unavailable: `this machine gives no namespaces of its own: ${probe.stderr ?? probe.error}` };
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  const options: GuardOptions = {
    folder,
    programs: programs.folders,
    cgroup: `millrace-${randomBytes(6).toString("hex")}`,
  };
  // The first process of a namespace has to take in orphans, which Node does not.
  const init = programOf(programs, "tini-static") ?? programOf(programs, "docker-init") ?? programOf(programs, "tini");
  const command = [...(init ? [init, "--"] : []), process.execPath, guard, JSON.stringify(options)];
  const logFile = join(folder, "log");
  const log = openSync(logFile, "a", 0o600);
  // Not bound by a death signal: at the end of its input it cleans up, and then all ends.
  // Nor ended, with everything of the file's at once, as something that a test left behind: it could not clean up.
  const { MILLRACE_TEST_MARK: _, ...env } = process.env;
  const child = spawn("unshare", [...namespaces, ...command], { stdio: ["pipe", log, log], detached: true, env });
  closeSync(log);
  child.stdin?.on("error", () => {});
  const engine = engineOf(child, `unix://${join(folder, "docker.sock")}`, logFile);
  try {
    await engine.ready();
  } catch (error) {
    await engine.stop();
    throw error;
  }
  return engine;
}

function engineOf(child: ChildProcess, endpoint: string, logFile: string): TestEngine & { ready(): Promise<void> } {
  let over = false;
  const exited = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("exit", () => resolve());
  }).then(() => {
    over = true;
  });
  const say = (word: string) => void child.stdin?.write(`${word}\n`);
  const answers = async () => {
    const answer = await askDocker(endpoint, "GET", "/_ping").catch(() => undefined);
    return answer?.status === 200;
  };
  const ready = async () => {
    if ((await waitFor(async () => over || (await answers()), 60_000)) && !over) return;
    const lines = readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-15);
    throw new Error(`the tests' Docker engine does not start:\n${lines.join("\n")}`);
  };
  return {
    endpoint,
    ready,
    async kill() {
      say("kill");
      if (!(await waitFor(async () => !(await answers()), 20_000))) throw new Error("dockerd does not die");
    },
    async start() {
      say("start");
      await ready();
    },
    freeze: () => say("freeze"),
    thaw: () => say("thaw"),
    async stop() {
      child.stdin?.end();
      const timer = setTimeout(() => child.kill("SIGKILL"), 40_000);
      await exited;
      clearTimeout(timer);
    },
  };
}
