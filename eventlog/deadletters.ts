/**
 * Dead letters: what a consumer could not get past, as pointers into the log and never as copies, so that a corrected release reads
 * the same events through its own upcasts. One letter per consumer and aggregate: the consumer sets the aggregate aside and
 * goes on with all others.
 *
 * They stand in the KV bucket `DEAD_LETTERS`: `parked.<id>` the pointers · `asked.<id>` what people want done with one, which the
 * consumer that holds it picks up (`asks`) and answers by `recovered`, `failedAgain` or `dropped` · `dropped.<id>` who dropped
 * one and why. The id is made of consumer and aggregate, so parking twice is parking once.
 */
import { createHash } from "node:crypto";
import { type KV, Kvm } from "@nats-io/kv";
import type { Nats } from "./connection.ts";
import { readBatch } from "./direct.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";

export const DEAD_LETTERS = "DEAD_LETTERS";

/** What could not be got past, and why. */
export interface Poison {
  /** Stream and sequence of the event: where to look. */
  readonly stream: string;
  readonly seq: number;
  /** Who could not get past it, e.g. `projection:work_items`. */
  readonly consumer: string;
  readonly context: string;
  readonly kind: string;
  readonly aggregate: string;
  readonly organisation: string;
  /** One line. */
  readonly cause: string;
}

export interface DeadLetter extends Poison {
  /** `dlt_` and 26 digits. */
  readonly id: string;
  /** When it was parked, or last tried in vain: RFC 3339. */
  readonly at: string;
  /** How often it was tried in vain. */
  readonly attempts: number;
}

/** What somebody wants done with a dead letter. */
export interface Ask {
  readonly id: string;
  readonly action: "retry" | "drop";
  readonly by: string;
  /** Why it may be dropped. */
  readonly why: string;
  /** RFC 3339 */
  readonly at: string;
  /** Distinguishes this ask from a later one. */
  readonly revision: number;
}

/** Kept when a letter is dropped: who decided that and why. */
export interface Dropped extends DeadLetter {
  readonly by: string;
  readonly why: string;
}

/** `accepted`: the consumer has not answered in time; it acts on it when it is back. */
export type Answer =
  | { readonly outcome: "recovered" | "dropped" | "not-found" }
  | { readonly outcome: "failed" | "accepted"; readonly letter: DeadLetter };

const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const decoder = new TextDecoder();
const LINE = 500;
/** Letters answered by one list at the most. */
const LIST_MOST = 1_000;
const TOMBSTONE = "1m";

export function deadLetterId(of: Pick<Poison, "consumer" | "context" | "kind" | "aggregate">): string {
  const hash = createHash("sha256").update([of.consumer, of.context, of.kind, of.aggregate].join("\0")).digest();
  let id = "dlt_";
  for (let i = 0; i < 26; i++) id += DIGITS[hash[i]! & 31];
  return id;
}

/** An error as the one line of a letter's cause. */
export function causeOf(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return text.replaceAll(/\s+/g, " ").slice(0, LINE);
}

export class DeadLetters {
  readonly #nats: Nats;
  readonly #replicas: number;
  #bucket: Promise<KV> | undefined;

  /** The bucket is made when it is first needed. */
  constructor(nats: Nats, replicas: 1 | 3 = 1) {
    this.#nats = nats;
    this.#replicas = replicas;
  }

  async #with<T>(work: (bucket: KV) => Promise<T>): Promise<T> {
    try {
      this.#bucket ??= new Kvm(this.#nats.js).create(DEAD_LETTERS, {
        storage: "file",
        history: 1,
        replicas: this.#replicas,
        markerTTL: 60_000,
        maxValueSize: 16_384,
      });
      return await work(await this.#bucket);
    } catch (error) {
      this.#bucket = undefined;
      throw error instanceof LogUnavailable ? error : new LogUnavailable({ what: "NATS", cause: error });
    }
  }

  /** Writes the pointer, or finds it there. Must be done before the consumer moves past the event. @throws LogUnavailable */
  park(poison: Poison): Promise<DeadLetter> {
    const { stream, seq, consumer, context, kind, aggregate, organisation, cause } = poison;
    const id = deadLetterId(poison);
    const at = new Date().toISOString();
    const letter = { id, stream, seq, consumer, context, kind, aggregate, organisation, cause, at, attempts: 1 };
    return this.#with(async (bucket) => {
      const there = await read<DeadLetter>(bucket, `parked.${id}`);
      if (there !== undefined) return there.value;
      try {
        faultPoint("deadletters.park.before");
        await bucket.create(`parked.${id}`, JSON.stringify(letter));
        faultPoint("deadletters.park.after");
        return letter;
      } catch (error) {
        const other = await read<DeadLetter>(bucket, `parked.${id}`);
        if (other === undefined) throw error;
        return other.value;
      }
    });
  }

  /** @throws LogUnavailable */
  get(id: string): Promise<DeadLetter | undefined> {
    return this.#with(async (bucket) => (await read<DeadLetter>(bucket, `parked.${id}`))?.value);
  }

  /** Oldest first, a thousand at the most. @throws LogUnavailable */
  async list(
    of: { readonly consumer?: string; readonly context?: string; readonly organisation?: string } = {},
  ): Promise<DeadLetter[]> {
    const letters = await this.#all<DeadLetter>("parked.*");
    return letters
      .map(({ value }) => value)
      .filter(
        (letter) =>
          (of.consumer === undefined || letter.consumer === of.consumer) &&
          (of.context === undefined || letter.context === of.context) &&
          (of.organisation === undefined || letter.organisation === of.organisation),
      )
      .sort((a, b) => (a.at < b.at ? -1 : 1));
  }

  /** What was decided about a letter that was dropped. @throws LogUnavailable */
  whyDropped(id: string): Promise<Dropped | undefined> {
    return this.#with(async (bucket) => (await read<Dropped>(bucket, `dropped.${id}`))?.value);
  }

  /** Asks the consumer to try again, and waits for its answer. @throws LogUnavailable */
  retry(id: string, by: string, waitMs = 5_000): Promise<Answer> {
    return this.#ask({ id, action: "retry", by, why: "" }, waitMs);
  }

  /** Asks the consumer to leave the aggregate out for good, and waits for its answer. @throws LogUnavailable */
  drop(id: string, by: string, why: string, waitMs = 5_000): Promise<Answer> {
    return this.#ask({ id, action: "drop", by, why: why.slice(0, LINE) }, waitMs);
  }

  async #ask(ask: Omit<Ask, "at" | "revision">, waitMs: number): Promise<Answer> {
    const before = await this.get(ask.id);
    if (before === undefined) return { outcome: "not-found" };
    await this.#with((bucket) =>
      bucket.put(`asked.${ask.id}`, JSON.stringify({ ...ask, at: new Date().toISOString() })),
    );
    for (const deadline = Date.now() + waitMs; Date.now() < deadline; ) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const now = await this.get(ask.id);
      if (now === undefined) return { outcome: ask.action === "drop" ? "dropped" : "recovered" };
      if (now.attempts > before.attempts) return { outcome: "failed", letter: now };
    }
    return { outcome: "accepted", letter: before };
  }

  /** What people want done, for every consumer; each takes what is its own. @throws LogUnavailable */
  async asks(): Promise<Ask[]> {
    const asks = await this.#all<Ask>("asked.*");
    return asks.map(({ value, revision }) => ({ ...value, revision }));
  }

  /** The ask was answered. @throws LogUnavailable */
  answered(id: string): Promise<void> {
    return this.#with((bucket) => erase(bucket, `asked.${id}`));
  }

  /** Nothing stands in the way any more. @throws LogUnavailable */
  recovered(id: string): Promise<void> {
    return this.#with((bucket) => erase(bucket, `parked.${id}`));
  }

  /** Tried again in vain. @throws LogUnavailable */
  failedAgain(id: string, cause: string): Promise<void> {
    return this.#with(async (bucket) => {
      const there = await read<DeadLetter>(bucket, `parked.${id}`);
      if (there === undefined) return;
      const { value, revision } = there;
      const next = { ...value, cause, at: new Date().toISOString(), attempts: value.attempts + 1 };
      await bucket.update(`parked.${id}`, JSON.stringify(next), revision);
    });
  }

  /** Left out for good: notes who and why, and takes the pointer away. @throws LogUnavailable */
  dropped(id: string, by: string, why: string): Promise<void> {
    return this.#with(async (bucket) => {
      const there = await read<DeadLetter>(bucket, `parked.${id}`);
      if (there === undefined) return;
      const at = new Date().toISOString();
      await bucket.put(`dropped.${id}`, JSON.stringify({ ...there.value, by, why, at }));
      await erase(bucket, `parked.${id}`);
    });
  }

  #all<T>(keys: string): Promise<Array<{ value: T; revision: number }>> {
    return this.#with(async () => {
      const { messages } = await readBatch(this.#nats, `KV_${DEAD_LETTERS}`, {
        multi_last: [`$KV.${DEAD_LETTERS}.${keys}`],
        batch: LIST_MOST,
      });
      const found: Array<{ value: T; revision: number }> = [];
      for (const { headers, data, seq } of messages) {
        if (headers.get("KV-Operation") !== "" || data.length === 0) continue;
        found.push({ value: JSON.parse(decoder.decode(data)) as T, revision: seq });
      }
      return found;
    });
  }
}

async function read<T>(bucket: KV, key: string): Promise<{ value: T; revision: number } | undefined> {
  const entry = await bucket.get(key);
  return entry === null || entry.operation !== "PUT" || entry.length === 0
    ? undefined
    : { value: entry.json<T>(), revision: entry.revision };
}

/** Leaves a tombstone that goes by itself. */
const erase = (bucket: KV, key: string): Promise<void> => bucket.purge(key, { ttl: TOMBSTONE } as never);
