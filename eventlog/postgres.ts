/**
 * PostgreSQL behind one small face: a bounded pool, transactions, time limits, and two errors. `PostgresUnavailable`: it
 * cannot be reached, was restarted, or is out of room; nothing is known about a commit that was under way; try again
 * later. `StatementRefused`: it answered and said no; `because` says what that means for the caller.
 */
import * as Data from "effect/Data";
import pg from "pg";

export interface PostgresSettings {
  /** `postgres://user:password@host:port/database` */
  readonly url: string;
  /** Shown in `pg_stat_activity`. */
  readonly name: string;
  /** Connections at the most. Default 10. */
  readonly most?: number;
  /** Longest statement. Default 30 000. */
  readonly statementTimeoutMs?: number;
  /** Longest wait for a lock. Default 10 000. */
  readonly lockTimeoutMs?: number;
  /** Longest pause inside a transaction: a process that freezes in one must not keep its locks for longer. Default 10 000. */
  readonly pauseTimeoutMs?: number;
  /** Longest wait for a connection. Default 5 000. */
  readonly connectTimeoutMs?: number;
}

export class PostgresUnavailable extends Data.TaggedError("PostgresUnavailable")<{
  readonly what: "PostgreSQL";
  readonly reason: string;
  readonly cause?: unknown;
}> {
  override get message(): string {
    return this.reason;
  }
}

/**
 * `data`: a value that it cannot store, or a limit of its own · `missing`: a table, column or schema that is not there ·
 * `taken`: a unique value · `busy`: a lock, a deadlock or a time limit; the same may succeed a moment later · `defect`: all else
 */
export type Because = "data" | "missing" | "taken" | "busy" | "defect";

export class StatementRefused extends Data.TaggedError("StatementRefused")<{
  /** SQLSTATE */
  readonly code: string;
  readonly because: Because;
  readonly reason: string;
  readonly cause?: unknown;
}> {
  override get message(): string {
    return `${this.reason} (${this.code})`;
  }
}

export interface Queryable {
  /** @throws PostgresUnavailable, StatementRefused */
  query<R extends object = Record<string, unknown>>(text: string, values?: ReadonlyArray<unknown>): Promise<R[]>;
  /** @returns how many rows it touched. @throws PostgresUnavailable, StatementRefused */
  run(text: string, values?: ReadonlyArray<unknown>): Promise<number>;
}

export interface TransactionOptions {
  /** Longest statement in it, instead of the pool's. */
  readonly statementTimeoutMs?: number;
}

/** Connections and servers that go away: 08 connection, 53 out of room or connections, 57P0x ended or starting, 58 disk. */
const AWAY = /^(08...|53...|57P0.|58...|3D000|28...)$/;
const BUSY = new Set(["40001", "40P01", "55P03", "57014", "25P03"]);
const MISSING = new Set(["42P01", "42703", "3F000", "42883"]);

function understand(error: unknown): PostgresUnavailable | StatementRefused {
  const code = error instanceof pg.DatabaseError ? error.code : undefined;
  const reason = error instanceof Error ? error.message : String(error);
  if (code === undefined || AWAY.test(code)) {
    return new PostgresUnavailable({ what: "PostgreSQL", reason: reason || "no connection", cause: error });
  }
  const because: Because = BUSY.has(code)
    ? "busy"
    : MISSING.has(code)
      ? "missing"
      : code === "23505"
        ? "taken"
        : /^(22|23|54)/.test(code)
          ? "data"
          : "defect";
  return new StatementRefused({ code, because, reason, cause: error });
}

const INT8 = 20;
const types: pg.CustomTypesConfig = {
  // Sequences and counts stay far below 2^53; as numbers they compare and add as one expects.
  getTypeParser: ((id: number, format?: "text" | "binary") =>
    id === INT8 ? Number : pg.types.getTypeParser(id, format as "text")) as typeof pg.types.getTypeParser,
};

export class Postgres implements Queryable {
  readonly #pool: pg.Pool;

  /** Connects when first asked, and again whenever needed. */
  constructor(settings: PostgresSettings) {
    const statement = settings.statementTimeoutMs ?? 30_000;
    this.#pool = new pg.Pool({
      connectionString: settings.url,
      application_name: settings.name,
      max: settings.most ?? 10,
      connectionTimeoutMillis: settings.connectTimeoutMs ?? 5_000,
      idleTimeoutMillis: 30_000,
      statement_timeout: statement,
      // For a server that has gone without a word: a little longer than its own limit.
      query_timeout: statement + 5_000,
      lock_timeout: settings.lockTimeoutMs ?? 10_000,
      idle_in_transaction_session_timeout: settings.pauseTimeoutMs ?? 10_000,
      keepAlive: true,
      types,
    });
    // An idle connection that breaks is replaced when one is needed; the pool says so to nobody else.
    this.#pool.on("error", () => {});
  }

  async query<R extends object>(text: string, values: ReadonlyArray<unknown> = []): Promise<R[]> {
    return (await this.#ask(text, values)).rows as R[];
  }

  async run(text: string, values: ReadonlyArray<unknown> = []): Promise<number> {
    return (await this.#ask(text, values)).rowCount ?? 0;
  }

  async #ask(text: string, values: ReadonlyArray<unknown>): Promise<pg.QueryResult> {
    try {
      return await this.#pool.query(text, [...values]);
    } catch (error) {
      throw understand(error);
    }
  }

  /**
   * Commits when `body` resolves; otherwise nothing of it is there, and its error is thrown on. When the commit itself
   * fails with `PostgresUnavailable`, whether it took place is unknown: read before writing again.
   * @throws PostgresUnavailable, StatementRefused, and what `body` throws
   */
  async transaction<T>(body: (tx: Queryable) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    let client: pg.PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      throw understand(error);
    }
    let broken: Error | undefined;
    // Between two statements nobody awaits the client: without a listener its end would end the process.
    const onError = (error: Error) => {
      broken = error;
    };
    client.on("error", onError);
    const { statementTimeoutMs: limit } = options;
    const patience = limit === undefined ? {} : { query_timeout: limit + 5_000 };
    const ask = async (text: string, values: ReadonlyArray<unknown> = []): Promise<pg.QueryResult> => {
      try {
        return await client.query({ text, values: [...values], ...patience } as pg.QueryConfig);
      } catch (error) {
        throw understand(error);
      }
    };
    const tx: Queryable = {
      query: async <R extends object>(text: string, values?: ReadonlyArray<unknown>) =>
        (await ask(text, values)).rows as R[],
      run: async (text, values) => (await ask(text, values)).rowCount ?? 0,
    };
    try {
      await ask("BEGIN");
      if (limit !== undefined) await ask(`SET LOCAL statement_timeout = ${Math.trunc(limit)}`);
      const result = await body(tx);
      const { command } = await ask("COMMIT");
      // A transaction in which a statement failed is rolled back by its COMMIT, without an error.
      if (command !== "COMMIT") {
        throw new StatementRefused({ code: "25P02", because: "defect", reason: "the transaction had failed before" });
      }
      return result;
    } catch (error) {
      await client.query("ROLLBACK").catch((failure: Error) => {
        broken = failure;
      });
      throw error;
    } finally {
      client.off("error", onError);
      client.release(broken);
    }
  }

  /** @throws PostgresUnavailable */
  async ping(): Promise<void> {
    await this.query("SELECT 1");
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    if (!this.#pool.ended) await this.#pool.end();
  }
}
