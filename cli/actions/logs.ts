/** `mill logs`: a stretch of the past, then what comes, taken up again where it was when the connection is lost. */
import { usage } from "../failure.ts";
import { followed } from "../follow.ts";
import { bodyOf, type Gateway, gatewayOf } from "../gateway.ts";
import { plain } from "../io.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT } from "../table.ts";
import type { Answer } from "../typed.ts";

type Line = Answer<"logsOfApplications">["items"][number];

export type Of<T extends "string" | "integer" | "boolean", K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};
/** What `mill logs` and `mill logs share` choose lines by. */
export type Choosing = Of<"string", "since" | "until" | "level" | "grep" | "regex" | "deployment" | "instance"> &
  Of<"boolean", "build">;
export interface Apps {
  readonly [name: string]: { readonly summary: string; readonly many: true };
  readonly apps: { readonly summary: string; readonly many: true };
}
type LogsCall = Call<Choosing & Of<"boolean", "follow"> & Of<"integer", "limit">, Apps>;

const LIMIT = 200;
const PAGE = 1_000;
export const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** RFC 3339, or how long ago. */
function timeOf(flag: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const ago = /^(\d{1,6})([smhd])$/.exec(text);
  if (ago !== null) return new Date(Date.now() - Number(ago[1]) * UNITS[ago[2]!]!).toISOString();
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw usage(`--${flag} ${text} is no time`, "Write 15m, 2h, or 2026-11-21T08:00:00Z");
  return new Date(time).toISOString();
}

type Query = Record<string, string>;

export interface Asked {
  readonly path: (org: string) => string;
  readonly query: Query;
}

export function asked({ args, flags }: Pick<Call<Choosing, Apps>, "args" | "flags">): Asked {
  const { apps } = args;
  if (apps.length === 0) throw usage("which applications?", "mill logs <application> …");
  if (apps.length > 1 && flags.deployment !== undefined) throw usage("--deployment takes one application");
  const query: Query = {};
  const named = {
    since: timeOf("since", flags.since),
    until: timeOf("until", flags.until),
    level: flags.level,
    q: flags.grep,
    regex: flags.regex,
    deployment: flags.deployment,
    instance: flags.instance,
    source: flags.build ? "build" : undefined,
    applications: apps.length > 1 ? apps.join(",") : undefined,
  };
  for (const [name, value] of Object.entries(named)) if (value !== undefined) query[name] = value;
  const rest = apps.length > 1 ? "logs" : `applications/${encodeURIComponent(apps[0]!)}/logs`;
  return { path: (org) => `/v1/organisations/${encodeURIComponent(org)}/${rest}`, query };
}

export const logsOfBuild =
  (build: string) =>
  (org: string): string =>
    `/v1/organisations/${encodeURIComponent(org)}/builds/${encodeURIComponent(build)}/logs`;

/** No application is called so: names begin with a letter. */
const BUILD = /^(\d{1,10}|bld_[0-9a-z]{26})$/;

export async function logs(call: LogsCall): Promise<number> {
  const { args, flags } = call;
  if (flags.follow && flags.until !== undefined) throw usage("--follow and --until exclude each other");
  const build = args.apps.find((each) => BUILD.test(each));
  if (build === undefined) return readLogs(call, asked(call), flags);
  if (args.apps.length > 1) throw usage("Lines of a build are shown by themselves", `mill logs ${build}`);
  const ofApps = (["deployment", "instance"] as const).find((flag) => flags[flag] !== undefined);
  if (ofApps !== undefined) throw usage(`--${ofApps} goes with applications`);
  return readLogs(call, { ...asked(call), path: logsOfBuild(build) }, flags);
}

/** Lines of whatever has some, at once or as they come. */
export async function readLogs(
  call: AnyCall,
  wanted: Asked,
  how: { readonly follow?: boolean | undefined; readonly limit?: number | undefined },
): Promise<number> {
  const gateway = gatewayOf(call);
  const isStretch = wanted.query.since !== undefined;
  if (!how.follow) {
    await past(gateway, call, wanted, how.limit ?? (isStretch ? 1_000_000 : LIMIT));
    return EXIT.ok;
  }
  // What was there at that moment comes first; of a stretch of time all of it.
  const begin: Query = isStretch ? {} : { limit: `${Math.min(PAGE, how.limit ?? LIMIT)}` };
  await follow(gateway, call, { ...wanted, query: { ...wanted.query, ...begin } });
  return EXIT.ok;
}

/** Of a stretch of time from its beginning; else the last so many lines. */
async function past(gateway: Gateway, call: AnyCall, wanted: Asked, limit: number): Promise<void> {
  const { path, query } = wanted;
  const forwards = query.since !== undefined;
  const base = path(await gateway.org());
  const held: Line[] = [];
  let cursor: string | undefined;
  for (let left = limit; left > 0; ) {
    const page: Query = { ...query, order: forwards ? "oldest" : "newest", limit: `${Math.min(PAGE, left)}` };
    if (cursor !== undefined) page.cursor = cursor;
    const answer = await gateway.raw({ method: "GET", path: `${base}?${new URLSearchParams(page)}` });
    const { items, nextCursor } = bodyOf(answer) as Answer<"logsOfApplications">;
    if (forwards) await print(call, wanted, items);
    else held.push(...items);
    left -= items.length;
    cursor = nextCursor;
    if (cursor === undefined) break;
  }
  await print(call, wanted, held.reverse());
}

/** Without end. @throws Failure when the gateway refuses, or when interrupted */
async function follow(gateway: Gateway, call: AnyCall, wanted: Asked): Promise<void> {
  const path = `${wanted.path(await gateway.org())}?${new URLSearchParams({ ...wanted.query, follow: "true" })}`;
  for await (const { event, data } of followed(gateway, call, () => path)) {
    const body = JSON.parse(data) as { items?: Line[]; detail?: string };
    if (event === "lines") await print(call, wanted, body.items ?? []);
    if (event === "gap") call.io.err(`${plain(body.detail ?? "lines are missing here")}\n`);
  }
}

const COLOURS: Readonly<Record<string, number>> = { warn: 33, error: 31, fatal: 31, debug: 2, trace: 2 };
const PRINTED_AT_ONCE = 500;

async function print(call: AnyCall, { query }: Asked, lines: ReadonlyArray<Line>): Promise<void> {
  const { format, colour } = styleOf(call);
  const several = query.applications !== undefined;
  const one = (line: Line): string => {
    if (format === "json" || format === "jsonl") return JSON.stringify(line);
    if (format === "name") return line.position;
    const from = [several ? line.application : undefined, line.source, line.instance]
      .filter((part) => part !== undefined)
      .join("/");
    // Whatever a program has written must not steer the terminal it is read in.
    const text = plain(line.text);
    const code = colour && line.level !== null ? COLOURS[line.level] : undefined;
    return `${line.time}  ${from}  ${code === undefined ? text : `\u001b[${code}m${text}\u001b[0m`}`;
  };
  for (let i = 0; i < lines.length; i += PRINTED_AT_ONCE) {
    const some = lines.slice(i, i + PRINTED_AT_ONCE);
    await call.io.out(`${some.map(one).join("\n")}\n`);
  }
}
