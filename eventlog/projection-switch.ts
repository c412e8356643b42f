/** What readers see: `v.<name>` and `v.search`, and the switch from one build to the next. */
import { faultPoint } from "./faultpoint.ts";
import type { Postgres, Queryable } from "./postgres.ts";
import { literal, qualified, quoted } from "./projection.ts";
import { type Checkpoint, type Lease, listCheckpoints, lockCheckpoints, retire } from "./projection-checkpoint.ts";
import { compareCode } from "./projection-plan.ts";
import { LOCKS } from "./projection-schema.ts";

export interface SwitchOptions {
  /** Asks for the log's newest sequence. */
  readonly head: () => Promise<number>;
  readonly takeoverMs: number;
}

/**
 * `switched` · `behind`: the shown build is ahead, and has been stopped so that this one passes it · `lost`: not ours any more ·
 * `held`: it lacks aggregates that the shown build has, see `lacking`
 */
export type Switched =
  | { readonly outcome: "switched" | "behind" | "lost" }
  | {
      readonly outcome: "held";
      readonly lacking: ReadonlyArray<{ readonly kind: string; readonly aggregate: string }>;
    };

/** How long a shown build is kept from going on while the new one passes it. */
const PASS_MS = 10_000;

/**
 * Shows this build instead of the one shown now, in one transaction: readers see the one or the other, whole, and never an older
 * state than before.
 * @throws PostgresUnavailable, StatementRefused (`busy` when readers do not let go of the view)
 */
export async function switchTo(postgres: Postgres, lease: Lease, options: SwitchOptions): Promise<Switched> {
  faultPoint("projection-before-switch");
  const result = await postgres.transaction(async (tx): Promise<Switched> => {
    await tx.run("SET LOCAL lock_timeout = '2s'");
    await tx.run("SELECT pg_advisory_xact_lock($1)", [LOCKS.builds]);
    const rows = await lockCheckpoints(tx, lease.name, lease.context);
    const mine = rows.find((row) => row.build === lease.build);
    if (mine === undefined || mine.epoch !== lease.epoch || mine.seq !== lease.seq || mine.state === "retired") {
      return { outcome: "lost" };
    }
    if (mine.shown) return { outcome: "switched" };
    const shown = rows.find((row) => row.shown && row.build !== lease.build);
    if (shown !== undefined) {
      const order = compareCode(shown, mine);
      if (order > 0 && shown.silentMs < options.takeoverMs) return { outcome: "lost" };
      // A checkpoint beyond the log's end is another log's: nothing to be compared with.
      if (shown.seq > mine.seq && shown.seq <= (await options.head())) {
        await keepFromGoingOn(tx, shown, lease);
        return { outcome: "behind" };
      }
      // A rebuild of what is being kept up loses nothing by waiting; an older release's build is not kept up by anybody.
      const lacking = order === 0 ? await lackingIn(tx, mine, shown) : [];
      if (lacking.length > 0) return { outcome: "held", lacking };
      await retire(tx, shown, shown.build);
    }
    await tx.run(
      `UPDATE millrace.projection SET shown = true, state = 'active', stopped_reason = NULL
       WHERE name = $1 AND context = $2 AND build = $3`,
      [lease.name, lease.context, lease.build],
    );
    await show(tx, lease.name);
    faultPoint("projection-in-switch");
    return { outcome: "switched" };
  });
  if (result.outcome === "switched") faultPoint("projection-after-switch");
  return result;
}

async function keepFromGoingOn(tx: Queryable, shown: Checkpoint, lease: Lease): Promise<void> {
  await tx.run(
    `UPDATE millrace.projection SET epoch = epoch + 1, owner = $4::text, owner_until = now() + $5 * interval '1 millisecond'
     WHERE name = $1 AND context = $2 AND build = $3 AND owner IS DISTINCT FROM $4::text`,
    [shown.name, shown.context, shown.build, `build ${lease.build}`, PASS_MS],
  );
}

/** Aggregates parked in the new build and not in the shown one. */
const lackingIn = (tx: Queryable, mine: Checkpoint, shown: Checkpoint) =>
  tx.query<{ kind: string; aggregate: string }>(
    `SELECT kind, aggregate FROM millrace.parked AS p
     WHERE name = $1 AND context = $2 AND build = $3 AND dropped_by IS NULL AND NOT EXISTS (
       SELECT FROM millrace.parked AS q WHERE q.name = $1 AND q.context = $2 AND q.build = $4
         AND q.kind = p.kind AND q.aggregate = p.aggregate)
     ORDER BY kind, aggregate LIMIT 1000`,
    [mine.name, mine.context, mine.build, shown.build],
  );

/** Takes a projection that no release knows any more out of sight. The lock on builds must be held. */
export async function takeDown(tx: Queryable, row: Checkpoint): Promise<void> {
  await retire(tx, row, row.build);
  if (row.shown) await show(tx, row.name);
}

/** Takes a build out of sight that was folded from another log; the projector's next look makes a new one. */
export async function startAnew(postgres: Postgres, { name, context, build }: Checkpoint): Promise<void> {
  await postgres.transaction(async (tx) => {
    await tx.run("SET LOCAL lock_timeout = '2s'");
    await tx.run("SELECT pg_advisory_xact_lock($1)", [LOCKS.builds]);
    const row = (await lockCheckpoints(tx, name, context)).find((one) => one.build === build);
    if (row !== undefined) await takeDown(tx, row);
  });
}

/** Makes `v.<name>` and `v.search` of the builds that are shown now. */
async function show(tx: Queryable, name: string): Promise<void> {
  const shown = (await listCheckpoints(tx)).filter((row) => row.shown);
  const own = shown.filter((row) => row.name === name);
  await tx.run(`DROP VIEW IF EXISTS v.${quoted(name)}`);
  if (own.length > 0) await tx.run(`CREATE VIEW v.${quoted(name)} AS ${unionOf(own)}`);
  await tx.run("DROP VIEW IF EXISTS v.search");
  await tx.run(`CREATE VIEW v.search AS ${searchOf(shown.filter((row) => row.shape.searchKind !== null))}`);
}

/** All contexts' tables; while they are of several versions, what one lacks is null. */
function unionOf(rows: ReadonlyArray<Checkpoint>): string {
  const newest = rows.reduce((a, b) => (compareCode(a, b) < 0 ? b : a));
  return rows
    .map(({ context, table, shape }) => {
      const has = new Map(shape.columns);
      const columns = newest.shape.columns.map(([column, type]) =>
        has.get(column) === type ? quoted(column) : `NULL::${type} AS ${quoted(column)}`,
      );
      if (newest.shape.showContext) columns.unshift(`${literal(context)}::text AS context`);
      return `SELECT ${columns.join(", ")} FROM ${qualified(table)}${shape.hideGone ? " WHERE NOT gone" : ""}`;
    })
    .join(" UNION ALL ");
}

function searchOf(rows: ReadonlyArray<Checkpoint>): string {
  const columns =
    "organisation, id, search_title AS title, search_text AS text, updated_at, search_document AS document";
  if (rows.length === 0) {
    return `SELECT NULL::text AS context, NULL::text AS kind, NULL::text AS organisation, NULL::text AS id, NULL::text AS title,
      NULL::text AS text, NULL::timestamptz AS updated_at, NULL::tsvector AS document WHERE false`;
  }
  return rows
    .map(
      ({ context, shape, table }) =>
        `SELECT ${literal(context)}::text AS context, ${literal(shape.searchKind!)}::text AS kind, ${columns}
         FROM ${qualified(table)} WHERE NOT gone`,
    )
    .join(" UNION ALL ");
}
