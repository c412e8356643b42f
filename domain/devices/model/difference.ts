/**
 * Where what is wanted and what is there differ, field by field. What is wanted may say of a device as much or as little as it likes:
 * a component, or a field, that is not named is nobody's business. Named as a whole are the lists `schedules`, `webhooks` and `scripts`;
 * of `kvs` and `virtual` the entries that are named, where `null` means that there shall be none, and `"*": null` none but the named.
 */

import { own } from "../../own.ts";
import { aligned, isDictionaryName, isListName, type ListName } from "./collections.ts";
import { type Configuration, isSecretField, isSecretReference, isWhole } from "./configuration.ts";
import { at, equal, fieldOf, isObject, leaves, listOf, type Path, pathText } from "./json.ts";
import type { Json } from "./report.ts";

export interface Difference {
  readonly component: string;
  /** Within the component. In a list its entry's place in what is wanted; of an entry that is not wanted, `+` and its place on the device. */
  readonly path: Path;
  /** Undefined: it shall not be there. */
  readonly desired: Json | undefined;
  /** Undefined: it is not there. */
  readonly observed: Json | undefined;
}

/** JSON pointer within the component. */
export const pointerOf = (path: Path): string =>
  path.map((name) => `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

/** Every entry but those that are named. */
const OTHERS = "*";

/** Devices tell a text that is not set as null or as an empty one, and take the one for the other. */
const isUnset = (value: Json | undefined): boolean => value === null || value === "";
export const same = (a: Json | undefined, b: Json | undefined): boolean => equal(a, b) || (isUnset(a) && isUnset(b));

/** What has no meaning while another field says off, and is then kept by no Gen1 device. */
function governor(path: Path): Path | undefined {
  const name = path.at(-1)!;
  const before = path.slice(0, -1);
  if (name.endsWith("_delay")) return [...before, name.replace(/_delay$/, "")];
  return name === "direction" && before.length > 0 ? [...before, "enable"] : undefined;
}

/** The other way round: what a field governs. */
export function governed(path: Path): ReadonlyArray<Path> {
  const name = path.at(-1)!;
  const before = path.slice(0, -1);
  return name === "enable" && before.length > 0 ? [[...before, "direction"]] : [[...before, `${name}_delay`]];
}

function isMoot(component: Json, observed: Json | undefined, path: Path): boolean {
  const governing = governor(path);
  return (
    governing !== undefined &&
    at(observed, path) === undefined &&
    at(observed, governing) === false &&
    at(component, governing) !== true
  );
}

function inFields(component: string, desired: Json, observed: Json | undefined, prefix: Path = []): Difference[] {
  return leaves(desired, isWhole).flatMap(({ path, value }) => {
    const there = at(observed, path);
    if (same(value, there) || isMoot(desired, observed, path)) return [];
    // What no device tells cannot be seen to differ.
    if (isSecretReference(value) || isSecretField(component, pathText(path))) return [];
    return [{ component, path: [...prefix, ...path], desired: value, observed: there }];
  });
}

function inList(component: ListName, desired: Json, observed: Json | undefined): Difference[] {
  const [wanted, there] = [listOf(desired), listOf(observed)];
  const { counterpart, extra } = aligned(component, wanted, there);
  return [
    ...wanted.flatMap((entry, index) => {
      const other = counterpart[index];
      const path = [String(index)];
      if (other === undefined) return [{ component, path, desired: entry, observed: undefined }];
      // An entry is whole: a field that is not named in it has what it has without being said.
      return inFields(component, entry, there[other], path);
    }),
    ...extra.map((index) => ({ component, path: [`+${index}`], desired: undefined, observed: there[index] })),
  ];
}

function inDictionary(component: string, desired: Json, observed: Json | undefined): Difference[] {
  const { [OTHERS]: others, ...named } = isObject(desired) ? desired : {};
  const there = isObject(observed) ? observed : {};
  const unnamed = others === null ? Object.keys(there).filter((key) => !Object.hasOwn(named, key)) : [];
  return [
    ...Object.entries(named).flatMap(([key, value]): Difference[] => {
      const found = fieldOf(there, key);
      if (value === null)
        return found === undefined ? [] : [{ component, path: [key], desired: undefined, observed: found }];
      if (component === "kvs" || found === undefined) {
        return same(value, found) ? [] : [{ component, path: [key], desired: value, observed: found }];
      }
      return inFields(component, value, found, [key]);
    }),
    ...unnamed.map((key) => ({ component, path: [key], desired: undefined, observed: there[key] })),
  ];
}

/** @returns in the order of what is wanted */
export function differences(desired: Configuration, observed: Configuration): ReadonlyArray<Difference> {
  return Object.entries(desired).flatMap(([component, wanted]) => {
    const there = own(observed, component);
    if (isDictionaryName(component)) return inDictionary(component, wanted, there);
    // Most of most devices is as it should be, and is not taken apart.
    if (equal(wanted, there)) return [];
    if (isListName(component)) return inList(component, wanted, there);
    return inFields(component, wanted, there);
  });
}
