/** A list of commands that is being done one after the other, for a schedule or a rule: what is next, and what came of each. */
import type { CommandOutcome } from "@millrace/contracts/automation/entities.ts";
import { LIMITS } from "@millrace/contracts/automation/values.ts";
import type { Action } from "./actions.ts";

export interface Doing {
  readonly commands: ReadonlyArray<Action>;
  /** Of each command, as far as it has come. */
  readonly outcomes: ReadonlyArray<CommandOutcome>;
  readonly startedAt: string;
}

export type DoingStep =
  | { readonly kind: "command"; readonly index: number; readonly command: Action }
  /** It was tried for so long that aggregates will soon forget what was asked of them. */
  | { readonly kind: "giveUp"; readonly index: number; readonly command: Action };

/** The next command; undefined: all are done, or one failed. */
export function nextOf({ commands, outcomes, startedAt }: Doing, nowMs: number): DoingStep | undefined {
  const index = outcomes.length;
  const command = commands[index];
  if (command === undefined || outcomes.some(({ outcome }) => outcome !== "done")) return undefined;
  const tooLong = nowMs > Date.parse(startedAt) + LIMITS.firingMs;
  return { kind: tooLong ? "giveUp" : "command", index, command };
}

/** What a worker reports of a command. */
export type Report =
  | { readonly do: "done"; readonly index: number; readonly on?: string; readonly made?: string }
  | {
      readonly do: "failed";
      readonly index: number;
      readonly outcome: "refused" | "given-up";
      readonly rule?: string;
      readonly reason: string;
      readonly fix?: string;
    };

/** The report of the command that is next, or not: then somebody else has reported it. */
export const isNext = (doing: Doing | null, index: number): doing is Doing =>
  doing !== null && doing.outcomes.length === index && index < doing.commands.length;

export const isLast = ({ commands }: Doing, index: number): boolean => index === commands.length - 1;

export const outcomeOf = ({ commands }: Doing, report: Report): CommandOutcome => {
  const { action } = commands[report.index]!;
  const { do: verb, index: _, ...rest } = report;
  return verb === "done" ? { action, outcome: "done", ...rest } : { action, ...rest, outcome: report.outcome };
};
