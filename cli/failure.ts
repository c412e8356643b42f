/** An expected end of a command that is not success: what happened, why, and what to do, with its exit code. */
import { EXIT } from "./table.ts";

export class Failure extends Error {
  /** Stable, for scripts: `usage`, or the last part of the problem's type, e.g. `not-found`. */
  readonly code: string;
  readonly exit: number;
  readonly why: string | undefined;
  readonly fix: string | undefined;
  readonly requestId: string | undefined;

  constructor(
    code: string,
    exit: number,
    message: string,
    more: { why?: string | undefined; fix?: string | undefined; requestId?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.name = "Failure";
    this.code = code;
    this.exit = exit;
    this.why = more.why;
    this.fix = more.fix;
    this.requestId = more.requestId;
  }
}

export const usage = (message: string, fix?: string): Failure => new Failure("usage", EXIT.usage, message, { fix });

export const interrupted = (): Failure => new Failure("interrupted", EXIT.interrupted, "Interrupted");

export const timedOut = (what: string, seconds: number): Failure =>
  new Failure("timeout", EXIT.timeout, `${what} took longer than ${seconds} s`, { fix: "Give it longer: --timeout" });

/** Exit codes of the API's problems, by the last part of their type; any other: 1. */
const EXIT_OF_PROBLEM: Readonly<Record<string, number>> = {
  "invalid-input": EXIT.usage,
  unauthenticated: EXIT.auth,
  forbidden: EXIT.auth,
  "not-found": EXIT.notFound,
  conflict: EXIT.conflict,
  "precondition-failed": EXIT.conflict,
  "too-large": EXIT.usage,
  "unsupported-type": EXIT.usage,
  refused: EXIT.refused,
  "precondition-required": EXIT.conflict,
};

/** The members of `application/problem+json` that are shown; all of them may be missing in a stranger's answer. */
interface ProblemBody {
  readonly type?: unknown;
  readonly title?: unknown;
  readonly detail?: unknown;
  readonly reason?: unknown;
  readonly rule?: unknown;
  readonly what?: unknown;
  readonly permission?: unknown;
  readonly fix?: unknown;
  readonly requestId?: unknown;
  readonly errors?: unknown;
}

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

/** @param body the parsed answer, or undefined when it was no JSON */
export function failureOfAnswer(status: number, body: unknown, requestId: string | undefined): Failure {
  const problem = (typeof body === "object" && body !== null ? body : {}) as ProblemBody;
  const code = text(problem.type)?.split("/").at(-1) ?? `http-${status}`;
  const fields = Array.isArray(problem.errors)
    ? problem.errors.map((error: { pointer?: unknown; detail?: unknown }) => `${error?.pointer}: ${error?.detail}`)
    : [];
  const detail = text(problem.detail);
  const reason = text(problem.reason);
  // The gateway's detail is the first of the fields, for who reads nothing else.
  const told = detail === reason || fields.some((field) => field === detail || field.replace(": ", " ") === detail);
  const why = [
    reason,
    told ? undefined : detail,
    ...fields,
    text(problem.what) && `missing: ${problem.what}`,
    text(problem.permission) &&
      !detail?.includes(`${problem.permission}`) &&
      `needs the permission ${problem.permission}`,
    text(problem.rule) && `rule: ${problem.rule}`,
  ].filter((part) => typeof part === "string");
  const fallback = status === 401 ? EXIT.auth : status === 404 ? EXIT.notFound : EXIT.failure;
  return new Failure(code, EXIT_OF_PROBLEM[code] ?? fallback, text(problem.title) ?? `The gateway answered ${status}`, {
    why:
      why.length === 0
        ? undefined
        : why.map((part, at) => (at < why.length - 1 ? part.replace(/\.$/, "") : part)).join("; "),
    fix: text(problem.fix),
    requestId: text(problem.requestId) ?? requestId,
  });
}
