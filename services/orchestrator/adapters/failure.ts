/** How the acts of the orchestrator fail: as a value that goes into the log as it stands, never as an exception. */

export interface Failure {
  /** transient: the same again may work; permanent: something must be changed first. */
  readonly class: "transient" | "permanent" | "timeout" | "cancelled";
  /** Stable, in capitals: `NOT_A_REPOSITORY`. */
  readonly code: string;
  /** One sentence: what happened. Holds no secret. */
  readonly message: string;
  /** One sentence: what to do about it. */
  readonly fix: string;
}

export interface Failed {
  readonly failed: Failure;
}

/** Either what was wanted (always an object without a field `failed`), or why not: `if ("failed" in outcome) …`. */
export type Outcome<T extends object> = T | Failed;

export function fail(kind: Failure["class"], code: string, message: string, fix: string): Failed {
  return { failed: { class: kind, code, message, fix } };
}

/** What an aborted signal means for what was under way. */
export function cancelled(what: string): Failed {
  return fail("cancelled", "CANCELLED", `${what} was interrupted.`, "Nothing: it was asked for.");
}
