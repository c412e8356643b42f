/**
 * What the fields of the known components hold: values, ranges, units (documented for Gen2+; Gen1's words beside them where it has others).
 * A component or field that is not listed is what the device itself shows: its kind of value, and no other.
 */

import { own } from "../../own.ts";
import { componentOf } from "./collections.ts";
import { fieldsOf, isSecretField, isSecretReference, leftOutOfGen2 } from "./configuration.ts";
import { pointerOf } from "./difference.ts";
import { at, isList, isObject, nearest, type Path, pathText } from "./json.ts";
import type { Json } from "./report.ts";
import type { Unwritable } from "./work.ts";

export type FieldType =
  | { readonly kind: "flag" }
  | { readonly kind: "text"; readonly most?: number }
  | { readonly kind: "choice"; readonly of: ReadonlyArray<string> }
  | { readonly kind: "number"; readonly least?: number; readonly most?: number; readonly unit?: string }
  | { readonly kind: "list" };

const FLAG: FieldType = { kind: "flag" };
const TEXT: FieldType = { kind: "text" };
const NAME: FieldType = { kind: "text", most: 64 };
const number = (unit?: string, least?: number, most?: number): FieldType => ({
  kind: "number",
  ...(unit === undefined ? {} : { unit }),
  ...(least === undefined ? {} : { least }),
  ...(most === undefined ? {} : { most }),
});
const choice = (...of: string[]): FieldType => ({ kind: "choice", of });

type Fields = Readonly<Record<string, FieldType>>;

const TIMERS: Fields = { auto_on: FLAG, auto_on_delay: number("s", 0), auto_off: FLAG, auto_off_delay: number("s", 0) };
const LIMITS: Fields = {
  power_limit: number("W", 0),
  voltage_limit: number("V", 0),
  undervoltage_limit: number("V", 0),
  current_limit: number("A", 0),
  autorecover_voltage_errors: FLAG,
};
const BUTTONS = ["momentary", "follow", "flip", "detached", "cycle", "activate", "dim", "dual_dim", "action"];
const GEN1_BUTTONS = ["momentary_on_release", "one_button", "dual_button"];
const OUTPUT: Fields = {
  name: NAME,
  initial_state: choice("off", "on", "restore_last", "match_input", "switch1", "switch2"),
  in_mode: choice(...BUTTONS, ...GEN1_BUTTONS),
  in_locked: FLAG,
  ...TIMERS,
};
const LIGHT: Fields = {
  ...OUTPUT,
  ...LIMITS,
  transition_duration: number("s", 0, 300),
  button_fade_rate: number(undefined, 1, 5),
  min_brightness_on_toggle: number("%", 0, 100),
  "night_mode.enable": FLAG,
  "night_mode.brightness": number("%", 0, 100),
  "night_mode.active_between": { kind: "list" },
};
const NETWORK: Fields = {
  enable: FLAG,
  ssid: { kind: "text", most: 32 },
  is_open: FLAG,
  ipv4mode: choice("dhcp", "static"),
  ip: TEXT,
  netmask: TEXT,
  gw: TEXT,
  nameserver: TEXT,
};
const within = (prefix: string, fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).map(([name, type]) => [`${prefix}.${name}`, type]));

/** By type of component. */
export const FIELDS: Readonly<Record<string, Fields>> = {
  switch: { ...OUTPUT, ...LIMITS, reverse: FLAG, appliance_type: TEXT, power: number("W", 0) },
  light: LIGHT,
  rgb: LIGHT,
  rgbw: LIGHT,
  cct: LIGHT,
  rgbcct: LIGHT,
  input: {
    name: NAME,
    type: choice("switch", "button", "analog", "count", "detached", "toggle"),
    enable: FLAG,
    invert: FLAG,
    factory_reset: FLAG,
  },
  cover: {
    name: NAME,
    initial_state: choice("open", "closed", "stopped"),
    in_mode: choice("single", "dual", "detached"),
    in_locked: FLAG,
    maxtime_open: number("s", 0, 300),
    maxtime_close: number("s", 0, 300),
    invert_directions: FLAG,
    swap_inputs: FLAG,
    "motor.idle_power_thr": number("W", 0),
    "motor.idle_confirm_period": number("s", 0),
    "safety_switch.enable": FLAG,
    "safety_switch.direction": choice("open", "close", "both"),
    "safety_switch.action": choice("stop", "reverse", "pause"),
    "obstruction_detection.enable": FLAG,
    "obstruction_detection.direction": choice("open", "close", "both"),
    "obstruction_detection.action": choice("stop", "reverse"),
    "obstruction_detection.power_thr": number("W", 0),
    "obstruction_detection.holdoff": number("s", 0),
    ...LIMITS,
  },
  em: { name: NAME, ct_type: TEXT, phase_selector: TEXT, monitor_phase_sequence: FLAG },
  em1: { name: NAME, reverse: FLAG, max_power: number("W", 0) },
  temperature: { name: NAME, report_thr_C: number("°C", 0), offset_C: number("°C", -50, 50) },
  humidity: { name: NAME, report_thr: number("%", 0, 100), offset: number("%", -50, 50) },
  illuminance: { name: NAME, dark_thr: number("lx", 0), bright_thr: number("lx", 0) },
  ht_ui: { temperature_unit: choice("C", "F") },
  sys: {
    "device.name": NAME,
    "device.eco_mode": FLAG,
    "device.discoverable": FLAG,
    "device.profile": TEXT,
    "location.tz": TEXT,
    "location.lat": number("°", -90, 90),
    "location.lon": number("°", -180, 180),
    "sntp.server": TEXT,
    "rpc_udp.dst_addr": TEXT,
    "rpc_udp.listen_port": number(undefined, 1, 65_535),
  },
  wifi: {
    "ap.enable": FLAG,
    "ap.ssid": { kind: "text", most: 32 },
    "ap.range_extender.enable": FLAG,
    ...within("sta", NETWORK),
    ...within("sta1", NETWORK),
    "roam.enable": FLAG,
    "roam.rssi_thr": number("dBm", -100, 0),
    "roam.interval": number("s", 0),
  },
  eth: {
    enable: FLAG,
    server_mode: FLAG,
    ipv4mode: choice("dhcp", "static"),
    ip: TEXT,
    netmask: TEXT,
    gw: TEXT,
    nameserver: TEXT,
  },
  ble: { enable: FLAG, "rpc.enable": FLAG },
  cloud: { enable: FLAG, server: TEXT },
  mqtt: {
    enable: FLAG,
    server: TEXT,
    client_id: TEXT,
    user: TEXT,
    topic_prefix: { kind: "text", most: 300 },
    ssl_ca: choice("*", "user_ca.pem", "ca.pem"),
    use_client_cert: FLAG,
    rpc_ntf: FLAG,
    status_ntf: FLAG,
    enable_rpc: FLAG,
    enable_control: FLAG,
    keep_alive: number("s", 0),
    max_qos: number(undefined, 0, 2),
    retain: FLAG,
    clean_session: FLAG,
    update_period: number("s", 0),
  },
  ws: { enable: FLAG, server: TEXT, ssl_ca: choice("*", "user_ca.pem", "ca.pem") },
  coiot: { enable: FLAG, peer: TEXT, update_period: number("s", 0, 65_535) },
  auth: { enable: FLAG, user: { kind: "text", most: 50 }, unprotected: FLAG },
  matter: { enable: FLAG },
  modbus: { enable: FLAG },
  knx: { enable: FLAG },
  zigbee: { enable: FLAG },
};

/** Left out by a device while they are not set, and still to be written. */
const SPARSE = /^(?:mqtt|ws|eth|cloud|ble)\.|^sys\.(?:location|sntp|rpc_udp)\.|^wifi\.(?:sta|sta1|ap|roam)\./;
const PAIRED = new Set(["auto_on_delay", "auto_off_delay"]);

/** What is wrong with a value of a known field; undefined: nothing. */
export function faultOf(type: FieldType, value: Json): string | undefined {
  if (value === null) return undefined;
  switch (type.kind) {
    case "flag":
      return typeof value === "boolean" ? undefined : "is true or false";
    case "list":
      return isList(value) ? undefined : "is a list";
    case "text":
      if (typeof value !== "string") return "is a text";
      return value.length > (type.most ?? 1024) ? `has at most ${type.most ?? 1024} characters` : undefined;
    case "choice":
      return typeof value === "string" && type.of.includes(value) ? undefined : `is one of ${type.of.join(", ")}`;
    case "number": {
      const { least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY, unit = "" } = type;
      if (typeof value !== "number" || !Number.isFinite(value)) return "is a number";
      return value < least || value > most ? `is from ${least} to ${most} ${unit}`.trim() : undefined;
    }
  }
}

const kindOf = (value: Json): string => (isList(value) ? "list" : value === null ? "null" : typeof value);

/** Why the device cannot be asked for this; undefined: it can. @param there the component as it is, undefined: it is none that shows anything */
export function unfit(
  component: string,
  path: Path,
  value: Json,
  wanted: Json,
  there: Json | undefined,
): Unwritable | undefined {
  const { type } = componentOf(component);
  const field = pathText(path);
  const no = (reason: Unwritable["reason"], detail: string, fix: string): Unwritable => ({
    component,
    path: pointerOf(path),
    reason,
    detail,
    fix,
  });
  if (isSecretField(component, field)) {
    if (isSecretReference(value) || value === null) return undefined;
    return no(
      "secret-here",
      "A password does not stand in a configuration.",
      'Store it as a secret, and give {"$secret": "<its id>"} here.',
    );
  }
  if (isSecretReference(value)) {
    return no("secret-here", "No secret belongs here: the device would show it.", "Give the value itself.");
  }
  const left = leftOutOfGen2(type, field);
  if (left !== undefined) return no("read-only", `The device says ${field}; nobody can set it.`, "Leave it out.");
  const fault = joinsWithoutPassword(component, path, value, wanted, there);
  if (fault !== undefined)
    return no("secret-needed", fault, "Give the password as a secret beside it, or null for a network without one.");
  const now = at(there, path);
  const known = own(own(FIELDS, type) ?? {}, field);
  if (now === undefined && !mayBeNew(component, path, there, known)) {
    const near = nearest(
      field,
      [...fieldsOf(there ?? {})].filter((other) => other !== field),
    );
    return no(
      "unknown-field",
      `The device has no ${field} in ${component}.`,
      near === undefined ? "Leave it out." : `Did you mean ${near}?`,
    );
  }
  const wrong = known === undefined ? undefined : faultOf(known, value);
  // What the device itself shows is right, whatever is known of others.
  if (wrong !== undefined && !(now !== undefined && JSON.stringify(now) === JSON.stringify(value))) {
    return no("wrong-value", `${field} ${wrong}.`, "Give a value that it can have.");
  }
  if (now === undefined || now === null || value === null || kindOf(now) === kindOf(value)) return undefined;
  return no("wrong-value", `${field} is a ${kindOf(now)}, not a ${kindOf(value)}.`, "Give a value of its kind.");
}

/** What stands below something that is not set is not shown either. */
function mayBeNew(component: string, path: Path, there: Json | undefined, known: FieldType | undefined): boolean {
  for (let depth = 1; depth < path.length; depth++) {
    const above = at(there, path.slice(0, depth));
    if (above === null || (isObject(above) && Object.keys(above).length === 0)) return true;
  }
  if (known === undefined) return false;
  const governed = at(there, [...path.slice(0, -1), path.at(-1)!.replace(/_delay$/, "")]) !== undefined;
  if (PAIRED.has(path.at(-1)!) && governed) return true;
  if (path.at(-1) === "direction" && at(there, [...path.slice(0, -1), "enable"]) !== undefined) return true;
  return SPARSE.test(`${component}.${pathText(path)}`);
}

/** Another network, with a password that is not given, is a device that is gone. */
function joinsWithoutPassword(
  component: string,
  path: Path,
  value: Json,
  wanted: Json,
  there: Json | undefined,
): string | undefined {
  const network = path[0]!;
  const field = path[1];
  if (component === "auth" && network === "enable" && value === true && at(there, path) === false) {
    const given = ["password", "ha1"].some((name) => isSecretReference(at(wanted, [name])));
    return given ? undefined : "Its login is switched on with a password.";
  }
  if (component !== "wifi" || field !== "ssid" || !["sta", "sta1"].includes(network)) return undefined;
  if (value === null || value === "" || value === at(there, path)) return undefined;
  const pass = at(wanted, [network, "pass"]);
  if (at(wanted, [network, "is_open"]) === true || isSecretReference(pass) || pass === null) return undefined;
  return `${network} joins another network, and its password is not given.`;
}
