/** What the world sees of bulk operations and roll-outs. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { ConfigureAsked, Counts, Stages } from "./operations.ts";
import { SelectionShown } from "./selection.ts";
import { Asked, FirmwareAsked } from "./task-parts.ts";
import { OUTCOMES } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });
const devices = Schema.Array(Schema.String).annotate({ description: "Ids of the devices, in their order" });

const select = optionalKey(
  Schema.Struct({ group: optionalKey(text("Id of a group")), where: optionalKey(SelectionShown) }).annotate({
    description: "Which devices they are is found when it begins; `devices` is empty until then",
  }),
);
const spec = {
  devices,
  atOnce: count("Tasks under way at once"),
  haltAtPercent: count("Share of failures beyond which it halts"),
  expiresInMs: count("How long each may wait for its device"),
  select,
};
export const BulkRequested = Schema.Struct({
  asked: Asked,
  ...spec,
  profile: optionalKey(text("Id of the profile whose change is written by it")),
  rollout: optionalKey(text("Id of the roll-out that it is a stage of")),
});
/** An event of its own: who reads only what was there before stops at it, and does not take it for a task. */
export const BulkConfigureRequested = Schema.Struct({ asked: ConfigureAsked, ...spec });
export const BulkDevicesSelected = Schema.Struct({ devices });
const device = text("Id of the device");
export const BulkTaskAsked = Schema.Struct({ device, task: text("Id of its task") });
export const BulkDeviceRefused = Schema.Struct({ device, reason: text("Why it could not be asked") });
export const BulkDeviceConfigured = Schema.Struct({
  device,
  changed: Schema.Boolean.annotate({ description: "false: it was so already. Of a dry run: what would be" }),
});
export const BulkTaskEnded = Schema.Struct({ device, task: Schema.String, outcome: Schema.Literals(OUTCOMES) });
export const BulkPaused = Schema.Struct({});
export const BulkResumed = Schema.Struct({});
export const BulkHalted = Schema.Struct({ failures: count("That failed"), of: count("That had ended") });
export const BulkCancellationRequested = Schema.Struct({});
export const BulkCompleted = Schema.Struct({ ...Counts.fields });
export const BulkCancelled = Schema.Struct({ ...Counts.fields });

export const bulkEvents = {
  BulkRequested: { version: 1, data: BulkRequested, description: "The same was asked of many devices." },
  BulkConfigureRequested: {
    version: 1,
    data: BulkConfigureRequested,
    description: "A change of what is wanted was asked of many devices.",
  },
  BulkDevicesSelected: {
    version: 1,
    data: BulkDevicesSelected,
    description: "It was found which devices a bulk operation is about.",
  },
  BulkTaskAsked: { version: 1, data: BulkTaskAsked, description: "A bulk operation asked for a task of a device." },
  BulkDeviceRefused: {
    version: 1,
    data: BulkDeviceRefused,
    description: "A bulk operation could not ask of a device.",
  },
  BulkDeviceConfigured: {
    version: 1,
    data: BulkDeviceConfigured,
    description: "A bulk operation changed what is wanted of a device.",
  },
  BulkTaskEnded: { version: 1, data: BulkTaskEnded, description: "A task of a bulk operation has ended." },
  BulkPaused: { version: 1, data: BulkPaused, description: "A bulk operation was paused." },
  BulkResumed: { version: 1, data: BulkResumed, description: "A bulk operation goes on." },
  BulkHalted: { version: 1, data: BulkHalted, description: "A bulk operation halted: too many devices failed." },
  BulkCancellationRequested: {
    version: 1,
    data: BulkCancellationRequested,
    description: "A bulk operation asks nothing of further devices.",
  },
  BulkCompleted: { version: 1, data: BulkCompleted, description: "A bulk operation has come to its end." },
  BulkCancelled: { version: 1, data: BulkCancelled, description: "A cancelled bulk operation has come to its end." },
} as const satisfies PublicEvents;

const stages = Schema.Array(Schema.Int).annotate({ description: "How many devices each stage is about" });
export const RolloutStarted = Schema.Struct({
  name: text("Unique name in the organisation"),
  title: optionalKey(text("Its title")),
  firmware: FirmwareAsked,
  devices,
  stages,
  select,
  stagesAsked: optionalKey(
    Stages.annotate({ description: "With a selection: stages as they were asked for, until it is known how many" }),
  ),
  soakMs: count("Milliseconds between stages"),
  haltAtPercent: count("Share of failures beyond which it halts"),
  atOnce: count("Devices at once"),
  expiresInMs: count("How long each may wait for its device"),
});
export const RolloutDevicesSelected = Schema.Struct({ devices, stages });
const stage = count("Number of the stage, from 0");
const bulk = text("Id of its bulk operation");
export const StageBegun = Schema.Struct({ stage, bulk });
export const StageEnded = Schema.Struct({ stage, bulk, ...Counts.fields });
export const RolloutPaused = Schema.Struct({});
export const RolloutResumed = Schema.Struct({});
export const RolloutHalted = Schema.Struct({
  stage,
  failures: count("That failed"),
  of: count("Devices of the stage"),
});
export const RolloutCompleted = Schema.Struct({});
export const RolloutCancelled = Schema.Struct({});

export const rolloutEvents = {
  RolloutStarted: { version: 1, data: RolloutStarted, description: "A roll-out of firmware was asked for." },
  RolloutDevicesSelected: {
    version: 1,
    data: RolloutDevicesSelected,
    description: "It was found which devices a roll-out is about.",
  },
  StageBegun: { version: 1, data: StageBegun, description: "A stage of a roll-out began." },
  StageEnded: { version: 1, data: StageEnded, description: "A stage of a roll-out has ended." },
  RolloutPaused: { version: 1, data: RolloutPaused, description: "A roll-out was paused." },
  RolloutResumed: { version: 1, data: RolloutResumed, description: "A roll-out goes on." },
  RolloutHalted: { version: 1, data: RolloutHalted, description: "A roll-out halted: too many devices failed." },
  RolloutCompleted: { version: 1, data: RolloutCompleted, description: "A roll-out has reached all its devices." },
  RolloutCancelled: { version: 1, data: RolloutCancelled, description: "A roll-out was ended before its time." },
} as const satisfies PublicEvents;
