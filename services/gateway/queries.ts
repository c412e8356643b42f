/**
 * Lists, built from the declarations of views: one statement per page, which also tells how far the view is. PostgreSQL away is
 * `unavailable` of `queries`; a position that is not reached in time, or a view that is still being built, of `projections`.
 */
import { EVERYTHING, type Reach } from "@millrace/contracts/access.ts";
import { LIMITS } from "@millrace/contracts/http.ts";
import { encodePosition, type Position, WHOLE_COMMIT } from "@millrace/contracts/position.ts";
import type { Column, View } from "@millrace/domain/view.ts";
import { PostgresUnavailable, StatementRefused } from "@millrace/eventlog/postgres.ts";
import { waitForProjected } from "@millrace/eventlog/projection-checkpoint.ts";
import type { HttpServerResponse } from "effect/http/HttpServerResponse";
import { reachOf } from "./asked.ts";
import { type Handle, handle, invalidInput, json, type Request } from "./command.ts";
import { fail, unavailable } from "./failures.ts";
import type { Gateway } from "./gateway.ts";
import { positionAsked } from "./past.ts";

/** Runs a query; what PostgreSQL cannot do becomes a problem. */
export async function ask<A>(work: () => Promise<A>): Promise<A> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof PostgresUnavailable) {
      return fail(unavailable("queries", "PostgreSQL is away. Commands and reads of single entities go on.", 2));
    }
    if (error instanceof StatementRefused && error.because === "missing") return fail(BUILDING);
    if (error instanceof StatementRefused && error.because === "busy") {
      return fail(unavailable("queries", "The query took too long.", 2));
    }
    throw error;
  }
}

const BUILDING = unavailable("projections", "What this reads is being built for the first time.", 2);

/** Waits until what the client has seen can be read here. @throws Failed (unavailable; invalid-input for a place that the log does not have) */
export async function waitForPosition(
  { postgres, log }: Gateway,
  position: Position | undefined,
  views: Readonly<Record<string, ReadonlyArray<string>>>,
): Promise<void> {
  if (position === undefined) return;
  for (const [context, names] of Object.entries(views)) {
    const place = position[context];
    if (place === undefined || place.seq === 0) continue;
    const waited = await ask(() => waitForProjected(postgres, context, names, place.seq, LIMITS.waitMs));
    if (waited === "not-shown") fail(BUILDING);
    if (waited === "behind" && place.seq > (await log.head(context))) fail(FOREIGN_POSITION);
    if (waited === "behind")
      fail(unavailable("projections", "What you have seen is not here yet: the projector is behind."));
  }
}

const FOREIGN_POSITION = invalidInput(
  "/headers/millrace-position",
  "is ahead of the log: it is another installation's, or this one was restored from a backup",
  "Ask without it, and go on with the position of the answer.",
);

interface Sorting {
  /** As it was asked for, e.g. `-createdAt`. */
  readonly text: string;
  /** SQL expression, never null. */
  readonly by: string;
  readonly type: string;
  readonly down: boolean;
}

/** What stands for null when sorted by it. */
const LOWEST: Partial<Record<Column["type"], string>> = {
  text: "''",
  timestamptz: "'-infinity'",
  bigint: "-9223372036854775808",
};

function sortingOf(view: View, asked: string | undefined): Sorting {
  const text = asked ?? "-createdAt";
  const down = text.startsWith("-");
  const field = down ? text.slice(1) : text;
  if (field === "createdAt") return { text, by: "r.created_at", type: "timestamptz", down };
  if (field === "updatedAt") return { text, by: "r.updated_at", type: "timestamptz", down };
  const column = view.columns[field];
  if (column?.sort === true) {
    return { text, by: `coalesce(r."${field}", ${LOWEST[column.type] ?? "''"})`, type: column.type, down };
  }
  const can = Object.keys(view.columns).filter((name) => view.columns[name]!.sort === true);
  return fail(
    invalidInput("/query/sort", "is no field to sort by", `One of ${["createdAt", "updatedAt", ...can].join(", ")}.`),
  );
}

interface Mark {
  readonly sort: string;
  readonly value: string;
  readonly id: string;
}

export const encodeCursor = (mark: unknown): string => Buffer.from(JSON.stringify(mark)).toString("base64url");

/** @throws Failed (invalid-input) */
export function decodeCursor<M>(cursor: string, fits: (mark: any) => boolean): M {
  let mark: unknown;
  try {
    mark = JSON.parse(Buffer.from(cursor, "base64url").toString("utf8"));
  } catch {
    mark = undefined;
  }
  if (typeof mark === "object" && mark !== null && fits(mark)) return mark as M;
  return fail(FOREIGN_CURSOR);
}

const FOREIGN_CURSOR = invalidInput(
  "/query/cursor",
  "does not belong to this list",
  "Begin again without it, or keep `sort` as it was.",
);

/** All else was read by its schema: only a cursor that was made up brings in what is no value of its column. */
export const orForeignCursor = (cursor: string | undefined) => (error: unknown) =>
  cursor !== undefined && error instanceof StatementRefused && error.because === "data"
    ? fail(FOREIGN_CURSOR)
    : Promise.reject(error);

export type ListQuery = { limit?: number; cursor?: string; sort?: string; q?: string; fields?: string } & Record<
  string,
  unknown
>;

/** Values of one statement, numbered as they are added. */
class Values {
  readonly list: unknown[] = [];
  add(value: unknown): string {
    this.list.push(value);
    return `$${this.list.length}`;
  }
}

function conditionsOf(view: View, query: ListQuery, values: Values, organisation: string | undefined): string[] {
  const conditions: string[] = [];
  if (organisation !== undefined) conditions.push(`r.organisation = ${values.add(organisation)}`);
  for (const [name, column] of Object.entries(view.columns)) {
    const wanted = query[name];
    if (column.filter !== true || wanted === undefined) continue;
    if (wanted === null) {
      conditions.push(`r."${name}" IS NULL`);
      continue;
    }
    conditions.push(
      column.type === "text[]"
        ? `r."${name}" @> ARRAY[${values.add(wanted)}]::text[]`
        : `r."${name}" = ${values.add(wanted)}::${column.type}`,
    );
  }
  if (query.q !== undefined) {
    conditions.push(
      view.search === undefined
        ? fail(invalidInput("/query/q", "cannot be asked of this list"))
        : `r.id IN (SELECT s.id FROM v.search AS s WHERE s.context = ${values.add(view.kind.context)}
             AND s.kind = ${values.add(view.kind.kind)} AND s.document @@ millrace.search_query(${values.add(query.q)}))`,
    );
  }
  return conditions;
}

/** Only the given fields of an item, and its id. */
export function sparse(item: any, fields: string | undefined): unknown {
  if (fields === undefined) return item;
  const chosen: Record<string, any> = { id: item.id };
  for (const field of fields.split(",")) {
    let from = item;
    let to = chosen;
    const steps = field.split(".");
    for (const [i, step] of steps.entries()) {
      if (typeof from !== "object" || from === null || !Object.hasOwn(from, step)) break;
      from = from[step];
      if (i === steps.length - 1) to[step] = from;
      else {
        if (!Object.hasOwn(to, step)) to[step] = {};
        to = to[step];
      }
    }
  }
  return chosen;
}

/** One page of a list, and how far the view was when it was read. */
export interface Page {
  readonly items: ReadonlyArray<unknown>;
  readonly nextCursor?: string;
  readonly position: string;
}

export interface ListOptions {
  /** The query in the view's own words, where they are other than the API's. */
  readonly query?: (query: ListQuery) => ListQuery;
  /** What a list shows of an entity; left out: all of it. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever the kind represents
  readonly show?: (entity: any) => unknown;
  /** Only those that the caller reaches; left out: all. */
  readonly reach?: Reach;
}

/** Rows whose lineage meets every set of the reach. @param add numbers a value of the statement */
export const reachConditions = (view: View, reach: Reach, add: (value: unknown) => string): string[] =>
  reach.map((ids) => {
    const all = `${add([...ids])}::text[]`;
    const ways = (view.parents ?? []).map((column) =>
      view.columns[column]!.type === "text[]" ? `r."${column}" && ${all}` : `r."${column}" = ANY(${all})`,
    );
    return `(${[`r.id = ANY(${all})`, ...ways].join(" OR ")})`;
  });

/** Handler of `GET …/{collection}`. */
export const list = <R extends Request>(gateway: Gateway, view: View, options: ListOptions = {}): Handle<R> =>
  handle(gateway, async (request, asked) => {
    // Organisations themselves are listed without one in the path: all for the owner's tokens, else one's own.
    const own = asked.token!.installation ? undefined : asked.token!.organisation;
    const organisation = asked.organisation?.id ?? own;
    return answerPage(await readPage(gateway, view, request, organisation, { reach: reachOf(asked), ...options }));
  });

export const answerPage = ({ position, ...page }: Page): HttpServerResponse =>
  json(page, { headers: { "millrace-position": position } });

/** @throws Failed (invalid-input, unavailable) */
export async function readPage(
  gateway: Gateway,
  view: View,
  request: Request,
  organisation: string | undefined,
  options: ListOptions = {},
): Promise<Page> {
  const asked = (request.query ?? {}) as ListQuery;
  const query = options.query?.(asked) ?? asked;
  const { context } = view.kind;
  const sorting = sortingOf(view, query.sort);
  const limit = query.limit ?? LIMITS.listDefault;
  const values = new Values();
  const where = conditionsOf(view, query, values, organisation);
  where.push(...reachConditions(view, options.reach ?? EVERYTHING, (value) => values.add(value)));
  if (query.cursor !== undefined) {
    const mark = decodeCursor<Mark>(
      query.cursor,
      ({ sort, value, id }) => sort === sorting.text && typeof value === "string" && typeof id === "string",
    );
    const after = `(${values.add(mark.value)}::${sorting.type}, ${values.add(mark.id)}::text)`;
    where.push(`(${sorting.by}, r.id) ${sorting.down ? "<" : ">"} ${after}`);
  }
  const direction = sorting.down ? "DESC" : "ASC";
  const statement = `SELECT p.seq AS position, r.id, r.state, r.mark
    FROM (SELECT seq FROM millrace.projection WHERE name = ${values.add(view.name)} AND context = ${values.add(context)} AND shown) AS p
    LEFT JOIN LATERAL (
      SELECT r.id, r.state, ${sorting.by}::text AS mark, ${sorting.by} AS by FROM v."${view.name}" AS r
      ${where.length === 0 ? "" : `WHERE ${where.join(" AND ")}`}
      ORDER BY ${sorting.by} ${direction}, r.id ${direction} LIMIT ${limit + 1}
    ) AS r ON true ORDER BY r.by ${direction}, r.id ${direction}`;

  await waitForPosition(gateway, positionAsked(request), { [context]: [view.name] });
  const rows = await ask(() =>
    gateway.postgres
      .query<{ position: number; id: string | null; state: unknown; mark: string }>(statement, values.list)
      .catch(orForeignCursor(query.cursor)),
  );
  if (rows.length === 0) return fail(BUILDING);
  const found = rows.filter(({ id }) => id !== null);
  const show = options.show ?? ((entity) => entity);
  const items = found
    .slice(0, limit)
    .map(({ state }) => sparse(show(view.kind.represent(state as never)), query.fields));
  const last = found[limit - 1];
  const position = encodePosition({ [context]: { seq: rows[0]!.position, index: WHOLE_COMMIT } });
  return found.length > limit && last !== undefined
    ? { items, position, nextCursor: encodeCursor({ sort: sorting.text, value: last.mark, id: last.id }) }
    : { items, position };
}
