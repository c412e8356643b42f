/** How Gen1 takes settings: queries of text, names that differ between writing and reading. */
import { isObject } from "./auth.ts";
import type { Json, JsonObject } from "./face.ts";
import type { Gen1Device } from "./gen1-device.ts";

/** Parameters of `/settings` that stand elsewhere in what is read. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  ap_roaming_enabled: "ap_roaming.enabled",
  ap_roaming_threshold: "ap_roaming.threshold",
  sntp_server: "sntp.server",
  mqtt_enable: "mqtt.enable",
  coiot_enable: "coiot.enabled",
  coiot_update_period: "coiot.update_period",
  coiot_peer: "coiot.peer",
  ...Object.fromEntries(
    ["server", "user", "id", "reconnect_timeout_min", "reconnect_timeout_max", "clean_session", "keep_alive"]
      .concat(["max_qos", "retain", "update_period"])
      .map((key) => [`mqtt_${key}`, `mqtt.${key}`]),
  ),
};
const STATION: Readonly<Record<string, string>> = { gateway: "gw", netmask: "mask" };

/** State that stands among the settings and is no setting. */
const STATE = new Set([
  ...[
    "ison",
    "has_timer",
    "red",
    "green",
    "blue",
    "white",
    "gain",
    "brightness",
    "effect",
    "state",
    "power",
    "is_valid",
  ],
  ...[
    "device",
    "fw",
    "time",
    "unixtime",
    "build_info",
    "hwinfo",
    "actions",
    "login",
    "cloud",
    "tz_utc_offset",
    "tz_dst",
  ],
]);

/** What a parameter must be besides of the type that it has. */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  default_state: ["off", "on", "last", "switch", "stop", "open", "close"],
  btn_type: [
    "momentary",
    "toggle",
    "edge",
    "detached",
    "action",
    "cycle",
    "momentary_on_release",
    "one_button",
    "dual_button",
  ],
  input_mode: ["openclose", "onebutton"],
  ipv4_method: ["dhcp", "static"],
  obstacle_mode: ["disabled", "while_opening", "while_closing", "while_moving"],
  safety_mode: ["disabled", "while_opening", "while_closing", "while_moving"],
};
const TRUE = ["true", "1", "on", "yes"];
const FALSE = ["false", "0", "off", "no", ""];

/** A text as the type that stands there now; undefined where it is none. */
function read(text: string, now: Json, key: string): Json | undefined {
  if (Object.hasOwn(CHOICES, key) && !CHOICES[key]!.includes(text)) return undefined;
  if (typeof now === "boolean") return TRUE.includes(text) ? true : FALSE.includes(text) ? false : undefined;
  if (typeof now === "number") return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
  if (Array.isArray(now)) return text === "" ? [] : text.split(",");
  if (isObject(now)) return undefined;
  return text === "" && key === "name" ? null : text;
}

/** @returns what is wrong, or whether anything differs now. */
function apply(
  target: JsonObject,
  query: URLSearchParams,
  rename: Readonly<Record<string, string>> = {},
): string | boolean {
  const next: Array<[JsonObject, string, Json]> = [];
  for (const [parameter, text] of query) {
    const path = (Object.hasOwn(rename, parameter) ? rename[parameter]! : parameter).split(".");
    const key = path.pop()!;
    let holder: Json | undefined = target;
    for (const step of path) holder = isObject(holder) && Object.hasOwn(holder, step) ? holder[step] : undefined;
    if (!isObject(holder) || !Object.hasOwn(holder, key) || STATE.has(key)) continue;
    const value = read(text, holder[key]!, key);
    if (value === undefined) return `Bad ${parameter}!`;
    if (JSON.stringify(value) !== JSON.stringify(holder[key])) next.push([holder, key, value]);
  }
  for (const [holder, key, value] of next) holder[key] = value;
  return next.length > 0;
}

/** Lists of components, by the word in the path. */
const LISTS: Readonly<Record<string, string>> = {
  relay: "relays",
  roller: "rollers",
  light: "lights",
  color: "lights",
  white: "lights",
  input: "inputs",
  emeter: "emeters",
  emeters: "emeters",
  thermostats: "thermostats",
  ext_temperature: "ext_temperature",
  ext_humidity: "ext_humidity",
  ext_switch: "ext_switch",
};

/** What stands at a path below `/settings`; undefined where there is nothing. */
export function settingAt(device: Gen1Device, path: string): JsonObject | undefined {
  const [, , what = "", index] = path.split("/");
  const { settings } = device;
  if (what === "") return settings;
  if (what === "ap" || what === "sta" || what === "sta1") return settings[`wifi_${what}`] as JsonObject;
  const list = Object.hasOwn(LISTS, what) ? settings[LISTS[what]!] : undefined;
  if (index !== undefined) {
    const found = Array.isArray(list)
      ? list[Number(index)]
      : isObject(list) && Object.hasOwn(list, index)
        ? list[index]
        : undefined;
    return isObject(found) ? found : undefined;
  }
  const single = ["cloud", "night_mode", "warm_up", "emeter_n"].includes(what) ? settings[what] : undefined;
  return isObject(single) ? single : undefined;
}

/** Writes a query to a path of `/settings`. @returns what is wrong, as plain text for a 400. */
export function setSetting(device: Gen1Device, path: string, query: URLSearchParams): string | undefined {
  const target = settingAt(device, path);
  if (target === undefined) return `No ${path}`;
  const [, , what = ""] = path.split("/");
  const station = what === "sta" || what === "sta1" || what === "ap";
  if (what === "") return setRoot(device, query);
  if (what === "cloud") return setCloud(device, target, query);
  const secret = query.get("key");
  const outcome = apply(target, withoutKey(query), station ? STATION : {});
  if (typeof outcome === "string") return outcome;
  const name = `wifi_${what}.key`;
  const rekeyed = station && secret !== null && device.secrets[name] !== secret;
  if (rekeyed) device.secrets[name] = secret;
  if (outcome || rekeyed) device.configured();
  if ((outcome || rekeyed) && what !== "ap" && station) device.rejoin();
  return undefined;
}

const withoutKey = (query: URLSearchParams): URLSearchParams =>
  new URLSearchParams([...query].filter(([key]) => key !== "key"));

function setRoot(device: Gen1Device, query: URLSearchParams): string | undefined {
  const mode = query.get("mode");
  if (mode !== null && device.type.modes.length > 1 && !device.type.modes.includes(mode)) return "Bad mode!";
  const password = query.get("mqtt_pass");
  const plain = new URLSearchParams([...query].filter(([key]) => key !== "mode" && key !== "mqtt_pass"));
  const eco = device.settings.eco_mode_enabled;
  const outcome = apply(device.settings, plain, ELSEWHERE);
  if (typeof outcome === "string") return outcome;
  const secret = password !== null && device.secrets["mqtt.pass"] !== password;
  if (secret) device.secrets["mqtt.pass"] = password;
  const switches = mode !== null && device.type.modes.length > 1 && mode !== device.mode;
  if (outcome || secret || switches) device.configured();
  if (query.has("name") || query.has("discoverable")) device.world.changed(device);
  if (switches) device.switchMode(mode);
  else if (eco !== device.settings.eco_mode_enabled) device.restart(device.world.timing.rebootMs);
  return undefined;
}

function setCloud(device: Gen1Device, cloud: JsonObject, query: URLSearchParams): string | undefined {
  const enabled = query.get("enabled");
  if (enabled === null) return undefined;
  const value = read(enabled, true, "enabled");
  if (typeof value !== "boolean") return "Bad enabled!";
  if (cloud.enabled !== value) {
    cloud.enabled = value;
    device.configured();
  }
  return undefined;
}

export const readFlag = (text: string | null): boolean | undefined => {
  const value = text === null ? undefined : read(text, true, "");
  return typeof value === "boolean" ? value : undefined;
};
