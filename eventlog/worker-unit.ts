/** One unit of work under its lease: load, ask `next`, act, record, and again, until there is nothing to do. */

import type { Loaded } from "./aggregate.ts";
import { type Commit, decodeCommitBody } from "./commit.ts";
import { causeOf, deadLetterId, type Poison } from "./deadletters.ts";
import { type Change, type CommandContext, executeAll, ownContext } from "./execute.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import type { Lease } from "./leases.ts";
import { pause } from "./pause.ts";
import { logStream } from "./subjects.ts";
import { ATTRIBUTES, metrics, SPANS } from "./telemetry.ts";
import { linkTo, withSpan } from "./tracing.ts";
import type { Verdict, Work } from "./worker.ts";
import type { WorkerCore } from "./worker-core.ts";
import type { Entry } from "./worker-entry.ts";
import { Overtaken, RecordRefused, WorkAborted } from "./worker-failures.ts";
import type { Unit } from "./worker-queue.ts";

/** One holder of a busy unit works off this many before others of the queue have their turn. */
const IN_A_ROW = 100;
const PARK_AFTER = 20;
const SLOWEST_MS = 60_000;
const IDLE_MS = 1_000;
/** Steps in a row that changed nothing before it is taken for a circle. */
const CIRCLES = 3;

export async function runUnit(core: WorkerCore, unit: Unit): Promise<void> {
  const first = unit.waiting[0];
  if (first === undefined) return;
  const answer = await core.options.leases.acquire(core.leaseKey(unit.key), first.key).catch(() => undefined);
  if (answer === undefined) {
    await pause(IDLE_MS); // The log is away; the messages are kept alive, and the unit stays in the queue.
    return;
  }
  if ("heldBy" in answer) {
    for (const entry of unit.waiting.splice(0)) core.elsewhere(entry, answer.heldBy, lastSeq(entry));
    return;
  }
  faultPoint("worker.leased");
  core.leasesHeld.add(answer);
  try {
    for (let n = 0; n < IN_A_ROW && unit.waiting.length > 0 && answer.held(); n++) {
      if (core.stopping.signal.aborted || (n > 0 && core.units.crowded)) break;
      const entry = unit.waiting.shift()!;
      entry.place = "work";
      await new Run(core, entry, unit.key, answer).go();
    }
  } finally {
    faultPoint("worker.releasing");
    core.leasesHeld.delete(answer);
    if (answer.held()) await answer.release();
    else for (const entry of unit.waiting.splice(0)) core.drop(entry);
  }
}

const lastSeq = ({ messages }: Entry): number => {
  const events = messages.filter(({ subject }) => subject.startsWith("evt."));
  return Math.max(0, ...events.map(({ seq }) => seq));
};

/** What came of one turn of the loop. */
type Turn = "again" | "over";

/** One aggregate, until it is at rest. */
class Run {
  readonly #core: WorkerCore;
  readonly #entry: Entry;
  readonly #unit: string;
  readonly #lease: Lease;
  #looked = false;
  #overtakings = 0;
  #circles = 0;

  constructor(core: WorkerCore, entry: Entry, unit: string, lease: Lease) {
    this.#core = core;
    this.#entry = entry;
    this.#unit = unit;
    this.#lease = lease;
  }

  async go(): Promise<void> {
    const { stopping } = this.#core;
    try {
      for (;;) {
        if (!this.#lease.held()) return this.#core.drop(this.#entry);
        if (stopping.signal.aborted) return this.#core.giveBack(this.#entry);
        if ((await this.#turn()) === "over") return;
      }
    } catch (error) {
      // A defect of the worker itself: the message comes again by itself.
      this.#core.drop(this.#entry);
      throw error;
    }
  }

  async #turn(): Promise<Turn> {
    const entry = this.#entry;
    const core = this.#core;
    const seen = entry.messages.length;
    entry.dirty = false;
    const loaded = await core.load(entry);
    if (loaded === undefined) return "over";
    if (loaded === "away") return this.#idle();
    entry.knownSeq = Math.max(entry.knownSeq, loaded.seq);
    const decided = core.decide(entry, loaded);
    if (decided === undefined) return "over";
    if (!("do" in decided)) return this.#settle(loaded, decided.rest, seen);
    if (decided.unit !== this.#unit) {
      core.again(entry);
      return "over";
    }
    const parked = await this.#parked(loaded);
    if (parked === "away") return this.#idle();
    if (parked) {
      core.rests.set(entry.key, { seq: loaded.seq, reason: parked });
      return this.#settle(loaded, undefined, seen);
    }
    if (!this.#lease.held()) return "again";
    if (entry.swept) metrics.workerSwept.inc({ context: entry.reactor.kind.context });
    entry.swept = false;
    core.rests.delete(entry.key);
    const began = performance.now();
    const verdict = await this.#perform(decided.do, loaded);
    const { context, kind } = entry.reactor.kind;
    metrics.workerStepDuration.observe({ context, kind }, (performance.now() - began) / 1_000);
    metrics.workerSteps.inc({ context, kind, outcome: verdict.outcome });
    return this.#goOn(verdict, loaded);
  }

  /** The log is away: nothing is known, so nothing is done, and nothing is given up. */
  async #idle(): Promise<Turn> {
    await pause(IDLE_MS);
    return "again";
  }

  async #settle(loaded: Loaded<any>, rest: number | undefined, seen: number): Promise<Turn> {
    const { letter, key, retry } = this.#entry;
    if (letter !== undefined && (retry || letter.seq < loaded.seq) && this.#core.rests.get(key)?.reason === undefined) {
      await this.#core.options.deadLetters.recovered(letter.id).catch(() => {});
      this.#entry.letter = undefined;
    }
    return (await this.#core.settle(this.#entry, loaded, rest, seen)) ? "over" : "again";
  }

  /** @returns why it was set aside, undefined when it was not, `away` when that cannot be known */
  async #parked(loaded: Loaded<any>): Promise<string | undefined> {
    if (this.#looked) return undefined;
    try {
      const { deadLetters } = this.#core.options;
      const id = deadLetterId(this.#poison(loaded, ""));
      const [letter, dropped] = await Promise.all([deadLetters.get(id), deadLetters.whyDropped(id)]);
      this.#entry.letter = letter;
      if (letter === undefined && dropped !== undefined && dropped.seq >= loaded.seq) return dropped.why;
    } catch {
      return "away";
    }
    const { letter, retry } = this.#entry;
    if (letter !== undefined && letter.seq >= loaded.seq && !retry) return letter.cause;
    this.#looked = true;
    return undefined;
  }

  #poison(loaded: Loaded<any>, cause: string): Poison {
    const { context, kind } = this.#entry.reactor.kind;
    return {
      stream: logStream(context),
      seq: Math.max(loaded.seq, this.#entry.knownSeq),
      consumer: this.#core.consumer,
      context,
      kind,
      aggregate: this.#entry.id,
      organisation: loaded.organisation ?? "",
      cause,
    };
  }

  async #perform(step: unknown, loaded: Loaded<any>): Promise<Performed> {
    const entry = this.#entry;
    const abort = new AbortController();
    const abortWith = (why: WorkAborted) => {
      if (!abort.signal.aborted) abort.abort(why);
    };
    const onLost = () => abortWith(new WorkAborted({ why: "lease-lost" }));
    const onStopping = () => abortWith(new WorkAborted({ why: "stopping" }));
    this.#lease.signal.addEventListener("abort", onLost);
    this.#core.stopping.signal.addEventListener("abort", onStopping);
    const cause = causeIn(entry.cause);
    if (this.#lease.signal.aborted) onLost();
    if (this.#core.stopping.signal.aborted) onStopping();
    entry.askedSeq = loaded.seq;
    const { context, kind } = entry.reactor.kind;
    try {
      const interruptible = entry.reactor.interrupts?.(loaded.state, step) === false;
      entry.now = { step, since: Date.now(), interruptible, abortWith };
      const work = this.#work(loaded, abort.signal, cause);
      const attributes = { [ATTRIBUTES.kind]: kind, [ATTRIBUTES.aggregate]: entry.id };
      const verdict = await withSpan(SPANS.step(context, kind), attributes, () => entry.reactor.perform(step, work), {
        links: linkTo([cause?.trace]),
      });
      return { outcome: outcomeOf(verdict), verdict };
    } catch (error) {
      if (error instanceof Overtaken) return { outcome: "overtaken" };
      if (abort.signal.aborted) return { outcome: "aborted" };
      if (error instanceof LogUnavailable) return { outcome: "unavailable" };
      return { outcome: "failed", error };
    } finally {
      entry.now = undefined;
      this.#lease.signal.removeEventListener("abort", onLost);
      this.#core.stopping.signal.removeEventListener("abort", onStopping);
    }
  }

  #work(loaded: Loaded<any>, signal: AbortSignal, cause: Commit | undefined): Work<any, any> {
    const { options, name } = this.#core;
    const { kind } = this.#entry.reactor;
    const { id } = this.#entry;
    return {
      id,
      organisation: loaded.organisation!,
      loaded,
      worker: name,
      node: options.node,
      signal,
      log: options.logger,
      aside: (wait) => this.#core.units.aside(wait),
      record: async (command, also = []) => {
        if (!this.#lease.held()) throw new WorkAborted({ why: "lease-lost" });
        const changes: Change[] = [{ kind, id, command }, ...also];
        const outcome = await executeAll(options.log, changes, commandContext(options.service, loaded, cause));
        if ("refusal" in outcome) {
          const { refusal } = outcome;
          if (refusal.refused === "rule" && refusal.rule === "overtaken") throw new Overtaken({ kind: kind.kind, id });
          throw new RecordRefused({ kind: kind.kind, id, refusal });
        }
        const executed = outcome.ok[0]!;
        this.#entry.knownSeq = Math.max(this.#entry.knownSeq, executed.loaded.seq);
        faultPoint("worker.recorded");
        return executed.loaded;
      },
    };
  }

  async #goOn(performed: Performed, before: Loaded<any>): Promise<Turn> {
    const { verdict } = performed;
    if (performed.outcome === "aborted") return "again"; // What is to be done now, the loop finds out.
    if (performed.outcome === "unavailable") return this.#idle();
    if (performed.outcome === "overtaken") {
      // Still ours by the lease: then it was a person's command, and a load shows what is wanted now.
      if (this.#lease.held() && ++this.#overtakings <= CIRCLES) return "again";
      this.#core.drop(this.#entry);
      return "over";
    }
    if (verdict === undefined) return this.#failed(performed.error, before);
    this.#core.failures.delete(this.#entry.key);
    if ("park" in verdict) return this.#park(verdict.park, before);
    if ("skip" in verdict) return this.#rest(before, "left alone until something new comes");
    if ("retryAfterMs" in verdict) return this.#rest(before, verdict.reason, verdict.retryAfterMs);
    this.#overtakings = 0;
    this.#circles = this.#entry.knownSeq > before.seq || this.#entry.dirty ? 0 : this.#circles + 1;
    if (this.#circles < CIRCLES) return "again";
    return this.#rest(before, "a step that changes nothing is asked for again and again", IDLE_MS * 5);
  }

  async #failed(error: unknown, before: Loaded<any>): Promise<Turn> {
    const { key, id, reactor } = this.#entry;
    const failures = (this.#core.failures.get(key) ?? 0) + 1;
    this.#core.failures.set(key, failures);
    this.#core.options.logger.error({ err: error, kind: reactor.kind.kind, id, failures }, "a step failed");
    if (failures >= PARK_AFTER) return this.#park(causeOf(error), before);
    const delay = Math.min(SLOWEST_MS, 1_000 * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
    return this.#rest(before, causeOf(error), delay);
  }

  /** At rest after a step, unless something new has come meanwhile. */
  #rest(before: Loaded<any>, reason: string, afterMs?: number): Turn {
    const entry = this.#entry;
    const seq = Math.max(before.seq, entry.knownSeq);
    entry.retry = false;
    const until = afterMs === undefined ? {} : { until: Date.now() + Math.max(250, afterMs) };
    this.#core.rests.set(entry.key, { seq, reason, ...until });
    // The loop loads again: what it finds is either new, or waits as noted here and is acknowledged.
    return "again";
  }

  async #park(cause: string, before: Loaded<any>): Promise<Turn> {
    const { deadLetters, logger } = this.#core.options;
    const { letter, reactor, id } = this.#entry;
    const poison = this.#poison(before, cause);
    try {
      if (letter !== undefined && letter.seq >= poison.seq) await deadLetters.failedAgain(letter.id, cause);
      else {
        if (letter !== undefined) await deadLetters.recovered(letter.id);
        this.#entry.letter = await deadLetters.park(poison);
      }
    } catch {
      return this.#idle();
    }
    faultPoint("worker.parked");
    logger.error({ kind: reactor.kind.kind, id, cause }, "set aside as a dead letter");
    this.#core.failures.delete(this.#entry.key);
    return this.#rest(before, cause);
  }
}

type Outcome = "again" | "retry" | "park" | "skip" | "overtaken" | "aborted" | "unavailable" | "failed";

interface Performed {
  readonly outcome: Outcome;
  readonly verdict?: Verdict;
  readonly error?: unknown;
}

const outcomeOf = (verdict: Verdict): Outcome =>
  "again" in verdict ? "again" : "park" in verdict ? "park" : "skip" in verdict ? "skip" : "retry";

function causeIn(body: Uint8Array | undefined): Commit | undefined {
  try {
    return body === undefined ? undefined : decodeCommitBody(body);
  } catch {
    return undefined;
  }
}

function commandContext(service: string, { organisation }: Loaded<any>, cause: Commit | undefined): CommandContext {
  const own = ownContext(service, organisation!);
  if (cause === undefined) return own;
  const { correlation, id: causation, trace, hops } = cause;
  const inherited = { ...(trace === undefined ? {} : { trace }), ...(hops === undefined ? {} : { hops }) };
  return { ...own, correlation, causation, ...inherited };
}
