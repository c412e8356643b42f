/**
 * The bucket that leases stand in, with its traps in one place: it is kept in the server's memory (a lease need not survive the server,
 * and costs no fsync), so it may be gone and is then made again; `kv.update` would drop the time to live, so renewals are published
 * raw; a release leaves a tombstone that goes by itself.
 */
import type { JetStreamApiError } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { headers } from "@nats-io/transport-node";
import { isNotFound, leaderMessage, type Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";

const WRONG_LAST_SEQUENCE = 10071;
const TOMBSTONE = "1s";
const MARKER_MS = 1_000;
const BUCKET_BYTES = 64 * 1024 ** 2;
/** Long enough for a leader to be elected, short enough to be tried again within a lease. */
const TIMEOUT_MS = 1_500;

/** `unknown`: no answer, or one that says nothing about the key. */
export type Written = { readonly revision: number } | { readonly not: "expected" | "unknown"; readonly cause: unknown };

/** A key as the stream's leader has it. */
export interface Standing {
  readonly revision: number;
  /** Undefined: a tombstone. */
  readonly data: Uint8Array | undefined;
  /** Milliseconds since 1970. */
  readonly time: number;
}

export class LeaseBucket {
  readonly name: string;
  readonly stream: string;
  readonly #nats: Nats;
  #made: Promise<unknown> | undefined;

  constructor(nats: Nats, name: string) {
    this.#nats = nats;
    this.name = name;
    this.stream = `KV_${name}`;
  }

  subject(key: string): string {
    return `$KV.${this.name}.${key}`;
  }

  /** Makes the bucket where it is missing. @throws LogUnavailable */
  async make(again = false): Promise<void> {
    if (again) this.#made = undefined;
    const options = {
      storage: "memory",
      history: 1,
      replicas: this.#nats.replicas,
      markerTTL: MARKER_MS,
      max_bytes: BUCKET_BYTES,
      maxValueSize: 16_384,
      allow_direct: true,
    };
    this.#made ??= new Kvm(this.#nats.js).create(this.name, options as never);
    try {
      await this.#made;
    } catch (error) {
      this.#made = undefined;
      throw new LogUnavailable({ what: "NATS", cause: error });
    }
  }

  /** Writes a value that goes by itself, if the key stands at the expected revision (0: has none; undefined: whatever it has). */
  put(key: string, value: string, ttlMs: number, expected: number | undefined): Promise<Written> {
    return this.#publish(key, value, { ttl: `${Math.ceil(ttlMs / 1_000)}s`, expected });
  }

  /** Takes the key away, if it stands at the expected revision. */
  remove(key: string, expected: number, why: string): Promise<Written> {
    return this.#publish(key, "", { ttl: TOMBSTONE, expected, why });
  }

  async #publish(
    key: string,
    value: string,
    { ttl, expected, why }: { readonly ttl: string; readonly expected: number | undefined; readonly why?: string },
  ): Promise<Written> {
    const h = headers();
    if (why !== undefined) {
      h.set("KV-Operation", "DEL");
      h.set("Millrace-Why", why);
    }
    try {
      const expect = expected === undefined ? {} : { lastSubjectSequence: expected };
      const options = { headers: h, ttl, expect, timeout: TIMEOUT_MS, retries: 1 };
      return { revision: (await this.#nats.js.publish(this.subject(key), value, options as never)).seq };
    } catch (error) {
      const code = (error as JetStreamApiError).code;
      if (code === WRONG_LAST_SEQUENCE) return { not: "expected", cause: error };
      // No stream listens on the subject: the server was restarted and its memory is empty.
      if ((error as Error).name === "JetStreamNotEnabled") await this.make(true).catch(() => {});
      return { not: "unknown", cause: error };
    }
  }

  /** @throws LogUnavailable */
  async read(key: string): Promise<Standing | undefined> {
    const message = await leaderMessage(this.#nats, this.stream, { last_by_subj: this.subject(key) }).catch(
      async (error: LogUnavailable) => {
        if (!isNotFound(error.cause)) throw error;
        await this.make(true);
        return null;
      },
    );
    if (message === null) return undefined;
    const gone = message.data.length === 0;
    return { revision: message.seq, data: gone ? undefined : message.data, time: message.time.getTime() };
  }
}
