/**
 * Actions: commands of the product that are done without a request of that moment, by schedules, rules and processes.
 * An action is named as its operation in OpenAPI (`work.openItem`), takes that operation's body, and needs its permission.
 * What is a path below the entity there (`…/checklist/{line}`) is a field of the body here.
 */
import * as Context from "effect/Context";
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as Schema from "effect/Schema";
import * as applications from "../applications/api.ts";
import * as devices from "../devices/api.ts";
import { deviceOperationsApi, StartBulk, StartRollout } from "../devices/operations.ts";
import { deviceScansApi, StartScan } from "../devices/scans.ts";
import { deviceSyncsApi } from "../devices/syncs.ts";
import { WISH_PERMISSIONS } from "../devices/wishes.ts";
import { Reference } from "../ids.ts";
import { type Permission, Requires } from "../permissions.ts";
import * as work from "../work/api.ts";
import { Reason } from "../work/values.ts";

export interface ActionDeclaration {
  readonly permission: Permission;
  /** Kind of the entity that it is done to, `<context>.<kind>`; null: it makes one. */
  readonly target: string | null;
  /** What it makes, where that is not its target. */
  readonly makes: string | null;
  readonly body: Schema.Codec<any, any, never, never>;
  readonly summary: string;
  /** Further permissions that it takes, by its body. */
  readonly also?: (body: any) => ReadonlyArray<Permission>;
}

const permissionOf = (endpoint: HttpApiEndpoint.Top): Permission =>
  Context.getUnsafe(endpoint.annotations, Requires) as Permission;

const nothing = Schema.Struct({});
const line = Schema.Struct({ line: Reference, ...work.ChangeLine.fields });
const waiver = Schema.Struct({ gate: work.WaiveGate.fields.gate, reason: Reason });

const declare =
  (endpoints: Readonly<Record<string, HttpApiEndpoint.Top>>) =>
  (
    endpoint: string,
    summary: string,
    target: string | null,
    body: ActionDeclaration["body"] = nothing,
    makes: string | null = null,
  ): ActionDeclaration => ({ permission: permissionOf(endpoints[endpoint]!), target, makes, body, summary });

const ofWork = declare(work.workApi.endpoints as never);
const ofApplications = declare(applications.applicationsApi.endpoints as never);
const ofDevices = declare(devices.devicesApi.endpoints as never);
const device = "devices.device";
const task = "devices.task";
const item = "work.item";
const application = "applications.application";
const deployment = "applications.deployment";

/** What it takes to do it to one device it takes for many. @param action as in the body of `startBulk`, checked or not */
export function bulkPermissions(action: { readonly kind?: string } | undefined): ReadonlyArray<Permission> {
  switch (action?.kind) {
    case "apply":
      return ["devices:configure"];
    case "firmware":
      return ["devices:firmware"];
    case "configure":
      return Object.entries(WISH_PERMISSIONS).flatMap(([permission, fields]) =>
        fields.some((field) => Object.hasOwn(action, field)) ? [permission as Permission] : [],
      );
    default:
      return [];
  }
}

/** Every action there is. Nothing that takes a secret, or that deletes. */
export const ACTIONS = {
  "work.openItem": ofWork("openItem", "Open a work item", null, work.OpenItem, item),
  "work.changeItem": ofWork("changeItem", "Change a work item", item, work.ChangeItem),
  "work.transitionItem": ofWork("transitionItem", "Move a work item into another state", item, work.MoveItem),
  "work.assignItem": ofWork("assignItem", "Give a work item to somebody", item, work.Assignees),
  "work.unassignItem": ofWork("unassignItem", "Take a work item from somebody", item, work.Assignees),
  "work.labelItem": ofWork("labelItem", "Put labels on a work item", item, work.Labels),
  "work.unlabelItem": ofWork("unlabelItem", "Take labels off a work item", item, work.Labels),
  "work.addLine": ofWork("addLine", "Add a line to a checklist", item, work.AddLine),
  "work.changeLine": ofWork("changeLine", "Tick, untick, reword or move a line of a checklist", item, line),
  "work.writeComment": ofWork("writeComment", "Comment on a work item", item, work.WriteComment),
  "work.waiveGate": ofWork("waiveGate", "Let a gate pass for a work item", item, waiver),
  "applications.deployApplication": ofApplications(
    "deployApplication",
    "Deploy an application",
    application,
    applications.Deploy,
    deployment,
  ),
  "applications.rollBackApplication": ofApplications(
    "rollBackApplication",
    "Go back to an earlier release",
    application,
    applications.Rollback,
    deployment,
  ),
  "applications.restartApplication": ofApplications(
    "restartApplication",
    "Restart an application",
    application,
    nothing,
    deployment,
  ),
  "applications.startApplication": ofApplications("startApplication", "Start an application", application),
  "applications.stopApplication": ofApplications("stopApplication", "Stop an application", application),
  "applications.scaleApplication": ofApplications(
    "scaleApplication",
    "Run an application with another number of instances",
    application,
    applications.Scale,
  ),
  "applications.cancelDeployment": ofApplications(
    "cancelDeployment",
    "Cancel a deployment",
    deployment,
    applications.Cancel,
  ),
  "devices.applyDevice": ofDevices(
    "applyDevice",
    "Write to a device what is wanted of it",
    device,
    devices.Apply,
    task,
  ),
  "devices.actOnDevice": ofDevices("actOnDevice", "Have a device do something", device, devices.Act, task),
  "devices.readDevice": ofDevices("readDevice", "Have a device read", device, devices.Simple, task),
  "devices.rebootDevice": ofDevices("rebootDevice", "Reboot a device", device, devices.Simple, task),
  "devices.updateFirmware": ofDevices(
    "updateFirmware",
    "Update the firmware of a device",
    device,
    devices.UpdateFirmware,
    task,
  ),
  "deviceOperations.startBulk": {
    ...declare(deviceOperationsApi.endpoints as never)(
      "startBulk",
      "Do the same with each of many devices",
      null,
      StartBulk,
      "devices.bulk",
    ),
    also: (body: { readonly action?: { readonly kind?: string } } | undefined) => bulkPermissions(body?.action),
  },
  "deviceOperations.startRollout": declare(deviceOperationsApi.endpoints as never)(
    "startRollout",
    "Roll firmware out in stages",
    null,
    StartRollout,
    "devices.rollout",
  ),
  "deviceScans.startScan": declare(deviceScansApi.endpoints as never)(
    "startScan",
    "Look for devices",
    null,
    StartScan,
    "devices.scan",
  ),
  "deviceSyncs.runSync": declare(deviceSyncsApi.endpoints as never)(
    "runSync",
    "Bring a repository and the fleet together",
    "devices.sync",
  ),
} as const satisfies Readonly<Record<string, ActionDeclaration>>;

export type ActionName = keyof typeof ACTIONS;

export const actionNamed = (name: string): ActionDeclaration | undefined =>
  Object.hasOwn(ACTIONS, name) ? ACTIONS[name as ActionName] : undefined;
