/** What people are told of an act that failed. */
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import { Refusal } from "./adapters/ostree/refusal.ts";
import { ToolFailed } from "./adapters/ostree/tools.ts";
import { UpstreamFailed } from "./adapters/upstream.ts";
import { NoMasterKey } from "./places.ts";

export interface Failure {
  readonly code: string;
  readonly reason: string;
  readonly fix: string;
}

const CODES: Readonly<Record<string, string>> = {
  "missing-objects": "MISSING_OBJECTS",
  "ref-moved": "REF_MOVED",
  held: "HELD",
};

/** Undefined: it is tried again by the worker. */
export function failureOf(error: unknown): Failure | undefined {
  if (error instanceof NoMasterKey) {
    const fix = "Give the publisher the master key (MILLRACE_MASTER_KEY_FILE), then try again.";
    return { code: "NO_MASTER_KEY", reason: "Its key cannot be used without the master key.", fix };
  }
  if (error instanceof LogUnavailable) return undefined;
  if (error instanceof UpstreamFailed || (error as Error | null)?.name === "TimeoutError") {
    const fix = "It is tried again with the next look at the repository that it is taken from.";
    return {
      code: error instanceof UpstreamFailed && !error.isPassing ? "UPSTREAM_WRONG" : "UPSTREAM_AWAY",
      reason: (error as Error).message.slice(0, 1_000),
      fix,
    };
  }
  if (error instanceof Refusal) {
    return { code: CODES[error.code] ?? "NOT_POSSIBLE", reason: error.message.slice(0, 1_000), fix: error.fix };
  }
  if (!(error instanceof ToolFailed) || error.how === "cancelled") return undefined;
  if (error.how === "missing") {
    const fix = "Run `mill setup` on the publisher's machine, start it again, then try again.";
    return { code: "TOOLS_MISSING", reason: `${error.tool} is not installed.`, fix };
  }
  const fix = "Look at what it said, and at the disk, then try again.";
  return { code: "TOOL_FAILED", reason: error.message.slice(0, 1_000), fix };
}
