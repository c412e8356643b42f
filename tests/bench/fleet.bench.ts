/**
 * 10,000 simulated devices (a process, or `FLEET_SIMULATORS`, of their own) kept by ours and by bare `ws` and `undici` with the same
 * exchanges: sockets held, full statuses asked, notifications merged, polls without a socket. What is compared is the processor's time for
 * each, because the simulator works on the same machine. `FLEET_DEVICES` makes it smaller.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { BenchDevice, Took } from "./fleet-driver.ts";
import { median, report } from "./measure.ts";
import { type Bench, bench } from "./servers.ts";

const DEVICES = Number(process.env.FLEET_DEVICES ?? 10_000);
const SIMULATORS = Number(process.env.FLEET_SIMULATORS ?? 1);
const ROUNDS = 3;
const NOTICES = DEVICES * 5;
const MODELS = "S3SW-001X16EU,SNSW-001X16EU,SNSW-102P16EU,S4SW-001X16EU";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

class Process {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(b: Bench, script: string, args: readonly string[]) {
    this.#child = spawn(process.execPath, ["--expose-gc", path(script), ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    b.defer(() => this.end());
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("a process has ended");
    return value;
  }

  /** @param during what sets off what it waits for */
  async tell(command: string, during?: () => Promise<void>): Promise<Took> {
    this.#child.stdin!.write(`${command}\n`);
    if (during !== undefined) {
      await this.line();
      await during();
    }
    return JSON.parse(await this.line()) as Took;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ended;
  }
}

interface Figures {
  readonly base: number;
  readonly open: Took;
  readonly status: Took[];
  readonly notices: Took[];
}

await bench(async (b) => {
  const file = join(b.folder, "devices.json");
  const devices: BenchDevice[] = [];
  const controls: string[] = [];
  for (let i = 0; i < SIMULATORS; i++) {
    const count = Math.ceil(DEVICES / SIMULATORS);
    const args = [
      "--devices",
      String(count),
      "--models",
      MODELS,
      "--base",
      `127.${40 + i * 20}.0.1`,
      "--seed",
      String(i + 1),
    ];
    const simulator = new Process(b, "../simulators/shelly/main.ts", [
      ...args,
      "--port",
      "0",
      "--no-mdns",
      "--no-coiot",
      "--json",
    ]);
    const told = JSON.parse(await simulator.line()) as { control: string; devices: BenchDevice[] };
    controls.push(told.control);
    devices.push(...told.devices);
  }
  writeFileSync(file, JSON.stringify(devices));
  const storm = async () => {
    const count = NOTICES / SIMULATORS;
    const answers = controls.map((control) =>
      fetch(`${control}/storm`, { method: "POST", body: JSON.stringify({ count }) }),
    );
    for (const answer of await Promise.all(answers)) await answer.text();
  };

  const sockets = async (script: string): Promise<Figures> => {
    const client = new Process(b, script, [file, "sockets"]);
    const { rss: base } = await client.tell("notices 0", async () => {});
    const open = await client.tell("open");
    const [status, notices]: [Took[], Took[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) status.push(await client.tell("status"));
    // The bound of ours on one device is 20 a second: five for each are below it.
    for (let round = 0; round < ROUNDS; round++) notices.push(await client.tell(`notices ${NOTICES}`, storm));
    await client.end();
    return { base, open, status, notices };
  };
  const polls = async (script: string): Promise<Took[]> => {
    const client = new Process(b, script, [file, "polls"]);
    await client.tell("poll");
    const found: Took[] = [];
    for (let round = 0; round < ROUNDS; round++) found.push(await client.tell("poll"));
    await client.end();
    return found;
  };

  const [OURS, PEER] = ["./fleet-ours.ts", "./peers/bare-fleet.ts"];
  const [ours, theirs] = [await sockets(OURS), await sockets(PEER)];
  const [ourPolls, theirPolls] = [await polls(OURS), await polls(PEER)];

  const against = "bare ws and undici";
  const row = (what: string, reach: string, mine: readonly Took[], peers: readonly Took[], count: number) => {
    const cpu = (all: readonly Took[]) => (median(all.map(({ cpuMs }) => cpuMs)) / count) * 1000;
    const shown = (all: readonly Took[]) =>
      `${cpu(all).toFixed(0)} µs of the processor, ${Math.round((count / median(all.map(({ ms }) => ms))) * 1000).toLocaleString("en")}/s`;
    report({
      ...{ what, against, reach, ratio: cpu(peers) / cpu(mine), ours: shown(mine), theirs: shown(peers) },
      durability: "in memory",
    });
  };
  const n = `${DEVICES.toLocaleString("en")} devices`;
  row(`a WebSocket to each and its full status, ${n}, cold`, "≥ 0.6", [ours.open], [theirs.open], DEVICES);
  row(`full statuses over open sockets, ${n}`, "≥ 0.6", ours.status, theirs.status, DEVICES);
  row(`notifications merged, ${n}`, "≥ 0.6", ours.notices, theirs.notices, NOTICES);
  row(`polls by HTTP, ${n}`, "≥ 0.6", ourPolls, theirPolls, DEVICES);
  const memory = ({ open, base }: Figures) => (open.rss - base) / DEVICES / 1024;
  report({
    what: `memory for each device held, ${n}`,
    against,
    ratio: memory(theirs) / memory(ours),
    reach: "≥ 0.6",
    ours: `${memory(ours).toFixed(1)} KiB`,
    theirs: `${memory(theirs).toFixed(1)} KiB`,
    durability: "in memory",
  });
});
