/**
 * Steps of an apply: what differs is planned, written call by call, and looked at again. The way back is the same, towards what the plan
 * found before. Every write is looked for before it is sent a second time.
 */
import type { Output, Plan } from "@millrace/contracts/devices/task-parts.ts";
import { jsonBytes, LIMITS } from "@millrace/contracts/devices/values.ts";
import { isRefusal } from "@millrace/domain/decider.ts";
import { configurationFaults, isTree, merged } from "@millrace/domain/devices/configuration.ts";
import type { DeviceState } from "@millrace/domain/devices/device.ts";
import { sameJson } from "@millrace/domain/devices/drift.ts";
import { type Configuration, configurationOf } from "@millrace/domain/devices/model/configuration.ts";
import { pointerOf } from "@millrace/domain/devices/model/difference.ts";
import {
  isRefused,
  type Plan as ModelPlan,
  planOf as modelPlanOf,
  undoOf,
} from "@millrace/domain/devices/model/plan.ts";
import type { Json, Report, Write } from "@millrace/domain/devices/model/report.ts";
import { secretsIn, withSecrets } from "@millrace/domain/devices/model/secrets.ts";
import { fitted } from "@millrace/domain/devices/model/template.ts";
import { indexOf, planOf, type TaskState } from "@millrace/domain/devices/task-state.ts";
import { ha1Of } from "../adapters/shelly/digest.ts";
import { DeviceFailure } from "../adapters/shelly/failures.ts";
import { observedOf } from "../observed.ts";
import { bootedAt, notInTime, settledBoot, shortOf, untilBooted } from "./task-device.ts";
import { confirmGuarded, unguard, writeAt, writeGuarded } from "./task-guard.ts";
import { type Doing, deviceOf, type Perform, permanent, reported, type StepFault } from "./task-work.ts";

/** What was read of a device for a task a moment ago, so that planning need not read it again. */
const lately = new Map<string, { readonly report: Report; readonly at: number }>();
const LATELY_MS = 10_000;
const LATELY_MOST = 32;

const readNow = (doing: Doing): Promise<Report> => deviceOf(doing).report();

export const read: Perform = async (doing) => {
  const report = await readNow(doing);
  lately.delete(doing.state.id);
  lately.set(doing.state.id, { report, at: performance.now() });
  if (lately.size > LATELY_MOST) lately.delete(lately.keys().next().value!);
  return { also: [reported(doing.owner, observedOf(report).report)] };
};

async function readLately(doing: Doing): Promise<Report> {
  const known = lately.get(doing.state.id);
  lately.delete(doing.state.id);
  return known !== undefined && performance.now() - known.at < LATELY_MS ? known.report : readNow(doing);
}

/** What a task goes towards: what is wanted, or on the way back what was there. */
function targetOf(doing: Doing): Configuration {
  const there = planOf(doing.state, false);
  if (doing.undo) return (there?.before ?? {}) as Configuration;
  // Planned once: what is wanted by now is another task's.
  return (there?.target ?? doing.owner.desired ?? {}) as Configuration;
}

/** With `switch:*` said of each switch that it has. */
const allOf = (target: Configuration, report: Report): Configuration =>
  fitted(target, configurationOf(report)).configuration;

/** As the model plans it; what cannot be written is a fault of the step. */
function planned(target: Configuration, report: Report, applied: Configuration | null): ModelPlan {
  const made = modelPlanOf(report, allOf(target, report), applied === null ? null : allOf(applied, report));
  if (!isRefused(made)) return made;
  const [first] = made.refused;
  const more = made.refused.length > 1 ? ` (and ${made.refused.length - 1} more)` : "";
  throw permanent(
    first!.reason.toUpperCase().replaceAll("-", "_"),
    `${first!.component}${first!.path}: ${first!.detail}${more}`,
    first!.fix,
  );
}

const appliedOf = (owner: DeviceState): Configuration | null =>
  (owner.applied?.configuration ?? null) as Configuration | null;

/** Bytes of a plan in the log: what the rules take for one step's output, with room to spare. */
const PLAN_BYTES = 240 * 1024;

const shown = (value: Json): Json => {
  const text = JSON.stringify(value);
  return text.length <= LIMITS.shownValue ? value : `${text.slice(0, LIMITS.shownValue - 1)}…`.toWellFormed();
};

/** @throws StepFault */
export function shownPlan(owner: DeviceState, target: Configuration, report: Report, isBack = false): Plan {
  // On the way back nobody knows which secrets the device has by now.
  const applied = isBack ? null : appliedOf(owner);
  const made = planned(target, report, applied);
  const { changes, writes, again } = made;
  const before = beforeOf(report, made, applied);
  const fields = changes.slice(0, LIMITS.fields).map(({ component, path, desired, observed }) => ({
    component,
    path: pointerOf(path),
    ...(observed === undefined ? {} : { from: shown(observed) }),
    ...(desired === undefined ? {} : { to: shown(desired) }),
  }));
  const plan: Plan = {
    target,
    before,
    differences: fields,
    more: changes.length - fields.length,
    writes: writes as Plan["writes"],
    ...(again.length === 0 ? {} : { again }),
  };
  if (writes.length > LIMITS.writes || jsonBytes(plan) > PLAN_BYTES) {
    throw permanent("PLAN_TOO_LARGE", `It takes ${writes.length} writes, or too many bytes.`, "Apply less at a time.");
  }
  const refusal = configurationFaults(before, "/before", undefined, LIMITS.observedBytes).refusal();
  if (refusal !== undefined && isRefusal(refusal)) {
    throw permanent("UNFIT", "What the device has now cannot be kept to go back to.", "Change it on the device first.");
  }
  return plan;
}

const isProfile = ({ call }: Write): boolean =>
  "method" in call ? /^shelly\.setprofile$/i.test(call.method) : call.path === "/settings" && "mode" in call.query;

/**
 * What is to be gone back to. Another profile takes everything with it, and then it is all that was there; a network is tried in the other
 * station, which is then as it was, too.
 */
function beforeOf(report: Report, made: ModelPlan, applied: Configuration | null): Configuration {
  const observed = configurationOf(report);
  if (made.writes.some(isProfile)) return observed;
  const before = undoOf(report, made, applied);
  if (!made.writes.some(isNetwork) || !isTree(observed.wifi)) return before;
  const station = (name: string) => {
    const known = (observed.wifi as Record<string, Json>)[name];
    return isTree(known) ? { [name]: { ssid: known.ssid ?? null, enable: known.enable ?? null } } : {};
  };
  return merged(before, { wifi: { ...station("sta"), ...station("sta1") } }) as Configuration;
}

const isNetwork = ({ call }: Write): boolean => "method" in call && /^wifi\.setconfig$/i.test(call.method);

export const plan: Perform = async (doing) => {
  const report = await readLately(doing);
  return { output: { plan: shownPlan(doing.owner, targetOf(doing), report, doing.undo) } };
};

const writesOf = (state: TaskState, undo: boolean): ReadonlyArray<Write> =>
  (planOf(state, undo)?.writes ?? []) as ReadonlyArray<Write>;

/** In memory only, for the wire. */
export async function filled(doing: Doing, step: Write): Promise<Write> {
  const { keeping, state } = doing;
  const values = new Map<string, string>();
  for (const id of secretsIn(step)) values.set(id, await keeping.secret(id, state.organisation));
  return withSecrets(step, (id, use) => (use.as === "ha1" ? ha1Of(use.realm, values.get(id)!) : values.get(id)!));
}

export const write: Perform = async (doing) => {
  const writes = writesOf(doing.state, doing.undo);
  const index = indexOf(doing.step);
  const step = writes[index]!;
  if (!step.cutsOff) return { output: await writeOnce(doing, writes, index, doing.attempt > 1) };
  if (doing.attempt > 1 && isProfile(step) && !(await isDue(doing, writes, index))) return {};
  return { output: await writeGuarded(doing, await filled(doing, step)) };
};

export const confirm: Perform = async (doing) => confirmGuarded(doing, await filled(doing, writeAt(doing)));

/** @param looks it may have been sent before, by somebody who died or heard no answer */
export async function writeOnce(
  doing: Doing,
  writes: ReadonlyArray<Write>,
  index: number,
  looks: boolean,
): Promise<Output> {
  const step = writes[index]!;
  const device = deviceOf(doing);
  if (looks && !isRepeatable(step)) {
    if (isAppending(step)) return appendAgain(doing, writes, index);
    if (!(await isDue(doing, writes, index))) return { result: "it was there already" };
  }
  const { answer, restartRequired } = await device.write(await filled(doing, step)).catch((error: unknown) => {
    // What is to be gone is gone.
    if (error instanceof DeviceFailure && error.kind === "not-found" && looks && isRemoval(step)) return NOTHING;
    throw error;
  });
  doing.during();
  return { restartRequired, result: shortOf(answer) };
}

const NOTHING = { answer: null as Json, restartRequired: false };

const methodOf = ({ call }: Write): string => ("method" in call ? call.method.toLowerCase() : "");
const isRemoval = (step: Write): boolean => /\.delete$/.test(methodOf(step));
const isAppending = ({ call }: Write): boolean =>
  "method" in call && /^script\.putcode$/i.test(call.method) && call.params.append === true;

/** Sent twice it comes to the same. Whatever makes or removes an entry does not: the second would make another, or remove the next. */
const isRepeatable = (step: Write): boolean => !/\.(create|delete|add)$/.test(methodOf(step)) && !isAppending(step);

/** Whether the device, looked at now, still lacks what this write makes: planned anew, as often as it is still to come. */
async function isDue(doing: Doing, writes: ReadonlyArray<Write>, index: number): Promise<boolean> {
  const report = await readNow(doing);
  const now = planned(targetOf(doing), report, null).writes;
  const like = (one: Write) => sameJson(one.call, writes[index]!.call);
  return now.filter(like).length >= writes.slice(index).filter(like).length;
}

/** The pieces of a script's code up to this one, from its beginning. */
async function appendAgain(doing: Doing, writes: ReadonlyArray<Write>, index: number): Promise<Output> {
  const device = deviceOf(doing);
  const { call } = writes[index]!;
  const id = "method" in call ? call.params.id : undefined;
  let from = index;
  while (from > 0) {
    const { call: before } = writes[from - 1]!;
    if (!("method" in before) || !/^script\.putcode$/i.test(before.method) || before.params.id !== id) break;
    from -= 1;
    if (before.params.append !== true) break;
  }
  let answer: Json = null;
  for (const step of writes.slice(from, index + 1)) answer = (await device.write(step)).answer;
  doing.during();
  return { result: shortOf(answer) };
}

export const rebootOnce: Perform = async (doing) => {
  // Down and up again already, since this step was begun.
  if (doing.attempt > 1) {
    const began = await bootedAt(deviceOf(doing)).catch((error: unknown) => {
      if (error instanceof DeviceFailure) return 0;
      throw error;
    });
    if (began > doing.startedMs) return { output: { bootedAt: began } };
  }
  const before = await settledBoot(doing);
  await deviceOf(doing).reboot();
  doing.during();
  const began = await untilBooted(doing, before);
  return began === undefined ? notInTime() : { output: { bootedAt: began } };
};

/** Rounds of what could be planned only when the rest was there: code of a script that was made now, components of another profile. */
const ROUNDS = 3;

export const verify: Perform = async (doing) => {
  const target = targetOf(doing);
  const again = planOf(doing.state, doing.undo)?.again ?? [];
  // Nothing of a trial stays on the device, however it ended.
  if (doing.undo) await unguard(deviceOf(doing), doing.state);
  for (let round = 0; ; round++) {
    const report = await readNow(doing);
    const { changes, writes } = planned(target, report, allOf(target, report));
    if (changes.length === 0 && writes.length === 0) {
      return { also: [reported(doing.owner, observedOf(report).report)] };
    }
    const mayWrite = again.length > 0 && round < ROUNDS && writes.length > 0 && writes.every(({ cutsOff }) => !cutsOff);
    if (!mayWrite) throw notVerified(changes);
    for (const step of writes) {
      await deviceOf(doing).write(await filled(doing, step));
      doing.during();
    }
  }
};

function notVerified(changes: ModelPlan["changes"]): StepFault {
  const [first] = changes;
  const text = (value: Json | undefined) => (value === undefined ? "not there" : JSON.stringify(shown(value)));
  const more = changes.length > 1 ? ` (and ${changes.length - 1} more)` : "";
  const said =
    first === undefined
      ? "It is not as it should be."
      : `${first.component}${pointerOf(first.path)} is ${text(first.observed)}, and should be ${text(first.desired)}${more}.`;
  return permanent(
    "NOT_VERIFIED",
    said,
    "See whether something else changes it, or whether the model can do it at all.",
  );
}
