/** What happens by itself: schedules. */

import { Api } from "@millrace/contracts/api.ts";
import { type ActionName, actionNamed } from "@millrace/contracts/automation/actions.ts";
import { type Action, subjectKind, subjectOf } from "@millrace/domain/automation/actions.ts";
import { dueTimes, jitterOf } from "@millrace/domain/automation/due.ts";
import { type Maker, schedule } from "@millrace/domain/automation/schedule.ts";
import { schedulesView } from "@millrace/domain/automation/views.ts";
import { readsOf } from "@millrace/eventlog/execute.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { forbidden } from "../access.ts";
import { inWords, seenOf } from "../answers.ts";
import { type Asked, mayAlso } from "../asked.ts";
import { commands, type Handle, handle, invalidInput, json, positionOf, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import { type Gateway, lineageOf, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";

export const makerOf = ({ token }: Asked): Maker => ({ token: token!.id, name: token!.name });
const DUE_USUAL = 10;

/**
 * Whoever makes something that acts by itself must be able to do what it does. What does not read is left to the rules.
 * @throws Failed (forbidden; invalid input where there is nothing that it could be done to)
 */
export async function mayDo(gateway: Gateway, asked: Asked, all: ReadonlyArray<Action>): Promise<void> {
  const organisation = asked.organisation!.id;
  for (const [i, { action, on, body }] of all.entries()) {
    const declared = actionNamed(action);
    if (declared === undefined || (declared.target !== null && on === undefined)) continue;
    for (const further of declared.also?.(body) ?? []) if (!mayAlso(asked, further)) fail(forbidden(further));
    // Only when it is done is known to what: then its maker's permission for that is looked at.
    if (on?.includes("{{")) {
      if (asked.powers!.reach(declared.permission, organisation) === undefined) fail(forbidden(declared.permission));
      continue;
    }
    const kind = subjectKind(action as ActionName);
    const id =
      declared.target === null || on === undefined
        ? undefined
        : await subjectOf(readsOf(gateway.log), organisation, action as ActionName, on);
    const loaded = id === undefined ? undefined : await gateway.log.aggregates.load(kind, id);
    const own = loaded?.organisation === organisation && kind.exists(loaded.state);
    const lineage = own ? await lineageOf(gateway, kind, id!, organisation) : [];
    if (!mayAlso(asked, declared.permission, ...lineage)) fail(forbidden(declared.permission));
    if (declared.target !== null && !own) {
      fail(invalidInput(`/body/commands/${i}/on`, `there is no such ${kind.kind}`, "Name one by its id or name."));
    }
  }
}

export const automationRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "automation", (handlers) => {
    const schedules = commands(gateway, schedule);
    const pastSchedules = past(gateway, schedule);
    const commandsOf = async (id: string) => (await gateway.log.aggregates.load(schedule, id)).state.commands;
    return handlers
      .handle(
        "createSchedule",
        schedules.create(async ({ payload }, asked) => {
          await mayDo(gateway, asked, payload.commands as ReadonlyArray<Action>);
          return { do: "create", spec: payload, maker: makerOf(asked) };
        }),
      )
      .handle("listSchedules", list(gateway, schedulesView, { query: inWords }))
      .handle("getSchedule", pastSchedules.get())
      .handle("dueTimesOfSchedule", dueTimesHandler(gateway))
      .handle(
        "changeSchedule",
        schedules.change(async ({ payload }, seen, asked, id) => {
          const { title: _, ...acting } = payload;
          // Other times are other powers over what it does: both are the changer's from now on.
          if (Object.keys(acting).length > 0) {
            await mayDo(gateway, asked, (payload.commands as ReadonlyArray<Action>) ?? (await commandsOf(id)));
          }
          return { do: "change", spec: payload, maker: makerOf(asked), ...seenOf(seen) };
        }),
      )
      .handle(
        "pauseSchedule",
        schedules.act((_, seen) => ({ do: "pause", ...seenOf(seen) })),
      )
      .handle(
        "resumeSchedule",
        schedules.act((_, seen) => ({ do: "resume", ...seenOf(seen) })),
      )
      .handle(
        "runSchedule",
        schedules.act(
          async (_, seen, asked, id) => {
            await mayDo(gateway, asked, await commandsOf(id));
            return { do: "run", ...seenOf(seen) };
          },
          { status: 202 },
        ),
      )
      .handle(
        "deleteSchedule",
        schedules.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
      )
      .handle("historyOfSchedule", history(gateway, schedule))
      .handle("diffSchedule", pastSchedules.diff());
  });

const dueTimesHandler = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { seq, state } = await loadOwn(gateway, schedule, asked, (request.params as { id: string }).id);
    const { limit = DUE_USUAL } = (request.query ?? {}) as { limit?: number };
    const { id, when, jitterMs, after, paused } = state;
    const rfc = (ms: number) => new Date(ms).toISOString();
    const from = paused ? Date.now() : Date.parse(after);
    const items = dueTimes(when!, from, limit).map((due) => ({
      due: rfc(due),
      at: rfc(due + jitterOf(id, due, jitterMs)),
    }));
    return json({ items }, { headers: { "millrace-position": positionOf(schedule.context, seq) } });
  });
