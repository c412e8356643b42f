/** Rules: runs that were noted are done one after the other; one that waits for a time is asked when that has come. */
import { turnoutOf } from "@millrace/domain/automation/due.ts";
import { readyRule } from "@millrace/domain/automation/evaluate.ts";
import { type RuleCommand, type RuleState, rule } from "@millrace/domain/automation/rule.ts";
import { nextOfRule, type RuleStep } from "@millrace/domain/automation/rule-decide.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Reactor } from "@millrace/eventlog/worker.ts";
import { doCommand } from "./doing.ts";

export const ruleReactor = (log: EventLog): Reactor<RuleState, RuleCommand, RuleStep> => ({
  kind: rule,
  next: nextOfRule,
  async perform(step, work) {
    const { state } = work.loaded;
    if (step.kind === "due") {
      const command = dueNow(state, Date.now());
      if (command !== undefined) await work.record(command);
      return { again: true };
    }
    const run = state.runs[0]!;
    const { hops, correlation, causation } = run.chain;
    faultPoint("rule.command.before");
    const report = await doCommand(log, step, {
      organisation: work.organisation,
      actor: { kind: "service", id: work.id, name: state.name },
      maker: state.maker.token,
      key: `${work.id}.run${run.run}`,
      correlation,
      causation,
      hops,
    });
    if ("retryAfterMs" in report) return report;
    faultPoint("rule.command.after");
    await work.record({ ...report, run: run.run });
    faultPoint("rule.command.recorded");
    return { again: true };
  },
});

/** What was missed is passed over: the time that a condition would be asked of is gone. */
function dueNow(state: RuleState, now: number): RuleCommand | undefined {
  const { id, when, since } = state;
  if (when === null || when.kind === "event") return undefined;
  const missed = { policy: "skip", most: 1 } as const;
  const turnout = turnoutOf({ id, when, jitterMs: 0, missed }, Date.parse(since), now);
  if (turnout === undefined) return undefined;
  if (turnout.due === undefined) return { do: "due", due: turnout.skipped?.to ?? now };
  const made = readyRule(state).askAt(turnout.due);
  return { do: "due", due: turnout.due, ...(made === undefined ? {} : { made }) };
}
