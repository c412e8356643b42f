/** What can go wrong with log lines, beside `LogUnavailable`. */
import * as Data from "effect/Data";

/** Another collector writes this source now: stop, it has what comes. */
export class LogOvertaken extends Data.TaggedError("LogOvertaken")<{ readonly subject: string }> {}

/** A query that cannot be answered as it is: the caller's mistake, told in words for people. */
export class LogQueryRefused extends Data.TaggedError("LogQueryRefused")<{
  readonly field: "regex" | "q" | "after" | "of" | "limit";
  readonly reason: string;
  readonly fix: string;
}> {}
