/** Asking for tasks, bulk operations and scans without a request of that moment: by schedules, rules and processes. Pure but for what it reads. */
import type { BulkAction as Action, StartBulk, StartRollout } from "@millrace/contracts/devices/operations.ts";
import type { StartScan } from "@millrace/contracts/devices/scans.ts";
import type { Asked } from "@millrace/contracts/devices/task-parts.ts";
import { LIMITS, SITE_USUAL } from "@millrace/contracts/devices/values.ts";
import { NAMED } from "@millrace/contracts/devices/wishes.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { invalid, type Refusal } from "../decider.ts";
import type { Kind } from "../kind.ts";
import type { Plan, Reads } from "../reads.ts";
import { bulk } from "./bulk.ts";
import { secretsNamed } from "./configuration.ts";
import { device } from "./device.ts";
import { group } from "./group.ts";
import { profile } from "./profile.ts";
import { requestTask } from "./request.ts";
import { type RolloutSpec, rollout, STAGES_USUAL, stageSizes } from "./rollout.ts";
import { type ScanSpec, scan } from "./scan.ts";
import { task } from "./task.ts";

type BulkAction = typeof Action.Type;

/** As automation gives it. */
interface Acting {
  readonly reads: Reads;
  readonly organisation: string;
  /** Id of what it is done to; where it makes something, the id of that. */
  readonly subject: string;
  readonly body: any;
  readonly makeId: (prefix: string) => string;
}

/** @param asked what of, by the body */
export const planTask =
  (asked: (body: any) => Asked) =>
  async ({ reads, subject, body, makeId }: Acting): Promise<Plan> => {
    const { state } = await reads.load(device, subject);
    return requestTask(state, { task: makeId(task.prefix), asked: asked(body), expiresInMs: body.expiresInMs });
  };

export const HALT_AT_PERCENT = 20;

/** Of what a selection finds it is found when it begins. */
export async function planBulk({ reads, organisation, subject, body }: Acting): Promise<Plan> {
  const { select, action, ...options } = body as typeof StartBulk.Type;
  const chosen = await chosenBy(reads, organisation, select);
  if ("refused" in chosen) return chosen;
  const { atOnce = LIMITS.atOnce.usual, haltAtPercent = HALT_AT_PERCENT } = options;
  const { expiresInMs = LIMITS.expires.usual } = options;
  const asked =
    action.kind === "apply"
      ? { dryRun: false, ...action }
      : action.kind === "configure"
        ? await wishedBy(reads, organisation, action)
        : action;
  if ("refused" in asked) return asked;
  return [
    { kind: bulk, id: subject, command: { do: "request", asked, atOnce, haltAtPercent, expiresInMs, ...chosen } },
  ];
}

/** By ids, and without secrets: who may name one is asked of people alone. */
async function wishedBy(reads: Reads, organisation: string, action: Extract<BulkAction, { kind: "configure" }>) {
  if (secretsNamed(action.configuration ?? {}).length > 0) {
    return invalid("/body/action/configuration", "names a secret", "Put it into a profile, and add that.");
  }
  const named: Record<string, ReadonlyArray<string>> = {};
  for (const [of, fields] of [
    [profile, NAMED.profile],
    [group, NAMED.group],
  ] as const) {
    for (const field of fields) {
      const references = action[field];
      if (references === undefined) continue;
      const ids = await Promise.all(references.map((reference) => idOf(reads, organisation, of as Kind, reference)));
      const at = ids.indexOf(undefined);
      if (at >= 0) return invalid(`/body/action/${field}/${at}`, `is no ${of.kind} of the organisation`);
      named[field] = ids as string[];
    }
  }
  return { dryRun: false, ...action, ...named };
}

/** Of one that is there. */
async function idOf(reads: Reads, organisation: string, kind: Kind, reference: string): Promise<string | undefined> {
  const id = isId(kind.prefix, reference) ? reference : await reads.holderOf(kind, organisation, reference);
  if (id === null) return undefined;
  const loaded = await reads.load(kind, id);
  return loaded.organisation === organisation && kind.exists(loaded.state) ? id : undefined;
}

async function chosenBy(
  reads: Reads,
  organisation: string,
  { ids, group: of, where }: (typeof StartBulk.Type)["select"],
) {
  if ([ids, of, where].filter((one) => one !== undefined).length !== 1) {
    return invalid("/body/select", "takes exactly one of `ids`, `group` and `where`");
  }
  const idOf = async (kind: Kind, reference: string): Promise<string | undefined> =>
    isId(kind.prefix, reference) ? reference : ((await reads.holderOf(kind, organisation, reference)) ?? undefined);
  const nothing = (kind: Kind): Refusal => ({ refused: "not-found", reason: `There is no such ${kind.kind}.` });
  if (ids !== undefined) {
    const devices: string[] = [];
    for (const reference of ids) {
      const id = await idOf(device, reference);
      if (id === undefined) return nothing(device);
      devices.push(id);
    }
    return { devices: [...new Set(devices)] };
  }
  if (of !== undefined) {
    const id = await idOf(group, of);
    return id === undefined ? nothing(group) : { devices: [], select: { group: id } };
  }
  if (where!.profile === undefined) return { devices: [], select: { where } };
  const id = await idOf(profile, where!.profile);
  return id === undefined ? nothing(profile) : { devices: [], select: { where: { ...where, profile: id } } };
}

const SOAK_MS = 600_000;

/** What a roll-out is asked for, by what of it is known already. */
export function rolloutOf(
  { select: _, title, firmware = {}, stages = STAGES_USUAL, ...options }: typeof StartRollout.Type,
  chosen: Pick<RolloutSpec, "devices" | "select">,
): RolloutSpec {
  const { soakMs = SOAK_MS, haltAtPercent = HALT_AT_PERCENT } = options;
  const { atOnce = LIMITS.atOnce.usual, expiresInMs = LIMITS.expires.usual } = options;
  return {
    name: options.name,
    ...(title === undefined ? {} : { title }),
    firmware,
    ...chosen,
    stages: stageSizes(chosen.devices.length, stages),
    ...(chosen.select === undefined ? {} : { stagesAsked: stages }),
    ...{ soakMs, haltAtPercent, atOnce, expiresInMs },
  };
}

/** Of what a selection finds, and so how many a stage is about, it is found when it begins. */
export async function planRollout({ reads, organisation, subject, body }: Acting): Promise<Plan> {
  const chosen = await chosenBy(reads, organisation, body.select);
  if ("refused" in chosen) return chosen;
  return [
    {
      kind: rollout,
      id: subject,
      command: { do: "start", ...rolloutOf(body, chosen as Pick<RolloutSpec, "devices" | "select">) },
    },
  ];
}

/** Left out: the site that is usual, by mDNS, and nothing is taken in. */
export function scanOf({ mdns, ranges = [], ...given }: typeof StartScan.Type): ScanSpec {
  return { site: SITE_USUAL, adopt: false, tags: [], mdns: mdns ?? ranges.length === 0, ranges, ...given };
}

export const planScan = async ({ subject, body }: Acting): Promise<Plan> => [
  { kind: scan, id: subject, command: { do: "request", spec: scanOf(body) } },
];
