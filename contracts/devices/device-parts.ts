/** What is said of a device in events and entities alike. Looser than the API's input: what once was said stays readable. */
import * as Schema from "effect/Schema";
import { AUTHENTICATIONS, CAUSES, REACHES, SCHEMES, STAGES } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

/** JSON by component. */
export const ConfigurationShown = Schema.Record(Schema.String, Schema.Unknown);
export type ConfigurationShown = typeof ConfigurationShown.Type;

export const Address = Schema.Struct({
  host: text("IP address, or host name"),
  port: Schema.Int,
  scheme: Schema.Literals(SCHEMES),
  via: optionalKey(text("MAC of the range extender through which it is reached")),
}).annotate({ identifier: "DeviceAddress", description: "Where it answers" });
export type Address = typeof Address.Type;

export const Firmware = Schema.Struct({
  version: text("As the device says it: `1.7.5`, `v1.14.0-gcb84623`"),
  build: text("Its `fw_id`: differs between any two builds"),
}).annotate({ identifier: "DeviceFirmware" });
export type Firmware = typeof Firmware.Type;

export const OfferedFirmware = Schema.Struct({
  version: Schema.String,
  build: optionalKey(Schema.String),
  stage: Schema.Literals(STAGES),
}).annotate({ identifier: "OfferedFirmware", description: "A newer firmware that the device could take" });
export type OfferedFirmware = typeof OfferedFirmware.Type;

/** What a device says of itself; a change of firmware is told apart. */
export const Identity = Schema.Struct({
  hostname: text("The device's own id, its realm in digest authentication: `shellyplus2pm-c4d8d5517c68`"),
  model: text("The maker's number of the model: `SNSW-102P16EU`, `SHSW-25`"),
  app: optionalKey(text("Name of its firmware: `Plus2PM`")),
  gen: Schema.Int.annotate({ description: "Generation of the hardware: 1 to 4" }),
  profile: optionalKey(text("What it is used as: `switch` or `cover`, `color` or `white` …")),
  sleeps: Schema.Boolean.annotate({ description: "Runs on a battery and answers only when it wakes" }),
  capabilities: Schema.Array(Schema.String).annotate({
    description: "What it has, by component: `switch:0`, `input:1`, `wifi`",
  }),
}).annotate({ identifier: "DeviceIdentity" });
export type Identity = typeof Identity.Type;

export const Capabilities = Schema.Struct({
  at: Schema.String,
  capabilities: Schema.Array(
    Schema.Struct({
      type: text("`switch`, `meter`, `temperature`, `schedules` …: the same word whatever the generation"),
      key: text("The component that has it: `switch:0`"),
      configurable: Schema.Boolean.annotate({ description: "Whether something of it can be wanted" }),
      actions: Schema.Array(Schema.String).annotate({
        description: "What it can be told to do, in the device's words",
      }),
    }),
  ),
}).annotate({ identifier: "DeviceCapabilities" });

/** `{ cfg: 14, schedule: 2 }` */
export const Revisions = Schema.Record(Schema.String, Schema.Finite).annotate({
  description: "The device's own counters: a configuration is read again when one has moved",
});
export type Revisions = typeof Revisions.Type;

export const DriftField = Schema.Struct({
  component: text("E.g. `switch:0`"),
  path: text("JSON pointer within the component"),
  cause: Schema.Literals(CAUSES).annotate({
    description: "`device`: it was changed there. `here`: what is wanted was changed and is not applied. `both`",
  }),
  desired: optionalKey(Schema.Unknown),
  applied: optionalKey(Schema.Unknown),
  observed: optionalKey(Schema.Unknown),
}).annotate({
  identifier: "DriftField",
  description: "One field that is not as wanted; a value is missing where there is none, and cut where it is long",
});
export type DriftField = typeof DriftField.Type;

export const Drift = {
  fields: Schema.Array(DriftField),
  more: Schema.Int.annotate({ description: "So many further fields" }),
};

export const Reached = Schema.Literals(REACHES).annotate({
  description:
    "`new`: never reached. `reachable`. `asleep`: a battery device between two awakenings. `lost`: it should answer, and does not",
});
export const AuthenticationName = Schema.Literals(AUTHENTICATIONS).annotate({
  description:
    "`open`: it asks for no password. `accepted`, `rejected`: what is stored for it is right, wrong or missing. `locked-out`: it refuses everybody for a while",
});
