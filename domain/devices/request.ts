/** Asking for tasks, from loaded states: which commands it comes to, all or nothing. Pure. */
import type { Asked } from "@millrace/contracts/devices/task-parts.ts";
import { LIMITS, type Outcome } from "@millrace/contracts/devices/values.ts";
import { type Refusal, rule } from "../decider.ts";
import type { PlannedPart } from "../reads.ts";
import { type BulkCommand, bulk } from "./bulk.ts";
import { device } from "./device.ts";
import type { Credentials, DeviceState } from "./device-state.ts";
import { task } from "./task.ts";
import type { TaskCommand } from "./task-command.ts";
import { planOf, type TaskState } from "./task-state.ts";

export interface TaskAsked {
  /** Id of the new task, made at the edge. */
  readonly task: string;
  readonly asked: Asked;
  readonly expiresInMs?: number | undefined;
  readonly credentials?: Credentials | undefined;
  readonly bulk?: string | undefined;
}

/** Why it cannot be asked of this device, or undefined. */
export function refusalOfTask(state: DeviceState, asked: Asked): Refusal | undefined {
  if (!state.exists) return { refused: "not-found", reason: "There is no such device." };
  if (asked.kind === "apply" && state.desired === null) {
    return rule(
      "nothing-wanted",
      `Nothing is wanted of "${state.name}": it is only watched.`,
      "Give it a configuration or a profile, or adopt what it has.",
    );
  }
  if (asked.kind !== "action" || state.identity === null) return undefined;
  const { capabilities } = state.identity;
  return capabilities.includes(asked.component)
    ? undefined
    : rule(
        "no-such-component",
        `"${state.name}" has no ${asked.component}.`,
        `It has ${capabilities.slice(0, 20).join(", ") || "told of none"}.`,
      );
}

/** The device's part first: it remembers the command. */
export function requestTask(
  state: DeviceState,
  { task: id, asked, expiresInMs = LIMITS.expires.usual, credentials, bulk }: TaskAsked,
): ReadonlyArray<PlannedPart> | Refusal {
  const refusal = refusalOfTask(state, asked);
  if (refusal !== undefined) return refusal;
  const more = { ...(credentials === undefined ? {} : { credentials }), ...(bulk === undefined ? {} : { bulk }) };
  const { id: of, name, site } = state;
  return [
    { kind: device, id: of, command: { do: "enqueue", task: id, kind: asked.kind } },
    { kind: task, id, command: { do: "request", device: of, name, site, asked, expiresInMs, ...more } },
  ];
}

/** Of one that ends with it: its place on the device, and the bulk operation that it belongs to. */
function withEnd(state: TaskState, command: TaskCommand, outcome: Outcome): ReadonlyArray<PlannedPart> {
  return [
    { kind: task, id: state.id, command },
    { kind: device, id: state.device, command: { do: "dequeue", task: state.id } },
    ...settling(state, outcome),
  ];
}

/** What the bulk operation of a task is told when it ends. */
export const settling = (state: TaskState, outcome: Outcome): ReadonlyArray<PlannedPart> =>
  state.bulk === null
    ? []
    : [
        {
          kind: bulk,
          id: state.bulk,
          command: { do: "settle", device: state.device, task: state.id, outcome } satisfies BulkCommand,
        },
      ];

/** The task's part first: it remembers the command. */
export function cancelTask(state: TaskState, reason?: string): ReadonlyArray<PlannedPart> {
  const command: TaskCommand = { do: "cancel", ...(reason === undefined ? {} : { reason }) };
  return state.state === "queued" ? withEnd(state, command, "cancelled") : [{ kind: task, id: state.id, command }];
}

/** The commands of the step `expire`, to be carried out together. */
export const expireTask = (state: TaskState): ReadonlyArray<PlannedPart> =>
  state.state === "queued"
    ? withEnd(state, { do: "expire" }, "expired")
    : [{ kind: task, id: state.id, command: { do: "expire" } }];

/** The commands of the step `finish`, to be carried out together. */
export function finishTask(state: TaskState, { outcome }: { readonly outcome: Outcome }): ReadonlyArray<PlannedPart> {
  const plan = planOf(state, false);
  const isApplied = outcome === "succeeded" && state.asked?.kind === "apply" && !state.asked.dryRun;
  const applied = isApplied && plan !== undefined ? { applied: plan.target } : {};
  return [
    { kind: task, id: state.id, command: { do: "finish", outcome } },
    { kind: device, id: state.device, command: { do: "end", task: state.id, outcome, ...applied } },
    ...settling(state, outcome),
  ];
}

/** The commands that give a device's next task its turn: of the device's step `begin`. */
export const beginTask = (state: DeviceState, worker: string): ReadonlyArray<PlannedPart> => {
  const next = state.queue[0]!;
  return [
    { kind: device, id: state.id, command: { do: "begin", task: next } },
    { kind: task, id: next, command: { do: "start", worker } },
  ];
};
