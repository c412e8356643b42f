/**
 * What is known of backups, in the KV bucket `BACKUP`: how the last one went, what is under way, what was asked for. It may vanish at any
 * time; the backups themselves stand at the target.
 */
import { type KV, Kvm } from "@nats-io/kv";
import type { Nats } from "../connection.ts";
import { LogUnavailable } from "../failures.ts";

export interface BackupDone {
  readonly id: string;
  /** The moment of which it is, RFC 3339. */
  readonly at: string;
  readonly tookMs: number;
  readonly position: Readonly<Record<string, number>>;
  readonly storedBytes: number;
  readonly reusedBytes: number;
}

export interface BackupStatus {
  /** Undefined: nobody has said anything since the bucket was made. */
  readonly target?: string;
  readonly everyHours?: number;
  readonly running?: { readonly since: string; readonly part: string };
  readonly last?: BackupDone;
  readonly failed?: { readonly at: string; readonly reason: string };
  /** When the next is due, RFC 3339. */
  readonly next?: string;
}

const STATUS = "status";
const ASKED = "asked";

export class BackupBoard {
  readonly #bucket: KV;

  private constructor(bucket: KV) {
    this.#bucket = bucket;
  }

  /** @throws LogUnavailable */
  static open(nats: Nats): Promise<BackupBoard> {
    const options = { history: 1, storage: "file", replicas: nats.replicas, max_bytes: 4 * 1024 * 1024 };
    return guarded(async () => new BackupBoard(await new Kvm(nats.js).create("BACKUP", options as never)));
  }

  /** @throws LogUnavailable */
  async read(): Promise<BackupStatus> {
    const entry = await guarded(() => this.#bucket.get(STATUS));
    return entry === null || entry.operation !== "PUT" ? {} : entry.json<BackupStatus>();
  }

  /** @throws LogUnavailable */
  async write(status: BackupStatus): Promise<void> {
    await guarded(() => this.#bucket.put(STATUS, JSON.stringify(status)));
  }

  /** Asks for a backup now. Asking again before it has begun changes nothing. @throws LogUnavailable */
  async ask(by: string): Promise<void> {
    await guarded(() => this.#bucket.put(ASKED, JSON.stringify({ by, at: new Date().toISOString() })));
  }

  /** Revision of the last ask; 0: none. @throws LogUnavailable */
  async asked(): Promise<number> {
    const entry = await guarded(() => this.#bucket.get(ASKED));
    return entry === null || entry.operation !== "PUT" ? 0 : entry.revision;
  }

  /** It has been done. @throws LogUnavailable */
  async answered(revision: number): Promise<void> {
    await guarded(() => this.#bucket.delete(ASKED, { previousSeq: revision })).catch((error: LogUnavailable) => {
      // Asked again meanwhile: that one stands.
      if ((error.cause as { code?: number }).code !== 10071) throw error;
    });
  }
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new LogUnavailable({ what: "NATS", cause });
  }
}
