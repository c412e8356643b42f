/** Steps of the tasks that do one thing: a reboot, an action, a reading, another password. */
import type { Action } from "@millrace/contracts/devices/task-parts.ts";
import { device as deviceKind } from "@millrace/domain/devices/device.ts";
import type { Json } from "@millrace/domain/devices/model/report.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import type { Device } from "../adapters/shelly/device.ts";
import { DeviceFailure } from "../adapters/shelly/failures.ts";
import { isObject, numberAt, textAt } from "../adapters/shelly/json.ts";
import type { Credentials } from "../adapters/shelly/login.ts";
import { observedOf } from "../observed.ts";
import { actionCalls } from "./task-actions.ts";
import { type Doing, deviceOf, type Perform, permanent, reported, untilFound } from "./task-work.ts";

/** Two beginnings are told apart by the seconds since them, which devices tell as whole numbers. */
const APART_MS = 1_500;
/** A device that has just begun is left so long, in seconds, until it is sent down again. */
const SETTLED_S = 3;

const sysOf = (device: Device, status: Json): Json | undefined =>
  device.identity.generation === 1 ? status : isObject(status) ? status.sys : undefined;

/** When a device began, milliseconds since 1970, to a second. @throws DeviceFailure, StepFault */
export async function bootedAt(device: Device): Promise<number> {
  const uptime = numberAt(sysOf(device, await device.status()), "uptime");
  if (uptime === undefined) throw permanent("NO_UPTIME", "It does not say since when it runs.", "Update its firmware.");
  return Date.now() - uptime * 1_000;
}

/** As `bootedAt`, when it has run for so long that another beginning shows. */
export async function settledBoot(doing: Doing): Promise<number> {
  for (;;) {
    const began = await bootedAt(deviceOf(doing));
    const left = began + SETTLED_S * 1_000 - Date.now();
    if (left <= 0 || doing.signal.aborted) return began;
    await doing.aside(() => pause(left, doing.signal));
  }
}

/** Waits until it has begun after `before`. @returns undefined when the time is over */
export const untilBooted = (doing: Doing, before: number): Promise<number | undefined> =>
  untilFound(doing, async (device) => {
    const began = await bootedAt(device);
    return began > before + APART_MS ? began : undefined;
  });

const outputOf = (doing: Doing, step: string) => doing.state.steps[step]?.output;

export const checkReboot: Perform = async (doing) => ({ output: { bootedAt: await settledBoot(doing) } });

export const triggerReboot: Perform = async (doing) => {
  const before = outputOf(doing, "check")?.bootedAt ?? 0;
  // It may have been sent down by somebody who died before it was recorded.
  if (doing.attempt > 1 && (await bootedAt(deviceOf(doing))) > before + APART_MS) return {};
  await deviceOf(doing).reboot();
  doing.during();
  return {};
};

export const awaitReboot: Perform = async (doing) => {
  const began = await untilBooted(doing, outputOf(doing, "check")?.bootedAt ?? 0);
  return began === undefined ? notInTime() : { output: { bootedAt: began } };
};

/** `next` says so from the log: the step's time is over. */
export const notInTime = (): never => {
  throw permanent("DEADLINE", "It has not come back in time.", "See whether it has power and network.");
};

export const readAll: Perform = async (doing) => {
  const found = observedOf(await deviceOf(doing).report());
  return { also: [reported(doing.owner, found.report)] };
};

/** What is asked for, with `toggle` made `on` or `off` by what is there now: so it is never done twice. */
export const prepareAction: Perform = async (doing) => {
  const asked = actionAsked(doing);
  if (asked.action !== "toggle") return { output: { action: asked } };
  const device = deviceOf(doing);
  const on = isOn(device, await device.status(), asked.component);
  if (on === undefined) {
    throw permanent("NOT_TOGGLED", `${asked.component} is neither on nor off.`, "Ask for something else of it.");
  }
  return { output: { action: { ...asked, action: on ? "off" : "on" } } };
};

function actionAsked({ state }: Doing): Action {
  const asked = state.asked!;
  if (asked.kind !== "action") throw new TypeError(`${state.id} is no action`);
  const { kind: _, ...action } = asked;
  return action;
}

function isOn(device: Device, status: Json, component: string): boolean | undefined {
  const [type = "", id = "0"] = component.split(":");
  if (!isObject(status)) return undefined;
  if (device.identity.generation !== 1) {
    const found = status[component];
    return isObject(found) && typeof found.output === "boolean" ? found.output : undefined;
  }
  const list = status[type === "switch" ? "relays" : "lights"];
  const found = Array.isArray(list) ? list[Number(id)] : undefined;
  return isObject(found) && typeof found.ison === "boolean" ? found.ison : undefined;
}

export const act: Perform = async (doing) => {
  const action = outputOf(doing, "prepare")?.action ?? actionAsked(doing);
  const device = deviceOf(doing);
  if (doing.attempt > 1 && action.action === "calibrate" && (await isCalibrating(device, action.component))) return {};
  let answer: Json = null;
  for (const call of actionCalls(device.identity.generation, action)) {
    answer = await device.call(call);
    doing.during();
  }
  return { output: { result: shortOf(answer) } };
};

async function isCalibrating(device: Device, component: string): Promise<boolean> {
  const status = await device.status();
  const id = Number(component.split(":")[1] ?? 0);
  const covers = isObject(status) ? status.rollers : undefined;
  const found = device.identity.generation === 1 ? (covers as Json[] | undefined)?.[id] : (status as never)[component];
  return textAt(found, "state") === "calibrating" || (isObject(found) && found.calibrating === true);
}

export const shortOf = (answer: Json): string =>
  JSON.stringify(answer ?? null)
    .slice(0, 300)
    .toWellFormed();

export const checkLogin: Perform = async (doing) => {
  const { generation } = await deviceOf(doing).identify();
  const { asked } = doing.state;
  const scheme = asked?.kind === "authentication" ? asked.scheme : "none";
  if (scheme !== "none" && (scheme === "basic") !== (generation === 1)) {
    throw permanent(
      "OTHER_SCHEME",
      `A device of generation ${generation} takes another kind of password than was prepared.`,
      "Ask for the password again: it is made for what the device is now.",
    );
  }
  return {};
};

async function wished({ keeping, state }: Doing): Promise<Credentials | null> {
  const { credentials } = state;
  if (credentials === null) return null;
  const opened = await keeping.logins.opened(credentials, state.organisation, state.device);
  if (opened === undefined) {
    throw permanent("ERASED", "The password that was asked for was erased meanwhile.", "Ask for another one.");
  }
  return opened;
}

/**
 * Whether it takes these, by a call that wants a login.
 * @throws DeviceFailure other than that it does not
 */
export async function takes(device: Device, login: Credentials | null): Promise<boolean> {
  const { login: isSet } = await device.identify();
  if (isSet !== (login !== null)) return false;
  device.assume(login);
  try {
    await device.status();
    return true;
  } catch (error) {
    if (error instanceof DeviceFailure && error.kind === "wrong-credentials") return false;
    throw error;
  }
}

export const setLogin: Perform = async (doing) => {
  const device = deviceOf(doing);
  const login = await wished(doing);
  // Set before it could be recorded, by one who died: then the old one would be refused, and each try feeds the lock-out.
  if (doing.attempt > 1) {
    if (await takes(device, login)) return {};
    device.forgetCredentials();
  }
  await device.setAuthentication(login);
  doing.during();
  return {};
};

/** With what the log is to know of it from then on. */
export const confirmLogin: Perform = async (doing) => {
  const login = await wished(doing);
  const found = await untilFound(doing, async (device) => ((await takes(device, login)) ? true : undefined));
  if (found === undefined) {
    deviceOf(doing).forgetCredentials();
    return notInTime();
  }
  const { credentials } = doing.state;
  return {
    also: [{ kind: deviceKind, id: doing.owner.id, command: { do: "rotateCredentials", credentials } }],
  };
};
