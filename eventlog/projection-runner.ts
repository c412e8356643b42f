/**
 * Keeps one build of a projection: takes its lease, follows the log from its checkpoint, folds and writes batch by batch.
 * Whatever goes wrong ends the *session*; the next one begins from what PostgreSQL holds then, so nothing has to be undone.
 */
import type { Kind } from "@millrace/domain/kind.ts";
import { readCommits } from "./aggregate.ts";
import type { StoredCommit } from "./commit.ts";
import type { Nats } from "./connection.ts";
import { type Ask, causeOf, type DeadLetters } from "./deadletters.ts";
import { LogUnavailable, UnknownEvent } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import { type FollowBatch, follow } from "./follow.ts";
import type { Logger } from "./logging.ts";
import { type Postgres, PostgresUnavailable, type Queryable, StatementRefused } from "./postgres.ts";
import { aggregateKey, type Fold, type Projection, type Row, splitKey } from "./projection.ts";
import * as Checkpoints from "./projection-checkpoint.ts";
import { Parking } from "./projection-parking.ts";
import { switchTo } from "./projection-switch.ts";
import { logStream } from "./subjects.ts";
import { ATTRIBUTES, metrics, SPANS } from "./telemetry.ts";
import { linkTo, withSpan } from "./tracing.ts";

export interface RunnerSettings {
  readonly nats: Nats;
  readonly postgres: Postgres;
  readonly deadLetters: DeadLetters;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  /** Unique among all processes. */
  readonly owner: string;
  readonly leaseMs: number;
  readonly takeoverMs: number;
  /** Messages of one transaction at the most. */
  readonly batchMost: number;
  /** Rows kept in memory at the most. */
  readonly cacheMost: number;
  /** Aggregates set aside at the most: more are a defect of this release, not poison, and stop the projection. */
  readonly parkedMost: number;
}

export type RunnerState = "starting" | "following" | "standby" | "waiting" | "stopped";

/** Somebody else works on this build. */
class Lost extends Error {}
/** This release cannot go on; `until` says when it is worth another try. */
class Stopped extends Error {
  readonly until: (seq: number, head: number) => boolean;
  constructor(reason: string, until: (seq: number, head: number) => boolean) {
    super(reason);
    this.until = until;
  }
}

interface Session {
  lease: Checkpoints.Lease;
  readonly fold: Fold;
  readonly parking: Parking;
  readonly abort: AbortController;
  failure: unknown;
  /** Messages that waited behind the last batch. */
  pending: number;
  /** The log's own time of the last commit folded, milliseconds. */
  time: number;
}

const RETRY_MOST_MS = 5_000;
/** Pause between two tries to show a build that is held back. */
const HELD_MS = 5_000;

/** The log's newest sequence. @throws LogUnavailable */
export async function headOf(nats: Nats, context: string): Promise<number> {
  try {
    return (await nats.jsm.streams.info(logStream(context))).state.last_seq;
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

export class Runner {
  readonly projection: Projection;
  readonly build: number;
  readonly #settings: RunnerSettings;
  #row: Checkpoints.Checkpoint;
  #head = 0;
  #session: Session | undefined;
  #running: Promise<void> = Promise.resolve();
  #turn: Promise<unknown> = Promise.resolve();
  #state: RunnerState = "starting";
  #reason: string | undefined;
  #stopped: Stopped | undefined;
  #ending = false;
  #failures = 0;
  #retryAt = 0;
  #heldUntil = 0;

  constructor(settings: RunnerSettings, projection: Projection, row: Checkpoints.Checkpoint) {
    this.#settings = settings;
    this.projection = projection;
    this.build = row.build;
    this.#row = row;
  }

  get status() {
    const { name, context } = this.projection;
    const seq = this.#session?.lease.seq ?? this.#row.seq;
    const { build, version, shown } = this.#row;
    const parked = this.#session?.parking.waiting ?? 0;
    return {
      name,
      context,
      build,
      version,
      shown,
      state: this.#state,
      reason: this.#reason,
      seq,
      head: this.#head,
      parked,
    };
  }

  /** Holds the lease, as far as it knows. */
  get works(): boolean {
    return this.#session !== undefined;
  }

  /** Seconds since the oldest message that is not folded, as far as can be known; 0 when it has caught up. */
  get lagSeconds(): number {
    const session = this.#session;
    if (session === undefined || session.lease.seq >= this.#head || session.time === 0) return 0;
    return Math.max(0, (Date.now() - session.time) / 1000);
  }

  get beat(): Checkpoints.Beat {
    const { name, context } = this.projection;
    return { name, context, build: this.build, epoch: this.#session?.lease.epoch, head: this.#head };
  }

  /** Called for every look at the checkpoints: begins, ends or goes on. @param head the log's newest sequence, if known */
  see(row: Checkpoints.Checkpoint, head: number | undefined): void {
    this.#row = row;
    this.#head = head ?? this.#head;
    const session = this.#session;
    if (session !== undefined) {
      if (row.epoch > session.lease.epoch) this.#fail(session, new Lost("somebody else took it over"));
      else if (!row.shown && head !== undefined && session.lease.seq >= head)
        void this.#exclusive(() => this.#switch(session)).catch(() => {});
      return;
    }
    if (this.#ending || Date.now() < this.#retryAt) return;
    if (this.#stopped !== undefined && !this.#stopped.until(row.seq, this.#head)) return;
    if (!row.free && row.owner !== this.#settings.owner) {
      this.#become("standby", undefined);
      return;
    }
    // Until it is over, another look must not begin a second one.
    this.#retryAt = Number.POSITIVE_INFINITY;
    this.#running = this.#run().finally(() => {
      this.#retryAt = Date.now() + Math.min(RETRY_MOST_MS, this.#failures === 0 ? 0 : 50 * 2 ** this.#failures);
    });
  }

  /** Finishes the batch under way and gives the lease up. */
  async stop(): Promise<void> {
    this.#ending = true;
    this.#session?.abort.abort();
    await this.#running;
  }

  /** @returns whether this build had set the letter's aggregate aside, and has acted on the ask */
  async answer(ask: Ask): Promise<boolean> {
    const session = this.#session;
    const entry = session?.parking.byId(ask.id);
    if (session === undefined || entry === undefined) return false;
    return this.#exclusive(async () => {
      if (session !== this.#session) return false;
      try {
        if (ask.action === "drop") await this.#drop(session, entry.aggregate, ask);
        else await this.#retry(session, entry.aggregate);
        return true;
      } catch (error) {
        this.#fail(session, error);
        return false;
      }
    });
  }

  /** One thing at a time: batches, switches, retries. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  #fail(session: Session, error: unknown): void {
    session.failure ??= error;
    session.abort.abort();
  }

  #become(state: RunnerState, reason: string | undefined): void {
    if (this.#state === state && this.#reason === reason) return;
    this.#state = state;
    this.#reason = reason;
    const { name, context } = this.projection;
    const place = { projection: name, context, build: this.build, state, ...(reason === undefined ? {} : { reason }) };
    if (state === "stopped") this.#settings.log.error(place, "the projection stands still");
    else if (state === "waiting") this.#settings.log.warn(place, "the projection waits");
    else this.#settings.log.info(place, `the projection is ${state}`);
  }

  async #run(): Promise<void> {
    const { nats, postgres, owner, leaseMs, batchMost } = this.#settings;
    let session: Session | undefined;
    try {
      const lease = await Checkpoints.acquire(postgres, this.projection, this.#row, owner, leaseMs);
      if (lease === undefined) {
        this.#become("standby", undefined);
        return;
      }
      session = await this.#begin(lease);
      this.#session = session;
      const mine = session;
      if (this.#ending) mine.abort.abort();
      await this.#checkHead(mine);
      this.#become("following", undefined);
      this.#stopped = undefined;
      const { name, context } = this.projection;
      await follow(nats, {
        context,
        fromSeq: lease.seq + 1,
        most: batchMost,
        signal: mine.abort.signal,
        onBatch: (batch) => this.#exclusive(() => this.#batch(mine, batch)),
        onHole: () => metrics.projectionGap.inc({ projection: name, context }),
      });
      await this.#turn;
      if (mine.failure !== undefined) throw mine.failure;
    } catch (error) {
      await this.#ended(session, error);
    } finally {
      this.#session = undefined;
      session?.fold.forget();
      if (session !== undefined) await Checkpoints.release(postgres, session.lease).catch(() => {});
    }
  }

  async #begin(lease: Checkpoints.Lease): Promise<Session> {
    const { postgres, deadLetters, parkedMost, cacheMost } = this.#settings;
    const parking = await Parking.open(postgres, deadLetters, lease, parkedMost);
    const fold = this.projection.fold(this.#row.table, { cacheMost });
    return { lease, fold, parking, abort: new AbortController(), failure: undefined, pending: 0, time: 0 };
  }

  /** A checkpoint beyond the log's end belongs to another log. Commits would be missed without a word. */
  async #checkHead({ lease }: Session): Promise<void> {
    const head = await headOf(this.#settings.nats, lease.context);
    this.#head = head;
    if (lease.seq <= head) return;
    throw new Stopped(
      `the checkpoint is at ${lease.seq}, the log ends at ${head}: was an older log restored? Request a rebuild.`,
      (seq, now) => now >= seq,
    );
  }

  async #ended(session: Session | undefined, error: unknown): Promise<void> {
    const { postgres, log } = this.#settings;
    const { name, context } = this.projection;
    if (error instanceof Lost) {
      this.#become("standby", undefined);
      return;
    }
    if (error instanceof Stopped) {
      this.#stopped = error;
      this.#become("stopped", error.message);
      if (session !== undefined) await Checkpoints.stop(postgres, session.lease, error.message).catch(() => {});
      return;
    }
    this.#failures = Math.min(this.#failures + 1, 10);
    const outage =
      error instanceof PostgresUnavailable ||
      error instanceof LogUnavailable ||
      (error instanceof StatementRefused && error.because === "busy");
    // Anything else is a defect, and says so loudly; the next session begins afresh.
    if (!outage) log.error({ err: error, projection: name, context }, "the projection failed");
    this.#become("waiting", causeOf(error));
  }

  async #batch(session: Session, batch: FollowBatch): Promise<void> {
    if (session.failure !== undefined || batch.lastSeq <= session.lease.seq) return;
    const { name, context } = this.projection;
    const end = metrics.projectionDuration.startTimer({ projection: name });
    const { unknown } = await withSpan(
      SPANS.project(name),
      {
        [ATTRIBUTES.projection]: name,
        [ATTRIBUTES.context]: context,
        [ATTRIBUTES.messagingCount]: batch.commits.length,
      },
      () => this.#project(session, batch),
      { kind: "CONSUMER", links: linkTo(batch.commits.map((commit) => commit.trace)) },
    );
    end();
    metrics.projectionBatch.observe({ projection: name }, batch.commits.length);
    session.pending = batch.pending;
    session.time = batch.commits.at(-1)?.time ?? session.time;
    this.#head = Math.max(this.#head, batch.lastSeq + batch.pending);
    this.#failures = 0;
    if (unknown !== undefined) {
      const { kind, type, version, seq } = unknown;
      throw new Stopped(
        `this release does not know ${context}.${kind} ${type} version ${version} at ${seq}: upgrade it`,
        (at) => at >= seq,
      );
    }
    if (!this.#row.shown && batch.pending < this.#settings.batchMost) await this.#switch(session);
  }

  async #project(session: Session, batch: FollowBatch): Promise<{ unknown: UnknownEvent | undefined }> {
    const { fold, parking, lease } = session;
    const concerned = batch.commits.filter((commit) => commit.seq > lease.seq && fold.concerns(commit));
    await fold.begin(this.#settings.postgres, concerned);
    parking.begin();
    let last = batch.lastSeq;
    let unknown: UnknownEvent | undefined;
    for (const commit of concerned) {
      if (parking.skips(commit)) continue;
      try {
        fold.apply(commit);
      } catch (error) {
        if (error instanceof UnknownEvent) {
          unknown = error;
          last = commit.seq - 1;
          break;
        }
        parking.add(commit, error);
      }
    }
    if (last <= lease.seq) return { unknown };
    const head = batch.lastSeq + batch.pending;
    const { rows, unwritable } = fold.rows();
    for (const { aggregate, cause } of unwritable) this.#parkWhole(session, concerned, aggregate, cause);
    await this.#checkParked(session);
    faultPoint("projection-before-transaction");
    try {
      await this.#write(session, last, head, concerned, rows, false);
    } catch (error) {
      fold.discard();
      if (!(error instanceof StatementRefused && error.because === "data")) throw error;
      // One of the rows cannot be stored. Once more from the start, finding out which.
      await this.#again(session, concerned, last, head);
    }
    return { unknown };
  }

  async #again(session: Session, concerned: ReadonlyArray<StoredCommit>, last: number, head: number): Promise<void> {
    const { fold, parking } = session;
    fold.forget();
    await fold.begin(this.#settings.postgres, concerned);
    for (const commit of concerned) if (commit.seq <= last && !parking.bars(commit)) fold.apply(commit);
    await this.#write(session, last, head, concerned, fold.rows().rows, true);
  }

  /** The transaction: the checkpoint first, then the rows. */
  async #write(
    session: Session,
    last: number,
    head: number,
    concerned: ReadonlyArray<StoredCommit>,
    rows: ReadonlyArray<Row>,
    apart: boolean,
  ): Promise<void> {
    const { postgres, leaseMs } = this.#settings;
    const { fold, parking, lease } = session;
    await postgres.transaction(async (tx) => {
      if (!(await Checkpoints.advance(tx, lease, last, head, leaseMs))) throw new Lost("the checkpoint was moved");
      faultPoint("projection-after-checkpoint");
      if (!apart) await fold.write(tx, rows);
      else {
        for (const [aggregate, cause] of await writeApart(tx, fold, rows)) {
          this.#parkWhole(session, concerned, aggregate, cause);
        }
        await this.#checkParked(session);
      }
      await parking.write(tx);
    });
    faultPoint("projection-after-commit");
    fold.keep();
    session.lease = { ...lease, seq: last };
    await parking.keep();
  }

  /** An aggregate whose row cannot be written stays as it was before this batch. */
  #parkWhole(session: Session, concerned: ReadonlyArray<StoredCommit>, aggregate: string, cause: unknown): void {
    const first = concerned.find((commit) => aggregateKey(commit.kind, commit.aggregate) === aggregate)!;
    const last = concerned.findLast((commit) => aggregateKey(commit.kind, commit.aggregate) === aggregate)!;
    session.parking.add(first, cause, last.seq);
    session.fold.leaveOut(aggregate);
  }

  /** Pointers are written before the checkpoint moves past what they point to. */
  async #checkParked({ parking }: Session): Promise<void> {
    if (parking.tooMany) {
      const { name } = this.projection;
      throw new Stopped(
        `more than ${this.#settings.parkedMost} aggregates cannot be folded into ${name}, the last because of ${parking.lastCause}: correct this release`,
        () => false,
      );
    }
    await parking.point();
  }

  async #switch(session: Session): Promise<void> {
    if (session.failure !== undefined || session !== this.#session || this.#row.shown) return;
    if (this.#state !== "following" || Date.now() < this.#heldUntil) return;
    const { postgres, log, takeoverMs } = this.#settings;
    const { name, context } = this.projection;
    try {
      const result = await switchTo(postgres, session.lease, {
        takeoverMs,
        head: () => headOf(this.#settings.nats, context),
      });
      if (result.outcome === "switched") {
        this.#row = { ...this.#row, shown: true };
        await session.parking.reconcile();
        log.info(
          { projection: name, context, build: this.build, seq: session.lease.seq },
          "readers see this build now",
        );
      } else if (result.outcome === "lost") {
        throw new Lost("another build is shown");
      } else if (result.outcome === "held") {
        const reason = `held back: ${result.lacking.length} aggregates are dead letters in it that the shown build has`;
        this.#heldUntil = Date.now() + HELD_MS;
        await Checkpoints.hold(postgres, session.lease, reason);
        this.#become("following", reason);
        // What was corrected meanwhile for the shown build may fold here as well.
        for (const { kind, aggregate } of result.lacking)
          await this.#retry(session, aggregateKey(kind, aggregate), false);
      }
    } catch (error) {
      // Readers hold on to the view: the next look tries again.
      if (error instanceof StatementRefused && error.because === "busy") return;
      this.#fail(session, error);
    }
  }

  /** Folds one aggregate anew, up to the checkpoint. */
  async #retry(session: Session, aggregate: string, count = true): Promise<void> {
    const { nats, postgres, leaseMs } = this.#settings;
    const { fold, parking, lease } = session;
    const entry = parking.get(aggregate);
    if (entry === undefined) return;
    const { kind, id } = splitKey(aggregate);
    const commits: StoredCommit[] = [];
    for await (const commit of readCommits(nats, { context: lease.context, kind } as Kind, id)) {
      if (commit.seq > lease.seq) break;
      commits.push(commit);
    }
    // Any replica may have answered, and it may be behind.
    if ((commits.at(-1)?.seq ?? 0) < entry.lastSeq)
      throw new LogUnavailable({ what: "NATS", cause: "a replica is behind" });
    try {
      const rows = fold.fresh(kind, id, commits);
      await postgres.transaction(async (tx) => {
        if (!(await Checkpoints.advance(tx, lease, lease.seq, this.#head, leaseMs)))
          throw new Lost("the checkpoint was moved");
        await fold.remove(tx, kind, id, false);
        await fold.write(tx, rows);
        await parking.remove(tx, aggregate);
      });
    } catch (error) {
      const known = error instanceof Lost || error instanceof PostgresUnavailable;
      if (known || (error instanceof StatementRefused && error.because !== "data")) throw error;
      if (count) await parking.failedAgain(aggregate, error);
      return;
    }
    await parking.recovered(aggregate);
  }

  async #drop(session: Session, aggregate: string, ask: Ask): Promise<void> {
    const { postgres, leaseMs } = this.#settings;
    const { fold, parking, lease } = session;
    const { kind, id } = splitKey(aggregate);
    await postgres.transaction(async (tx) => {
      if (!(await Checkpoints.advance(tx, lease, lease.seq, this.#head, leaseMs)))
        throw new Lost("the checkpoint was moved");
      await fold.remove(tx, kind, id, true);
      await parking.drop(tx, aggregate, ask);
    });
    await parking.dropped(aggregate, ask);
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
