/**
 * Holds a Docker engine for tests; started by docker-engine.ts in namespaces of its own for mounts and processes. What the
 * engine would leave on the machine (/etc/docker, /opt/containerd, /run) it writes into a folder of the run instead, and
 * all that it started ends with this process.
 *
 * Standard input: `kill` (SIGKILL to dockerd alone), `start` (again, on the same data), `freeze`, `thaw`. At its end,
 * however it comes about, containers and networks are removed, the engine ends, and so does this.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmdirSync, rmSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { askDocker } from "@millrace/local/docker.ts";

export interface GuardOptions {
  readonly folder: string;
  /** Where dockerd and its companions are, beside the path. */
  readonly programs: readonly string[];
  /** Name of the control group above all containers. */
  readonly cgroup: string;
}

const options = JSON.parse(process.argv[2]!) as GuardOptions;
const { folder, cgroup } = options;
const endpoint = `unix://${join(folder, "docker.sock")}`;
let engine: ChildProcess | undefined;

mount("-t", "tmpfs", "tmpfs", "/run");
for (const place of ["etc", "opt"]) {
  const [upper, work] = ["upper", "work"].map((part) => join(folder, `${place}-${part}`));
  for (const path of [upper!, work!]) mkdirSync(path, { recursive: true });
  mount("-t", "overlay", "overlay", "-o", `lowerdir=/${place},upperdir=${upper},workdir=${work}`, `/${place}`);
}
startEngine();

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  if (line === "kill") engine?.kill("SIGKILL");
  if (line === "freeze") engine?.kill("SIGSTOP");
  if (line === "thaw") engine?.kill("SIGCONT");
  if (line === "start") startEngine();
});
lines.on("close", () => void end());
process.on("SIGTERM", () => void end());

function mount(...args: string[]): void {
  const { status, stderr } = spawnSync("mount", args, { encoding: "utf8" });
  // Where it cannot be had (an overlay on an overlay), the engine writes where it always does.
  if (status !== 0) console.error(`mount ${args.join(" ")}: ${stderr.trim()}`);
}

function startEngine(): void {
  // A killed engine leaves its socket and its file of the process id.
  for (const name of ["docker.sock", "docker.pid"]) rmSync(join(folder, name), { force: true });
  const args = [
    ["--host", endpoint],
    ["--data-root", join(folder, "data")],
    ["--exec-root", join(folder, "exec")],
    ["--pidfile", join(folder, "docker.pid")],
    ["--cgroup-parent", `/${cgroup}`],
    // No rule of the machine's firewall is touched: published ports are served by docker-proxy, and containers reach
    // only their own network and this machine.
    ["--bridge", "none"],
    ["--iptables=false"],
    ["--ip6tables=false"],
    ["--ip-forward=false"],
    ["--ip-masq=false"],
    ["--shutdown-timeout", "2"],
    ["--log-level", "warn"],
  ].flat();
  const path = [...options.programs, process.env.PATH ?? ""].join(delimiter);
  engine = spawn("dockerd", args, { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, PATH: path } });
  engine.once("error", (error) => {
    console.error(`dockerd: ${error.message}`);
    process.exit(1);
  });
}

let ending = false;
async function end(): Promise<void> {
  if (ending) return;
  ending = true;
  setTimeout(() => process.exit(1), 30_000); // with it, everything ends
  engine?.kill("SIGCONT");
  await empty().catch((error: Error) => console.error(`not emptied: ${error.message}`));
  if (engine && engine.exitCode === null && engine.signalCode === null) {
    const ended = new Promise((resolve) => engine?.once("exit", resolve));
    engine.kill("SIGTERM");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5_000))]);
  }
  removeCgroups();
  process.exit(0);
}

/** Bridges outlive an engine: they go with their networks, and those with their containers. */
async function empty(): Promise<void> {
  const list = async <A>(path: string) => JSON.parse((await askDocker(endpoint, "GET", path)).text) as A[];
  const containers = await list<{ Id: string }>("/containers/json?all=1");
  for (const { Id } of containers) await askDocker(endpoint, "DELETE", `/containers/${Id}?force=1&v=1`);
  const networks = await list<{ Id: string; Driver: string }>("/networks");
  for (const { Id, Driver } of networks)
    if (Driver === "bridge") await askDocker(endpoint, "DELETE", `/networks/${Id}`);
}

/** The engine leaves its empty group in every hierarchy. */
function removeCgroups(): void {
  const root = "/sys/fs/cgroup";
  const tops = [root, ...folders(root).map((name) => join(root, name))];
  for (const top of tops) {
    const path = join(top, cgroup);
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) removeTree(path);
  }
}

function removeTree(path: string): void {
  for (const name of folders(path)) removeTree(join(path, name));
  try {
    rmdirSync(path);
  } catch {
    // still in use for a moment: it is empty, and holds nothing back
  }
}

function folders(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
}
