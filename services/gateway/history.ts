/** The past as sentences: of one entity, of a whole organisation (the audit log); and the search over everything. */
import { LIMITS } from "@millrace/contracts/http.ts";
import { encodePosition, type Position, WHOLE_COMMIT } from "@millrace/contracts/position.ts";
import { CONTEXTS, kindOf } from "@millrace/domain/contexts.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { VIEWS } from "@millrace/domain/views.ts";
import type { HttpServerResponse } from "effect/http/HttpServerResponse";
import type { Asked } from "./asked.ts";
import { type Handle, handle, json, pathOf, type Request } from "./command.ts";
import { type Gateway, resolve } from "./gateway.ts";
import { positionAsked } from "./past.ts";
import { ask, decodeCursor, encodeCursor, orForeignCursor, reachConditions, waitForPosition } from "./queries.ts";

interface Filters {
  readonly organisation: string;
  readonly context?: string;
  readonly kind?: string;
  readonly id?: string;
  readonly type?: string;
  readonly actor?: string;
  readonly from?: string;
  readonly to?: string;
}

/** Place of the last event shown, per context: each context's log has an order of its own. */
type Marks = Readonly<Record<string, readonly [seq: number, index: number]>>;

interface HistoryRow {
  readonly context: string;
  readonly kind: string;
  readonly id: string;
  readonly seq: number;
  readonly index: number;
  readonly version: number;
  readonly type: string;
  readonly time: Date;
  readonly actor: unknown;
  readonly correlation: string;
  readonly sentence: string;
  readonly data: unknown;
}

const isMarks = (mark: any): boolean =>
  Object.values(mark).every((place) => Array.isArray(place) && place.length === 2 && place.every(Number.isSafeInteger));

/** One context's events before a place, newest first. */
async function rowsOf(
  { postgres }: Gateway,
  context: string,
  filters: Filters,
  before: readonly [number, number] | undefined,
  most: number,
): Promise<{ rows: HistoryRow[]; seq: number }> {
  const values: unknown[] = [context];
  const add = (value: unknown) => `$${values.push(value)}`;
  const where = [`h.context = $1`, `h.organisation = ${add(filters.organisation)}`];
  for (const field of ["kind", "id", "type"] as const) {
    if (filters[field] !== undefined) where.push(`h.${field} = ${add(filters[field])}`);
  }
  if (filters.actor !== undefined) where.push(`h.actor->>'id' = ${add(filters.actor)}`);
  const time = (text: string) => `to_timestamp(${add(Date.parse(text) / 1_000)}::float8)`;
  if (filters.from !== undefined) where.push(`h.time >= ${time(filters.from)}`);
  if (filters.to !== undefined) where.push(`h.time < ${time(filters.to)}`);
  if (before !== undefined) where.push(`(h.seq, h.index) < (${add(before[0])}, ${add(before[1])})`);
  const rows = await postgres.query<HistoryRow & { position: number }>(
    `SELECT p.seq AS position, h.* FROM
       (SELECT seq FROM millrace.projection WHERE name = 'history' AND context = $1 AND shown) AS p
     LEFT JOIN LATERAL (
       SELECT h.context, h.kind, h.id, h.seq, h.index, h.version, h.type, h.time, h.actor, h.correlation, h.sentence, h.data
       FROM v.history AS h WHERE ${where.join(" AND ")} ORDER BY h.seq DESC, h.index DESC LIMIT ${most}
     ) AS h ON true ORDER BY h.seq DESC, h.index DESC`,
    values,
  );
  return { rows: rows.filter(({ seq }) => seq !== null), seq: rows[0]?.position ?? 0 };
}

async function historyPage(gateway: Gateway, request: Request, filters: Filters): Promise<HttpServerResponse> {
  const { limit = LIMITS.listDefault, cursor } = (request.query ?? {}) as { limit?: number; cursor?: string };
  const contexts =
    filters.context === undefined
      ? Object.keys(CONTEXTS)
      : [filters.context].filter((name) => Object.hasOwn(CONTEXTS, name));
  const marks = cursor === undefined ? {} : decodeCursor<Marks>(cursor, isMarks);
  const views = Object.fromEntries(contexts.map((context) => [context, ["history"]]));
  await waitForPosition(gateway, positionAsked(request), views);
  const parts = await ask(() =>
    Promise.all(contexts.map((context) => rowsOf(gateway, context, filters, marks[context], limit + 1))).catch(
      orForeignCursor(cursor),
    ),
  );
  const all = parts.flatMap(({ rows }) => rows);
  // Within a context the log's order decides; a stable sort by time keeps it.
  all.sort((a, b) => b.time.getTime() - a.time.getTime());
  const shown = all.slice(0, limit);
  const next: Record<string, readonly [number, number]> = { ...marks };
  for (const { context, seq, index } of shown) next[context] = [seq, index];
  const position: Position = Object.fromEntries(
    contexts.map((context, i) => [context, { seq: parts[i]!.seq, index: WHOLE_COMMIT }]),
  );
  return json(
    { items: shown.map(entryOf), ...(all.length > limit ? { nextCursor: encodeCursor(next) } : {}) },
    { headers: { "millrace-position": encodePosition(position) } },
  );
}

const entryOf = ({ time, index: _, ...row }: HistoryRow & { position?: number }) => {
  const { position: __, ...entry } = row;
  return { at: time.toISOString(), ...entry };
};

/** Handler of `GET …/{id}/history`. What was deleted still has its history. */
export const history = <R extends Request>(gateway: Gateway, kind: Kind): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { id: reference } = request.params as { id?: string };
    const organisation = asked.organisation!.id;
    const id = reference === undefined ? organisation : await resolve(gateway, kind, organisation, reference);
    return historyPage(gateway, request, { organisation, context: kind.context, kind: kind.kind, id });
  });

/** Handler of `GET /v1/organisations/{org}/history`. */
export const audit = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const {
      limit: _,
      cursor: __,
      ...filters
    } = (request.query ?? {}) as Omit<Filters, "organisation"> & Record<string, never>;
    return historyPage(gateway, request, { ...filters, organisation: asked.organisation!.id });
  });

interface Found {
  readonly context: string;
  readonly kind: string;
  readonly id: string;
  readonly title: string;
  readonly excerpt: string;
  readonly updated_at: Date;
  readonly rank: string;
  /** As exactly as PostgreSQL keeps it. */
  readonly at: string;
}

type Sought = { q: string; limit?: number; cursor?: string; context?: string; kind?: string };

/** The last hit of a page: its rank, when it changed, its id. */
type HitMark = readonly [rank: string, at: string, id: string];
const isHitMark = (mark: any): boolean =>
  Array.isArray(mark) && mark.length === 3 && mark.every((part) => typeof part === "string");

/** Which of the hits the caller may see: kinds of which all may be read, and of others what is reached. */
function visible(readable: ReadonlyMap<string, string>, asked: Asked, add: (value: unknown) => string): string[] {
  const whole: string[] = [];
  const parts: string[] = [];
  for (const [name, permission] of readable) {
    const reach = asked.powers!.reach(permission, asked.organisation!.id);
    if (reach === undefined) continue;
    const view = VIEWS.find(({ kind }) => `${kind.context}.${kind.kind}` === name);
    if (reach.length === 0) whole.push(name);
    else if (view?.search !== undefined) {
      const conditions = reachConditions(view, reach, add).join(" AND ");
      const ids = `SELECT r.id FROM v."${view.name}" AS r WHERE r.organisation = $1 AND ${conditions}`;
      parts.push(`(s.context || '.' || s.kind = ${add(name)} AND s.id IN (${ids}))`);
    }
  }
  return [`s.context || '.' || s.kind = ANY(${add(whole)})`, ...parts];
}

/**
 * Handler of the search: finds only what the token may read.
 * @param readable the permission that reading a kind takes, by `<context>.<kind>`
 */
export const search = <R extends Request>(gateway: Gateway, readable: ReadonlyMap<string, string>): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { q, limit = LIMITS.listDefault, cursor, context, kind } = request.query as Sought;
    const organisation = asked.organisation!.id;
    const kinds = new Map(
      [...readable].filter(([name]) => {
        const [itsContext, itsKind] = name.split(".");
        return (context === undefined || itsContext === context) && (kind === undefined || itsKind === kind);
      }),
    );
    const contexts = [...kinds.keys()].map((name) => [name.split(".")[0]!, []] as const);
    await waitForPosition(gateway, positionAsked(request), Object.fromEntries(contexts));
    const values: unknown[] = [organisation, q];
    const add = (value: unknown) => `$${values.push(value)}`;
    const seen = visible(kinds, asked, add).join(" OR ");
    let after = "";
    if (cursor !== undefined) {
      const [rank, at, id] = decodeCursor<HitMark>(cursor, isHitMark);
      const [r, t, i] = [`${add(rank)}::float4`, `${add(at)}::timestamptz`, add(id)];
      after = `WHERE (-h.rank, ${t} - h.updated_at, h.id) > (-${r}, interval '0', ${i})`;
    }
    const rows = await ask(() =>
      gateway.postgres
        .query<Found>(
          `SELECT s.context, s.kind, s.id, s.title, s.updated_at, s.rank::text, s.updated_at::text AS at,
           ts_headline('simple', left(s.text, 10000), query, 'StartSel="", StopSel="", MaxFragments=1, MaxWords=24, MinWords=8') AS excerpt
         FROM (
           SELECT h.* FROM (
             SELECT s.*, query, ts_rank(s.document, query) AS rank
             FROM v.search AS s, millrace.search_query($2) AS query
             WHERE s.organisation = $1 AND (${seen}) AND s.document @@ query
           ) AS h ${after}
           ORDER BY h.rank DESC, h.updated_at DESC, h.id LIMIT ${add(limit + 1)}
         ) AS s ORDER BY s.rank DESC, s.updated_at DESC, s.id`,
          values,
        )
        .catch(orForeignCursor(cursor)),
    );
    const items = rows.slice(0, limit).map(({ updated_at, rank: _, at: __, ...hit }) => ({
      ...hit,
      path: pathOf(kindOf(hit.context, hit.kind)!, organisation, hit.id),
      updatedAt: updated_at.toISOString(),
    }));
    const last = rows.length > limit ? rows[limit - 1] : undefined;
    return json({ items, ...(last && { nextCursor: encodeCursor([last.rank, last.at, last.id]) }) });
  });
