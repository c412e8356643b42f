/** The time of a fleet: the machine's, or one that a test moves by hand. */

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls back once, `ms` from now. The answer cancels it. */
  after(ms: number, callback: () => void): () => void;
}

/** The machine's own time. Its timers keep no process alive. */
export const realClock: Clock = {
  now: Date.now,
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms).unref();
    return () => clearTimeout(timer);
  },
};

export interface ManualClock extends Clock {
  /** Moves the time; what falls due is called in its order, and what that sets off in turn, too. */
  advance(ms: number): Promise<void>;
}

/** A time that stands still until it is moved. What waits on sockets is not part of it. */
export function manualClock(start = Date.UTC(2026, 10, 1, 12)): ManualClock {
  let now = start;
  const waiting = new Set<{ at: number; callback: () => void }>();
  const nextDue = (until: number) => {
    let first: { at: number; callback: () => void } | undefined;
    for (const one of waiting) if (one.at <= until && (first === undefined || one.at < first.at)) first = one;
    return first;
  };
  return {
    now: () => now,
    after: (ms, callback) => {
      const one = { at: now + Math.max(0, ms), callback };
      waiting.add(one);
      return () => waiting.delete(one);
    },
    advance: async (ms) => {
      const until = now + ms;
      for (let due = nextDue(until); due !== undefined; due = nextDue(until)) {
        waiting.delete(due);
        now = Math.max(now, due.at);
        due.callback();
        await new Promise((resolve) => setImmediate(resolve));
      }
      now = until;
    },
  };
}

export interface ShiftedClock extends Clock {
  /** From now on it is so much later; what waits, waits as long as before. */
  shift(ms: number): void;
}

/** The machine's time, which can be moved on: nonces expire in no time, and reboots take what they take. */
export function shiftedClock(): ShiftedClock {
  let by = 0;
  return {
    now: () => Date.now() + by,
    after: realClock.after,
    shift: (ms) => {
      by += ms;
    },
  };
}
