/**
 * Writes after which a device may not be there as before: another network, another password, another profile. Each stands between a guard,
 * by which the device takes it back itself, and a confirmation that it was found again.
 *
 * A network is tried before the old one is forgotten: it is written to `sta1`, and `sta` is only switched off, so that its password, which
 * no device ever tells, stays on the device; a schedule on the device switches it on again unless the device is found in the new network
 * before. Only then `sta` is written, and the schedule taken away.
 */
import type { Output } from "@millrace/contracts/devices/task-parts.ts";
import { device as deviceKind } from "@millrace/domain/devices/device.ts";
import type { Json, JsonObject, Write } from "@millrace/domain/devices/model/report.ts";
import { indexOf, planOf, type TaskState } from "@millrace/domain/devices/task-state.ts";
import type { Device } from "../adapters/shelly/device.ts";
import { DeviceFailure } from "../adapters/shelly/failures.ts";
import { isObject, textAt } from "../adapters/shelly/json.ts";
import type { Credentials } from "../adapters/shelly/login.ts";
import { notInTime, takes } from "./task-device.ts";
import { type Doing, type Done, deviceOf, type Perform, permanent, untilFound } from "./task-work.ts";

type Swap = { readonly ssid: string | undefined; readonly config: JsonObject; readonly station: JsonObject };

export const writeAt = ({ state, step, undo }: Pick<Doing, "state" | "step" | "undo">): Write =>
  (planOf(state, undo)!.writes as ReadonlyArray<Write>)[indexOf(step)]!;

const configOf = ({ call }: Write): JsonObject | undefined =>
  "method" in call && isObject(call.params.config) ? call.params.config : undefined;
const isWifi = ({ call }: Write): boolean => "method" in call && /^wifi\.setconfig$/i.test(call.method);
const isLogin = ({ call }: Write): boolean =>
  "method" in call ? /^shelly\.setauth$/i.test(call.method) : call.path === "/settings/login";

/** Another network, or its password: what is there now cannot be written back, for nobody knows its password. */
const IDENTITY = ["ssid", "pass", "is_open", "enable"];

/** What the write makes of the station, if it makes another network of it. */
function swapOf(step: Write): Swap | undefined {
  const config = isWifi(step) ? configOf(step) : undefined;
  const station = config?.sta;
  if (config === undefined || !isObject(station) || !IDENTITY.some((name) => name in station)) return undefined;
  if (station.enable === false) return undefined;
  return { ssid: textAt(station, "ssid"), config, station };
}

/** Minutes from the guard until the device takes it back: later than a confirmation may take. */
const BACK_MIN = 5;
const NO_FALLBACK_FIX =
  "Give it a network to fall back to first: `wifi.sta1` with the network that it is in now; then apply again.";

/** @returns what the guard is, in the step's output: `none`, `sta1`, or `schedule <id>` */
export const guard: Perform = async (doing) => {
  const step = writeAt(doing);
  // The way back goes to what was there, and nothing is behind that.
  if (doing.undo) return { output: { guard: "none" } };
  const device = deviceOf(doing);
  if ("path" in step.call) return { output: { guard: await gen1Guard(device, step) } };
  const inverse = await inverseOf(doing, device, step);
  if (inverse === undefined) return { output: { guard: "none" } };
  if (inverse === "sta1") return { output: { guard: "sta1" } };
  const id = await scheduled(doing, device, inverse);
  return { output: { guard: `schedule ${id}` } };
};

/** Gen1 has no clock of its own to go back by: only another network that it knows. */
async function gen1Guard(device: Device, { call }: Write): Promise<string> {
  if (!("path" in call) || call.path !== "/settings/sta") return "none";
  const settings = await device.call({ path: "/settings", query: {} });
  const other = isObject(settings) ? settings.wifi_sta1 : undefined;
  if (isObject(other) && other.enabled === true && textAt(other, "ssid") !== undefined) return "sta1";
  throw permanent(
    "NO_FALLBACK",
    "If the new network is wrong, the device comes back by itself nowhere.",
    NO_FALLBACK_FIX,
  );
}

/** What the device is to do by itself when nobody finds it; undefined: nothing is needed. */
async function inverseOf({ state }: Doing, device: Device, step: Write): Promise<JsonObject | "sta1" | undefined> {
  const { call } = step;
  if (!("method" in call)) return undefined;
  const isNetwork = isWifi(step) || /^eth\.setconfig$/i.test(call.method);
  const config = configOf(step);
  if (!isNetwork || config === undefined) return undefined;
  // Its own access point is not what it is reached by.
  if (isWifi(step) && Object.keys(config).every((name) => name === "ap" || name === "sta1" || name === "roam"))
    return undefined;
  if (swapOf(step) !== undefined) {
    const { sta1 } = await wifiOf(device);
    const isUsed = isObject(sta1) && sta1.enable === true && textAt(sta1, "ssid") !== undefined;
    return isUsed && !("sta1" in config)
      ? "sta1"
      : { method: call.method, params: { config: { sta: { enable: true } } } };
  }
  const before = planOf(state, false)?.before[step.component];
  const { config: _, ...rest } = call.params;
  return { method: call.method, params: { ...rest, config: withoutSecrets((before ?? {}) as Json) } };
}

const withoutSecrets = (value: Json): Json =>
  isObject(value)
    ? Object.fromEntries(
        Object.entries(value).flatMap(([name, inner]) =>
          isObject(inner) && typeof inner.$secret === "string" ? [] : [[name, withoutSecrets(inner)]],
        ),
      )
    : value;

interface Job {
  readonly id: number;
  readonly calls: ReadonlyArray<Json>;
}

async function jobsOf(device: Device): Promise<ReadonlyArray<Job>> {
  const answer = await device.call({ method: "Schedule.List", params: {} });
  const jobs = isObject(answer) && Array.isArray(answer.jobs) ? answer.jobs : [];
  return jobs.flatMap((job) =>
    isObject(job) && typeof job.id === "number" && Array.isArray(job.calls) ? [{ id: job.id, calls: job.calls }] : [],
  );
}

const same = (a: Json | undefined, b: Json): boolean =>
  isObject(a) && isObject(b) && JSON.stringify(a.params) === JSON.stringify(b.params) && sameMethod(a.method, b.method);
const sameMethod = (a: Json | undefined, b: Json | undefined): boolean =>
  String(a).toLowerCase() === String(b).toLowerCase();

/** One that was made by an attempt that died is adopted. @returns the job's id on the device */
async function scheduled(doing: Doing, device: Device, inverse: JsonObject): Promise<number> {
  try {
    const there = (await jobsOf(device)).find(({ calls }) => same(calls[0], inverse));
    // By the device's own clock, whatever ours says.
    const sys = await device.call({ method: "Sys.GetStatus", params: {} });
    const [, minute] = /^\d{1,2}:(\d{2})$/.exec(textAt(sys, "time") ?? "") ?? [];
    if (minute === undefined) throw permanent("NO_FALLBACK", "It does not know what time it is.", NO_FALLBACK_FIX);
    const timespec = `0 ${(Number(minute) + BACK_MIN) % 60} * * * *`;
    if (there !== undefined) {
      await device.call({ method: "Schedule.Update", params: { id: there.id, enable: true, timespec } });
      return there.id;
    }
    const made = await device.call({ method: "Schedule.Create", params: { enable: true, timespec, calls: [inverse] } });
    doing.during();
    return isObject(made) && typeof made.id === "number" ? made.id : 0;
  } catch (error) {
    if (!(error instanceof DeviceFailure) || error.kind !== "not-found") throw error;
    throw permanent("NO_FALLBACK", "It keeps no schedules by which it could go back itself.", NO_FALLBACK_FIX);
  }
}

/** Takes away what guards of this task have left on the device. */
export async function unguard(device: Device, { steps }: Pick<TaskState, "steps">): Promise<void> {
  const ids = Object.values(steps).flatMap(({ output }) => {
    const id = /^schedule (\d+)$/.exec(output?.guard ?? "")?.[1];
    return id === undefined ? [] : [Number(id)];
  });
  if (ids.length === 0) return;
  for (const { id, calls } of await jobsOf(device)) {
    const isOurs =
      ids.includes(id) &&
      calls.length === 1 &&
      isObject(calls[0]) &&
      /^(wifi|eth)\.setconfig$/i.test(String(calls[0].method));
    if (isOurs) await device.call({ method: "Schedule.Delete", params: { id } });
  }
}

const wifiOf = async (device: Device): Promise<JsonObject> => {
  const config = await device.call({ method: "Wifi.GetConfig", params: {} });
  return isObject(config) ? config : {};
};

/** A write that may cut off, its secrets in it. @returns its output */
export async function writeGuarded(doing: Doing, step: Write): Promise<Output> {
  const device = deviceOf(doing);
  if (isLogin(step)) {
    const login = loginOf(step);
    if (doing.attempt > 1) {
      if (await takes(device, login)) return {};
      device.forgetCredentials();
    }
    await device.setAuthentication(login);
    doing.during();
    return {};
  }
  const swap = isSwapped(doing) ? swapOf(step) : undefined;
  if (swap !== undefined && (await joins(device, swap))) {
    doing.during();
    return {};
  }
  if (swap !== undefined) {
    const { sta } = await wifiOf(device);
    const station = { ...stationOf(sta), ...swap.station, enable: true };
    const config = { sta1: station, sta: { enable: false } };
    const { restartRequired } = await device.write({ ...step, call: { method: "Wifi.SetConfig", params: { config } } });
    doing.during();
    return { restartRequired };
  }
  const { restartRequired } = await device.write(step);
  doing.during();
  return { restartRequired };
}

/** The new network was written by an attempt that could not say so. */
async function joins(device: Device, { ssid }: Swap): Promise<boolean> {
  const { sta, sta1 } = await wifiOf(device);
  return (
    isObject(sta) &&
    isObject(sta1) &&
    sta.enable === false &&
    sta1.enable === true &&
    (ssid === undefined || sta1.ssid === ssid)
  );
}

/** What a station has beside its password, as it may be written to the other one. */
const stationOf = (sta: Json | undefined): JsonObject => {
  if (!isObject(sta)) return {};
  const { is_open: _, pass: __, ...rest } = sta;
  return rest;
};

const isSwapped = ({ state, step, undo }: Doing): boolean =>
  !undo && state.steps[`guard:${indexOf(step)}`]?.output?.guard?.startsWith("schedule ") === true;

function loginOf({ call }: Write): Credentials | null {
  if ("method" in call) return typeof call.params.ha1 === "string" ? { ha1: call.params.ha1 } : null;
  const { enabled, password } = call.query;
  if (enabled === "false" || enabled === "0" || typeof password !== "string") return null;
  return { username: "admin", password };
}

/** Looks in a row by which a network counts as joined: the first may still be of the one before. */
const IN_A_ROW = 3;

/** @param step its secrets in it */
export async function confirmGuarded(doing: Doing, step: Write): Promise<Done> {
  if (isLogin(step)) return confirmLogin(doing, step);
  const swap = isSwapped(doing) ? swapOf(step) : undefined;
  let good = 0;
  const found = await untilFound(doing, async (device) => {
    await device.identify();
    const isThere =
      swap === undefined
        ? await stands(device, step, doing.undo)
        : await swapped(doing, device, swap, () => ++good >= IN_A_ROW);
    if (isThere !== "joined") good = 0;
    return isThere === true ? true : undefined;
  });
  if (found === undefined) return notInTime();
  if (!doing.undo) await unguard(deviceOf(doing), doing.state);
  return {};
}

/** It answers, and is in the network that was written, if one was. */
async function stands(device: Device, step: Write, undo: boolean): Promise<boolean> {
  const status = await device.status();
  if (!isObject(status)) return false;
  if ("path" in step.call) {
    const wanted = step.call.path === "/settings/sta" ? step.call.query.ssid : undefined;
    const wifi = status.wifi_sta;
    if (wanted === undefined || !isObject(wifi)) return true;
    if (wifi.ssid === wanted && wifi.connected === true) return true;
    throw notJoined(String(wifi.ssid ?? "none"), String(wanted));
  }
  const wanted = isWifi(step) ? swapOf(step)?.ssid : undefined;
  const wifi = status.wifi;
  if (wanted === undefined || !isObject(wifi)) return true;
  if (wifi.status !== "got ip") return false;
  if (wifi.ssid === wanted || undo) return true;
  throw notJoined(String(wifi.ssid ?? "none"), wanted);
}

const notJoined = (is: string, wanted: string) =>
  permanent(
    "NOT_JOINED",
    `The device did not come into the network ${wanted}; by its own fallback it is in ${is}.`,
    "See whether the name of the network and its password are right, and whether it reaches that far.",
  );

/**
 * One look at a device that tries another network.
 * @param enough whether it was found there often enough, this time included
 * @returns true: it is there for good
 */
async function swapped(
  doing: Doing,
  device: Device,
  { ssid, config, station }: Swap,
  enough: () => boolean,
): Promise<boolean | "joined"> {
  const { sta, sta1 } = await wifiOf(device);
  const status = await device.call({ method: "Wifi.GetStatus", params: {} });
  if (!isObject(sta) || !isObject(sta1) || !isObject(status)) return false;
  const wanted = ssid ?? textAt(sta, "ssid");
  const isTrying = sta1.enable === true && sta1.ssid === wanted;
  if (status.status !== "got ip") return false;
  if (isTrying && sta.enable !== false) {
    // The device has taken it back; what was tried goes, too.
    await device.call({ method: "Wifi.SetConfig", params: { config: { sta1: sta1Before(doing) } } });
    throw notJoined(String(status.ssid ?? "none"), String(wanted));
  }
  if (status.ssid !== wanted) return false;
  if (!isTrying) return sta.enable === true && sta.ssid === wanted;
  if (!enough()) return "joined";
  const after = isObject(config.sta1) ? config.sta1 : sta1Before(doing);
  // It has proved itself: now it is the network, and nothing is left of the trial.
  const whole = { ...config, sta: { ...stationOf(sta), ...station, ssid: wanted!, enable: true }, sta1: after };
  await device.write({
    component: "wifi",
    call: { method: "Wifi.SetConfig", params: { config: whole } },
    needsReboot: "never",
    cutsOff: true,
  });
  doing.during();
  return false;
}

/** The other station as it was, without its password: it was not in use, else it would have been the guard. */
function sta1Before({ state }: Doing): JsonObject {
  const wifi = planOf(state, false)?.before.wifi as Json | undefined;
  const was = isObject(wifi) ? wifi.sta1 : undefined;
  const ssid = textAt(was, "ssid");
  return { ssid: ssid ?? null, enable: false };
}

async function confirmLogin(doing: Doing, step: Write): Promise<Done> {
  const { keeping, owner, state } = doing;
  const login = loginOf(step);
  const found = await untilFound(doing, async (device) => ((await takes(device, login)) ? true : undefined));
  if (found === undefined) {
    deviceOf(doing).forgetCredentials();
    return notInTime();
  }
  const credentials = login === null ? null : await keeping.logins.sealed(login, state.organisation, owner.id);
  return { also: [{ kind: deviceKind, id: owner.id, command: { do: "rotateCredentials", credentials } }] };
}
