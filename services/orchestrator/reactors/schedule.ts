/** Schedules: when one is due its firing stands in the log first; then its commands are done, each with an id made of schedule and due time. */

import { type ScheduleState, schedule } from "@millrace/domain/automation/schedule.ts";
import type { ScheduleStep } from "@millrace/domain/automation/schedule-decide.ts";
import { nextOfSchedule, type ScheduleCommand } from "@millrace/domain/automation/schedule-decide.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Reactor } from "@millrace/eventlog/worker.ts";
import { doCommand } from "./doing.ts";

export const scheduleReactor = (log: EventLog): Reactor<ScheduleState, ScheduleCommand, ScheduleStep> => ({
  kind: schedule,
  next: nextOfSchedule,
  async perform(step, work) {
    if (step.kind === "fire") {
      faultPoint("schedule.fire.before");
      await work.record({ do: "fire", due: step.due, nowMs: Date.now() });
      faultPoint("schedule.fire.after");
      return { again: true };
    }
    const { state } = work.loaded;
    const { due, cause, hops } = state.firing!;
    const key = `${work.id}.${due}.${cause}`;
    faultPoint("schedule.command.before");
    const report = await doCommand(log, step, {
      organisation: work.organisation,
      actor: { kind: "service", id: work.id, name: state.name },
      maker: state.maker.token,
      key,
      correlation: key,
      causation: key,
      hops,
    });
    if ("retryAfterMs" in report) return report;
    faultPoint("schedule.command.after");
    await work.record({ ...report, due });
    faultPoint("schedule.command.recorded");
    return { again: true };
  },
});
