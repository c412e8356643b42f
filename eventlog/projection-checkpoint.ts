/**
 * The checkpoints: table `millrace.projection`, one row per build of a projection. Anyone may read it; only the functions
 * here write it.
 *
 * | column | |
 * | --- | --- |
 * | `name`, `context`, `build` | the key; `name` is what `v.<name>` shows, `history` has a row per context |
 * | `version`, `state_version` | of the view's declaration and of its kind's state |
 * | `state` | `building`: beside the shown one · `active` · `stopped`: see `stopped_reason` · `retired`: its table is being dropped |
 * | `shown` | readers of `v.<name>` see this build; at most one per name and context |
 * | `seq` | every message of the context's log up to here is folded: reads wait for it |
 * | `mark` | which message of which log it was last seen at (log-mark.ts); null where that is not known yet |
 * | `head_seen` | the log's newest sequence as last seen by its projector |
 * | `stopped_reason` | why it is stopped, or why a finished build is held back; null otherwise |
 * | `updated_at` | when `seq` last moved · `beat_at`: when a projector that serves it last said so |
 * | `epoch`, `owner`, `owner_until` | the lease; a new owner is a new epoch |
 *
 * `millrace.parked` has the aggregates that a build has set aside (see deadletters.ts), `millrace.search_query(text)` turns what
 * a person types into a tsquery for `v.search.document`.
 */

import type { Postgres, Queryable } from "./postgres.ts";
import type { Projection, Shape } from "./projection.ts";
import { LOCKS, SCHEMA } from "./projection-schema.ts";

export interface Checkpoint {
  readonly name: string;
  readonly context: string;
  readonly build: number;
  readonly version: number;
  readonly stateVersion: number;
  readonly state: "building" | "active" | "stopped" | "retired";
  readonly shown: boolean;
  readonly seq: number;
  readonly headSeen: number;
  readonly stoppedReason: string | null;
  readonly updatedAt: Date;
  readonly table: string;
  readonly shape: Shape;
  readonly epoch: number;
  readonly owner: string | null;
  /** Nobody holds the lease now. */
  readonly free: boolean;
  /** Milliseconds since a projector that serves this build last said so. */
  readonly silentMs: number;
}

const SELECT = `SELECT name, context, build, version, state_version AS "stateVersion", state, shown, seq,
  head_seen AS "headSeen", stopped_reason AS "stoppedReason", updated_at AS "updatedAt", table_name AS "table", shape,
  epoch, owner, owner_until < now() AS free,
  (extract(epoch FROM now() - beat_at) * 1000)::float8 AS "silentMs"
  FROM millrace.projection`;

/** Creates what is missing. Safe with any number of processes at once. @throws PostgresUnavailable, StatementRefused */
export async function ensureSchema(postgres: Postgres): Promise<void> {
  await postgres.transaction(async (tx) => {
    await tx.run("SELECT pg_advisory_xact_lock($1)", [LOCKS.schema]);
    for (const statement of SCHEMA) await tx.run(statement);
  });
}

/** All builds, retired ones too. @throws PostgresUnavailable, StatementRefused */
export const listCheckpoints = (db: Queryable): Promise<Checkpoint[]> =>
  db.query<Checkpoint>(`${SELECT} ORDER BY name, context, build`);

/** The builds of one projection, locked until the transaction ends. */
export const lockCheckpoints = (tx: Queryable, name: string, context: string): Promise<Checkpoint[]> =>
  tx.query<Checkpoint>(`${SELECT} WHERE name = $1 AND context = $2 ORDER BY build FOR UPDATE`, [name, context]);

/**
 * Asks for a rebuild of a projection, in every context it has: a new build is folded beside the shown one. Asking again while one
 * is under way changes nothing.
 * @returns the builds that are under way now; empty when no such projection is shown
 * @throws PostgresUnavailable, StatementRefused
 */
export async function requestRebuild(
  postgres: Postgres,
  name: string,
): Promise<ReadonlyArray<{ readonly context: string; readonly build: number; readonly asked: "now" | "before" }>> {
  return postgres.transaction(async (tx) => {
    await tx.run("SELECT pg_advisory_xact_lock($1)", [LOCKS.builds]);
    const builds = (await listCheckpoints(tx)).filter((row) => row.name === name && row.state !== "retired");
    const answer: { context: string; build: number; asked: "now" | "before" }[] = [];
    for (const shown of builds.filter((row) => row.shown)) {
      const running = builds.find((row) => row.context === shown.context && !row.shown);
      const build = running?.build ?? (await insertBuild(tx, shown));
      answer.push({ context: shown.context, build, asked: running === undefined ? "now" : "before" });
    }
    return answer;
  });
}

/** Makes a row for a new build, unless there is one under way. The lock on builds must be held. */
export async function insertBuild(
  tx: Queryable,
  of: Pick<Projection, "name" | "context" | "version" | "stateVersion" | "shape">,
): Promise<number> {
  const rows = await tx.query<{ build: number }>(
    `INSERT INTO millrace.projection (name, context, build, version, state_version, shape, table_name)
     SELECT $1::text, $2::text, n, $3::int, $4::int, $5::jsonb, $6 || '_v' || $3 || '_b' || n
     FROM (SELECT coalesce(max(build), 0) + 1 AS n FROM millrace.projection WHERE name = $1 AND context = $2) AS next
     RETURNING build`,
    [of.name, of.context, of.version, of.stateVersion, JSON.stringify(of.shape), of.shape.stem],
  );
  return rows[0]!.build;
}

/** Takes builds out of service: whoever works on one loses it. Their tables are dropped later. */
export async function retire(
  tx: Queryable,
  { name, context }: Pick<Checkpoint, "name" | "context">,
  build: number,
): Promise<void> {
  await tx.run(
    `UPDATE millrace.projection SET state = 'retired', shown = false, epoch = epoch + 1, updated_at = now()
     WHERE name = $1 AND context = $2 AND build = $3`,
    [name, context, build],
  );
}

/** What holds a build for one owner: every write compares both numbers. */
export interface Lease {
  readonly name: string;
  readonly context: string;
  readonly build: number;
  readonly epoch: number;
  readonly seq: number;
  /** Which log that is a sequence of (log-mark.ts). */
  readonly mark: string | null;
}

/**
 * Takes the lease of a build that nobody holds, and makes sure of its table; a build whose table is gone begins at 0.
 * @param dead an owner that is known to have ended: its lease is not waited for
 * @returns undefined when somebody else holds it, or it is retired
 * @throws PostgresUnavailable, StatementRefused
 */
export async function acquire(
  postgres: Postgres,
  projection: Projection,
  { build, table }: Pick<Checkpoint, "build" | "table">,
  owner: string,
  leaseMs: number,
  dead: string | null = null,
): Promise<Lease | undefined> {
  const { name, context } = projection;
  return postgres.transaction(async (tx) => {
    await tx.run("SELECT pg_advisory_xact_lock($1)", [LOCKS.builds]);
    const rows = await tx.query<{ epoch: number; seq: number; mark: string | null; there: boolean }>(
      `UPDATE millrace.projection SET owner = $4, owner_until = now() + $5 * interval '1 millisecond', beat_at = now(),
         epoch = epoch + 1, stopped_reason = NULL, state = CASE WHEN shown THEN 'active' ELSE 'building' END
       WHERE name = $1 AND context = $2 AND build = $3 AND state <> 'retired' AND (owner_until < now() OR owner IN ($4, $6))
       RETURNING epoch, seq, mark, to_regclass('projection.' || quote_ident(table_name)) IS NOT NULL AS there`,
      [name, context, build, owner, leaseMs, dead],
    );
    const row = rows[0];
    if (row === undefined) return undefined;
    if (row.there) return { name, context, build, epoch: row.epoch, seq: row.seq, mark: row.mark };
    await tx.run(projection.create(table));
    await tx.run(
      "UPDATE millrace.projection SET seq = 0, mark = NULL, shown = false, state = 'building' WHERE name = $1 AND context = $2 AND build = $3",
      [name, context, build],
    );
    await tx.run("DELETE FROM millrace.parked WHERE name = $1 AND context = $2 AND build = $3", [name, context, build]);
    return { name, context, build, epoch: row.epoch, seq: 0, mark: null };
  });
}

/** The checkpoint compared and set: first in every transaction that writes rows. @returns false when the build is not ours any more */
export async function advance(
  tx: Queryable,
  lease: Lease,
  { seq, mark }: Pick<Lease, "seq" | "mark">,
  headSeen: number,
  leaseMs: number,
): Promise<boolean> {
  const touched = await tx.run(
    `UPDATE millrace.projection SET seq = $5::bigint, mark = $9::text, head_seen = greatest($6::bigint, $5::bigint), updated_at = now(), beat_at = now(),
       owner_until = now() + $7 * interval '1 millisecond'
     WHERE name = $1 AND context = $2 AND build = $3 AND epoch = $4 AND seq = $8 AND state <> 'retired'`,
    [lease.name, lease.context, lease.build, lease.epoch, seq, headSeen, leaseMs, lease.seq, mark],
  );
  return touched === 1;
}

/** Whether the build is still ours. */
export async function isHeld(db: Queryable, { name, context, build, epoch }: Lease): Promise<boolean> {
  const rows = await db.query(
    `SELECT FROM millrace.projection WHERE name = $1 AND context = $2 AND build = $3 AND epoch = $4 AND state <> 'retired'`,
    [name, context, build, epoch],
  );
  return rows.length > 0;
}

/** Gives the lease up at once. */
export async function release(db: Queryable, lease: Lease): Promise<void> {
  await db.run(
    `UPDATE millrace.projection SET owner = NULL, owner_until = '-infinity'
     WHERE name = $1 AND context = $2 AND build = $3 AND epoch = $4`,
    [lease.name, lease.context, lease.build, lease.epoch],
  );
}

/** Says why a build stands still, and gives it up so that a newer release may try. */
export async function stop(db: Queryable, lease: Lease, reason: string): Promise<void> {
  await db.run(
    `UPDATE millrace.projection SET state = 'stopped', stopped_reason = $5, owner = NULL, owner_until = '-infinity'
     WHERE name = $1 AND context = $2 AND build = $3 AND epoch = $4`,
    [lease.name, lease.context, lease.build, lease.epoch, reason],
  );
}

/** Notes why a build that has caught up is not shown yet. */
export async function hold(db: Queryable, lease: Lease, reason: string | null): Promise<void> {
  await db.run(
    `UPDATE millrace.projection SET stopped_reason = $5::text
     WHERE name = $1 AND context = $2 AND build = $3 AND epoch = $4 AND stopped_reason IS DISTINCT FROM $5::text`,
    [lease.name, lease.context, lease.build, lease.epoch, reason],
  );
}

export interface Beat {
  readonly name: string;
  readonly context: string;
  readonly build: number;
  /** The lease to be renewed; undefined: only say that the build is served. */
  readonly epoch: number | undefined;
  readonly head: number;
}

/**
 * Says that these builds are served, and renews leases. Rows that a batch is just writing are left out: it renews by itself.
 * Losing this in a crash costs nothing, so no fsync is waited for.
 */
export async function beat(postgres: Postgres, beats: ReadonlyArray<Beat>, leaseMs: number): Promise<void> {
  if (beats.length === 0) return;
  await postgres.transaction(async (tx) => {
    await tx.run("SET LOCAL synchronous_commit = off");
    await tx.run(
      `WITH mine AS (
         SELECT p.name, p.context, p.build, b.head, b.epoch = p.epoch AS held
         FROM millrace.projection AS p
         JOIN json_to_recordset($1::json) AS b(name text, context text, build int, epoch bigint, head bigint)
           ON p.name = b.name AND p.context = b.context AND p.build = b.build
         FOR UPDATE OF p SKIP LOCKED)
       UPDATE millrace.projection AS p SET beat_at = now(), head_seen = greatest(p.head_seen, p.seq, mine.head),
         owner_until = CASE WHEN mine.held THEN now() + $2 * interval '1 millisecond' ELSE p.owner_until END
       FROM mine WHERE p.name = mine.name AND p.context = mine.context AND p.build = mine.build`,
      [JSON.stringify(beats), leaseMs],
    );
  });
}

/** Drops the tables of retired builds; what is still being read is left for the next time. */
export async function dropRetired(postgres: Postgres, rows: ReadonlyArray<Checkpoint>): Promise<void> {
  for (const { name, context, build, table } of rows) {
    await postgres.transaction(async (tx) => {
      await tx.run("SET LOCAL lock_timeout = '1s'");
      await tx.run("SELECT pg_advisory_xact_lock($1)", [LOCKS.builds]);
      await tx.run(`DROP TABLE IF EXISTS projection."${table}"`);
      await tx.run("DELETE FROM millrace.parked WHERE name = $1 AND context = $2 AND build = $3", [
        name,
        context,
        build,
      ]);
      await tx.run(
        "DELETE FROM millrace.projection WHERE name = $1 AND context = $2 AND build = $3 AND state = 'retired'",
        [name, context, build],
      );
    });
  }
}

export type Waited = "there" | "behind" | "not-shown";

/**
 * Waits until everything up to a sequence of a context's log can be read.
 * @param names views that will be read; empty: all that are shown of the context
 * @returns `not-shown` when one of the names is not shown (being built for the first time)
 * @throws PostgresUnavailable, StatementRefused
 */
export async function waitForProjected(
  postgres: Postgres,
  context: string,
  names: ReadonlyArray<string>,
  seq: number,
  timeoutMs: number,
): Promise<Waited> {
  const deadline = Date.now() + timeoutMs;
  for (let pauseMs = 4; ; pauseMs = Math.min(100, pauseMs * 1.5)) {
    const rows = await postgres.query<{ name: string; seq: number }>(
      `SELECT name, seq FROM millrace.projection
       WHERE context = $1 AND shown AND (cardinality($2::text[]) = 0 OR name = ANY($2))`,
      [context, names],
    );
    const missing = names.some((name) => rows.every((row) => row.name !== name)) || rows.length === 0;
    if (!missing && rows.every((row) => row.seq >= seq)) return "there";
    if (Date.now() + pauseMs >= deadline) return missing ? "not-shown" : "behind";
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
