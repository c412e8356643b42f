/**
 * What one build of a projection has set aside. `millrace.parked` is written in the batch's own transaction and says what to skip;
 * the pointers in KV (deadletters.ts) are written before it, and are what people see.
 */
import type { StoredCommit } from "./commit.ts";
import { type Ask, causeOf, type DeadLetters, deadLetterId, type Poison } from "./deadletters.ts";
import type { Postgres, Queryable } from "./postgres.ts";
import { aggregateKey, splitKey } from "./projection.ts";
import type { Lease } from "./projection-checkpoint.ts";
import { logStream } from "./subjects.ts";

/** Who a projection's dead letters belong to. */
export const consumerOf = (name: string): string => `projection:${name}`;

interface Entry {
  readonly aggregate: string;
  readonly letter: string;
  readonly organisation: string;
  /** First commit that could not be folded. */
  readonly seq: number;
  readonly cause: string;
  /** Commits left out since then, and the last of them. */
  skipped: number;
  lastSeq: number;
  /** Left out for good. */
  dropped: { readonly by: string; readonly why: string } | undefined;
}

export class Parking {
  readonly #postgres: Postgres;
  readonly #deadLetters: DeadLetters;
  readonly #lease: Pick<Lease, "name" | "context" | "build">;
  readonly #most: number;
  readonly #entries = new Map<string, Entry>();
  /** Of the batch under way. */
  #added = new Map<string, Entry>();
  #skipped = new Map<string, { count: number; last: number }>();

  private constructor(postgres: Postgres, deadLetters: DeadLetters, lease: Lease, most: number) {
    this.#postgres = postgres;
    this.#deadLetters = deadLetters;
    this.#lease = lease;
    this.#most = most;
  }

  /** @throws PostgresUnavailable, StatementRefused, LogUnavailable */
  static async open(postgres: Postgres, deadLetters: DeadLetters, lease: Lease, most: number): Promise<Parking> {
    const parking = new Parking(postgres, deadLetters, lease, most);
    const rows = await postgres.query<{
      kind: string;
      aggregate: string;
      organisation: string;
      seq: number;
      cause: string;
      skipped: number;
      last_seq: number;
      dropped_by: string | null;
      dropped_why: string | null;
    }>("SELECT * FROM millrace.parked WHERE name = $1 AND context = $2 AND build = $3", parking.#key);
    for (const row of rows) {
      const aggregate = aggregateKey(row.kind, row.aggregate);
      parking.#entries.set(aggregate, {
        aggregate,
        letter: parking.#letterOf(aggregate),
        organisation: row.organisation,
        seq: row.seq,
        cause: row.cause,
        skipped: row.skipped,
        lastSeq: row.last_seq,
        dropped: row.dropped_by === null ? undefined : { by: row.dropped_by, why: row.dropped_why ?? "" },
      });
    }
    await parking.reconcile();
    return parking;
  }

  get #key(): [string, string, number] {
    return [this.#lease.name, this.#lease.context, this.#lease.build];
  }

  #letterOf(aggregate: string): string {
    const { kind, id } = splitKey(aggregate);
    return deadLetterId({ consumer: consumerOf(this.#lease.name), context: this.#lease.context, kind, aggregate: id });
  }

  #poisonOf(entry: Entry): Poison {
    const { kind, id } = splitKey(entry.aggregate);
    const { name, context } = this.#lease;
    const { organisation, seq, cause } = entry;
    return {
      stream: logStream(context),
      seq,
      consumer: consumerOf(name),
      context,
      kind,
      aggregate: id,
      organisation,
      cause,
    };
  }

  /** Aggregates that wait for somebody. */
  get waiting(): number {
    let count = 0;
    for (const { dropped } of this.#entries.values()) if (dropped === undefined) count++;
    return count;
  }

  get tooMany(): boolean {
    return this.#added.size > 0 && this.waiting + this.#added.size > this.#most;
  }

  get lastCause(): string {
    return [...this.#added.values()].at(-1)?.cause ?? "";
  }

  get(aggregate: string): Entry | undefined {
    return this.#entries.get(aggregate);
  }

  byId(letter: string): Entry | undefined {
    for (const entry of this.#entries.values())
      if (entry.letter === letter && entry.dropped === undefined) return entry;
    return undefined;
  }

  begin(): void {
    this.#added = new Map();
    this.#skipped = new Map();
  }

  /** Whether the commit must not be folded, as `skips`, without counting it. */
  bars({ kind, aggregate, seq }: StoredCommit): boolean {
    const key = aggregateKey(kind, aggregate);
    return this.#entries.has(key) || (this.#added.get(key)?.seq ?? Number.POSITIVE_INFINITY) <= seq;
  }

  /** Whether the commit is of an aggregate that is set aside; it is then counted. */
  skips({ kind, aggregate, seq }: StoredCommit): boolean {
    if (this.#entries.size === 0 && this.#added.size === 0) return false;
    const key = aggregateKey(kind, aggregate);
    const added = this.#added.get(key);
    if (added !== undefined) {
      added.skipped++;
      added.lastSeq = seq;
      return true;
    }
    if (!this.#entries.has(key)) return false;
    const before = this.#skipped.get(key);
    this.#skipped.set(key, { count: (before?.count ?? 0) + 1, last: seq });
    return true;
  }

  add({ kind, aggregate, organisation, seq }: StoredCommit, error: unknown, lastSeq = seq): void {
    const key = aggregateKey(kind, aggregate);
    const letter = this.#letterOf(key);
    const cause = causeOf(error).replaceAll("\0", "");
    this.#added.set(key, { aggregate: key, letter, organisation, seq, cause, skipped: 0, lastSeq, dropped: undefined });
  }

  /** Writes the pointers of what the batch sets aside. What people have dropped before stays dropped. @throws LogUnavailable */
  async point(): Promise<void> {
    for (const entry of this.#added.values()) {
      const before = await this.#deadLetters.whyDropped(entry.letter);
      if (before?.seq === entry.seq) entry.dropped = { by: before.by, why: before.why };
      else await this.#deadLetters.park(this.#poisonOf(entry));
    }
  }

  /** Notes it in the batch's transaction. */
  async write(tx: Queryable): Promise<void> {
    for (const entry of this.#added.values()) {
      const { kind, id } = splitKey(entry.aggregate);
      const { organisation, seq, cause, skipped, lastSeq, dropped } = entry;
      await tx.run(
        `INSERT INTO millrace.parked (name, context, build, kind, aggregate, organisation, seq, cause, skipped, last_seq, dropped_by, dropped_why)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
        [...this.#key, kind, id, organisation, seq, cause, skipped, lastSeq, dropped?.by ?? null, dropped?.why ?? null],
      );
    }
    for (const [aggregate, { count, last }] of this.#skipped) {
      const { kind, id } = splitKey(aggregate);
      await tx.run(
        `UPDATE millrace.parked SET skipped = skipped + $6, last_seq = $7
         WHERE name = $1 AND context = $2 AND build = $3 AND kind = $4 AND aggregate = $5`,
        [...this.#key, kind, id, count, last],
      );
    }
  }

  /** The transaction was committed. @throws LogUnavailable */
  async keep(): Promise<void> {
    for (const [aggregate, { count, last }] of this.#skipped) {
      const entry = this.#entries.get(aggregate)!;
      entry.skipped += count;
      entry.lastSeq = last;
    }
    const added = [...this.#added.values()];
    for (const entry of added) this.#entries.set(entry.aggregate, entry);
    this.begin();
    // Another build's reconciling may have found the pointer without its row, and taken it away.
    for (const entry of added) if (entry.dropped === undefined) await this.#deadLetters.park(this.#poisonOf(entry));
  }

  /** In the transaction that writes the aggregate's rows anew. */
  async remove(tx: Queryable, aggregate: string): Promise<void> {
    const { kind, id } = splitKey(aggregate);
    await tx.run(
      "DELETE FROM millrace.parked WHERE name = $1 AND context = $2 AND build = $3 AND kind = $4 AND aggregate = $5",
      [...this.#key, kind, id],
    );
  }

  /** @throws PostgresUnavailable, LogUnavailable */
  async recovered(aggregate: string): Promise<void> {
    const entry = this.#entries.get(aggregate);
    this.#entries.delete(aggregate);
    if (entry !== undefined && !(await this.#parkedElsewhere(aggregate)))
      await this.#deadLetters.recovered(entry.letter);
  }

  async failedAgain(aggregate: string, error: unknown): Promise<void> {
    const entry = this.#entries.get(aggregate);
    if (entry !== undefined) await this.#deadLetters.failedAgain(entry.letter, causeOf(error));
  }

  /** In the transaction that takes the aggregate's rows away. */
  async drop(tx: Queryable, aggregate: string, { by, why }: Pick<Ask, "by" | "why">): Promise<void> {
    const { kind, id } = splitKey(aggregate);
    await tx.run(
      `UPDATE millrace.parked SET dropped_by = $6, dropped_why = $7
       WHERE name = $1 AND context = $2 AND build = $3 AND kind = $4 AND aggregate = $5`,
      [...this.#key, kind, id, by, why],
    );
  }

  async dropped(aggregate: string, { by, why }: Ask): Promise<void> {
    const entry = this.#entries.get(aggregate)!;
    entry.dropped = { by, why };
    await this.#deadLetters.dropped(entry.letter, by, why);
  }

  async #parkedElsewhere(aggregate: string): Promise<boolean> {
    const { kind, id } = splitKey(aggregate);
    const rows = await this.#postgres.query(
      `SELECT FROM millrace.parked JOIN millrace.projection USING (name, context, build)
       WHERE name = $1 AND context = $2 AND build <> $3 AND kind = $4 AND aggregate = $5
         AND dropped_by IS NULL AND state <> 'retired' LIMIT 1`,
      [...this.#key, kind, id],
    );
    return rows.length > 0;
  }

  /** Pointers and rows brought together: a crash between the two, or a build that is gone, leaves one without the other. */
  async reconcile(): Promise<void> {
    const { name, context } = this.#lease;
    const letters = await this.#deadLetters.list({ consumer: consumerOf(name), context });
    const there = new Set(letters.map(({ id }) => id));
    for (const entry of this.#entries.values()) {
      if (entry.dropped !== undefined || there.has(entry.letter)) continue;
      const before = await this.#deadLetters.whyDropped(entry.letter);
      if (before?.seq !== entry.seq) await this.#deadLetters.park(this.#poisonOf(entry));
      else {
        await this.drop(this.#postgres, entry.aggregate, before);
        entry.dropped = { by: before.by, why: before.why };
      }
    }
    for (const { id, kind, aggregate } of letters) {
      const key = aggregateKey(kind, aggregate);
      const mine = this.#entries.get(key);
      if ((mine === undefined || mine.dropped !== undefined) && !(await this.#parkedElsewhere(key))) {
        await this.#deadLetters.recovered(id);
      }
    }
  }
}
