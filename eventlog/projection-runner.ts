/**
 * Keeps one build of a projection: takes its lease when it is free, follows the log from its checkpoint, shows the build when it has
 * caught up. Whatever goes wrong ends the *session* (projection-session.ts); the next one begins from what PostgreSQL
 * holds then, so nothing has to be undone.
 */
import type { Nats } from "./connection.ts";
import { type Ask, causeOf } from "./deadletters.ts";
import { LogUnavailable } from "./failures.ts";
import { type FollowBatch, follow } from "./follow.ts";
import { isOfLog } from "./log-mark.ts";
import type { Logger } from "./logging.ts";
import { endOnReconnect } from "./ordered.ts";
import { parseOwner, surelyDead } from "./owner.ts";
import { PostgresUnavailable, StatementRefused } from "./postgres.ts";
import { aggregateKey, type Projection } from "./projection.ts";
import {
  acquire,
  type Beat,
  type Checkpoint,
  hold,
  isHeld,
  type Lease,
  release,
  stop,
} from "./projection-checkpoint.ts";
import { Lost, Session, type SessionSettings, Stopped } from "./projection-session.ts";
import { startAnew, switchTo } from "./projection-switch.ts";
import { logStream } from "./subjects.ts";
import { metrics } from "./telemetry.ts";

export interface RunnerSettings extends SessionSettings {
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  /** Unique among all processes. */
  readonly owner: string;
  readonly takeoverMs: number;
  /** Messages of one transaction at the most. */
  readonly batchMost: number;
}

/**
 * `following` · `standby`: another process works on it · `waiting`: tries again soon, `reason` says why · `stopped`: cannot go on
 * by itself, `reason` says what helps
 */
export type RunnerState = "starting" | "following" | "standby" | "waiting" | "stopped";

export interface RunnerStatus {
  readonly name: string;
  readonly context: string;
  readonly build: number;
  readonly version: number;
  /** Readers see this build. */
  readonly shown: boolean;
  readonly state: RunnerState;
  readonly reason: string | undefined;
  readonly seq: number;
  /** The log's newest sequence as last seen. */
  readonly head: number;
  /** Aggregates set aside that wait for somebody. */
  readonly parked: number;
}

/** The log is another than the one that was folded. */
class AnotherLog extends Error {}

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

/** Whether a lease's owner was a process of this machine that is no more; what it may still have under way in PostgreSQL, the epoch fences. */
function hasEnded(owner: string | null): boolean {
  const known = owner === null ? undefined : parseOwner(owner);
  return known !== undefined && surelyDead(known);
}

export class Runner {
  readonly projection: Projection;
  readonly build: number;
  readonly #settings: RunnerSettings;
  #row: Checkpoint;
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
  /** The server was away: it may have come back with another log. */
  #doubt = false;

  constructor(settings: RunnerSettings, projection: Projection, row: Checkpoint) {
    this.#settings = settings;
    this.projection = projection;
    this.build = row.build;
    this.#row = row;
  }

  get status(): RunnerStatus {
    const { name, context } = this.projection;
    const { build, version, shown } = this.#row;
    const seq = this.#session?.lease.seq ?? this.#row.seq;
    const parked = this.#session?.parking.waiting ?? 0;
    const head = Math.max(seq, this.#head);
    return { name, context, build, version, shown, state: this.#state, reason: this.#reason, seq, head, parked };
  }

  /** Seconds since the oldest message that is not folded, as far as can be known; 0 when it has caught up. */
  get lagSeconds(): number {
    const session = this.#session;
    if (session === undefined || session.lease.seq >= this.#head || session.time === 0) return 0;
    return Math.max(0, (Date.now() - session.time) / 1000);
  }

  get beat(): Beat {
    const { name, context } = this.projection;
    return { name, context, build: this.build, epoch: this.#session?.lease.epoch, head: this.#head };
  }

  /** Called for every look at the checkpoints: begins, ends or goes on. @param head the log's newest sequence, if known */
  see(row: Checkpoint, head: number | undefined): void {
    this.#row = row;
    this.#head = head ?? this.#head;
    const session = this.#session;
    if (session !== undefined) {
      if (row.epoch > session.lease.epoch) session.fail(new Lost("somebody else took it over"));
      else if (!row.shown && head !== undefined && session.lease.seq >= head)
        this.#take(session, () => this.#show(session));
      return;
    }
    if (this.#ending || Date.now() < this.#retryAt) return;
    if (this.#stopped !== undefined && !this.#stopped.until(row.seq, this.#head)) return;
    if (!row.free && row.owner !== this.#settings.owner && !hasEnded(row.owner)) {
      this.#become("standby", undefined);
      return;
    }
    // Until it is over, another look must not begin a second one.
    this.#retryAt = Number.POSITIVE_INFINITY;
    this.#running = this.#run().finally(() => {
      this.#retryAt = Date.now() + (this.#failures === 0 ? 0 : Math.min(RETRY_MOST_MS, 50 * 2 ** this.#failures));
    });
  }

  /** Finishes the batch under way and gives the lease up. */
  async stop(): Promise<void> {
    this.#ending = true;
    this.#session?.end();
    await this.#running;
  }

  /** @returns whether this build had set the letter's aggregate aside, and has acted on the ask */
  async answer(ask: Ask): Promise<boolean> {
    const session = this.#session;
    const entry = session?.parking.byId(ask.id);
    if (session === undefined || entry === undefined) return false;
    return this.#take(session, () =>
      ask.action === "drop" ? session.drop(entry.aggregate, ask) : session.retry(entry.aggregate, true),
    );
  }

  /** One thing at a time: batches, retries, the switch. @returns whether it was done; a failure ends the session */
  #take(session: Session, work: () => Promise<void>): Promise<boolean> {
    const turn = this.#turn.then(async () => {
      if (session.failure !== undefined || session !== this.#session) return false;
      try {
        await work();
        return true;
      } catch (error) {
        session.fail(error);
        return false;
      }
    });
    this.#turn = turn;
    return turn;
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
    const { postgres, owner, leaseMs } = this.#settings;
    let session: Session | undefined;
    try {
      const dead = hasEnded(this.#row.owner) ? this.#row.owner : null;
      const lease = await acquire(postgres, this.projection, this.#row, owner, leaseMs, dead);
      if (lease === undefined) {
        this.#become("standby", undefined);
        return;
      }
      session = await Session.open(this.#settings, this.projection, this.#row.table, lease);
      await this.#checkLog(lease);
      this.#session = session;
      if (this.#ending) session.end();
      this.#become("following", undefined);
      this.#stopped = undefined;
      const mine = session;
      if (lease.seq >= this.#head) void this.#take(mine, () => this.#show(mine));
      await this.#follow(session);
      await this.#turn;
      if (session.failure !== undefined) throw session.failure;
    } catch (error) {
      await this.#ended(session, error);
    } finally {
      this.#session = undefined;
      if (session !== undefined) await release(postgres, session.lease).catch(() => {});
    }
  }

  async #follow(session: Session): Promise<void> {
    const { nats, batchMost } = this.#settings;
    const { name, context } = this.projection;
    const unwatch = endOnReconnect(nats, () => {
      this.#doubt = true;
    });
    await follow(nats, {
      context,
      fromSeq: session.lease.seq + 1,
      most: batchMost,
      signal: session.signal,
      onBatch: async (batch) => {
        // While this batch is written, the next one is read and decoded; no further.
        await this.#turn;
        void this.#take(session, () => this.#batch(session, batch));
      },
      onHole: () => metrics.projectionGap.inc({ projection: name, context }),
    }).finally(unwatch);
  }

  async #batch(session: Session, batch: FollowBatch): Promise<void> {
    if (this.#doubt) {
      await this.#checkLog(session.lease);
      this.#doubt = false;
    }
    await session.project(batch);
    this.#head = Math.max(this.#head, session.head);
    this.#failures = 0;
    if (!this.#row.shown && batch.pending < this.#settings.batchMost) await this.#show(session);
  }

  /** A checkpoint beyond the log's end belongs to another log. Commits would be missed without a word. */
  async #checkLog({ seq, mark }: Lease): Promise<void> {
    const head = await headOf(this.#settings.nats, this.projection.context);
    this.#head = head;
    if (seq <= head) {
      const { nats } = this.#settings;
      if (mark === null || (await isOfLog(nats, this.projection.context, mark))) return;
      throw new AnotherLog(
        `the log has another commit at ${mark.split("@")[0]} than the one that was folded: was a backup restored?`,
      );
    }
    throw new Stopped(
      `the checkpoint is at ${seq}, the log ends at ${head}: was an older log restored? Request a rebuild.`,
      (at, now) => now >= at,
    );
  }

  async #ended(session: Session | undefined, error: unknown): Promise<void> {
    const { postgres, log } = this.#settings;
    const { name, context } = this.projection;
    // A table that is not there is that of a build which another has replaced, and whoever saw that first has dropped.
    const isMissing = error instanceof StatementRefused && error.because === "missing";
    const isReplaced = isMissing && session !== undefined && !(await isHeld(postgres, session.lease).catch(() => true));
    if (error instanceof Lost || isReplaced) {
      this.#become("standby", undefined);
      return;
    }
    if (error instanceof Stopped) {
      this.#stopped = error;
      this.#become("stopped", error.message);
      if (session !== undefined) await stop(postgres, session.lease, error.message).catch(() => {});
      return;
    }
    if (error instanceof AnotherLog) {
      // What was folded is not what happened: nobody is to see it. The next look begins anew.
      log.error({ projection: name, context, build: this.build, reason: error.message }, "the view is built anew");
      await startAnew(postgres, this.#row).catch(() => {});
      this.#become("waiting", error.message);
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

  /** Lets readers see this build, if it is time. */
  async #show(session: Session): Promise<void> {
    if (this.#row.shown || Date.now() < this.#heldUntil) return;
    const { nats, postgres, log, takeoverMs } = this.#settings;
    const { name, context } = this.projection;
    try {
      await session.index();
      const result = await switchTo(postgres, session.lease, { takeoverMs, head: () => headOf(nats, context) });
      if (result.outcome === "switched") {
        this.#row = { ...this.#row, shown: true };
        this.#become("following", undefined);
        log.info(
          { projection: name, context, build: this.build, seq: session.lease.seq },
          "readers see this build now",
        );
        await session.parking.reconcile();
      } else if (result.outcome === "lost") {
        throw new Lost("another build is shown");
      } else if (result.outcome === "held") {
        const reason = `held back: ${result.lacking.length} aggregates are dead letters in it that the shown build has`;
        this.#heldUntil = Date.now() + HELD_MS;
        await hold(postgres, session.lease, reason);
        this.#become("following", reason);
        // What was corrected meanwhile for the shown build may fold here as well.
        for (const { kind, aggregate } of result.lacking) await session.retry(aggregateKey(kind, aggregate), false);
      }
    } catch (error) {
      // Readers hold on to the view: the next look tries again.
      if (!(error instanceof StatementRefused && error.because === "busy")) throw error;
    }
  }
}
