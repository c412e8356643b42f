/** Asking for tasks, from loaded states: which commands it comes to, all or nothing. Pure. */
import type { Asked } from "@millrace/contracts/devices/task-parts.ts";
import { LIMITS } from "@millrace/contracts/devices/values.ts";
import { type Refusal, rule } from "../decider.ts";
import type { PlannedPart } from "../reads.ts";
import { device } from "./device.ts";
import type { Credentials, DeviceState } from "./device-state.ts";
import { task } from "./task.ts";
import type { TaskState } from "./task-state.ts";

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

/** Of one that waits for its turn the device gives its place away, too. The task's part last: it remembers the command. */
export function cancelTask(state: TaskState, reason?: string): ReadonlyArray<PlannedPart> {
  const part = { kind: task, id: state.id, command: { do: "cancel", ...(reason === undefined ? {} : { reason }) } };
  return state.state === "queued"
    ? [{ kind: device, id: state.device, command: { do: "dequeue", task: state.id } }, part]
    : [part];
}
