/**
 * Node's HTTP server before everything: limits and time-outs of connections, headers that every answer has, health, documents
 * and subscriptions; the rest goes to the API. What cannot even be read as a request is answered here, too.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { InvalidInput, NotFound, type Problem, TooLarge, Unavailable } from "@millrace/contracts/problems.ts";
import type { Health } from "@millrace/eventlog/health.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { ACCESS_PATH } from "@millrace/eventlog/served.ts";
import { metrics } from "@millrace/eventlog/telemetry.ts";
import { type Asked, askedOfNode, beginAsked } from "./asked.ts";
import type { Documents } from "./documents.ts";
import { bodyOfProblem } from "./failures.ts";
import type { Limits } from "./limits.ts";
import { fromElsewhere } from "./same-site.ts";

/** Subscriptions by WebSocket and server-sent events. */
export interface Subscriptions {
  /** `GET /v1/organisations/{org}/events`, not upgraded. */
  serve(request: IncomingMessage, response: ServerResponse, asked: Asked): void;
  /** The same path with `Upgrade: websocket`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** What takes requests by paths of its own, before the API. @returns whether it has taken this one */
export type Taking = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface FrontParts {
  readonly health: Health;
  readonly documents: Documents;
  readonly subscriptions: Subscriptions | undefined;
  /** The API of flat-manager. */
  readonly flatManager?: Taking;
  readonly logger: Logger;
  readonly limits: Limits;
  /** Most that are open at once. */
  readonly connections: number;
  /** Asked by Caddy before files of private repositories. */
  readonly access: { serve(request: IncomingMessage, response: ServerResponse, asked: Asked): void };
  /** Origins of pages, beside its own, that may change things. */
  readonly origins: ReadonlySet<string>;
  /** The API. */
  readonly api: (request: IncomingMessage, response: ServerResponse) => void;
}

/** Nothing that is answered here belongs into a frame, a cache, another window, or another type than said. */
const HEADERS = {
  "x-content-type-options": "nosniff",
  "content-security-policy":
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
  "cache-control": "no-store",
} as const;
const FULL = new Unavailable({
  what: "the gateway",
  detail: "The gateway holds as many connections as it may.",
  fix: "Try again in a moment, use another gateway, or raise MILLRACE_LIMIT_CONNECTIONS.",
  retryAfterSeconds: 5,
});
const HEADER_LIST = Object.entries(HEADERS);
/** A year; only said where it came by TLS. */
const HSTS = "max-age=31536000; includeSubDomains";

const HEALTH = new Set(["/livez", "/readyz", "/startupz", "/metrics"]);
const EVENTS = /^\/v1\/organisations\/[^/?]+\/events$/;

export function openFront(parts: FrontParts): Server {
  const server = createServer({
    headersTimeout: 10_000,
    // Below, because streams take as long as they flow.
    requestTimeout: 0,
    keepAliveTimeout: 60_000,
    connectionsCheckingInterval: 2_000,
    maxHeaderSize: 16_384,
    // Said below, as a problem.
    requireHostHeader: false,
    // What else a client would like to speak (h2c, say) may be passed over: it is answered as it is.
    shouldUpgradeCallback: ({ headers }) => /(^|,)\s*websocket\s*(,|$)/i.test(headers.upgrade ?? ""),
  });
  const refused = new WeakSet<Duplex>();
  let connections = 0;
  server.on("connection", (socket) => {
    socket.once("close", () => connections--);
    if (++connections <= parts.connections) return;
    refused.add(socket);
    refuseSocket(socket, FULL);
  });
  const latest = new WeakMap<Duplex, readonly [IncomingMessage, ServerResponse]>();
  // An expectation that is not known may be passed over; Node's own answer is no problem.
  server.on("checkExpectation", (request, response) => server.emit("request", request, response));
  server.on("connect", (_, socket) => refuseSocket(socket, new NotFound({ detail: "This is no proxy." })));
  server.on("request", (request, response) => {
    // What was sent right behind a request that ended the connection is not done, either.
    if (refused.has(request.socket)) return;
    if (request.headers.host === undefined && request.httpVersion !== "1.0") {
      refused.add(request.socket);
      return refuseSocket(request.socket, NO_HOST);
    }
    latest.set(request.socket, [request, response]);
    for (const [name, value] of HEADER_LIST) response.setHeader(name, value);
    if (parts.limits.isSecure(request)) response.setHeader("strict-transport-security", HSTS);
    const url = request.url ?? "/";
    const at = url.indexOf("?");
    const path = at < 0 ? url : url.slice(0, at);
    if (HEALTH.has(path)) return answerHealth(parts, path, url.slice(path.length + 1), request, response);
    const asked = beginAsked(request);
    response.setHeader("x-request-id", asked.requestId);
    asked.address = parts.limits.addressOf(request);
    asked.response = response;
    const foreign = fromElsewhere(request, parts.origins);
    response.on("close", () => measure(request, response, asked));
    if (hasBody(request)) limitBody(request, response, asked);
    if (foreign !== undefined) return answerPlainly(request, response, foreign, asked);
    if (parts.subscriptions !== undefined && request.method === "GET" && EVENTS.test(path)) {
      asked.route = "/v1/organisations/{org}/events";
      return parts.subscriptions.serve(request, response, asked);
    }
    if (path === ACCESS_PATH) return parts.access.serve(request, response, asked);
    if (parts.flatManager?.(request, response) === true) return;
    const document = request.method === "GET" || request.method === "HEAD" ? parts.documents.find(path) : undefined;
    if (document === undefined) return parts.api(request, response);
    asked.route = document.route;
    response.writeHead(200, { "content-type": document.type, ...document.headers });
    response.end(request.method === "HEAD" ? undefined : document.body);
  });
  server.on("upgrade", (request, socket, head) => {
    if (refused.has(socket)) return void socket.destroy();
    const path = (request.url ?? "").split("?", 1)[0]!;
    const foreign = fromElsewhere(request, parts.origins, true);
    if (foreign !== undefined) return refuseSocket(socket, foreign);
    if (parts.subscriptions !== undefined && EVENTS.test(path)) {
      beginAsked(request).address = parts.limits.addressOf(request);
      parts.subscriptions.upgrade(request, socket, head);
    } else refuseSocket(socket, new NotFound({ detail: "Nothing here can be upgraded." }));
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const [request, response] = latest.get(socket) ?? [];
    // Answered before its body turned out to be broken: a second answer would be taken for that of the next request.
    const answered = request?.complete === false && response?.headersSent === true;
    refuseSocket(socket, answered ? undefined : problemOfParser(error));
  });
  return server;
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  (headers["content-length"] ?? "0") !== "0" || headers["transfer-encoding"] !== undefined;

/** A body that has not come whole in time ends its connection, unless it is a stream. */
function limitBody(request: IncomingMessage, response: ServerResponse, asked: Asked): void {
  const timer = setTimeout(() => {
    if (request.complete || asked.streams === true) return;
    if (response.headersSent) request.socket.destroy();
    else refuseSocket(request.socket, TOO_SLOW);
  }, BODY_MS);
  timer.unref();
  const stop = () => clearTimeout(timer);
  request.once("end", stop);
  request.once("close", stop);
}

const BODY_MS = 30_000;
const TOO_SLOW = new InvalidInput({
  detail: "The request did not arrive in time.",
  fix: "Send it without pauses.",
});

function measure(request: IncomingMessage, response: ServerResponse, { route, began, span }: Asked): void {
  const method = request.method ?? "GET";
  // Methods and routes are few; what a client makes up is not a label.
  const known = METHODS.has(method) ? method : "other";
  const status = response.writableFinished ? response.statusCode : 499;
  meterOf(known, route, status)((performance.now() - began) / 1_000);
  span.end({ status, route });
}

const meters = new Map<string, (seconds: number) => void>();

/** Labels resolved once: there are as many as methods, routes and codes. */
function meterOf(method: string, route: string, status: number): (seconds: number) => void {
  const key = `${method} ${route} ${status}`;
  let meter = meters.get(key);
  if (meter === undefined) {
    const requests = metrics.httpRequests.labels({ method, route, status });
    const duration = metrics.httpDuration.labels({ method, route });
    meter = (seconds) => {
      requests.inc();
      duration.observe(seconds);
    };
    meters.set(key, meter);
  }
  return meter;
}

/** Answers what is said against a request before anything looks at it. */
function answerPlainly(request: IncomingMessage, response: ServerResponse, problem: Problem, asked: Asked): void {
  asked.route = "refused";
  // What it still sends is not read.
  const connection = hasBody(request) ? { connection: "close" } : {};
  response.writeHead(problem.status, { "content-type": "application/problem+json", ...connection });
  response.end(bodyOfProblem(problem, asked.requestId));
}

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

function answerHealth(
  parts: FrontParts,
  path: string,
  query: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  request.resume();
  parts.health.answer(path, new URLSearchParams(query)).then(
    (answer) => {
      response.writeHead(answer!.status, answer!.headers);
      response.end(request.method === "HEAD" ? undefined : answer!.body);
    },
    (error: unknown) => {
      parts.logger.error({ err: error }, "health could not be told");
      response.writeHead(503, { "content-type": "text/plain" });
      response.end("not ready\n");
    },
  );
}

const NO_HOST = new InvalidInput({
  detail: "The request does not say which host it is for.",
  errors: [{ pointer: "/headers/host", detail: "is missing" }],
  fix: "Send a Host header.",
});

/** What Node's parser gave up on. Undefined: the connection broke, nobody is there to be answered. */
function problemOfParser({ code }: NodeJS.ErrnoException): Problem | undefined {
  if (code === "ECONNRESET" || code === "EPIPE") return undefined;
  if (code === "HPE_HEADER_OVERFLOW") {
    return new TooLarge({
      detail: "The head of the request is too large.",
      fix: "Send shorter headers and addresses.",
    });
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return TOO_SLOW;
  return new InvalidInput({ detail: "This is not HTTP/1.1 as the standard has it." });
}

/** Answers on a bare socket and ends it. */
export function refuseSocket(socket: Duplex, problem: Problem | undefined): void {
  if (problem === undefined || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = bodyOfProblem(problem, "");
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    "Content-Type: application/problem+json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
    ...(problem.status === 401 ? ['WWW-Authenticate: Bearer realm="millrace"'] : []),
    ...("retryAfterSeconds" in problem ? [`Retry-After: ${problem.retryAfterSeconds ?? 1}`] : []),
    ...HEADER_LIST.map(([name, value]) => `${name}: ${value}`),
  ].join("\r\n");
  socket.on("error", () => {});
  socket.end(`${head}\r\n\r\n${body}`, () => socket.destroy());
}

export { askedOfNode };
