/** Bulk operations: the same task for each of many devices, a few at a time. Roll-outs: firmware in stages. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { getOf, listOf } from "../endpoints.ts";
import {
  ActorShown,
  accepted,
  commandHeaders,
  entity,
  entityParams,
  ORGANISATION,
  organisationParams,
  page,
  pageQuery,
  queryHeaders,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { historyOf } from "../past.ts";
import { Select, SelectionShown } from "./selection.ts";
import { Action, Asked, FirmwareAsked } from "./task-parts.ts";
import {
  BulkId,
  DeviceId,
  ExpiresInMs,
  GroupId,
  LIMITS,
  Name,
  ProfileId,
  RolloutId,
  ranged,
  TaskId,
  Title,
} from "./values.ts";
import { Wish, WishShown } from "./wishes.ts";

const { optionalKey } = Schema;
const count = (description: string) => Schema.Int.annotate({ description });

export const BULK_STATES = ["running", "paused", "halted", "cancelling", "completed", "cancelled"] as const;
export const ROLLOUT_STATES = ["running", "soaking", "paused", "halted", "completed", "cancelled"] as const;

export const AtOnce = ranged(1, LIMITS.atOnce.most, `Tasks under way at once; ${LIMITS.atOnce.usual} if left out`);
export const HaltAtPercent = ranged(
  0,
  100,
  "It halts when more than this share of what has ended failed, of five at least; 100: never; 20 if left out",
);

/** What happens to how many. */
export const Counts = Schema.Struct({
  succeeded: Schema.Int,
  failed: count("Tasks that failed"),
  expired: count("Devices that could not be talked to in time"),
  cancelled: Schema.Int,
  refused: count("Devices of which it could not be asked: `failures` says why"),
}).annotate({ identifier: "DeviceCounts" });
export const ItemFailure = Schema.Struct({
  device: DeviceId,
  task: optionalKey(TaskId),
  reason: Schema.String,
}).annotate({ identifier: "BulkFailure" });

export const BulkAction = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("apply"), dryRun: optionalKey(Schema.Boolean) }),
  Schema.Struct({ kind: Schema.Literal("firmware"), ...FirmwareAsked.fields }),
  Schema.Struct({ kind: Schema.Literal("reboot") }),
  Schema.Struct({ kind: Schema.Literal("read") }),
  Schema.Struct({ kind: Schema.Literal("action"), ...Action.fields }),
  Schema.Struct({ kind: Schema.Literal("configure"), dryRun: optionalKey(Schema.Boolean), ...Wish.fields }),
]).annotate({
  identifier: "BulkAction",
  description:
    "The permission that it takes for one device it takes for many. `configure` changes what is wanted of them, in the log alone: `apply` then writes it. `dryRun` plans, and changes nothing",
});

/** Of `configure`: no task of a device, but a change of what is wanted of it. */
export const ConfigureAsked = Schema.Struct({
  kind: Schema.Literal("configure"),
  dryRun: Schema.Boolean,
  ...WishShown.fields,
}).annotate({ identifier: "BulkConfigure", description: "What is wanted of each becomes another" });
export const BulkAsked = Schema.Union([...Asked.members, ConfigureAsked]).annotate({ identifier: "BulkAsked" });

export const RESULTS = [
  ...["waiting", "running", "succeeded", "unchanged", "failed", "expired", "cancelled", "refused"],
] as const;
export const BulkResult = Schema.Struct({
  device: DeviceId,
  outcome: Schema.Literals(RESULTS).annotate({
    description: "`unchanged`: it was so already. `refused`: it could not be asked of it",
  }),
  task: optionalKey(TaskId.annotate({ description: "While it is under way, and of what failed" })),
  reason: optionalKey(Schema.String.annotate({ description: `Of the first ${LIMITS.failures} that failed` })),
}).annotate({ identifier: "BulkResult" });
const resultsQuery = {
  outcome: optionalKey(Schema.Literals(RESULTS)),
  ...pageQuery,
};

export const StartBulk = Schema.Struct({
  select: Select,
  action: BulkAction,
  atOnce: optionalKey(AtOnce),
  haltAtPercent: optionalKey(HaltAtPercent),
  expiresInMs: optionalKey(ExpiresInMs),
}).annotate({
  identifier: "StartBulk",
  examples: [{ select: { where: { tag: "floor/1" } }, action: { kind: "apply", dryRun: true } }],
});

const SelectedLater = Schema.Struct({ group: optionalKey(GroupId), where: optionalKey(SelectionShown) }).annotate({
  description: "Of one that was asked for by a schedule or rule: what it is about was found when it began",
});

export const Bulk = Schema.Struct({
  ...entity(
    BulkId,
    Schema.Struct({
      asked: BulkAsked,
      devices: count("How many devices it is about"),
      atOnce: Schema.Int,
      haltAtPercent: Schema.Int,
      expiresInMs: Schema.Int,
      select: optionalKey(SelectedLater),
      profile: optionalKey(ProfileId.annotate({ description: "The profile whose change is written by it" })),
      rollout: optionalKey(RolloutId),
    }),
    Schema.Struct({
      state: Schema.Literals(BULK_STATES).annotate({
        description:
          "`halted`: too many failed; it goes on when it is resumed. What is under way always comes to its end",
      }),
      waiting: count("Devices of which it was not asked yet"),
      running: Schema.Array(Schema.Struct({ device: DeviceId, task: TaskId })),
      ...Counts.fields,
      failures: Schema.Array(ItemFailure).annotate({
        description: `The first ${LIMITS.failures}; \`…/results\` has every device, and \`?bulk=\` the tasks`,
      }),
      finishedAt: optionalKey(Time),
    }),
  ).fields,
  requestedBy: ActorShown,
}).annotate({ identifier: "DeviceBulk", description: "The same for each of many devices" });

const Stage = Schema.Union([
  Schema.Struct({ devices: ranged(1, LIMITS.selected, "So many devices") }),
  Schema.Struct({ percent: ranged(1, 100, "This share of all, those before included") }),
]);
export const Stages = Schema.Array(Stage).check(Schema.isMinLength(1), Schema.isMaxLength(LIMITS.stages)).annotate({
  description: "One after the other; what they leave out comes last. Left out: one device, 5 %, 25 %, the rest",
});
const SoakMs = ranged(0, 7 * 86_400_000, "Milliseconds to wait after a stage; 600000 if left out");

export const StartRollout = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  select: Select,
  firmware: optionalKey(FirmwareAsked),
  stages: optionalKey(Stages),
  soakMs: optionalKey(SoakMs),
  haltAtPercent: optionalKey(HaltAtPercent),
  atOnce: optionalKey(AtOnce),
  expiresInMs: optionalKey(ExpiresInMs),
}).annotate({
  identifier: "StartRollout",
  examples: [{ name: "autumn", select: { where: { outdated: true } }, stages: [{ devices: 1 }, { percent: 25 }] }],
});

export const Rollout = Schema.Struct({
  ...entity(
    RolloutId,
    Schema.Struct({
      name: Name,
      title: optionalKey(Title),
      firmware: FirmwareAsked,
      devices: count("How many devices it is about"),
      select: optionalKey(SelectedLater),
      stages: Schema.Array(Schema.Int).annotate({ description: "How many devices each stage is about" }),
      soakMs: Schema.Int,
      haltAtPercent: Schema.Int,
      atOnce: Schema.Int,
    }),
    Schema.Struct({
      state: Schema.Literals(ROLLOUT_STATES).annotate({
        description: "`soaking`: a stage went well, and the next one waits. `halted`: too many failed",
      }),
      stage: count("Number of the stage, from 0"),
      bulk: optionalKey(BulkId.annotate({ description: "Of the stage that is under way, or was last" })),
      nextAt: optionalKey(Time.annotate({ description: "When the next stage begins" })),
      ...Counts.fields,
      finishedAt: optionalKey(Time),
    }),
  ).fields,
  requestedBy: ActorShown,
}).annotate({ identifier: "FirmwareRollout", description: "Firmware for many devices, in stages" });

const bulks = `${ORGANISATION}/device-bulks` as const;
const bulk = `${bulks}/:id` as const;
const rollouts = `${ORGANISATION}/firmware-rollouts` as const;
const rollout = `${rollouts}/:id` as const;

const bulkEndpoints = HttpApiGroup.make("deviceOperations")
  .add(
    HttpApiEndpoint.post("startBulk", `${ORGANISATION}/devices/bulk`, {
      params: organisationParams,
      headers: commandHeaders,
      payload: StartBulk,
      success: accepted(Bulk),
    }).annotateMerge(
      says(
        "devices:control",
        "Do the same with each of many devices",
        "Which devices they are is settled now. To write and to update takes the permission for that, too.",
      ),
    ),
  )
  .add(
    listOf("listBulks", bulks, Bulk, {
      state: optionalKey(Schema.Literals(BULK_STATES)),
      rollout: textFilter("Id of the roll-out that it belongs to"),
    }).annotateMerge(says("devices:read", "List bulk operations")),
  )
  .add(getOf("getBulk", bulk, Bulk).annotateMerge(says("devices:read", "A bulk operation, as it is or as it was")))
  .add(
    HttpApiEndpoint.get("listBulkResults", `${bulk}/results`, {
      params: entityParams,
      headers: queryHeaders,
      query: resultsQuery,
      success: page(BulkResult),
    }).annotateMerge(says("devices:read", "What came of a bulk operation, device by device")),
  )
  .add(historyOf("historyOfBulk", bulk).annotateMerge(says("devices:read", "What happened in a bulk operation")));

const act = { params: entityParams, headers: commandHeaders };
const bulkAct = { ...act, success: accepted(Bulk) };
const rolloutAct = { ...act, success: accepted(Rollout) };

export const deviceOperationsApi = bulkEndpoints
  .add(
    HttpApiEndpoint.post("pauseBulk", `${bulk}/pause`, bulkAct).annotateMerge(
      says("devices:control", "Pause a bulk operation; what is under way ends first"),
    ),
  )
  .add(
    HttpApiEndpoint.post("resumeBulk", `${bulk}/resume`, bulkAct).annotateMerge(
      says("devices:control", "Let a bulk operation go on that was paused or has halted"),
    ),
  )
  .add(
    HttpApiEndpoint.post("cancelBulk", `${bulk}/cancel`, bulkAct).annotateMerge(
      says("devices:control", "Ask nothing more of further devices; what is under way ends first"),
    ),
  )
  .add(
    HttpApiEndpoint.post("startRollout", rollouts, {
      params: organisationParams,
      headers: commandHeaders,
      payload: StartRollout,
      success: accepted(Rollout),
    }).annotateMerge(says("devices:firmware", "Roll firmware out in stages, which halts when too many devices fail")),
  )
  .add(
    listOf("listRollouts", rollouts, Rollout, {
      name: textFilter("Its name"),
      state: optionalKey(Schema.Literals(ROLLOUT_STATES)),
    }).annotateMerge(says("devices:read", "List roll-outs of firmware")),
  )
  .add(
    getOf("getRollout", rollout, Rollout).annotateMerge(
      says("devices:read", "A roll-out by id or name, as it is or as it was"),
    ),
  )
  .add(historyOf("historyOfRollout", rollout).annotateMerge(says("devices:read", "What happened in a roll-out")))
  .add(
    HttpApiEndpoint.post("pauseRollout", `${rollout}/pause`, rolloutAct).annotateMerge(
      says("devices:firmware", "Pause a roll-out; the stage that is under way ends first"),
    ),
  )
  .add(
    HttpApiEndpoint.post("resumeRollout", `${rollout}/resume`, rolloutAct).annotateMerge(
      says("devices:firmware", "Let a roll-out go on with the next stage"),
    ),
  )
  .add(
    HttpApiEndpoint.post("cancelRollout", `${rollout}/cancel`, rolloutAct).annotateMerge(
      says("devices:firmware", "End a roll-out; the stage that is under way ends first"),
    ),
  )
  .annotateMerge(
    OpenApi.annotations({ title: "Operations on many devices", description: "In bulk, and firmware in stages" }),
  );
