/**
 * Runs a set of projections in this process, beside any number of other processes that do the same: looks at the checkpoints again
 * and again, decides by `plan` what is to be done, and starts, informs and ends a runner per build.
 */

import type { Nats } from "./connection.ts";
import { type Ask, causeOf, type DeadLetters } from "./deadletters.ts";
import type { Logger } from "./logging.ts";
import { ownerText, thisOwner } from "./owner.ts";
import { pause } from "./pause.ts";
import { type Postgres, PostgresUnavailable, StatementRefused } from "./postgres.ts";
import type { Projection } from "./projection.ts";
import {
  beat,
  type Checkpoint,
  dropRetired,
  ensureSchema,
  insertBuild,
  listCheckpoints,
  lockCheckpoints,
  retire,
} from "./projection-checkpoint.ts";
import { compareCode, plan } from "./projection-plan.ts";
import { headOf, Runner, type RunnerSettings, type RunnerStatus } from "./projection-runner.ts";
import { LOCKS } from "./projection-schema.ts";
import { takeDown } from "./projection-switch.ts";
import { metrics } from "./telemetry.ts";

export interface ProjectionsSettings {
  readonly nats: Nats;
  readonly postgres: Postgres;
  readonly deadLetters: DeadLetters;
  readonly projections: ReadonlyArray<Projection>;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  /** How long a projector that was killed keeps others from its builds. Default 10 000. */
  readonly leaseMs?: number;
  /** How long a newer release must be silent before an older one takes over. Default 60 000. */
  readonly takeoverMs?: number;
  /** Between two looks at the checkpoints. Default 1 000. */
  readonly lookMs?: number;
  /** Default 2 000. */
  readonly batchMost?: number;
  /** Rows in memory per build. Default 20 000. */
  readonly cacheMost?: number;
  /** Default 100. */
  readonly parkedMost?: number;
}

/** One build as this process sees it. */
export type ProjectionStatus = RunnerStatus;

export interface Projections {
  /** One per build that this process serves, and what keeps it from others. */
  status(): ReadonlyArray<ProjectionStatus>;
  /** Names of projections of which readers see nothing yet. */
  unseen(): ReadonlyArray<string>;
  /** Why PostgreSQL or the log cannot be used at the moment; undefined when all is well. */
  trouble(): string | undefined;
  /** Finishes the batches under way and gives all leases up. */
  stop(): Promise<void>;
}

/** Begins at once and never rejects: what is away is waited for. */
export function startProjections(settings: ProjectionsSettings): Projections {
  const names = settings.projections.map(nameOf);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new TypeError(`two projections are called ${twice}`);
  const engine = new Engine(settings);
  const running = engine.run();
  return {
    status: () => engine.status,
    unseen: () => engine.unseen,
    trouble: () => engine.trouble,
    stop: async () => {
      engine.stop();
      await running;
    },
  };
}

const nameOf = ({ name, context }: Pick<Checkpoint, "name" | "context">) => `${name} ${context}`;

const key = ({ name, context, build }: Pick<Checkpoint, "name" | "context" | "build">) => `${name}/${context}/${build}`;

class Engine {
  readonly #settings: ProjectionsSettings;
  readonly #runnerSettings: RunnerSettings;
  readonly #lookMs: number;
  readonly #leaseMs: number;
  readonly #takeoverMs: number;
  readonly #runners = new Map<string, Runner>();
  readonly #stopping = new AbortController();
  readonly #answered = new Set<string>();
  /** Shown in another release's version, or kept by nobody here. */
  #elsewhere = new Set<string>();
  #ready = false;
  #beatAt = 0;
  #trouble: string | undefined = "not looked yet";
  #failures = 0;

  constructor(settings: ProjectionsSettings) {
    this.#settings = settings;
    this.#lookMs = settings.lookMs ?? 1_000;
    this.#leaseMs = settings.leaseMs ?? 10_000;
    this.#takeoverMs = settings.takeoverMs ?? 60_000;
    this.#runnerSettings = {
      nats: settings.nats,
      postgres: settings.postgres,
      deadLetters: settings.deadLetters,
      log: settings.log,
      owner: ownerText(thisOwner()),
      leaseMs: this.#leaseMs,
      takeoverMs: this.#takeoverMs,
      batchMost: settings.batchMost ?? 2_000,
      cacheMost: settings.cacheMost ?? 20_000,
      parkedMost: settings.parkedMost ?? 100,
    };
  }

  get status(): ProjectionStatus[] {
    return [...this.#runners.values()].map((runner) => runner.status);
  }

  get unseen(): string[] {
    const seen = new Set([...this.#runners.values()].flatMap(({ status }) => (status.shown ? [nameOf(status)] : [])));
    return this.#settings.projections.map(nameOf).filter((name) => !seen.has(name) && !this.#elsewhere.has(name));
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  stop(): void {
    this.#stopping.abort();
  }

  async run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#look();
        if (this.#trouble !== undefined) this.#settings.log.info({ after: this.#trouble }, "projections are under way");
        this.#trouble = undefined;
        this.#failures = 0;
      } catch (error) {
        this.#inTrouble(error);
      }
      await pause(this.#lookMs * Math.min(5, 1 + this.#failures), signal);
    }
    await Promise.all([...this.#runners.values()].map((runner) => runner.stop()));
    this.#runners.clear();
  }

  #inTrouble(error: unknown): void {
    this.#failures++;
    // The database may be another, empty one by now.
    if (error instanceof StatementRefused && error.because === "missing") this.#ready = false;
    const cause = causeOf(error);
    if (cause !== this.#trouble) {
      const outage = error instanceof PostgresUnavailable;
      this.#settings.log[outage ? "warn" : "error"](outage ? { cause } : { err: error }, "projections cannot go on");
    }
    this.#trouble = cause;
  }

  async #look(): Promise<void> {
    const { postgres, projections } = this.#settings;
    if (!this.#ready) {
      await ensureSchema(postgres);
      this.#ready = true;
    }
    let rows = await listCheckpoints(postgres);
    if (await this.#bringAbout(rows)) rows = await listCheckpoints(postgres);
    const heads = await this.#heads();
    const wanted = new Set<string>();
    this.#elsewhere = new Set(rows.filter(({ shown }) => shown).map(nameOf));
    for (const projection of projections) {
      const { name, context } = projection;
      const mine = rows.filter((row) => row.name === name && row.context === context);
      for (const build of plan(mine, projection, this.#takeoverMs).run) {
        const row = mine.find((one) => one.build === build)!;
        wanted.add(key(row));
        let runner = this.#runners.get(key(row));
        if (runner === undefined) {
          runner = new Runner(this.#runnerSettings, projection, row);
          this.#runners.set(key(row), runner);
        }
        runner.see(row, heads.get(context));
      }
    }
    for (const [name, runner] of this.#runners) {
      if (wanted.has(name)) continue;
      this.#runners.delete(name);
      await runner.stop();
    }
    if (Date.now() - this.#beatAt > this.#leaseMs / 3) {
      this.#beatAt = Date.now();
      await beat(
        postgres,
        [...this.#runners.values()].map((runner) => runner.beat),
        this.#leaseMs,
      );
    }
    await this.#answerAsks(rows);
    this.#measure();
  }

  /** Creates, discards and drops builds where the plan says so. @returns whether anything changed */
  async #bringAbout(rows: ReadonlyArray<Checkpoint>): Promise<boolean> {
    const { postgres, projections } = this.#settings;
    let changed = false;
    for (const projection of projections) {
      const { name, context } = projection;
      const mine = rows.filter((row) => row.name === name && row.context === context);
      const { discard, create } = plan(mine, projection, this.#takeoverMs);
      if (discard.length === 0 && !create) continue;
      changed = true;
      await postgres.transaction(async (tx) => {
        await tx.run("SELECT pg_advisory_xact_lock($1)", [LOCKS.builds]);
        // Decided again under the lock: another projector may have done it.
        const now = await lockCheckpoints(tx, name, context);
        const again = plan(now, projection, this.#takeoverMs);
        for (const build of again.discard) await retire(tx, projection, build);
        if (again.create) await insertBuild(tx, projection);
      });
    }
    const declared = new Set(projections.map(nameOf));
    const orphans = rows.filter(
      (row) => row.state !== "retired" && !declared.has(nameOf(row)) && row.silentMs > this.#takeoverMs,
    );
    for (const row of orphans) {
      changed = true;
      await postgres.transaction(async (tx) => {
        await tx.run("SET LOCAL lock_timeout = '2s'");
        await tx.run("SELECT pg_advisory_xact_lock($1)", [LOCKS.builds]);
        await takeDown(tx, row);
      });
    }
    try {
      await dropRetired(
        postgres,
        rows.filter((row) => row.state === "retired"),
      );
    } catch (error) {
      // Somebody still reads it.
      if (!(error instanceof StatementRefused && error.because === "busy")) throw error;
    }
    return changed;
  }

  /** The newest sequence of each context's log; a context whose log cannot be asked is left out. */
  async #heads(): Promise<Map<string, number>> {
    const contexts = [...new Set(this.#settings.projections.map(({ context }) => context))];
    const heads = new Map<string, number>();
    await Promise.all(
      contexts.map(async (context) => {
        const head = await headOf(this.#settings.nats, context).catch(() => undefined);
        if (head !== undefined) heads.set(context, head);
      }),
    );
    return heads;
  }

  /** Hands what people want done with dead letters to the runners that hold them. */
  async #answerAsks(rows: ReadonlyArray<Checkpoint>): Promise<void> {
    const { deadLetters } = this.#settings;
    let asks: ReadonlyArray<Ask>;
    try {
      asks = await deadLetters.asks();
    } catch {
      return; // The log is away: they stand in it.
    }
    for (const ask of asks) {
      const mark = `${ask.id} ${ask.revision}`;
      if (this.#answered.has(mark)) continue;
      let done = false;
      for (const runner of this.#runners.values()) {
        if (!(await runner.answer(ask))) continue;
        // The build that readers see answers for all, unless an older release's is shown: nobody keeps that up.
        const { name, context } = runner.projection;
        const shown = rows.find((row) => row.name === name && row.context === context && row.shown);
        done ||= shown === undefined || shown.build === runner.build || compareCode(shown, runner.projection) !== 0;
        this.#remember(mark);
      }
      await this.#settle(ask, done).catch(() => {});
    }
  }

  async #settle(ask: Ask, done: boolean): Promise<void> {
    const { deadLetters } = this.#settings;
    if (done || (await deadLetters.get(ask.id)) === undefined) await deadLetters.answered(ask.id);
  }

  #remember(mark: string): void {
    this.#answered.add(mark);
    if (this.#answered.size > 1_000) this.#answered.delete(this.#answered.values().next().value!);
  }

  #measure(): void {
    const letters = new Map<string, number>();
    const stopped = new Map<string, number>();
    for (const runner of this.#runners.values()) {
      const { name, context, shown, state, seq, head, parked } = runner.status;
      const labels = { projection: name, context };
      if (shown) {
        metrics.projectionLagEvents.set(labels, Math.max(0, head - seq));
        metrics.projectionLagSeconds.set(labels, runner.lagSeconds);
        letters.set(name, (letters.get(name) ?? 0) + parked);
      } else {
        metrics.projectionRebuild.set(labels, head === 0 ? 1 : Math.min(1, seq / head));
      }
      const all = `${name} ${context}`;
      stopped.set(all, Math.max(stopped.get(all) ?? 0, state === "stopped" ? 1 : 0));
      metrics.projectionStopped.set(labels, stopped.get(all)!);
    }
    for (const [name, count] of letters) metrics.deadLetters.set({ consumer: `projection:${name}` }, count);
  }
}
