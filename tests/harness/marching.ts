/**
 * Workers of marches (steps.ts): as a process to be killed and frozen, as a reactor inside a test, and the audit of what they did.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import type { Nats, NatsSettings } from "@millrace/eventlog/connection.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, type Outcome } from "@millrace/eventlog/execute.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { follow, type Running } from "./mill.ts";
import { type March, type MarchCommand, type MarchStep, march, nextStep, STEPS } from "./steps.ts";

/** Sleeps, or ends early when aborted. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });

/** The act: create if absent, and a line for every attempt that comes this far. @returns whether it was there already */
function act(world: string, id: string, { step, attempt }: MarchStep): boolean {
  appendFileSync(join(world, "reached.log"), `${id} ${step} ${attempt} ${process.pid}\n`);
  try {
    writeFileSync(join(world, `${id}.${step}`), `${attempt}\n`, { flag: "wx" });
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return true;
  }
}

/** Starts, sleeps, acts, completes. */
export function marchReactor(
  world: string,
  effectMs: number,
  more: Partial<Reactor<March, MarchCommand, MarchStep>> = {},
): Reactor<March, MarchCommand, MarchStep> {
  return {
    kind: march,
    unit: ({ unit }) => unit,
    next: nextStep,
    interrupts: ({ cancelled }) => cancelled,
    async perform(step: MarchStep, work: Work<March, MarchCommand>): Promise<Verdict> {
      const { worker } = work;
      await work.record({ do: "start", ...step, worker });
      await sleep(effectMs, work.signal);
      act(world, work.id, step);
      await work.record({ do: "complete", ...step, worker });
      return { again: true };
    },
    ...more,
  };
}

const ORGANISATION = "org_01kajzq4v0e8r9t2m5x7c3d6fg";
let commands = 0;

/** A command of a person's. */
export function command(log: EventLog, id: string, wanted: MarchCommand): Promise<Outcome<March>> {
  const commandId = `cmd_${process.pid}_${Date.now()}_${++commands}`;
  return execute(
    log,
    { kind: march, id, command: wanted },
    {
      organisation: ORGANISATION,
      actor: { kind: "token", id: "tok_test", name: "test" },
      commandId,
      digest: "",
      correlation: `cor_${commandId}`,
      causation: commandId,
      now: new Date().toISOString(),
    },
  );
}

export interface MarchingOptions {
  readonly nats: NatsSettings;
  readonly world: string;
  readonly node?: string;
  readonly ttlMs?: number;
  readonly effectMs?: number;
  readonly concurrency?: number;
  readonly sweepEveryMs?: number;
  /** As if it ran on a machine of its own: nobody can see whether its process lives. */
  readonly alone?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

const PROGRAM = fileURLToPath(new URL("../fixtures/marching-worker.ts", import.meta.url));

/** A worker process of its own. It says `working` when it is there. */
export function spawnWorker(options: MarchingOptions): Running & { readonly child: ChildProcess } {
  const { env, ...rest } = options;
  const child = spawn(process.execPath, [PROGRAM], {
    env: { ...process.env, MILLRACE_LOG_LEVEL: "warn", ...env, MARCHING: JSON.stringify(rest) },
    stdio: ["pipe", "pipe", "pipe"],
  });
  return follow(child);
}

export interface Audit {
  /** What must not be; empty when all is well. */
  readonly wrong: ReadonlyArray<string>;
  readonly finished: number;
  readonly attempts: number;
  readonly takeovers: number;
  /** Steps that more than one attempt brought to the world; one of them found it there. */
  readonly reachedTwice: number;
}

/** Reads the history of each march and compares it with the world. */
export async function audit(nats: Nats, world: string, ids: ReadonlyArray<string>): Promise<Audit> {
  const wrong: string[] = [];
  let [finished, attempts, takeovers] = [0, 0, 0];
  for (const id of ids) {
    let state = march.decider.initial(id);
    const completed = new Map<number, number>();
    for await (const commit of readCommits(nats, march, id)) {
      for (const { type, data } of commit.events) {
        const { step, attempt } = data as MarchStep;
        const { current, done } = state;
        if (type === "StepStarted") {
          attempts++;
          if (attempt > 1) takeovers++;
          const expected = current?.step === step ? current.attempt + 1 : 1;
          if (step !== done + 1 || attempt !== expected)
            wrong.push(`${id}: step ${step}.${attempt} started after ${done}`);
        }
        if (type === "StepCompleted") {
          completed.set(step, (completed.get(step) ?? 0) + 1);
          if (current?.step !== step || current.attempt !== attempt) wrong.push(`${id}: ${step}.${attempt} completed`);
        }
        const meta = { organisation: commit.organisation, actor: commit.actor, time: commit.at };
        state = march.decider.evolve(state, { type, data }, meta);
      }
    }
    for (const [step, times] of completed) if (times !== 1) wrong.push(`${id}: step ${step} completed ${times} times`);
    for (let step = 1; step <= state.done; step++) {
      if (!existsSync(join(world, `${id}.${step}`)))
        wrong.push(`${id}: step ${step} is completed and not in the world`);
    }
    if (state.done === STEPS) finished++;
    else wrong.push(`${id}: stands at ${state.done}`);
  }
  return { wrong, finished, attempts, takeovers, reachedTwice: reachedTwice(world) };
}

function reachedTwice(world: string): number {
  if (!readdirSync(world).includes("reached.log")) return 0;
  const reached = new Map<string, number>();
  for (const line of readFileSync(join(world, "reached.log"), "utf8").trim().split("\n")) {
    const [id, step] = line.split(" ");
    reached.set(`${id} ${step}`, (reached.get(`${id} ${step}`) ?? 0) + 1);
  }
  return [...reached.values()].filter((times) => times > 1).length;
}
