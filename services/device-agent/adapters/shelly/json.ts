/** JSON as devices send it: bounded in size and depth, never believed in its shape, and without what changes an object's nature. */
import type { Json, JsonObject } from "@millrace/domain/devices/model/report.ts";
import { failure } from "./failures.ts";

export type { Json, JsonObject };

/** No answer of a device known comes near: a full status is 2 to 20 KB, a page of components 30 KB. */
export const ANSWER_BYTES = 1024 ** 2;
const DEPTH = 24;

/** @throws DeviceFailure garbled */
export function parseJson(text: string): Json {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (cause) {
    throw failure("garbled", "What it answered is no JSON.", { cause });
  }
  if (mayBeDeep(text) && deeper(value, DEPTH))
    throw failure("garbled", `What it answered is nested more than ${DEPTH} deep.`);
  return value;
}

/** What opens less often than it may be deep is not looked through: of most messages that is so. */
function mayBeDeep(text: string): boolean {
  let opened = 0;
  for (const bracket of ["{", "["]) {
    for (let at = text.indexOf(bracket); at >= 0; at = text.indexOf(bracket, at + 1)) {
      opened += 1;
      if (opened > DEPTH) return true;
    }
  }
  return false;
}

function deeper(value: Json, left: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (left === 0) return true;
  if (Array.isArray(value)) return value.some((one) => deeper(one, left - 1));
  const object = value as JsonObject;
  for (const key in object) if (deeper(object[key]!, left - 1)) return true;
  return false;
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @throws DeviceFailure garbled */
export function objectOf(value: Json | undefined, what: string): JsonObject {
  if (!isObject(value)) throw failure("garbled", `${what} is no object.`);
  return value;
}

export const textAt = (value: Json | undefined, key: string): string | undefined => {
  const found = isObject(value) ? value[key] : undefined;
  return typeof found === "string" ? found : undefined;
};

export const numberAt = (value: Json | undefined, key: string): number | undefined => {
  const found = isObject(value) ? value[key] : undefined;
  return typeof found === "number" && Number.isFinite(found) ? found : undefined;
};

/** Keys that one object may come to have by merging: what a device adds without end is no status. */
const KEYS = 512;

/**
 * A new object: `change` over `base`, deeply; `null` replaces, and so does an array. What did not change keeps its identity, so that
 * `merged === base` says that nothing did.
 * @throws DeviceFailure garbled, for an object that grows beyond all bounds
 */
export function merge(base: JsonObject, change: JsonObject): JsonObject {
  let merged: Record<string, Json> | undefined;
  let grows = false;
  for (const key in change) {
    if (key === "__proto__") continue;
    const before = Object.hasOwn(base, key) ? base[key] : undefined;
    const to = change[key]!;
    const value = isObject(to) ? merge(isObject(before) ? before : {}, to) : to;
    if (isObject(to) ? value === before : same(before, value)) continue;
    merged ??= { ...base };
    merged[key] = value;
    grows ||= before === undefined;
  }
  if (merged === undefined) return base;
  if (grows && Object.keys(merged).length > KEYS)
    throw failure("garbled", `It reports more than ${KEYS} fields of one thing.`);
  return merged;
}

/** Of what is no object; arrays are short. */
const same = (a: Json | undefined, b: Json): boolean =>
  a === b || (Array.isArray(a) && Array.isArray(b) && JSON.stringify(a) === JSON.stringify(b));
