/** What a task is asked to do, and its plan: in events, entities and requests alike. */
import * as Schema from "effect/Schema";
import { ConfigurationShown, Firmware } from "./device-parts.ts";
import { PATTERNS, ranged, STAGES } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

export const ACTIONS = [
  ...["on", "off", "toggle", "set", "open", "close", "stop", "position", "calibrate"],
  ...["target", "reset-counters", "identify"],
] as const;

const channel = (name: string) => optionalKey(ranged(0, 255, name));

/** In the device's own units. Which of them an action takes depends on the component: the agent says so as a typed failure. */
export const ActionParams = Schema.Struct({
  afterS: optionalKey(ranged(1, 86_400, "Seconds after which it is switched back")),
  position: optionalKey(ranged(0, 100, "Of a cover: percent open")),
  slat: optionalKey(ranged(0, 100, "Of a cover's slats: percent open")),
  brightness: optionalKey(ranged(0, 100, "Percent")),
  transitionMs: optionalKey(ranged(0, 10_000_000, "Milliseconds until it is so")),
  temperature: optionalKey(ranged(1_500, 10_000, "Colour temperature in kelvin")),
  red: channel("Red"),
  green: channel("Green"),
  blue: channel("Blue"),
  white: channel("White"),
  target: optionalKey(
    Schema.Finite.check(Schema.isBetween({ minimum: -50, maximum: 100 })).annotate({
      description: "Of a thermostat: degrees Celsius",
    }),
  ),
}).annotate({ identifier: "DeviceActionParams" });

export const Action = Schema.Struct({
  component: Schema.String.check(Schema.isPattern(PATTERNS.component)).annotate({
    description: "Of which component; `sys` for `identify`",
    examples: ["switch:0"],
  }),
  action: Schema.Literals(ACTIONS).annotate({
    description:
      "`toggle` is made `on` or `off` by what is there when it begins, so that it is never done twice. `set` takes what the parameters say",
  }),
  params: optionalKey(ActionParams),
}).annotate({
  identifier: "DeviceAction",
  examples: [{ component: "switch:0", action: "on", params: { afterS: 300 } }],
});
export type Action = typeof Action.Type;

export const FirmwareAsked = Schema.Struct({
  stage: optionalKey(Schema.Literals(STAGES)),
  url: optionalKey(
    Schema.String.check(Schema.isMaxLength(1_000), Schema.isPattern(/^http:\/\/[\x21-\x7e]+$/u)).annotate({
      description:
        "An image in the device's own network, instead of the maker's; plain HTTP, which is all that devices take",
    }),
  ),
}).annotate({
  identifier: "FirmwareAsked",
  description: "At most one of them; neither: the newest stable one, as the maker's index says",
});

/** What is asked for, by kind. */
export const Asked = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("apply"), dryRun: Schema.Boolean }),
  Schema.Struct({
    kind: Schema.Literal("firmware"),
    stage: optionalKey(Schema.Literals(STAGES)),
    url: optionalKey(Schema.String),
  }),
  Schema.Struct({ kind: Schema.Literal("reboot") }),
  Schema.Struct({
    kind: Schema.Literal("action"),
    component: Schema.String,
    action: Schema.Literals(ACTIONS),
    params: optionalKey(ActionParams),
  }),
  Schema.Struct({
    kind: Schema.Literal("authentication"),
    scheme: Schema.Literals(["digest", "basic", "none"]).annotate({ description: "`none`: no password from then on" }),
  }),
  Schema.Struct({ kind: Schema.Literal("read") }),
]).annotate({ identifier: "DeviceTaskAsked", description: "What is asked for" });
export type Asked = typeof Asked.Type;

/** A place where what is there differs from what is wanted. */
export const PlannedField = Schema.Struct({
  component: Schema.String,
  path: Schema.String,
  from: optionalKey(Schema.Unknown),
  to: optionalKey(Schema.Unknown),
}).annotate({ identifier: "PlannedField" });

export const Write = Schema.Struct({
  component: text("Which component it changes"),
  call: Schema.Union([
    Schema.Struct({ method: Schema.String, params: Schema.Record(Schema.String, Schema.Unknown) }),
    Schema.Struct({
      path: Schema.String,
      query: Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Array(Schema.String)])),
    }),
  ]).annotate({ description: "RPC, or HTTP of Gen1. A secret stands in it by its id" }),
  needsReboot: Schema.Literals(["never", "maybe", "always"]),
  cutsOff: Schema.Boolean.annotate({
    description: "The device may not be there afterwards as before: done last, and taken back unless it is found again",
  }),
}).annotate({ identifier: "DeviceWrite" });

export const Plan = Schema.Struct({
  target: ConfigurationShown.annotate({ description: "What is to be so afterwards" }),
  before: ConfigurationShown.annotate({ description: "What was there: what a plan that fails goes back to" }),
  differences: Schema.Array(PlannedField),
  more: Schema.Int.annotate({ description: "So many further fields differ" }),
  writes: Schema.Array(Write),
  again: optionalKey(
    Schema.Array(Schema.String).annotate({
      description: "What can be written only when all that is done, and then is",
    }),
  ),
}).annotate({ identifier: "DevicePlan", description: "What differs, and the calls that change it, in their order" });
export type Plan = typeof Plan.Type;

/** What a step found or brought about; each step has its own of these. */
export const Output = Schema.Struct({
  plan: optionalKey(Plan),
  restartRequired: optionalKey(Schema.Boolean),
  guard: optionalKey(text("What takes a cut-off write back by itself: `none`, or the device's own words for it")),
  firmware: optionalKey(Firmware),
  /** Milliseconds since 1970. */
  bootedAt: optionalKey(Schema.Finite),
  action: optionalKey(Action),
  result: optionalKey(text("What the device answered, cut")),
}).annotate({ identifier: "DeviceStepOutput" });
export type Output = typeof Output.Type;
