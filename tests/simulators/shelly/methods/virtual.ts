/** What users make on a device, ids 200 to 299: virtual components and what Bluetooth brings. */
import type { Json, JsonObject } from "../face.ts";
import type { RpcDevice } from "../rpc-device.ts";
import { keyOf, type Method, namespaceOf } from "./keys.ts";
import { may, need, RpcError } from "./rpc-error.ts";

export const VIRTUAL_KINDS = ["button", "text", "number", "group", "enum", "boolean"];
/** Together (documented: ten on most). */
const MOST = 10;

const DEFAULTS: Readonly<Record<string, JsonObject>> = {
  button: {},
  boolean: { persisted: false, default_value: false },
  number: { min: 0, max: 100, persisted: false, default_value: 0 },
  text: { max_len: 255, persisted: false, default_value: "" },
  enum: { options: [], persisted: false, default_value: null },
  group: {},
};

function freeId(device: RpcDevice, type: string): number {
  for (let id = 200; id < 300; id++) if (!device.dynamic.has(`${type}:${id}`)) return id;
  throw new RpcError(-108, "No free id!");
}

function made(device: RpcDevice, key: string, config: JsonObject, status: JsonObject, attrs?: JsonObject): void {
  device.dynamic.set(key, { config, status, ...(attrs === undefined ? {} : { attrs }) });
  device.revised("cfg_rev");
  device.event("sys", "component_added", { target: key });
}

function gone(device: RpcDevice, key: string): null {
  if (!device.dynamic.delete(key)) throw new RpcError(-105, `Component ${key} not found!`);
  device.revised("cfg_rev");
  device.event("sys", "component_removed", { target: key });
  return null;
}

const add: Method = (device, params) => {
  const type = need(params, "type", "string");
  const config = may(params, "config", "object") ?? {};
  const defaults = Object.hasOwn(DEFAULTS, type) ? DEFAULTS[type] : undefined;
  if (defaults === undefined) throw new RpcError(-103, `Argument 'type', value '${type}' is invalid!`);
  const mine = [...device.dynamic.keys()].filter((key) => VIRTUAL_KINDS.includes(key.split(":")[0]!));
  if (mine.length >= MOST) throw new RpcError(-108, "Too many virtual components!");
  const id = may(params, "id", "number") ?? freeId(device, type);
  if (id < 200 || id > 299 || device.dynamic.has(`${type}:${id}`)) throw new RpcError(-103, `Bad id=${id}`);
  const full: JsonObject = { id, name: null, ...defaults, meta: { ui: {} }, ...config, owner: "", access: "*" };
  const value = type === "group" ? [] : (full.default_value ?? null);
  made(device, `${type}:${id}`, full, type === "button" ? {} : { value, source: "", last_update_ts: 0 });
  return { id };
};

const fits = (type: string, config: JsonObject, value: Json): boolean => {
  if (type === "boolean") return typeof value === "boolean";
  if (type === "number") return typeof value === "number" && value >= Number(config.min) && value <= Number(config.max);
  if (type === "text") return typeof value === "string" && value.length <= Number(config.max_len);
  if (type === "enum") return value === null || (Array.isArray(config.options) && config.options.includes(value));
  return Array.isArray(value) && value.every((one) => typeof one === "string");
};

const set =
  (type: string): Method =>
  (device, params) => {
    const key = keyOf(device, type, params);
    const { value } = params;
    if (value === undefined) throw new RpcError(-103, "Missing required argument 'value'!");
    if (!fits(type, device.configOf(key), value)) {
      throw new RpcError(-103, `Argument 'value', value ${JSON.stringify(value)} is invalid!`);
    }
    device.patch(key, { value, source: "rpc", last_update_ts: Math.floor(device.now() / 1000) });
    return null;
  };

const bluetooth = (type: "bthomedevice" | "bthomesensor", fields: readonly string[]): Method => {
  return (device, params) => {
    const config = need(params, "config", "object");
    need(config, "addr", "string");
    const id = may(params, "id", "number") ?? freeId(device, type);
    const key = `${type}:${id}`;
    if (device.dynamic.has(key)) throw new RpcError(-103, `Bad id=${id}`);
    const set = Object.fromEntries(fields.map((field) => [field, config[field] ?? null]));
    const seen = type === "bthomedevice" ? { rssi: null, battery: null, packet_id: null } : { value: null };
    const attrs = type === "bthomedevice" ? { flags: 0, model_id: 0 } : undefined;
    made(device, key, { id, ...set, meta: config.meta ?? null }, { id, ...seen, last_updated_ts: null }, attrs);
    return { added: key };
  };
};

export const VIRTUAL: Readonly<Record<string, Method>> = {
  "Virtual.Add": add,
  "Virtual.Delete": (device, params) => {
    const key = need(params, "key", "string");
    if (!VIRTUAL_KINDS.includes(key.split(":")[0]!))
      throw new RpcError(-103, `Argument 'key', value '${key}' is invalid!`);
    return gone(device, key);
  },
  ...Object.fromEntries(
    VIRTUAL_KINDS.filter((type) => type !== "button").map((type) => [`${namespaceOf(type)}.Set`, set(type)]),
  ),
  "Button.Trigger": (device, params) => {
    device.event(keyOf(device, "button", params), need(params, "event", "string"));
    return null;
  },
  "BTHome.AddDevice": bluetooth("bthomedevice", ["addr", "name", "key"]),
  "BTHome.DeleteDevice": (device, params) => gone(device, `bthomedevice:${need(params, "id", "number")}`),
  "BTHome.AddSensor": bluetooth("bthomesensor", ["addr", "name", "obj_id", "idx"]),
  "BTHome.DeleteSensor": (device, params) => gone(device, `bthomesensor:${need(params, "id", "number")}`),
  "BTHome.StartDeviceDiscovery": (device) => {
    device.event("bthome", "device_discovered", {
      device: { addr: "7c:c6:b6:00:00:01", local_name: "SBBT-002C", rssi: -60 },
    });
    return null;
  },
  "BTHomeDevice.GetKnownObjects": (device, params) => {
    const { addr } = device.configOf(keyOf(device, "bthomedevice", params));
    const sensors = [...device.dynamic].filter(
      ([key, { config }]) => key.startsWith("bthomesensor:") && config.addr === addr,
    );
    const objects = sensors.map(([key, { config }]) => ({ obj_id: config.obj_id!, idx: config.idx!, component: key }));
    return { id: need(params, "id", "number"), objects };
  },
};

/** Of a valve that the gateway reaches by Bluetooth, what the valve itself holds. */
const valve: Method = (device, params) => {
  const { name } = device.configOf(keyOf(device, "blutrv", params));
  return {
    v: 14,
    ts: Math.floor(device.now() / 1000),
    config: {
      sys: {
        device: { name: name ?? "" },
        location: { lat: 0, lon: 0 },
        ui: { lock: false, t_units: "C", flip: false, brightness: 7 },
        ble: { interval_ms: 333, beacon_count: 5 },
        cfg_rev: 34,
      },
      "temperature:0": { id: 0, offset_C: 0 },
      "trv:0": {
        ...{ id: 0, enable: true, override_enable: true, min_valve_position: 0, default_boost_duration: 1800 },
        ...{ default_override_duration: 2_147_483_647, default_override_target_C: 8 },
        flags: ["floor_heating", "auto_calibrate", "anticlog"],
      },
    },
  };
};

/** Only what a gateway's valves are asked and told: `TRV.SetTarget`. */
const callValve: Method = (device, params) => {
  const key = keyOf(device, "blutrv", params);
  const method = need(params, "method", "string");
  if (method.toLowerCase() !== "trv.settarget") throw new RpcError(404, `No handler for ${method}`);
  const target = need(need(params, "params", "object"), "target_C", "number");
  if (target < 4 || target > 30) throw new RpcError(-103, `Argument 'target_C', value ${target} is invalid!`);
  device.patch(key, { target_C: target });
  return null;
};

export const GATEWAY: Readonly<Record<string, Method>> = {
  "BluTrv.GetRemoteConfig": valve,
  "BluTrv.Call": callValve,
};
