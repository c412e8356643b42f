/** What the gateway knows of one request: made when its head has arrived, kept on Node's request object. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { EVERYTHING, type Powers, type Reach } from "@millrace/contracts/access.ts";
import type { Organisation } from "@millrace/domain/identity/organisation.ts";
import type { Token } from "@millrace/domain/identity/token.ts";
import { type ServerSpan, serverSpan } from "@millrace/eventlog/tracing.ts";
import type { HttpServerRequest } from "effect/http/HttpServerRequest";

export interface Asked {
  readonly requestId: string;
  readonly span: ServerSpan;
  /** Milliseconds, of the process's own clock. */
  readonly began: number;
  /** Where it comes from, as far as proxies that are trusted tell. */
  address: string;
  /** Of Node: for headers that every answer has. */
  response?: ServerResponse;
  /** Template of the path, for metrics; `unmatched` until a route has been found. */
  route: string;
  /** The body is a stream, taken as long as it flows. Else it must have come in time. */
  streams?: boolean;
  /** Set by authorisation, before any handler. */
  token?: Token;
  /** What the token may do at this moment. */
  powers?: Powers;
  /** The one in the path, where there is one. */
  organisation?: Organisation;
  /** What of the resources the endpoint's permission is held for: read it by `reachOf`. */
  reach?: Reach;
  /** A handler has asked for the reach: so it answers for that part alone. */
  isReachKnown?: boolean;
}

/** Which resources the caller may see: for handlers that answer about many. Without asking for it they only answer who may see all. */
export function reachOf(asked: Asked): Reach {
  asked.isReachKnown = true;
  return asked.reach ?? EVERYTHING;
}

/** Whether the caller holds a further permission, for the organisation or one resource of it. */
export const mayAlso = (asked: Asked, permission: string, ...lineage: string[]): boolean =>
  asked.powers!.allows(permission, asked.organisation?.id ?? asked.token!.organisation, lineage);

const ASKED = Symbol("asked");

/** A client's own request id is taken over when it is harmless in logs and headers. */
const SANE_ID = /^[A-Za-z0-9._:-]{1,128}$/;

export function beginAsked(request: IncomingMessage): Asked {
  const given = request.headers["x-request-id"];
  const requestId =
    typeof given === "string" && SANE_ID.test(given) ? given : `req_${randomBytes(10).toString("base64url")}`;
  const traceparent = request.headers.traceparent;
  const asked: Asked = {
    requestId,
    span: serverSpan({
      method: request.method ?? "GET",
      traceparent: typeof traceparent === "string" ? traceparent : undefined,
      requestId,
    }),
    began: performance.now(),
    route: "unmatched",
    address: "",
  };
  (request as unknown as Record<symbol, Asked>)[ASKED] = asked;
  return asked;
}

export const askedOfNode = (request: IncomingMessage): Asked => (request as unknown as Record<symbol, Asked>)[ASKED]!;

export const askedOf = (request: HttpServerRequest): Asked => askedOfNode(request.source as IncomingMessage);
