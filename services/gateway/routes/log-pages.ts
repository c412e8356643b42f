/** What all ways to read log lines share: which sources are meant, what is looked for, how lines are shown. */
import { LOG_LIMITS } from "@millrace/contracts/applications/logs.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { application } from "@millrace/domain/applications/application.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { LogFilter, LogLine, LogMatch, LogQuery } from "@millrace/eventlog/logs.ts";
import { LogQueryRefused } from "@millrace/eventlog/logs-failures.ts";
import type { Asked } from "../asked.ts";
import { invalidInput, json, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import { type Gateway, resolve } from "../gateway.ts";

export interface Query extends LogMatch {
  readonly since?: string;
  readonly until?: string;
  readonly source?: string;
  readonly instance?: string;
  readonly deployment?: string;
  readonly order?: LogQuery["order"];
  readonly limit?: number;
  readonly cursor?: string;
  readonly follow?: "true" | "false";
  readonly after?: string;
  readonly download?: "ndjson" | "text";
  readonly applications?: string;
}

/** An application, and of it perhaps one deployment. */
export interface Scope {
  readonly id: string;
  readonly group?: string | undefined;
  /** Of what kind it is; left out: an application. */
  readonly kind?: Kind<any, any>;
}

export type Scopes = (request: Request, asked: Asked) => Promise<ReadonlyArray<Scope>>;

export const filtersOf = (organisation: string, scopes: ReadonlyArray<Scope>, query: Query): LogFilter[] =>
  scopes.map(({ id, group, kind = application }) => ({
    organisation,
    context: kind.context,
    kind: kind.kind,
    id,
    ...(group === undefined ? {} : { group }),
    ...(query.source === undefined ? {} : { source: query.source }),
    ...(query.instance === undefined ? {} : { instance: query.instance }),
  }));

/** Id of what belongs to the organisation. @throws Failed (not-found) */
export async function own<S>(
  gateway: Gateway,
  kind: Kind<S>,
  organisation: string,
  reference: string,
): Promise<string> {
  const id = await resolve(gateway, kind, organisation, reference);
  const loaded = await gateway.log.aggregates.load(kind, id);
  const there = loaded.organisation === organisation && kind.exists(loaded.state);
  return there ? id : fail(new NotFound({ detail: `There is no such ${kind.kind}.` }));
}

const POINTERS = { of: "applications", after: "cursor" } as Readonly<Record<string, string>>;

export function refusedAsInput(error: unknown, at = "/query"): unknown {
  if (!(error instanceof LogQueryRefused)) return error;
  const pointer = `${at}/${POINTERS[error.field] ?? error.field}`;
  return invalidInput(pointer, error.reason, error.fix);
}

export const matchOf = ({ level, q, regex }: Query): LogMatch => ({
  ...(level === undefined ? {} : { level }),
  ...(q === undefined ? {} : { q }),
  ...(regex === undefined ? {} : { regex }),
});

export function rangeOf(query: Query): { since?: number; until?: number } {
  const { since, until } = query;
  return {
    ...(since === undefined ? {} : { since: Date.parse(since) }),
    ...(until === undefined ? {} : { until: Date.parse(until) }),
  };
}

/** As the world sees it. */
export const shown = (line: LogLine) => ({
  time: new Date(line.time).toISOString(),
  level: line.level,
  text: line.text,
  ...(line.from.kind === "build" ? { build: line.from.id } : { application: line.from.id }),
  source: line.from.source,
  ...(line.from.group === undefined ? {} : { deployment: line.from.group }),
  ...(line.from.instance === undefined ? {} : { instance: line.from.instance }),
  ...(line.stderr ? { stderr: true } : {}),
  ...(line.cut ? { cut: true } : {}),
  ...(line.gap ? { gap: true } : {}),
  position: line.position,
});

export async function readPage(gateway: Gateway, of: ReadonlyArray<LogFilter>, query: Query) {
  const page = await gateway.logs.read({
    of,
    ...matchOf(query),
    ...rangeOf(query),
    order: query.order ?? "newest",
    limit: query.limit ?? LOG_LIMITS.listDefault,
    ...(query.cursor === undefined ? {} : { after: query.cursor }),
  });
  return json({ items: page.lines.map(shown), ...(page.next === undefined ? {} : { nextCursor: page.next }) });
}
