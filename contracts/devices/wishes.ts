/** A change of what is wanted of many devices: the same for each, laid over what each has. */
import * as Schema from "effect/Schema";
import { Reference } from "../ids.ts";
import { ConfigurationShown } from "./device-parts.ts";
import { Configuration, LIMITS, Tags, Values } from "./values.ts";

const { optionalKey } = Schema;

const configuration = "Laid over its own settings: objects field by field, lists and values as a whole";
const values = "Laid over the values that it has";

export const Forget = Schema.Array(
  Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9_]{0,31}(:([0-9]{1,5}|\*))?(\/[^/\p{Cc}\p{Cs}]{1,80}){0,11}$/u)),
)
  .check(Schema.isMinLength(1), Schema.isMaxLength(LIMITS.forgotten))
  .annotate({
    description: "Components or fields of which its own settings say nothing any more; before `configuration`",
    examples: [["switch:0/auto_off", "kvs"]],
  });

const some = (most: number, description: string) =>
  Schema.Array(Reference)
    .check(Schema.isMinLength(1), Schema.isMaxLength(most))
    .annotate({ description: `${description}, by id or name` });

/** As it is asked for. */
export const Wish = Schema.Struct({
  configuration: optionalKey(Configuration.annotate({ description: configuration })),
  forget: optionalKey(Forget),
  addProfiles: optionalKey(some(LIMITS.profiles, "After those that it has: a later one wins")),
  removeProfiles: optionalKey(some(LIMITS.profiles, "Profiles that it has no more")),
  values: optionalKey(Values.annotate({ description: values })),
  addTags: optionalKey(Tags),
  removeTags: optionalKey(Tags),
  addGroups: optionalKey(some(LIMITS.groups, "Groups into which it is put")),
  removeGroups: optionalKey(some(LIMITS.groups, "Groups out of which it is taken")),
});

const texts = optionalKey(Schema.Array(Schema.String));

/** As events and entities tell it: profiles and groups by their ids. */
export const WishShown = Schema.Struct({
  configuration: optionalKey(ConfigurationShown.annotate({ description: configuration })),
  forget: texts,
  addProfiles: texts,
  removeProfiles: texts,
  values: optionalKey(Values.annotate({ description: values })),
  addTags: texts,
  removeTags: texts,
  addGroups: texts,
  removeGroups: texts,
});
export type Wish = typeof WishShown.Type;

/** What of a wish names profiles, and what groups. */
export const NAMED = {
  profile: ["addProfiles", "removeProfiles"],
  group: ["addGroups", "removeGroups"],
} as const satisfies Readonly<Record<string, ReadonlyArray<keyof Wish>>>;

/** A wish about tags or groups is a change of the device; every other is one of what is wanted of it. */
export const WISH_PERMISSIONS = {
  "devices:configure": ["configuration", "forget", "addProfiles", "removeProfiles", "values"],
  "devices:edit": ["addTags", "removeTags", "addGroups", "removeGroups"],
} as const satisfies Readonly<Record<string, ReadonlyArray<keyof Wish>>>;
