/**
 * The heart of a worker: what is woken is looked at (loaded, without a lease: most of it has nothing to do), what has something to do
 * waits in the queue of its unit, and a unit that gets one of the free places is worked off under its lease (worker-unit.ts).
 *
 * Messages: acknowledged after a load that found nothing to do and never before · given back with a delay when another holds
 * the unit · kept alive while they wait here · let go without a word when lease or append was lost, for then another has them.
 */
import type { JsMsg } from "@nats-io/jetstream";
import type { Subscription } from "@nats-io/transport-node";
import type { Loaded } from "./aggregate.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import type { Lease, LeaseEnd, LeaseHolder } from "./leases.ts";
import { parseAggregateSubject } from "./subjects.ts";
import { metrics } from "./telemetry.ts";
import { parseDueSubject, Timers, type TimerTarget } from "./timers.ts";
import type { Next, Reactor, Stopped, WorkerOptions } from "./worker.ts";
import { Entry, entryKey, Rests, type Source } from "./worker-entry.ts";
import { WorkAborted } from "./worker-failures.ts";
import { type Unit, UnitQueue } from "./worker-queue.ts";

/** Loads under way at the same moment. */
const LOOKS = 16;
/** A due timer may be told a moment before this process's own clock has come there. */
const EARLY_MS = 500;
/** What this release cannot read is shown again this often: another worker may have been upgraded. */
const STOPPED_MS = 30_000;
const TRY_AGAIN_MS = 1_000;

export type Decided = { readonly do: unknown; readonly unit: string } | { readonly rest: number | undefined };

export class WorkerCore {
  readonly options: WorkerOptions;
  readonly name: string;
  readonly rests = new Rests();
  readonly timers: Timers;
  /** Aborted when the worker ends. */
  readonly stopping = new AbortController();
  readonly entries = new Map<string, Entry>();
  readonly units: UnitQueue;
  readonly stopped = new Map<string, Stopped>();
  /** How often in a row a step of it has failed. */
  readonly failures = new Map<string, number>();
  readonly leasesHeld = new Set<Lease>();
  readonly #reactors: ReadonlyMap<string, Reactor>;
  readonly #looks: Entry[] = [];
  /** What was given back because another holds the unit: looked at when that one has ended. */
  readonly #elsewhere = new Map<string, Set<string>>();
  #looking = 0;
  #keptAliveAt = Date.now();
  readonly #keepingAlive: NodeJS.Timeout;
  #pokes: Subscription | undefined;
  readonly #stopLeases: () => void;

  constructor(options: WorkerOptions, runUnit: (core: WorkerCore, unit: Unit) => Promise<void>) {
    this.options = options;
    this.name = options.leases.owner.name;
    this.timers = new Timers(options.log.nats, options.context);
    this.#reactors = new Map(options.reactors.map((reactor) => [reactor.kind.kind, reactor]));
    const { concurrency, context, logger } = options;
    this.units = new UnitQueue({ places: concurrency, context, logger, run: (unit) => runUnit(this, unit) });
    this.#keepingAlive = setInterval(() => this.#keepAlive(), this.ackWaitMs / 4);
    this.#stopLeases = options.leases.onEnd((ended, how) => this.#leaseEnded(ended, how));
    this.#pokes = options.log.nats.nc.subscribe(`${pokePrefix(this.name, options.context)}.*.*`, {
      callback: (_error, message) => {
        const [kind, id] = message.subject.split(".").slice(-2) as [string, string];
        this.wake(kind, id, { source: "peer", seq: Number(message.string()) || 0 });
      },
    });
  }

  /** As dead letters name it. */
  get consumer(): string {
    return `worker:${this.options.service}:${this.options.node}`;
  }

  get ackWaitMs(): number {
    return this.options.leases.ttlMs;
  }

  leaseKey(unit: string): string {
    return `${this.options.service}.${this.options.context}.${unit}`;
  }

  target(entry: Entry): TimerTarget {
    return { service: this.options.service, node: this.options.node, kind: entry.reactor.kind.kind, id: entry.id };
  }

  /** Messages held. */
  held(): number {
    let held = 0;
    for (const entry of this.entries.values()) held += entry.messages.length;
    return held;
  }

  takeEvent(message: JsMsg): void {
    const place = parseAggregateSubject(message.subject);
    if (place === undefined || this.#atRest(place, message.seq)) message.ack();
    else this.wake(place.kind, place.id, { source: "event", seq: message.seq, message });
  }

  takeDue(message: JsMsg): void {
    const place = parseDueSubject(message.subject);
    if (place === undefined || !this.#reactors.has(place.kind)) message.ack();
    else this.wake(place.kind, place.id, { source: "timer", message });
  }

  /** A load has shown already that nothing is to be done up to this sequence; or it is nobody's here. */
  #atRest({ kind, id }: { readonly kind: string; readonly id: string }, seq: number): boolean {
    if (!this.#reactors.has(kind)) return true;
    const key = entryKey(kind, id);
    const rest = this.rests.get(key);
    return rest !== undefined && seq <= rest.seq && !this.entries.has(key);
  }

  /** Looks at an aggregate soon. The message, if any, is held until then. */
  wake(
    kind: string,
    id: string,
    by: { readonly source: Source; readonly seq?: number; readonly message?: JsMsg; readonly retry?: boolean },
  ): void {
    const reactor = this.#reactors.get(kind);
    if (reactor === undefined) return;
    if (this.stopping.signal.aborted) {
      by.message?.nak();
      return;
    }
    metrics.workerWakes.inc({ context: this.options.context, source: by.source });
    const key = entryKey(kind, id);
    let entry = this.entries.get(key);
    const known = entry !== undefined;
    entry ??= new Entry(reactor, id);
    if (by.message !== undefined) entry.messages.push(by.message);
    if (by.source === "event") entry.cause = by.message?.data;
    if (by.retry === true) entry.retry = true;
    if (by.source === "sweep" && !known) entry.swept = true;
    if (!known) {
      this.entries.set(key, entry);
      this.#look(entry);
      return;
    }
    // One of ours may stand above one of somebody else's: the step is compared with what is new to it either way.
    if (entry.place === "work" && by.seq !== undefined && by.seq > entry.askedSeq) void this.#interrupt(entry);
    if (by.seq === undefined || by.seq > entry.knownSeq) entry.dirty = true;
  }

  #look(entry: Entry): void {
    entry.place = "look";
    this.#looks.push(entry);
    this.#nextLook();
  }

  #nextLook(): void {
    while (this.#looking < LOOKS && this.#looks.length > 0) {
      const entry = this.#looks.shift()!;
      this.#looking++;
      void this.#lookAt(entry).finally(() => {
        this.#looking--;
        this.#nextLook();
      });
    }
  }

  async #lookAt(entry: Entry): Promise<void> {
    for (;;) {
      if (this.stopping.signal.aborted) return this.giveBack(entry);
      const seen = entry.messages.length;
      entry.dirty = false;
      const loaded = await this.load(entry);
      if (loaded === undefined) return;
      if (loaded === "away" || this.#behind(entry, loaded, seen)) {
        await new Promise((resolve) => setTimeout(resolve, loaded === "away" ? TRY_AGAIN_MS : 50));
        continue;
      }
      const decided = this.decide(entry, loaded);
      if (decided === undefined) return;
      if ("do" in decided) return this.#queue(entry, decided.unit);
      this.#tellHolder(entry, loaded);
      if (await this.settle(entry, loaded, decided.rest, seen)) return;
    }
  }

  /** A replica that is behind the message that woke us: its "nothing to do" says nothing. */
  #behind(entry: Entry, loaded: Loaded<unknown>, seen: number): boolean {
    return entry.messages.slice(0, seen).some(({ seq, subject }) => seq > loaded.seq && subject.startsWith("evt."));
  }

  /** @returns `away` when the log is; undefined when it cannot be read, and the entry has been put aside */
  async load(entry: Entry): Promise<Loaded<any> | "away" | undefined> {
    try {
      const loaded = await this.options.log.aggregates.load(entry.reactor.kind, entry.id);
      if (this.stopped.delete(entry.key)) this.#showStopped();
      return loaded;
    } catch (error) {
      if (error instanceof LogUnavailable) return "away";
      this.stop(entry, error);
      return undefined;
    }
  }

  /** What is to be done with it now. @returns undefined when the reactor broke on it, and the entry has been put aside */
  decide(entry: Entry, loaded: Loaded<any>): Decided | undefined {
    const { reactor, id } = entry;
    const now = Date.now();
    try {
      if (loaded.organisation === undefined || reactor.mine?.(loaded.state) === false) return { rest: undefined };
      const next: Next<unknown> = reactor.next(loaded.state, now);
      if (next === undefined) return { rest: undefined };
      // Never sooner than in a moment: a time that has passed must not become a circle.
      if ("waitUntil" in next) return { rest: Math.max(next.waitUntil, now + 250) };
      const rest = this.rests.get(entry.key);
      const waits = rest?.reason !== undefined && rest.seq >= loaded.seq && !entry.retry;
      if (waits && (rest.until === undefined || rest.until - EARLY_MS > now)) return { rest: rest.until };
      return { do: next.do, unit: reactor.unit?.(loaded.state, id) ?? id };
    } catch (error) {
      this.stop(entry, error);
      return undefined;
    }
  }

  /**
   * Nothing to do now: notes it, arms the timer, acknowledges what was held before the load.
   * @returns false when more has come meanwhile, and it must be looked at again
   */
  async settle(entry: Entry, loaded: Loaded<any>, until: number | undefined, seen: number): Promise<boolean> {
    if (until !== undefined) {
      try {
        await this.timers.arm(this.target(entry), until);
        faultPoint("worker.armed");
      } catch {
        await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN_MS));
        return false;
      }
    }
    const reason = this.rests.get(entry.key)?.reason;
    const keepsReason = reason !== undefined && (this.rests.get(entry.key)?.seq ?? 0) >= loaded.seq;
    this.rests.set(entry.key, {
      seq: loaded.seq,
      ...(until === undefined ? {} : { until }),
      ...(keepsReason ? { reason } : {}),
    });
    for (const message of entry.messages.splice(0, seen)) message.ack();
    faultPoint("worker.acked");
    if (entry.messages.length > 0 || entry.dirty) return false;
    this.entries.delete(entry.key);
    return true;
  }

  #queue(entry: Entry, unit: string): void {
    entry.place = "queue";
    entry.unit = unit;
    // Beyond a full queue: left to other workers for a while.
    if (!this.units.add(unit, entry)) this.giveBack(entry, this.units.beyondMs * (0.75 + Math.random() / 2));
  }

  /** Looked at from the beginning: its unit is another now. */
  again(entry: Entry): void {
    this.#look(entry);
  }

  /** Another holds the unit: it is told, and the messages come back when its lease may be over. */
  elsewhere(entry: Entry, holder: LeaseHolder, seq: number): void {
    let waiting = this.#elsewhere.get(holder.key);
    if (waiting === undefined) {
      waiting = new Set();
      this.#elsewhere.set(holder.key, waiting);
    }
    waiting.add(entry.key);
    this.#poke(entry, holder, seq);
    this.giveBack(entry, this.options.leases.ttlMs);
  }

  /** Lost on the way it costs a little time: whoever is under work looks by itself now and then. */
  #poke(entry: Entry, { owner }: LeaseHolder, seq: number): void {
    const subject = `${pokePrefix(owner.name, this.options.context)}.${entry.reactor.kind.kind}.${entry.id}`;
    if (!this.options.log.nats.nc.isClosed()) this.options.log.nats.nc.publish(subject, String(seq));
  }

  /** What shows nothing to do may still be what ends the step that another has under way. */
  #tellHolder(entry: Entry, { state, seq, organisation }: Loaded<unknown>): void {
    const { reactor, id } = entry;
    if (organisation === undefined || reactor.interrupts === undefined) return;
    const holder = this.options.leases.seen(this.leaseKey(reactor.unit?.(state, id) ?? id));
    if (holder !== undefined && holder.owner.name !== this.name) this.#poke(entry, holder, seq);
  }

  /** Its messages are for whoever comes first, at once or after a delay. */
  giveBack(entry: Entry, delayMs?: number): void {
    this.entries.delete(entry.key);
    // Whole milliseconds: of a broken number of nanoseconds the server makes no delay at all, and sends it again at once.
    for (const message of entry.take()) message.nak(delayMs === undefined ? undefined : Math.ceil(delayMs));
  }

  /** Lease or append was lost: another has it. No acknowledgement, no giving back, no keeping alive. */
  drop(entry: Entry): void {
    this.entries.delete(entry.key);
    entry.take();
  }

  /** Cannot be gone on with by this release; all others go on. */
  stop(entry: Entry, error: unknown): void {
    const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    const { kind } = entry.reactor.kind;
    if (!this.stopped.has(entry.key)) {
      this.options.logger.error({ err: error, kind, id: entry.id }, "cannot go on with this");
    }
    this.stopped.set(entry.key, { kind, id: entry.id, reason });
    this.#showStopped();
    this.giveBack(entry, STOPPED_MS);
  }

  #showStopped(): void {
    metrics.workerStopped.set({ context: this.options.context }, this.stopped.size);
  }

  /** A newer commit while a step is under way: does it want something else? */
  async #interrupt(entry: Entry): Promise<void> {
    const { reactor, now } = entry;
    if (now?.interruptible !== true || reactor.interrupts === undefined || entry.checking) return;
    entry.checking = true;
    try {
      const { state, seq } = await this.options.log.aggregates.load(reactor.kind, entry.id);
      if (entry.now !== now || seq <= entry.askedSeq) return;
      entry.askedSeq = seq;
      if (reactor.interrupts(state, now.step)) now.abortWith(new WorkAborted({ why: "interrupted" }));
    } catch {
      // The log is away: the step's own record will notice.
    } finally {
      entry.checking = false;
    }
  }

  #leaseEnded({ key, about, owner }: LeaseHolder, how: LeaseEnd): void {
    if (!key.startsWith(this.leaseKey("")) || owner.name === this.name) return;
    for (const waiting of this.#elsewhere.get(key) ?? []) this.#wakeKey(waiting);
    this.#elsewhere.delete(key);
    if (how !== "released") this.#wakeKey(about);
  }

  #wakeKey(key: string): void {
    const [kind, id] = key.split("/") as [string, string];
    this.wake(kind, id, { source: "lease" });
  }

  #keepAlive(): void {
    const slept = Date.now() - this.#keptAliveAt > this.ackWaitMs;
    this.#keptAliveAt = Date.now();
    let held = 0;
    for (const entry of this.entries.values()) {
      // The process stood still for so long that the server has given them to others.
      if (slept) entry.take();
      for (const message of entry.messages) message.working();
      if (entry.now !== undefined) void this.#interrupt(entry);
      held += entry.messages.length;
    }
    metrics.workerHeld.set({ context: this.options.context }, held);
  }

  /** @returns whether all steps had ended in time */
  async end(graceMs: number): Promise<boolean> {
    this.stopping.abort(new WorkAborted({ why: "stopping" }));
    this.#pokes?.unsubscribe();
    this.#pokes = undefined;
    this.#stopLeases();
    for (const entry of [...this.entries.values()]) if (entry.place !== "work") this.giveBack(entry);
    const ended = this.units.end();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(resolve, graceMs, false);
    });
    const inTime = await Promise.race([ended.then(() => true), late]);
    clearTimeout(timer);
    clearInterval(this.#keepingAlive);
    // A step that would not end: what it does from now on is fenced by the log, as that of a frozen worker.
    await Promise.all([...this.leasesHeld].map((lease) => lease.release()));
    for (const entry of [...this.entries.values()]) this.giveBack(entry);
    return inTime;
  }
}

/** Where a worker is told of what others were given and it holds. */
const pokePrefix = (owner: string, context: string): string => `worker.${owner.split(":").at(-1)}.${context}`;
