/**
 * The projection `history`: one row per event of a context, in order, with the sentence that says what happened and the public
 * data. Readers see all contexts in `v.history`: context, organisation, kind, id, seq, index, version, type, time, actor, command,
 * correlation, sentence, data (null when the event is not public).
 */
import type { ContextDeclaration } from "@millrace/domain/kind.ts";
import type { StoredCommit } from "./commit.ts";
import { UnknownEvent } from "./failures.ts";
import type { Queryable } from "./postgres.ts";
import { aggregateKey, chunks, type Fold, type Projection, qualified, quoted, type Row } from "./projection.ts";
import { upcast } from "./upcast.ts";

export const HISTORY_VERSION = 1;

const COLUMNS = [
  ["organisation", "text"],
  ["kind", "text"],
  ["id", "text"],
  ["seq", "bigint"],
  ["index", "integer"],
  ["version", "integer"],
  ["type", "text"],
  ["time", "timestamptz"],
  ["actor", "jsonb"],
  ["command", "text"],
  ["correlation", "text"],
  ["sentence", "text"],
  ["data", "jsonb"],
] as const;

export function historyProjection(context: ContextDeclaration): Projection {
  return {
    name: "history",
    context: context.name,
    version: HISTORY_VERSION,
    stateVersion: 1,
    shape: { columns: COLUMNS, hideGone: false, showContext: true, searchKind: null, stem: `history_${context.name}` },
    create: (table) =>
      `CREATE TABLE IF NOT EXISTS ${qualified(table)} (
         organisation text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
         seq bigint NOT NULL, index integer NOT NULL, version integer NOT NULL, type text NOT NULL, time timestamptz NOT NULL,
         actor jsonb NOT NULL, command text NOT NULL, correlation text NOT NULL, sentence text NOT NULL, data jsonb,
         PRIMARY KEY (seq, index))`,
    index: (table) => [
      `CREATE INDEX IF NOT EXISTS ${quoted(`${table}_id`)} ON ${qualified(table)} (id, seq, index)`,
      `CREATE INDEX IF NOT EXISTS ${quoted(`${table}_organisation`)} ON ${qualified(table)} (organisation, seq, index)`,
    ],
    fold: (table) => new HistoryFold(context, qualified(table)),
  };
}

class HistoryFold implements Fold {
  readonly #context: ContextDeclaration;
  readonly #table: string;
  readonly #insert: string;
  #rows: Row[] = [];

  constructor(context: ContextDeclaration, table: string) {
    this.#context = context;
    this.#table = table;
    const names = COLUMNS.map(([name]) => quoted(name)).join(", ");
    const types = COLUMNS.map(([name, type]) => `${quoted(name)} ${type}`).join(", ");
    this.#insert = `INSERT INTO ${table} (${names}) SELECT ${names} FROM json_to_recordset($1::json) AS r(${types})
      ON CONFLICT (seq, index) DO NOTHING`;
  }

  concerns(): boolean {
    return true;
  }

  async begin(): Promise<void> {
    this.#rows = [];
  }

  apply(commit: StoredCommit): void {
    this.#rows.push(...this.#rowsOf(commit));
  }

  #rowsOf(commit: StoredCommit): Row[] {
    const { context, aggregate, seq, events, organisation, actor, command, correlation } = commit;
    const kind = this.#context.kinds[commit.kind];
    if (kind === undefined) {
      const { type, v } = events[0]!;
      throw new UnknownEvent({ context, kind: commit.kind, aggregate, seq, type, version: v });
    }
    const time = new Date(commit.time).toISOString();
    const key = aggregateKey(commit.kind, aggregate);
    return events.map((event, index) => {
      const { type, data } = upcast(kind, commit, event);
      const { sentence, toPublic } = kind.events[type]!;
      const shown = toPublic === null ? null : toPublic === undefined ? data : toPublic(data);
      const row = {
        organisation,
        kind: commit.kind,
        id: aggregate,
        seq,
        index,
        version: commit.version - events.length + index + 1,
        type,
        time,
        actor,
        command,
        correlation,
        sentence: sentence(data),
        data: shown ?? null,
      };
      return { aggregate: key, json: JSON.stringify(row) };
    });
  }

  rows(): { rows: ReadonlyArray<Row>; unwritable: [] } {
    return { rows: this.#rows, unwritable: [] };
  }

  async write(tx: Queryable, rows: ReadonlyArray<Row>): Promise<void> {
    for (const json of chunks(rows)) await tx.run(this.#insert, [json]);
  }

  keep(): void {
    this.#rows = [];
  }

  discard(): void {
    this.#rows = [];
  }

  forget(): void {
    this.#rows = [];
  }

  leaveOut(aggregate: string): void {
    this.#rows = this.#rows.filter((row) => row.aggregate !== aggregate);
  }

  fresh(_kind: string, _id: string, commits: ReadonlyArray<StoredCommit>): Row[] {
    return commits.flatMap((commit) => this.#rowsOf(commit));
  }

  /** What was said before stays said: dropping means that nothing is added any more. */
  async remove(tx: Queryable, kind: string, id: string, forGood: boolean): Promise<void> {
    if (!forGood) await tx.run(`DELETE FROM ${this.#table} WHERE id = $1 AND kind = $2`, [id, kind]);
  }
}
