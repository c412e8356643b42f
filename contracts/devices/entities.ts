/** Devices and their tasks, as the API shows them. */
import * as Schema from "effect/Schema";
import { ActorShown, entity, Time } from "../http.ts";
import {
  Address,
  AuthenticationName,
  ConfigurationShown,
  Drift,
  Firmware,
  Identity,
  OfferedFirmware,
  Reached,
  Revisions,
} from "./device-parts.ts";
import { Asked, Output, Plan } from "./task-parts.ts";
import {
  Configuration,
  DeviceId,
  FAILURE_CLASSES,
  GroupId,
  Mac,
  Name,
  PollMs,
  ProfileId,
  REACHES,
  Site,
  TASK_STATES,
  Tags,
  TaskId,
  Title,
  Values,
  WAITS,
} from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

export const DEVICE_STATES = [...REACHES, "rejected", "drifted"] as const;
export const DeviceStateName = Schema.Literals(DEVICE_STATES).annotate({
  description:
    "`rejected`: it does not take its password, or shows another certificate. `drifted`: it answers, and is not as wanted. Else as `reach` says",
});

const listedSpec = {
  mac: Mac,
  name: Name,
  title: optionalKey(Title),
  site: Site,
  tags: Tags,
  groups: Schema.Array(GroupId),
  profiles: Schema.Array(ProfileId).annotate({ description: "A later one wins over those before it" }),
  values: Values,
  expected: Schema.Boolean.annotate({
    description: "Whether it should answer; of one that lies in a drawer nobody is told that it is lost",
  }),
  pollMs: optionalKey(PollMs),
  credentials: Schema.Literals(["none", "digest", "basic"]).annotate({
    description: "What is stored of its password, never shown. `digest`: a hash, all that Gen2 and later take",
  }),
};
const listedStatus = {
  state: DeviceStateName,
  reach: Reached,
  since: Time.annotate({ description: "Since when `reach` is so" }),
  lostReason: optionalKey(text("Why it is taken for lost")),
  address: optionalKey(Address),
  fingerprint: optionalKey(text("SHA-256 of the one certificate that is trusted")),
  rejectedFingerprint: optionalKey(text("SHA-256 of another one that it has shown since")),
  identity: optionalKey(Identity),
  firmware: optionalKey(Firmware),
  offered: optionalKey(OfferedFirmware),
  authentication: Schema.Struct({
    state: AuthenticationName,
    since: Time,
    until: optionalKey(Time.annotate({ description: "Until when it refuses everybody" })),
  }),
  managed: Schema.Boolean.annotate({ description: "Something is wanted of it; else it is only watched" }),
  observedAt: optionalKey(Time),
  appliedAt: optionalKey(Time),
  task: optionalKey(TaskId),
  queue: Schema.Array(TaskId).annotate({ description: "Tasks that wait for their turn" }),
};

export const Device = entity(
  DeviceId,
  Schema.Struct({
    ...listedSpec,
    configuration: Schema.NullOr(Configuration).annotate({
      description: "Its own settings, over those of its profiles; null: none",
    }),
  }),
  Schema.Struct({
    ...listedStatus,
    drift: optionalKey(Schema.Struct({ ...Drift, since: Time, source: optionalKey(Schema.String) })),
    desired: optionalKey(ConfigurationShown.annotate({ description: "What profiles and own settings come to" })),
    resolvedOf: Schema.Array(Schema.Struct({ id: ProfileId, generation: Schema.Int })),
    observed: optionalKey(
      ConfigurationShown.annotate({
        description: "As it was last read, without what is volatile, read-only or secret",
      }),
    ),
    applied: optionalKey(
      Schema.Struct({ configuration: ConfigurationShown, task: TaskId, at: Time }).annotate({
        description: "What was wanted when it was last written and read back",
      }),
    ),
    revisions: Revisions,
  }),
).annotate({ identifier: "Device" });

export const ListedDevice = entity(
  DeviceId,
  Schema.Struct(listedSpec),
  Schema.Struct({
    ...listedStatus,
    drift: optionalKey(
      Schema.Struct({ count: Schema.Int.annotate({ description: "Fields that are not as wanted" }), since: Time }),
    ),
  }),
).annotate({ identifier: "ListedDevice", description: "A device without its configurations" });

const taskSpec = Schema.Struct({
  device: DeviceId,
  name: text("Name of the device when it was asked for"),
  site: Site,
  asked: Asked,
  expiresAt: Time.annotate({ description: "When it is given up if it could not be done" }),
  bulk: optionalKey(text("Id of the bulk operation it belongs to")),
});
const taskStatus = {
  state: Schema.Literals(TASK_STATES).annotate({
    description: "`waiting`: for its device to wake, return or let somebody in. `undoing`: what it wrote is taken back",
  }),
  waiting: optionalKey(
    Schema.Struct({
      for: Schema.Literals(WAITS),
      reason: Schema.String,
      since: Time,
      until: optionalKey(Time),
    }),
  ),
  stopped: optionalKey(Schema.Struct({ because: Schema.Literals(["failure", "cancellation", "expiry"]), at: Time })),
  cancellation: optionalKey(Schema.Struct({ by: ActorShown, at: Time, reason: optionalKey(Schema.String) })),
  failure: optionalKey(
    Schema.Struct({ step: Schema.String, code: Schema.String, message: Schema.String, fix: Schema.String }),
  ),
  undone: optionalKey(
    Schema.Literals(["nothing", "all", "not"]).annotate({
      description: "Of what it had written: there was `nothing`, `all` was taken back, or it could `not` be",
    }),
  ),
  startedAt: optionalKey(Time),
  finishedAt: optionalKey(Time),
};
export const TaskStep = Schema.Struct({
  step: text("`read`, `plan`, `write:0`, `verify` …; `undo/…` on the way back"),
  state: Schema.Literals(["running", "completed", "failed", "interrupted"]),
  attempt: Schema.Int,
  worker: Schema.String,
  startedAt: Time,
  completedAt: optionalKey(Time),
  output: optionalKey(Output),
  error: optionalKey(
    Schema.Struct({
      class: Schema.Literals(FAILURE_CLASSES),
      code: Schema.String,
      message: Schema.String,
      fix: Schema.String,
    }),
  ),
  retryAt: optionalKey(Time),
}).annotate({ identifier: "DeviceTaskStep" });

const asked = { requestedBy: ActorShown };
const Listed = entity(TaskId, taskSpec, Schema.Struct(taskStatus));
export const ListedTask = Schema.Struct({ ...Listed.fields, ...asked }).annotate({
  identifier: "ListedDeviceTask",
  description: "A task without its steps and plan",
});
export const Task = Schema.Struct({
  ...ListedTask.fields,
  status: Schema.Struct({ ...taskStatus, steps: Schema.Array(TaskStep), plan: optionalKey(Plan) }),
}).annotate({ identifier: "DeviceTask", description: "One thing that is done on one device" });
