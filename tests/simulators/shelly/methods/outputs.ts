/** What switches, covers and lights do. */
import { isObject } from "../auth.ts";
import type { Json, JsonObject } from "../face.ts";
import { celsius } from "../parts.ts";
import type { RpcDevice } from "../rpc-device.ts";
import { keyOf, type Method, namespaceOf, type RpcSource } from "./keys.ts";
import { may, need, RpcError } from "./rpc-error.ts";

/** Timers that turn something back, by device and component. */
const later = new WeakMap<RpcDevice, Map<string, () => void>>();

function after(device: RpcDevice, key: string, ms: number, run: () => void): void {
  const timers = later.get(device) ?? new Map<string, () => void>();
  later.set(device, timers);
  timers.get(key)?.();
  // With another profile it may be gone.
  timers.set(
    key,
    device.world.clock.after(ms, () => device.part(key) !== undefined && run()),
  );
}

function cancel(device: RpcDevice, key: string): void {
  later.get(device)?.get(key)?.();
}

const power = (device: RpcDevice, key: string, on: boolean): JsonObject =>
  "apower" in device.statusOf(key)
    ? { apower: on ? 60 : 0, current: on ? 0.26 : 0, temperature: celsius(on ? 47.2 : 44.4) }
    : {};

function switchTo(device: RpcDevice, key: string, on: boolean, source: string, toggleAfter?: number): Json {
  const was = device.statusOf(key).output === true;
  const changes = was !== on;
  cancel(device, key);
  if (changes) device.patch(key, { output: on, source, ...power(device, key, on) });
  if (toggleAfter !== undefined) after(device, key, toggleAfter * 1000, () => switchTo(device, key, !on, "timer"));
  return { was_on: was };
}

const set: Method = (device, params, source) => {
  const key = keyOf(device, "switch", params);
  return switchTo(device, key, need(params, "on", "boolean"), source, may(params, "toggle_after", "number"));
};

const toggle =
  (type: string): Method =>
  (device, params, source) => {
    const key = keyOf(device, type, params);
    const was = switchTo(device, key, device.statusOf(key).output !== true, source);
    return type === "switch" ? was : null;
  };

/** Moves until it is there, in a part of the time of its whole way. */
function moveCover(device: RpcDevice, key: string, to: number, source: string, stopAfterMs?: number): null {
  const from = Number(device.statusOf(key).current_pos);
  if (from === to) return null;
  const direction = to > from ? "open" : "close";
  const whole = (Math.abs(to - from) / 100) * device.world.timing.coverMs;
  const ms = Math.min(whole, stopAfterMs ?? whole);
  const end = Math.round(from + ((to - from) * ms) / whole);
  device.patch(key, {
    state: direction === "open" ? "opening" : "closing",
    source,
    last_direction: direction,
    apower: 90,
  });
  after(device, key, ms, () => {
    const state = end === 100 ? "open" : end === 0 ? "closed" : "stopped";
    device.patch(key, { state, current_pos: end, apower: 0, source: "limit_switch" });
  });
  return null;
}

const move =
  (to: number): Method =>
  (device, params, source) => {
    const duration = may(params, "duration", "number");
    return moveCover(
      device,
      keyOf(device, "cover", params),
      to,
      source,
      duration === undefined ? undefined : duration * 1000,
    );
  };

const goToPosition: Method = (device, params, source) => {
  const key = keyOf(device, "cover", params);
  const { pos_control, current_pos } = device.statusOf(key);
  if (pos_control !== true) throw new RpcError(-109, "Cover is not calibrated!");
  const [pos, rel] = [may(params, "pos", "number"), may(params, "rel", "number")];
  if ((pos === undefined) === (rel === undefined))
    throw new RpcError(-103, "Exactly one of 'pos' and 'rel' is needed!");
  const to = pos ?? Number(current_pos) + rel!;
  if (to < 0 || to > 100) throw new RpcError(-103, `Argument 'pos', value ${to} is invalid, expected 0..100!`);
  return moveCover(device, key, to, source);
};

const LAMPS = ["light", "rgb", "rgbw", "cct", "rgbcct"];

function lampSet(device: RpcDevice, key: string, params: JsonObject, source: RpcSource): null {
  const shown = device.statusOf(key);
  const next: JsonObject = {};
  for (const field of ["brightness", "white", "ct"]) {
    const value = may(params, field, "number");
    const [least, most] = field === "ct" ? [2700, 6500] : [0, field === "white" ? 255 : 100];
    if (value === undefined || !(field in shown)) continue;
    if (value < least! || value > most!) throw new RpcError(-103, `Argument '${field}', value ${value} is invalid!`);
    next[field] = value;
  }
  const { rgb } = params;
  if (Array.isArray(rgb) && "rgb" in shown) {
    if (rgb.length !== 3 || rgb.some((one) => typeof one !== "number" || one < 0 || one > 255)) {
      throw new RpcError(-103, "Argument 'rgb' is invalid!");
    }
    next.rgb = rgb;
  }
  const on = may(params, "on", "boolean");
  if (on === undefined && Object.keys(next).length === 0) throw new RpcError(-103, "Missing required argument 'on'!");
  if (on !== undefined) next.output = on;
  device.patch(key, { ...next, source });
  const back = may(params, "toggle_after", "number");
  if (back !== undefined && on !== undefined) {
    after(device, key, back * 1000, () => device.patch(key, { output: !on, source: "timer" }));
  }
  return null;
}

const dim =
  (type: string, direction: -1 | 0 | 1): Method =>
  (device, params, source) => {
    const key = keyOf(device, type, params);
    const now = Number(device.statusOf(key).brightness);
    const brightness = Math.max(1, Math.min(100, now + direction * 10));
    if (direction !== 0) device.patch(key, { brightness, source });
    return null;
  };

const lampMethods = LAMPS.flatMap((type): Array<[string, Method]> => {
  const namespace = namespaceOf(type);
  return [
    [`${namespace}.Set`, (device, params, source) => lampSet(device, keyOf(device, type, params), params, source)],
    [`${namespace}.Toggle`, toggle(type)],
    [`${namespace}.DimUp`, dim(type, 1)],
    [`${namespace}.DimDown`, dim(type, -1)],
    [`${namespace}.DimStop`, dim(type, 0)],
  ];
});

/** Counters back to nothing, and what they were. */
const resetCounters: Method = (device, params) => {
  const key = keyOf(device, "switch", params);
  const status = device.statusOf(key);
  const kinds = (Array.isArray(params.type) ? params.type : ["aenergy", "ret_aenergy"]).map(String);
  const found = kinds.filter((kind) => isObject(status[kind]));
  const was = Object.fromEntries(found.map((kind) => [kind, { total: (status[kind] as JsonObject).total ?? 0 }]));
  if (found.length > 0) {
    device.patch(key, Object.fromEntries(found.map((kind) => [kind, { ...(status[kind] as JsonObject), total: 0 }])));
  }
  return was;
};

export const OUTPUTS: Readonly<Record<string, Method>> = {
  "Switch.Set": set,
  "Switch.Toggle": toggle("switch"),
  "Switch.ResetCounters": resetCounters,
  "Cover.Open": move(100),
  "Cover.Close": move(0),
  "Cover.Stop": (device, params, source) => {
    const key = keyOf(device, "cover", params);
    cancel(device, key);
    if (["opening", "closing"].includes(String(device.statusOf(key).state))) {
      device.patch(key, { state: "stopped", apower: 0, source });
    }
    return null;
  },
  "Cover.GoToPosition": goToPosition,
  "Cover.Calibrate": (device, params, source) => {
    const key = keyOf(device, "cover", params);
    device.patch(key, { state: "calibrating", source });
    after(device, key, device.world.timing.coverMs, () =>
      device.patch(key, { state: "open", current_pos: 100, pos_control: true }),
    );
    return null;
  },
  ...Object.fromEntries(lampMethods),
  "Input.Trigger": (device, params) => {
    device.event(keyOf(device, "input", params), need(params, "event_type", "string"));
    return null;
  },
};
