/**
 * The projection of a declared view: one row per aggregate with its state, folded by the kind's own rules. A row of what no
 * longer exists stays, flagged `gone` and hidden from readers, because events after a deletion (a restoring, say) need its state.
 * State is JSON: what does not survive `JSON.stringify` does not belong into it.
 */
import type { Kind } from "@millrace/domain/kind.ts";
import type { Column, View } from "@millrace/domain/view.ts";
import { type Folded, fold, unborn } from "./aggregate.ts";
import type { StoredCommit } from "./commit.ts";
import type { Queryable } from "./postgres.ts";
import {
  aggregateKey,
  checkName,
  chunks,
  type Fold,
  type FoldOptions,
  type Projection,
  qualified,
  quoted,
  type Row,
  type Unwritable,
} from "./projection.ts";
import { SEARCH_DOCUMENT } from "./projection-schema.ts";
import { Recent } from "./recent.ts";

/** The columns that every view has. Times are the log's own: of the first commit and of the last. */
const BASE = [
  ["organisation", "text"],
  ["id", "text"],
  ["seq", "bigint"],
  ["version", "integer"],
  ["created_at", "timestamptz"],
  ["updated_at", "timestamptz"],
  ["state", "jsonb"],
] as const;

/** Longer texts are searchable by their beginning: a tsvector holds a megabyte. */
const SEARCHABLE = 100_000;

const SEARCH = [
  ["search_title", "text"],
  ["search_text", "text"],
] as const;

const COLUMN = /^[A-Za-z][A-Za-z0-9_]{0,39}$/;

/** @throws TypeError when the view's names cannot be a table's or a column's */
export function viewProjection(view: View): Projection {
  checkName(view.name);
  const reserved = new Set<string>([
    ...BASE.map(([name]) => name),
    ...SEARCH.map(([name]) => name),
    "gone",
    "search_document",
  ]);
  const declared = Object.entries(view.columns);
  for (const [name] of declared) {
    if (!COLUMN.test(name) || reserved.has(name))
      throw new TypeError(`view ${view.name}: no name for a column: ${name}`);
  }
  return {
    name: view.name,
    context: view.kind.context,
    version: view.version,
    stateVersion: view.kind.stateVersion,
    shape: {
      columns: [...BASE, ...declared.map(([name, { type }]) => [name, type] as const)],
      hideGone: true,
      showContext: false,
      searchKind: view.search === undefined ? null : view.kind.kind,
      stem: view.name,
    },
    create: (table) => createTable(view, table),
    index: (table) => createIndexes(view, table),
    fold: (table, options) => new StateFold(view, table, options),
  };
}

function createTable(view: View, table: string): string {
  const columns = Object.entries(view.columns).map(([column, { type }]) => `${quoted(column)} ${type}`);
  if (view.search !== undefined) {
    columns.push(...SEARCH.map(([column, type]) => `${column} ${type}`));
    columns.push(`search_document tsvector GENERATED ALWAYS AS (${SEARCH_DOCUMENT}) STORED`);
  }
  return `CREATE TABLE IF NOT EXISTS ${qualified(table)} (
    organisation text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    seq bigint NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    gone boolean NOT NULL,
    ${["state jsonb NOT NULL", ...columns].join(",\n    ")}
  ) WITH (fillfactor = 80)`;
}

function createIndexes(view: View, table: string): string[] {
  const index = (suffix: string, over: string) =>
    `CREATE INDEX IF NOT EXISTS ${quoted(table + suffix)} ON ${qualified(table)} ${over}`;
  const over = (column: string, { type }: Column) => {
    if (type === "text[]") return `USING gin (${quoted(column)})`;
    if (type === "jsonb") return `USING gin (${quoted(column)} jsonb_path_ops)`;
    return `(organisation, ${quoted(column)}, id) WHERE NOT gone`;
  };
  return [
    index("_created", "(organisation, created_at, id) WHERE NOT gone"),
    ...Object.entries(view.columns).flatMap(([name, column], i) =>
      column.index === true ? [index(`_i${i}`, over(name, column))] : [],
    ),
    ...(view.search === undefined ? [] : [index("_search", "USING gin (search_document)")]),
  ];
}

/** A row as it is known in memory. */
interface Known {
  readonly loaded: Folded<any>;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly gone: boolean;
  readonly columns: ReadonlyArray<unknown>;
  /** Length of its row as JSON, when it was last written. */
  bytes: number;
}

/** Rows kept in memory between batches, together, as JSON: large states must not add up. */
const CACHE_BYTES = 64 * 1024 * 1024;

interface StoredRow {
  readonly id: string;
  readonly organisation: string;
  readonly seq: number;
  readonly version: number;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly gone: boolean;
  readonly state: unknown;
}

class StateFold implements Fold {
  readonly #view: View;
  readonly #kind: Kind;
  readonly #table: string;
  readonly #names: ReadonlyArray<string>;
  readonly #values: ReadonlyArray<(state: any) => unknown>;
  readonly #upsert: string;
  readonly #known: Recent<Known>;
  readonly #changed = new Map<string, Known>();

  constructor(view: View, table: string, options: FoldOptions) {
    this.#view = view;
    this.#kind = view.kind;
    this.#table = qualified(table);
    this.#known = new Recent(options.cacheMost, CACHE_BYTES);
    this.#names = Object.keys(view.columns);
    this.#values = Object.values(view.columns).map((column) => column.value);
    this.#upsert = upsertStatement(view, this.#table);
  }

  concerns(commit: StoredCommit): boolean {
    return commit.kind === this.#kind.kind;
  }

  async begin(db: Queryable, commits: ReadonlyArray<StoredCommit>): Promise<void> {
    this.discard();
    const wanted = new Set<string>();
    for (const { aggregate } of commits) if (!this.#known.has(aggregate)) wanted.add(aggregate);
    if (wanted.size === 0) return;
    const rows = await db.query<StoredRow>(
      `SELECT id, organisation, seq, version, created_at, updated_at, gone, state FROM ${this.#table} WHERE id = ANY($1)`,
      [[...wanted]],
    );
    for (const { id, organisation, seq, version, created_at, updated_at, gone, state } of rows) {
      this.#known.set(id, {
        loaded: { id, state, organisation, seq, version },
        createdAt: created_at.getTime(),
        updatedAt: updated_at.getTime(),
        gone,
        columns: [],
        bytes: 0,
      });
    }
  }

  apply(commit: StoredCommit): void {
    const id = commit.aggregate;
    const before = this.#changed.get(id) ?? this.#known.get(id);
    const after = this.#next(before, commit);
    if (after !== before) this.#changed.set(id, after!);
  }

  #next(before: Known | undefined, commit: StoredCommit): Known | undefined {
    if (before !== undefined && commit.seq <= before.loaded.seq) return before;
    const loaded = fold(this.#kind, before?.loaded ?? unborn(this.#kind, commit.aggregate), commit);
    if (loaded.version !== commit.version) {
      throw new Error(`the commit ends at version ${commit.version}, what was folded at ${loaded.version}`);
    }
    const gone = !this.#kind.exists(loaded.state);
    const columns: unknown[] = this.#values.map((value) => value(loaded.state));
    if (this.#view.search !== undefined) {
      const { title, text } = this.#view.search(loaded.state);
      columns.push(title.slice(0, SEARCHABLE), text.slice(0, SEARCHABLE));
    }
    return { loaded, createdAt: before?.createdAt ?? commit.time, updatedAt: commit.time, gone, columns, bytes: 0 };
  }

  rows(): { rows: Row[]; unwritable: Unwritable[] } {
    const rows: Row[] = [];
    const unwritable: Unwritable[] = [];
    // Sorted, so that two transactions that ever overlap lock rows in one order.
    for (const id of [...this.#changed.keys()].sort()) {
      const aggregate = aggregateKey(this.#kind.kind, id);
      try {
        const known = this.#changed.get(id)!;
        const json = this.#encode(known);
        known.bytes = json.length;
        rows.push({ aggregate, json });
      } catch (cause) {
        unwritable.push({ aggregate, cause });
      }
    }
    return { rows, unwritable };
  }

  #encode({ loaded, createdAt, updatedAt, gone, columns }: Known): string {
    const row: Record<string, unknown> = {
      organisation: loaded.organisation,
      id: loaded.id,
      seq: loaded.seq,
      version: loaded.version,
      created_at: new Date(createdAt).toISOString(),
      updated_at: new Date(updatedAt).toISOString(),
      gone,
      state: loaded.state,
    };
    for (const [i, name] of this.#names.entries()) row[name] = columns[i] ?? null;
    if (this.#view.search !== undefined) [row.search_title, row.search_text] = columns.slice(-2);
    return JSON.stringify(row);
  }

  async write(tx: Queryable, rows: ReadonlyArray<Row>): Promise<void> {
    for (const json of chunks(rows)) await tx.run(this.#upsert, [json]);
  }

  keep(): void {
    for (const [id, known] of this.#changed) this.#known.set(id, known);
    this.#changed.clear();
    this.#known.trim();
  }

  discard(): void {
    this.#changed.clear();
  }

  forget(): void {
    this.#changed.clear();
    this.#known.clear();
  }

  leaveOut(aggregate: string): void {
    const id = aggregate.slice(aggregate.indexOf("/") + 1);
    this.#changed.delete(id);
    this.#known.delete(id);
  }

  fresh(_kind: string, id: string, commits: ReadonlyArray<StoredCommit>): Row[] {
    let known: Known | undefined;
    for (const commit of commits) known = this.#next(known, commit);
    return known === undefined ? [] : [{ aggregate: aggregateKey(this.#kind.kind, id), json: this.#encode(known) }];
  }

  async remove(tx: Queryable, _kind: string, id: string): Promise<void> {
    this.leaveOut(aggregateKey(this.#kind.kind, id));
    await tx.run(`DELETE FROM ${this.#table} WHERE id = $1`, [id]);
  }
}

function upsertStatement(view: View, table: string): string {
  const columns: ReadonlyArray<readonly [string, string]> = [
    ...BASE,
    ["gone", "boolean"],
    ...Object.entries(view.columns).map(([name, { type }]) => [name, type] as const),
    ...(view.search === undefined ? [] : SEARCH),
  ];
  const names = columns.map(([name]) => quoted(name));
  const set = names.filter((name) => name !== '"id"' && name !== '"created_at"' && name !== '"organisation"');
  return `INSERT INTO ${table} (${names.join(", ")})
    SELECT ${names.join(", ")} FROM json_to_recordset($1::json) AS r(${columns.map(([name, type]) => `${quoted(name)} ${type}`).join(", ")})
    ON CONFLICT (id) DO UPDATE SET ${set.map((name) => `${name} = excluded.${name}`).join(", ")}`;
}
