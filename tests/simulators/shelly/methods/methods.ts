/** Which calls a model answers, found by its components and services. Names are told as listed by devices, and matched without case. */
import type { RpcModel } from "../models/gen2.ts";
import { JOBS, SCRIPTS } from "./jobs.ts";
import { keyOf, type Method, type Methods, namespaceOf, typeOf } from "./keys.ts";
import { OUTPUTS } from "./outputs.ts";
import { need } from "./rpc-error.ts";
import { SHELLY } from "./shelly.ts";
import { GATEWAY, VIRTUAL, VIRTUAL_KINDS } from "./virtual.ts";

function componentMethods(type: string): Array<[string, Method]> {
  const namespace = namespaceOf(type);
  return [
    [
      `${namespace}.SetConfig`,
      (device, params) => {
        const key = keyOf(device, type, params);
        return { restart_required: device.configure(key, need(params, "config", "object")) };
      },
    ],
    [`${namespace}.GetConfig`, (device, params) => device.config(keyOf(device, type, params))],
    [`${namespace}.GetStatus`, (device, params) => device.status(keyOf(device, type, params))],
  ];
}

const cache = new WeakMap<RpcModel, Map<string, Methods>>();

export function methodsOf(model: RpcModel, profile: string): Methods {
  const known = cache.get(model) ?? new Map<string, Methods>();
  cache.set(model, known);
  const found = known.get(profile);
  if (found !== undefined) return found;
  const made: Methods = new Map(list(model, profile).map(([name, run]) => [name.toLowerCase(), { name, run }]));
  known.set(profile, made);
  return made;
}

function list(model: RpcModel, profile: string): Array<[string, Method]> {
  const { virtual = false, scripts = false, schedules = false } = model.services ?? {};
  const types = new Set(Object.keys(model.profiles[profile]!).map(typeOf));
  if (virtual) for (const kind of [...VIRTUAL_KINDS, "bthomedevice", "bthomesensor"]) types.add(kind);
  for (const key of Object.keys(model.dynamic ?? {})) types.add(typeOf(key));
  const all: Array<[string, Method]> = [
    ...Object.entries(SHELLY),
    ...[...types].flatMap(componentMethods),
    ...Object.entries(OUTPUTS).filter(([name]) => [...types].some((type) => name.startsWith(`${namespaceOf(type)}.`))),
    ...Object.entries(JOBS).filter(([name]) => schedules || !name.startsWith("Schedule.")),
    ...(scripts ? Object.entries(SCRIPTS) : []),
    ...(virtual ? Object.entries(VIRTUAL) : []),
    ...(types.has("blutrv") ? Object.entries(GATEWAY) : []),
  ];
  const ap = model.profiles[profile]!.wifi?.config({ mac: "", id: "-", address: "", online: true, now: () => 0 }).ap;
  const mayExtend = typeof ap === "object" && ap !== null && "range_extender" in ap;
  const fitting = all
    .filter(([name]) => name !== "Shelly.SetProfile" || Object.keys(model.profiles).length > 1)
    .filter(([name]) => name !== "Wifi.ListAPClients" || mayExtend);
  return [
    ...fitting,
    ["Shelly.ListMethods", (device) => ({ methods: [...device.methods.values()].map(({ name }) => name) })],
  ];
}
