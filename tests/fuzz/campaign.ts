/**
 * A fuzzing campaign: the whole API, made from its own document, over many connections at once against a gateway in a process
 * of its own, a projector, the log and PostgreSQL. What must hold of each answer stands in judge.ts; of the whole: the
 * gateway is alive, its memory does not grow with the number of requests, and what is in the log was answered with success.
 */
import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { makeToken } from "@millrace/contracts/token.ts";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { follow } from "@millrace/eventlog/follow.ts";
import type { GatewayConfig } from "@millrace/gateway/config.ts";
import * as fc from "fast-check";
import { testProjector, UNLIMITED } from "../harness/gateway.ts";
import { testNats, testPostgres } from "../harness/servers.ts";
import { deferToEndOfFile } from "../harness/suite.ts";
import { judge } from "./judge.ts";
import { anyPlan, type Plan, type Request, requestOf } from "./plan.ts";
import { type Answer, Cut, Wire } from "./wire.ts";
import { FuzzedWorld } from "./world.ts";

export interface Target {
  readonly port: number;
  readonly url: string;
  readonly config: GatewayConfig;
  readonly world: FuzzedWorld;
  readonly isAlive: () => boolean;
  /** Bytes in use after a collection. */
  readonly heap: () => Promise<number>;
}

/** Starts everything and fills it with something to work on. Ended with the file. */
export async function openTarget(): Promise<Target> {
  const nats = await testNats();
  const config: GatewayConfig = {
    natsUrl: nats.url,
    natsUser: nats.user,
    natsPassword: nats.pass,
    replicas: 1,
    postgresUrl: await testPostgres(),
    host: "127.0.0.1",
    port: 0,
    masterKey: randomBytes(32).toString("base64"),
    ownerToken: makeToken("mrp", randomBytes),
    organisation: "home",
    ...UNLIMITED,
  };
  await testProjector(config);
  const child = fork(fileURLToPath(new URL("gateway-process.ts", import.meta.url)), {
    execArgv: ["--expose-gc"],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  deferToEndOfFile(() => ended(child));
  const { url } = await askChild<{ url: string }>(child, { start: config });
  return {
    port: Number(new URL(url).port),
    url,
    config,
    world: await FuzzedWorld.make(url, config.ownerToken!),
    isAlive: () => child.exitCode === null && child.signalCode === null,
    heap: async () => (await askChild<{ heap: number }>(child, { heap: true })).heap,
  };
}

function askChild<A>(child: ChildProcess, message: object): Promise<A> {
  return new Promise((resolve, reject) => {
    const gone = (code: number | null, signal: string | null) =>
      reject(new Error(`the gateway ended: ${signal ?? code}`));
    child.once("exit", gone);
    child.once("message", (answer) => {
      child.off("exit", gone);
      resolve(answer as A);
    });
    child.send(message);
  });
}

function ended(child: ChildProcess): Promise<unknown> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  const exit = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  return exit;
}

export interface Outcome {
  readonly requests: number;
  /** How often a query was asked again because the machine was busy. */
  readonly busy: number;
  /** How often each status was answered, by operation; `-` where the request reached none for certain. */
  readonly statuses: ReadonlyMap<string, ReadonlyMap<number, number>>;
  /** Request ids of what succeeded. */
  readonly succeeded: ReadonlySet<string>;
  /** What did not hold, with the smallest request that shows it. */
  readonly failures: ReadonlyArray<string>;
}

const BEHIND_MS = 60_000;

/**
 * On a busy machine a query may come before the projector has come so far as what it saw, or find no connection to PostgreSQL in
 * time: then it is asked again. What is asked again is counted.
 */
async function ask(wire: Wire, request: Request, again: () => void): Promise<Answer> {
  const deadline = Date.now() + BEHIND_MS;
  for (;;) {
    const answer = await wire.ask(request);
    const busy = answer.status === 503 && /"what":"(projections|queries)"/.test(answer.body.toString());
    if (!busy || Date.now() > deadline) return answer;
    again();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const shown = ({ bytes }: Request, violation: string): string =>
  `${violation}\n--- the request (${bytes.length} bytes)\n${JSON.stringify(bytes.toString("latin1", 0, 3_000))
    .slice(1, -1)
    .replaceAll("\\r\\n", "\n")}`;

const SHRINKS_MOST = 300;

/** Sends `count` requests over `connections` connections. The seed decides all of them. */
export async function run(
  target: Target,
  seed: number,
  count: number,
  { connections = 24, plans = anyPlan }: { readonly connections?: number; readonly plans?: fc.Arbitrary<Plan> } = {},
): Promise<Outcome> {
  const statuses = new Map<string, Map<number, number>>();
  const succeeded = new Set<string>();
  const failures: string[] = [];
  let requests = 0;
  let busy = 0;

  const send = async (wire: Wire, plan: Plan): Promise<string | undefined> => {
    const request = requestOf(plan, target.world);
    requests++;
    try {
      const answer = await ask(wire, request, () => void busy++);
      const name = request.operation?.id ?? "-";
      const counts = statuses.get(name) ?? new Map<number, number>();
      statuses.set(name, counts.set(answer.status, (counts.get(answer.status) ?? 0) + 1));
      const { violation, body } = judge(request, answer);
      const id = answer.headers["x-request-id"];
      if (answer.status < 300 && id !== undefined) succeeded.add(id);
      if (answer.status < 300) target.world.learn(body, answer.headers["millrace-position"]);
      return violation && shown(request, violation);
    } catch (error) {
      if (error instanceof Cut && request.mayBeCut) return undefined;
      return shown(request, String(error));
    }
  };

  const worker = async (index: number) => {
    const wire = new Wire(target.port);
    let shrinks = 0;
    let found: string | undefined;
    const property = fc.asyncProperty(plans, async (plan) => {
      if (found !== undefined && shrinks++ > SHRINKS_MOST) return;
      const why = await send(wire, plan);
      if (why === undefined) return;
      found = why;
      throw new Error(why.split("\n", 1)[0]);
    });
    const numRuns = Math.floor(count / connections) + (index < count % connections ? 1 : 0);
    const details = await fc.check(property, { seed: seed + index, numRuns, maxSkipsPerRun: 0 });
    wire.close();
    if (details.failed)
      failures.push(`seed ${seed + index}, path ${details.counterexamplePath}: ${found ?? details.errorInstance}`);
  };
  await Promise.all(Array.from({ length: connections }, (_, index) => worker(index)));
  return { requests, busy, statuses, succeeded, failures };
}

/** Last sequence of each context's log. */
export async function heads({ config }: Target): Promise<Record<string, number>> {
  const nats = await connectNats(natsOf(config));
  try {
    const found: Record<string, number> = {};
    for await (const { config: stream, state } of nats.jsm.streams.list()) {
      if (stream.name.startsWith("EVT_")) found[stream.name.slice(4).toLowerCase()] = state.last_seq;
    }
    return found;
  } finally {
    await nats.close();
  }
}

const natsOf = ({ natsUrl: url, natsUser, natsPassword }: GatewayConfig) => ({
  url,
  user: natsUser!,
  password: natsPassword!,
  name: "fuzz",
});

/** @returns commits after the given heads that no successful answer stands for; empty when all is well */
export async function unansweredCommits(
  target: Target,
  from: Readonly<Record<string, number>>,
  succeeded: ReadonlySet<string>,
): Promise<{ read: number; unanswered: ReadonlyArray<string> }> {
  const until = await heads(target);
  const nats = await connectNats(natsOf(target.config));
  const unanswered: string[] = [];
  let read = 0;
  for (const [context, last] of Object.entries(until)) {
    const first = (from[context] ?? 0) + 1;
    if (last < first) continue;
    const stop = new AbortController();
    await follow(nats, {
      context,
      fromSeq: first,
      most: 500,
      signal: stop.signal,
      onBatch: ({ commits, lastSeq }) => {
        for (const { seq, actor, correlation, subject } of commits) {
          read++;
          // Services write on their own account, e.g. how often a token was used.
          if (actor.kind === "token" && !succeeded.has(correlation))
            unanswered.push(`${subject} ${seq} ${correlation}`);
        }
        if (lastSeq >= last) stop.abort();
      },
    });
  }
  await nats.close();
  return { read, unanswered };
}

export function table({ statuses }: Outcome): string {
  return [...statuses]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([name, counts]) =>
        `${name}: ${[...counts]
          .sort(([a], [b]) => a - b)
          .map(([status, n]) => `${status}×${n}`)
          .join(" ")}`,
    )
    .join("\n");
}
