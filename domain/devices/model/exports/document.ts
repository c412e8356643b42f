/** A device as it is written to files and read from them: what people say of it, and what is wanted. No state, and no secret but by reference. */

import { own } from "../../../own.ts";
import { componentOf, isCollection } from "../collections.ts";
import type { Configuration } from "../configuration.ts";
import { fieldsOf, isSecretField, isSecretReference, isWhole } from "../configuration.ts";
import { pointerOf } from "../difference.ts";
import { FIELDS, faultOf } from "../fields.ts";
import { normalMac } from "../identity.ts";
import { equal, fieldOf, isList, isObject, leaves, nearest, objectOf, type Path, pathText, sorted } from "../json.ts";
import type { Json, JsonObject } from "../report.ts";

/** About the device, beside its configuration. Fields that are not said are not touched by an import. */
export interface About {
  /** Twelve upper-case hexadecimal digits. */
  readonly mac: string;
  readonly name?: string;
  readonly model?: string;
  readonly app?: string;
  readonly generation?: number;
  readonly tags?: ReadonlyArray<string>;
  readonly groups?: ReadonlyArray<string>;
  readonly profiles?: ReadonlyArray<string>;
  /** Custom values, which profiles use. */
  readonly values?: Readonly<Record<string, string | number | boolean>>;
}

export interface Document {
  readonly device: About;
  readonly configuration: Configuration;
}

export interface Fault {
  /** Path in the file, as its keys are: `switch:0.in_mode`. */
  readonly place: string;
  /** From 1, where it could be found. */
  readonly line?: number;
  readonly detail: string;
  readonly fix: string;
}

const ABOUT: Readonly<Record<keyof About, (value: Json) => boolean>> = {
  mac: (value) => normalMac(value) !== undefined,
  name: (value) => typeof value === "string",
  model: (value) => typeof value === "string",
  app: (value) => typeof value === "string",
  generation: (value) => typeof value === "number" && [1, 2, 3, 4].includes(value),
  tags: isTexts,
  groups: isTexts,
  profiles: isTexts,
  values: (value) =>
    isObject(value) && Object.values(value).every((one) => ["string", "number", "boolean"].includes(typeof one)),
};

function isTexts(value: Json): boolean {
  return isList(value) && value.every((one) => typeof one === "string");
}

const COLLECTIONS = ["schedules", "webhooks", "scripts", "kvs", "virtual"];

/**
 * What a file says, checked: every key is known, of the right kind, and no secret stands in it.
 * @param known the device as it was last seen, by MAC: it knows more fields than any table
 */
export function documentOf(
  file: Json,
  known: (mac: string) => Configuration | undefined,
): Document | { readonly faults: ReadonlyArray<Fault> } {
  const faults: Fault[] = [];
  const { device, ...configuration } = isObject(file) ? file : {};
  if (!isObject(device))
    return {
      faults: [
        { place: "device", detail: "is missing", fix: 'Say which device it is: [device], mac = "AABBCCDDEEFF".' },
      ],
    };
  for (const [name, value] of Object.entries(device)) {
    const right = Object.hasOwn(ABOUT, name) ? ABOUT[name as keyof About] : undefined;
    if (right === undefined) faults.push(unknownKey(`device.${name}`, name, Object.keys(ABOUT)));
    else if (!right(value))
      faults.push({
        place: `device.${name}`,
        detail: "has a value of another kind",
        fix: `See what an export writes for ${name}.`,
      });
  }
  const mac = normalMac(device.mac);
  if (mac === undefined && !faults.some(({ place }) => place === "device.mac")) {
    faults.push({ place: "device.mac", detail: "is missing", fix: "Say which device it is, by its MAC address." });
  }
  const seen = mac === undefined ? undefined : known(mac);
  for (const [component, value] of Object.entries(configuration))
    faults.push(...componentFaults(component, value, seen));
  if (faults.length > 0) return { faults };
  return { device: { ...device, mac } as unknown as About, configuration };
}

const unknownKey = (place: string, name: string, known: Iterable<string>): Fault => {
  const near = nearest(name, known);
  return { place, detail: "is not known", fix: near === undefined ? "Leave it out." : `Did you mean ${near}?` };
};

function componentFaults(component: string, value: Json, seen: Configuration | undefined): Fault[] {
  if (isCollection(component)) {
    const right =
      component === "kvs" || component === "virtual" ? isObject(value) : isList(value) && value.every(isObject);
    return right ? [] : [{ place: component, detail: "has a value of another kind", fix: "Write entries of it." }];
  }
  const { type } = componentOf(component);
  const there = seen === undefined ? undefined : own(seen, component);
  const table = own(FIELDS, type) ?? {};
  const isKnown =
    there !== undefined ||
    (Object.hasOwn(FIELDS, type) && (seen === undefined || component.endsWith(":*") || type === "auth"));
  if (
    !isKnown &&
    (seen !== undefined || !/^[a-z][a-z0-9_]*(:(\d+|\*))?$/.test(component) || nearOf(type) !== undefined)
  ) {
    return [
      unknownKey(component, component, [
        ...Object.keys(seen ?? {}),
        ...COLLECTIONS,
        ...(seen === undefined ? Object.keys(FIELDS) : []),
      ]),
    ];
  }
  if (!isObject(value)) return [{ place: component, detail: "is no table", fix: "Write fields of it." }];
  const names = new Set([...Object.keys(table), ...fieldsOf(there ?? {})]);
  return leaves(value, isWhole).flatMap(({ path, value: given }): Fault[] => {
    const field = pathText(path);
    const place = `${component}.${field}`;
    if (isSecretField(component, field)) {
      return isSecretReference(given) || given === null
        ? []
        : [
            {
              place,
              detail: "is a secret in clear",
              fix: 'Store it as a secret, and write { "$secret" = "<its id>" }.',
            },
          ];
    }
    const unset = given === null || isObject(given);
    const within = [...names].some((name) => field.startsWith(`${name}.`) || (unset && name.startsWith(`${field}.`)));
    // Of a device that was never seen nobody knows all fields; what looks like a slip is none of them.
    const slip = seen !== undefined || nearest(field, names, 1) !== undefined;
    if (!names.has(field) && !within && slip) return [unknownKey(place, field, names)];
    const wrong = table[field] === undefined ? undefined : faultOf(table[field], given);
    return wrong === undefined || (there !== undefined && fieldOf(there, field) === given)
      ? []
      : [{ place, detail: wrong, fix: "Give a value that it can have." }];
  });
}

/** A type that somebody may have meant; undefined: it is like none, and may be new. */
const nearOf = (type: string): string | undefined =>
  Object.hasOwn(FIELDS, type) ? undefined : nearest(type, [...Object.keys(FIELDS), ...COLLECTIONS], 1);

/** As a file holds it: in order, and without what is not said. */
export const fileOf = ({ device, configuration }: Document): Json =>
  sorted({ ...configuration, device: JSON.parse(JSON.stringify(device)) });

/** What an import would do, before it is done. */
export interface ImportStep {
  readonly mac: string;
  readonly name: string | null;
  /** `gone`: it is here, and not in the files. */
  readonly step: "add" | "change" | "same" | "gone";
  /** What changes: `switch:0/in_mode`, `device/name`. */
  readonly fields: ReadonlyArray<string>;
}

const said = (about: About): JsonObject => JSON.parse(JSON.stringify(about));

/** Where two wishes are not the same to the letter: not what a device could tell apart, for it tells no secret. */
function apart(a: JsonObject, b: JsonObject): ReadonlyArray<Path> {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((name): ReadonlyArray<Path> => {
    const [mine, theirs] = [a[name], b[name]];
    if (equal(mine, theirs)) return [];
    const isTable = (value: Json | undefined) => value === undefined || (isObject(value) && !isSecretReference(value));
    if (!isTable(mine) || !isTable(theirs)) return [[name]];
    return apart(objectOf(mine), objectOf(theirs)).map((path) => [name, ...path]);
  });
}

/** @returns by MAC; a device that stands in two files is a fault */
export function importPlan(
  present: ReadonlyArray<Document>,
  incoming: ReadonlyArray<Document>,
): ReadonlyArray<ImportStep> | { readonly faults: ReadonlyArray<Fault> } {
  const here = new Map(present.map((document) => [document.device.mac, document]));
  const coming = new Map<string, Document>();
  for (const document of incoming) {
    const { mac } = document.device;
    if (coming.has(mac))
      return { faults: [{ place: "device.mac", detail: `${mac} stands in two files`, fix: "Keep one of them." }] };
    coming.set(mac, document);
  }
  const steps = [...coming.values()].map(({ device, configuration }): ImportStep => {
    const now = here.get(device.mac);
    const name = device.name ?? now?.device.name ?? null;
    if (now === undefined) return { mac: device.mac, name, step: "add", fields: [] };
    const about = apart(said(device), said(now.device)).filter((path) => Object.hasOwn(device, path[0]!));
    const changes = [...about.map((path) => ["device", ...path]), ...apart(configuration, now.configuration)];
    const fields = changes.map(([component, ...path]) => `${component}${pointerOf(path)}`).sort();
    return { mac: device.mac, name, step: fields.length === 0 ? "same" : "change", fields };
  });
  const gone = present.filter(({ device }) => !coming.has(device.mac));
  const all = [
    ...steps,
    ...gone.map(({ device }): ImportStep => ({ mac: device.mac, name: device.name ?? null, step: "gone", fields: [] })),
  ];
  return all.sort((a, b) => (a.mac < b.mac ? -1 : 1));
}
