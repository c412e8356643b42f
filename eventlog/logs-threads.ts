/**
 * The threads of this process that look through chunks: few, started when they are first needed and ended when nobody has
 * searched for a while. Among searches goes next who has taken the least of their time: one that is hard work, however many
 * chunks it has, lets all others pass.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { LogMatch } from "./logs.ts";
import type { Found, LookAt } from "./logs-look.ts";

/** To a thread. */
export interface Wanted {
  readonly search: number;
  readonly match: LogMatch;
  readonly data: Uint8Array;
  readonly at: LookAt;
}

/** From a thread, in the order in which it was asked. */
export type Told = ({ readonly found: Found } | { readonly failure: string }) & { readonly tookMs: number };

const THREADS = Math.max(1, Math.min(4, availableParallelism()));
/** Sent to a thread at once: the second lies ready when the first is done. */
const SENT_MOST = 2;
const IDLE_MS = 60_000;

interface Task {
  readonly of: Searching;
  readonly data: Uint8Array;
  readonly at: LookAt;
  readonly done: PromiseWithResolvers<Found>;
}

interface Thread {
  readonly worker: Worker;
  readonly sent: Task[];
}

const threads: Thread[] = [];
/** Searches with chunks that wait. */
const waiting = new Set<Searching>();
let searches = 0;
let idle: NodeJS.Timeout | undefined;

/** One search: its chunks, and the time that they have taken. */
export class Searching {
  readonly #match: LogMatch;
  readonly #id = ++searches;
  readonly tasks: Task[] = [];
  tookMs = 0;

  constructor(match: LogMatch) {
    this.#match = match;
  }

  /** @throws Error when the chunk is damaged, or the search has ended */
  look(data: Uint8Array, at: LookAt): Promise<Found> {
    if (!waiting.has(this)) {
      // Who comes now, or comes back, begins beside those who wait, not ahead of what they were promised.
      const least = Math.min(...[...waiting].map(({ tookMs }) => tookMs));
      if (waiting.size > 0) this.tookMs = Math.max(this.tookMs, least);
      waiting.add(this);
    }
    const done = Promise.withResolvers<Found>();
    this.tasks.push({ of: this, data, at, done });
    pass();
    return done.promise;
  }

  end(): void {
    waiting.delete(this);
    for (const { done } of this.tasks.splice(0)) done.reject(new Error("the search has ended"));
  }

  wanted({ data, at }: Task): Wanted {
    // A copy: it lies in a buffer with much else, which would all go along.
    return { search: this.#id, match: this.#match, data: new Uint8Array(data), at };
  }
}

/** Hands out what waits, as far as threads take it. */
function pass(): void {
  clearTimeout(idle);
  while (waiting.size > 0) {
    const thread = freest();
    if (thread === undefined) return;
    let next: Searching | undefined;
    for (const one of waiting) if (next === undefined || one.tookMs < next.tookMs) next = one;
    const task = next!.tasks.shift()!;
    if (next!.tasks.length === 0) waiting.delete(next!);
    thread.sent.push(task);
    const wanted = next!.wanted(task);
    thread.worker.postMessage(wanted, [wanted.data.buffer as ArrayBuffer]);
  }
  if (threads.every(({ sent }) => sent.length === 0)) idle = setTimeout(endAll, IDLE_MS).unref();
}

/** @returns undefined when all have enough to do */
function freest(): Thread | undefined {
  let found: Thread | undefined;
  for (const thread of threads) if (found === undefined || thread.sent.length < found.sent.length) found = thread;
  if ((found === undefined || found.sent.length > 0) && threads.length < THREADS) found = open();
  return found!.sent.length < SENT_MOST ? found : undefined;
}

function open(): Thread {
  const worker = new Worker(new URL("./logs-thread.ts", import.meta.url), { name: "log search" });
  // A search that runs keeps no process alive: whoever waits for it does.
  worker.unref();
  const thread: Thread = { worker, sent: [] };
  worker.on("message", (told: Told) => {
    const { of, done } = thread.sent.shift()!;
    of.tookMs += told.tookMs;
    if ("found" in told) done.resolve(told.found);
    else done.reject(new Error(told.failure));
    pass();
  });
  const lost = (error: unknown) => {
    const at = threads.indexOf(thread);
    if (at >= 0) threads.splice(at, 1);
    for (const { done } of thread.sent.splice(0)) done.reject(error);
    pass();
  };
  worker.on("error", lost);
  worker.on("exit", () => lost(new Error("a thread that searches has ended")));
  threads.push(thread);
  return thread;
}

function endAll(): void {
  for (const { worker } of threads.splice(0)) void worker.terminate();
}
