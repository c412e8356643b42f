/**
 * Applications that are deployed again and again through the gateway, asked for all the while through Caddy, while everything
 * but Caddy, the engine and the applications themselves is ended by SIGKILL; and what must be true afterwards.
 */
import { randomInt, randomUUID } from "node:crypto";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import { nextOfDeployment } from "@millrace/domain/applications/next.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { openDocker } from "@millrace/orchestrator/adapters/docker.ts";
import * as assert from "uvu/assert";
import type { TestDocker } from "../harness/docker.ts";
import { ask } from "../harness/gateway.ts";
import { nodeApp } from "../harness/node-app.ts";
import { get, makeCommit, makeRepository } from "../harness/orchestrator.ts";
import { assertOnce, diskOf } from "./deaths.ts";
import { type House, openHouse, orchestratorNames, pause, until } from "./house.ts";

export interface DeployingOptions {
  readonly applications: number;
  /** Of them, in containers; without an engine all are static sites. */
  readonly containers: number;
  readonly deployments: number;
  readonly kills: number;
  readonly clients: number;
  readonly docker: TestDocker | undefined;
  readonly betweenMs: readonly [number, number];
}

export interface DeployingReport {
  readonly deployments: number;
  readonly kills: Readonly<Record<string, number>>;
  readonly requests: number;
  readonly failed: ReadonlyArray<string>;
  /** Attempts beyond the first, and what was found done. */
  readonly repeated: number;
  readonly adopted: number;
  /** From the request to the end, in milliseconds. */
  readonly p50: number;
  readonly most: number;
}

interface App {
  readonly name: string;
  readonly id: string;
  readonly host: string;
  readonly path: string;
  readonly isSite: boolean;
  /** Every text that it has ever been given. */
  readonly texts: Set<string>;
  /** What the last one that succeeded should answer. */
  expected: string;
}

const NODE = "local";
/** Until something is stuck: many kills a minute leave little time for work. */
const PATIENCE_MS = 1_200_000;

export async function deployUnderKills(options: DeployingOptions): Promise<DeployingReport> {
  const scope = options.docker?.scope();
  const house = await openHouse({
    backoff: { firstMs: 150, mostMs: 1_200 },
    orchestrators: 2,
    env: {
      MILLRACE_LEASE_SECONDS: "3",
      MILLRACE_RECONCILE_SECONDS: "3",
      MILLRACE_DOCKER_HOST: options.docker?.endpoint ?? "unix:///nonexistent/docker.sock",
      ...(scope === undefined ? {} : { MILLRACE_DOCKER_SCOPE: scope }),
    },
  });
  const port = Number(new URL(house.platform.publicUrl!).port);
  const log = await house.openLog();
  const image = options.docker === undefined ? "" : await options.docker.node();
  const apps = await Promise.all(
    Array.from({ length: options.applications }, (_, i) => makeApp(house, i, i < options.containers ? image : "")),
  );
  const ended: string[] = [];
  const tookMs: number[] = [];
  const deployOnce = async (app: App, how: "deploy" | "rollback" | "restart") => {
    const began = Date.now();
    const id = await askFor(house, app, how);
    await until(`${id} of ${app.name} ends`, () => isOver(log, id), PATIENCE_MS);
    tookMs.push(Date.now() - began);
    ended.push(id);
    const { state } = await log.aggregates.load(deployment, id);
    if (state.state !== "succeeded") throw new Error(`${id} ended ${state.state}: ${JSON.stringify(state.failure)}`);
  };
  await Promise.all(apps.map((app) => deployOnce(app, "deploy")));

  const load = new Requests(port, apps, options.clients);
  const failed = new AbortController();
  let isKilling = true;
  const killing = killAgainAndAgain(house, options, failed.signal).finally(() => {
    isKilling = false;
  });
  let left = options.deployments - apps.length;
  const deploying = apps.map(async (app) => {
    // Until there were enough of both.
    while (left-- > 0 || isKilling) {
      const how = (["deploy", "deploy", "rollback", "restart"] as const)[randomInt(4)]!;
      if (how === "deploy") change(app, image);
      await deployOnce(app, how);
    }
  });
  await Promise.all(deploying).catch((error: unknown) => {
    failed.abort();
    throw error;
  });
  const kills = await killing;
  await house.ready(120_000);
  await load.stop();

  const counts = await onceEach(log, ended);
  for (const app of apps) await assertWhole(house, log, port, app);
  if (options.docker !== undefined) await assertContainers(options.docker.endpoint, scope!, log, apps);
  await log.nats.nc.close();
  assert.equal(await house.stop(), [], "nothing is left running");
  tookMs.sort((a, b) => a - b);
  return {
    deployments: ended.length,
    kills,
    requests: load.answered,
    failed: load.failed,
    ...counts,
    p50: tookMs[tookMs.length >> 1]!,
    most: tookMs[tookMs.length - 1]!,
  };
}

/** @returns attempts beyond the first, and what was found done then */
async function onceEach(log: EventLog, ids: ReadonlyArray<string>): Promise<{ repeated: number; adopted: number }> {
  const counts = { repeated: 0, adopted: 0 };
  for (const id of ids) {
    const state = await assertOnce({ log }, id);
    for (const phase of Object.values(state.phases)) {
      counts.repeated += Math.max(0, phase.attempt - 1);
      if (phase.adopted === true && phase.attempt > 1) counts.adopted++;
    }
  }
  return counts;
}

async function isOver(log: EventLog, id: string): Promise<boolean> {
  const { state } = await log.aggregates.load(deployment, id);
  return state.finishedAt !== null && nextOfDeployment(state, Date.now()) === undefined;
}

/** A request to the gateway, which may just be starting again: repeated with the same key until it is answered. */
async function call(
  house: House,
  method: string,
  path: string,
  body: unknown,
): Promise<{ readonly id: string; readonly status: { readonly host: string } }> {
  const headers = { "idempotency-key": randomUUID() };
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask(house.url, method, `/v1/organisations/home${path}`, {
      token: house.owner,
      body,
      headers,
    }).catch(() => undefined);
    if (answer !== undefined && answer.status < 300) return answer.body;
    const isAway = answer === undefined || answer.status === 503 || answer.status === 409 || answer.status === 429;
    if (!isAway || Date.now() > deadline) throw new Error(`${method} ${path}: ${answer?.status} ${answer?.text}`);
    await pause(100);
  }
}

async function makeApp(house: House, i: number, image: string): Promise<App> {
  const isSite = image === "";
  const name = `${isSite ? "site" : "box"}-${i}`;
  const text = `${name} 0`;
  const folder = join(house.platform.dataDir, "local-sources");
  const path = makeRepository(folder, isSite ? { "index.html": text } : nodeApp(image, text));
  const made = await call(house, "POST", "/applications", {
    name,
    source: { kind: "path", path },
    build: { kind: isSite ? "static" : "dockerfile" },
    ...(isSite ? {} : { runtime: { port: 3000, memoryBytes: 128 * 1024 ** 2, stopTimeoutMs: 3_000 } }),
    health: { successes: 1, timeoutMs: 10_000, retries: 10 },
    policy: { minHealthyTimeMs: 0, healthyDeadlineMs: PATIENCE_MS, progressDeadlineMs: PATIENCE_MS, keepReleases: 3 },
  });
  return { name, id: made.id, host: made.status.host, path, isSite, texts: new Set([text]), expected: text };
}

let texts = 0;

function change(app: App, image: string): void {
  const text = `${app.name} ${++texts}`;
  app.texts.add(text);
  makeCommit(app.path, app.isSite ? { "index.html": text } : nodeApp(image, text));
}

async function askFor(house: House, app: App, how: "deploy" | "rollback" | "restart"): Promise<string> {
  try {
    return (await call(house, "POST", `/applications/${app.id}/${how}`, how === "restart" ? undefined : {})).id;
  } catch (error) {
    // There may be nothing to go back to yet.
    if (how !== "rollback" || !/422/.test((error as Error).message)) throw error;
    return askFor(house, app, "deploy");
  }
}

async function killAgainAndAgain(
  house: House,
  { kills: wanted, betweenMs: [least, most] }: DeployingOptions,
  failed: AbortSignal,
): Promise<Record<string, number>> {
  const kills: Record<string, number> = {};
  const others = ["gateway", "projector", "nats"];
  const orchestrators = orchestratorNames(2);
  for (let count = 0; count < wanted && !failed.aborted; ) {
    await pause(least + Math.random() * (most - least));
    // The orchestrators more often: it is about what they leave behind.
    const name = house.killOne(Math.random() < 0.6 ? orchestrators : others);
    if (name === undefined) continue;
    count++;
    kills[name] = (kills[name] ?? 0) + 1;
    if (count % 50 === 0) console.log(`  ${count} kills`);
    // Everything comes back now and then, or nothing but starting would be tried.
    if (count % 10 === 0) await house.ready(120_000);
  }
  return kills;
}

/** Clients that ask without a pause, over kept connections and over new ones. */
class Requests {
  readonly failed: string[] = [];
  answered = 0;
  #stopped = false;
  readonly #clients: Promise<void>[];

  constructor(port: number, apps: ReadonlyArray<App>, clients: number) {
    this.#clients = Array.from({ length: clients }, (_, i) => this.#client(port, apps, i));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
  }

  async #client(port: number, apps: ReadonlyArray<App>, i: number): Promise<void> {
    const agent = new Agent({ keepAlive: i % 2 === 0, maxSockets: 1 });
    for (let n = i; !this.#stopped; n++) {
      const app = apps[n % apps.length]!;
      const wrong = await once(port, app, agent);
      this.answered++;
      if (wrong !== undefined) this.failed.push(`${new Date().toISOString()} ${app.name}: ${wrong}`);
      await pause(5);
    }
    agent.destroy();
  }
}

const once = (port: number, app: App, agent: Agent): Promise<string | undefined> =>
  new Promise((resolve) => {
    const sent = request({ host: "127.0.0.1", port, path: "/", agent, headers: { host: app.host } }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      answer.once("end", () => {
        if (answer.statusCode !== 200) resolve(`${answer.statusCode} ${text.slice(0, 100)}`);
        else resolve(app.texts.has(text) ? undefined : `it answered ${JSON.stringify(text.slice(0, 100))}`);
      });
      answer.once("error", (error) => resolve(error.message));
    });
    sent.setTimeout(30_000, () => sent.destroy(new Error("no answer within 30 s")));
    sent.once("error", (error) => resolve(error.message));
    sent.end();
  });

/** What it serves, what stands on the disk and what the log says are the same. */
async function assertWhole(house: House, log: EventLog, port: number, app: App): Promise<void> {
  const { state } = await log.aggregates.load(application, app.id);
  assert.equal([state.active, state.queue], [null, []], `${app.name} is at rest`);
  const live = state.live!;
  const served = await get(port, app.host);
  assert.equal([served.status, served.deployment], [200, live.deployment], app.name);
  const disk = diskOf({ data: house.platform.dataDir, node: NODE }, app.id);
  const named = (link: string) => disk.find((name) => name.startsWith(`/${link} ->`));
  assert.is(named("current"), `/current -> releases/${live.release}`, app.name);
  assert.is(named("route"), `/route -> routes/${live.generation}`, app.name);
  const releases = disk.filter((name) => /^\/releases\/[0-9a-f]{64}\/$/.test(name)).length;
  const known = new Set(state.releases.map(({ release }) => release)).size;
  assert.ok(releases <= known, `${app.name}: ${releases} releases on the disk, ${known} in the log`);
  assert.equal(
    disk.filter((name) => /\/\.(new|gone)/.test(name)),
    [],
    `${app.name}: nothing half made is left`,
  );
}

/** One container of each application in containers, of its live deployment; and no image but those to go back to. */
async function assertContainers(
  endpoint: string,
  scope: string,
  log: EventLog,
  apps: ReadonlyArray<App>,
): Promise<void> {
  const engine = openDocker({ endpoint, scope });
  const expected: string[] = [];
  for (const { id, isSite } of apps) {
    if (isSite) continue;
    const { state } = await log.aggregates.load(application, id);
    expected.push(`${state.live!.deployment} 0 running`);
  }
  const containers = await engine.listContainers();
  assert.equal(containers.map((one) => `${one.deployment} ${one.slot} ${one.state}`).sort(), expected.sort());
  engine.close();
}
