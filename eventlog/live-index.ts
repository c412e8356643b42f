/**
 * All of a kind, live and in memory: follows a context's log and folds it, from a snapshot. For what looks at everything
 * (reconcile all, render all routes, count a queue) without PostgreSQL. A moment behind at times, so never to be decided upon: a worker loads.
 */
import type { Kind } from "@millrace/domain/kind.ts";
import { type Folded, fold, readCommits } from "./aggregate.ts";
import type { StoredCommit } from "./commit.ts";
import type { EventLog } from "./eventlog.ts";
import { follow } from "./follow.ts";
import { IndexSnapshots } from "./live-index-snapshot.ts";
import { metrics } from "./telemetry.ts";

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
  /** Name of the snapshot; processes with the same name share it. Another `keep` needs another name. Left out: no snapshot. */
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
  /** Sequence of the snapshot it began with; 0: from the beginning of the log. */
  readonly from: number;
  /** Aggregates left out because of an event that this release does not know. */
  readonly stopped: ReadonlyArray<{ readonly kind: string; readonly id: string; readonly reason: string }>;
}

export interface LiveIndex {
  get<S>(kind: Kind<S>, id: string): IndexEntry<S> | undefined;
  all<S>(kind: Kind<S>): IterableIterator<IndexEntry<S>>;
  readonly seq: number;
  /** Resolves when everything that stood in the log at the start is folded, or when it is stopped before. */
  caughtUp(): Promise<void>;
  /** Resolves when everything up to the sequence is folded; false when the time is over. */
  reached(seq: number, timeoutMs: number): Promise<boolean>;
  /** After each change, the entry as it is now (undefined: not kept any more). Not called before it has caught up. @returns stops it */
  onChange(listener: (kind: string, id: string, entry: IndexEntry | undefined) => void): () => void;
  status(): IndexStatus;
  /** Writes a snapshot and ends. */
  stop(): Promise<void>;
}

/** Commits after which a snapshot is worth its bytes. */
const SNAPSHOT_COMMITS = 5_000;
const BATCH = 500;
const AGAIN_MS = 1_000;

/** Starts following; `caughtUp` says when it is complete. A server that is away is waited for. */
export async function startLiveIndex(options: LiveIndexOptions): Promise<LiveIndex> {
  const index = new Index(options);
  await index.begin();
  return index;
}

class Index implements LiveIndex {
  readonly #options: LiveIndexOptions;
  readonly #kinds: ReadonlyMap<string, Kind>;
  readonly #entries: ReadonlyMap<string, Map<string, IndexEntry>>;
  readonly #stopped = new Map<string, { kind: string; id: string; reason: string }>();
  readonly #listeners = new Set<(kind: string, id: string, entry: IndexEntry | undefined) => void>();
  readonly #waiters = new Set<() => void>();
  readonly #snapshots: IndexSnapshots | undefined;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();
  #seq = 0;
  #from = 0;
  #caughtUp = false;
  /** Commits folded since the last snapshot. */
  #sinceSnapshot = 0;

  constructor(options: LiveIndexOptions) {
    this.#options = options;
    this.#kinds = new Map(options.kinds.map((kind) => [kind.kind, kind]));
    this.#entries = new Map(options.kinds.map((kind) => [kind.kind, new Map()]));
    const { log, context, snapshot, kinds } = options;
    if (snapshot !== undefined) this.#snapshots = new IndexSnapshots(log.nats, context, snapshot, kinds);
  }

  get seq(): number {
    return this.#seq;
  }

  async begin(): Promise<void> {
    const head = await this.#options.log.head(this.#options.context);
    const found = await this.#snapshots?.read();
    // A snapshot from beyond the log's end belongs to another log.
    if (found !== undefined && found.seq <= head) {
      this.#seq = found.seq;
      this.#from = found.seq;
      for (const { kind, entry } of found.entries) {
        if (this.#kept(kind, entry.state)) this.#entries.get(kind)?.set(entry.id, entry);
      }
    }
    if (this.#seq >= head) this.#caughtUp = true;
    this.#running = this.#run(head);
  }

  get<S>(kind: Kind<S>, id: string): IndexEntry<S> | undefined {
    return this.#entries.get(kind.kind)?.get(id);
  }

  all<S>(kind: Kind<S>): IterableIterator<IndexEntry<S>> {
    return (this.#entries.get(kind.kind) ?? new Map<string, IndexEntry<S>>()).values();
  }

  async caughtUp(): Promise<void> {
    await this.#until(() => this.#caughtUp);
  }

  reached(seq: number, timeoutMs: number): Promise<boolean> {
    return this.#until(() => this.#seq >= seq, timeoutMs);
  }

  onChange(listener: (kind: string, id: string, entry: IndexEntry | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  status(): IndexStatus {
    let entries = 0;
    for (const one of this.#entries.values()) entries += one.size;
    const stopped = [...this.#stopped.values()];
    return { seq: this.#seq, caughtUp: this.#caughtUp, entries, from: this.#from, stopped };
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    for (const wake of this.#waiters) wake();
    if (this.#sinceSnapshot > 0) this.#write();
    await this.#writing;
  }

  #until(holds: () => boolean, timeoutMs?: number): Promise<boolean> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const look = (late = false) => {
        if (!holds() && !late && !this.#stopping.signal.aborted) return;
        clearTimeout(timer);
        this.#waiters.delete(wake);
        resolve(holds());
      };
      const wake = () => look();
      this.#waiters.add(wake);
      if (timeoutMs !== undefined) timer = setTimeout(look, timeoutMs, true);
      look();
    });
  }

  async #run(head: number): Promise<void> {
    const { signal } = this.#stopping;
    const { log, context, onError } = this.#options;
    while (!signal.aborted) {
      try {
        await follow(log.nats, {
          context,
          fromSeq: this.#seq + 1,
          most: BATCH,
          signal,
          onBatch: async ({ commits, lastSeq, pending }) => {
            for (const commit of commits) await this.#take(commit);
            this.#seq = lastSeq;
            this.#sinceSnapshot += commits.length;
            if (lastSeq >= head) this.#caughtUp = true;
            this.#show(pending);
            for (const wake of this.#waiters) wake();
            if (this.#sinceSnapshot >= SNAPSHOT_COMMITS) this.#write();
          },
        });
      } catch (error) {
        onError?.(error);
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  #show(pending: number): void {
    const { context } = this.#options;
    metrics.indexLag.set({ context }, pending);
    metrics.indexEntries.set({ context }, this.status().entries);
  }

  #kept(kind: string, state: unknown): boolean {
    return this.#options.keep?.(kind, state) ?? true;
  }

  /** A commit that is already in (of a batch that broke off in the middle) changes nothing. @throws LogUnavailable */
  async #take(commit: StoredCommit): Promise<void> {
    const kind = this.#kinds.get(commit.kind);
    const entries = this.#entries.get(commit.kind);
    const name = `${commit.kind}/${commit.aggregate}`;
    if (kind === undefined || entries === undefined || this.#stopped.has(name)) return;
    const known = entries.get(commit.aggregate);
    if (known !== undefined && known.seq >= commit.seq) return;
    // Only what somebody else should see is shielded: the log being away must end the batch, a bad event must not.
    const before = known ?? (await this.#before(kind, commit));
    let after: IndexEntry | undefined;
    try {
      after = toEntry(foldAll(kind, before, commit));
    } catch (error) {
      this.#stopped.set(name, { kind: commit.kind, id: commit.aggregate, reason: String(error) });
      this.#options.onError?.(error);
      after = undefined;
    }
    if (after !== undefined && this.#kept(commit.kind, after.state)) entries.set(after.id, after);
    else if (!entries.delete(commit.aggregate)) return;
    else after = undefined;
    if (this.#caughtUp) for (const listener of this.#listeners) listener(commit.kind, commit.aggregate, after);
  }

  /** What came before the commit of an aggregate that is not in memory: nothing, or all of its history. */
  async #before(kind: Kind, commit: StoredCommit): Promise<ReadonlyArray<StoredCommit>> {
    if (commit.version === commit.events.length) return [];
    const earlier: StoredCommit[] = [];
    for await (const one of readCommits(this.#options.log.nats, kind, commit.aggregate)) {
      if (one.seq >= commit.seq) break;
      earlier.push(one);
    }
    return earlier;
  }

  #write(): void {
    const snapshots = this.#snapshots;
    if (snapshots === undefined) return;
    this.#sinceSnapshot = 0;
    const seq = this.#seq;
    const all = [...this.#entries].flatMap(([kind, entries]) =>
      [...entries.values()].map((entry) => ({ kind, entry })),
    );
    const whole = this.#stopped.size === 0;
    // What is left out because it cannot be read must not be forgotten by a release that can.
    if (!whole) return;
    this.#writing = this.#writing
      .then(() => snapshots.write({ seq, entries: all }))
      .catch((error: unknown) => this.#options.onError?.(error));
  }
}

function foldAll(kind: Kind, before: IndexEntry | ReadonlyArray<StoredCommit>, commit: StoredCommit): Folded<any> {
  const initial = {
    id: commit.aggregate,
    state: kind.decider.initial(commit.aggregate),
    organisation: undefined,
    seq: 0,
    version: 0,
  };
  if (!Array.isArray(before)) return fold(kind, before as IndexEntry, commit);
  let folded: Folded<any> = initial;
  for (const one of before as ReadonlyArray<StoredCommit>) folded = fold(kind, folded, one);
  return fold(kind, folded, commit);
}

const toEntry = ({ id, organisation, state, seq, version }: Folded<any>): IndexEntry => ({
  id,
  organisation: organisation ?? "",
  state,
  seq,
  version,
});
