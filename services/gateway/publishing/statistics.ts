/** How builds went: counted by PostgreSQL from their view. */
import type { Reach } from "@millrace/contracts/access.ts";
import { buildsView } from "@millrace/domain/publishing/views.ts";
import { reachOf } from "../asked.ts";
import { type Handle, handle, invalidInput, json, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { positionAsked } from "../past.ts";
import { ask, reachConditions, waitForPosition } from "../queries.ts";

interface Query {
  readonly from?: string;
  readonly to?: string;
  readonly repository?: string;
  readonly appId?: string;
}
interface Row {
  /** Null: of all days. */
  readonly day: string | null;
  readonly builds: number;
  readonly published: number;
  readonly failed: number;
  readonly commits: number;
  readonly commit: number[] | null;
  readonly publications: number;
  readonly publish: number[] | null;
}

const DAY_MS = 86_400_000;
const DAYS_MOST = 3_660;

/** First and behind the last, milliseconds since 1970. @throws Failed (invalid-input) */
function daysOf({ from, to }: Query): { readonly from: number; readonly until: number } {
  const read = (text: string): number => Date.parse(`${text}T00:00:00Z`);
  const last = to === undefined ? Date.now() - (Date.now() % DAY_MS) : read(to);
  const first = from === undefined ? last - 30 * DAY_MS : read(from);
  if (first > last) fail(invalidInput("/query/from", "is after the last day"));
  if (last - first > DAYS_MOST * DAY_MS)
    fail(invalidInput("/query/from", `is more than ${DAYS_MOST} days before the last`));
  return { from: first, until: last + DAY_MS };
}

const SPREAD = (column: string) =>
  `percentile_disc(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY r."${column}") FILTER (WHERE r."${column}" IS NOT NULL)`;

function statementOf(query: Query, organisation: string, reach: Reach): { text: string; values: unknown[] } {
  const { from, until } = daysOf(query);
  const values: unknown[] = [];
  const add = (value: unknown) => `$${values.push(value)}`;
  const where = [
    `r.organisation = ${add(organisation)}`,
    `r.created_at >= to_timestamp(${add(from / 1_000)}::float8) AND r.created_at < to_timestamp(${add(until / 1_000)}::float8)`,
    ...(query.repository === undefined ? [] : [`r.repository = ${add(query.repository)}`]),
    ...(query.appId === undefined ? [] : [`r."appId" = ${add(query.appId)}`]),
    ...reachConditions(buildsView, reach, add),
  ];
  const text = `SELECT to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*)::int AS builds,
      count(*) FILTER (WHERE r.published = 'published')::int AS published,
      count(*) FILTER (WHERE r."hasFailed")::int AS failed,
      count(r."commitMs")::int AS commits, ${SPREAD("commitMs")} AS commit,
      count(r."publishMs")::int AS publications, ${SPREAD("publishMs")} AS publish
    FROM v."${buildsView.name}" AS r WHERE ${where.join(" AND ")}
    GROUP BY GROUPING SETS ((), (to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'))) ORDER BY 1 NULLS FIRST`;
  return { text, values };
}

const spread = (count: number, values: number[] | null) => {
  if (values === null) return undefined;
  const [median, most95, most] = values.map(Number);
  return { count, median, most95, most };
};

export const statistics = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { text, values } = statementOf((request.query ?? {}) as Query, asked.organisation!.id, reachOf(asked));
    await waitForPosition(gateway, positionAsked(request), { [buildsView.kind.context]: [buildsView.name] });
    const rows = await ask(() => gateway.postgres.query<Row>(text, values));
    const { builds, published, failed, commits, commit, publications, publish } = rows[0]!;
    return json({
      builds,
      published,
      failed,
      ...(published + failed === 0 ? {} : { successRate: published / (published + failed) }),
      commitMs: spread(commits, commit),
      publishMs: spread(publications, publish),
      days: rows.slice(1).map(({ day, ...one }) => ({
        day,
        builds: one.builds,
        published: one.published,
        failed: one.failed,
      })),
    });
  });
