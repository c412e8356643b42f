/**
 * The reactors of devices' tasks: whose turn it is, and each step of a task: begun in the log, done on the device, recorded. A device has
 * one task at a time, and one worker by the lease of the device.
 */
import type { Output } from "@millrace/contracts/devices/task-parts.ts";

import { type DeviceCommand, type DeviceState, device } from "@millrace/domain/devices/device.ts";
import { type DeviceStep, nextOfDevice } from "@millrace/domain/devices/device-decide.ts";
import { beginTask, expireTask, finishTask } from "@millrace/domain/devices/request.ts";
import { task } from "@millrace/domain/devices/task.ts";
import type { TaskCommand } from "@millrace/domain/devices/task-command.ts";
import { interruptsTask, type Next, nextOfTask, type TaskStep } from "@millrace/domain/devices/task-next.ts";
import { isUndo, type TaskState, UNDO } from "@millrace/domain/devices/task-state.ts";
import type { PlannedPart } from "@millrace/domain/reads.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Reactor, Verdict } from "@millrace/eventlog/worker.ts";
import { confirm, plan, read, rebootOnce, verify, write } from "./task-apply.ts";
import {
  act,
  awaitReboot,
  checkLogin,
  checkReboot,
  confirmLogin,
  prepareAction,
  readAll,
  setLogin,
  triggerReboot,
} from "./task-device.ts";
import { awaitFirmware, checkFirmware, triggerFirmware, verifyFirmware } from "./task-firmware.ts";
import { guard } from "./task-guard.ts";
import {
  absence,
  type Doing,
  type Done,
  hasCome,
  type Keeping,
  type Perform,
  policyOf,
  type TaskWork,
} from "./task-work.ts";

const AGAIN: Verdict = { again: true };

type Kind = NonNullable<TaskState["asked"]>["kind"];

/** By kind and the step's name without its number. */
const STEPS: { readonly [K in Kind]: Readonly<Record<string, Perform>> } = {
  apply: { read, plan, write, guard, confirm, reboot: rebootOnce, verify },
  firmware: { check: checkFirmware, trigger: triggerFirmware, await: awaitFirmware, verify: verifyFirmware },
  reboot: { check: checkReboot, trigger: triggerReboot, await: awaitReboot },
  action: { prepare: prepareAction, act },
  authentication: { check: checkLogin, set: setLogin, confirm: confirmLogin },
  read: { read: readAll },
};

/** Steps in which the device goes away by itself, so that nothing is made of it. */
const GOES_AWAY = new Set(["await", "confirm", "reboot"]);

const nameOf = (step: string): string => (isUndo(step) ? step.slice(UNDO.length) : step).replace(/:.*$/, "");

const ownerOf = (keeping: Keeping, id: string): DeviceState | undefined => keeping.index.get(device, id)?.state;

/** What is next, when what it waits for has come, too. */
export function nextHere(keeping: Keeping, state: TaskState, nowMs: number): Next<TaskStep> {
  const { waiting } = state;
  const come = waiting !== null && hasCome(waiting, ownerOf(keeping, state.device));
  return nextOfTask(come ? { ...state, waiting: null } : state, nowMs);
}

export const taskReactor = (keeping: Keeping): Reactor<TaskState, TaskCommand, TaskStep> => ({
  kind: task,
  unit: (state) => state.device,
  mine: (state) => state.site === keeping.site && keeping.device(state.device) !== undefined,
  next: (state, nowMs) => nextHere(keeping, state, nowMs),
  interrupts: interruptsTask,
  perform: (step, work) => {
    switch (step.kind) {
      case "step":
        return performStep(keeping, step, work);
      case "giveUp":
        return record(work, { do: "giveUp", step: step.step, reason: step.reason, worker: work.worker });
      case "expire":
        return recordAll(work, expireTask(work.loaded.state));
      case "finish":
        return finish(step, work);
    }
  },
});

/** Its own reactor, for whose turn it is stands with the device. */
export const turnReactor = (keeping: Keeping): Reactor<DeviceState, DeviceCommand, DeviceStep> => ({
  kind: device,
  mine: (state) => state.site === keeping.site && keeping.device(state.id) !== undefined,
  next: nextOfDevice,
  perform: async (_, work) => {
    faultPoint("task.begin.before");
    const [own, ...also] = beginTask(work.loaded.state, work.worker);
    await work.record(own!.command as DeviceCommand, also);
    faultPoint("task.begin.recorded");
    return AGAIN;
  },
});

async function record(work: TaskWork, command: TaskCommand): Promise<Verdict> {
  await work.record(command);
  return AGAIN;
}

/** Together, all or nothing; the first is the aggregate's own. */
async function recordAll(work: Pick<TaskWork, "record">, parts: ReadonlyArray<PlannedPart>): Promise<Verdict> {
  const [own, ...also] = parts;
  await work.record(own!.command as TaskCommand, also);
  return AGAIN;
}

async function finish(step: Extract<TaskStep, { kind: "finish" }>, work: TaskWork): Promise<Verdict> {
  faultPoint("task.finish.before");
  await recordAll(work, finishTask(work.loaded.state, step));
  faultPoint("task.finish.recorded");
  return AGAIN;
}

async function performStep(
  keeping: Keeping,
  { step, attempt, deadlineAt }: Extract<TaskStep, { kind: "step" }>,
  work: TaskWork,
): Promise<Verdict> {
  const { worker } = work;
  const name = nameOf(step);
  const before = work.loaded.state;
  const gone = GOES_AWAY.has(name) ? undefined : absence(ownerOf(keeping, before.device));
  if (gone !== undefined) return record(work, { do: "wait", ...gone });
  // The intent stands in the log before the device is touched.
  const { state } = await work.record({ do: "beginStep", step, attempt, worker });
  const point = (when: string) => faultPoint(`task.${isUndo(step) ? "undo." : ""}${name}.${when}`);
  point("before");
  const late = deadlineAt !== null && deadlineAt <= Date.now();
  let done: Done;
  try {
    const { state: owner } = await keeping.log.aggregates.load(device, state.device);
    const doing: Doing = {
      keeping,
      state,
      owner,
      step,
      undo: isUndo(step),
      attempt,
      startedMs: Date.parse(state.steps[step]!.startedAt),
      deadlineAt,
      signal: work.signal,
      during: () => point("during"),
      aside: (wait) => work.aside(wait),
    };
    done = await STEPS[state.asked!.kind][name]!(doing);
  } catch (error) {
    if (work.signal.aborted) throw work.signal.reason;
    // Its time is over: `next` says so, from the log.
    if (late || (deadlineAt !== null && Date.now() >= deadlineAt)) return AGAIN;
    return failed(keeping, { step, attempt }, state, error, work);
  }
  point("after");
  const output: Output = done.output ?? {};
  await work.record({ do: "completeStep", step, attempt, worker, output }, done.also ?? []);
  point("recorded");
  return AGAIN;
}

async function failed(
  keeping: Keeping,
  { step, attempt }: { readonly step: string; readonly attempt: number },
  state: TaskState,
  error: unknown,
  work: TaskWork,
): Promise<Verdict> {
  const { worker } = work;
  const owner = ownerOf(keeping, state.device);
  const policy = policyOf(error, owner, state.steps[step]?.tries ?? 1, Date.now());
  if (!("wait" in policy)) return record(work, { do: "failStep", step, attempt, worker, ...policy });
  const { wait, ...more } = policy;
  return record(work, { do: "wait", for: wait, ...more });
}
