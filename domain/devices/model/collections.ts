/**
 * What a device keeps beside its configuration, and what is easily forgotten: schedules, webhooks (Gen1: actions), keys and values,
 * scripts with their code, virtual components. Ids that the device gives are no part of what is wanted: another device gives others.
 */
import { equal, fieldOf, flagOf, isObject, listOf, numberOf, objectOf, sorted, textOf } from "./json.ts";
import type { Gen1Report, Gen2Report, Json, JsonObject, Report } from "./report.ts";

/** Lists, in which entries are matched with each other; and dictionaries, by key. */
export const LISTS = ["schedules", "webhooks", "scripts"] as const;
export type ListName = (typeof LISTS)[number];
export const DICTIONARIES = ["kvs", "virtual"] as const;
export type DictionaryName = (typeof DICTIONARIES)[number];
export type CollectionName = ListName | DictionaryName;
export const isListName = (name: string): name is ListName => (LISTS as ReadonlyArray<string>).includes(name);
export const isDictionaryName = (name: string): name is DictionaryName =>
  (DICTIONARIES as ReadonlyArray<string>).includes(name);
export const isCollection = (name: string): name is CollectionName => isListName(name) || isDictionaryName(name);

/** Types that `Virtual.Add` makes. What an add-on service owns is a component like others: it comes and goes with its owner. */
const VIRTUAL = new Set(["boolean", "number", "text", "enum", "button", "group"]);

/** `switch:0` → `switch` and 0; `sys` → `sys` and undefined. */
export function componentOf(key: string): { readonly type: string; readonly id: number | undefined } {
  const [, type, id] = /^(.+?)(?::(\d+))?$/.exec(key) ?? [];
  return { type: type ?? key, id: id === undefined ? undefined : Number(id) };
}

export function isVirtual(key: string, config: Json | undefined): boolean {
  const { type, id } = componentOf(key);
  return VIRTUAL.has(type) && (id ?? 0) >= 200 && !textOf(fieldOf(config, "owner"));
}

/** An entry of a list as the device keeps it. */
export interface Kept {
  /** The device's own id; Gen1 has none: an action is known by its name and index. */
  readonly id: number | undefined;
  readonly entry: JsonObject;
}

const without = (value: JsonObject, ...names: ReadonlyArray<string>): JsonObject =>
  Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));

const byId = (items: ReadonlyArray<Json>): ReadonlyArray<JsonObject> =>
  items.filter(isObject).sort((a, b) => (numberOf(a.id) ?? 0) - (numberOf(b.id) ?? 0));

const kept = (items: ReadonlyArray<Json>, ...left: ReadonlyArray<string>): ReadonlyArray<Kept> =>
  byId(items).map((item) => ({ id: numberOf(item.id), entry: without(item, "id", ...left) }));

/** @returns undefined where it was not read: then it is not compared either */
export function keptLists(report: Report): Readonly<Partial<Record<ListName, ReadonlyArray<Kept>>>> {
  if (report.generation === 1) return report.actions === undefined ? {} : { webhooks: actionsOf(report) };
  const { schedules, webhooks, scripts } = report;
  return {
    ...(schedules === undefined ? {} : { schedules: kept(listOf(fieldOf(schedules, "jobs"))) }),
    ...(webhooks === undefined ? {} : { webhooks: kept(listOf(fieldOf(webhooks, "hooks"))) }),
    ...(scripts === undefined ? {} : { scripts: kept(listOf(fieldOf(scripts, "scripts")), "running") }),
  };
}

/** Of Gen1's actions, which are all there always, those that do something. */
function actionsOf({ actions }: Gen1Report): ReadonlyArray<Kept> {
  return Object.entries(objectOf(fieldOf(actions, "actions")))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([event, items]) =>
      listOf(items)
        .filter(isObject)
        .map((item) => ({ event, item })),
    )
    .filter(({ item }) => flagOf(item.enabled) === true || listOf(item.urls).length > 0)
    .map(({ event, item }) => ({
      id: undefined,
      entry: {
        event,
        cid: numberOf(item.index) ?? 0,
        enable: item.enabled ?? false,
        urls: item.urls ?? [],
        ...without(item, "index", "enabled", "urls"),
      },
    }));
}

/** Whether Gen1 has this action at all; undefined: its actions were not read. */
export function gen1Action(report: Gen1Report, event: string, index: number): JsonObject | undefined {
  const items = listOf(fieldOf(fieldOf(report.actions, "actions"), event)).filter(isObject);
  return items.find((item) => (numberOf(item.index) ?? 0) === index);
}

/** Both shapes of `KVS.GetMany`. */
export function keyValues({ kvs }: Gen2Report): JsonObject | undefined {
  if (kvs === undefined) return undefined;
  const items = fieldOf(kvs, "items");
  const pairs = isObject(items)
    ? Object.entries(items).map(([key, item]) => [key, fieldOf(item, "value")] as const)
    : listOf(items).map((item) => [textOf(fieldOf(item, "key")), fieldOf(item, "value")] as const);
  return Object.fromEntries(
    pairs.filter((pair): pair is readonly [string, Json] => pair[0] !== undefined && pair[1] !== undefined),
  );
}

/** Configurations of everything that comes and goes: from `Shelly.GetComponents`, and from `Shelly.GetConfig` where it stands there. */
export function dynamicComponents(report: Gen2Report): Readonly<Record<string, JsonObject>> {
  const listed = (report.components ?? []).flatMap((component) => {
    const key = textOf(fieldOf(component, "key"));
    const config = fieldOf(component, "config");
    return key === undefined || !isObject(config) ? [] : [[key, config] as const];
  });
  return Object.fromEntries([
    ...Object.entries(objectOf(report.config)).filter((entry): entry is [string, JsonObject] => isObject(entry[1])),
    ...listed,
  ]);
}

/** What a group holds stands in its status, and is wanted all the same. */
export const groupMembers = (report: Gen2Report, key: string): Json | undefined =>
  (report.components ?? [])
    .filter((component) => fieldOf(component, "key") === key)
    .map((component) => fieldOf(fieldOf(component, "status"), "value"))[0];

/** What two entries must share to be the same entry, changed. */
const LIKENESS: Readonly<Record<ListName, ReadonlyArray<ReadonlyArray<string>>>> = {
  schedules: [["timespec", "calls"], ["calls"], ["timespec"]],
  webhooks: [["event", "cid", "name"], ["event", "cid", "urls"], ["event", "cid"], ["urls"]],
  scripts: [["name"], ["code"]],
};

export interface Aligned {
  /** For each entry of the first list the place of its counterpart in the other; undefined: it has none. */
  readonly counterpart: ReadonlyArray<number | undefined>;
  /** Places in the other list that are nobody's counterpart. */
  readonly extra: ReadonlyArray<number>;
}

/** Which entry is which: equal ones first, then those that share what makes one, in their order. What shares nothing is another entry. */
export function aligned(name: ListName, first: ReadonlyArray<Json>, other: ReadonlyArray<Json>): Aligned {
  const counterpart: Array<number | undefined> = first.map(() => undefined);
  const free = new Set(other.keys());
  const pair = (like: (a: Json, b: Json) => boolean) => {
    for (const [index, entry] of first.entries()) {
      if (counterpart[index] !== undefined) continue;
      const found = [...free].find((candidate) => like(entry, other[candidate]!));
      if (found === undefined) continue;
      counterpart[index] = found;
      free.delete(found);
    }
  };
  pair(equal);
  for (const names of LIKENESS[name]) {
    pair((a, b) => names.every((field) => equal(fieldOf(a, field), fieldOf(b, field))));
  }
  return { counterpart, extra: [...free] };
}

/** Lists as the model keeps them: in an order of their own, the device's, with fields in order. */
export const entriesOf = (entries: ReadonlyArray<Kept>): Json => entries.map(({ entry }) => sorted(entry));
