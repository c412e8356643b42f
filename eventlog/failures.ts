/** What can go wrong with the log, as a closed set of values. */
import * as Data from "effect/Data";

/** Somebody else wrote first: load again and decide again. */
export class AppendConflict extends Data.TaggedError("AppendConflict")<{
  readonly subject: string;
  readonly expected: number;
}> {}

/** The log cannot be reached, or did not answer in time and the outcome could not be found out. Try again later. */
export class LogUnavailable extends Data.TaggedError("LogUnavailable")<{
  readonly what: string;
  readonly cause?: unknown;
  /** Of a change: it may have been stored all the same. Repeating the command with the same id finds out. */
  readonly maybeStored?: boolean;
}> {}

/** A commit that the log can never take: too large, or malformed. A defect of the caller. */
export class CommitRefused extends Data.TaggedError("CommitRefused")<{
  /** The server's `err_code`. */
  readonly code: number;
  readonly reason: string;
}> {
  override get message(): string {
    return `${this.reason} (${this.code})`;
  }
}

/** A stored event of a type or version that this release does not know: stop there, go on after an upgrade. */
export class UnknownEvent extends Data.TaggedError("UnknownEvent")<{
  readonly context: string;
  readonly kind: string;
  readonly aggregate: string;
  readonly seq: number;
  readonly type: string;
  readonly version: number;
}> {}
