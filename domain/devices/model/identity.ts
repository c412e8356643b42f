/** What a device is, from what it says of itself: `/shelly` alone suffices, the rest of a report makes it richer. */
import { at, fieldOf, flagOf, isObject, numberOf, objectOf, textOf } from "./json.ts";
import type { Json, Report } from "./report.ts";

export type Generation = 1 | 2 | 3 | 4;

export interface Identity {
  /** Twelve upper-case hexadecimal digits: what a device is known by, wherever it is reached. */
  readonly mac: string;
  readonly generation: Generation;
  /** The maker's number: `SNSW-102P16EU`, `SHSW-25`. */
  readonly model: string;
  /** Which firmware it runs: `Plus2PM`; Gen1 has none of its own, its model is the key of the maker's index. */
  readonly app: string;
  readonly firmware: Firmware;
  /** Whether it asks for a password. */
  readonly authentication: boolean;
  /** Realm of its login: Gen2+ its own id, Gen1 one word for all. */
  readonly realm: string;
  /** What it calls itself in networks: `shellyplus2pm-c4d8d5517c68`. */
  readonly id: string;
  /** Given by people; null: none. */
  readonly name: string | null;
  /** Switches between sets of components: `switch`, `cover`, `triphase` …; null: it has one only. */
  readonly profile: string | null;
  /** Runs on a battery and is away most of the time; undefined: the report does not tell. */
  readonly sleeper: boolean | undefined;
  /** How often a sleeper reports, in seconds, where it says so. */
  readonly wakeUpPeriodSeconds: number | null;
}

export interface Firmware {
  /** `1.7.5`, `2.0.0-beta1`; Gen1 `1.14.0`. Empty: it says none. */
  readonly version: string;
  /** As the device writes it: `20260311-095847/1.7.5-g9979d16`, `20230913-112003/v1.14.0-gcb84623`. */
  readonly build: string;
}

export interface NoDevice {
  readonly problem: "no-device";
  /** What is missing or wrong, for the reader. */
  readonly reason: string;
}

/** Twelve upper-case hexadecimal digits; undefined: it is no MAC. Separators and case do not matter. */
export function normalMac(text: unknown): string | undefined {
  if (typeof text !== "string" || text.length > 32) return undefined;
  const digits = text.replaceAll(/[:\-. ]/g, "").toUpperCase();
  return /^[0-9A-F]{12}$/.test(digits) ? digits : undefined;
}

/** `AA:BB:CC:DD:EE:FF` */
export const macWithColons = (mac: string): string => mac.match(/../g)!.join(":");

/** A Gen1 firmware says its version after the slash: `20230913-112003/v1.14.0-gcb84623`. */
function gen1Version(build: string): string {
  return /\/v?(\d+(?:\.\d+)*(?:-rc\d+(?:-\d+)?)?)/.exec(build)?.[1] ?? "";
}

/** Who says it: the answer of `/shelly`, open on every device. What is no Shelly's answer is a `NoDevice`, never an error thrown. */
export function generationOf(shelly: Json): Generation | NoDevice {
  if (!isObject(shelly)) return noDevice("its answer is no object");
  const gen = shelly.gen;
  if (gen === 2 || gen === 3 || gen === 4) return gen;
  if (gen === undefined && typeof shelly.type === "string") return 1;
  return noDevice(
    gen === undefined ? "it says neither its type nor its generation" : `generation ${short(gen)} is not known`,
  );
}

/** @returns what it is, or why it is none that is known */
export function identityOf(report: Pick<Report, "shelly"> & Partial<Report>): Identity | NoDevice {
  const { shelly } = report;
  const generation = generationOf(shelly);
  if (typeof generation === "object") return generation;
  const mac = normalMac(fieldOf(shelly, "mac"));
  if (mac === undefined) return noDevice("it has no MAC address that could be read");
  return generation === 1 ? gen1Identity(report, mac) : gen2Identity(report, mac, generation);
}

export const isNoDevice = (found: object): found is NoDevice => "problem" in found;

function gen1Identity(report: Pick<Report, "shelly">, mac: string): Identity {
  const { shelly, settings, status } = report as { shelly: Json; settings?: Json; status?: Json };
  const model = textOf(fieldOf(shelly, "type")) ?? "";
  const build = textOf(fieldOf(shelly, "fw")) ?? textOf(fieldOf(settings, "fw")) ?? "";
  const mode = textOf(fieldOf(settings, "mode"));
  const periodSeconds = gen1Period(settings);
  const always = at(settings, ["device", "sleep_mode"]);
  return {
    mac,
    generation: 1,
    model,
    app: model,
    firmware: { version: gen1Version(build), build },
    authentication: flagOf(fieldOf(shelly, "auth")) ?? flagOf(at(settings, ["login", "enabled"])) ?? false,
    realm: "Shelly",
    id: textOf(at(settings, ["device", "hostname"])) ?? `shelly-${mac}`,
    name: textOf(fieldOf(settings, "name")) ?? null,
    profile: mode === undefined ? null : ({ relay: "switch", roller: "cover" }[mode] ?? mode),
    // A thermostat and the motion sensors have a battery, and stay in the network.
    sleeper:
      settings === undefined
        ? undefined
        : always === true || (periodSeconds !== null && isObject(fieldOf(status, "bat")) && !staysAwake(settings)),
    wakeUpPeriodSeconds: periodSeconds,
  };
}

const staysAwake = (settings: Json | undefined): boolean =>
  fieldOf(settings, "thermostats") !== undefined || fieldOf(settings, "motion") !== undefined;

function gen1Period(settings: Json | undefined): number | null {
  const period = numberOf(at(settings, ["sleep_mode", "period"]));
  const seconds = { m: 60, h: 3600 }[textOf(at(settings, ["sleep_mode", "unit"])) ?? ""];
  return period === undefined || seconds === undefined ? null : period * seconds;
}

function gen2Identity(report: Pick<Report, "shelly">, mac: string, generation: 2 | 3 | 4): Identity {
  const { shelly, config, status } = report as { shelly: Json; config?: Json; status?: Json };
  const id = textOf(fieldOf(shelly, "id")) ?? `shelly-${mac.toLowerCase()}`;
  const build = textOf(fieldOf(shelly, "fw_id")) ?? "";
  const name = fieldOf(shelly, "name") ?? at(config, ["sys", "device", "name"]);
  const period = numberOf(at(status, ["sys", "wakeup_period"]));
  return {
    mac,
    generation,
    model: textOf(fieldOf(shelly, "model")) ?? "",
    app: textOf(fieldOf(shelly, "app")) ?? "",
    firmware: { version: textOf(fieldOf(shelly, "ver")) ?? "", build },
    authentication: flagOf(fieldOf(shelly, "auth_en")) ?? false,
    realm: textOf(fieldOf(shelly, "auth_domain")) ?? id,
    id,
    name: textOf(name) ?? null,
    profile: textOf(fieldOf(shelly, "profile")) ?? textOf(at(config, ["sys", "device", "profile"])) ?? null,
    // Only who sleeps says when and why it woke (captured).
    sleeper: status === undefined ? undefined : (period ?? 0) > 0 && isObject(at(status, ["sys", "wakeup_reason"])),
    wakeUpPeriodSeconds: period !== undefined && period > 0 ? period : null,
  };
}

const noDevice = (reason: string): NoDevice => ({ problem: "no-device", reason });
const short = (value: Json | undefined): string => JSON.stringify(value ?? null).slice(0, 40);

/** Counters that move when something was changed: nothing else need be read to see that all is as it was. */
export function revisionsOf(status: Json): Readonly<Record<string, number>> {
  const of = (value: Json | undefined) =>
    Object.entries(objectOf(value)).filter(
      (field): field is [string, number] =>
        typeof field[1] === "number" && /(^|_)rev$|^cfg_changed_cnt$/.test(field[0]),
    );
  return Object.fromEntries([...of(status), ...of(fieldOf(status, "sys"))]);
}
