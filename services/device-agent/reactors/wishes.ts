/** A bulk operation that changes what is wanted: one device after the other, each with the operation's own record, all or nothing. */
import type { Wish } from "@millrace/contracts/devices/wishes.ts";
import { type Actor, isRefusal, type Refusal, rule } from "@millrace/domain/decider.ts";
import type { BulkCommand, BulkState } from "@millrace/domain/devices/bulk.ts";
import { type DeviceState, device } from "@millrace/domain/devices/device.ts";
import type { DeviceCommand } from "@millrace/domain/devices/device-command.ts";
import { wished } from "@millrace/domain/devices/wish.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { RecordRefused, type Verdict, type Work } from "@millrace/eventlog/worker.ts";
import { resolvedOf } from "./profiles.ts";

export type BulkWork = Work<BulkState, BulkCommand>;

/** In one line, for whoever looks at what came of it. */
export function reasonOf(refusal: Refusal): string {
  const [fault] = refusal.refused === "invalid" ? refusal.errors : [];
  if (fault !== undefined) return `${fault.pointer} ${fault.detail}`;
  return "reason" in refusal ? refusal.reason : "It cannot be asked of it now.";
}

const AGAIN: Verdict = { again: true };

/** What of the device it takes, and whether that changes anything; or why it cannot be wished of it. */
async function partOf(
  log: EventLog,
  state: DeviceState,
  wish: Wish,
  work: BulkWork,
): Promise<{ readonly command: DeviceCommand; readonly changed: boolean } | Refusal> {
  if (!state.exists || state.organisation !== work.organisation) {
    return { refused: "not-found", reason: "There is no such device." };
  }
  const after = wished(state, wish);
  const { configuration, profiles, values } = { ...state, ...after };
  const isWanted = "configuration" in after || "profiles" in after || "values" in after;
  const resolved =
    isWanted && profiles.length > 0 ? await resolvedOf(log, { configuration, profiles, values }) : undefined;
  if (resolved !== undefined && "missing" in resolved) {
    return rule(
      "values-missing",
      `Its profiles use values that it does not have: ${resolved.missing.slice(0, 10).join(", ")}.`,
      "Give them in `values`.",
    );
  }
  const more = resolved === undefined ? {} : { resolved };
  const command = { do: "wish", seen: state.generation, ...after, ...more } satisfies DeviceCommand;
  const actor: Actor = work.loaded.state.requestedBy!;
  const around = { organisation: work.organisation, actor, now: state.updatedAt };
  const decided = device.decider.decide(command, state, around);
  return isRefusal(decided) ? decided : { command, changed: decided.events.length > 0 };
}

export async function configureDevice(log: EventLog, id: string, work: BulkWork): Promise<Verdict> {
  const { asked } = work.loaded.state.spec!;
  if (asked.kind !== "configure") throw new Error(`${work.id} wishes nothing`);
  const { kind: _, dryRun, ...wish } = asked;
  const { state } = await log.aggregates.load(device, id);
  const part = await partOf(log, state, wish, work);
  faultPoint("bulk.configure.before");
  if (isRefusal(part)) await work.record({ do: "refuse", device: id, reason: reasonOf(part) });
  else {
    const { changed, command } = part;
    const also = changed && !dryRun ? [{ kind: device, id, command }] : [];
    try {
      await work.record({ do: "configured", device: id, changed }, also);
    } catch (error) {
      // Somebody else has changed it meanwhile: it is worked out anew.
      if (error instanceof RecordRefused && error.refusal.refused === "precondition") return AGAIN;
      if (!(error instanceof RecordRefused)) throw error;
      await work.record({ do: "refuse", device: id, reason: reasonOf(error.refusal) });
    }
  }
  faultPoint("bulk.configure.recorded");
  return AGAIN;
}
