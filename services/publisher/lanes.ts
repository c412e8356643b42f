/**
 * Lanes: so many at the same moment, and of those that share a key (a repository) one alone. Who waits goes in the order of priority,
 * then of age; a priority can change while it waits.
 */
import type { BuildCommand, BuildState } from "@millrace/domain/publishing/build.ts";
import type { Work } from "@millrace/eventlog/worker.ts";

export interface Waiting {
  readonly id: string;
  readonly priority: number;
  /** Since when it wants to go: milliseconds since 1970. */
  readonly since: number;
  /** Of those with the same one goes at a time. */
  readonly key?: string;
}

interface Entry extends Waiting {
  priority: number;
  readonly go: () => void;
}

export class Lanes {
  readonly #most: number;
  #going = 0;
  readonly #keys = new Set<string>();
  #waiting: Entry[] = [];
  /** Told when somebody has left. */
  readonly #watching = new Set<() => void>();

  constructor(most: number) {
    this.#most = most;
  }

  /** @returns gives the lane back @throws the signal's reason */
  async enter(what: Waiting, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const entry: Entry = {
        ...what,
        go: () => {
          signal.removeEventListener("abort", give);
          resolve();
        },
      };
      const give = () => {
        this.#waiting = this.#waiting.filter((each) => each !== entry);
        reject(signal.reason);
        for (const tell of this.#watching) tell();
      };
      signal.addEventListener("abort", give, { once: true });
      this.#waiting.push(entry);
      this.#next();
    });
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      this.#going--;
      if (what.key !== undefined) this.#keys.delete(what.key);
      this.#next();
      for (const tell of this.#watching) tell();
    };
  }

  /** Until nobody who has this key goes or waits, and at most for so many milliseconds. */
  async quiet(key: string, mostMs: number): Promise<void> {
    const isBusy = () => this.#keys.has(key) || this.#waiting.some((each) => each.key === key);
    if (!isBusy()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => {
      if (!isBusy()) resolve();
    };
    this.#watching.add(look);
    const timer = setTimeout(resolve, mostMs);
    await promise;
    clearTimeout(timer);
    this.#watching.delete(look);
  }

  /** What waits gets another place in the order. */
  prioritise(id: string, priority: number): void {
    for (const entry of this.#waiting) if (entry.id === id) entry.priority = priority;
  }

  #next(): void {
    while (this.#going < this.#most) {
      const free = this.#waiting.filter(({ key }) => key === undefined || !this.#keys.has(key));
      const first = free.sort((a, b) => b.priority - a.priority || a.since - b.since)[0];
      if (first === undefined) return;
      this.#waiting = this.#waiting.filter((each) => each !== first);
      this.#going++;
      if (first.key !== undefined) this.#keys.add(first.key);
      first.go();
    }
  }
}

export interface Wanted {
  /** What is waited for before, others joining meanwhile; told how long it took the last time, milliseconds. */
  readonly ready?: (tookMs: number) => Promise<void>;
  /** Broken off when somebody comes who is in more of a hurry: what that one has done serves both. */
  readonly yields?: boolean;
}

interface Doing {
  done: Promise<void>;
  /** Ends it; undefined: somebody waits for it. */
  readonly giveWay: AbortController | undefined;
  /** What is done in its place. */
  instead?: Promise<void>;
}

/** Of what everybody wants done anew, and one doing serves all who asked before it began: a summary. */
export class Coalesced {
  readonly #running = new Map<string, Doing>();
  readonly #next = new Map<string, { readonly done: Promise<void>; yields: boolean }>();
  readonly #took = new Map<string, number>();

  /** Begins after this call, with others that want the same. */
  run(key: string, act: (signal?: AbortSignal) => Promise<void>, wanted: Wanted = {}): Promise<void> {
    const { ready, yields = false } = wanted;
    const waiting = this.#next.get(key);
    const before = this.#running.get(key);
    if (waiting === undefined && before === undefined && ready === undefined) return this.#begin(key, act, yields);
    const next = waiting ?? { done: this.#after(key, act, before, ready), yields };
    this.#next.set(key, next);
    if (yields) return next.done;
    next.yields = false;
    if (before?.giveWay !== undefined) {
      before.instead = next.done;
      before.giveWay.abort();
    }
    return next.done;
  }

  async #after(
    key: string,
    act: (signal?: AbortSignal) => Promise<void>,
    before: Doing | undefined,
    ready: Wanted["ready"],
  ): Promise<void> {
    await Promise.all([before?.done.catch(() => {}), ready?.(this.#took.get(key) ?? 0)]);
    const { yields } = this.#next.get(key)!;
    this.#next.delete(key);
    return this.#begin(key, act, yields);
  }

  #begin(key: string, act: (signal?: AbortSignal) => Promise<void>, yields: boolean): Promise<void> {
    const began = performance.now();
    const giveWay = yields ? new AbortController() : undefined;
    const doing: Doing = { done: Promise.resolve(), giveWay };
    doing.done = act(giveWay?.signal).finally(() => {
      if (giveWay?.signal.aborted !== true) this.#took.set(key, performance.now() - began);
      if (this.#running.get(key) === doing) this.#running.delete(key);
    });
    this.#running.set(key, doing);
    return doing.done.catch((error) => {
      if (doing.instead === undefined) throw error;
      return doing.instead;
    });
  }
}

/** Many at the same moment, or one alone; who came first goes first, so that neither waits for ever. */
export class Gate {
  #together = 0;
  #isAlone = false;
  readonly #waiting: { readonly alone: boolean; readonly go: () => void }[] = [];

  /** Never within itself: who waits alone stands between the two. */
  together<T>(act: () => Promise<T>): Promise<T> {
    return this.#pass(false, act);
  }

  alone<T>(act: () => Promise<T>): Promise<T> {
    return this.#pass(true, act);
  }

  async #pass<T>(alone: boolean, act: () => Promise<T>): Promise<T> {
    await new Promise<void>((go) => {
      this.#waiting.push({ alone, go });
      this.#next();
    });
    try {
      return await act();
    } finally {
      if (alone) this.#isAlone = false;
      else this.#together--;
      this.#next();
    }
  }

  #next(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (this.#isAlone || (first.alone && this.#together > 0)) return;
      this.#waiting.shift();
      if (first.alone) this.#isAlone = true;
      else this.#together++;
      first.go();
    }
  }
}

/** While it has a lane; others have its place meanwhile. */
export async function inLane<T>(
  lanes: Lanes,
  work: Work<BuildState, BuildCommand>,
  what: { readonly since: string | null; readonly key?: string },
  use: () => Promise<T>,
): Promise<T> {
  const { id, priority, createdAt } = work.loaded.state;
  const since = Date.parse(what.since ?? createdAt);
  const waiting = { id, priority, since, ...(what.key === undefined ? {} : { key: what.key }) };
  const leave = await work.aside(() => lanes.enter(waiting, work.signal));
  try {
    return await use();
  } finally {
    leave();
  }
}
