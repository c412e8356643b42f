/** Events of a task in the log: today's version, an example of each, and how a person would say it. */
import * as shape from "@millrace/contracts/devices/task-events.ts";
import type { Asked } from "@millrace/contracts/devices/task-parts.ts";
import * as Schema from "effect/Schema";
import type { EventDeclaration } from "../kind.ts";
import { Sealed } from "../sealed.ts";
import { excerpt, first } from "../sentences.ts";
import { isUndo, type TaskEventType, UNDO } from "./task-state.ts";

const worker = "attic:4711:x";
const nth = (attempt: number): string => (attempt > 1 ? `, attempt ${attempt}` : "");

export function askedText(asked: Asked): string {
  switch (asked.kind) {
    case "apply":
      return asked.dryRun ? "a dry run of what is wanted" : "what is wanted to be written";
    case "firmware":
      return asked.url === undefined
        ? `the newest ${asked.stage ?? "stable"} firmware`
        : `the firmware at ${excerpt(asked.url)}`;
    case "action":
      return `${asked.component} to be told "${asked.action}"`;
    case "authentication":
      return asked.scheme === "none" ? "no password" : "another password";
    default:
      return { reboot: "a reboot", read: "it to be read" }[asked.kind];
  }
}

const STEP_WORDS: Readonly<Record<string, string>> = {
  read: "reading it",
  plan: "the plan",
  write: "write",
  guard: "guarding write",
  confirm: "confirming write",
  reboot: "the reboot",
  verify: "verifying it",
  check: "looking at it",
  trigger: "triggering it",
  await: "waiting for it",
  prepare: "looking at it",
  act: "doing it",
  set: "setting the password",
};

function stepText(step: string): string {
  const [name = "", index] = (isUndo(step) ? step.slice(UNDO.length) : step).split(":");
  const number = index === undefined || index === "end" ? "" : ` ${Number(index) + 1}`;
  return `${STEP_WORDS[name] ?? name}${number}${isUndo(step) ? " on the way back" : ""}`;
}

const UNDONE: Readonly<Record<string, string>> = {
  nothing: "",
  all: ", and took back what it had written",
  not: ", and could not take back what it had written",
};

const Requested = Schema.Struct({
  ...shape.TaskRequested.fields,
  credentials: Schema.optionalKey(Schema.Struct({ scheme: Schema.Literals(["digest", "basic"]), sealed: Sealed })),
});

export const taskEventDeclarations: Readonly<Record<TaskEventType, EventDeclaration>> = {
  TaskRequested: {
    version: 1,
    data: Requested,
    examples: {
      1: {
        device: "dev_01kajzq4v0e8r9t2m5x7c3d6fg",
        name: "hall",
        site: "home",
        asked: { kind: "apply", dryRun: false },
        expiresAt: "2026-11-22T08:00:00.000Z",
      },
    },
    sentence: ({ name, asked }) => `asked "${name}" for ${askedText(asked)}`,
    toPublic: ({ credentials: _, ...shown }) => shown,
  },
  TaskStarted: first(shape.TaskStarted, { worker }, () => "began it"),
  StepStarted: first(
    shape.StepStarted,
    { step: "write:0", attempt: 1, worker },
    ({ step, attempt }) => `began ${stepText(step)}${nth(attempt)}`,
  ),
  StepCompleted: first(
    shape.StepCompleted,
    {
      step: "plan",
      attempt: 1,
      worker,
      output: {
        plan: {
          target: { "switch:0": { auto_off: true } },
          before: { "switch:0": { auto_off: false } },
          differences: [{ component: "switch:0", path: "/auto_off", from: false, to: true }],
          more: 0,
          writes: [
            {
              component: "switch:0",
              call: { method: "Switch.SetConfig", params: { id: 0, config: { auto_off: true } } },
              needsReboot: "maybe",
              cutsOff: false,
            },
          ],
        },
      },
    },
    ({ step, output: { plan } }) =>
      plan === undefined
        ? `finished ${stepText(step)}`
        : `planned ${plan.writes.length === 1 ? "one write" : `${plan.writes.length} writes`}`,
  ),
  StepFailed: first(
    shape.StepFailed,
    {
      step: "verify",
      attempt: 1,
      worker,
      class: "permanent",
      code: "NOT_VERIFIED",
      message: "switch:0/auto_off is false, not true",
      fix: "See whether something else changes it.",
    },
    ({ step, code, message, retryAt }) =>
      `failed at ${stepText(step)} (${code}: ${excerpt(message)})${retryAt === undefined ? "" : `; it is tried again at ${retryAt.slice(11, 19)} UTC`}`,
  ),
  TaskWaiting: first(
    shape.TaskWaiting,
    { for: "asleep", reason: "it wakes every twelve hours" },
    ({ reason }) => `noted that it waits: ${excerpt(reason)}`,
  ),
  TaskResumed: first(shape.TaskResumed, {}, () => "went on: what it waited for has come"),
  TaskCancellationRequested: first(shape.TaskCancellationRequested, { reason: "The wrong one" }, ({ reason }) =>
    reason === undefined ? "asked for it to be cancelled" : `asked for it to be cancelled: ${excerpt(reason)}`,
  ),
  TaskTimeIsUp: first(shape.TaskTimeIsUp, {}, () => "found its time to be up"),
  TaskSucceeded: first(shape.TaskSucceeded, { writes: 2 }, ({ writes }) =>
    writes === 0 ? "finished it" : `finished it with ${writes === 1 ? "one write" : `${writes} writes`}`,
  ),
  TaskFailed: first(
    shape.TaskFailed,
    { step: "verify", code: "NOT_VERIFIED", message: "it is not so", fix: "Look at it.", undone: "all" },
    ({ step, code, message, undone }) =>
      `ended it: it failed at ${stepText(step)} (${code}: ${excerpt(message)})${UNDONE[undone]}`,
  ),
  TaskCancelled: first(
    shape.TaskCancelled,
    { undone: "nothing" },
    ({ undone }) => `ended it: cancelled${UNDONE[undone]}`,
  ),
  TaskExpired: first(
    shape.TaskExpired,
    { undone: "nothing" },
    ({ undone }) => `ended it: its time was up${UNDONE[undone]}`,
  ),
};
