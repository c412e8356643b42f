/** A wish for many devices: what is wrong with one, and what it comes to for one of them. Pure. */
import type { Values } from "@millrace/contracts/devices/values.ts";
import type { Wish } from "@millrace/contracts/devices/wishes.ts";
import { Faults } from "../faults.ts";
import { type Configuration, configurationFaults, isTree, merged } from "./configuration.ts";
import type { DeviceState } from "./device-state.ts";

type Tree = Readonly<Record<string, unknown>>;

/** Which fields of a wish it has. */
const saidIn = (wish: Wish): ReadonlyArray<string> =>
  Object.entries(wish).flatMap(([name, value]) => (value === undefined ? [] : [name]));

export function wishFaults(wish: Wish, pointer: string): Faults {
  const faults = new Faults();
  if (!saidIn(wish).some((field) => Object.hasOwn(WORDS, field)))
    faults.add(pointer, "changes nothing: say what is to be wanted");
  if (wish.configuration !== undefined) configurationFaults(wish.configuration, `${pointer}/configuration`, faults);
  for (const [add, remove] of [
    ["addProfiles", "removeProfiles"],
    ["addTags", "removeTags"],
    ["addGroups", "removeGroups"],
  ] as const) {
    if (wish[add]?.some((one) => wish[remove]?.includes(one))) {
      faults.add(`${pointer}/${remove}`, `takes off what \`${add}\` adds`);
    }
  }
  return faults;
}

function without(tree: Tree, [step = "", ...rest]: ReadonlyArray<string>): Tree {
  if (!Object.hasOwn(tree, step)) return tree;
  const { [step]: inner, ...others } = tree;
  if (rest.length === 0) return others;
  return isTree(inner) ? { ...others, [step]: without(inner, rest) } : tree;
}

const changedList = (
  now: ReadonlyArray<string>,
  add: ReadonlyArray<string> = [],
  remove: ReadonlyArray<string> = [],
): ReadonlyArray<string> => [
  ...now.filter((one) => !remove.includes(one)),
  ...new Set(add.filter((one) => !now.includes(one))),
];

/** What the device's spec says afterwards, of what the wish is about. */
export interface Wished {
  readonly configuration?: Configuration | null;
  readonly profiles?: ReadonlyArray<string>;
  readonly values?: Values;
  readonly tags?: ReadonlyArray<string>;
  readonly groups?: ReadonlyArray<string>;
}

type Had = Pick<DeviceState, "configuration" | "profiles" | "values" | "tags" | "groups">;

export function wished(state: Had, wish: Wish): Wished {
  const { configuration, forget = [], values } = wish;
  const kept =
    state.configuration === null
      ? null
      : forget.reduce((tree, place) => without(tree, place.split("/")), state.configuration);
  const own = configuration === undefined ? kept : (merged(kept ?? {}, configuration) as Configuration);
  const list = (name: "profiles" | "tags" | "groups", add?: ReadonlyArray<string>, remove?: ReadonlyArray<string>) =>
    add === undefined && remove === undefined ? {} : { [name]: changedList(state[name], add, remove) };
  return {
    ...(configuration === undefined && forget.length === 0 ? {} : { configuration: own }),
    ...(values === undefined ? {} : { values: { ...state.values, ...values } }),
    ...list("profiles", wish.addProfiles, wish.removeProfiles),
    ...list("tags", wish.addTags, wish.removeTags),
    ...list("groups", wish.addGroups, wish.removeGroups),
  };
}

const WORDS: Readonly<Record<string, string>> = {
  configuration: "other settings",
  forget: "fewer settings",
  addProfiles: "a further profile",
  removeProfiles: "a profile less",
  values: "other values",
  addTags: "further tags",
  removeTags: "fewer tags",
  addGroups: "a further group",
  removeGroups: "a group less",
};

export function wishText(wish: Wish & { readonly dryRun?: boolean }): string {
  const words = saidIn(wish).flatMap((field) => WORDS[field] ?? []);
  return `${wish.dryRun === true ? "a dry run of " : ""}${words.join(", ")}`;
}
