/** What can be asked of a task, and what agents report of it. */
import type { Asked, Output } from "@millrace/contracts/devices/task-parts.ts";
import type { FailureClass, Outcome, WaitsFor } from "@millrace/contracts/devices/values.ts";
import type { Credentials } from "./device-state.ts";

export type PersonsTaskCommand =
  /** With the device's `enqueue`, all or nothing. */
  | {
      readonly do: "request";
      readonly device: string;
      readonly name: string;
      readonly site: string;
      readonly asked: Asked;
      readonly expiresInMs: number;
      readonly credentials?: Credentials;
      readonly bulk?: string;
    }
  /** Of one that waits for its turn with the device's `dequeue`, all or nothing. */
  | { readonly do: "cancel"; readonly reason?: string };

/**
 * What is not the step that `nextOfTask` names, or of another attempt or worker, is refused by the rule `overtaken`: the agent drops its
 * work, which another has taken over, or which is not wanted any more.
 */
export type WorkersTaskCommand =
  /** It has its turn: with the device's `begin`, all or nothing. */
  | { readonly do: "start"; readonly worker: string }
  | { readonly do: "beginStep"; readonly step: string; readonly attempt: number; readonly worker: string }
  | {
      readonly do: "completeStep";
      readonly step: string;
      readonly attempt: number;
      readonly worker: string;
      readonly output?: Output;
    }
  | {
      readonly do: "failStep";
      readonly step: string;
      readonly attempt: number;
      readonly worker: string;
      /** `transient` is tried again until the task expires, or for LIMITS.attempts; every other ends the task. */
      readonly class: FailureClass;
      /** Capitals, digits and underscores: `NOT_VERIFIED`. */
      readonly code: string;
      readonly message: string;
      readonly fix: string;
      /** Milliseconds since 1970; left out: by the number of the attempt, from half a second to a minute. */
      readonly retryAtMs?: number;
    }
  /** The device cannot be talked to now. `untilMs`: try again then, milliseconds since 1970; left out: when `resume` comes. */
  | { readonly do: "wait"; readonly for: WaitsFor; readonly reason: string; readonly untilMs?: number }
  /** It woke, or came back. */
  | { readonly do: "resume" }
  /** As `next` says: attempts are used up, or the step's deadline has passed. */
  | { readonly do: "giveUp"; readonly step: string; readonly reason: GiveUpReason; readonly worker: string }
  /** As `next` says. Of one that waits for its turn with the device's `dequeue`. */
  | { readonly do: "expire" }
  /** With the device's `end`, all or nothing. The outcome is checked against what has happened. */
  | { readonly do: "finish"; readonly outcome: Outcome };

export type GiveUpReason = "poison" | "deadline";
export type TaskCommand = PersonsTaskCommand | WorkersTaskCommand;
