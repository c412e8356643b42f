/**
 * Waiting for an entity: `GET …/{id}?wait=<condition>&timeout=`. While somebody waits in a context its log is followed, once
 * for all of them; each commit of an aggregate wakes who waits for it, to load it and look again. No database is asked.
 */
import { WAIT } from "@millrace/contracts/http.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { Loaded } from "@millrace/eventlog/aggregate.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { follow } from "@millrace/eventlog/follow.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { invalidInput } from "./command.ts";
import { fail } from "./failures.ts";

/** Who waits at the same moment, at the most; who comes then is answered at once. */
const WAITING_MOST = 2_000;
/** A commit that was not heard of is found after this long all the same. */
const LOOK_MS = 5_000;
/** Commits are heard of in batches of at most so many. */
const BATCH = 200;

/** A condition that an entity meets or not. */
export type Condition<S> = (loaded: Loaded<S>) => boolean;

/** Reads a condition as the contract has it. @throws Failed (invalid-input) when the kind has nothing of the sort */
export function conditionOf<S>(kind: Kind<S>, text: string): Condition<S> {
  if (text === "terminal") {
    const { over } = kind;
    if (over === undefined) {
      return fail(
        invalidInput(
          "/query/wait",
          `a ${kind.kind} never comes to an end`,
          "Wait for `state=…`, `generation>=…` or `gone`.",
        ),
      );
    }
    return ({ state }) => over(state);
  }
  if (text === "gone") return ({ state }) => !kind.exists(state);
  const [name, value] = text.split(/>=|=/) as [string, string];
  if (name === "generation") return ({ state }) => kind.generation(state) >= Number(value);
  if (name === "version") return ({ version }) => version >= Number(value);
  const states = value.split("|");
  return ({ state }) => {
    const { status } = kind.represent(state) as { readonly status?: { readonly state?: unknown } };
    return typeof status?.state === "string" && states.includes(status.state);
  };
}

interface Followed {
  /** The log is followed from a sequence that was its head: what comes later is heard of. */
  readonly ready: Promise<void>;
  readonly stop: AbortController;
  readonly waiting: Map<string, Set<() => void>>;
}

export class Waits {
  readonly #log: EventLog;
  readonly #logger: Logger;
  readonly #followed = new Map<string, Followed>();
  #count = 0;
  #stopped = false;

  constructor(log: EventLog, logger: Logger) {
    this.#log = log;
    this.#logger = logger;
  }

  /**
   * Until the condition holds, what is waited for is gone, or time is up.
   * @param timeoutMs at most `WAIT.timeoutMs`
   * @returns the entity as it is then, and whether the condition holds
   * @throws LogUnavailable, UnknownEvent
   */
  async until<S>(
    kind: Kind<S>,
    id: string,
    condition: Condition<S>,
    timeoutMs: number,
  ): Promise<{ readonly loaded: Loaded<S>; readonly met: boolean }> {
    const deadline = Date.now() + Math.min(timeoutMs, WAIT.timeoutMs);
    const load = () => this.#log.aggregates.load(kind, id);
    const first = await load();
    if (condition(first)) return { loaded: first, met: true };
    if (!kind.exists(first.state) || this.#count >= WAITING_MOST) return { loaded: first, met: false };
    this.#count++;
    const followed = this.#follow(kind.context);
    const key = `${kind.kind}.${id}`;
    try {
      await followed.ready;
      for (;;) {
        const bell = new Bell(followed.waiting, key);
        try {
          const loaded = await load();
          const left = deadline - Date.now();
          const met = condition(loaded);
          if (met || left <= 0 || this.#stopped || !kind.exists(loaded.state)) return { loaded, met };
          await bell.rung(Math.min(left, LOOK_MS));
        } finally {
          bell.remove();
        }
      }
    } finally {
      this.#count--;
      this.#leave(kind.context, followed);
    }
  }

  /** Who waits is answered at once. */
  stop(): void {
    this.#stopped = true;
    for (const { stop, waiting } of this.#followed.values()) {
      stop.abort();
      for (const bells of waiting.values()) for (const ring of bells) ring();
    }
  }

  readonly #users = new Map<Followed, number>();

  #follow(context: string): Followed {
    let followed = this.#followed.get(context);
    if (followed === undefined) {
      const stop = new AbortController();
      const waiting = new Map<string, Set<() => void>>();
      followed = { stop, waiting, ready: this.#begin(context, waiting, stop.signal) };
      // Whoever awaits it is told; nobody may be awaiting it yet.
      followed.ready.catch(() => {});
      this.#followed.set(context, followed);
    }
    this.#users.set(followed, (this.#users.get(followed) ?? 0) + 1);
    return followed;
  }

  #leave(context: string, followed: Followed): void {
    const users = this.#users.get(followed)! - 1;
    this.#users.set(followed, users);
    if (users > 0) return;
    this.#users.delete(followed);
    followed.stop.abort();
    if (this.#followed.get(context) === followed) this.#followed.delete(context);
  }

  async #begin(context: string, waiting: Followed["waiting"], signal: AbortSignal): Promise<void> {
    const fromSeq = (await this.#log.head(context)) + 1;
    const following = follow(this.#log.nats, {
      context,
      fromSeq,
      most: BATCH,
      signal,
      onBatch: ({ commits }) => {
        for (const { kind, aggregate } of commits) {
          for (const ring of waiting.get(`${kind}.${aggregate}`) ?? []) ring();
        }
      },
    });
    // What is not heard of is found by looking now and then.
    following.catch((err: unknown) => this.#logger.warn({ context, err }, "waits do not hear the log"));
  }
}

/** Rings when its aggregate has a new commit; set up before the load that shows whether it was too late. */
class Bell {
  readonly #all: Followed["waiting"];
  readonly #key: string;
  readonly #promise: Promise<void>;
  #ring!: () => void;

  constructor(all: Followed["waiting"], key: string) {
    this.#all = all;
    this.#key = key;
    this.#promise = new Promise((resolve) => {
      this.#ring = resolve;
    });
    const bells = all.get(key);
    if (bells === undefined) all.set(key, new Set([this.#ring]));
    else bells.add(this.#ring);
  }

  async rung(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([this.#promise, late]);
    clearTimeout(timer);
  }

  remove(): void {
    const bells = this.#all.get(this.#key);
    bells?.delete(this.#ring);
    if (bells?.size === 0) this.#all.delete(this.#key);
  }
}
