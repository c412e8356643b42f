/** What the gateway knows of one request: made when its head has arrived, kept on Node's request object. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Organisation } from "@millrace/domain/identity/organisation.ts";
import type { Token } from "@millrace/domain/identity/token.ts";
import { type ServerSpan, serverSpan } from "@millrace/eventlog/tracing.ts";
import type { HttpServerRequest } from "effect/http/HttpServerRequest";

export interface Asked {
  readonly requestId: string;
  readonly span: ServerSpan;
  /** Milliseconds, of the process's own clock. */
  readonly began: number;
  /** Template of the path, for metrics; `unmatched` until a route has been found. */
  route: string;
  /** Set by authorisation, before any handler. */
  token?: Token;
  /** The one in the path, where there is one. */
  organisation?: Organisation;
}

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
  };
  (request as unknown as Record<symbol, Asked>)[ASKED] = asked;
  return asked;
}

export const askedOfNode = (request: IncomingMessage): Asked => (request as unknown as Record<symbol, Asked>)[ASKED]!;

export const askedOf = (request: HttpServerRequest): Asked => askedOfNode(request.source as IncomingMessage);
