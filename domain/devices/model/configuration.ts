/**
 * Report → configuration: what can be wanted of a device, by component, without what is state, fact or secret. Gen1 has the names of
 * Gen2+ where both have the thing. What stays out, and why, is data (reference: 2.9).
 */
import {
  componentOf,
  dynamicComponents,
  entriesOf,
  groupMembers,
  isCollection,
  isVirtual,
  keptLists,
  keyValues,
} from "./collections.ts";
import { settingsOf } from "./gen1.ts";
import type { Left } from "./gen1-map.ts";
import { at, equal, fieldOf, flagOf, isObject, leaves, objectOf, pathOf, sorted, withAt, withoutAt } from "./json.ts";
import type { Gen1Report, Gen2Report, Json, JsonObject, Report } from "./report.ts";

/** By component key; `schedules`, `webhooks`, `scripts` are lists, `kvs` and `virtual` dictionaries. */
export type Configuration = Readonly<Record<string, Json>>;

/**
 * What Gen2+ answers in `GetConfig` and is no part of what can be wanted: type of component (`*`: every one), and the field.
 * `sys.device.profile` is wanted, by another call than the rest.
 */
export const GEN2_LEFT_OUT: ReadonlyArray<readonly [type: string, field: string, why: Left]> = [
  ["*", "id", "read-only"],
  ["*", "owner", "read-only"],
  ["*", "access", "read-only"],
  ["*", "role", "read-only"],
  ["*", "cfg_rev", "volatile"],
  ["*", "rev", "volatile"],
  ["service", "seq_rev", "volatile"],
  ["sys", "device.mac", "read-only"],
  ["sys", "device.fw_id", "read-only"],
  ["sys", "device.enhanced_security", "read-only"],
  ["sys", "ui_data", "volatile"],
  ["wifi", "ap.is_open", "read-only"],
  ["wifi", "ap.pass", "write-only"],
  ["wifi", "sta.pass", "write-only"],
  ["wifi", "sta1.pass", "write-only"],
  ["mqtt", "pass", "write-only"],
  ["bthomedevice", "addr", "read-only"],
  ["bthomedevice", "key", "write-only"],
  ["bthomesensor", "addr", "read-only"],
  ["bthomesensor", "obj_id", "read-only"],
  ["bthomesensor", "idx", "read-only"],
  ["blutrv", "addr", "read-only"],
  ["blutrv", "key", "write-only"],
  ["blutrv", "trv", "read-only"],
];

/** Where a secret belongs that no read returns; each stands in a configuration as a `SecretReference`. */
export const SECRETS: ReadonlyArray<string> = [
  "wifi.ap.pass",
  "wifi.sta.pass",
  "wifi.sta1.pass",
  "mqtt.pass",
  "auth.password",
  "auth.ha1",
];

/** Whether a secret belongs there. @param field dotted */
export const isSecretField = (component: string, field: string): boolean =>
  SECRETS.includes(`${component}.${field}`) ||
  GEN2_LEFT_OUT.some(
    ([type, name, why]) => why === "write-only" && type === componentOf(component).type && name === field,
  );

/** Why a field of Gen2+ is no part of a configuration; undefined: it is part of it. */
export const leftOutOfGen2 = (type: string, field: string): Left | undefined =>
  GEN2_LEFT_OUT.find(([of, name]) => (of === "*" || of === type) && name === field)?.[2];

/** What can be wanted of this device, as it is now. Fields are in order, so that equal ones are equal texts. */
export function configurationOf(report: Report): Configuration {
  const found = report.generation === 1 ? gen1Configuration(report) : gen2Configuration(report);
  const filled = Object.entries(found).filter(
    ([key, value]) => isCollection(key) || !isObject(value) || Object.keys(value).length > 0,
  );
  return sorted(Object.fromEntries(filled)) as Configuration;
}

function gen1Configuration(report: Gen1Report): Record<string, Json> {
  const all: Record<string, Json> = {};
  for (const { component, codec, value } of settingsOf(report)) {
    for (const [field, said] of codec.decode(value)) all[component] = withAt(all[component], pathOf(field), said);
  }
  const { webhooks } = keptLists(report);
  if (webhooks !== undefined) all.webhooks = entriesOf(webhooks);
  const auth = flagOf(fieldOf(report.shelly, "auth"));
  if (all.auth === undefined && auth !== undefined) all.auth = { enable: auth };
  return all;
}

function gen2Configuration(report: Gen2Report): Record<string, Json> {
  const all: Record<string, Json> = {};
  const virtual: Record<string, Json> = {};
  for (const [key, config] of Object.entries(dynamicComponents(report))) {
    const { type } = componentOf(key);
    // A script stands whole among the scripts.
    if (type === "script") continue;
    const cleaned = GEN2_LEFT_OUT.filter(([of]) => of === "*" || of === type).reduce<Json>(
      (left, [, field]) => withoutAt(left, pathOf(field)),
      config,
    );
    if (isVirtual(key, config)) {
      const members = type === "group" ? groupMembers(report, key) : undefined;
      virtual[key] = members === undefined ? cleaned : { ...objectOf(cleaned), value: members };
    } else all[key] = type === "wifi" ? withoutLease(cleaned, report.status) : cleaned;
  }
  const auth = flagOf(fieldOf(report.shelly, "auth_en"));
  if (auth !== undefined) all.auth = { enable: auth };
  for (const [name, entries] of Object.entries(keptLists(report))) all[name] = entriesOf(entries);
  const kvs = keyValues(report);
  if (kvs !== undefined) all.kvs = kvs;
  if (report.components !== undefined || Object.keys(virtual).length > 0) all.virtual = virtual;
  return all;
}

const LEASED: ReadonlyArray<readonly [string, string]> = [
  ["ip", "sta_ip"],
  ["netmask", "netmask"],
  ["gw", "gw"],
  ["nameserver", "nameserver"],
];

/** A wall display shows the address that it was lent as if it were configured (captured): state, not a wish. */
function withoutLease(wifi: Json, status: Json): Json {
  const now = fieldOf(status, "wifi");
  return ["sta", "sta1"].reduce((left, network) => {
    const config = fieldOf(left, network);
    if (fieldOf(config, "ipv4mode") !== "dhcp") return left;
    return LEASED.reduce((rest, [name, current]) => {
      const value = at(rest, [network, name]);
      return value !== null && value !== undefined && equal(value, fieldOf(now, current))
        ? withAt(rest, [network, name], null)
        : rest;
    }, left);
  }, wifi);
}

/** A secret's reference is one value, and so is what is written as a whole: what a page of the device draws, a place on earth. */
export const isWhole = (path: ReadonlyArray<string>, value: Json): boolean =>
  isSecretReference(value) || path.at(-1) === "meta";

export const isSecretReference = (value: Json | undefined): value is { readonly $secret: string } =>
  isObject(value) && Object.keys(value).length === 1 && typeof value.$secret === "string";

/** The fields of one component, dotted. */
export const fieldsOf = (component: Json): ReadonlyArray<string> =>
  leaves(component, isWhole).map(({ path }) => path.join("."));

export const componentsOf = (configuration: Configuration): ReadonlyArray<readonly [string, JsonObject]> =>
  Object.entries(configuration).filter((entry): entry is [string, JsonObject] => isObject(entry[1]));
