/** The rules of tasks. */
import { FAILURE_CLASSES, jsonBytes, LIMITS, PATTERNS } from "@millrace/contracts/devices/values.ts";
import { type Circumstances, type Decision, invalid, type Refusal, rule } from "../decider.ts";
import { configurationFaults } from "./configuration.ts";
import { overtaken } from "./device-decide.ts";
import type { TaskCommand, WorkersTaskCommand } from "./task-command.ts";
import { nextOfTask, outcomeOf, stepsOf, type TaskStep, undoneOf } from "./task-next.ts";
import { isOver, type TaskEvent, type TaskState } from "./task-state.ts";

type Answer = Decision<TaskEvent>;
type Of<D extends TaskCommand["do"]> = Extract<TaskCommand, { do: D }>;

const notThere: Refusal = { refused: "not-found", reason: "There is no such task." };
/** Bytes of a step's output: a plan is the largest, with the calls of all its writes. */
const OUTPUT_MOST = 256 * 1024;

export function decide(command: TaskCommand, state: TaskState, around: Circumstances): Answer {
  if (command.do === "request") return request(command, state, around.now);
  if (!state.exists) return notThere;
  switch (command.do) {
    case "cancel":
      return cancel(command.reason, state);
    case "start":
      return state.state === "queued" ? { events: [{ type: "TaskStarted", data: { worker: command.worker } }] } : begun;
    case "wait":
      return wait(command, state, around.now);
    case "resume":
      return { events: state.waiting === null ? [] : [{ type: "TaskResumed", data: {} }] };
    case "expire":
      return expire(state, around.now);
    case "finish":
      return finish(command, state, around.now);
    default:
      return decideStep(command, state, around.now);
  }
}

const begun = overtaken("It has been begun already.");

function request({ do: _, expiresInMs, ...data }: Of<"request">, state: TaskState, now: string): Answer {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This task exists already.", fix: "Use another Idempotency-Key." };
  }
  const { least, most } = LIMITS.expires;
  if (!Number.isSafeInteger(expiresInMs) || expiresInMs < least || expiresInMs > most) {
    return invalid("/body/expiresInMs", `${least} to ${most} milliseconds`);
  }
  const { asked } = data;
  if (asked.kind === "firmware" && asked.stage !== undefined && asked.url !== undefined) {
    return invalid("/body/url", "cannot be given together with a stage", "Give one of the two.");
  }
  const expiresAt = new Date(Date.parse(now) + expiresInMs).toISOString();
  return { events: [{ type: "TaskRequested", data: { ...data, expiresAt } }] };
}

function cancel(reason: string | undefined, state: TaskState): Answer {
  if (reason !== undefined && !PATTERNS.line.test(reason)) {
    return invalid("/body/reason", `one line of at most ${LIMITS.reason} characters`);
  }
  if (state.cancellation !== null) return { events: [] };
  if (isOver(state))
    return rule("task-over", `The task is over: ${state.state}.`, "Ask for another, if one is wanted.");
  // It is on its way back already, for another reason.
  if (state.stopped !== null) return { events: [] };
  const data = reason === undefined ? {} : { reason };
  const events: TaskEvent[] = [{ type: "TaskCancellationRequested", data }];
  if (state.state === "queued") events.push({ type: "TaskCancelled", data: { undone: "nothing" } });
  return { events };
}

const excerptOf = (text: string, most: number = LIMITS.reason): string => {
  const line = text
    .replaceAll(/[\p{Cc}\s]+/gu, " ")
    .toWellFormed()
    .trim();
  return line.length <= most ? line || "?" : `${line.slice(0, most - 1)}…`.toWellFormed();
};

function wait({ for: what, reason, untilMs }: Of<"wait">, state: TaskState, now: string): Answer {
  if (isOver(state) || state.state === "queued") return overtaken("It is not under way.");
  const said = excerptOf(reason);
  const until = untilMs === undefined ? {} : { until: new Date(Math.max(untilMs, Date.parse(now))).toISOString() };
  const same = state.waiting?.for === what && state.waiting.reason === said && state.waiting.until === until.until;
  return { events: same ? [] : [{ type: "TaskWaiting", data: { for: what, reason: said, ...until } }] };
}

const stepNow = (state: TaskState, now: string): TaskStep | undefined => {
  const next = nextOfTask(state, Date.parse(now));
  return next !== undefined && "do" in next ? next.do : undefined;
};

function expire(state: TaskState, now: string): Answer {
  if (stepNow(state, now)?.kind !== "expire") return overtaken("It has not expired.");
  return {
    events: [
      state.state === "queued"
        ? { type: "TaskExpired", data: { undone: "nothing" } }
        : { type: "TaskTimeIsUp", data: {} },
    ],
  };
}

/** From half a second to a minute, by the number of the attempt. */
export const backoffMs = (attempt: number): number => Math.min(60_000, 500 * 2 ** Math.min(attempt - 1, 7));

function decideStep(
  command: Extract<WorkersTaskCommand, { do: "beginStep" | "completeStep" | "failStep" | "giveUp" }>,
  state: TaskState,
  now: string,
): Answer {
  const { step, worker } = command;
  if (!PATTERNS.line.test(worker) || worker.length > 200)
    return invalid("/body/worker", "one line of at most 200 characters");
  const known = state.steps[step];
  if (command.do === "beginStep") {
    const next = stepNow(state, now);
    // `waiting` is asked about by whoever finds the device there: a beginning ends it.
    const awake = state.waiting === null ? next : stepNow({ ...state, waiting: null }, now);
    if (awake?.kind !== "step" || awake.step !== step || awake.attempt !== command.attempt) {
      return overtaken(`${step} is not to be begun with attempt ${command.attempt}.`);
    }
    return { events: [{ type: "StepStarted", data: { step, attempt: command.attempt, worker } }] };
  }
  if (command.do === "giveUp") return giveUp(command, state, now);
  if (known?.state !== "running" || known.attempt !== command.attempt || known.worker !== worker) {
    return overtaken(`This is not the current attempt of ${step}.`);
  }
  if (!stepsOf(state).includes(step)) return overtaken(`${step} is not wanted any more.`);
  const { attempt } = command;
  if (command.do === "completeStep") {
    const { output = {} } = command;
    if (jsonBytes(output) > OUTPUT_MOST) return invalid("/body/output", `${OUTPUT_MOST} bytes of JSON at the most`);
    if (output.plan !== undefined) {
      if (output.plan.writes.length > LIMITS.writes)
        return invalid("/body/output/plan", `${LIMITS.writes} writes at the most`);
      // What was there goes into an event: it must hold no password, either.
      const faults = configurationFaults(output.plan.before, "/output/plan/before", undefined, LIMITS.observedBytes);
      const refusal = faults.refusal();
      if (refusal !== undefined) return refusal;
    }
    return { events: [{ type: "StepCompleted", data: { step, attempt, worker, output } }] };
  }
  const { class: kind, code, message, fix, retryAtMs } = command;
  if (!FAILURE_CLASSES.includes(kind)) return invalid("/body/class", `one of ${FAILURE_CLASSES.join(", ")}`);
  const at = Math.max(retryAtMs ?? Date.parse(now) + backoffMs(known.tries), Date.parse(now));
  const error = {
    class: kind,
    code: PATTERNS.code.test(code) ? code : "UNKNOWN",
    message: excerptOf(message),
    fix: excerptOf(fix),
  };
  const retry =
    kind === "transient" ? { retryAt: new Date(Math.min(at, Date.parse(now) + 86_400_000)).toISOString() } : {};
  return { events: [{ type: "StepFailed", data: { step, attempt, worker, ...error, ...retry } }] };
}

function giveUp({ step, reason, worker }: Of<"giveUp">, state: TaskState, now: string): Answer {
  const next = stepNow(state, now);
  if (next?.kind !== "giveUp" || next.step !== step || next.reason !== reason) return overtaken("It is not so.");
  const known = state.steps[step];
  const last = known?.error;
  const because = last === undefined ? "" : ` The last attempt said: ${last.message}`;
  const poison = reason === "poison";
  return {
    events: [
      {
        type: "StepFailed",
        data: {
          step,
          attempt: known?.attempt ?? 0,
          worker,
          class: poison ? "permanent" : "timeout",
          code: poison ? (last?.code ?? "POISON") : "DEADLINE",
          message: excerptOf(
            poison
              ? `${LIMITS.attempts} attempts of ${step} have failed, or ended with their agent.${because}`
              : `${step} was not done in time.${because}`,
          ),
          fix: last?.fix ?? "See whether the device answers, then ask for it again.",
        },
      },
    ],
  };
}

function finish({ outcome }: Of<"finish">, state: TaskState, now: string): Answer {
  const next = stepNow(state, now);
  if (next?.kind !== "finish" || next.outcome !== outcome || outcomeOf(state) !== outcome) {
    return overtaken(`It does not end as ${outcome} now.`);
  }
  const undone = undoneOf(state);
  switch (outcome) {
    case "succeeded": {
      const writes = Object.keys(state.steps).filter((step) => step.startsWith("write:")).length;
      return { events: [{ type: "TaskSucceeded", data: { writes } }] };
    }
    case "failed": {
      const { step, code, message, fix } = state.failure!;
      const more = undone === "not" ? " What it had written could not all be taken back: look at the device." : "";
      return {
        events: [{ type: "TaskFailed", data: { step, code, message: excerptOf(message + more), fix, undone } }],
      };
    }
    case "cancelled":
      return { events: [{ type: "TaskCancelled", data: { undone } }] };
    case "expired":
      return { events: [{ type: "TaskExpired", data: { undone } }] };
  }
}
