/**
 * Deploying, against the same done by hand: `git`, build, run and waiting for an answer. Rolling back against stop and start. Many at
 * once against the bare builds. And what it costs to look at five hundred applications when nothing is wrong.
 * BENCH_QUEUED and BENCH_APPLICATIONS change how many.
 */
import { execFile } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { readSettings } from "@millrace/eventlog/settings.ts";
import { askDocker } from "@millrace/local/docker.ts";
import { ORCHESTRATOR_SETTINGS } from "@millrace/orchestrator/config.ts";
import { startOrchestrator } from "@millrace/orchestrator/start.ts";
import { startOwnDocker } from "../harness/docker.ts";
import { type Grounds, openGrounds } from "../harness/orchestrator.ts";
import { runFileCleanUps } from "../harness/suite.ts";
import { median, report } from "./measure.ts";
import { bench } from "./servers.ts";

const run = promisify(execFile);
const ROUNDS = 5;
const QUEUED = Number(process.env.BENCH_QUEUED ?? 200);
const APPLICATIONS = Number(process.env.BENCH_APPLICATIONS ?? 500);
const seconds = (ms: ReadonlyArray<number>) => `median ${(median(ms) / 1_000).toFixed(2)} s`;

/** A server of one file, whose build takes about as long as a small real one. */
const files = (image: string, text: string) => ({
  Dockerfile: `FROM ${image}\nCOPY index.html /www/index.html\nRUN sleep 1\nEXPOSE 3000\nCMD ["busybox", "httpd", "-f", "-p", "3000", "-h", "/www"]\n`,
  "index.html": text,
});

const spec = (path: string) => ({
  source: { kind: "path" as const, path },
  build: { kind: "dockerfile" as const },
  runtime: { port: 3000, memoryBytes: 64 * 1024 ** 2, stopTimeoutMs: 1_000 },
  health: { successes: 1 },
  policy: { minHealthyTimeMs: 0, healthyDeadlineMs: 120_000, progressDeadlineMs: 3_600_000, keepReleases: 3 },
});

/** Milliseconds from the request to the end, looked for every so often. */
async function timed(grounds: Grounds, ask: () => Promise<string>, everyMs = 5): Promise<number> {
  const began = performance.now();
  const id = await ask();
  for (;;) {
    const state = await grounds.deployment(id);
    if (state.finishedAt !== null) {
      if (state.state !== "succeeded") throw new Error(JSON.stringify(state.failure));
      return performance.now() - began;
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

class ByHand {
  readonly #endpoint: string;
  #made = 0;
  #hasNetwork: Promise<string> | undefined;
  constructor(endpoint: string) {
    this.#endpoint = endpoint;
  }

  async #ask(method: "GET" | "POST" | "DELETE", path: string, body?: Buffer, type?: string): Promise<string> {
    const { status, text } = await askDocker(this.#endpoint, method, path, body && Readable.from([body]), type);
    if (status >= 400 || text.includes('"errorDetail"')) {
      throw new Error(`${method} ${path}: ${status} ${text.slice(-300)}`);
    }
    return text;
  }

  /** @returns the image's name */
  async build(path: string): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), "by-hand-"));
    await run("git", ["clone", "-q", "--depth", "1", `file://${path}`, folder]);
    const { stdout } = await run("tar", ["-C", folder, "--exclude", ".git", "-cf", "-", "."], {
      encoding: "buffer",
      maxBuffer: 64 * 1024 ** 2,
    });
    await run("rm", ["-rf", folder]);
    const tag = `by-hand:${++this.#made}`;
    await this.#ask("POST", `/build?t=${tag}&rm=1&forcerm=1`, stdout);
    return tag;
  }

  /** The tests' engine has no network of its own. Another run beside this one, or one that was ended, may have the same addresses. */
  async #network(): Promise<string> {
    this.#hasNetwork ??= this.#ask(
      "POST",
      "/networks/create",
      Buffer.from(
        JSON.stringify({ Name: "by-hand", IPAM: { Config: [{ Subnet: `10.214.${process.pid % 256}.0/27` }] } }),
      ),
      "application/json",
    );
    await this.#hasNetwork;
    return "by-hand";
  }

  /** @returns name and port */
  async start(image: string): Promise<{ readonly name: string; readonly port: number }> {
    const name = `by-hand-${++this.#made}`;
    const NetworkMode = await this.#network();
    const body = {
      Image: image,
      ExposedPorts: { "3000/tcp": {} },
      HostConfig: {
        NetworkMode,
        PortBindings: { "3000/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] },
        Memory: 64 * 1024 ** 2,
      },
    };
    await this.#ask("POST", `/containers/create?name=${name}`, Buffer.from(JSON.stringify(body)), "application/json");
    await this.#ask("POST", `/containers/${name}/start`);
    return { name, port: await this.answers(name) };
  }

  /** Until it answers. @returns its port */
  async answers(name: string): Promise<number> {
    const shown = JSON.parse(await this.#ask("GET", `/containers/${name}/json`));
    const port = Number(shown.NetworkSettings.Ports["3000/tcp"][0].HostPort);
    while (!(await isAnswered(port))) await new Promise((resolve) => setTimeout(resolve, 20));
    return port;
  }

  stop = (name: string) => this.#ask("POST", `/containers/${name}/stop?t=1`);
  again = (name: string) => this.#ask("POST", `/containers/${name}/start`);
  remove = (name: string) => this.#ask("DELETE", `/containers/${name}?force=1`);
}

const isAnswered = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const sent = request({ host: "127.0.0.1", port, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    sent.once("error", () => resolve(false));
    sent.end();
  });

const more = (ours: ReadonlyArray<number>, theirs: ReadonlyArray<number>) => (median(ours) - median(theirs)) / 1_000;

await bench(async (b) => {
  b.defer(() => runFileCleanUps());
  const docker = await startOwnDocker({
    skip: (reason) => {
      throw new Error(reason);
    },
  });
  const image = await docker.busybox();
  const hand = new ByHand(docker.endpoint);
  const grounds = await openGrounds({
    env: {
      MILLRACE_DOCKER_HOST: docker.endpoint,
      MILLRACE_DOCKER_SCOPE: docker.scope(),
      MILLRACE_LEASE_SECONDS: "10",
      MILLRACE_RECONCILE_SECONDS: "15",
      MILLRACE_LOG_LEVEL: "warn",
    },
  });
  const worker = await grounds.start();
  await worker.ready();
  await oneByOne(grounds, hand, image);
  await manyAtOnce(grounds, hand, image);
  await worker.process.stop();
  await nothingWrong(grounds);
});

async function oneByOne(grounds: Grounds, hand: ByHand, image: string): Promise<void> {
  const path = grounds.repository(files(image, "0"));
  const { id } = await grounds.create({ name: "timed", ...spec(path) });
  await timed(grounds, () => grounds.deploy(id));
  const cold = { ours: [] as number[], theirs: [] as number[] };
  const cached = { ours: [] as number[], theirs: [] as number[] };
  for (let round = 1; round <= ROUNDS; round++) {
    // Another text each time, for them and for us: the layers behind it are built.
    for (const kind of [cold, cached]) {
      if (kind === cold) grounds.commit(path, files(image, `ours ${round}`));
      kind.ours.push(await timed(grounds, () => grounds.deploy(id)));
    }
    grounds.commit(path, files(image, `theirs ${round}`));
    for (const kind of [cold, cached]) {
      const began = performance.now();
      const { name } = await hand.start(await hand.build(path));
      kind.theirs.push(performance.now() - began);
      await hand.remove(name);
    }
  }
  for (const [what, { ours, theirs }] of [
    ["cold", cold],
    ["cached", cached],
  ] as const) {
    report({
      what: `deployment from request to verified, ${what}: seconds more`,
      against: "git clone, docker build, create, start and waiting for an answer by hand",
      ratio: more(ours, theirs),
      reach: "≤ 1 s more",
      ours: seconds(ours),
      theirs: seconds(theirs),
      durability: "sync always",
    });
  }
  const back = { ours: [] as number[], theirs: [] as number[] };
  const { name } = await hand.start(await hand.build(path));
  for (let round = 0; round < ROUNDS; round++) {
    back.ours.push(await timed(grounds, () => grounds.deploy(id, { trigger: "rollback" })));
    const began = performance.now();
    await hand.stop(name);
    await hand.again(name);
    await hand.answers(name);
    back.theirs.push(performance.now() - began);
  }
  await hand.remove(name);
  report({
    what: "rollback, image present: seconds more (and no request lost)",
    against: "docker stop, docker start and waiting for an answer by hand",
    ratio: more(back.ours, back.theirs),
    reach: "≤ 1 s more",
    ours: seconds(back.ours),
    theirs: seconds(back.theirs),
    durability: "sync always",
  });
}

async function manyAtOnce(grounds: Grounds, hand: ByHand, image: string): Promise<void> {
  const paths = Array.from({ length: QUEUED }, (_, i) => grounds.repository(files(image, `queued ${i}`)));
  const ids: string[] = [];
  for (const [i, path] of paths.entries()) {
    ids.push((await grounds.create({ name: `queued-${i}`, ...spec(path) })).id);
  }
  const began = performance.now();
  // Two hundred that look every few milliseconds would be most of what is measured.
  await Promise.all(ids.map((id) => timed(grounds, () => grounds.deploy(id), 500)));
  const ours = performance.now() - began;
  for (const id of ids) await grounds.remove(id);
  for (const id of ids)
    while ((await grounds.application(id)).exists) await new Promise((done) => setTimeout(done, 100));
  let bare = 0;
  for (const path of paths) {
    // Of another text, or the layers of ours would be used.
    grounds.commit(path, { "index.html": `bare ${path}` });
    const from = performance.now();
    await hand.build(path);
    bare += performance.now() - from;
  }
  report({
    what: `${QUEUED} deployments queued, 2 at a time, until all are verified`,
    against: "sum of the bare builds, one after the other",
    ratio: ours / bare,
    reach: "≤ 1.15",
    ours: `${(ours / 1_000).toFixed(1)} s`,
    theirs: `${(bare / 1_000).toFixed(1)} s`,
    durability: "sync always",
  });
}

async function nothingWrong(grounds: Grounds): Promise<void> {
  const env = { ...grounds.environment, MILLRACE_RECONCILE_SECONDS: "3600", MILLRACE_DEPLOYMENTS_AT_ONCE: "16" };
  const logger = makeLogger({ service: "orchestrator", level: "error" });
  const orchestrator = await startOrchestrator(readSettings(ORCHESTRATOR_SETTINGS, env), logger, "bench");
  const path = grounds.repository({ "index.html": "the same of all" });
  const ids: string[] = [];
  for (let i = 0; i < APPLICATIONS; i++) ids.push((await grounds.site(`looked-at-${i}`, path)).id);
  const made = await Promise.all(ids.map((id) => grounds.deploy(id)));
  for (const id of made) await grounds.succeeds(id, 1_200_000);
  await orchestrator.index.reached(await grounds.log.head("applications"), 60_000);
  const head = await grounds.log.head("applications");
  const rounds: number[] = [];
  const signal = new AbortController().signal;
  for (let round = 0; round < 20; round++) {
    const before = process.cpuUsage();
    const { applications, drifted } = await orchestrator.rounds.round(signal);
    const { user, system } = process.cpuUsage(before);
    if (applications < APPLICATIONS || drifted > 0) throw new Error(`${applications} looked at, ${drifted} drifted`);
    rounds.push((user + system) / 1e6);
  }
  const written = (await grounds.log.head("applications")) - head;
  report({
    what: `a round over ${APPLICATIONS} applications with nothing wrong, CPU seconds (${written} events written)`,
    against: "–",
    ratio: median(rounds),
    reach: "–",
    ours: `${median(rounds).toFixed(3)} s of CPU, most ${Math.max(...rounds).toFixed(3)}`,
    theirs: "–",
    durability: "sync always",
  });
  if (written > 0) throw new Error(`${written} events were written with nothing wrong`);
  await orchestrator.stop();
}
