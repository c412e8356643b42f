/**
 * How Caddy serves the repositories of its node, at `/repo/<name or id>/…` below every host that is no application's. Which there are, which
 * are private, what they hold: all of that it reads from the disk at each request, so that nothing is loaded anew when one comes or goes.
 *
 * - Content named by its checksum is kept by caches for ever, deltas for a day (they are retired), all else is asked for anew by its tag.
 * - A private one is asked for at the gateway first, by whatever credentials came; the gateway answers which repository it is, so that what
 *   was allowed is what is served.
 * - Nothing is packed here: what is large is packed already, and its length is part of the contract.
 */
import { ACCESS_HEADER, ACCESS_PATH, type ServedPlaces } from "@millrace/eventlog/served.ts";

type Json = Readonly<Record<string, unknown>>;

export interface RepositoryServing {
  readonly places: ServedPlaces;
  /** `host:port` of the gateway; undefined: private repositories are not served. */
  readonly gateway: string | undefined;
}

/** Name of the access log; only pulls of repositories are written into it. */
const LOGGER = "repositories";
export const NOT_LOGGED: Json = { handler: "vars", log_skip: true };

/**
 * Loose on purpose: what is served has to be there, under names that the publisher made; and counted repetitions cost Go's engine most of a
 * request (measured).
 */
const PREFIX = "^/repo/([a-z0-9_-]+)(?:@([a-z0-9-]+))?";
const ROOT = "{http.vars.root}";

const subroute = (routes: readonly Json[]): Json => ({ handler: "subroute", routes });
const page = (status: number | string, body: string, headers: Readonly<Record<string, string[]>> = {}): Json => ({
  handler: "static_response",
  status_code: status,
  headers: { "Content-Type": ["text/plain; charset=utf-8"], "Cache-Control": ["no-store"], ...headers },
  body,
});

/** For how long a class of paths may be kept without asking. */
const SCOPE = "{http.vars.scope}";
const FOR_GOOD = `${SCOPE}, max-age=31536000, immutable`;
const A_DAY = `${SCOPE}, max-age=86400`;
const ASKED = "no-cache";

interface PathClass {
  /** Of which addresses; default: of the repository and its snapshots. */
  readonly of?: string;
  /** After the repository's name. Its groups are `{http.regexp.path.1}` and so on, one later. */
  readonly pattern: string;
  /** Where it may lie, below the repository's folder. */
  readonly files: readonly string[];
  readonly cache: string;
  readonly type?: string;
  /** Without it: by time and size. */
  readonly tag?: string;
}

const BINARY = "application/octet-stream";
/** The name is the first group, the snapshot the second, or empty. */
const part = (group: number): string => `{http.regexp.path.${group + 2}}`;

const SUMMARY = "/(summaries/[0-9a-f]+\\.idx\\.sig|summary(?:\\.idx)?(?:\\.sig)?)";

/** First that matches. */
const CLASSES: readonly PathClass[] = [
  {
    pattern: "/objects/([0-9a-f]+)/([0-9a-f]+)\\.(filez|dirtree|dirmeta|commit)",
    files: [
      `/repo/objects/${part(1)}/${part(2)}.${part(3)}`,
      `/repo/.millrace/quarantine/${part(1)}/${part(2)}.${part(3)}`,
    ],
    cache: FOR_GOOD,
    type: BINARY,
    tag: `"${part(1)}${part(2)}.${part(3)}"`,
  },
  {
    // Signatures: another key may sign later.
    pattern: "/objects/([0-9a-f]+)/([0-9a-f]+\\.commitmeta)",
    files: [`/repo/objects/${part(1)}/${part(2)}`, `/repo/.millrace/quarantine/${part(1)}/${part(2)}`],
    cache: ASKED,
    type: BINARY,
  },
  {
    pattern: "/deltas/([A-Za-z0-9+_]+)/([A-Za-z0-9+_-]+)/(superblock|[0-9]+)",
    files: [`/repo/deltas/${part(1)}/${part(2)}/${part(3)}`, `/repo/.millrace/deltas/${part(1)}/${part(2)}/${part(3)}`],
    cache: A_DAY,
    type: BINARY,
  },
  {
    pattern: "/(delta-indexes/[A-Za-z0-9+_]+/[A-Za-z0-9+_]+\\.index)",
    files: [`/repo/${part(1)}`],
    cache: ASKED,
    type: BINARY,
  },
  {
    pattern: "/(summaries/[0-9a-f-]+\\.(?:gz|delta))",
    files: [snapshotFile(1), `/repo/${part(1)}`],
    cache: FOR_GOOD,
    type: BINARY,
  },
  {
    pattern: SUMMARY,
    files: [snapshotFile(1)],
    cache: ASKED,
    type: BINARY,
  },
  {
    // What is there now is no snapshot: one that is gone is not found.
    of: "^/repo/([a-z0-9_-]+)()",
    pattern: SUMMARY,
    files: [`/repo/${part(1)}`],
    cache: ASKED,
    type: BINARY,
  },
  {
    pattern: "/(config|refs/heads/(?:app|runtime|appstream2?)/[A-Za-z0-9._/-]+)",
    files: [`/repo/${part(1)}`],
    cache: ASKED,
    type: BINARY,
  },
  {
    pattern: "/(appstream2?/[a-z0-9_-]+/(?:appstream\\.xml(?:\\.gz)?|icons/[0-9]+x[0-9]+/[A-Za-z0-9._-]+\\.png))",
    files: [`/web/${part(1)}`],
    cache: ASKED,
  },
  {
    pattern: "/(?:appstream/)?([A-Za-z0-9._-]+\\.flatpakref)",
    files: [`/web/${part(1)}`],
    cache: ASKED,
    type: "application/vnd.flatpak.ref",
  },
  {
    pattern: "/([A-Za-z0-9._-]+\\.flatpakrepo)",
    files: [snapshotFile(1), `/web/${part(1)}`],
    cache: ASKED,
    type: "application/vnd.flatpak.repo",
  },
  { pattern: "/(key\\.gpg)", files: [`/web/${part(1)}`], cache: ASKED, type: "application/pgp-keys" },
  { pattern: "/(key\\.asc)", files: [`/web/${part(1)}`], cache: ASKED, type: "application/pgp-keys" },
  { pattern: "/(?:index\\.html)?", files: ["/web/index.html"], cache: ASKED, type: "text/html; charset=utf-8" },
];

/** Of a snapshot; for none it is a folder that is not there. */
function snapshotFile(group: number): string {
  return `/snapshots/{http.regexp.path.2}/${part(group)}`;
}

function classRoute({ of = PREFIX, pattern, files, cache, type, tag }: PathClass): Json {
  const set = {
    "Cache-Control": [cache],
    "X-Content-Type-Options": ["nosniff"],
    ...(type === undefined ? {} : { "Content-Type": [type] }),
    ...(tag === undefined ? {} : { Etag: [tag] }),
  };
  // One inside the other: matchers beside each other are looked at in no order.
  return {
    match: [{ path_regexp: { name: "path", pattern: `${of}${pattern}$` } }],
    handle: [
      subroute([
        {
          match: [{ file: { root: ROOT, try_files: files } }],
          handle: [
            { handler: "headers", response: { set } },
            { handler: "rewrite", uri: "{http.matchers.file.relative}" },
            { handler: "file_server", root: ROOT },
          ],
          terminal: true,
        },
      ]),
    ],
  };
}

const NOT_THERE = page(404, "There is no such file in this repository.\n");

/** Only what is asked for once in each pull is worth a line. */
const COUNTED: Json = {
  match: [{ not: [{ path: ["*/delta-indexes/*"] }] }],
  handle: [NOT_LOGGED],
};

const files = (): Json =>
  subroute([
    ...CLASSES.map((each) => classRoute(each)),
    {
      match: [{ path: ["*/delta-indexes/*"] }],
      handle: [page(404, "There is no delta to this commit.\n", { "Cache-Control": ["no-cache"] })],
      terminal: true,
    },
    { handle: [NOT_THERE] },
  ]);

/** In front of the files of a private one. What the gateway says no to is answered as it says. */
const asking = (gateway: string): Json => ({
  handler: "reverse_proxy",
  upstreams: [{ dial: gateway }],
  rewrite: { method: "GET", uri: ACCESS_PATH },
  headers: {
    request: {
      set: { "X-Forwarded-Method": ["{http.request.method}"], "X-Forwarded-Uri": ["{http.request.uri}"] },
      delete: ["Range", "If-None-Match", "If-Modified-Since", "If-Range", "Accept-Encoding"],
    },
  },
  transport: { protocol: "http", dial_timeout: "3s", response_header_timeout: "10s" },
  handle_response: [
    {
      match: { status_code: [2] },
      routes: [
        {
          handle: [
            {
              handler: "vars",
              scope: "private",
              root: `{http.vars.private}/{http.reverse_proxy.header.${ACCESS_HEADER}}`,
            },
            { handler: "log_append", key: "repository", value: `{http.reverse_proxy.header.${ACCESS_HEADER}}` },
            files(),
          ],
        },
      ],
    },
  ],
});

/** A segment of the path, by its number, before it is rewritten and after: names stand at the same places in both. */
const segment = (number: number): string => `{http.request.uri.path.${number}}`;

/**
 * Objects are nearly all that is asked for: no pattern, one look at the disk, no line. What is not there (in quarantine, private) goes on to
 * the routes behind as it came. Whatever the segments are, what is read lies below the folder of public links: Caddy sees to that.
 */
function publicObjects(places: ServedPlaces): Json {
  const headers = {
    "Cache-Control": [FOR_GOOD.replace(SCOPE, "public")],
    "Content-Type": [BINARY],
    "X-Content-Type-Options": ["nosniff"],
    Etag: [`"${segment(3)}${segment(4)}"`],
  };
  return {
    match: [
      {
        method: ["GET", "HEAD"],
        path: ["filez", "dirtree", "dirmeta", "commit"].map((type) => `/repo/*/objects/*/*.${type}`),
      },
    ],
    handle: [
      NOT_LOGGED,
      { handler: "rewrite", uri: `/${segment(1)}/repo/objects/${segment(3)}/${segment(4)}` },
      { handler: "headers", response: { set: headers } },
      { handler: "file_server", root: places.public, pass_thru: true },
      { handler: "headers", response: { delete: Object.keys(headers) } },
      { handler: "rewrite", uri: "{http.request.orig_uri}" },
    ],
  };
}

/** The route that stands behind those of applications' hosts. */
export function repositoriesRoute({ places, gateway }: RepositoryServing): Json {
  const isPublic = { file: { root: places.public, try_files: ["/{http.regexp.repository.1}/repo/config"] } };
  const none = { handle: [page(404, "There is no such repository.\n")] };
  const named = [
    {
      match: [{ path_regexp: { name: "bare", pattern: `${PREFIX}$` } }],
      handle: [page(308, "", { Location: ["{http.request.uri.path}/"] })],
      terminal: true,
    },
    {
      match: [isPublic],
      handle: [{ handler: "vars", scope: "public", root: `${places.public}/{http.regexp.repository.1}` }, files()],
      terminal: true,
    },
    gateway === undefined ? none : { handle: [{ handler: "vars", private: places.private }, asking(gateway)] },
  ];
  const routes = [
    publicObjects(places),
    COUNTED,
    {
      match: [{ not: [{ method: ["GET", "HEAD"] }] }],
      handle: [page(405, "Repositories are only read here.\n", { Allow: ["GET, HEAD"] })],
      terminal: true,
    },
    {
      match: [{ path_regexp: { name: "repository", pattern: `${PREFIX}(/|$)` } }],
      handle: [subroute(named)],
      terminal: true,
    },
    none,
  ];
  const errors = [
    {
      match: [{ vars: { "{http.error.status_code}": ["502", "504"] } }],
      handle: [page(503, "Whether this is allowed cannot be told at this moment.\n", { "Retry-After": ["5"] })],
      terminal: true,
    },
    { handle: [page("{http.error.status_code}", "{http.error.status_code} {http.error.status_text}\n")] },
  ];
  return {
    match: [{ path: ["/repo/*"] }],
    terminal: true,
    handle: [{ ...subroute(routes), errors: { routes: errors } }],
  };
}

/** Of the server. */
export const ACCESS_LOGS: Json = { default_logger_name: LOGGER };

/** The loggers: who is not told apart writes into Caddy's own log, and addresses of people are not written down. */
export const repositoryLogs = ({ places }: RepositoryServing): Json => ({
  [LOGGER]: {
    level: "INFO",
    include: [`http.log.access.${LOGGER}`],
    writer: {
      output: "file",
      filename: places.accessLog,
      roll: true,
      roll_size_mb: 16,
      roll_keep: 10,
      roll_gzip: false,
    },
    encoder: {
      format: "filter",
      wrap: { format: "json" },
      fields: {
        "request>remote_ip": { filter: "delete" },
        "request>remote_port": { filter: "delete" },
        "request>client_ip": { filter: "delete" },
        "request>headers>Authorization": { filter: "delete" },
        "request>headers>Cookie": { filter: "delete" },
        "request>headers>X-Forwarded-For": { filter: "delete" },
        resp_headers: { filter: "delete" },
      },
    },
  },
});
