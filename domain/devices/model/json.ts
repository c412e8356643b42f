/** Plain JSON values: read, compared, taken apart into fields and put together again. */
import type { Json, JsonArray, JsonObject } from "./report.ts";

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const isList = (value: unknown): value is JsonArray => Array.isArray(value);

/** What a device answers may be anything; asked for a field, what is no object has none. */
export const fieldOf = (value: Json | undefined, name: string): Json | undefined =>
  isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
export const objectOf = (value: Json | undefined): JsonObject => (isObject(value) ? value : {});
export const listOf = (value: Json | undefined): JsonArray => (isList(value) ? value : []);
export const textOf = (value: Json | undefined): string | undefined => (typeof value === "string" ? value : undefined);
export const numberOf = (value: Json | undefined): number | undefined =>
  typeof value === "number" ? value : undefined;
export const flagOf = (value: Json | undefined): boolean | undefined =>
  typeof value === "boolean" ? value : undefined;

/** Where a field stands within a component: `["device", "name"]`. */
export type Path = ReadonlyArray<string>;
/** `device.name`; for reading, and as a key where no name has a dot in it. */
export const pathText = (path: Path): string => path.join(".");
export const pathOf = (text: string): Path => text.split(".");

export function at(value: Json | undefined, path: Path): Json | undefined {
  let found = value;
  for (const name of path) found = fieldOf(found, name);
  return found;
}

/** The same with the value at the path; what stands in its way and is no object gives way. */
export function withAt(value: Json | undefined, path: Path, put: Json): Json {
  const [name, ...rest] = path;
  if (name === undefined) return put;
  return assign(objectOf(value), name, withAt(fieldOf(value, name), rest, put));
}

/** The same without what stands at the path; an object that is empty because of it goes, too. */
export function withoutAt(value: Json, path: Path): Json {
  const [name, ...rest] = path;
  if (name === undefined || !isObject(value) || !Object.hasOwn(value, name)) return value;
  const { [name]: gone, ...others } = value;
  if (rest.length === 0) return others;
  const left = withoutAt(gone!, rest);
  return isObject(left) && Object.keys(left).length === 0 && left !== gone ? others : assign(others, name, left);
}

/** As `{...object, [name]: value}`, where a name from outside may be `__proto__`. */
export const assign = (object: JsonObject, name: string, value: Json): JsonObject =>
  name === "__proto__" ? Object.fromEntries([...Object.entries(object), [name, value]]) : { ...object, [name]: value };

export function equal(a: Json | undefined, b: Json | undefined): boolean {
  if (Object.is(a, b)) return true;
  if (isList(a)) return isList(b) && a.length === b.length && a.every((item, index) => equal(item, b[index]));
  if (!isObject(a) || !isObject(b)) return a === b;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && equal(a[name], b[name]))
  );
}

/** Objects with their names in order, at every depth: equal values are equal texts. */
export function sorted(value: Json): Json {
  if (isList(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([name, inner]) => [name, sorted(inner)]),
  );
}

export interface Leaf {
  readonly path: Path;
  readonly value: Json;
}

/**
 * The fields of a value: what is no object, and objects without fields. Lists are one field each, and so is what `whole` says
 * of (a secret's reference, a dictionary that is written as one).
 */
export function leaves(
  value: Json,
  whole: (path: Path, value: Json) => boolean = () => false,
  path: Path = [],
): Leaf[] {
  if (!isObject(value) || Object.keys(value).length === 0 || (path.length > 0 && whole(path, value))) {
    return path.length === 0 && isObject(value) ? [] : [{ path, value }];
  }
  return Object.entries(value).flatMap(([name, inner]) => leaves(inner, whole, [...path, name]));
}

/** The later one's fields win; objects are merged, everything else is replaced. */
export function merged(base: Json | undefined, over: Json, whole: (value: JsonObject) => boolean = () => false): Json {
  if (!isObject(over) || !isObject(base) || whole(over) || whole(base)) return over;
  return Object.entries(over).reduce<JsonObject>(
    (all, [name, value]) => assign(all, name, merged(fieldOf(base, name), value, whole)),
    base,
  );
}

/** Edits (insert, delete, replace, swap of neighbours) from one word to the other. */
function distance(a: string, b: string): number {
  let before: ReadonlyArray<number> = [];
  let row: ReadonlyArray<number> = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, replaced, swapped ? before[j - 2]! + 1 : replaced);
    }
    [before, row] = [row, next];
  }
  return row[b.length]!;
}

/** The known word that was probably meant; undefined: none is near. Long words are compared by their beginning. @param most edits; default a third of it */
export function nearest(word: string, known: Iterable<string>, most?: number): string | undefined {
  const short = (text: string) => text.slice(0, 64).toLowerCase();
  let best: { readonly word: string; readonly edits: number } | undefined;
  for (const candidate of known) {
    const edits = distance(short(word), short(candidate));
    if (
      edits <= (most ?? Math.max(2, Math.floor(candidate.length / 3))) &&
      (best === undefined || edits < best.edits)
    ) {
      best = { word: candidate, edits };
    }
  }
  return best?.word;
}
