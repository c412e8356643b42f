/** What a worker knows of one aggregate while it is woken, looked at, queued or under work; and what it remembers of those at rest. */
import type { JsMsg } from "@nats-io/jetstream";
import type { DeadLetter } from "./deadletters.ts";
import type { Reactor } from "./worker.ts";
import type { WorkAborted } from "./worker-failures.ts";

/** What woke the worker; `hand`: somebody called `wake`. */
export type Source = "event" | "timer" | "peer" | "lease" | "sweep" | "hand";

export interface UnderWayNow {
  readonly step: unknown;
  readonly since: number;
  /** False when the state on which the step was chosen would interrupt it already: then nothing newer is meant. */
  readonly interruptible: boolean;
  readonly abortWith: (reason: WorkAborted) => void;
}

export class Entry {
  readonly key: string;
  readonly reactor: Reactor;
  readonly id: string;
  /** Messages that are held for it, each kept alive until it is acknowledged, given back or dropped. */
  messages: JsMsg[] = [];
  /** Whether it waits for a look or is looked at, stands in the queue of its unit, or is under work. */
  place: "look" | "queue" | "work" = "look";
  /** Key of the unit it was queued for. */
  unit = "";
  /** Woken again meanwhile. */
  dirty = false;
  /** Sequence of the last commit known to the step under way. */
  knownSeq = 0;
  /** Sequence up to which `interrupts` has been asked about the step under way. */
  askedSeq = 0;
  /** A newer state is being compared with the step under way. */
  checking = false;
  /** Somebody asked for another try of what was parked. */
  retry = false;
  /** Found by the sweep: nothing else had come for it. */
  swept = false;
  letter: DeadLetter | undefined;
  now: UnderWayNow | undefined;
  /** Body of the last event that woke it: whose cause it is. */
  cause: Uint8Array | undefined;

  constructor(reactor: Reactor, id: string) {
    this.reactor = reactor;
    this.id = id;
    this.key = entryKey(reactor.kind.kind, id);
  }

  /** Takes what is held: those messages were there before what follows. */
  take(): JsMsg[] {
    const messages = this.messages;
    this.messages = [];
    return messages;
  }
}

export const entryKey = (kind: string, id: string): string => `${kind}/${id}`;

/** An aggregate at rest: nothing to do up to a sequence, or until a time. */
export interface Rest {
  readonly seq: number;
  /** Milliseconds since 1970: to be looked at then. */
  readonly until?: number;
  /** It waits after a failure, and this is why; not asked again before its time unless something new is there. */
  readonly reason?: string;
}

/** The most recently seen; an aggregate that is forgotten is only looked at once too often. */
export class Rests {
  readonly #most: number;
  readonly #rests = new Map<string, Rest>();
  /** Those with a reason, for status. */
  readonly #failed = new Set<string>();

  constructor(most = 200_000) {
    this.#most = most;
  }

  get(key: string): Rest | undefined {
    return this.#rests.get(key);
  }

  set(key: string, rest: Rest): void {
    this.delete(key);
    this.#rests.set(key, rest);
    if (rest.reason !== undefined) this.#failed.add(key);
    if (this.#rests.size > this.#most) this.delete(this.#rests.keys().next().value!);
  }

  delete(key: string): void {
    this.#rests.delete(key);
    this.#failed.delete(key);
  }

  *failed(): IterableIterator<readonly [string, Rest]> {
    for (const key of this.#failed) yield [key, this.#rests.get(key)!];
  }
}
