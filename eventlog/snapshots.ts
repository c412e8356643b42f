/** Snapshots of long aggregates: a cache in a KV bucket that may vanish at any time. */

import type { Kind } from "@millrace/domain/kind.ts";
import { type KV, Kvm } from "@nats-io/kv";
import type { Loaded } from "./aggregate.ts";
import type { Nats } from "./connection.ts";
import { type Remembered, RememberedCommands } from "./remembered.ts";

/** Events that must have been folded one by one before a snapshot is worth its write. */
const WORTH_EVENTS = 200;

export class Snapshots {
  readonly #bucket: KV;

  private constructor(bucket: KV) {
    this.#bucket = bucket;
  }

  /** In memory storage: losing them costs a longer load, nothing else, and no fsync is spent on them. */
  static async open(nats: Nats): Promise<Snapshots> {
    const bucket = await new Kvm(nats.js).create("SNAPSHOTS", {
      storage: "memory",
      history: 1,
      max_bytes: 64 * 1024 * 1024,
      allow_direct: true,
    } as never);
    return new Snapshots(bucket);
  }

  /** @returns undefined when there is none, or none of this shape */
  async read<S>(kind: Kind<S>, id: string): Promise<Loaded<S> | undefined> {
    try {
      const entry = await this.#bucket.get(name(kind, id));
      if (entry === null || entry.operation !== "PUT") return undefined;
      const { loaded, commands } = entry.json<{
        loaded: Omit<Loaded<S>, "commands">;
        commands: [string, Remembered][];
      }>();
      return { ...loaded, commands: new RememberedCommands(commands) };
    } catch {
      return undefined; // A cache: whatever is wrong with it, the log has everything.
    }
  }

  /** Writes one in the background when many events had to be folded. */
  consider<S>(kind: Kind<S>, loaded: Loaded<S>, foldedFrom: number): void {
    if (loaded.version - foldedFrom < WORTH_EVENTS) return;
    const { commands, ...rest } = loaded;
    this.#bucket.put(name(kind, loaded.id), JSON.stringify({ loaded: rest, commands: [...commands] })).catch(() => {});
  }
}

const name = (kind: Kind, id: string) => `${kind.context}.${kind.kind}.${kind.stateVersion}.${id}`;
