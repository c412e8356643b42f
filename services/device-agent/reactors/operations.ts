/**
 * The reactors of bulk operations and roll-outs: they make tasks, so many at once, and bulk operations, stage by stage. Whatever is made is
 * named by what it is made for: begun again after a death, it meets itself.
 */
import type { Selection } from "@millrace/contracts/devices/selection.ts";
import type { Asked as TaskAsked } from "@millrace/contracts/devices/task-parts.ts";
import {
  type BulkCommand,
  type BulkSpec,
  type BulkState,
  type BulkStep,
  bulk,
  nextOfBulk,
} from "@millrace/domain/devices/bulk.ts";
import { type DeviceState, device } from "@millrace/domain/devices/device.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { requestTask } from "@millrace/domain/devices/request.ts";
import {
  nextOfRollout,
  type RolloutCommand,
  type RolloutState,
  type RolloutStep,
  rollout,
  stageOf,
} from "@millrace/domain/devices/rollout.ts";
import { isSelected } from "@millrace/domain/devices/sync-documents.ts";
import { task } from "@millrace/domain/devices/task.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import { type Reactor, RecordRefused, type Verdict, type Work } from "@millrace/eventlog/worker.ts";
import { madeId } from "./made-id.ts";
import { type BulkWork, configureDevice, reasonOf } from "./wishes.ts";

const AGAIN: Verdict = { again: true };

export const bulkReactor = (log: EventLog, index: LiveIndex): Reactor<BulkState, BulkCommand, BulkStep> => ({
  kind: bulk,
  next: nextOfBulk,
  perform: async (step, work) => {
    if (step.kind === "select") return select(log, index, work, work.loaded.state.spec!.select!);
    if (step.kind === "configure") return configureDevice(log, step.device, work);
    if (step.kind === "ask") await askDevice(log, step.device, work);
    else await complete(work);
    return AGAIN;
  },
});

const INDEX_MS = 10_000;
const RETRY_MS = 2_000;

/** What a selection finds at this moment. */
async function select<S, C>(
  log: EventLog,
  index: LiveIndex,
  work: Work<S, C | { readonly do: "select"; readonly devices: ReadonlyArray<string> }>,
  { group: id, where }: NonNullable<BulkSpec["select"]>,
): Promise<Verdict> {
  if (!(await index.reached(await log.head(device.context), INDEX_MS))) {
    return { retryAfterMs: RETRY_MS, reason: "Which devices there are is not read yet." };
  }
  const of = id === undefined ? undefined : index.get(group, id)?.state;
  const isIn = (state: DeviceState): boolean => {
    if (id === undefined) return isSelected((where ?? {}) as Selection, state);
    if (of === undefined || of.organisation !== work.organisation) return false;
    return of.spec.selection === null ? state.groups.includes(id) : isSelected(of.spec.selection, state);
  };
  const devices = [...index.all(device)]
    .filter(({ organisation, state }) => organisation === work.organisation && isIn(state))
    .map((entry) => entry.id);
  faultPoint("bulk.select.before");
  await work.record({ do: "select", devices });
  faultPoint("bulk.select.recorded");
  return AGAIN;
}

async function askDevice(log: EventLog, id: string, work: BulkWork): Promise<void> {
  const { spec, createdAt } = work.loaded.state;
  const { state } = await log.aggregates.load(device, id);
  const made = madeId(task.prefix, createdAt, work.id, id);
  const { asked, expiresInMs } = spec!;
  const parts = requestTask(state, { task: made, asked: asked as TaskAsked, expiresInMs, bulk: work.id });
  faultPoint("bulk.ask.before");
  if ("refused" in parts) await work.record({ do: "refuse", device: id, reason: reasonOf(parts) });
  else {
    try {
      await work.record({ do: "ask", device: id, task: made }, parts);
    } catch (error) {
      // Another task took its last place meanwhile, or it is not there any more.
      if (!(error instanceof RecordRefused)) throw error;
      await work.record({ do: "refuse", device: id, reason: reasonOf(error.refusal) });
    }
  }
  faultPoint("bulk.ask.recorded");
}

async function complete(work: BulkWork): Promise<void> {
  const { spec, counts } = work.loaded.state;
  const end: RolloutCommand = { do: "endStage", bulk: work.id, counts };
  faultPoint("bulk.complete.before");
  await work.record(
    { do: "complete" },
    spec?.rollout === undefined ? [] : [{ kind: rollout, id: spec.rollout, command: end }],
  );
  faultPoint("bulk.complete.recorded");
}

export const rolloutReactor = (
  log: EventLog,
  index: LiveIndex,
): Reactor<RolloutState, RolloutCommand, RolloutStep> => ({
  kind: rollout,
  next: nextOfRollout,
  perform: async (step, work) => {
    const { state } = work.loaded;
    if (step.kind === "select") return select(log, index, work, state.spec!.select!);
    const { stage } = step;
    const made = madeId(bulk.prefix, state.createdAt, work.id, `${stage}`);
    faultPoint("rollout.stage.before");
    await work.record({ do: "beginStage", stage, bulk: made }, [{ kind: bulk, id: made, command: stageOf(state) }]);
    faultPoint("rollout.stage.recorded");
    return AGAIN;
  },
});
