/**
 * What the log promises, as one suite that runs against one server and against three: the two answer differently, and callers
 * must not notice. Each row of the table in docs/reference/log.md has its test in `conformance-append.ts`.
 */
import type { Suite } from "../tests/harness/suite.ts";
import { aggregatePromises } from "./conformance-aggregates.ts";
import { appendPromises } from "./conformance-append.ts";
import { EventLog, type LogSettings } from "./eventlog.ts";

/** Two processes' views of one log, opened before the tests. */
export interface TwoLogs {
  log: EventLog;
  other: EventLog;
}

export function logConformance(test: Suite, settings: () => Promise<LogSettings>): void {
  const logs = {} as TwoLogs;
  test.before(async () => {
    logs.log = await EventLog.open(await settings(), ["toy"]);
    logs.other = await EventLog.open(await settings(), ["toy"]);
  });
  test.after(async () => {
    await logs.log?.close();
    await logs.other?.close();
  });
  appendPromises(test, logs);
  aggregatePromises(test, logs);
}
