/**
 * All of a kind, live and in memory: follows a context's log and folds it, from a snapshot. For what looks at everything
 * (reconcile all, render all routes, count a queue) without PostgreSQL. Never wrong for long, never to be decided upon: a worker loads.
 */
import type { Kind } from "@millrace/domain/kind.ts";
import type { EventLog } from "./eventlog.ts";

export interface IndexEntry<S = any> {
  readonly id: string;
  readonly organisation: string;
  readonly state: S;
  /** Sequence of its last commit. */
  readonly seq: number;
  /** How many events it has. */
  readonly version: number;
}

export interface LiveIndexOptions {
  readonly log: EventLog;
  readonly context: string;
  readonly kinds: ReadonlyArray<Kind>;
  /** Name of the snapshot; processes with the same name share it. Left out: no snapshot. */
  readonly snapshot?: string;
  /** What is worth memory: e.g. not a deployment that ended. What is left out comes back when it changes. Default: all. */
  readonly keep?: (kind: string, state: any) => boolean;
  readonly onError?: (error: unknown) => void;
}

export interface IndexStatus {
  /** Everything up to this sequence is folded. */
  readonly seq: number;
  readonly caughtUp: boolean;
  readonly entries: number;
  /** Aggregates left out because of an event that this release does not know. */
  readonly stopped: ReadonlyArray<{ readonly kind: string; readonly id: string; readonly reason: string }>;
}

export interface LiveIndex {
  get<S>(kind: Kind<S>, id: string): IndexEntry<S> | undefined;
  all<S>(kind: Kind<S>): IterableIterator<IndexEntry<S>>;
  readonly seq: number;
  /** Resolves when everything that stood in the log at the start is folded. */
  caughtUp(): Promise<void>;
  /** Resolves when everything up to the sequence is folded; false when the time is over. */
  reached(seq: number, timeoutMs: number): Promise<boolean>;
  /** After each change, the entry as it is now (undefined: not kept any more). Not called before it has caught up. @returns stops it */
  onChange(listener: (kind: string, id: string, entry: IndexEntry | undefined) => void): () => void;
  status(): IndexStatus;
  /** Writes a snapshot and ends. */
  stop(): Promise<void>;
}

export declare function startLiveIndex(options: LiveIndexOptions): Promise<LiveIndex>;
