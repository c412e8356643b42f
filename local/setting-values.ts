/** How the text of a setting becomes its value: each answers it, or throws an Error that says what it should be. */
import { statSync } from "node:fs";
import { delimiter, isAbsolute, resolve } from "node:path";
import type { Declaration } from "./settings.ts";

/** @param folder where relative paths start */
export type Reader<T> = (text: string, folder: string) => T;

export const text: Reader<string> = (value) => value;
export const path: Reader<string> = (value, folder) => (isAbsolute(value) ? value : resolve(folder, value));
/** One that somebody made: were it not there, nobody would be told before it is needed. */
export const file: Reader<string> = (value, folder) => {
  const found = path(value, folder);
  if (statSync(found, { throwIfNoEntry: false })?.isFile() !== true)
    throw new Error(`a file that is there (looked for at ${found})`);
  return found;
};
/** A folder, made absolute, or the address of a bucket. */
export const backupPlace: Reader<string> = (value, folder) => {
  if (value.startsWith("s3://") && URL.canParse(value)) return value;
  if (value.includes("://")) throw new Error("a folder, or s3://bucket/prefix");
  return path(value, folder);
};
export const address: Reader<string> = (value) => {
  if (!/^[A-Za-z0-9.:_-]+$/.test(value)) throw new Error("an address or host name");
  return value;
};
export const port: Reader<number> = (value) => {
  if (!/^\d{1,5}$/.test(value) || Number(value) > 65_535) throw new Error("a port from 0 (any free one) to 65535");
  return Number(value);
};
export const flag: Reader<boolean> = (value) => {
  if (value !== "true" && value !== "false") throw new Error("true or false");
  return value === "true";
};
export const url =
  (...protocols: string[]): Reader<string> =>
  (value) => {
    if (!protocols.some((protocol) => value.startsWith(`${protocol}://`)) || !URL.canParse(value)) {
      throw new Error(`a URL that begins with ${protocols.map((protocol) => `${protocol}://`).join(" or ")}`);
    }
    return value;
  };
export const oneOf =
  <T extends string>(...choices: T[]): Reader<T> =>
  (value) => {
    if (!choices.includes(value as T)) throw new Error(`one of ${choices.join(", ")}`);
    return value as T;
  };
export const hostName: Reader<string> = (value) => {
  const label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
  if (value.length > 200 || !new RegExp(`^${label}(\\.${label})*$`).test(value)) {
    throw new Error("a name of hosts such as apps.example.org, in lower case");
  }
  return value;
};
export const paths: Reader<readonly string[]> = (value, folder) =>
  value
    .split(delimiter)
    .filter((one) => one !== "")
    .map((one) => path(one, folder));
export const amount: Reader<string> = (value) => {
  if (!/^\d+(B|KiB|MiB|GiB)$/.test(value)) throw new Error("an amount of memory such as 512MiB");
  return value;
};
export const whole =
  (least: number, most: number): Reader<number> =>
  (value) => {
    if (!/^\d{1,9}$/.test(value) || Number(value) < least || Number(value) > most) {
      throw new Error(`a whole number from ${least} to ${most}`);
    }
    return Number(value);
  };
export const sync: Reader<string> = (value) => {
  if (!/^(always|default|\d+(ms|s|m))$/.test(value)) throw new Error("always, default, or a duration such as 100ms");
  return value;
};

/** How many letters differ, are missing, or are too many. */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** As the services take them; undefined: not set, so that what they do then holds. */
export const environmentOf = (
  declared: Readonly<Record<string, Declaration<unknown>>>,
  values: Readonly<Record<string, unknown>>,
): Readonly<Record<string, string | undefined>> =>
  Object.fromEntries(
    Object.entries(declared).map(([name, { env }]) => {
      const value = values[name];
      if (typeof value === "boolean") return [env, value ? "1" : "0"];
      return [env, value === undefined ? undefined : String(value)];
    }),
  );
