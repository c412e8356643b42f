/** What the steps of tasks act through, and what is made of it when a device does not do as it is told. */
import type { Output } from "@millrace/contracts/devices/task-parts.ts";
import type { FailureClass, WaitsFor } from "@millrace/contracts/devices/values.ts";
import { type DeviceState, device as deviceKind } from "@millrace/domain/devices/device.ts";
import type { TaskCommand } from "@millrace/domain/devices/task-command.ts";
import type { TaskState } from "@millrace/domain/devices/task-state.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Change } from "@millrace/eventlog/execute.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import type { Work } from "@millrace/eventlog/worker.ts";
import * as Data from "effect/Data";
import type { Device } from "../adapters/shelly/device.ts";
import { DeviceFailure, retryAfterMs } from "../adapters/shelly/failures.ts";
import type { Credentials } from "../adapters/shelly/login.ts";
import type { Images } from "../images.ts";

export type TaskWork = Work<TaskState, TaskCommand>;

/** What the tasks of a site are carried out through. */
export interface Keeping {
  readonly site: string;
  readonly log: EventLog;
  /** Devices, and tasks that are not over, as the log has them. */
  readonly index: LiveIndex;
  /** The device, while it is this process that talks to it. */
  readonly device: (id: string) => Device | undefined;
  readonly logins: {
    /** @throws LogUnavailable, DeviceFailure not-sent */
    readonly opened: (
      stored: NonNullable<DeviceState["credentials"]>,
      organisation: string,
      id: string,
    ) => Promise<Credentials | undefined>;
    /** As the log keeps them. @throws LogUnavailable, DeviceFailure not-sent */
    readonly sealed: (
      login: Credentials,
      organisation: string,
      id: string,
    ) => Promise<NonNullable<DeviceState["credentials"]>>;
  };
  /** A secret's value. @throws StepFault, LogUnavailable */
  readonly secret: (id: string, organisation: string) => Promise<string>;
  /** Where firmware is served to devices from; left out: they fetch it from the maker. */
  readonly images?: Images | undefined;
  /** How often a device that went away is looked for, in milliseconds. */
  readonly lookMs: number;
}

/** One step of a task under way. */
export interface Doing {
  readonly keeping: Keeping;
  readonly state: TaskState;
  /** As the log has it. */
  readonly owner: DeviceState;
  readonly step: string;
  /** On the way back. */
  readonly undo: boolean;
  readonly attempt: number;
  /** When its first attempt began, milliseconds since 1970. */
  readonly startedMs: number;
  readonly deadlineAt: number | null;
  readonly signal: AbortSignal;
  /** A fault point in the middle of an effect. */
  during(): void;
  /** Gives the place of this unit to others while it waits. */
  aside<T>(wait: () => Promise<T>): Promise<T>;
}

/** What a step came to; `also` is recorded with it, all or nothing. */
export interface Done {
  readonly output?: Output;
  readonly also?: ReadonlyArray<Change>;
}

export type Perform = (doing: Doing) => Promise<Done>;

/** A step fails for a reason that is not the device's. */
export class StepFault extends Data.TaggedError("StepFault")<{
  readonly class: FailureClass;
  /** Capitals, digits and underscores. */
  readonly code: string;
  readonly reason: string;
  readonly fix: string;
}> {
  override get message(): string {
    return this.reason;
  }
}

export const permanent = (code: string, reason: string, fix: string): StepFault =>
  new StepFault({ class: "permanent", code, reason, fix });

/** @throws StepFault: it is another process's now, which goes on with it */
export function deviceOf({ keeping, owner }: Pick<Doing, "keeping" | "owner">): Device {
  const device = keeping.device(owner.id);
  if (device !== undefined) return device;
  throw new StepFault({
    class: "transient",
    code: "NOT_HELD",
    reason: "Another agent has begun to talk to this device.",
    fix: "Nothing: it goes on there.",
  });
}

/** What a device's own answer says it is, in the log. */
export const reported = (owner: DeviceState, report: object): Change => ({
  kind: deviceKind,
  id: owner.id,
  command: { do: "report", mac: owner.mac, report },
});

/** What is to be waited for, when the log says that the device cannot be talked to now. */
export function absence(
  owner: DeviceState | undefined,
): { readonly for: WaitsFor; readonly reason: string } | undefined {
  switch (owner?.reach) {
    case "asleep":
      return { for: "asleep", reason: "It sleeps: it is done when it wakes." };
    case "lost":
      return { for: "away", reason: owner.lostReason ?? "It does not answer." };
    case "new":
      return { for: "away", reason: "It was not reached yet." };
    default:
      return undefined;
  }
}

/** Whether what a task waits for has come, by what the log says of the device. */
export function hasCome(waiting: NonNullable<TaskState["waiting"]>, owner: DeviceState | undefined): boolean {
  if (owner === undefined) return false;
  switch (waiting.for) {
    case "asleep":
    case "away":
      return owner.reach === "reachable";
    case "password":
      return owner.authentication.state !== "rejected" && owner.authentication.since > waiting.since;
    case "locked-out":
      return false;
  }
}

export type Policy =
  | { readonly wait: WaitsFor; readonly reason: string; readonly untilMs?: number }
  | {
      readonly class: FailureClass;
      readonly code: string;
      readonly message: string;
      readonly fix: string;
      readonly retryAtMs?: number;
    };

/** Tries of what a device refuses, or fails at, until it is taken for its last word. */
const REFUSALS = 3;
const ERRORS = 5;

/**
 * What becomes of a step that threw. @param tries since what it needs was last waited for
 * @throws what is neither a device's failure nor a step's
 */
export function policyOf(error: unknown, owner: DeviceState | undefined, tries: number, nowMs: number): Policy {
  if (error instanceof StepFault) {
    const { class: kind, code, reason, fix } = error;
    return { class: kind, code, message: reason, fix };
  }
  if (!(error instanceof DeviceFailure)) throw error;
  const { kind, reason, fix } = error;
  const after = retryAfterMs(error);
  const said = { code: kind.toUpperCase().replaceAll("-", "_"), message: reason, fix };
  const transient: Policy = {
    class: "transient",
    ...said,
    ...(after === undefined || after <= 1_000 ? {} : { retryAtMs: nowMs + after }),
  };
  const last: Policy = { class: "permanent", ...said };
  switch (kind) {
    case "unreachable":
    case "timeout":
    case "not-sent": {
      if (after === undefined) return last;
      const away = absence(owner);
      return away === undefined ? transient : { wait: away.for, reason: away.reason };
    }
    case "wrong-credentials":
      return after === undefined ? { wait: "password", reason } : transient;
    case "locked-out":
      return { wait: "locked-out", reason, untilMs: nowMs + (after ?? 60_000) };
    case "too-busy":
    case "garbled":
      return transient;
    case "another-device":
      // It has moved: it is looked for, and found, by others than this.
      return { class: "transient", ...said, retryAtMs: nowMs + 15_000 };
    case "refused":
      return tries < REFUSALS ? transient : last;
    case "device-error":
      return tries < ERRORS ? transient : last;
    case "not-found":
    case "invalid-argument":
    case "too-large":
    case "redirected":
    case "certificate-changed":
      return last;
  }
}

/** Failures by which a device that is about to come back shows that it has not. */
const STILL_AWAY = new Set(["unreachable", "timeout", "not-sent", "garbled", "too-busy", "device-error"]);

/**
 * Asks again and again until something is found. The device may be at another address by then: it is taken anew each time.
 * @returns undefined when the step's time is over
 * @throws what the device answers otherwise, and the reason of the signal
 */
export function untilFound<A>(doing: Doing, look: (device: Device) => Promise<A | undefined>): Promise<A | undefined> {
  const { keeping, owner, signal, deadlineAt } = doing;
  return doing.aside(async () => {
    for (;;) {
      signal.throwIfAborted();
      try {
        const device = keeping.device(owner.id);
        device?.heardOf();
        const found = device === undefined ? undefined : await look(device);
        if (found !== undefined) return found;
      } catch (error) {
        if (!(error instanceof DeviceFailure) || !STILL_AWAY.has(error.kind)) throw error;
      }
      if (deadlineAt !== null && Date.now() + keeping.lookMs >= deadlineAt) {
        await pause(Math.max(0, deadlineAt - Date.now()), signal);
        signal.throwIfAborted();
        return undefined;
      }
      await pause(keeping.lookMs, signal);
    }
  });
}
