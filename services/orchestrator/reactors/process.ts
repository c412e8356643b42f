/**
 * Processes: what one decides on stands in its log first, then it is issued with an id made of the process's own version, and what
 * came of it is noted. Whoever dies in between, the next one issues the same command, and the aggregate that it is for knows it.
 */
import {
  nextOfProcess,
  type Pending,
  type ProcessCommand,
  type ProcessState,
  type ProcessStep,
  processKind,
} from "@millrace/domain/automation/process.ts";
import type { ProcessTypes, Settled } from "@millrace/domain/automation/process-type.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { AppendConflict } from "@millrace/eventlog/failures.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Reactor, Work } from "@millrace/eventlog/worker.ts";
import { issue } from "../commands.ts";
import { wordsOf } from "../refusals.ts";

/** Commands that cause each other without anybody having asked: more is a circle. */
const HOPS_MOST = 8;
const CONFLICT_MS = 1_000;

export const processReactor = (
  log: EventLog,
  types: ProcessTypes,
): Reactor<ProcessState, ProcessCommand, ProcessStep> => ({
  kind: processKind(types),
  next: nextOfProcess(types),
  async perform(step, work) {
    if ("decide" in step) {
      faultPoint("process.decide.before");
      await work.record({ do: "decide", version: step.version, ...step.decide });
      faultPoint("process.decided");
      return { again: true };
    }
    try {
      const settled = await carryOut(log, step.issue, work);
      faultPoint("process.issued");
      await work.record({ do: "settle", command: step.issue.command, ...settled });
      faultPoint("process.settled");
      return { again: true };
    } catch (error) {
      if (error instanceof AppendConflict) return { retryAfterMs: CONFLICT_MS, reason: "others keep changing it" };
      throw error;
    }
  },
});

async function carryOut(
  log: EventLog,
  { step: _, command, ...asked }: Pending,
  { id, organisation, loaded }: Work<ProcessState, ProcessCommand>,
): Promise<{ readonly outcome: Settled; readonly fix?: string }> {
  if (asked.hops >= HOPS_MOST) {
    return {
      outcome: {
        refused: "rule",
        rule: "circle",
        reason: `${HOPS_MOST} commands have caused each other before this one.`,
      },
    };
  }
  const outcome = await issue(log, {
    ...asked,
    organisation,
    actor: { kind: "service", id, name: loaded.state.type },
    commandId: command,
    hops: asked.hops + 1,
  });
  if (!("refusal" in outcome)) {
    const { subject, made } = outcome.ok;
    return { outcome: { done: subject, ...(made === undefined ? {} : { made }) } };
  }
  const { fix, ...words } = wordsOf(outcome.refusal);
  return { outcome: { refused: outcome.refusal.refused, ...words }, ...(fix === undefined ? {} : { fix }) };
}
