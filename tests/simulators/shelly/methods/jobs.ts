/** `Schedule.*`, `Webhook.*`, `KVS.*` and `Script.*`. */
import { createHash } from "node:crypto";
import { isObject } from "../auth.ts";
import { parseTimespec } from "../cron.ts";
import type { Json, JsonObject } from "../face.ts";
import type { RpcDevice } from "../rpc-device.ts";
import type { Script } from "../stores.ts";
import type { Method } from "./keys.ts";
import { badId, may, need, RpcError } from "./rpc-error.ts";

const JOBS_MOST = 20;
const CALLS_MOST = 5;
const URLS_MOST = 5;
const URL_LENGTH = 300;
const KEYS_MOST = 50;
const KEY_LENGTH = 42;
const VALUE_LENGTH = 253;
const SCRIPTS_MOST = 10;
const RUNNING_MOST = 3;
const CODE_MOST = 15_360;
const PIECE_MOST = 1_024;

// Schedules.

function checkedJob(job: JsonObject): JsonObject {
  const { enable, timespec, calls } = job;
  if (typeof enable !== "boolean") throw new RpcError(-103, "Missing required argument 'enable'!");
  if (typeof timespec !== "string" || parseTimespec(timespec) === undefined) {
    throw new RpcError(-103, `Argument 'timespec', value ${JSON.stringify(timespec ?? null)} is invalid!`);
  }
  if (!Array.isArray(calls) || calls.length === 0 || calls.length > CALLS_MOST) {
    throw new RpcError(-103, `Argument 'calls' takes 1 to ${CALLS_MOST} calls!`);
  }
  if (!calls.every((call) => isObject(call) && typeof call.method === "string")) {
    throw new RpcError(-103, "Argument 'calls' is invalid!");
  }
  return job;
}

function jobOf(device: RpcDevice, id: number): JsonObject {
  const job = device.stores.schedules?.get(id);
  if (job === undefined) throw badId(id);
  return job.shown;
}

const rev = (device: RpcDevice, name: string): number => device.revisions[name] ?? 0;

const scheduleCreate: Method = (device, params) => {
  const { stores } = device;
  const { enable = true, timespec = null, calls = null } = params;
  if ((stores.schedules?.size ?? 0) >= JOBS_MOST) throw new RpcError(-108, "Too many schedule jobs!");
  const id = stores.nextJob++;
  stores.addJob(id, checkedJob({ id, enable, timespec, calls }));
  device.revised("schedule_rev");
  return { id, rev: rev(device, "schedule_rev") };
};

const scheduleUpdate: Method = (device, params) => {
  const id = need(params, "id", "number");
  const { enable, timespec, calls } = { ...jobOf(device, id), ...params };
  device.stores.addJob(
    id,
    checkedJob({ id, enable: enable ?? true, timespec: timespec ?? null, calls: calls ?? null }),
  );
  device.revised("schedule_rev");
  return { rev: rev(device, "schedule_rev") };
};

// Webhooks.

/** What may set one off, by component. */
const EVENTS: Readonly<Record<string, readonly string[]>> = {
  switch: ["switch.on", "switch.off"],
  input: [
    "input.toggle_on",
    "input.toggle_off",
    "input.button_push",
    "input.button_longpush",
    "input.button_doublepush",
  ],
  cover: ["cover.opening", "cover.closing", "cover.open", "cover.closed", "cover.stopped"],
  light: ["light.on", "light.off"],
  temperature: ["temperature.change"],
  humidity: ["humidity.change"],
  em: ["em.active_power_change"],
  em1: ["em1.active_power_change"],
};

const events = (device: RpcDevice): string[] =>
  [...new Set(device.keys().map((key) => key.split(":")[0]!))].flatMap((type) => [...(EVENTS[type] ?? [])]);

function checkedHook(device: RpcDevice, hook: JsonObject): JsonObject {
  const { event, urls, name } = hook;
  if (typeof event !== "string" || !events(device).includes(event)) {
    throw new RpcError(-103, `Argument 'event', value ${JSON.stringify(event ?? null)} is invalid!`);
  }
  const fits = (one: Json) => typeof one === "string" && one.length <= URL_LENGTH && /^https?:\/\//.test(one);
  if (!Array.isArray(urls) || urls.length === 0 || urls.length > URLS_MOST || !urls.every(fits)) {
    throw new RpcError(-103, `Argument 'urls' takes 1 to ${URLS_MOST} urls of at most ${URL_LENGTH} characters!`);
  }
  if (name !== null && (typeof name !== "string" || name.length > 100))
    throw new RpcError(-103, "Argument 'name' is invalid!");
  return hook;
}

const HOOK_DEFAULTS: JsonObject = {
  enable: false,
  name: null,
  ssl_ca: "ca.pem",
  condition: null,
  repeat_period: 0,
  active_between: null,
};
const HOOK_FIELDS = [
  "cid",
  "enable",
  "event",
  "name",
  "ssl_ca",
  "urls",
  "condition",
  "repeat_period",
  "active_between",
];
const picked = (params: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(params).filter(([key]) => HOOK_FIELDS.includes(key)));

const hookCreate: Method = (device, params) => {
  const { stores } = device;
  need(params, "cid", "number");
  if ((stores.webhooks?.size ?? 0) >= (device.sleeper ? 10 : 20)) throw new RpcError(-108, "Too many webhooks!");
  const id = stores.nextHook++;
  const hook = checkedHook(device, { id, ...HOOK_DEFAULTS, ...picked(params) });
  stores.webhooks ??= new Map();
  stores.webhooks.set(id, hook);
  device.revised("webhook_rev");
  return { id, rev: rev(device, "webhook_rev") };
};

const hookUpdate: Method = (device, params) => {
  const id = need(params, "id", "number");
  const now = device.stores.webhooks?.get(id);
  if (now === undefined) throw badId(id);
  device.stores.webhooks!.set(id, checkedHook(device, { ...now, ...picked(params) }));
  device.revised("webhook_rev");
  return { rev: rev(device, "webhook_rev") };
};

/** Deletes one, or all, of schedules or webhooks. */
const remove =
  (what: "schedules" | "webhooks", all: boolean): Method =>
  (device, params) => {
    const rows = device.stores[what];
    const revision = what === "schedules" ? "schedule_rev" : "webhook_rev";
    if (all) rows?.clear();
    else {
      const id = need(params, "id", "number");
      if (rows?.delete(id) !== true) throw badId(id);
    }
    device.revised(revision);
    return { rev: rev(device, revision) };
  };

// Keys and values.

const kvsOf = (device: RpcDevice, key: string) => {
  const found = device.stores.kvs?.get(key);
  if (found === undefined) throw new RpcError(-105, `Argument 'key', value '${key}' not found!`);
  return found;
};

/** Somebody else has changed it since. */
function guard(device: RpcDevice, key: string, etag: string | undefined): void {
  if (etag !== undefined && device.stores.kvs?.get(key)?.etag !== etag) throw new RpcError(-109, "Etag mismatch!");
}

const kvsSet: Method = (device, params) => {
  const key = need(params, "key", "string");
  const { value } = params;
  if (value === undefined) throw new RpcError(-103, "Missing required argument 'value'!");
  if (key.length === 0 || key.length > KEY_LENGTH)
    throw new RpcError(-103, `Argument 'key' takes 1 to ${KEY_LENGTH} characters!`);
  const size = typeof value === "string" ? value.length : JSON.stringify(value).length;
  if (size > VALUE_LENGTH) throw new RpcError(-103, `Argument 'value' takes at most ${VALUE_LENGTH} characters!`);
  guard(device, key, may(params, "etag", "string"));
  device.stores.kvs ??= new Map();
  const { kvs } = device.stores;
  if (!kvs.has(key) && kvs.size >= KEYS_MOST) throw new RpcError(-108, "Too many keys!");
  const etag = createHash("sha256")
    .update(`${key}=${JSON.stringify(value)}`)
    .digest("base64url")
    .slice(0, 22);
  if (kvs.get(key)?.etag !== etag) {
    kvs.set(key, { value, etag });
    device.revised("kvs_rev");
    device.event("sys", "kvs", { action: "set", key, etag });
  }
  return { etag, rev: rev(device, "kvs_rev") };
};

const matching = (device: RpcDevice, params: JsonObject) => {
  const match = may(params, "match", "string") ?? "*";
  const pattern = new RegExp(`^${match.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`);
  return [...(device.stores.kvs ?? [])].filter(([key]) => pattern.test(key)).sort(([a], [b]) => (a < b ? -1 : 1));
};

const kvsGetMany: Method = (device, params) => {
  const offset = may(params, "offset", "number") ?? 0;
  const all = matching(device, params);
  const items = all.slice(offset, offset + 10).map(([key, { value, etag }]) => ({ key, etag, value }));
  return { items, offset, total: all.length };
};

export const JOBS: Readonly<Record<string, Method>> = {
  "Schedule.List": (device) => ({
    jobs: [...(device.stores.schedules?.values() ?? [])].map(({ shown }) => shown),
    rev: rev(device, "schedule_rev"),
  }),
  "Schedule.Create": scheduleCreate,
  "Schedule.Update": scheduleUpdate,
  "Schedule.Delete": remove("schedules", false),
  "Schedule.DeleteAll": remove("schedules", true),
  "Webhook.List": (device) => ({
    hooks: [...(device.stores.webhooks?.values() ?? [])],
    rev: rev(device, "webhook_rev"),
  }),
  "Webhook.ListSupported": (device) => ({ types: Object.fromEntries(events(device).map((event) => [event, {}])) }),
  "Webhook.Create": hookCreate,
  "Webhook.Update": hookUpdate,
  "Webhook.Delete": remove("webhooks", false),
  "Webhook.DeleteAll": remove("webhooks", true),
  "KVS.Set": kvsSet,
  "KVS.Get": (device, params) => {
    const { etag, value } = kvsOf(device, need(params, "key", "string"));
    return { etag, value };
  },
  "KVS.GetMany": kvsGetMany,
  "KVS.List": (device, params) => ({
    keys: Object.fromEntries(matching(device, params).map(([key, { etag }]) => [key, { etag }])),
    rev: rev(device, "kvs_rev"),
  }),
  "KVS.Delete": (device, params) => {
    const key = need(params, "key", "string");
    kvsOf(device, key);
    guard(device, key, may(params, "etag", "string"));
    device.stores.kvs!.delete(key);
    device.revised("kvs_rev");
    device.event("sys", "kvs", { action: "delete", key });
    return { rev: rev(device, "kvs_rev") };
  },
};

// Scripts. Their code is kept and never run.

function scriptOf(device: RpcDevice, params: JsonObject): Script {
  const id = need(params, "id", "number");
  const script = device.stores.scripts?.get(id);
  if (script === undefined) throw badId(id);
  return script;
}

const scriptCreate: Method = (device, params) => {
  device.stores.scripts ??= new Map();
  const { scripts } = device.stores;
  if (scripts.size >= SCRIPTS_MOST) throw new RpcError(-108, "Too many scripts!");
  let id = 1;
  while (scripts.has(id)) id++;
  scripts.set(id, {
    id,
    name: may(params, "name", "string") ?? `script_${id}`,
    enable: false,
    running: false,
    code: "",
  });
  device.revised("cfg_rev");
  return { id };
};

const scriptConfig: Method = (device, params) => {
  const script = scriptOf(device, params);
  const config = need(params, "config", "object");
  const [name, enable] = [may(config, "name", "string"), may(config, "enable", "boolean")];
  const changes = (name ?? script.name) !== script.name || (enable ?? script.enable) !== script.enable;
  Object.assign(script, { name: name ?? script.name, enable: enable ?? script.enable });
  if (changes) {
    device.revised("cfg_rev");
    device.event(`script:${script.id}`, "config_changed", { restart_required: false, cfg_rev: rev(device, "cfg_rev") });
  }
  return { restart_required: false };
};

const putCode: Method = (device, params) => {
  const script = scriptOf(device, params);
  const code = need(params, "code", "string");
  if (script.running) throw new RpcError(-109, "Script is running!");
  if (code.length > PIECE_MOST) throw new RpcError(-103, `Argument 'code' takes at most ${PIECE_MOST} characters!`);
  const next = params.append === true ? script.code + code : code;
  if (next.length > CODE_MOST) throw new RpcError(-108, "Script is too long!");
  script.code = next;
  return { len: script.code.length };
};

const getCode: Method = (device, params) => {
  const { code } = scriptOf(device, params);
  const offset = may(params, "offset", "number") ?? 0;
  const data = code.slice(offset, offset + Math.min(may(params, "len", "number") ?? PIECE_MOST, PIECE_MOST));
  return { data, left: Math.max(0, code.length - offset - data.length) };
};

const run =
  (on: boolean): Method =>
  (device, params) => {
    const script = scriptOf(device, params);
    const was = script.running;
    const running = [...device.stores.scripts!.values()].filter((one) => one.running).length;
    if (on && !was && running >= RUNNING_MOST) throw new RpcError(-108, "Too many running scripts!");
    script.running = on;
    if (was !== on) device.notify("NotifyStatus", { [`script:${script.id}`]: { id: script.id, running: on } });
    return { was_running: was };
  };

export const SCRIPTS: Readonly<Record<string, Method>> = {
  "Script.List": (device) => ({
    scripts: [...(device.stores.scripts?.values() ?? [])].map(({ id, name, enable, running }) => ({
      id,
      name,
      enable,
      running,
    })),
  }),
  "Script.Create": scriptCreate,
  "Script.Delete": (device, params) => {
    device.stores.scripts!.delete(scriptOf(device, params).id);
    device.revised("cfg_rev");
    return null;
  },
  "Script.SetConfig": scriptConfig,
  "Script.GetConfig": (device, params) => device.stores.scriptConfig(`script:${scriptOf(device, params).id}`),
  "Script.GetStatus": (device, params) => device.stores.scriptStatus(`script:${scriptOf(device, params).id}`),
  "Script.PutCode": putCode,
  "Script.GetCode": getCode,
  "Script.Start": run(true),
  "Script.Stop": run(false),
};
