/**
 * Where data keys are kept: the KV bucket `KEYS`, one record per organisation and data subject, each data key wrapped by
 * a master key. Records change by compare and set; what a change supersedes is overwritten on the disk at once.
 *
 * The bucket has a history on purpose. With a history of one the server itself lets go of the former revision, and lets its
 * bytes lie in the block file, where a backup finds them (tried: also after a purge). A delete that
 * overwrites needs the message to be still there (docs/decisions/0011-erasure-overwrites.md).
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { JetStreamApiError, type MsgRequest, type StoredMsg } from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { headers } from "@nats-io/transport-node";
import { type MessageQuery, type Nats, OPEN_MS, persist } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";

/** Whose key: both are tokens of `[A-Za-z0-9_-]`, up to 128. */
export interface Place {
  readonly organisation: string;
  readonly subject: string;
}

const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;
export const isPlace = ({ organisation, subject }: Place): boolean => TOKEN.test(organisation) && TOKEN.test(subject);

/** A key encrypted by another: AES-256-GCM, base64url, the tag at the end of `data`. */
export interface WrappedKey {
  /** Id of the master key. */
  readonly master: string;
  readonly iv: string;
  readonly data: string;
  /** When the data key was made, RFC 3339. */
  readonly at: string;
}

export interface KeyRecord {
  readonly v: 1;
  /** Id of the data key for new values. */
  readonly current: string;
  readonly keys: Readonly<Record<string, WrappedKey>>;
}

const CIPHER = "aes-256-gcm";
const TAG_BYTES = 16;
export const KEY_BYTES = 32;

/** @param context bound to the result: opening it with another fails */
export function encrypt(key: Uint8Array, plaintext: Uint8Array, context: string): { iv: string; data: string } {
  const iv = randomBytes(12);
  const cipher = createCipheriv(CIPHER, key, iv, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(context));
  const data = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return { iv: iv.toString("base64url"), data: data.toString("base64url") };
}

/** @returns undefined when it was changed, or belongs to another key or context */
export function decrypt(
  key: Uint8Array,
  { iv, data }: { readonly iv: string; readonly data: string },
  context: string,
): Buffer | undefined {
  try {
    const bytes = Buffer.from(data, "base64url");
    const decipher = createDecipheriv(CIPHER, key, Buffer.from(iv, "base64url"), { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
    return Buffer.concat([decipher.update(bytes.subarray(0, bytes.length - TAG_BYTES)), decipher.final()]);
  } catch {
    return undefined;
  }
}

export interface MasterKey {
  /** Known by its hash, so that a record says which one it needs without giving anything away. */
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** The first wraps; every one unwraps. */
export type MasterKeys = readonly [MasterKey, ...MasterKey[]];

/**
 * Reads master keys: 32 bytes in base64 a line, the current one first, older ones below; blank lines and `#` are skipped.
 * @throws TypeError that names the line, never its content
 */
export function parseMasterKeys(text: string): MasterKeys {
  const keys: MasterKey[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const bytes = Buffer.from(trimmed, "base64");
    if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(trimmed) || bytes.length !== KEY_BYTES) {
      throw new TypeError(
        `line ${index + 1} of the master keys is not 32 bytes in base64; make one with: openssl rand -base64 32`,
      );
    }
    const id = createHash("sha256").update("millrace master key\n").update(bytes).digest("hex").slice(0, 16);
    if (!keys.some((known) => known.id === id)) keys.push({ id, bytes });
  }
  const [current, ...older] = keys;
  if (current === undefined) throw new TypeError("there is no master key; make one with: openssl rand -base64 32");
  return [current, ...older];
}

const wrapContext = ({ organisation, subject }: Place, key: string) =>
  `millrace/data-key/1\n${organisation}\n${subject}\n${key}`;

export function wrapKey(master: MasterKey, place: Place, id: string, dataKey: Uint8Array, at: string): WrappedKey {
  return { master: master.id, ...encrypt(master.bytes, dataKey, wrapContext(place, id)), at };
}

/** @returns undefined when the record was changed, or the master key only looks like the right one */
export const unwrapKey = (master: MasterKey, place: Place, id: string, wrapped: WrappedKey): Buffer | undefined =>
  decrypt(master.bytes, wrapped, wrapContext(place, id));

const STREAM = "KV_KEYS";
/** How long one question is pursued. */
const ASK_MS = 8_000;
const dataSubject = ({ organisation, subject }: Place) => `$KV.KEYS.data.${organisation}.${subject}`;
const erasedSubject = ({ organisation, subject }: Place) => `$KV.KEYS.erased.${organisation}.${subject}`;
const WRONG_LAST_SEQUENCE = [10071, 10164];
/** Of a delete: the sequence is not found; or a general failure, whose text says "no message found" when it is that. */
const MAYBE_GONE = [10043, 10057];

/** Every read asks the stream's leader, every method may throw LogUnavailable. */
export class DataKeys {
  readonly #nats: Nats;
  readonly #bucket: KV;

  private constructor(nats: Nats, bucket: KV) {
    this.#nats = nats;
    this.#bucket = bucket;
  }

  /** Makes the bucket where there is none. A cluster that is just coming up is given time. @throws LogUnavailable */
  static async open(nats: Nats, replicas: 1 | 3): Promise<DataKeys> {
    const settings = { storage: "file", history: 64, replicas, allow_direct: false };
    // Making what is there already, by us or another, is no change.
    const bucket = await persist(nats, OPEN_MS, [], () => new Kvm(nats.js).create("KEYS", settings as never));
    const keys = new DataKeys(nats, bucket);
    // Each server of a cluster hears of a new bucket a moment later.
    await persist(nats, OPEN_MS, [], () => nats.jsm.streams.info(STREAM));
    return keys;
  }

  async read(place: Place): Promise<{ readonly record: KeyRecord; readonly revision: number } | undefined> {
    const message = await this.#message({ last_by_subj: dataSubject(place) });
    return message === null ? undefined : { record: message.json<KeyRecord>(), revision: message.seq };
  }

  /** When it was erased, RFC 3339; undefined when it was not. */
  async erasedAt(place: Place): Promise<string | undefined> {
    const message = await this.#message({ last_by_subj: erasedSubject(place) });
    return message?.json<{ at: string }>().at;
  }

  /**
   * Writes if nobody was faster, and overwrites on the disk what it supersedes.
   * @param revision 0: there must be none
   * @returns false when somebody was faster
   */
  async write(place: Place, record: KeyRecord, revision: number): Promise<boolean> {
    faultPoint("keys.write.before");
    if (!(await this.#put(dataSubject(place), record, revision))) return false;
    faultPoint("keys.write.after");
    if (revision > 0) await this.dropSuperseded(place);
    return true;
  }

  /** Overwrites every revision but the last: also those that a crash after a write has left. */
  async dropSuperseded(place: Place): Promise<void> {
    const last = await this.#message({ last_by_subj: dataSubject(place) });
    if (last !== null) await this.#overwrite(dataSubject(place), last.seq - 1);
    faultPoint("keys.write.dropped");
  }

  /**
   * Erases for ever: first says so, then overwrites every revision. Cut off between, `finishErasures` goes on.
   * @param at RFC 3339
   */
  async erase(place: Place, at: string): Promise<void> {
    faultPoint("keys.erase.before");
    // False: it was said before, by us or by another.
    await this.#put(erasedSubject(place), { at }, 0);
    faultPoint("keys.erase.marked");
    await this.#overwrite(dataSubject(place), Number.MAX_SAFE_INTEGER);
    faultPoint("keys.erase.dropped");
  }

  /** Drops what is left of places that were marked as erased. @returns how many there were */
  async finishErasures(): Promise<number> {
    const left = new Set((await this.places()).map(dataSubject));
    let finished = 0;
    for (const place of await this.#list("erased")) {
      if (!left.has(dataSubject(place))) continue;
      await this.#overwrite(dataSubject(place), Number.MAX_SAFE_INTEGER);
      finished++;
    }
    return finished;
  }

  /** Every place that has a record. */
  places(): Promise<ReadonlyArray<Place>> {
    return this.#list("data");
  }

  /** Calls back for every erasure of the past and, until the signal is aborted, of the future. */
  async watchErasures(signal: AbortSignal, erased: (place: Place) => void): Promise<void> {
    while (!signal.aborted && !this.#nats.nc.isClosed()) {
      try {
        const watcher = await this.#bucket.watch({ key: "erased.>", headers_only: true });
        const end = () => watcher.stop();
        signal.addEventListener("abort", end);
        if (signal.aborted) end();
        for await (const { key } of watcher) {
          const [, organisation = "", subject = ""] = key.split(".");
          erased({ organisation, subject });
        }
        signal.removeEventListener("abort", end);
      } catch {
        // The server is away: from the beginning when it is back, so that none is missed.
      }
      if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  /**
   * The bucket's leader is asked. That there is no such *stream*, as a server says that is behind, does not mean that there is no
   * message: an erasure would believe that nothing was left.
   */
  #message(query: MessageQuery): Promise<StoredMsg | null> {
    return persist(this.#nats, ASK_MS, [], () => this.#nats.jsm.streams.getMessage(STREAM, query as MsgRequest));
  }

  /** @returns false when somebody was faster: perhaps ourselves, by a try whose answer was lost. Callers look again. */
  async #put(subject: string, value: unknown, expected: number): Promise<boolean> {
    const h = headers();
    h.set("Nats-Expected-Last-Subject-Sequence", String(expected));
    const body = JSON.stringify(value);
    try {
      await persist(this.#nats, ASK_MS, WRONG_LAST_SEQUENCE, () =>
        this.#nats.js.publish(subject, body, { headers: h }),
      );
      return true;
    } catch (error) {
      if (isApiError(error, ...WRONG_LAST_SEQUENCE)) return false;
      throw error;
    }
  }

  /** Deletes the subject's messages up to the sequence so that the server writes over their bytes. */
  async #overwrite(subject: string, upTo: number): Promise<void> {
    let refused = 0;
    let cause: unknown;
    for (;;) {
      const message = await this.#message({ seq: 1, next_by_subj: subject });
      if (message === null || message.seq > upTo) return;
      // What was refused and is there all the same was not refused because another process had been faster.
      if (message.seq === refused) throw new LogUnavailable({ what: "NATS", cause });
      faultPoint("keys.overwrite");
      try {
        await persist(this.#nats, ASK_MS, MAYBE_GONE, () =>
          this.#nats.jsm.streams.deleteMessage(STREAM, message.seq, true),
        );
      } catch (error) {
        if (!isApiError(error, ...MAYBE_GONE)) throw error;
        refused = message.seq;
        cause = error;
      }
    }
  }

  async #list(what: "data" | "erased"): Promise<ReadonlyArray<Place>> {
    const filter = { subjects_filter: `$KV.KEYS.${what}.>` };
    const info = await persist(this.#nats, ASK_MS, [], () => this.#nats.jsm.streams.info(STREAM, filter));
    return Object.keys(info.state.subjects ?? {}).map((name) => {
      const [organisation = "", subject = ""] = name.split(".").slice(3);
      return { organisation, subject };
    });
  }
}

const isApiError = (error: unknown, ...codes: ReadonlyArray<number>): boolean =>
  error instanceof JetStreamApiError && codes.includes(error.code);
