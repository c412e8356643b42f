/** A task on a device as folded from its events. */
import type * as shape from "@millrace/contracts/devices/task-events.ts";
import type { Asked, Output, Plan } from "@millrace/contracts/devices/task-parts.ts";
import type { FailureClass, Outcome, TaskStateName, WaitsFor } from "@millrace/contracts/devices/values.ts";
import type { Actor, EventMeta } from "../decider.ts";
import type { Credentials } from "./device-state.ts";

export type TaskEventType = keyof typeof shape.taskEvents;
type Logged<T extends TaskEventType> = T extends "TaskRequested"
  ? (typeof shape)[T]["Type"] & { readonly credentials?: Credentials }
  : (typeof shape)[T]["Type"];
export type TaskEvent = { [T in TaskEventType]: { readonly type: T; readonly data: Logged<T> } }[TaskEventType];

export interface StepState {
  /** `interrupted`: what it needs was not there; begun again when it is. */
  readonly state: "running" | "completed" | "failed" | "interrupted";
  /** From 1, over all. */
  readonly attempt: number;
  /** Since what it needs was last waited for: these are limited. */
  readonly tries: number;
  readonly worker: string;
  /** Of the first attempt: time-outs count from it. */
  readonly startedAt: string;
  readonly completedAt?: string;
  readonly output?: Output;
  readonly error?: {
    readonly class: FailureClass;
    readonly code: string;
    readonly message: string;
    readonly fix: string;
  };
  /** Milliseconds since 1970; left out of a failed one: for good. */
  readonly retryAtMs?: number;
}

export interface Failure {
  readonly step: string;
  readonly code: string;
  readonly message: string;
  readonly fix: string;
}

export interface TaskState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly device: string;
  readonly name: string;
  readonly site: string;
  readonly asked: Asked | null;
  /** Of an authentication: what the device is to take from then on; null: nothing. */
  readonly credentials: Credentials | null;
  readonly bulk: string | null;
  readonly expiresAt: string;
  readonly state: TaskStateName;
  readonly steps: Readonly<Record<string, StepState>>;
  readonly waiting: {
    readonly for: WaitsFor;
    readonly reason: string;
    readonly since: string;
    readonly until?: string;
  } | null;
  /** What stopped it on its way, whichever came first, and when. */
  readonly stopped: { readonly because: "failure" | "cancellation" | "expiry"; readonly at: string } | null;
  readonly cancellation: { readonly by: Actor; readonly at: string; readonly reason?: string } | null;
  readonly failure: Failure | null;
  readonly undone: "nothing" | "all" | "not" | null;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly requestedBy: Actor | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export const initial = (id: string): TaskState => ({
  id,
  exists: false,
  organisation: "",
  device: "",
  name: "",
  site: "",
  asked: null,
  credentials: null,
  bulk: null,
  expiresAt: "",
  state: "queued",
  steps: {},
  waiting: null,
  stopped: null,
  cancellation: null,
  failure: null,
  undone: null,
  startedAt: null,
  finishedAt: null,
  requestedBy: null,
  createdAt: "",
  updatedAt: "",
});

const ENDS: ReadonlyArray<TaskStateName> = ["succeeded", "failed", "cancelled", "expired"];
export const isOver = ({ state }: Pick<TaskState, "state">): boolean => ENDS.includes(state);

export const UNDO = "undo/";
export const isUndo = (step: string): boolean => step.startsWith(UNDO);
/** Number of a write in its plan: of `write:3` and `undo/guard:3` it is 3. */
export const indexOf = (step: string): number => Number(step.slice(step.indexOf(":") + 1));

/** The plan that was made on the way there, or on the way back. */
export const planOf = ({ steps }: Pick<TaskState, "steps">, undo: boolean): Plan | undefined =>
  steps[undo ? `${UNDO}plan` : "plan"]?.output?.plan;

/** Something may have been written: then there is a way back. */
export const hasWritten = ({ steps }: Pick<TaskState, "steps">): boolean =>
  Object.keys(steps).some((step) => step.startsWith("write:"));

export function evolve(before: TaskState, event: TaskEvent, meta: EventMeta): TaskState {
  const { time } = meta;
  const state = { ...before, updatedAt: time };
  const over = (name: Outcome, undone: TaskState["undone"]) => ({
    ...state,
    state: name,
    undone,
    waiting: null,
    finishedAt: time,
  });
  switch (event.type) {
    case "TaskRequested": {
      const { bulk = null, credentials = null, ...data } = event.data;
      const made = { exists: true, organisation: meta.organisation, requestedBy: meta.actor, createdAt: time };
      return { ...initial(before.id), ...data, ...made, bulk, credentials, updatedAt: time };
    }
    case "TaskStarted":
      return { ...state, state: "running", startedAt: time };
    case "StepStarted":
    case "StepCompleted":
    case "StepFailed":
      return stepped(state, event, time);
    case "TaskWaiting":
      return waits(state, { ...event.data, since: time });
    case "TaskResumed":
      return resumed(state);
    case "TaskCancellationRequested":
      return stop({ ...state, cancellation: { ...event.data, by: meta.actor, at: time } }, "cancellation", time);
    case "TaskTimeIsUp":
      return stop(state, "expiry", time);
    case "TaskSucceeded":
      return over("succeeded", null);
    case "TaskFailed": {
      const { undone, ...failure } = event.data;
      return { ...over("failed", undone), failure };
    }
    case "TaskCancelled":
      return over("cancelled", event.data.undone);
    case "TaskExpired":
      return over("expired", event.data.undone);
  }
}

const resumed = (state: TaskState): TaskState => ({
  ...state,
  waiting: null,
  state: state.state === "waiting" ? "running" : state.state,
});

/** The step under way is broken off, and may be begun as often again. */
function waits(state: TaskState, waiting: NonNullable<TaskState["waiting"]>): TaskState {
  const steps = Object.fromEntries(
    Object.entries(state.steps).map(([name, step]) => [
      name,
      step.state === "completed" ? step : { ...step, state: "interrupted" as const, tries: 0 },
    ]),
  );
  return { ...state, steps, waiting, state: state.state === "running" ? "waiting" : state.state };
}

/** It goes no further; what it has written is taken back next. */
function stop(state: TaskState, because: NonNullable<TaskState["stopped"]>["because"], at: string): TaskState {
  if (state.stopped !== null || isOver(state)) return state;
  const back = hasWritten(state);
  return {
    ...state,
    stopped: { because, at },
    waiting: null,
    state: back ? "undoing" : state.state === "waiting" ? "running" : state.state,
  };
}

function stepped(
  state: TaskState,
  event: Extract<TaskEvent, { type: "StepStarted" | "StepCompleted" | "StepFailed" }>,
  time: string,
): TaskState {
  const { step, attempt, worker } = event.data;
  const known = state.steps[step];
  const put = (now: StepState, more: Partial<TaskState> = {}): TaskState => ({
    ...state,
    ...more,
    steps: { ...state.steps, [step]: now },
  });
  const startedAt = known?.startedAt ?? time;
  const tries = known?.tries ?? 0;
  switch (event.type) {
    case "StepStarted": {
      const started: StepState = { state: "running", attempt, tries: tries + 1, worker, startedAt };
      return put(started, { waiting: null, state: state.state === "waiting" ? "running" : state.state });
    }
    case "StepCompleted": {
      const { output } = event.data;
      return put({ state: "completed", attempt, tries, worker, startedAt, completedAt: time, output });
    }
    case "StepFailed": {
      const { class: kind, code, message, fix, retryAt } = event.data;
      const error = { class: kind, code, message, fix };
      const failed: StepState = { state: "failed", attempt, tries, worker, startedAt, error };
      if (retryAt !== undefined) return put({ ...failed, retryAtMs: Date.parse(retryAt) });
      // Of the way back the first cause stays what is told.
      const failure = state.failure ?? { step, code, message, fix };
      return stop(put(failed, { failure }), "failure", time);
    }
  }
}

const given = <K extends string, V>(name: K, value: V | null | undefined): { readonly [P in K]?: V } =>
  (value === null || value === undefined ? {} : { [name]: value }) as { readonly [P in K]?: V };

function specAndStatus(state: TaskState) {
  const { id, organisation, device, name, site, asked, expiresAt } = state;
  return {
    id,
    organisation,
    generation: 1,
    spec: { device, name, site, asked: asked!, expiresAt, ...given("bulk", state.bulk) },
    status: {
      state: state.state,
      ...given("waiting", state.waiting),
      ...given("stopped", state.stopped),
      ...given("cancellation", state.cancellation),
      ...given("failure", state.failure),
      ...given("undone", state.undone),
      ...given("startedAt", state.startedAt),
      ...given("finishedAt", state.finishedAt),
    },
    requestedBy: state.requestedBy!,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  };
}

export function represent(state: TaskState) {
  const brief = specAndStatus(state);
  const steps = Object.entries(state.steps).map(([step, { tries: _, retryAtMs, output, ...known }]) => {
    const { plan: __, ...rest } = output ?? {};
    const retry = retryAtMs === undefined ? {} : { retryAt: new Date(retryAtMs).toISOString() };
    return { step, ...known, ...retry, ...(Object.keys(rest).length === 0 ? {} : { output: rest }) };
  });
  return { ...brief, status: { ...brief.status, steps, ...given("plan", planOf(state, false)) } };
}
