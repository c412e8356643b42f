/**
 * Configurations as people write them: what is wrong with one, which secrets it names, and what a device's profiles and own
 * settings come to. Pure.
 */
import { LIMITS, PATTERNS, type Values } from "@millrace/contracts/devices/values.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { Faults } from "../faults.ts";
import { isSecretField } from "./model/configuration.ts";
import type { SecretReference } from "./model/report.ts";

/** JSON by component: `{ "switch:0": { … }, sys: { … } }`. */
export type Configuration = Readonly<Record<string, unknown>>;

type Tree = Readonly<Record<string, unknown>>;

export const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** `{ "$secret": "sec_…" }` in the place of a value. */
export const isSecretReference = (value: unknown): value is SecretReference =>
  isTree(value) && Object.keys(value).length === 1 && typeof value.$secret === "string" && isId("sec", value.$secret);

/** @returns what is wrong, by place below `pointer` */
export function configurationFaults(
  configuration: unknown,
  pointer: string,
  faults = new Faults(),
  mostBytes: number = LIMITS.configurationBytes,
): Faults {
  if (!isTree(configuration)) return faults.add(pointer, "is no object of components");
  const text = JSON.stringify(configuration);
  if (text.length > mostBytes)
    return faults.add(pointer, `has ${text.length} characters of JSON; at most ${mostBytes}`);
  const components = Object.entries(configuration);
  faults.most(pointer, components.length, LIMITS.components);
  for (const [component, value] of components.slice(0, LIMITS.components)) {
    if (!PATTERNS.component.test(component)) {
      faults.add(pointer, `${JSON.stringify(component).slice(0, 80)} is no component: \`switch:0\`, \`sys\``);
    } else treeFaults(component, value, [], pointer, faults);
  }
  return faults;
}

/** NUL, and half of a surrogate pair: what no database keeps. */
const isUnkept = (text: string): boolean => text.includes("\0") || !text.isWellFormed();

const escaped = (key: string): string => key.slice(0, 80).replaceAll("~", "~0").replaceAll("/", "~1");

function treeFaults(
  component: string,
  value: unknown,
  path: ReadonlyArray<string>,
  pointer: string,
  faults: Faults,
): void {
  const place = [pointer, component, ...path.map((key) => (isUnkept(key) ? "?" : escaped(key)))].join("/");
  if (isUnkept(path.at(-1) ?? "") || path.at(-1) === "__proto__") {
    faults.add(place, "is no name of a field");
    return;
  }
  if (isSecretField(component, path.join(".")) && value !== null && !isSecretReference(value)) {
    faults.add(place, 'is a secret: store it as one, and give `{"$secret": "<its id>"}` here');
    return;
  }
  if (typeof value === "string" && isUnkept(value)) faults.add(place, "holds a character that cannot be kept");
  if (typeof value !== "object" || value === null || isSecretReference(value)) return;
  if (path.length + 1 >= LIMITS.configurationDepth) {
    faults.add(place, `is nested deeper than ${LIMITS.configurationDepth} levels`);
    return;
  }
  for (const [key, inner] of Object.entries(value)) treeFaults(component, inner, [...path, key], pointer, faults);
}

/** Where secrets are named, each with the place: to name one that was not there takes a permission. */
export function secretsNamed(configuration: unknown, pointer = ""): ReadonlyArray<{ place: string; secret: string }> {
  if (isSecretReference(configuration)) return [{ place: pointer, secret: configuration.$secret }];
  if (typeof configuration !== "object" || configuration === null) return [];
  return Object.entries(configuration).flatMap(([key, inner]) => secretsNamed(inner, `${pointer}/${escaped(key)}`));
}

/** Objects by member, the later wins; lists and values as a whole. */
export function merged(below: unknown, above: unknown): unknown {
  if (!isTree(below) || !isTree(above) || isSecretReference(above)) return above;
  const both: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    both[key] = Object.hasOwn(below, key) ? merged(below[key], value) : value;
  }
  return both;
}

const USE = /\{\{([a-z][a-zA-Z0-9_]{0,39})\}\}/g;
const WHOLE = /^\{\{([a-z][a-zA-Z0-9_]{0,39})\}\}$/;

/** A profile's texts with a device's values in them: `{{room}}` alone keeps the value's type, within a text it is text. */
function filled(tree: unknown, values: Values, missing: Set<string>): unknown {
  if (typeof tree === "string") {
    const whole = WHOLE.exec(tree)?.[1];
    const value = (name: string) => {
      if (Object.hasOwn(values, name)) return values[name]!;
      missing.add(name);
      return "";
    };
    return whole === undefined ? tree.replace(USE, (_, name: string) => String(value(name))) : value(whole);
  }
  if (Array.isArray(tree)) return tree.map((inner) => filled(inner, values, missing));
  if (!isTree(tree)) return tree;
  return Object.fromEntries(Object.entries(tree).map(([key, inner]) => [key, filled(inner, values, missing)]));
}

export interface ProfileUsed {
  readonly id: string;
  readonly generation: number;
  readonly configuration: Configuration;
}

/**
 * What profiles, in their order, and own settings over them come to.
 * @returns null: nothing is wanted, the device is only watched. `missing`: values that the profiles use and the device does not have
 */
export function desiredOf(
  profiles: ReadonlyArray<ProfileUsed>,
  own: Configuration | null,
  values: Values,
): { readonly desired: Configuration | null; readonly missing: ReadonlyArray<string> } {
  const missing = new Set<string>();
  const layers = profiles.map(({ configuration }) => filled(configuration, values, missing) as Configuration);
  if (own !== null) layers.push(own);
  if (layers.length === 0) return { desired: null, missing: [] };
  const desired = layers.reduce((below, above) => merged(below, above) as Configuration);
  return { desired, missing: [...missing].sort() };
}
