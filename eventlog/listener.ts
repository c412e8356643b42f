/**
 * Listening to a context: every commit of it once at least and in order, for what must miss none (processes, alerts). Not for acting
 * on an aggregate: that is a worker's (worker.ts). What is heard is written down elsewhere by whoever listens, so that it is acted on by
 * a worker of there.
 *
 * One process of the whole installation listens under a name. How far it has come stands in the KV bucket `LISTENERS` and is written
 * after what was heard, so that a crash makes some of it be heard again and never skips any. What cannot be got past is a
 * dead letter: its aggregate is set aside, with everything that comes of it, and heard from there on when somebody asks for a retry.
 */
import { type KV, Kvm } from "@nats-io/kv";
import { readCommits } from "./aggregate.ts";
import type { StoredCommit } from "./commit.ts";
import { causeOf, type DeadLetter, type DeadLetters } from "./deadletters.ts";
import type { EventLog } from "./eventlog.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import { type FollowBatch, follow } from "./follow.ts";
import type { Check } from "./health.ts";
import type { Leases } from "./leases.ts";
import type { Logger } from "./logging.ts";
import { pause } from "./pause.ts";
import { runSingleton } from "./singleton.ts";
import { logStream } from "./subjects.ts";

export interface ListenOptions {
  readonly log: EventLog;
  readonly deadLetters: DeadLetters;
  readonly leases: Leases;
  readonly logger: Logger;
  /** Who listens, e.g. `processes`. */
  readonly name: string;
  readonly context: string;
  /** Where the very first of this name begins. */
  readonly from: "beginning" | "now";
  /** Whether it is heard at all. */
  readonly wants: (commit: StoredCommit) => boolean | Promise<boolean>;
  /**
   * Writes down what was heard; may be told the same again. What it throws is tried again, and is a dead letter at last.
   * @param how late: it had been set aside, so others that came after it were heard before
   */
  readonly hear: (commit: StoredCommit, how: { readonly late: boolean }) => Promise<void>;
  readonly signal: AbortSignal;
}

export interface Listener {
  /** Resolves when the signal was aborted. */
  readonly done: Promise<void>;
  /** For `/readyz`: of the process that listens. */
  checks(): ReadonlyArray<Check>;
}

const LISTENERS = "LISTENERS";
const BATCH = 200;
/** How far it has come is written this often where nothing was heard. */
const NOTE_EVERY_MS = 5_000;
const ASKED_MS = 2_000;
const TRIES = 5;
const AGAIN_MS = 1_000;

export function listen(options: ListenOptions): Listener {
  const { leases, logger, name, context, signal } = options;
  let run: Run | undefined;
  const done = runSingleton({
    leases,
    name: `listen.${name}.${context}`,
    signal,
    work: async (held) => {
      run = new Run(options, held);
      await run.go().finally(() => {
        run = undefined;
      });
    },
    onError: (err) => logger.warn({ err, context, listener: name }, "listening broke off; it begins again"),
  });
  return {
    done,
    checks: () => {
      const aside = run?.aside ?? 0;
      const told = aside === 0 ? {} : { detail: `${aside} aggregates are set aside as dead letters` };
      return [{ name: `listener ${name} ${context}`, ok: true, ...told }];
    },
  };
}

class Run {
  readonly #options: ListenOptions;
  readonly #signal: AbortSignal;
  readonly #aside = new Map<string, DeadLetter>();
  #bucket!: KV;
  #position = 0;
  #noted = 0;
  #notedAt = 0;
  /** One thing at a time: a batch, or what was set aside. */
  #turn: Promise<void> = Promise.resolve();

  constructor(options: ListenOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  get aside(): number {
    return this.#aside.size;
  }

  /** As dead letters name it. */
  get #consumer(): string {
    return `listener:${this.#options.name}`;
  }

  async go(): Promise<void> {
    const { log, context, deadLetters } = this.#options;
    this.#bucket = await new Kvm(log.nats.js).create(LISTENERS, { history: 1, replicas: log.nats.replicas });
    for (const letter of await deadLetters.list({ consumer: this.#consumer, context })) {
      this.#aside.set(`${letter.kind}/${letter.aggregate}`, letter);
    }
    this.#position = await this.#begin();
    // A newer release may get past what an older one could not.
    for (const key of [...this.#aside.keys()]) await this.#retry(key);
    const ended = new AbortController();
    const signal = AbortSignal.any([this.#signal, ended.signal]);
    const asked = this.#answerAsked(signal);
    try {
      await follow(log.nats, {
        context,
        fromSeq: this.#position + 1,
        most: BATCH,
        signal,
        onBatch: (batch) => this.#inTurn(() => this.#take(batch)),
      });
    } finally {
      ended.abort();
      await asked;
    }
    if (this.#position > this.#noted) await this.#note().catch(() => {});
  }

  get #key(): string {
    return `${this.#options.name}.${this.#options.context}`;
  }

  async #begin(): Promise<number> {
    const { log, context, from } = this.#options;
    const head = await log.head(context);
    const entry = await this.#bucket.get(this.#key);
    if (entry !== null && entry.operation === "PUT") {
      // Beyond the end: the log was restored to an earlier moment, and what comes now is new.
      this.#noted = Math.min(entry.json<{ seq: number }>().seq, head);
      return this.#noted;
    }
    this.#position = from === "now" ? head : 0;
    await this.#note();
    return this.#position;
  }

  async #note(): Promise<void> {
    await this.#bucket.put(this.#key, JSON.stringify({ seq: this.#position }));
    this.#noted = this.#position;
    this.#notedAt = Date.now();
    faultPoint("listener.noted");
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #take({ commits, lastSeq }: FollowBatch): Promise<void> {
    let heard = false;
    for (const commit of commits) {
      if (this.#signal.aborted) return;
      this.#position = commit.seq - 1;
      if (!(await this.#options.wants(commit))) continue;
      heard = true;
      if (this.#aside.has(`${commit.kind}/${commit.aggregate}`)) continue;
      await this.#hear(commit);
      if (this.#signal.aborted) return;
    }
    this.#position = lastSeq;
    faultPoint("listener.heard");
    if (heard || Date.now() - this.#notedAt > NOTE_EVERY_MS) await this.#note();
  }

  /** Until it was heard, or is set aside. */
  async #hear(commit: StoredCommit): Promise<void> {
    for (let failures = 0; !this.#signal.aborted; ) {
      try {
        return await this.#options.hear(commit, { late: false });
      } catch (error) {
        const away = error instanceof LogUnavailable;
        if (!away && ++failures >= TRIES) return this.#park(commit, error);
        if (!away) this.#options.logger.warn({ err: error, seq: commit.seq }, "what was heard could not be noted");
      }
      await pause(AGAIN_MS * Math.max(1, failures), this.#signal);
    }
  }

  async #park({ seq, context, kind, aggregate, organisation }: StoredCommit, error: unknown): Promise<void> {
    const { deadLetters, logger } = this.#options;
    const cause = causeOf(error);
    const poison = { stream: logStream(context), seq, consumer: this.#consumer, context, kind, aggregate };
    this.#aside.set(`${kind}/${aggregate}`, await deadLetters.park({ ...poison, organisation, cause }));
    logger.error({ kind, id: aggregate, seq, cause }, "set aside as a dead letter");
  }

  /** What was set aside and all that came of its aggregate since, as far as others were heard. @returns whether it went */
  async #retry(key: string): Promise<void> {
    const letter = this.#aside.get(key)!;
    const { log, deadLetters } = this.#options;
    const kind = { context: letter.context, kind: letter.kind } as never;
    try {
      for await (const commit of readCommits(log.nats, kind, letter.aggregate, letter.seq)) {
        if (commit.seq > this.#position) break;
        if (await this.#options.wants(commit)) await this.#options.hear(commit, { late: true });
      }
      await deadLetters.recovered(letter.id);
      this.#aside.delete(key);
    } catch (error) {
      if (error instanceof LogUnavailable) throw error;
      await deadLetters.failedAgain(letter.id, causeOf(error));
    }
  }

  async #answerAsked(signal: AbortSignal): Promise<void> {
    const { deadLetters } = this.#options;
    while (!signal.aborted) {
      await pause(ASKED_MS, signal);
      if (signal.aborted || this.#aside.size === 0) continue;
      try {
        const keys = new Map([...this.#aside].map(([key, { id }]) => [id, key]));
        for (const ask of await deadLetters.asks()) {
          const key = keys.get(ask.id);
          if (key === undefined) continue;
          if (ask.action === "retry") await this.#inTurn(() => this.#retry(key));
          else await this.#drop(ask.id, ask.by, ask.why, key);
          await deadLetters.answered(ask.id);
        }
      } catch {
        // The log is away: later.
      }
    }
  }

  /** What stood in the way is left out; what comes of the aggregate from now on is heard again. */
  async #drop(id: string, by: string, why: string, key: string): Promise<void> {
    await this.#options.deadLetters.dropped(id, by, why);
    this.#aside.delete(key);
  }
}
