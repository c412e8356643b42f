/**
 * From an action to the commands it comes to: the same plans as the gateway's routes make, for what acts without a request.
 * contracts/automation/actions.ts says which actions there are.
 */
import { ACTIONS, type ActionName, actionNamed } from "@millrace/contracts/automation/actions.ts";
import { isId } from "@millrace/contracts/ids.ts";
import type { FieldError } from "@millrace/contracts/problems.ts";
import * as Result from "effect/Result";
import * as Schema from "effect/Schema";
import * as SchemaIssue from "effect/SchemaIssue";
import { application } from "../applications/application.ts";
import { deployment } from "../applications/deployment.ts";
import { type Deploying, ownApplication, planCancelling, planDeployment } from "../applications/plan.ts";
import type { Refusal } from "../decider.ts";
import { bulk } from "../devices/bulk.ts";
import { device } from "../devices/device.ts";
import { planBulk, planRollout, planScan, planTask } from "../devices/request-many.ts";
import { rollout } from "../devices/rollout.ts";
import { scan } from "../devices/scan.ts";
import { sync } from "../devices/sync.ts";
import type { Kind } from "../kind.ts";
import type { Plan, Reads } from "../reads.ts";
import { item } from "../work/item.ts";
import type { ItemCommand } from "../work/item-command.ts";
import { itemWithWorkflow, planOpening } from "../work/plan.ts";

/** An action as it is stored. */
export interface Action {
  /** As the operation in OpenAPI, e.g. `applications.deployApplication`. */
  readonly action: string;
  /** Id or unique name of what it is done to; left out where it makes something. */
  readonly on?: string;
  readonly body?: unknown;
}

/** An action about to be done. */
export interface Acting {
  readonly reads: Reads;
  readonly organisation: string;
  readonly action: ActionName;
  /** Id of what it is done to; where it makes something, the id of that. */
  readonly subject: string;
  readonly body: any;
  /** The same for a repeat. @param nth tells ids of one prefix apart */
  readonly makeId: (prefix: string, nth?: number) => string;
}

const KINDS: Readonly<Record<string, Kind>> = {
  "work.item": item,
  "applications.application": application,
  "applications.deployment": deployment,
  "devices.device": device,
  "devices.bulk": bulk,
  "devices.rollout": rollout,
  "devices.scan": scan,
  "devices.sync": sync,
};

/** Kind of what an action is done to, or of what it makes. */
export const subjectKind = (action: ActionName): Kind => KINDS[ACTIONS[action].target ?? ACTIONS[action].makes ?? ""]!;

/** @returns undefined when nothing has that name */
export async function subjectOf(
  reads: Reads,
  organisation: string,
  action: ActionName,
  on: string,
): Promise<string | undefined> {
  const kind = subjectKind(action);
  return isId(kind.prefix, on) ? on : ((await reads.holderOf(kind, organisation, on)) ?? undefined);
}

const itemPart = (id: string, command: ItemCommand): Plan => [{ kind: item, id, command }];

const simply =
  (command: (acting: Acting) => ItemCommand) =>
  async (acting: Acting): Promise<Plan> =>
    itemPart(acting.subject, command(acting));

const byWorkflow = (make: (acting: Acting) => any) => async (acting: Acting) => {
  const found = await itemWithWorkflow(acting.reads, acting.organisation, acting.subject);
  return "refused" in found ? found : itemPart(acting.subject, { ...make(acting), workflow: found.workflow });
};

const deploying = (trigger: Deploying) => async (acting: Acting) => {
  const { reads, organisation, subject, body, makeId } = acting;
  const state = await ownApplication(reads, organisation, subject);
  if ("refused" in state) return state;
  return planDeployment(reads, state, { deployment: makeId(deployment.prefix), trigger, ref: body.ref, to: body.to });
};

const ofApplication =
  (verb: "start" | "stop" | "scale") =>
  async ({ subject, body }: Acting): Promise<Plan> => [
    { kind: application, id: subject, command: { do: verb, ...body } },
  ];

const PLANS: Readonly<Record<ActionName, (acting: Acting) => Promise<Plan>>> = {
  "work.openItem": async ({ reads, organisation, subject, body, makeId }) => {
    const command = await planOpening(reads, organisation, body, (index) => makeId("lin", index));
    return "refused" in command ? command : itemPart(subject, command);
  },
  "work.changeItem": simply(({ body }) => ({ do: "change", ...body })),
  "work.transitionItem": byWorkflow(({ body }) => ({ do: "transition", ...body })),
  "work.waiveGate": byWorkflow(({ body }) => ({ do: "waive", ...body })),
  "work.assignItem": simply(({ body }) => ({ do: "assign", ...body })),
  "work.unassignItem": simply(({ body }) => ({ do: "unassign", ...body })),
  "work.labelItem": simply(({ body }) => ({ do: "label", ...body })),
  "work.unlabelItem": simply(({ body }) => ({ do: "unlabel", ...body })),
  "work.addLine": simply(({ body, makeId }) => ({ do: "addLine", line: makeId("lin"), ...body })),
  "work.changeLine": simply(({ body }) => ({ do: "changeLine", ...body })),
  "work.writeComment": simply(({ body, makeId }) => ({ do: "comment", comment: makeId("cmt"), ...body })),
  "applications.deployApplication": deploying("manual"),
  "applications.rollBackApplication": deploying("rollback"),
  "applications.restartApplication": deploying("restart"),
  "applications.startApplication": ofApplication("start"),
  "applications.stopApplication": ofApplication("stop"),
  "applications.scaleApplication": ofApplication("scale"),
  "devices.applyDevice": planTask(({ dryRun = false }) => ({ kind: "apply", dryRun })),
  "devices.actOnDevice": planTask(({ expiresInMs: _, ...action }) => ({ kind: "action", ...action })),
  "devices.readDevice": planTask(() => ({ kind: "read" })),
  "devices.rebootDevice": planTask(() => ({ kind: "reboot" })),
  "devices.updateFirmware": planTask(({ expiresInMs: _, ...firmware }) => ({ kind: "firmware", ...firmware })),
  "deviceOperations.startBulk": planBulk,
  "deviceOperations.startRollout": planRollout,
  "deviceScans.startScan": planScan,
  "deviceSyncs.runSync": async ({ subject }) => [{ kind: sync, id: subject, command: { do: "run" } }],
  "applications.cancelDeployment": ({ reads, subject, body }) => planCancelling(reads, subject, body.reason),
};

export const planAction = (acting: Acting): Promise<Plan> => PLANS[acting.action](acting);

const ERRORS_MOST = 20;
const toStandard = SchemaIssue.makeFormatterStandardSchemaV1();

/** What is wrong with an action's form; empty: nothing. @param pointer where it stands, e.g. `/body/commands/0` */
export function actionFaults({ action, on, body }: Action, pointer: string): ReadonlyArray<FieldError> {
  const declared = actionNamed(action);
  if (declared === undefined) {
    return [{ pointer: `${pointer}/action`, detail: `is no action; there are ${Object.keys(ACTIONS).join(", ")}` }];
  }
  const faults: FieldError[] = [];
  if (declared.target === null && on !== undefined) {
    faults.push({ pointer: `${pointer}/on`, detail: `is not taken: ${action} makes something new` });
  }
  if (declared.target !== null && on === undefined) {
    faults.push({ pointer: `${pointer}/on`, detail: `is needed: ${action} is done to a ${declared.target}` });
  }
  const decoded = Schema.decodeUnknownResult(declared.body, { onExcessProperty: "error", errors: "all" })(body ?? {});
  if (Result.isFailure(decoded)) {
    for (const { path = [], message } of toStandard(decoded.failure.issue).issues.slice(0, ERRORS_MOST)) {
      const place = path.map((step) => String(typeof step === "object" ? step.key : step).slice(0, 100));
      const escaped = place.map((step) => step.replaceAll("~", "~0").replaceAll("/", "~1"));
      faults.push({
        pointer: [`${pointer}/body`, ...escaped].join("/"),
        detail: message.split("\n")[0]!.slice(0, 300),
      });
    }
  }
  return faults;
}

/** Refusal for faults, or undefined. */
export const refusalOfFaults = (errors: ReadonlyArray<FieldError>, fix?: string): Refusal | undefined =>
  errors.length === 0
    ? undefined
    : { refused: "invalid", errors, fix: fix ?? "Change the places named, and send it again." };
