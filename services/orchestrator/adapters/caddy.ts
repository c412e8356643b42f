/**
 * Caddy's whole configuration, rendered by one pure function and loaded only when it differs from what Caddy has. A load
 * closes connections, so all that a deployment changes is read from files at each request (routes.ts): what is served,
 * by which addresses, under which deployment's id, whether it is stopped. Only which hosts there are is configuration.
 */
import { type IncomingMessage, type RequestOptions, request } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { cancelled, type Failed, fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import {
  ACCESS_LOGS,
  NOT_LOGGED,
  type RepositoryServing,
  repositoriesRoute,
  repositoryLogs,
} from "./caddy-repositories.ts";
import { type AppDisk, appDisk, type NodeDisk } from "./disk.ts";
import { SLOTS } from "./routes.ts";

export interface AppRoute {
  readonly id: string;
  /** Lower case, without port. What is no host name is left out. */
  readonly hosts: readonly string[];
}

export interface CaddyNode {
  readonly disk: NodeDisk;
  /** `127.0.0.1:7480`: where applications are reached. */
  readonly listen: string;
  /** `unix//path` or `host:port`. */
  readonly admin: string;
  /** A folder for certificates. */
  readonly storage: string;
  /** off: HTTP only; internal: Caddy's own authority; auto: public certificates for hosts that are public names. */
  readonly tls: "off" | "internal" | "auto";
  /** Where HTTPS is served; without it there is none. */
  readonly listenTls?: string;
  /** The repositories of the node; left out: none are served. */
  readonly repositories?: RepositoryServing;
}

type Json = Readonly<Record<string, unknown>>;

/** The configuration that serves these applications: the same for the same applications, in whatever order. */
export function renderCaddy(apps: readonly AppRoute[], node: CaddyNode): Json {
  const sorted = apps
    .map(({ id, hosts }) => ({ id, hosts: [...new Set(hosts.filter(isHost))].sort() }))
    .filter(({ hosts }) => hosts.length > 0)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const { repositories } = node;
  const quiet = repositories === undefined ? [] : [NOT_LOGGED];
  const routes = [
    ...sorted.map(({ id, hosts }) => ({
      match: [{ host: hosts }],
      terminal: true,
      handle: [...quiet, appHandler(appDisk(node.disk, id))],
    })),
    ...(repositories === undefined ? [] : [repositoriesRoute(repositories)]),
    { handle: [...quiet, page(404, "No application is reachable under this name.\n")] },
  ];
  const server = (listen: string) => ({
    listen: [listen],
    read_header_timeout: "15s",
    idle_timeout: "2m",
    automatic_https: { disable: true },
    ...(repositories === undefined ? {} : { logs: ACCESS_LOGS }),
    routes,
  });
  const secured = sorted.flatMap(({ hosts }) => hosts).filter((host) => node.tls === "internal" || isPublic(host));
  const secure = node.tls !== "off" && node.listenTls !== undefined && secured.length > 0;
  return {
    admin: { listen: node.admin, config: { persist: true } },
    // Every request of the admin API would be a line otherwise.
    logging: {
      logs: {
        default: { level: "INFO", exclude: ["admin.api", "http.log.access"] },
        ...(repositories === undefined ? {} : repositoryLogs(repositories)),
      },
    },
    storage: { module: "file_system", root: node.storage },
    apps: {
      http: {
        // A load waits so long for requests that are under way.
        grace_period: "15s",
        http_port: portOf(node.listen),
        servers: {
          apps: server(node.listen),
          ...(secure ? { secure: { ...server(node.listenTls), tls_connection_policies: [{}] } } : {}),
        },
      },
      ...(secure ? certificates(secured, node.tls) : {}),
    },
  };
}

function certificates(hosts: readonly string[], tls: CaddyNode["tls"]): Json {
  const issuers = [{ module: tls === "internal" ? "internal" : "acme" }];
  return {
    tls: { certificates: { automate: hosts }, automation: { policies: [{ subjects: hosts, issuers }] } },
    // The machine's own list of trusted authorities is left alone.
    ...(tls === "internal" ? { pki: { certificate_authorities: { local: { install_trust: false } } } } : {}),
  };
}

/** Whether there is such a file in the application's folder; a folder when it ends in a slash. */
const there = (app: AppDisk, path: string): Json => ({ file: { root: app.root, try_files: [path] } });

function appHandler(app: AppDisk): Json {
  // Read before what is served is read: an answer never claims a newer deployment than the one it comes from.
  const deployment = { "X-Millrace-Deployment": [`{file.${app.route}/deployment}`] };
  return subroute([
    { match: [there(app, "stopped")], handle: [away("This application is stopped.\n")], terminal: true },
    {
      match: [{ not: [there(app, "route/deployment")] }],
      handle: [away("This application has not been deployed yet.\n")],
      terminal: true,
    },
    { handle: [{ handler: "headers", response: { set: deployment } }] },
    { match: [there(app, "route/site/")], handle: [siteHandler(app)], terminal: true },
    { handle: [proxyHandler(app)] },
  ]);
}

function proxyHandler(app: AppDisk): Json {
  return {
    handler: "reverse_proxy",
    upstreams: Array.from({ length: SLOTS }, (_, slot) => ({ dial: `{file.${app.route}/${slot}}` })),
    load_balancing: {
      selection_policy: { policy: "round_robin" },
      retries: 3,
      try_duration: "2s",
      try_interval: "30ms",
    },
    // The application cannot claim to be another deployment.
    headers: { response: { delete: ["X-Millrace-Deployment"] } },
    // WebSockets of all applications live on when hosts of one change.
    stream_close_delay: "1h",
    transport: { protocol: "http", dial_timeout: "3s" },
  };
}

function siteHandler(app: AppDisk): Json {
  const root = `${app.route}/site`;
  const files = {
    handler: "file_server",
    root,
    index_names: [`{file.${app.route}/index}`],
    precompressed: { br: {}, gzip: {} },
    precompressed_order: ["br", "gzip"],
  };
  const found = (...paths: string[]) => ({ file: { root, try_files: paths } });
  const rewrite = { handler: "rewrite", uri: "{http.matchers.file.relative}" };
  const path = "{http.request.uri.path}";
  const cacheControl = (value: string) => ({ set: { "Cache-Control": [value] } });
  const immutable = {
    handler: "headers",
    response: { deferred: true, require: { status_code: [200, 206, 304] }, ...cacheControl(forGood) },
  };
  const routes = [
    {
      match: [{ path_regexp: { pattern: "/\\." }, not: [{ path: ["/.well-known/*"] }] }],
      handle: [{ handler: "error", status_code: 404 }],
      terminal: true,
    },
    { handle: [{ handler: "headers", response: cacheControl("no-cache") }] },
    { match: [{ path_regexp: { pattern: fingerprinted } }], handle: [immutable] },
    { match: [found(path, `${path}/`, `{file.${app.route}/fallback}`)], handle: [rewrite] },
    { handle: [{ handler: "encode", encodings: { gzip: {}, zstd: {} }, prefer: ["zstd", "gzip"] }, files] },
  ];
  const errors = [
    {
      match: [{ vars: { "{http.error.status_code}": ["404"] }, ...found(`{file.${app.route}/missing}`) }],
      handle: [rewrite, { ...files, status_code: "404" }],
      terminal: true,
    },
    { handle: [page("{http.error.status_code}", "{http.error.status_code} {http.error.status_text}\n")] },
  ];
  return { ...subroute(routes), errors: { routes: errors } };
}

/** Names that are never used for another content: with a hash in them, or in the folders of known builders. */
const fingerprinted =
  "(^/(_next/static|_app/immutable)/|[.-][0-9a-f]{8,}\\.(js|mjs|css|map|woff2?|png|jpe?g|gif|svg|webp|avif|ico|wasm)$)";
const forGood = "public, max-age=31536000, immutable";

const subroute = (routes: readonly Json[]): Json => ({ handler: "subroute", routes });

function page(status: number | string, body: string, headers: Readonly<Record<string, string[]>> = {}): Json {
  const type = { "Content-Type": ["text/plain; charset=utf-8"], "Cache-Control": ["no-store"] };
  return { handler: "static_response", status_code: status, headers: { ...type, ...headers }, body };
}

const away = (body: string): Json => page(503, body, { "Retry-After": ["5"] });

const isHost = (host: string): boolean =>
  host.length <= 253 && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/.test(host);

/** Whether a public authority could certify it. */
const isPublic = (host: string): boolean =>
  host.includes(".") &&
  !/^[\d.]+$/.test(host) &&
  !/\.(localhost|local|lan|internal|test|example|invalid|home\.arpa)$/.test(host);

const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(":") + 1));

/**
 * Makes Caddy run this configuration; nothing is loaded when it does already. Several may do this at once: each compares
 * with what Caddy has at that moment.
 * @param admin `unix//path` or `host:port`
 */
export async function loadCaddy(
  admin: string,
  config: Json,
  options: { readonly signal?: AbortSignal; readonly timeoutMs?: number } = {},
): Promise<Outcome<{ readonly changed: boolean }>> {
  const { signal, timeoutMs = 30_000 } = options;
  const limit = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]);
  const body = JSON.stringify(config);
  let last = "";
  for (let tries = 0; tries < 5; tries++) {
    try {
      const now = await ask(admin, { method: "GET" }, "", limit);
      if (now.status !== 200) return unexpected(now);
      if (isDeepStrictEqual(JSON.parse(now.body), JSON.parse(body))) return { changed: tries > 0 };
      const headers = { "content-type": "application/json", "if-match": now.etag };
      const loaded = await ask(admin, { method: "POST", headers }, body, limit);
      if (loaded.status === 200) return { changed: true };
      if (loaded.status !== 412) return unexpected(loaded);
      last = "others kept changing its configuration";
    } catch (error) {
      if (signal?.aborted) return cancelled("Loading the configuration");
      if (limit.aborted) {
        const fix = "Look at Caddy's log; it is tried again.";
        return fail("timeout", "CADDY_TIMEOUT", `Caddy did not take its configuration within ${timeoutMs} ms.`, fix);
      }
      last = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
      if (last === "ECONNREFUSED" || last === "ENOENT") break;
    }
  }
  const fix = "Start Caddy (mill up does), or see with mill doctor what it lacks; it is tried again.";
  return fail("transient", "CADDY_AWAY", `Caddy does not answer at ${admin}: ${last}.`, fix);
}

function unexpected({ status, body }: Answer): Failed {
  const fix =
    "Look at Caddy's log: this is a fault of the configuration or another version of Caddy (2.8 or later is needed).";
  const said = body.slice(0, 500).trim();
  return fail(status >= 500 ? "transient" : "permanent", "CADDY_REFUSED", `Caddy answered ${status}: ${said}`, fix);
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly etag: string;
}

const answerBytes = 64 * 1024 * 1024;

/** By node:http: with fetch, Caddy takes the request for one of a browser and answers 403. */
function ask(admin: string, options: RequestOptions, body: string, signal: AbortSignal): Promise<Answer> {
  const unix = /^unix\/(.*?)(\|\d+)?$/.exec(admin)?.[1];
  const place = unix === undefined ? { host: hostOf(admin), port: portOf(admin) } : { socketPath: unix };
  const headers = { host: unix === undefined ? admin : "127.0.0.1", ...options.headers };
  return new Promise((resolve, reject) => {
    const sent = request({ ...place, ...options, headers, path: "/config/", signal, agent: false }, (answer) => {
      readBody(answer).then(
        (text) => resolve({ status: answer.statusCode ?? 0, body: text, etag: answer.headers.etag ?? "" }),
        reject,
      );
    });
    sent.once("error", reject);
    sent.end(body);
  });
}

const hostOf = (address: string): string => address.slice(0, address.lastIndexOf(":")).replace(/^\[(.*)\]$/, "$1");

async function readBody(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > answerBytes) throw new Error("its answer is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
