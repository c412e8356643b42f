/** Which devices: saved in a group, or given to a bulk operation or roll-out. */
import * as Schema from "effect/Schema";
import { Reference } from "../ids.ts";
import { DEVICE_STATES } from "./entities.ts";
import { LIMITS, PATTERNS, Site, Tag } from "./values.ts";

const { optionalKey } = Schema;
const word = (description: string) =>
  optionalKey(Schema.String.check(Schema.isPattern(/^[\x21-\x7e]{1,100}$/u)).annotate({ description }));

const where = {
  tag: optionalKey(Tag),
  site: optionalKey(Site),
  profile: optionalKey(Reference.annotate({ description: "Those that have this profile, by id or name" })),
  state: optionalKey(Schema.Literals(DEVICE_STATES)),
  model: word("The maker's number of the model"),
  app: word("Name of the firmware, e.g. `Plus2PM`"),
  gen: optionalKey(Schema.Literals(["1", "2", "3", "4"])),
  firmware: word("Version of the firmware"),
  drifted: optionalKey(Schema.Boolean),
  outdated: optionalKey(Schema.Boolean),
  managed: optionalKey(Schema.Boolean),
  capability: optionalKey(Schema.String.check(Schema.isPattern(PATTERNS.component))),
};

/** Fields that a list of devices is filtered by; all that are given must hold. */
export const Selection = Schema.Struct(where).annotate({
  identifier: "DeviceSelection",
  description: "Devices of which all of this holds, at the moment when it is asked",
  examples: [{ tag: "floor/1", drifted: true }],
});
export type Selection = typeof Selection.Type;

/** As events tell of it. */
export const SelectionShown = Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Boolean])).annotate({
  description: "Devices of which all of this holds",
});

/** For a bulk operation: exactly one of them. */
export const Select = Schema.Struct({
  ids: optionalKey(
    Schema.Array(Reference)
      .check(Schema.isMinLength(1), Schema.isMaxLength(LIMITS.selected))
      .annotate({ description: "These, by id or name" }),
  ),
  group: optionalKey(Reference.annotate({ description: "Those of a group, by id or name" })),
  where: optionalKey(Selection),
}).annotate({ identifier: "SelectDevices", description: "Exactly one of them", examples: [{ group: "upstairs" }] });
export type Select = typeof Select.Type;
