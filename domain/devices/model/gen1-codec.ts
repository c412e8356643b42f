/** Between one setting of Gen1 and the fields of Gen2+ that say the same, exactly, there and back. */
import { fieldOf, isObject } from "./json.ts";
import type { Json } from "./report.ts";

export interface Codec {
  /** The fields it comes to, dotted. */
  readonly fields: ReadonlyArray<string>;
  /** @returns the fields that this value says; a field it says nothing of is left out */
  readonly decode: (raw: Json) => ReadonlyArray<readonly [string, Json]>;
  /** @returns the setting, or undefined where these fields are nothing that Gen1 can hold */
  readonly encode: (field: (name: string) => Json | undefined, raw: Json) => Json | undefined;
}

export const same = (name: string): Codec => ({
  fields: [name],
  decode: (raw) => [[name, raw]],
  encode: (field) => field(name),
});

/** Some words have another name; every other stays itself. A word whose meaning is taken by another's name is none. */
export const map = (name: string, words: Readonly<Record<string, string>>): Codec => {
  const back = new Map(Object.entries(words).map(([gen1, gen2]) => [gen2, gen1]));
  return {
    fields: [name],
    decode: (raw) => [[name, typeof raw === "string" && Object.hasOwn(words, raw) ? words[raw]! : raw]],
    encode: (field) => {
      const value = field(name);
      if (typeof value !== "string") return value;
      return back.get(value) ?? (Object.hasOwn(words, value) ? undefined : value);
    },
  };
};

/** 0 or 1 on the device, a flag for everybody else. */
export const flag = (name: string): Codec => ({
  fields: [name],
  decode: (raw) => [[name, raw === 0 ? false : raw === 1 ? true : raw]],
  encode: (field, raw) => {
    const value = field(name);
    return typeof value === "boolean" && typeof raw === "number" ? Number(value) : value;
  },
});

/** Seconds, where 0 is off: Gen2+ says on or off, and how long. */
export const timer = (on: string, delay: string): Codec => ({
  fields: [on, delay],
  decode: (raw) => {
    if (raw === 0) return [[on, false]];
    return typeof raw === "number"
      ? [
          [on, true],
          [delay, raw],
        ]
      : [[delay, raw]];
  },
  encode: (field) => {
    const [set, seconds] = [field(on), field(delay)];
    if (set === false) return 0;
    if (set === undefined) return seconds;
    return set === true && typeof seconds === "number" && seconds !== 0 ? seconds : undefined;
  },
});

const DIRECTIONS: ReadonlyArray<readonly [string, string]> = [
  ["while_opening", "open"],
  ["while_closing", "close"],
  ["while_moving", "both"],
];

/** `disabled`, or while it does what: Gen2+ says on or off, and in which direction. */
export const mode = (on: string, direction: string): Codec => ({
  fields: [on, direction],
  decode: (raw) => {
    if (raw === "disabled") return [[on, false]];
    return [
      [on, true],
      [direction, DIRECTIONS.find(([gen1]) => gen1 === raw)?.[1] ?? raw],
    ];
  },
  encode: (field) => {
    if (field(on) === false) return "disabled";
    const which = field(direction);
    return DIRECTIONS.find(([, gen2]) => gen2 === which)?.[0] ?? which;
  },
});

/** Another unit: what the device counts in thousandths is whole here. */
export const scaled = (name: string, factor: number): Codec => ({
  fields: [name],
  decode: (raw) => [[name, typeof raw === "number" ? raw / factor : raw]],
  encode: (field) => {
    const value = field(name);
    return typeof value === "number" ? Math.round(value * factor * 1e6) / 1e6 : value;
  },
});

const WINDOW = ["enabled", "brightness", "start_time", "end_time"] as const;

/** `{enabled, start_time, end_time, brightness}`: Gen2+ has the two times in one list, `active_between`. */
export const window = (prefix: string): Codec => ({
  fields: [`${prefix}.enable`, `${prefix}.brightness`, `${prefix}.active_between`],
  decode: (raw) => {
    if (!isObject(raw)) return [];
    const [enable, brightness, start, end] = WINDOW.map((name) => fieldOf(raw, name));
    const all: ReadonlyArray<readonly [string, Json | undefined]> = [
      [`${prefix}.enable`, enable],
      [`${prefix}.brightness`, brightness],
      [`${prefix}.active_between`, start === undefined || end === undefined ? undefined : [start, end]],
    ];
    return all.filter((field): field is readonly [string, Json] => field[1] !== undefined);
  },
  encode: (field, raw) => {
    if (!isObject(raw)) return undefined;
    const between = field(`${prefix}.active_between`);
    const [start, end] = Array.isArray(between) && between.length === 2 ? between : [undefined, undefined];
    if (between !== undefined && start === undefined) return undefined;
    const values = [field(`${prefix}.enable`), field(`${prefix}.brightness`), start, end];
    return Object.fromEntries(
      Object.keys(raw).flatMap((name) => {
        const value = values[(WINDOW as ReadonlyArray<string>).indexOf(name)] ?? raw[name];
        return value === undefined ? [] : [[name, value]];
      }),
    );
  },
});
