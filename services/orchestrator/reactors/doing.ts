/** One command of a schedule or rule, done by its maker's permission: what came of it is reported, and tried again where nothing did. */
import type { DoingStep, Report } from "@millrace/domain/automation/firing.ts";
import type { Actor } from "@millrace/domain/decider.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { AppendConflict } from "@millrace/eventlog/failures.ts";
import { powersOf } from "../authority.ts";
import { issue } from "../commands.ts";
import { wordsOf } from "../refusals.ts";

export interface Mandate {
  readonly organisation: string;
  readonly actor: Actor;
  /** Id of the token of whoever made it. */
  readonly maker: string;
  /** Of the firing; the same for every try. */
  readonly key: string;
  readonly correlation: string;
  readonly causation: string;
  readonly hops: number;
}

const CONFLICT_MS = 1_000;

/** @throws LogUnavailable, UnknownEvent: it is tried again with the same command id */
export async function doCommand(
  log: EventLog,
  step: DoingStep,
  mandate: Mandate,
): Promise<Report | { readonly retryAfterMs: number; readonly reason: string }> {
  const { index, command } = step;
  if (step.kind === "giveUp") {
    const reason = "It was tried for an hour, and could not be done.";
    return { do: "failed", index, outcome: "given-up", reason, fix: "See what the orchestrator's log says of it." };
  }
  const { organisation, actor, maker, key, correlation, causation, hops } = mandate;
  const powers = await powersOf(log, maker, organisation, Date.now());
  try {
    const outcome = await issue(log, {
      ...command,
      organisation,
      actor,
      commandId: `${key}.${index}`,
      correlation,
      causation,
      hops,
      allowed: (permission, lineage) => powers.allows(permission, organisation, lineage),
    });
    if ("refusal" in outcome) return { do: "failed", index, outcome: "refused", ...wordsOf(outcome.refusal) };
    const { subject, made } = outcome.ok;
    return { do: "done", index, on: subject.id, ...(made === undefined ? {} : { made }) };
  } catch (error) {
    if (error instanceof AppendConflict) return { retryAfterMs: CONFLICT_MS, reason: "others keep changing it" };
    throw error;
  }
}
