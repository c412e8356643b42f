/**
 * `GET /v1/organisations/{org}/events`: subscriptions over WebSocket and Server-Sent Events. Everything that can be said
 * against one is said as a problem before it begins.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Powers } from "@millrace/contracts/access.ts";
import { BEARER_PREFIX, CLOSE, type EventsQuery, readEventsQuery, SUBPROTOCOL } from "@millrace/contracts/feed.ts";
import { InvalidInput, type Problem, RateLimited, UnsupportedType } from "@millrace/contracts/problems.ts";
import { type WebSocket, WebSocketServer } from "ws";
import { type Access, admit, counted, tried } from "../access.ts";
import { askedOfNode } from "../asked.ts";
import { bodyOfProblem, problemOf, unavailable } from "../failures.ts";
import { refuseSocket, type Subscriptions } from "../front.ts";
import type { Gateway } from "../gateway.ts";
import type { Hub, Subscriber } from "../hub.ts";
import { type Sink, sseSink, webSocketSink } from "../hub-sinks.ts";
import { readable } from "./events-readable.ts";

export interface EventsOptions {
  readonly gateway: Pick<Gateway, "identity" | "uses" | "limits" | "log" | "postgres">;
  readonly hub: Hub;
  /** Subscriptions of one token at the most. */
  readonly perToken?: number;
  /** Subscriptions of this gateway at the most. */
  readonly inAll?: number;
}

/** A subscription that may begin. */
interface Admitted {
  readonly access: Access;
  readonly query: EventsQuery;
  readonly contexts: Subscriber["contexts"];
}

const PATH = /^\/v1\/organisations\/([^/?]+)\/events$/;
/** What a client says is refused, so there is room for a control frame only. */
const PAYLOAD_BYTES = 512;

export interface OpenSubscriptions extends Subscriptions {
  /** Subscriptions of this gateway at this moment. */
  readonly size: number;
}

export function openSubscriptions({ gateway, hub, perToken = 200, inAll = 12_000 }: EventsOptions): OpenSubscriptions {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: PAYLOAD_BYTES,
    perMessageDeflate: false,
    clientTracking: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });
  const open = new Map<string, number>();

  /** Takes one of the places of a token. @returns gives it back */
  const place = (token: string): (() => void) | Problem => {
    const taken = open.get(token) ?? 0;
    if (hub.size >= inAll)
      return unavailable("subscriptions", `This gateway serves ${inAll} subscriptions already.`, 10);
    if (taken >= perToken) {
      return new RateLimited({
        detail: `This token has ${perToken} subscriptions open.`,
        fix: "Close some; one subscription can cover many contexts, kinds and ids.",
        retryAfterSeconds: 10,
      });
    }
    open.set(token, taken + 1);
    return () => {
      const left = open.get(token)! - 1;
      if (left === 0) open.delete(token);
      else open.set(token, left);
    };
  };

  const begin = ({ access, query, contexts }: Admitted, sink: Sink, back: () => void) => {
    const { token, powers } = access;
    const subscription = hub.subscribe({
      organisation: access.organisation!.id,
      contexts,
      query,
      sink,
      ended: () => endOf(gateway, token.id, powers),
    });
    let gone = false;
    return () => {
      if (gone) return;
      gone = true;
      back();
      subscription.gone();
    };
  };

  return {
    get size() {
      return hub.size;
    },

    serve(request, response) {
      request.resume();
      const asked = askedOfNode(request);
      const serve = (wanted: Admitted | Problem) => {
        if (!("access" in wanted)) return answer(response, wanted, asked.requestId);
        if (response.destroyed) return;
        const back = place(wanted.access.token.id);
        if (typeof back !== "function") return answer(response, back, asked.requestId);
        response.writeHead(200, {
          "content-type": "text/event-stream",
          "cache-control": "no-store",
          "x-accel-buffering": "no",
        });
        response.on("error", () => {});
        response.on("close", begin(wanted, sseSink(response), back));
      };
      if (!acceptsEvents(request)) return serve(NOT_A_STREAM);
      admitted(gateway, hub, request, bearerOf(request))
        .then(serve)
        .catch(() => response.destroy());
    },

    upgrade(request, socket, head) {
      socket.on("error", () => {});
      const upgrade = (wanted: Admitted | Problem) => {
        if (!("access" in wanted)) return refuseSocket(socket, wanted);
        if (socket.destroyed) return;
        const back = place(wanted.access.token.id);
        if (typeof back !== "function") return refuseSocket(socket, back);
        // A handshake that is refused ends the socket and calls nobody.
        socket.once("close", back);
        server.handleUpgrade(request, socket, head, (webSocket) => {
          socket.off("close", back);
          const gone = begin(wanted, webSocketSink(webSocket), back);
          webSocket.on("close", gone);
          attend(webSocket, wanted.query.heartbeatMs);
        });
      };
      admitted(gateway, hub, request, bearerOf(request))
        .then(upgrade)
        .catch(() => socket.destroy());
    },
  };
}

/** Ends sockets whose other side says something, or says nothing to two pings. */
function attend(socket: WebSocket, everyMs: number): void {
  let silent = 0;
  const pings = setInterval(() => {
    // One that is full is the hub's to judge: our ping waits behind what it has not read.
    if (socket.bufferedAmount > 0) return;
    if (silent++ >= 2) socket.terminate();
    else socket.ping();
  }, everyMs);
  socket.on("pong", () => {
    silent = 0;
  });
  socket.on("message", () => socket.close(CLOSE.policy, "nothing is expected from the client"));
  socket.on("error", () => {});
  socket.on("close", () => clearInterval(pings));
}

async function admitted(
  gateway: EventsOptions["gateway"],
  hub: Hub,
  request: IncomingMessage,
  credential: string,
): Promise<Admitted | Problem> {
  const url = new URL(request.url ?? "/", "http://gateway");
  const organisation = decode(PATH.exec(url.pathname)?.[1] ?? "");
  const access = admit(gateway.identity, gateway.uses, credential, {
    permission: "authenticated",
    organisation,
    changes: false,
  });
  const { address, response } = askedOfNode(request);
  const by = { address, class: "read", response } as const;
  if (!("token" in access)) return tried(gateway.limits, access, by);
  const tooMuch = counted(gateway.limits, access.token.id, by);
  if (tooMuch !== undefined) return tooMuch;
  const lastEventId = request.headers["last-event-id"];
  const read = readEventsQuery(
    url.searchParams,
    hub.contexts,
    typeof lastEventId === "string" && lastEventId !== "" ? lastEventId : undefined,
  );
  if ("errors" in read) {
    const { errors } = read;
    return new InvalidInput({ detail: errors.map(({ pointer, detail }) => `${pointer} ${detail}`).join("; "), errors });
  }
  const contexts = await readable(gateway, access, hub.contexts, read.query).catch(problemThrown);
  if (!(contexts instanceof Map)) return contexts;
  const { trouble } = hub;
  if (trouble !== undefined) return unavailable("events", `Nobody can subscribe at this moment: ${trouble}.`);
  return { access, query: read.query, contexts };
}

/** Why a subscription must end now: asked before every event, of what identity has in memory. */
export function endOf({ identity }: Pick<Gateway, "identity">, id: string, powers: Powers) {
  const token = identity.token(id);
  if (token === undefined || token.revokedAt !== null)
    return { code: CLOSE.unauthenticated, reason: "the token was revoked" };
  if (token.expiresAt !== null && Date.parse(token.expiresAt) <= Date.now()) {
    return { code: CLOSE.unauthenticated, reason: "the token has expired" };
  }
  if (token.member !== null && identity.member(token.member) === undefined) {
    return { code: CLOSE.unauthenticated, reason: "the member whose token it is was removed" };
  }
  // By identity first: the same object says that nothing has happened.
  const now = identity.powersOf(token);
  if (now !== powers && now.text !== powers.text) {
    return { code: CLOSE.forbidden, reason: "what the token may read has changed; come back" };
  }
  return undefined;
}

const problemThrown = (error: unknown): Problem => {
  const problem = problemOf(error);
  if (problem === undefined) throw error;
  return problem;
};

/** From the header, or where headers cannot be set from the offered subprotocols; "" when there is none. */
function bearerOf(request: IncomingMessage): string {
  const header = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
  if (header !== undefined) return header;
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((text) => text.trim());
  return offered.find((text) => text.startsWith(BEARER_PREFIX))?.slice(BEARER_PREFIX.length) ?? "";
}

function acceptsEvents({ headers: { accept } }: IncomingMessage): boolean {
  return accept === undefined || /(^|,)\s*(text\/event-stream|text\/\*|\*\/\*)\s*(;|,|$)/i.test(accept);
}

const NOT_A_STREAM = new UnsupportedType({
  detail: "Events are sent as a stream.",
  fix: "Send `Accept: text/event-stream`, or upgrade to a WebSocket.",
});

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function answer(response: ServerResponse, problem: Problem, requestId: string): void {
  const retry = "retryAfterSeconds" in problem ? problem.retryAfterSeconds : undefined;
  response.writeHead(problem.status, {
    "content-type": "application/problem+json",
    ...(retry === undefined ? {} : { "retry-after": String(retry) }),
    ...(problem.status === 401 ? { "www-authenticate": 'Bearer realm="millrace"' } : {}),
  });
  response.end(bodyOfProblem(problem, requestId));
}
