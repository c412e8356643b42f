/**
 * Projections: tables in PostgreSQL kept by folding one context's log each, exactly once.
 *
 * A projection is `(name, context)`: a declared view (projection-state.ts) or the history (projection-history.ts). Each of
 * its *builds* has a table of its own, `projection.<stem>_v<version>_b<build>`, and a row in `millrace.projection`, the
 * checkpoint (projection-checkpoint.ts says what readers find there). Readers read `v.<name>`, which shows one build;
 * a newer version, or a rebuild that was asked for, is folded beside it and switched in one transaction when it has caught
 * up; then the old table is dropped. So nobody sees a view that is empty or half done.
 *
 * One transaction a batch: first the checkpoint, compared (sequence and epoch) and set; then the rows. Of two projectors on one
 * build, one holds the lease in the checkpoint's row and works; if both believe so, one comparison fails and drops its work.
 * The lease saves work, the comparison makes it exact.
 *
 * An event that the rules cannot fold parks its aggregate in this projection, as a dead letter (deadletters.ts); an event that
 * this release does not know stops the projection before it, until an upgrade.
 */
import type { StoredCommit } from "./commit.ts";
import type { Queryable } from "./postgres.ts";

/** What is kept of a projection's shape with its checkpoint, so that any release can show any build. */
export interface Shape {
  /** Columns that readers see, in order: name and SQL type. */
  readonly columns: ReadonlyArray<readonly [name: string, type: string]>;
  /** Rows have a flag `gone`, and readers see those without it. */
  readonly hideGone: boolean;
  /** Readers see the context as the first column: the name is shared by several contexts. */
  readonly showContext: boolean;
  /** Kind of aggregate under which the search finds its rows; null: not found by the search. */
  readonly searchKind: string | null;
  /** Table name without version and build. */
  readonly stem: string;
}

export interface Projection {
  /** What readers read: `v.<name>`. */
  readonly name: string;
  readonly context: string;
  /** Raised when columns or fold change. */
  readonly version: number;
  /** The kind's own version of its state; a change of it builds anew as well. */
  readonly stateVersion: number;
  readonly shape: Shape;
  /** The statement that creates the table with its primary key. */
  readonly create: (table: string) => string;
  /** The statements that create the other indexes, once the table is filled: much cheaper than row by row. Each may be repeated. */
  readonly index: (table: string) => ReadonlyArray<string>;
  /** A fold of its own, empty, for one build. */
  readonly fold: (table: string, options: FoldOptions) => Fold;
}

export interface FoldOptions {
  /** Rows kept in memory between batches at the most. */
  readonly cacheMost: number;
}

/** A row ready to be written. */
export interface Row {
  /** `aggregateKey` of the aggregate it comes from. */
  readonly aggregate: string;
  /** The whole row as a JSON object. */
  readonly json: string;
}

/** An aggregate whose row cannot even be written down. */
export interface Unwritable {
  readonly aggregate: string;
  readonly cause: unknown;
}

/** Folds commits in memory and writes what came of them. One caller at a time: begin, apply…, rows, write, then keep or discard. */
export interface Fold {
  concerns(commit: StoredCommit): boolean;
  /** Reads what these commits are folded on. @throws PostgresUnavailable, StatementRefused */
  begin(db: Queryable, commits: ReadonlyArray<StoredCommit>): Promise<void>;
  /** All of the commit or nothing of it. @throws UnknownEvent, and whatever the rules throw */
  apply(commit: StoredCommit): void;
  /** What changed since `begin`, sorted by key. */
  rows(): { readonly rows: ReadonlyArray<Row>; readonly unwritable: ReadonlyArray<Unwritable> };
  /** @throws PostgresUnavailable, StatementRefused */
  write(tx: Queryable, rows: ReadonlyArray<Row>): Promise<void>;
  /** The transaction was committed: what was folded is what the table holds. */
  keep(): void;
  /** It was not: only what was kept before is known. */
  discard(): void;
  /** Somebody else may have written: nothing is known. */
  forget(): void;
  /** What is folded of this aggregate in this batch is not to be written, and nothing of it is known. */
  leaveOut(aggregate: string): void;
  /** Rows of one aggregate made anew from all its commits. @throws what the rules throw */
  fresh(kind: string, id: string, commits: ReadonlyArray<StoredCommit>): ReadonlyArray<Row>;
  /** Takes the rows of one aggregate away, before new ones or for good. */
  remove(tx: Queryable, kind: string, id: string, forGood: boolean): Promise<void>;
}

export const aggregateKey = (kind: string, id: string): string => `${kind}/${id}`;

export function splitKey(aggregate: string): { kind: string; id: string } {
  const at = aggregate.indexOf("/");
  return { kind: aggregate.slice(0, at), id: aggregate.slice(at + 1) };
}

const NAME = /^[a-z][a-z0-9_]{0,39}$/;

/** @throws TypeError for a name that cannot be a table's */
export function checkName(name: string): string {
  if (!NAME.test(name)) throw new TypeError(`not a name for a projection or table: ${JSON.stringify(name)}`);
  return name;
}

/** An SQL identifier in quotes. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
/** An SQL text literal. */
export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** Name of a build's table, without schema. */
export const tableName = (stem: string, version: number, build: number): string => `${stem}_v${version}_b${build}`;
export const qualified = (table: string): string => `projection.${quoted(table)}`;

/** Bytes of rows sent in one statement at the most. */
const CHUNK_BYTES = 4 * 1024 * 1024;

/** Rows as JSON arrays, each small enough for one statement. */
export function* chunks(rows: ReadonlyArray<Row>): Generator<string> {
  let part: string[] = [];
  let bytes = 0;
  for (const { json } of rows) {
    if (part.length > 0 && bytes + json.length > CHUNK_BYTES) {
      yield `[${part.join(",")}]`;
      part = [];
      bytes = 0;
    }
    part.push(json);
    bytes += json.length;
  }
  if (part.length > 0) yield `[${part.join(",")}]`;
}
