/** From what went wrong to the problem that the client reads: one place for all of it. */
import {
  Conflict,
  InvalidInput,
  NotFound,
  PROBLEMS,
  PreconditionFailed,
  type Problem,
  Refused,
  TooLarge,
  Unavailable,
} from "@millrace/contracts/problems.ts";
import type { Refusal } from "@millrace/domain/decider.ts";
import { AskRefused, AskUnavailable } from "@millrace/eventlog/asks.ts";
import { AppendConflict, CommitRefused, LogUnavailable, UnknownEvent } from "@millrace/eventlog/failures.ts";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import type { HttpApiSchemaError } from "effect/http-api/HttpApiError";
import * as SchemaIssue from "effect/SchemaIssue";
import type { Asked } from "./asked.ts";

/** Thrown by handlers; everything else that is thrown is a defect. */
export class Failed extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.message);
    this.problem = problem;
  }
}

export const fail = (problem: Problem): never => {
  throw new Failed(problem);
};

const isProblem = (error: unknown): error is Problem => PROBLEMS.some((type) => error instanceof type);

/** JetStream's code for a message that is larger than the stream takes. */
const MESSAGE_TOO_LARGE = 10054;

/** Why a worker that was asked said nothing. */
const SILENT: Readonly<Record<AskUnavailable["reason"], string>> = {
  "no-holder": "Nobody answers there at the moment: its worker is not running, or about to take over.",
  late: "It did not answer in time.",
  "too-large": "The question or its answer is too large.",
  broken: "What it answered cannot be read; its log says more.",
};

/** @returns undefined for a defect */
export function problemOf(error: unknown): Problem | undefined {
  if (error instanceof Failed) return error.problem;
  if (isProblem(error)) return error;
  if (error instanceof LogUnavailable) return unavailable(error.what, "The log cannot be reached at the moment.");
  if (error instanceof AskUnavailable) return unavailable(error.what, SILENT[error.reason]);
  if (error instanceof AskRefused) return error.problem;
  if (error instanceof AppendConflict) {
    return new Conflict({
      detail: "Others kept changing it at the same moment.",
      fix: "Try again; with an Idempotency-Key a repeat is safe.",
    });
  }
  if (error instanceof UnknownEvent) {
    return new Unavailable({
      what: `${error.context}.${error.kind}`,
      detail: `${error.aggregate} has an event ${error.type} of version ${error.version}, which this release does not know.`,
      fix: "Upgrade this gateway; nothing is lost.",
      retryAfterSeconds: 60,
    });
  }
  if (error instanceof CommitRefused && error.code === MESSAGE_TOO_LARGE) {
    return new TooLarge({ detail: "One change may not be larger than a megabyte.", fix: "Make it in several parts." });
  }
  return undefined;
}

export const unavailable = (what: string, detail: string, retryAfterSeconds = 1): Unavailable =>
  new Unavailable({
    what,
    detail,
    fix: "Try again in a moment; with an Idempotency-Key a repeat is safe.",
    retryAfterSeconds,
  });

/** @param createOnly the client said `If-None-Match: *`: what is there already is a failed precondition */
export function problemOfRefusal(refusal: Refusal, createOnly = false): Problem {
  switch (refusal.refused) {
    case "rule":
      return new Refused({ rule: refusal.rule, reason: refusal.reason, detail: refusal.reason, fix: refusal.fix });
    case "not-found":
      return new NotFound({ detail: refusal.reason });
    case "conflict":
      return createOnly
        ? new PreconditionFailed({ detail: refusal.reason, fix: refusal.fix })
        : new Conflict({ detail: refusal.reason, fix: refusal.fix });
    case "precondition":
      return new PreconditionFailed({
        detail: `It is at generation ${refusal.actual}, you saw ${refusal.expected}.`,
        fix: "Read it again, and repeat the change with the new ETag.",
        expected: `"${refusal.expected}"`,
        actual: `"${refusal.actual}"`,
      });
    case "invalid":
      return new InvalidInput({
        detail: refusal.errors.map(({ pointer, detail }) => `${pointer} ${detail}`).join("; "),
        errors: refusal.errors,
        ...(refusal.fix === undefined ? {} : { fix: refusal.fix }),
      });
  }
}

const SLOTS = { Params: "path", Headers: "headers", Query: "query", Payload: "body" } as const;
const ERRORS_MOST = 20;
const toStandard = SchemaIssue.makeFormatterStandardSchemaV1();

/** What does not decode, by JSON pointer. A path that can name nothing is simply not found. */
export function problemOfSchema(error: HttpApiSchemaError): Problem | undefined {
  if (error.kind === "Params") return new NotFound({ detail: "There is no such thing here." });
  if (error.kind === "Body" || error.kind === "ResponseHeaders") return undefined;
  const slot = SLOTS[error.kind];
  const errors = toStandard(error.cause.issue)
    .issues.slice(0, ERRORS_MOST)
    .map(({ path = [], message }) => ({
      pointer: `/${[slot, ...path.map((step) => String(typeof step === "object" ? step.key : step))]
        .map((step) => step.slice(0, 100).replaceAll("~", "~0").replaceAll("/", "~1"))
        .join("/")}`,
      detail: message.split("\n")[0]!.slice(0, 300),
    }));
  return new InvalidInput({ detail: "The request does not have the form that is asked for.", errors });
}

/** The answer for a problem, with the request's id in it. */
export function answerProblem(problem: Problem, asked: Asked): HttpServerResponse.HttpServerResponse {
  const headers: Record<string, string> = {};
  if ("retryAfterSeconds" in problem && problem.retryAfterSeconds !== undefined) {
    headers["retry-after"] = String(problem.retryAfterSeconds);
  }
  if (problem.status === 401) headers["www-authenticate"] = 'Bearer realm="millrace"';
  // What has not been read of the body is not waited for.
  if (problem.status === 413) headers.connection = "close";
  return HttpServerResponse.text(bodyOfProblem(problem, asked.requestId), {
    status: problem.status,
    contentType: "application/problem+json",
    headers,
  });
}

export function bodyOfProblem(problem: Problem, requestId: string): string {
  const { type, title, status, ...rest } = problem as Problem & Record<string, unknown>;
  return JSON.stringify({ type, title, status, ...rest, requestId });
}

/** A defect: nothing of it is shown; the log line of the same request id tells. */
export const answerDefect = (asked: Asked): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(
    JSON.stringify({
      type: "/problems/internal",
      title: "A fault of the server",
      status: 500,
      detail: "This is a bug. The server's log names it by the request id.",
      requestId: asked.requestId,
    }),
    { status: 500, contentType: "application/problem+json" },
  );
