/** Asking for tasks, bulk operations and scans without a request of that moment: by schedules, rules and processes. Pure but for what it reads. */
import type { StartBulk } from "@millrace/contracts/devices/operations.ts";
import type { StartScan } from "@millrace/contracts/devices/scans.ts";
import type { Asked } from "@millrace/contracts/devices/task-parts.ts";
import { LIMITS, SITE_USUAL } from "@millrace/contracts/devices/values.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { invalid, type Refusal } from "../decider.ts";
import type { Kind } from "../kind.ts";
import type { Plan, Reads } from "../reads.ts";
import { bulk } from "./bulk.ts";
import { device } from "./device.ts";
import { group } from "./group.ts";
import { profile } from "./profile.ts";
import { requestTask } from "./request.ts";
import { type ScanSpec, scan } from "./scan.ts";
import { task } from "./task.ts";

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
  const asked = action.kind === "apply" ? { dryRun: false, ...action } : action;
  return [
    { kind: bulk, id: subject, command: { do: "request", asked, atOnce, haltAtPercent, expiresInMs, ...chosen } },
  ];
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

/** Left out: the site that is usual, by mDNS, and nothing is taken in. */
export function scanOf({ mdns, ranges = [], ...given }: typeof StartScan.Type): ScanSpec {
  return { site: SITE_USUAL, adopt: false, tags: [], mdns: mdns ?? ranges.length === 0, ranges, ...given };
}

export const planScan = async ({ subject, body }: Acting): Promise<Plan> => [
  { kind: scan, id: subject, command: { do: "request", spec: scanOf(body) } },
];
