/** Where backups are kept: objects by name, whole or not there. */
import * as Data from "effect/Data";

/** The place cannot be reached, is full, or refuses. */
export class TargetUnavailable extends Data.TaggedError("TargetUnavailable")<{
  readonly target: string;
  readonly reason: string;
}> {
  override get message(): string {
    return `${this.target}: ${this.reason}`;
  }
}

export interface StoredObject {
  readonly name: string;
  readonly bytes: number;
  /** When it was written, milliseconds since 1970, by the target's clock. */
  readonly modifiedMs: number;
}

/** Names are of `[a-z0-9./-]`. Every method may throw TargetUnavailable. */
export interface Target {
  /** For people; no secrets. */
  readonly description: string;
  /** Whole or not at all, over what is there; durable when it returns. */
  put(name: string, content: Uint8Array): Promise<void>;
  /** @returns undefined when it is not there */
  get(name: string): Promise<Buffer | undefined>;
  has(name: string): Promise<boolean>;
  /** Those below a prefix that ends with `/`, in no order. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** No error when it is not there. */
  remove(name: string): Promise<void>;
}
