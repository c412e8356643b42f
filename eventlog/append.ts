/**
 * Appending with expectation, and group commit.
 *
 * A *unit* is what must be written together: one commit, or several commits and claims. Units that wait at the same
 * moment go as one atomic batch (on one server a batch costs one fsync however large); a batch that is refused is
 * taken apart and its units are written singly, each with its own answer. Every answer of the server is handled
 * as the table in docs/reference/log.md says; an outcome that is not known is found out by sending the same again.
 */
import { errors, nuid } from "@nats-io/transport-node";
import { leaderMessage, type Nats } from "./connection.ts";
import { AppendConflict, CommitRefused, LogUnavailable } from "./failures.ts";
import { HeaderBlock } from "./header-block.ts";
import { pause } from "./pause.ts";

/** One message of a unit. */
export interface Entry {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Commit id, its `Nats-Msg-Id`. */
  readonly id: string;
  /** Stream sequence of the last message on the subject; 0 when there must be none. */
  readonly expected: number;
  /** Further headers, e.g. traceparent. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Appended {
  /** Stream sequence of each entry of the unit, in order. */
  readonly seqs: ReadonlyArray<number>;
  /** The unit was there already: an earlier try of ours had succeeded. */
  readonly found: boolean;
}

export interface AppendOptions {
  /** Waiting messages from which a batch is considered at all. */
  readonly groupFrom?: number;
  /** Messages of one batch at most; the server's limit is 1000. */
  readonly groupMost?: number;
  readonly timeoutMs?: number;
  /** How long an unknown outcome is pursued before `LogUnavailable`. */
  readonly deadlineMs?: number;
  /** Told how many messages each batch or single publish carried. */
  readonly onGroup?: (messages: number) => void;
}

interface Unit {
  readonly entries: ReadonlyArray<Entry>;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: AppendConflict | LogUnavailable | CommitRefused) => void;
}

interface Answer {
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly batch?: string;
  readonly count?: number;
  readonly error?: { readonly code: number; readonly err_code: number; readonly description: string };
}

/** Error codes of the server that mean something to us. */
const WRONG_LAST_SEQUENCE = 10071;
const WRONG_LAST_SEQUENCE_UNKNOWN = 10164;
/** On three servers: the same `Nats-Msg-Id` is under way; a moment later it is a duplicate or was refused. */
const DUPLICATE_IN_PROCESS = 10158;
const BATCH_INCOMPLETE = 10176;
const BATCH_DUPLICATE_ID = 10201;
const BATCH_TOO_MANY = 10210;
/** Codes after which nothing was stored and the same may succeed a moment later. */
const TRY_AGAIN = new Set([DUPLICATE_IN_PROCESS, BATCH_INCOMPLETE, BATCH_TOO_MANY, WRONG_LAST_SEQUENCE_UNKNOWN]);

const jitter = (attempt: number) => Math.min(500, 2 * 2 ** attempt) * (0.5 + Math.random());

export class Appender {
  readonly #nats: Nats;
  readonly #stream: string;
  readonly #options: Required<AppendOptions>;
  #waiting: Unit[] = [];
  #scheduled = false;
  #batchInFlight = false;
  #singlesInFlight = 0;
  readonly #pace = new Pace();

  constructor(nats: Nats, stream: string, options: AppendOptions = {}) {
    this.#nats = nats;
    this.#stream = stream;
    this.#options = {
      groupFrom: 8,
      groupMost: 400,
      timeoutMs: 3_000,
      deadlineMs: 15_000,
      onGroup: () => {},
      ...options,
    };
  }

  /**
   * Writes the unit or nothing of it.
   * @throws AppendConflict, LogUnavailable, CommitRefused
   */
  append(entries: ReadonlyArray<Entry>): Promise<Appended> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entries, resolve, reject });
      this.#schedule();
    });
  }

  /** Units that wait or are under way. */
  get depth(): number {
    return this.#waiting.length + this.#singlesInFlight;
  }

  #schedule(): void {
    if (this.#scheduled || this.#batchInFlight || this.#waiting.length === 0) return;
    // While singles are under way, more gather here and make a batch; so a lone writer never waits and many never queue up.
    if (this.#singlesInFlight > 0 && this.#grouping(this.#singlesInFlight + this.#waiting.length)) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #grouping(messages: number): boolean {
    return messages >= this.#options.groupFrom && this.#pace.batchIsFaster(messages);
  }

  #flush(): void {
    if (this.#batchInFlight) return;
    if (this.#grouping(this.#waiting.length)) {
      const ahead = this.#waiting.splice(0, this.#pace.singlesToTry());
      if (ahead.length > 0) {
        this.#sendSingly(ahead);
        return;
      }
      const group = this.#takeGroup();
      this.#batchInFlight = true;
      void this.#writeGroup(group).finally(() => {
        this.#batchInFlight = false;
        this.#schedule();
      });
      return;
    }
    this.#sendSingly(this.#waiting.splice(0));
  }

  #sendSingly(units: ReadonlyArray<Unit>): void {
    for (const unit of units) {
      this.#pace.singleStarted(++this.#singlesInFlight);
      void this.#settle(unit).finally(() => {
        this.#pace.singleEnded(--this.#singlesInFlight);
        this.#schedule();
      });
    }
  }

  /** Units of different subjects, up to the limit: two of one aggregate cannot stand in one batch. */
  #takeGroup(): Unit[] {
    const group: Unit[] = [];
    const later: Unit[] = [];
    const subjects = new Set<string>();
    let size = 0;
    let bytes = 0;
    for (const unit of this.#waiting) {
      const fits =
        size + unit.entries.length <= this.#options.groupMost &&
        bytes < 4_000_000 &&
        unit.entries.every((entry) => !subjects.has(entry.subject));
      if (!fits) {
        later.push(unit);
        continue;
      }
      for (const entry of unit.entries) {
        subjects.add(entry.subject);
        bytes += entry.data.length;
      }
      size += unit.entries.length;
      group.push(unit);
    }
    this.#waiting = later;
    return group;
  }

  async #writeGroup(group: ReadonlyArray<Unit>): Promise<void> {
    const entries = group.flatMap((unit) => unit.entries);
    let answer: Answer | undefined;
    const started = performance.now();
    try {
      answer = await this.#sendBatch(entries);
    } catch {
      answer = undefined;
    }
    if (answer !== undefined && answer.error === undefined) {
      this.#pace.batchEnded(performance.now() - started, entries.length);
      this.#options.onGroup(entries.length);
      let seq = answer.seq! - entries.length;
      for (const unit of group) unit.resolve({ seqs: unit.entries.map(() => ++seq), found: false });
      return;
    }
    // Refused as a whole because of one of them, or unknown: each finds out for itself.
    await Promise.all(group.map((unit) => this.#settle(unit)));
  }

  /** Pursues one unit until its outcome is known. */
  async #settle(unit: Unit): Promise<void> {
    const deadline = Date.now() + this.#options.deadlineMs;
    let last: unknown = "no answer";
    let maybeStored = false;
    for (let attempt = 0; Date.now() < deadline; attempt++) {
      try {
        const answer = await (unit.entries.length === 1
          ? this.#sendOne(unit.entries[0]!)
          : this.#sendBatch(unit.entries));
        if (answer.error === undefined) {
          const end = answer.seq!;
          const n = unit.entries.length;
          this.#options.onGroup(n);
          unit.resolve({ seqs: unit.entries.map((_, i) => end - n + 1 + i), found: answer.duplicate === true });
          return;
        }
        const { err_code: code, description } = answer.error;
        last = description;
        if (
          code === WRONG_LAST_SEQUENCE ||
          code === BATCH_DUPLICATE_ID ||
          (code === WRONG_LAST_SEQUENCE_UNKNOWN && attempt > 0)
        ) {
          const found = await this.#findOurs(unit.entries);
          if (found !== undefined) {
            unit.resolve({ seqs: found, found: true });
            return;
          }
          if (code === WRONG_LAST_SEQUENCE) {
            const { subject, expected } = unit.entries[0]!;
            unit.reject(new AppendConflict({ subject, expected }));
            return;
          }
        } else if (!TRY_AGAIN.has(code) && answer.error.code !== 503 && answer.error.code !== 429) {
          unit.reject(new CommitRefused({ code, reason: description }));
          return;
        }
      } catch (error) {
        // No answer: unknown. The same message again, same id, same expectation.
        last = error;
        maybeStored ||= !(
          error instanceof errors.NoRespondersError || (error as Error).cause instanceof errors.NoRespondersError
        );
      }
      await pause(jitter(attempt));
    }
    unit.reject(new LogUnavailable({ what: "NATS", cause: last, maybeStored }));
  }

  async #sendOne(entry: Entry): Promise<Answer> {
    const reply = await this.#nats.nc.request(entry.subject, entry.data, {
      headers: entryHeaders(entry).asHeaders(),
      timeout: this.#options.timeoutMs,
    });
    return JSON.parse(reply.string()) as Answer;
  }

  /** All messages on one connection, in order, without waiting between them; only the last asks for an answer. */
  async #sendBatch(entries: ReadonlyArray<Entry>): Promise<Answer> {
    const batch = nuid.next();
    const last = entries.length - 1;
    for (let i = 0; i < last; i++) {
      const h = entryHeaders(entries[i]!);
      h.set("Nats-Batch-Id", batch);
      h.set("Nats-Batch-Sequence", String(i + 1));
      this.#nats.nc.publish(entries[i]!.subject, entries[i]!.data, { headers: h.asHeaders() });
    }
    const h = entryHeaders(entries[last]!);
    h.set("Nats-Batch-Id", batch);
    h.set("Nats-Batch-Sequence", String(last + 1));
    h.set("Nats-Batch-Commit", "1");
    const reply = await this.#nats.nc.request(entries[last]!.subject, entries[last]!.data, {
      headers: h.asHeaders(),
      timeout: this.#options.timeoutMs,
    });
    const answer = JSON.parse(reply.string()) as Answer;
    if (answer.error === undefined && (answer.batch !== batch || answer.count !== entries.length)) {
      throw new Error(`a batch of ${entries.length} was answered as ${answer.count}`);
    }
    return answer;
  }

  /**
   * After "wrong last sequence" or "duplicate id": is what stands there ours from an earlier try?
   * On one server an own retry reports 10071 where three report a duplicate, so the log itself is asked (the leader).
   * @returns the sequences, or undefined when it is not ours
   */
  async #findOurs(entries: ReadonlyArray<Entry>): Promise<number[] | undefined> {
    const seqs: number[] = [];
    for (const entry of entries) {
      const seq = await this.#findId(entry);
      if (seq === undefined) return undefined;
      seqs.push(seq);
    }
    return seqs;
  }

  async #findId(entry: Entry): Promise<number | undefined> {
    for (let seq = entry.expected + 1; ; ) {
      const message = await leaderMessage(this.#nats, this.#stream, { seq, next_by_subj: entry.subject });
      if (message === null) return undefined;
      if (message.header?.get("Nats-Msg-Id") === entry.id) return message.seq;
      seq = message.seq + 1;
    }
  }
}

/**
 * Which way is faster here: a batch pays a fixed price (on one server that syncs always it is worth many messages, with the
 * server's default sync it is not), a single publish pays each time. Both are measured as they happen.
 */
class Pace {
  /** Milliseconds a message, while several singles were under way; unknown until some were. */
  #singleMs: number | undefined;
  /** Milliseconds of a batch, and what each message adds. */
  #batchMs = 4;
  readonly #batchMessageMs = 0.01;
  #busySince = 0;
  #ended = 0;
  #sinceBatch = 0;
  #sinceSingles = 0;

  /** Now and then the slower way is taken all the same, or a change of pace would never be noticed. */
  batchIsFaster(messages: number): boolean {
    if (this.#singleMs === undefined) return false;
    const faster = this.#batchMs + messages * this.#batchMessageMs < messages * this.#singleMs;
    if (faster || messages < 16 || ++this.#sinceBatch < 5_000) return faster;
    this.#sinceBatch = 0;
    return true;
  }

  /** How many of those that wait should go singly ahead of the next batch, only to be measured. */
  singlesToTry(): number {
    if (++this.#sinceSingles < 128) return 0;
    this.#sinceSingles = 0;
    return 12;
  }

  singleStarted(inFlight: number): void {
    if (inFlight === 4) {
      this.#busySince = performance.now();
      this.#ended = 0;
    }
  }

  singleEnded(inFlight: number): void {
    this.#ended++;
    if (this.#busySince === 0 || (inFlight >= 4 && this.#ended < 64) || this.#ended < 8) return;
    const each = Math.min((performance.now() - this.#busySince) / this.#ended, 20);
    this.#singleMs = this.#singleMs === undefined ? each : this.#singleMs + (each - this.#singleMs) * 0.2;
    this.#busySince = inFlight >= 4 ? performance.now() : 0;
    this.#ended = 0;
  }

  batchEnded(ms: number, messages: number): void {
    this.#batchMs += (Math.min(Math.max(0.1, ms - messages * this.#batchMessageMs), 200) - this.#batchMs) * 0.1;
  }
}

function entryHeaders(entry: Entry): HeaderBlock {
  const h = new HeaderBlock();
  h.set("Nats-Msg-Id", entry.id);
  h.set("Nats-Expected-Last-Subject-Sequence", String(entry.expected));
  if (entry.headers !== undefined) for (const [name, value] of Object.entries(entry.headers)) h.set(name, value);
  return h;
}
