/** Answers as flat-manager gives them: JSON, its errors in its own form, every success exactly 200 or 204. */
import type { ServerResponse } from "node:http";
import type { Problem } from "@millrace/contracts/problems.ts";
import { isRefusal, type Refusal } from "@millrace/domain/decider.ts";
import { problemOf, problemOfRefusal } from "../failures.ts";

export interface FlatError {
  readonly status: number;
  readonly "error-type": string;
  readonly message: string;
  readonly "current-state"?: string;
  readonly "expected-state"?: string;
}

/** Thrown by handlers. */
export class FlatRefused extends Error {
  readonly error: FlatError;
  readonly retryAfterSeconds: number | undefined;
  constructor(error: FlatError, retryAfterSeconds?: number) {
    super(error.message);
    this.error = error;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

const refused = (status: number, type: string, message: string, more: Partial<FlatError> = {}): FlatRefused =>
  new FlatRefused({ status, "error-type": type, message, ...more });

export const generic = (message: string, status = 400): FlatRefused => refused(status, "generic-error", message);
export const wrongRepoState = (message: string, current: string, expected: string): FlatRefused =>
  refused(400, "wrong-repo-state", message, { "current-state": current, "expected-state": expected });
export const wrongPublishedState = (message: string, current: string, expected: string): FlatRefused =>
  refused(400, "wrong-published-state", message, { "current-state": current, "expected-state": expected });
export const invalidToken = (message: string): FlatRefused => refused(401, "invalid-token", message);
export const insufficient = (message: string): FlatRefused =>
  refused(403, "token-insufficient", `Not enough permissions: ${message}`);
export const notFound = (): FlatRefused => refused(404, "not-found", "Not found");
export const wrongMethod = (): FlatRefused => refused(405, "generic-error", "Method not allowed");
/** Of a status that clients try again, as they do not for one below 500. */
export const away = (message: string, retryAfterSeconds = 1): FlatRefused =>
  new FlatRefused({ status: 503, "error-type": "unavailable", message }, retryAfterSeconds);

/** What its clients shall read of a problem of ours. */
export function refusedOf(problem: Problem): FlatRefused {
  const message = problem.detail ?? problem.title;
  switch (problem.status) {
    case 401:
      return invalidToken(message);
    case 403:
      return insufficient(message);
    case 404:
      return notFound();
    // Clients give up at what is below 500, and try this again.
    case 429:
    case 503:
      return away(message, "retryAfterSeconds" in problem ? (problem.retryAfterSeconds ?? 1) : 1);
    case 413:
      return generic(message, 413);
    default:
      return generic(message);
  }
}

/** @returns undefined for a defect */
export function refusedOfError(error: unknown): FlatRefused | undefined {
  if (error instanceof FlatRefused) return error;
  const problem = problemOf(error);
  return problem === undefined ? undefined : refusedOf(problem);
}

export const refuse = (refusal: Refusal): never => {
  throw refusedOf(problemOfRefusal(refusal));
};

/** @throws FlatRefused */
export function accepted<A extends object>(outcome: A | { readonly refusal: Refusal }): A {
  if ("refusal" in outcome && isRefusal(outcome.refusal)) return refuse(outcome.refusal);
  return outcome as A;
}

export interface Answer {
  readonly status?: 200 | 204;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export function sendJson(response: ServerResponse, { status = 200, body, headers = {} }: Answer): void {
  if (status === 204) {
    response.writeHead(204, headers);
    return void response.end();
  }
  const text = JSON.stringify(body);
  response.writeHead(status, {
    ...headers,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

export function sendRefused(response: ServerResponse, { error, retryAfterSeconds }: FlatRefused): void {
  if (response.headersSent) return void response.destroy();
  const text = JSON.stringify(error);
  response.writeHead(error.status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    ...(retryAfterSeconds === undefined ? {} : { "retry-after": `${retryAfterSeconds}` }),
    ...(error.status === 401 ? { "www-authenticate": "Bearer" } : {}),
  });
  response.end(text);
}

export const DEFECT = new FlatRefused({
  status: 500,
  "error-type": "internal-error",
  message: "Internal Server Error",
});
