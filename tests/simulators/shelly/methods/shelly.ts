/** `Shelly.*`, `Sys.*` and `Wifi.*` beside configuration and status. */
import { isObject } from "../auth.ts";
import type { Json, JsonObject } from "../face.ts";
import { update } from "../firmware.ts";
import type { RpcDevice } from "../rpc-device.ts";
import type { Method } from "./keys.ts";
import { may, need, RpcError } from "./rpc-error.ts";

/** A page of GetComponents ends after this many bytes. */
const PAGE_BYTES = 3_000;
const ZONES = [
  "Africa/Cairo",
  "America/New_York",
  "Asia/Tokyo",
  "Europe/Berlin",
  "Europe/London",
  "Europe/Sofia",
  "UTC",
];

function components(device: RpcDevice, params: JsonObject): Json {
  const offset = may(params, "offset", "number") ?? 0;
  const include = Array.isArray(params.include) ? params.include : [];
  const wanted = Array.isArray(params.keys) ? params.keys : undefined;
  const fixed = params.dynamic_only === true ? [] : [...device.keys(), ...device.stores.scriptKeys()];
  const all = [...fixed, ...[...device.dynamic.keys()].sort()].filter((key) => wanted?.includes(key) ?? true);
  const page: JsonObject[] = [];
  let bytes = 0;
  for (const key of all.slice(offset)) {
    const made = device.dynamic.get(key);
    const script = key.startsWith("script:");
    const one: JsonObject = {
      key,
      ...(include.includes("status")
        ? { status: script ? device.stores.scriptStatus(key) : device.statusOf(key) }
        : {}),
      ...(include.includes("config")
        ? { config: script ? device.stores.scriptConfig(key) : device.configOf(key) }
        : {}),
      ...(made?.attrs === undefined ? {} : { attrs: made.attrs }),
    };
    bytes += JSON.stringify(one).length;
    if (page.length > 0 && bytes > PAGE_BYTES) break;
    page.push(one);
  }
  return { components: page, cfg_rev: device.revisions.cfg_rev ?? 0, offset, total: all.length };
}

/** Certificates and keys come in pieces; nobody reads them again. */
const put =
  (what: string): Method =>
  (device, params) => {
    const { data } = params;
    if (data !== null && typeof data !== "string") throw new RpcError(-103, "Missing required argument 'data'!");
    const before = params.append === true ? String(device.secrets[what] ?? "") : "";
    const now = data === null ? "" : before + data;
    if (now.length > 16_384) throw new RpcError(-108, "Not enough space!");
    if (now === "") delete device.secrets[what];
    else device.secrets[what] = now;
    return { len: now.length };
  };

function setAuth(device: RpcDevice, params: JsonObject): Json {
  const { user, realm, ha1 = null } = params;
  if (user !== "admin") throw new RpcError(-103, "Argument 'user', value is invalid, expected 'admin'!");
  if (realm !== device.id) throw new RpcError(-103, "Argument 'realm' is not the device's id!");
  if (ha1 !== null && (typeof ha1 !== "string" || !/^[0-9a-f]{64}$/i.test(ha1))) {
    throw new RpcError(-103, "Argument 'ha1' has invalid value!");
  }
  device.login.ha1 = ha1?.toLowerCase() ?? null;
  return null;
}

function setProfile(device: RpcDevice, params: JsonObject): Json {
  const name = need(params, "name", "string");
  if (!Object.hasOwn(device.type.profiles, name))
    throw new RpcError(-103, `Argument 'name', value '${name}' is invalid!`);
  const was = device.profile;
  if (name !== was) {
    device.reprofile(name);
    device.revisions.cfg_rev = (device.revisions.cfg_rev ?? 0) + 1;
    device.restart(device.world.timing.rebootMs);
  }
  return { profile_was: was };
}

const channels = (device: RpcDevice): JsonObject[] => {
  const own = { ssid: device.network ?? "", bssid: "02:00:00:00:00:01", auth: 3, channel: 4, rssi: -51 };
  const others = Object.keys(device.world.networks ?? {}).filter((ssid) => ssid !== device.network);
  return [own, ...others.map((ssid) => ({ ssid, bssid: "02:00:00:00:00:02", auth: 3, channel: 11, rssi: -70 }))];
};

const reset = (device: RpcDevice): null => {
  device.wipe();
  device.restart(device.world.timing.rebootMs);
  return null;
};

export const SHELLY: Readonly<Record<string, Method>> = {
  "Shelly.GetDeviceInfo": (device, params) => ({
    ...device.info(),
    ...(params.ident === true ? { key: "simulated.identity.of-no-use", batch: "2540-Simulated", fw_sbits: "06" } : {}),
  }),
  "Shelly.GetStatus": (device) => device.status(),
  "Shelly.GetConfig": (device) => device.config(),
  "Shelly.GetComponents": components,
  "Shelly.SetAuth": setAuth,
  "Shelly.SetProfile": setProfile,
  "Shelly.CheckForUpdate": (device) =>
    Object.fromEntries(
      Object.entries(device.spec.updates ?? {})
        .filter(([, release]) => release.version !== device.version)
        .map(([stage, { version, buildId }]) => [stage, { version, build_id: buildId }]),
    ),
  "Shelly.Update": (device, params) => {
    const [stage, url] = [may(params, "stage", "string"), may(params, "url", "string")];
    if (url !== undefined && stage !== undefined) throw new RpcError(-103, "Only one of 'stage' and 'url'!");
    if (url === undefined && stage !== undefined && stage !== "stable" && stage !== "beta") {
      throw new RpcError(-103, `Argument 'stage', value '${stage}' is invalid!`);
    }
    const refusal = update(device, url === undefined ? { stage: stage === "beta" ? "beta" : "stable" } : { url });
    if (refusal !== undefined) throw new RpcError(-109, refusal);
    return null;
  },
  "Shelly.Reboot": (device, params) => {
    const delay = may(params, "delay_ms", "number") ?? 1000;
    if (delay < 500) throw new RpcError(-103, `Argument 'delay_ms', value ${delay} is invalid, expected at least 500!`);
    // The fleet's own pace, so that no test waits.
    device.restart(Math.min(delay, device.world.timing.rebootMs));
    return null;
  },
  "Shelly.FactoryReset": reset,
  "Shelly.ResetWiFiConfig": (device) => {
    device.configure("wifi", { sta: { ssid: null, enable: false }, sta1: { ssid: null, enable: false } });
    device.restart(device.world.timing.rebootMs);
    return null;
  },
  "Shelly.Identify": (device) => {
    device.event("sys", "identify");
    return null;
  },
  "Shelly.DetectLocation": () => ({ tz: "Europe/Berlin", lat: 52.5, lon: 13.4 }),
  "Shelly.ListTimezones": (_, params) => {
    const offset = may(params, "offset", "number") ?? 0;
    return { timezones: ZONES.slice(offset), offset, total: ZONES.length };
  },
  "Shelly.PutUserCA": put("user_ca"),
  "Shelly.PutTLSClientCert": put("client_cert"),
  "Shelly.PutTLSClientKey": put("client_key"),
  "Shelly.PutHTTPServerCert": put("server_cert"),
  "Shelly.PutHTTPServerKey": put("server_key"),
  "Shelly.PutHTTPServerCABundle": put("server_ca"),
  "RPC.Ping": () => ({}),
  "Sys.SetTime": (_, params) => {
    need(params, "unixtime", "number");
    return null;
  },
  "Wifi.Scan": (device) => ({ results: channels(device) }),
  "Wifi.ListAPClients": (device) => ({
    ts: Math.floor(device.now() / 1000),
    ap_clients: device.world.children(device).map((child) => ({
      mac: child.mac.toLowerCase().match(/../g)!.join(":"),
      ip: child.inner!,
      ip_static: false,
      mport: child.mport!,
      since: Math.floor(child.bootedAt / 1000),
    })),
  }),
  "BLE.CloudRelay.List": () => ({ addrs: [] }),
  "BLE.CloudRelay.ListInfos": () => ({ ts: 0, offset: 0, count: 0, total: 0, devices: {} }),
};

/** For a client that takes a text for an object. */
export const objectOf = (text: string): JsonObject | undefined => {
  try {
    const parsed = JSON.parse(text) as Json;
    return isObject(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
};
