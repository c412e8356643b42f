/**
 * Requests that a page of another site makes a browser send: nothing that changes something is taken from one. No credential here goes along by
 * itself, so this is a second wall behind the first.
 */
import type { IncomingMessage } from "node:http";
import { Forbidden } from "@millrace/contracts/problems.ts";

const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);

const FOREIGN = new Forbidden({
  detail: "The request comes from a page of another site.",
  fix: "Send it from a program, or from a page of this gateway's own; `MILLRACE_ORIGINS` names further ones.",
});

/** Whether a page at this origin is one of ours. */
function isOwn(origin: string, { headers: { host } }: IncomingMessage, allowed: ReadonlySet<string>): boolean {
  if (allowed.has(origin)) return true;
  return URL.canParse(origin) && host !== undefined && new URL(origin).host === host.toLowerCase();
}

/** @param upgrade it is a WebSocket, which browsers open to anywhere @returns why not, or undefined */
export function fromElsewhere(
  request: IncomingMessage,
  allowed: ReadonlySet<string>,
  upgrade = false,
): Forbidden | undefined {
  if (!upgrade && SAFE.has(request.method ?? "GET")) return undefined;
  const { origin } = request.headers;
  const site = request.headers["sec-fetch-site"];
  if (origin !== undefined && isOwn(origin, request, allowed)) return undefined;
  if (site !== undefined) return site === "same-origin" || site === "none" ? undefined : FOREIGN;
  return origin === undefined ? undefined : FOREIGN;
}
