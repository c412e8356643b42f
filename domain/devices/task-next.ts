/**
 * What is to be done about a task now, from the log alone: pure and total. The same answer serves the first try, a redelivery, a crash, another
 * agent and a healing round.
 *
 *     apply           read → plan → write:n … → reboot? → (guard:n → write:n → confirm:n) … → reboot:end? → verify
 *     its way back    undo/read → undo/plan → undo/write:n … → undo/verify, towards what the plan found before
 *     firmware        check → trigger → await → verify
 *     reboot          check → trigger → await
 *     action          prepare → act
 *     authentication  check → set → confirm
 *     read            read
 *
 * Writes that may cut the device off come last, each between a guard that takes it back by itself and a confirmation that the device was found
 * again. The way back is an apply of what was there before; begun again anywhere, it reads first, and writes only what still differs.
 */
import type { Plan } from "@millrace/contracts/devices/task-parts.ts";
import { LIMITS, type Outcome } from "@millrace/contracts/devices/values.ts";
import type { GiveUpReason } from "./task-command.ts";
import { hasWritten, isOver, planOf, type StepState, type TaskState, UNDO } from "./task-state.ts";

/** Nothing; or a step; or nothing before a moment, in milliseconds since 1970. */
export type Next<P> = undefined | { readonly do: P } | { readonly waitUntil: number };

export type TaskStep =
  | {
      readonly kind: "step";
      /** As in the table above, with `undo/` on the way back. */
      readonly step: string;
      /** To begin with: `beginStep`, before the device is touched. */
      readonly attempt: number;
      /** It is given up then, milliseconds since 1970; null: when the task expires. */
      readonly deadlineAt: number | null;
    }
  | { readonly kind: "giveUp"; readonly step: string; readonly reason: GiveUpReason }
  /** Its time is up: `expireTask` of request.ts. */
  | { readonly kind: "expire" }
  /** `finishTask` of request.ts. */
  | { readonly kind: "finish"; readonly outcome: Outcome };

/** How long a step may take since its first attempt, in milliseconds, where the device goes away by itself meanwhile. */
const STEP_MS: Readonly<Record<string, number>> = {
  await: 600_000,
  confirm: 180_000,
  reboot: 180_000,
  "reboot:end": 180_000,
};
/** How long the way back is tried, in milliseconds. */
export const UNDO_MS = 7 * 86_400_000;

const needsReboot = (plan: Plan, steps: TaskState["steps"], prefix: string, indices: ReadonlyArray<number>): boolean =>
  indices.some(
    (index) =>
      plan.writes[index]!.needsReboot === "always" ||
      steps[`${prefix}write:${index}`]?.output?.restartRequired === true,
  );

/** Steps of an apply, as far as they are known: without a plan nobody knows more. */
function applySteps(state: TaskState, undo: boolean): ReadonlyArray<string> {
  const prefix = undo ? UNDO : "";
  const plan = planOf(state, undo);
  const first = [`${prefix}read`, `${prefix}plan`];
  const isDryRun = state.asked?.kind === "apply" && state.asked.dryRun;
  if (plan === undefined || (isDryRun && !undo)) return first;
  const all = plan.writes.map((_, index) => index);
  const ordinary = all.filter((index) => !plan.writes[index]!.cutsOff);
  const guarded = all.filter((index) => plan.writes[index]!.cutsOff);
  const step = (name: string) => `${prefix}${name}`;
  return [
    ...first,
    ...ordinary.map((index) => step(`write:${index}`)),
    ...(needsReboot(plan, state.steps, prefix, ordinary) ? [step("reboot")] : []),
    ...guarded.flatMap((index) => [step(`guard:${index}`), step(`write:${index}`), step(`confirm:${index}`)]),
    ...(needsReboot(plan, state.steps, prefix, guarded) ? [step("reboot:end")] : []),
    step("verify"),
  ];
}

const STEPS = {
  firmware: ["check", "trigger", "await", "verify"],
  reboot: ["check", "trigger", "await"],
  action: ["prepare", "act"],
  authentication: ["check", "set", "confirm"],
  read: ["read"],
} as const;

/** Steps of a task in their order, as far as they are known now. */
export function stepsOf(state: TaskState): ReadonlyArray<string> {
  const kind = state.asked?.kind;
  if (kind === undefined) return [];
  if (state.state === "undoing") return applySteps(state, true);
  return kind === "apply" ? applySteps(state, false) : STEPS[kind];
}

export function nextOfTask(state: TaskState, nowMs: number): Next<TaskStep> {
  if (!state.exists || isOver(state)) return undefined;
  const expiresMs = Date.parse(state.expiresAt);
  if (state.state === "queued") return nowMs >= expiresMs ? { do: { kind: "expire" } } : { waitUntil: expiresMs };
  if (state.stopped !== null && state.state !== "undoing") return { do: { kind: "finish", outcome: outcomeOf(state) } };
  const until = state.state === "undoing" ? Date.parse(state.stopped!.at) + UNDO_MS : expiresMs;
  const step = stepsOf(state).find((name) => state.steps[name]?.state !== "completed");
  if (step === undefined) return { do: { kind: "finish", outcome: outcomeOf(state) } };
  const known = state.steps[step];
  // The way back failed for good: somebody has to look.
  if (state.state === "undoing" && known?.state === "failed" && known.retryAtMs === undefined) {
    return { do: { kind: "finish", outcome: outcomeOf(state) } };
  }
  if (nowMs >= until) {
    return { do: state.state === "undoing" ? { kind: "giveUp", step, reason: "deadline" } : { kind: "expire" } };
  }
  if (state.waiting !== null) {
    const again = state.waiting.until === undefined ? until : Math.min(Date.parse(state.waiting.until), until);
    if (nowMs < again) return { waitUntil: again };
  }
  return nextStep(step, known, nowMs, until);
}

/** `undo/confirm:3` has the time of `confirm`. */
const timeFor = (step: string): number | undefined => {
  const name = step.startsWith(UNDO) ? step.slice(UNDO.length) : step;
  return STEP_MS[name] ?? STEP_MS[name.replace(/:.*$/, "")];
};

function nextStep(step: string, known: StepState | undefined, nowMs: number, until: number): Next<TaskStep> {
  const allowed = timeFor(step);
  const deadline = allowed === undefined ? null : (known === undefined ? nowMs : Date.parse(known.startedAt)) + allowed;
  if (deadline !== null && nowMs >= deadline) return { do: { kind: "giveUp", step, reason: "deadline" } };
  if ((known?.tries ?? 0) >= LIMITS.attempts) return { do: { kind: "giveUp", step, reason: "poison" } };
  const retryAt = known?.state === "failed" ? known.retryAtMs : undefined;
  if (retryAt !== undefined && retryAt > nowMs) return { waitUntil: Math.min(retryAt, deadline ?? until, until) };
  return { do: { kind: "step", step, attempt: (known?.attempt ?? 0) + 1, deadlineAt: deadline } };
}

/** What a task ends as, when nothing is left to be done. */
export function outcomeOf({ stopped }: Pick<TaskState, "stopped">): Outcome {
  if (stopped === null) return "succeeded";
  return ({ failure: "failed", cancellation: "cancelled", expiry: "expired" } as const)[stopped.because];
}

/** What became of what it had written. */
export function undoneOf(state: TaskState): "nothing" | "all" | "not" {
  if (!hasWritten(state)) return "nothing";
  const isBack = applySteps(state, true).every((step) => state.steps[step]?.state === "completed");
  return isBack && planOf(state, true) !== undefined ? "all" : "not";
}

/** Whether what an agent is doing for a task is not wanted any more, or somebody else's. A write that is under way is never broken off. */
export function interruptsTask(state: TaskState, step: TaskStep): boolean {
  if (step.kind !== "step") return false;
  if ((state.steps[step.step]?.attempt ?? 0) > step.attempt) return true;
  return state.stopped !== null && /^(read|plan|check|prepare|await)$/.test(step.step);
}
