/**
 * Sealing: values that must not stand in clear anywhere are encrypted before they reach the log, by AES-256-GCM under
 * a data key of their subject (a secret, a person, an organisation). Data keys are wrapped by the master key and kept apart
 * from the log; dropping a subject's data keys erases every value ever sealed for it, in the log and in each of its copies.
 *
 *     const sealing = await Sealing.open({ nats, masterKeys: parseMasterKeys(text), replicas: 1 });
 *     const sealed = await sealing.seal({ organisation, subject: secretId }, "hunter2");
 *     const bytes = await sealing.unseal(sealed, { organisation, purpose: "deploy" });
 */
import { randomBytes } from "node:crypto";
import * as Data from "effect/Data";
import type { Nats } from "./connection.ts";
import {
  DataKeys,
  decrypt,
  encrypt,
  isPlace,
  KEY_BYTES,
  type KeyRecord,
  type MasterKeys,
  type Place,
  unwrapKey,
  type WrappedKey,
  wrapKey,
} from "./datakeys.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import { metrics } from "./telemetry.ts";

export { type MasterKey, type MasterKeys, type Place, parseMasterKeys } from "./datakeys.ts";

/** What stands in an event. Opaque to the rules; all of it base64url or ids. */
export interface SealedValue {
  readonly v: 1;
  /** Id of the data key. */
  readonly key: string;
  readonly subject: string;
  readonly iv: string;
  /** Ciphertext, the tag at its end. */
  readonly data: string;
}

/** The subject's data keys were dropped: nobody can read the value any more. */
export class Erased extends Data.TaggedError("Erased")<Place & { readonly at: string }> {
  override get message(): string {
    return `What was sealed for ${this.subject} was erased at ${this.at}.`;
  }
}

/** The data key is neither there nor erased: the bucket KEYS was lost. Its backup brings it back. */
export class DataKeyMissing extends Data.TaggedError("DataKeyMissing")<Place & { readonly key: string }> {
  override get message(): string {
    return `Data key ${this.key} of ${this.subject} is not in the bucket KEYS and was not erased. Restore the bucket from its backup.`;
  }
}

/** The data key is wrapped by a master key that this process was not given. */
export class MasterKeyUnknown extends Data.TaggedError("MasterKeyUnknown")<
  Place & { readonly master: string; readonly known: ReadonlyArray<string> }
> {
  override get message(): string {
    return `The data key of ${this.subject} is wrapped by master key ${this.master}; known are ${this.known.join(", ")}. Add that key as a further line to MILLRACE_MASTER_KEY_FILE.`;
  }
}

/** It was changed, or belongs to another organisation or subject. */
export class SealBroken extends Data.TaggedError("SealBroken")<Place> {
  override get message(): string {
    return `The sealed value of ${this.subject} is not one of this organisation and subject, or was changed.`;
  }
}

/** Told of every unsealing before its plaintext is handed out; a rejection withholds it. */
export type OnUnseal = (unsealing: Place & { readonly purpose: string; readonly key: string }) => Promise<void> | void;

export interface SealingSettings {
  readonly nats: Nats;
  readonly masterKeys: MasterKeys;
  /** Of the bucket, when it has to be made. Default 1. */
  readonly replicas?: 1 | 3;
  /** Makes an event of the unsealings that have to be one: of a person's and of signing secrets. */
  readonly onUnseal?: OnUnseal;
}

/** What a rotation of the master key came to. Done again it does what is left. */
export interface Rotation {
  readonly rewrapped: number;
  /** Under the current master key already. */
  readonly current: number;
  readonly failed: ReadonlyArray<MasterKeyUnknown | SealBroken>;
}

/** Bytes of one value at the most: it has to fit into a commit. */
export const PLAINTEXT_MOST = 256 * 1024;

interface Known {
  readonly record: KeyRecord;
  /** Data keys in clear, by id. */
  readonly clear: Map<string, Buffer>;
  readonly until: number;
}

const CACHE_MOST = 1_000;
/** A second net: an erasure elsewhere is heard of at once, and takes effect after this at the latest. */
const CACHE_MS = 60_000;

const nameOf = ({ organisation, subject }: Place) => `${organisation}.${subject}`;
const valueContext = ({ organisation, subject }: Place, key: string) =>
  `millrace/value/1\n${organisation}\n${subject}\n${key}`;

export class Sealing {
  readonly #keys: DataKeys;
  readonly #masters: MasterKeys;
  readonly #onUnseal: OnUnseal | undefined;
  readonly #cache = new Map<string, Known>();
  readonly #closing = new AbortController();

  private constructor(keys: DataKeys, { masterKeys, onUnseal }: SealingSettings) {
    this.#keys = keys;
    this.#masters = masterKeys;
    this.#onUnseal = onUnseal;
  }

  /** Makes the bucket when it is not there, and finishes erasures that were cut off. @throws LogUnavailable */
  static async open(settings: SealingSettings): Promise<Sealing> {
    const keys = await DataKeys.open(settings.nats, settings.replicas ?? 1);
    await keys.finishErasures();
    const sealing = new Sealing(keys, settings);
    void keys.watchErasures(sealing.#closing.signal, (place) => sealing.#forget(place));
    return sealing;
  }

  /** Forgets all keys and stops listening. */
  close(): void {
    this.#closing.abort();
    for (const name of [...this.#cache.keys()]) this.#drop(name);
  }

  /**
   * @throws RangeError above `PLAINTEXT_MOST` · TypeError when organisation or subject is no token · Erased, MasterKeyUnknown,
   *   SealBroken (the stored key was changed), LogUnavailable
   */
  async seal(place: Place, plaintext: Uint8Array | string): Promise<SealedValue> {
    const bytes = typeof plaintext === "string" ? Buffer.from(plaintext, "utf8") : plaintext;
    if (bytes.length > PLAINTEXT_MOST) throw new RangeError(`at most ${PLAINTEXT_MOST} bytes can be sealed`);
    if (!isPlace(place)) throw new TypeError("organisation and subject have to be tokens of [A-Za-z0-9_-]");
    const known = (await this.#load(place)) ?? (await this.#create(place));
    const id = known.record.current;
    const key = this.#clear(place, known, id);
    return { v: 1, key: id, subject: place.subject, ...encrypt(key, bytes, valueContext(place, id)) };
  }

  /**
   * @param options.organisation whose value it has to be
   * @param options.purpose what for, in a word or two: told to `onUnseal`
   * @throws Erased, SealBroken, DataKeyMissing, MasterKeyUnknown, LogUnavailable, and what `onUnseal` throws
   */
  async unseal(
    sealed: SealedValue,
    options: { readonly organisation: string; readonly purpose: string },
  ): Promise<Uint8Array> {
    const place = { organisation: options.organisation, subject: sealed.subject };
    try {
      if (sealed.v !== 1 || !isPlace(place)) throw new SealBroken(place);
      const known = await this.#loadWith(place, sealed.key);
      // No await between getting the key in clear and using it: dropping it from memory overwrites it.
      const plaintext = decrypt(this.#clear(place, known, sealed.key), sealed, valueContext(place, sealed.key));
      if (plaintext === undefined) throw new SealBroken(place);
      await this.#onUnseal?.({ ...place, purpose: options.purpose, key: sealed.key });
      metrics.unseals.inc({ outcome: "ok" });
      return plaintext;
    } catch (error) {
      metrics.unseals.inc({ outcome: error instanceof Erased ? "erased" : "failed" });
      throw error;
    }
  }

  /**
   * A new data key for new values; old values stay readable until the subject is erased.
   * @returns its id
   * @throws as `seal`
   */
  async rotateDataKey(place: Place): Promise<string> {
    for (;;) {
      const found = await this.#keys.read(place);
      if (found === undefined) return (await this.#create(place)).record.current;
      const { id, wrapped } = this.#newKey(place);
      const record = { v: 1, current: id, keys: { ...found.record.keys, [id]: wrapped } } as const;
      faultPoint("sealing.rotate-data");
      if (!(await this.#keys.write(place, record, found.revision))) continue;
      this.#forget(place);
      return id;
    }
  }

  /**
   * Wraps every data key by the current master key. What was cut off is done when it is called again; values need no change.
   * Afterwards, when nothing failed, the older master keys may go from the file.
   * @throws LogUnavailable
   */
  async rotateMasterKey(): Promise<Rotation> {
    let rewrapped = 0;
    let current = 0;
    const failed: Array<MasterKeyUnknown | SealBroken> = [];
    for (const place of await this.#keys.places()) {
      try {
        if (await this.#rewrap(place)) rewrapped++;
        else current++;
      } catch (error) {
        if (!(error instanceof MasterKeyUnknown) && !(error instanceof SealBroken)) throw error;
        failed.push(error);
      }
    }
    return { rewrapped, current, failed };
  }

  /**
   * Drops every data key of the subject for ever, from the disk and from the memory of all processes.
   * Done again it is the same. Nothing can be sealed for the subject any more.
   * @throws LogUnavailable: not known to be done; do it again
   */
  async erase(place: Place): Promise<void> {
    if (!isPlace(place)) throw new TypeError("organisation and subject have to be tokens of [A-Za-z0-9_-]");
    this.#forget(place);
    await this.#keys.erase(place, new Date().toISOString());
    this.#forget(place);
  }

  async #rewrap(place: Place): Promise<boolean> {
    const [master] = this.#masters;
    for (;;) {
      const found = await this.#keys.read(place);
      if (found === undefined) return false;
      const { record, revision } = found;
      if (Object.values(record.keys).every((wrapped) => wrapped.master === master.id)) {
        await this.#keys.dropSuperseded(place); // A crash may have left the revision under the older key.
        return false;
      }
      const keys = Object.fromEntries(
        Object.entries(record.keys).map(([id, wrapped]) => {
          const clear = this.#unwrap(place, id, wrapped);
          const again = wrapKey(master, place, id, clear, wrapped.at);
          clear.fill(0);
          return [id, again];
        }),
      );
      faultPoint("sealing.rotate-master");
      if (await this.#keys.write(place, { ...record, keys }, revision)) return true;
    }
  }

  #newKey(place: Place): { readonly id: string; readonly wrapped: WrappedKey } {
    const id = randomBytes(12).toString("base64url");
    const key = randomBytes(KEY_BYTES);
    const wrapped = wrapKey(this.#masters[0], place, id, key, new Date().toISOString());
    key.fill(0);
    return { id, wrapped };
  }

  /** The first data key of a subject. Of two processes that make one at the same moment both take the first's. */
  async #create(place: Place): Promise<Known> {
    await this.#refuseErased(place);
    const { id, wrapped } = this.#newKey(place);
    await this.#keys.write(place, { v: 1, current: id, keys: { [id]: wrapped } }, 0);
    // An erasure may have been said after the look and have been through before the write.
    const erasedAt = await this.#keys.erasedAt(place);
    if (erasedAt !== undefined) {
      await this.#keys.erase(place, erasedAt);
      throw new Erased({ ...place, at: erasedAt });
    }
    const known = await this.#load(place, true);
    if (known === undefined) throw new LogUnavailable({ what: "NATS", cause: "the new data key is not there" });
    return known;
  }

  async #refuseErased(place: Place): Promise<void> {
    const at = await this.#keys.erasedAt(place);
    if (at !== undefined) throw new Erased({ ...place, at });
  }

  /** A record that has the key: another process may have made it a moment ago. */
  async #loadWith(place: Place, id: string): Promise<Known> {
    for (const fresh of [false, true]) {
      const known = await this.#load(place, fresh);
      if (known?.record.keys[id] !== undefined) return known;
    }
    await this.#refuseErased(place);
    throw new DataKeyMissing({ ...place, key: id });
  }

  async #load(place: Place, fresh = false): Promise<Known | undefined> {
    const name = nameOf(place);
    const known = this.#cache.get(name);
    if (!fresh && known !== undefined && known.until > Date.now()) return known;
    this.#drop(name);
    const found = await this.#keys.read(place);
    if (found === undefined) return undefined;
    const loaded: Known = { record: found.record, clear: new Map(), until: Date.now() + CACHE_MS };
    if (this.#cache.size >= CACHE_MOST) this.#drop(this.#cache.keys().next().value!);
    this.#cache.set(name, loaded);
    return loaded;
  }

  /** The data key in clear, to be used at once. @param id of a key that the record has */
  #clear(place: Place, known: Known, id: string): Buffer {
    const ready = known.clear.get(id);
    if (ready !== undefined) return ready;
    const key = this.#unwrap(place, id, known.record.keys[id]!);
    known.clear.set(id, key);
    return key;
  }

  #unwrap(place: Place, id: string, wrapped: WrappedKey): Buffer {
    const master = this.#masters.find((one) => one.id === wrapped.master);
    if (master === undefined) {
      throw new MasterKeyUnknown({ ...place, master: wrapped.master, known: this.#masters.map((one) => one.id) });
    }
    const key = unwrapKey(master, place, id, wrapped);
    if (key === undefined) throw new SealBroken(place);
    return key;
  }

  #forget(place: Place): void {
    this.#drop(nameOf(place));
  }

  #drop(name: string): void {
    const known = this.#cache.get(name);
    for (const key of known?.clear.values() ?? []) key.fill(0);
    // Whoever still holds the record unwraps again, and never meets an overwritten key.
    known?.clear.clear();
    this.#cache.delete(name);
  }
}
