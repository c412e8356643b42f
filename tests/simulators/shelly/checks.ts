/** What a value of a configuration may be, beside being of the type of its default. An answer of text says what is wrong. */
import { isObject } from "./auth.ts";
import type { Json, JsonObject } from "./face.ts";

export type Check = (value: Json) => string | undefined;

export const text =
  (most: number, nullable = true): Check =>
  (value) =>
    (nullable && value === null) || (typeof value === "string" && value.length <= most)
      ? undefined
      : `a text of at most ${most} characters`;

export const range =
  (least: number, most: number, nullable = false): Check =>
  (value) =>
    (nullable && value === null) || (typeof value === "number" && value >= least && value <= most)
      ? undefined
      : `a number from ${least} to ${most}`;

export const oneOf =
  (...values: Json[]): Check =>
  (value) =>
    values.includes(value) ? undefined : `one of ${values.map((one) => JSON.stringify(one)).join(", ")}`;

export const refused: Check = () => "a field that is never written";

export const bool: Check = (value) => (typeof value === "boolean" ? undefined : "a boolean");
/** `host:port`. */
export const endpoint: Check = (value) =>
  value === null || (typeof value === "string" && /^[^\s:]+:\d{1,5}$/.test(value)) ? undefined : "host:port";
export const ipv4: Check = (value) =>
  value === null || (typeof value === "string" && /^(\d{1,3}\.){3}\d{1,3}$/.test(value))
    ? undefined
    : "an IPv4 address";
export const url: Check = (value) =>
  value === null || (typeof value === "string" && /^wss?:\/\/\S+$/.test(value)) ? undefined : "ws:// or wss://";

const typeOf = (value: Json): string => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);

export interface Merged {
  readonly value: JsonObject;
  /** Paths (`device.name`) whose values differ now. */
  readonly changed: readonly string[];
  /** What is taken and never shown, by path. */
  readonly secrets: Readonly<Record<string, Json>>;
}

export interface Rules {
  readonly checks: Readonly<Record<string, Check>>;
  /** Taken, never shown. */
  readonly secret: readonly string[];
  /** Sent back by clients that read before they write; left as they are. */
  readonly kept: readonly string[];
}

/**
 * `patch` laid over `current`, field by field; arrays and what was null are replaced. Keys that the device does not have are ignored,
 * as its firmware does.
 * @returns text: what is wrong, for an error −103.
 */
export function merge(current: JsonObject, patch: JsonObject, rules: Rules, path = ""): Merged | string {
  const value: JsonObject = { ...current };
  const changed: string[] = [];
  const secrets: Record<string, Json> = {};
  for (const [key, next] of Object.entries(patch)) {
    const at = path === "" ? key : `${path}.${key}`;
    if (rules.secret.includes(at)) {
      if (next !== null && typeof next !== "string") return `Argument '${at}' has invalid type; expected string!`;
      secrets[at] = next;
      continue;
    }
    const check = Object.hasOwn(rules.checks, at) ? rules.checks[at] : undefined;
    if (check === refused) return `Argument '${at}', value ${JSON.stringify(next)} is invalid!`;
    if (!Object.hasOwn(current, key) || rules.kept.includes(at)) continue;
    const now = current[key]!;
    const wrong = check?.(next);
    if (wrong !== undefined) return `Argument '${at}', value ${JSON.stringify(next)} is invalid, expected ${wrong}!`;
    if (isObject(now) && isObject(next) && Object.keys(now).length > 0) {
      const inner = merge(now, next, rules, at);
      if (typeof inner === "string") return inner;
      value[key] = inner.value;
      changed.push(...inner.changed);
      Object.assign(secrets, inner.secrets);
      continue;
    }
    if (check === undefined && now !== null && next !== null && typeOf(now) !== typeOf(next)) {
      return `Argument '${at}', value ${JSON.stringify(next)} has invalid type; expected ${typeOf(now)}!`;
    }
    if (check === undefined && next === null && ["boolean", "number"].includes(typeOf(now))) {
      return `Argument '${at}', value null has invalid type; expected ${typeOf(now)}!`;
    }
    if (JSON.stringify(now) === JSON.stringify(next)) continue;
    value[key] = next;
    changed.push(at);
  }
  return { value, changed, secrets };
}
