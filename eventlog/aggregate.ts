/** Loading aggregates: by direct batch get of the literal subject, hot ones from memory, long ones from a snapshot. */

import type { EventMeta } from "@millrace/domain/decider.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { StoredMsg } from "@nats-io/jetstream";
import { decodeCommitBody, type StoredCommit } from "./commit.ts";
import { leaderMessage, type Nats } from "./connection.ts";
import { type DirectMessage, readBatch } from "./direct.ts";
import { loads } from "./meters.ts";
import { Recent } from "./recent.ts";
import { RememberedCommands } from "./remembered.ts";
import type { Snapshots } from "./snapshots.ts";
import { aggregateSubject, logStream } from "./subjects.ts";
import { upcast } from "./upcast.ts";

/** An aggregate as folded up to some commit, for readers. */
export interface Folded<S> {
  readonly id: string;
  readonly state: S;
  /** Organisation it belongs to; undefined while nothing has happened. */
  readonly organisation: string | undefined;
  /** Stream sequence of its last commit; 0 when there is none. */
  readonly seq: number;
  /** How many events it has. */
  readonly version: number;
}

/** The same for writers, who must know which commands were carried out. */
export interface Loaded<S> extends Folded<S> {
  readonly commands: RememberedCommands;
}

/** Of which nothing has happened. */
export const unborn = <S>(kind: Kind<S>, id: string): Folded<S> => ({
  id,
  state: kind.decider.initial(id),
  organisation: undefined,
  seq: 0,
  version: 0,
});

export const nothing = <S>(kind: Kind<S>, id: string): Loaded<S> => ({
  ...unborn(kind, id),
  commands: new RememberedCommands(),
});

/** When a load should stop. */
export interface Until {
  /** The log's own time, milliseconds since 1970, inclusive. */
  readonly time?: number;
  /** Number of events, inclusive: a commit is cut in its middle if need be. */
  readonly version?: number;
}

export const metaOf = (commit: StoredCommit): EventMeta => ({
  organisation: commit.organisation,
  actor: commit.actor,
  // When it was decided, not when the log stamped it: known at once, so that the first answer, a repeat of it, every
  // process and every projection show the same.
  time: commit.at,
});

/** Folds one commit on. @throws UnknownEvent */
export function fold<S>(kind: Kind<S>, folded: Folded<S>, commit: StoredCommit, upToVersion = Infinity): Folded<S> {
  const meta = metaOf(commit);
  let { state, version } = folded;
  for (const event of commit.events) {
    if (version >= upToVersion) break;
    state = kind.decider.evolve(state, upcast(kind, commit, event), meta);
    version++;
  }
  return { id: folded.id, state, organisation: commit.organisation, seq: commit.seq, version };
}

/** The same, and remembers the command. @throws UnknownEvent */
export function foldCommit<S>(
  kind: Kind<S>,
  loaded: Loaded<S>,
  commit: StoredCommit,
  upToVersion = Infinity,
): Loaded<S> {
  const { id, state, organisation, seq, version } = fold(kind, loaded, commit, upToVersion);
  const { commands } = loaded;
  commands.add(commit.command, { digest: commit.digest, seq: commit.seq, version, time: commit.time });
  return { id, state, organisation, seq, version, commands };
}

const PAGE = 1_000;
/** Of an aggregate not in memory: more than this, and its snapshot is looked for. Most aggregates are one page. */
const FIRST_PAGE = 128;

/**
 * The commits of one aggregate from a stream sequence on, oldest first.
 * @throws LogUnavailable
 */
export async function* readCommits(nats: Nats, kind: Kind, id: string, fromSeq = 1): AsyncGenerator<StoredCommit> {
  for (let seq = Math.max(1, fromSeq); ; ) {
    const { commits, more } = await readPage(nats, kind, id, seq, PAGE);
    yield* commits;
    if (!more || commits.length === 0) return;
    seq = commits[commits.length - 1]!.seq + 1;
  }
}

/** One page; `more` is false only when the stream's leader has nothing behind it. */
async function readPage(nats: Nats, kind: Kind, id: string, fromSeq: number, batch: number) {
  const subject = aggregateSubject(kind.context, kind.kind, id);
  const stream = logStream(kind.context);
  const { messages, more } = await readBatch(nats, stream, { seq: fromSeq, next_by_subj: subject, batch });
  const commits = messages.map((message) => toCommit(kind, id, message));
  if (more || nats.replicas === 1) return { commits, more };
  // Of three servers any may have answered, also one that is behind: what it did not have yet comes from the leader.
  for (let seq = (commits[commits.length - 1]?.seq ?? fromSeq - 1) + 1; ; ) {
    const message = await leaderMessage(nats, stream, { seq, next_by_subj: subject });
    if (message === null) return { commits, more: false };
    commits.push(toCommit(kind, id, message));
    seq = message.seq + 1;
  }
}

const toCommit = (kind: Kind, id: string, message: StoredMsg | DirectMessage): StoredCommit => ({
  ...decodeCommitBody(message.data),
  context: kind.context,
  kind: kind.kind,
  aggregate: id,
  subject: message.subject,
  seq: message.seq,
  time: typeof message.time === "number" ? message.time : message.time.getTime(),
});

/** Of all states in memory, as JSON. */
const MOST_BYTES = 64 * 1024 ** 2;
/** About what one remembered command takes. */
const COMMAND_BYTES = 200;

interface Entry {
  readonly loaded: Loaded<unknown>;
  readonly bytes: number;
  /** Version at which it was weighed. */
  readonly weighedAt: number;
}

/** A state is weighed again when it has seen a quarter more events: a few times in all, however often it changes. */
function weighed(loaded: Loaded<unknown>, before: Entry | undefined): Entry {
  const { version, state, commands } = loaded;
  if (before !== undefined && version < before.weighedAt * 1.25) return { ...before, loaded };
  return { loaded, bytes: (JSON.stringify(state) ?? "").length + commands.size * COMMAND_BYTES, weighedAt: version };
}

/** Aggregates in memory, the most recently used. Never wrong for writing: the append's expectation decides. */
export class Aggregates {
  readonly #nats: Nats;
  readonly #snapshots: Snapshots | undefined;
  readonly #cache: Recent<Entry>;

  constructor(
    nats: Nats,
    options: { readonly most?: number; readonly mostBytes?: number; readonly snapshots?: Snapshots } = {},
  ) {
    this.#nats = nats;
    this.#cache = new Recent(options.most ?? 5_000, options.mostBytes ?? MOST_BYTES);
    this.#snapshots = options.snapshots;
  }

  /** As last seen by this process, or undefined: good enough to decide on, never to answer a reader with. */
  cached<S>(kind: Kind<S>, id: string): Loaded<S> | undefined {
    return this.#cache.get(key(kind, id))?.loaded as Loaded<S> | undefined;
  }

  /** As the log has it now. @throws LogUnavailable, UnknownEvent */
  async load<S>(kind: Kind<S>, id: string): Promise<Loaded<S>> {
    const known = this.cached(kind, id);
    let loaded = known ?? nothing(kind, id);
    let more = true;
    let source = loads.cache;
    if (known === undefined) {
      source = loads.log;
      const page = await readPage(this.#nats, kind, id, 1, FIRST_PAGE);
      const snapshot = page.more ? await this.#snapshots?.read(kind, id) : undefined;
      if (snapshot !== undefined) {
        source = loads.snapshot;
        loaded = snapshot;
      } else {
        for (const commit of page.commits) loaded = foldCommit(kind, loaded, commit);
        more = page.more;
      }
    }
    source.inc();
    const start = source === loads.snapshot ? loaded.version : 0;
    if (more)
      for await (const commit of readCommits(this.#nats, kind, id, loaded.seq + 1))
        loaded = foldCommit(kind, loaded, commit);
    // While we read, an append of ours may have moved the cache on; the later one stays.
    const now = this.cached(kind, id);
    if (now !== undefined && now.seq > loaded.seq) return now;
    if (loaded.seq > 0) this.keep(kind, loaded);
    if (known === undefined) this.#snapshots?.consider(kind, loaded, start);
    return loaded;
  }

  /** As it was. @throws LogUnavailable, UnknownEvent */
  async loadUntil<S>(kind: Kind<S>, id: string, until: Until): Promise<Loaded<S>> {
    let loaded = nothing(kind, id);
    for await (const commit of readCommits(this.#nats, kind, id)) {
      if (until.time !== undefined && commit.time > until.time) break;
      if (until.version !== undefined && loaded.version >= until.version) break;
      loaded = foldCommit(kind, loaded, commit, until.version);
    }
    return loaded;
  }

  keep<S>(kind: Kind<S>, loaded: Loaded<S>): void {
    const name = key(kind, loaded.id);
    this.#cache.set(name, weighed(loaded, this.#cache.get(name)));
    this.#cache.trim();
  }

  forget(kind: Kind, id: string): void {
    this.#cache.delete(key(kind, id));
  }

  clear(): void {
    this.#cache.clear();
  }
}

const key = (kind: Kind, id: string): string => `${kind.context}.${kind.kind}.${id}`;
