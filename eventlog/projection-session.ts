/**
 * One spell of work on one build, from taking its lease until anything goes wrong: folds and writes batch by batch, and
 * takes back or drops what was set aside. Its callers see to it that it does one thing at a time.
 */
import type { Kind } from "@millrace/domain/kind.ts";
import { readCommits } from "./aggregate.ts";
import type { StoredCommit } from "./commit.ts";
import type { Nats } from "./connection.ts";
import type { Ask, DeadLetters } from "./deadletters.ts";
import { LogUnavailable, UnknownEvent } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import type { FollowBatch } from "./follow.ts";
import { logMark } from "./log-mark.ts";
import { type Postgres, PostgresUnavailable, type Queryable, StatementRefused } from "./postgres.ts";
import { aggregateKey, type Fold, type Projection, type Row, splitKey } from "./projection.ts";
import { advance, type Lease } from "./projection-checkpoint.ts";
import { Parking } from "./projection-parking.ts";
import { ATTRIBUTES, metrics, SPANS } from "./telemetry.ts";
import { linkTo, withSpan } from "./tracing.ts";

export interface SessionSettings {
  readonly nats: Nats;
  readonly postgres: Postgres;
  readonly deadLetters: DeadLetters;
  readonly leaseMs: number;
  /** Rows kept in memory at the most. */
  readonly cacheMost: number;
  /** Aggregates set aside at the most: more are a defect of this release, not poison, and stop the projection. */
  readonly parkedMost: number;
}

/** Somebody else works on this build. */
export class Lost extends Error {}

/** This release cannot go on; `until` says when it is worth another try. */
export class Stopped extends Error {
  readonly until: (seq: number, head: number) => boolean;
  constructor(reason: string, until: (seq: number, head: number) => boolean) {
    super(reason);
    this.until = until;
  }
}

/** How long the making of one index may take. */
const INDEX_MS = 3_600_000;

export class Session {
  readonly projection: Projection;
  readonly parking: Parking;
  readonly #settings: SessionSettings;
  readonly #table: string;
  readonly #fold: Fold;
  readonly #abort = new AbortController();
  #lease: Lease;
  #failure: unknown;
  #indexed = false;
  /** Of the batch that is being written. */
  #mark: string | null = null;
  /** The log's newest sequence as the last batch told it. */
  head = 0;
  /** The log's own time of the last commit folded, milliseconds since 1970; 0 before the first. */
  time = 0;

  private constructor(
    settings: SessionSettings,
    projection: Projection,
    table: string,
    lease: Lease,
    parking: Parking,
  ) {
    this.#settings = settings;
    this.projection = projection;
    this.#table = table;
    this.#lease = lease;
    this.parking = parking;
    this.#fold = projection.fold(table, { cacheMost: settings.cacheMost });
  }

  /** @throws PostgresUnavailable, StatementRefused, LogUnavailable */
  static async open(settings: SessionSettings, projection: Projection, table: string, lease: Lease): Promise<Session> {
    const { postgres, deadLetters, parkedMost } = settings;
    return new Session(
      settings,
      projection,
      table,
      lease,
      await Parking.open(postgres, deadLetters, lease, parkedMost),
    );
  }

  get lease(): Lease {
    return this.#lease;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get failure(): unknown {
    return this.#failure;
  }

  /** Ends it. The first failure counts. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#abort.abort();
  }

  /** Ends it in order. */
  end(): void {
    this.#abort.abort();
  }

  /**
   * Folds a batch and writes it in one transaction.
   * @throws Lost, Stopped, PostgresUnavailable, StatementRefused, LogUnavailable
   */
  async project(batch: FollowBatch): Promise<void> {
    if (this.#failure !== undefined || batch.lastSeq <= this.#lease.seq) return;
    const { name, context } = this.projection;
    const end = metrics.projectionDuration.startTimer({ projection: name });
    const attributes = {
      [ATTRIBUTES.projection]: name,
      [ATTRIBUTES.context]: context,
      [ATTRIBUTES.messagingCount]: batch.commits.length,
    };
    const links = linkTo(batch.commits.map((commit) => commit.trace));
    const unknown = await withSpan(SPANS.project(name), attributes, () => this.#project(batch), {
      kind: "CONSUMER",
      links,
    });
    end();
    metrics.projectionBatch.observe({ projection: name }, batch.commits.length);
    this.time = batch.commits.at(-1)?.time ?? this.time;
    if (unknown === undefined) return;
    const { kind, type, version, seq } = unknown;
    throw new Stopped(
      `this release does not know ${context}.${kind} ${type} version ${version} at ${seq}: upgrade it`,
      (at) => at >= seq,
    );
  }

  /** @returns the event before which it stopped, if there was one that is not known */
  async #project(batch: FollowBatch): Promise<UnknownEvent | undefined> {
    const seq = this.#lease.seq;
    const concerned = batch.commits.filter((commit) => commit.seq > seq && this.#fold.concerns(commit));
    await this.#fold.begin(this.#settings.postgres, concerned);
    this.parking.begin();
    const unknown = this.#apply(concerned);
    const last = unknown === undefined ? batch.lastSeq : unknown.seq - 1;
    this.#mark = unknown === undefined ? logMark(last, batch.lastStamp) : this.#lease.mark;
    this.head = batch.lastSeq + batch.pending;
    if (last <= seq) return unknown;
    const { rows, unwritable } = this.#fold.rows();
    for (const { aggregate, cause } of unwritable) this.#parkWhole(concerned, aggregate, cause);
    await this.#point();
    faultPoint("projection-before-transaction");
    try {
      await this.#write(last, concerned, rows, false);
    } catch (error) {
      this.#fold.forget();
      if (!(error instanceof StatementRefused && error.because === "data")) throw error;
      // One of the rows cannot be stored. Once more from the start, finding out which.
      await this.#fold.begin(this.#settings.postgres, concerned);
      for (const commit of concerned) if (commit.seq <= last && !this.parking.bars(commit)) this.#fold.apply(commit);
      await this.#write(last, concerned, this.#fold.rows().rows, true);
    }
    return unknown;
  }

  #apply(commits: ReadonlyArray<StoredCommit>): UnknownEvent | undefined {
    for (const commit of commits) {
      if (this.parking.skips(commit)) continue;
      try {
        this.#fold.apply(commit);
      } catch (error) {
        if (error instanceof UnknownEvent) return error;
        this.parking.add(commit, error);
      }
    }
    return undefined;
  }

  /** The transaction: the checkpoint first, then the rows. */
  async #write(
    last: number,
    concerned: ReadonlyArray<StoredCommit>,
    rows: ReadonlyArray<Row>,
    apart: boolean,
  ): Promise<void> {
    await this.#settings.postgres.transaction(async (tx) => {
      await this.#advance(tx, { seq: last, mark: this.#mark });
      faultPoint("projection-after-checkpoint");
      if (!apart) await this.#fold.write(tx, rows);
      else {
        for (const [aggregate, cause] of await writeApart(tx, this.#fold, rows))
          this.#parkWhole(concerned, aggregate, cause);
        await this.#point();
      }
      await this.parking.write(tx);
    });
    faultPoint("projection-after-commit");
    this.#fold.keep();
    this.#lease = { ...this.#lease, seq: last, mark: this.#mark };
    await this.parking.keep();
  }

  async #advance(tx: Queryable, to: Pick<Lease, "seq" | "mark">): Promise<void> {
    const ours = await advance(tx, this.#lease, to, this.head, this.#settings.leaseMs);
    if (!ours) throw new Lost("the checkpoint was moved");
  }

  /** An aggregate whose row cannot be written stays as it was before this batch. */
  #parkWhole(concerned: ReadonlyArray<StoredCommit>, aggregate: string, cause: unknown): void {
    const own = concerned.filter((commit) => aggregateKey(commit.kind, commit.aggregate) === aggregate);
    this.parking.add(own[0]!, cause, own.at(-1)!.seq);
    this.#fold.leaveOut(aggregate);
  }

  /** Pointers are written before the checkpoint moves past what they point to. */
  async #point(): Promise<void> {
    if (this.parking.tooMany) {
      const most = this.#settings.parkedMost;
      const { name } = this.projection;
      throw new Stopped(
        `more than ${most} aggregates cannot be folded into ${name}, the last because of ${this.parking.lastCause}: correct this release`,
        () => false,
      );
    }
    await this.parking.point();
  }

  /** Makes the table's further indexes, before readers see it. */
  async index(): Promise<void> {
    if (this.#indexed) return;
    await this.#settings.postgres.transaction(
      async (tx) => {
        for (const statement of this.projection.index(this.#table)) await tx.run(statement);
      },
      { statementTimeoutMs: INDEX_MS },
    );
    this.#indexed = true;
  }

  /**
   * Folds one aggregate that is set aside anew, up to the checkpoint.
   * @param count whether a try in vain is noted with the letter
   */
  async retry(aggregate: string, count: boolean): Promise<void> {
    const entry = this.parking.get(aggregate);
    if (entry === undefined) return;
    const { context, seq } = this.#lease;
    const { kind, id } = splitKey(aggregate);
    const commits: StoredCommit[] = [];
    for await (const commit of readCommits(this.#settings.nats, { context, kind } as Kind, id)) {
      if (commit.seq > seq) break;
      commits.push(commit);
    }
    // Any replica may have answered, and it may be behind.
    if ((commits.at(-1)?.seq ?? 0) < entry.lastSeq) {
      throw new LogUnavailable({ what: "NATS", cause: "a replica is behind" });
    }
    try {
      const rows = this.#fold.fresh(kind, id, commits);
      await this.#settings.postgres.transaction(async (tx) => {
        await this.#advance(tx, this.#lease);
        await this.#fold.remove(tx, kind, id, false);
        await this.#fold.write(tx, rows);
        await this.parking.remove(tx, aggregate);
      });
    } catch (error) {
      const refused = error instanceof StatementRefused && error.because !== "data";
      if (refused || error instanceof Lost || error instanceof PostgresUnavailable) throw error;
      if (count) await this.parking.failedAgain(aggregate, error);
      return;
    }
    await this.parking.recovered(aggregate);
  }

  /** Leaves an aggregate that is set aside out for good. */
  async drop(aggregate: string, ask: Ask): Promise<void> {
    const { kind, id } = splitKey(aggregate);
    await this.#settings.postgres.transaction(async (tx) => {
      await this.#advance(tx, this.#lease);
      await this.#fold.remove(tx, kind, id, true);
      await this.parking.drop(tx, aggregate, ask);
    });
    await this.parking.dropped(aggregate, ask);
  }
}

/** Writes what can be written, by halves. @returns aggregates that cannot, with the cause */
async function writeApart(tx: Queryable, fold: Fold, rows: ReadonlyArray<Row>): Promise<Map<string, unknown>> {
  const refused = new Map<string, unknown>();
  const byAggregate = new Map<string, Row[]>();
  for (const row of rows) {
    const group = byAggregate.get(row.aggregate);
    if (group === undefined) byAggregate.set(row.aggregate, [row]);
    else group.push(row);
  }
  const attempt = async (groups: ReadonlyArray<readonly [string, ReadonlyArray<Row>]>): Promise<void> => {
    if (groups.length === 0) return;
    await tx.run("SAVEPOINT part");
    try {
      await fold.write(
        tx,
        groups.flatMap(([, group]) => group),
      );
      await tx.run("RELEASE SAVEPOINT part");
    } catch (error) {
      if (!(error instanceof StatementRefused && error.because === "data")) throw error;
      await tx.run("ROLLBACK TO SAVEPOINT part");
      if (groups.length === 1) {
        refused.set(groups[0]![0], error);
        return;
      }
      const middle = groups.length >> 1;
      await attempt(groups.slice(0, middle));
      await attempt(groups.slice(middle));
    }
  };
  await attempt([...byAggregate]);
  return refused;
}
