/** The task: one thing done on one device, in steps that stand in the log before and after they are done. */
import { taskEvents } from "@millrace/contracts/devices/task-events.ts";
import type { Kind } from "../kind.ts";
import type { TaskCommand } from "./task-command.ts";
import { decide } from "./task-decide.ts";
import { taskEventDeclarations } from "./task-events.ts";
import { evolve, initial, isOver, represent, type TaskEvent, type TaskState } from "./task-state.ts";

export const task: Kind<TaskState, TaskCommand, TaskEvent> = {
  context: "devices",
  kind: "task",
  prefix: "tsk",
  collection: "device-tasks",
  decider: { initial, evolve, decide },
  events: taskEventDeclarations,
  publicEvents: taskEvents,
  generation: () => 1,
  exists: (state) => state.exists,
  over: isOver,
  parents: (state) => [state.device],
  represent,
  stateVersion: 1,
};

export type { TaskCommand, TaskEvent, TaskState };
