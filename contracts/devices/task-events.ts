/** What the world sees of tasks on devices. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { Asked, Output } from "./task-parts.ts";
import { FAILURE_CLASSES, WAITS } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

export const TaskRequested = Schema.Struct({
  device: text("Id of the device"),
  name: text("Its name then"),
  site: text("Where it stands"),
  asked: Asked,
  expiresAt: text("When it is given up if it could not be done; RFC 3339"),
  bulk: optionalKey(text("Id of the bulk operation it belongs to")),
});
export const TaskStarted = Schema.Struct({ worker: text("Which agent took it") });
const step = text("`read`, `plan`, `write:0`, `verify` …; `undo/…` on the way back");
const attempt = Schema.Int.annotate({ description: "Counts the attempts of the step, from 1" });
const worker = text("Which agent");
export const StepStarted = Schema.Struct({ step, attempt, worker });
export const StepCompleted = Schema.Struct({ step, attempt, worker, output: Output });
export const StepFailed = Schema.Struct({
  step,
  attempt,
  worker,
  class: Schema.Literals(FAILURE_CLASSES),
  code: text("Capitals, digits and underscores"),
  message: text("What happened"),
  fix: text("What to do"),
  retryAt: optionalKey(text("When it is tried again; left out: it is not")),
});
export const TaskWaiting = Schema.Struct({
  for: Schema.Literals(WAITS),
  reason: text("What it waits for, in one line"),
  until: optionalKey(text("It is tried again then; RFC 3339")),
});
export const TaskResumed = Schema.Struct({});
export const TaskCancellationRequested = Schema.Struct({ reason: optionalKey(text("Why")) });
export const TaskTimeIsUp = Schema.Struct({});
const undone = Schema.Literals(["nothing", "all", "not"]).annotate({
  description:
    "Of what it had written: there was `nothing`, `all` was taken back, or it could `not` be and a person has to look",
});
export const TaskSucceeded = Schema.Struct({
  writes: Schema.Int.annotate({ description: "How many writes it took" }),
});
export const TaskFailed = Schema.Struct({
  step,
  code: Schema.String,
  message: Schema.String,
  fix: Schema.String,
  undone,
});
export const TaskCancelled = Schema.Struct({ undone });
export const TaskExpired = Schema.Struct({ undone });

export const taskEvents = {
  TaskRequested: { version: 1, data: TaskRequested, description: "Something was asked of a device." },
  TaskStarted: { version: 1, data: TaskStarted, description: "An agent began a task." },
  StepStarted: { version: 1, data: StepStarted, description: "An agent is about to do a step of a task." },
  StepCompleted: { version: 1, data: StepCompleted, description: "A step of a task was done." },
  StepFailed: { version: 1, data: StepFailed, description: "A step of a task failed, for now or for good." },
  TaskWaiting: {
    version: 1,
    data: TaskWaiting,
    description: "A task waits until its device wakes, returns or lets somebody in.",
  },
  TaskResumed: { version: 1, data: TaskResumed, description: "What a task waited for has come." },
  TaskCancellationRequested: {
    version: 1,
    data: TaskCancellationRequested,
    description: "Somebody asked for a task to be cancelled.",
  },
  TaskTimeIsUp: {
    version: 1,
    data: TaskTimeIsUp,
    description: "A task was not done in time; what it has written is taken back.",
  },
  TaskSucceeded: { version: 1, data: TaskSucceeded, description: "A task was done, and was seen to be done." },
  TaskFailed: { version: 1, data: TaskFailed, description: "A task failed." },
  TaskCancelled: { version: 1, data: TaskCancelled, description: "A task was cancelled." },
  TaskExpired: { version: 1, data: TaskExpired, description: "A task could not be done in time." },
} as const satisfies PublicEvents;
