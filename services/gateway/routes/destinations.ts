/** What routes of webhooks and channels share: who may send what where, secrets, and what the outbox has done. */
import type { EventsFilter, From } from "@millrace/contracts/integrations/values.ts";
import { encodePosition, type LogPlace, WHOLE_COMMIT } from "@millrace/contracts/position.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import type { DestinationCommand, DestinationState } from "@millrace/domain/integrations/destination.ts";
import { heldShare } from "@millrace/domain/integrations/pace.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { Sealed } from "@millrace/domain/sealed.ts";
import { placeText } from "@millrace/eventlog/cloudevents.ts";
import { readDeliveries } from "@millrace/eventlog/deliveries.ts";
import { readClaim } from "@millrace/eventlog/execute.ts";
import { readRecord } from "@millrace/eventlog/outbox-records.ts";
import { Erased } from "@millrace/eventlog/sealing.ts";
import { forbidden } from "../access.ts";
import { type Asked, mayAlso } from "../asked.ts";
import { commands, type Handle, handle, invalidInput, json, type Request } from "../command.ts";
import { fail, problemOfRefusal } from "../failures.ts";
import { type Gateway, resolve } from "../gateway.ts";

type State = DestinationState<any>;
type Destination = Kind<State, DestinationCommand<any>>;

/** Refuses what can be seen to be forbidden; names are judged when they are resolved, by who sends. @throws Failed (invalid-input) */
export function checkAddress({ addresses }: Gateway, url: string, pointer = "/body/url"): void {
  if (!URL.canParse(url)) return; // The rules say what is wrong with it.
  const refused = addresses.refusedIn(url);
  if (refused === undefined) return;
  fail(
    invalidInput(
      pointer,
      `leads to ${refused}, which is an address of this machine, its network, or none of the Internet`,
      "Give a public address, or have the operator allow this one (MILLRACE_WEBHOOK_ALLOW).",
    ),
  );
}

/**
 * What is sent out must be readable by who sends it out.
 * @returns the filter: without contexts it means all, and is told to mean those that may be read where these are not all
 * @throws Failed (forbidden)
 */
export function mayRead(asked: Asked, filter: EventsFilter): EventsFilter {
  const holds = (context: string, ...resources: string[]) => mayAlso(asked, `${context}:read`, ...resources);
  const readable = (context: string) =>
    holds(context) || (filter.id !== undefined && filter.id.every((id) => holds(context, id)));
  if (filter.context !== undefined) {
    const refused = filter.context.find((context) => !readable(context));
    return refused === undefined ? filter : fail(forbidden(`${refused}:read`));
  }
  const all = Object.keys(CONTEXTS);
  const context = all.filter(readable);
  if (context.length === 0) return fail(forbidden(`${all[0]}:read`));
  return context.length === all.length ? filter : { ...filter, context };
}

/** The same of a filter that stays as it is: who says where it goes must be able to read all of it. @throws Failed (forbidden) */
export const mustRead = (asked: Asked, filter: EventsFilter): EventsFilter =>
  mayRead(asked, { ...filter, context: filter.context ?? Object.keys(CONTEXTS) });

/** The position of this moment: everything that happens from now on comes after it. @throws LogUnavailable */
export async function headPosition({ log }: Gateway): Promise<{ readonly position: string }> {
  const places = await Promise.all(
    Object.keys(CONTEXTS).map(
      async (context): Promise<[string, LogPlace]> => [context, { seq: await log.head(context), index: WHOLE_COMMIT }],
    ),
  );
  return { position: encodePosition(Object.fromEntries(places)) };
}

/** @throws Failed (invalid-input) */
export function readFrom(from: From): From {
  if (from.position === undefined || from.time === undefined) return from;
  return fail(invalidInput("/body/time", "cannot be given together with `position`", "Give one of the two."));
}

export function destinations(gateway: Gateway, kind: Destination) {
  const notThere = new NotFound({ detail: `There is no such ${kind.kind}.` });
  const all = commands(gateway, kind);
  const there = async (asked: Asked, reference: string): Promise<State> => {
    const organisation = asked.organisation!.id;
    const loaded = await gateway.log.aggregates.load(kind, await resolve(gateway, kind, organisation, reference));
    return loaded.organisation === organisation && loaded.state.exists ? loaded.state : fail(notThere);
  };
  return {
    there,
    /** Sealing makes a key: only where the name is free. @throws Failed (conflict) */
    free: async (asked: Asked, name: string, id: string): Promise<void> => {
      const { holder } = await readClaim(gateway.log, kind.context, kind.nameClaim!(asked.organisation!.id, name));
      if (holder === null || holder === id) return;
      const reason = `The organisation has a ${kind.kind} called "${name}".`;
      fail(problemOfRefusal({ refused: "conflict", reason, fix: "Change that one, or choose another name." }));
    },
    seal: async (asked: Asked, id: string, value: string): Promise<Sealed> => {
      try {
        return await gateway.sealing.seal({ organisation: asked.organisation!.id, subject: id }, value);
      } catch (error) {
        if (error instanceof Erased) return fail(notThere);
        throw error;
      }
    },
    remove: <R extends Request>(): Handle<R> =>
      all.remove((_, seen) => ({ do: "delete", ...(seen === undefined ? {} : { seen }) }), {
        after: (asked, id) => gateway.sealing.erase({ organisation: asked.organisation!.id, subject: id }),
      }),
    outbox: <R extends Request>(): Handle<R> =>
      handle(gateway, async ({ params }, asked) => {
        const { id } = await there(asked, (params as { id: string }).id);
        const record = (await readRecord(gateway.log.nats, id)).record;
        if (record === undefined) return json({ held: [] });
        return json({
          position: encodePosition(record.places),
          held: record.held.map(({ context, kind, id, after, attempts, nextAt }) => ({
            ...{ context, kind, id, after: placeText(after), attempts: Math.max(0, attempts) },
            ...(nextAt === null || nextAt === 0 ? {} : { nextAt: new Date(nextAt).toISOString() }),
          })),
          ...heldShare(record.pace ?? {}),
          ...(record.throttledUntil > Date.now()
            ? { throttledUntil: new Date(record.throttledUntil).toISOString() }
            : {}),
          writtenAt: new Date(record.writtenAt).toISOString(),
        });
      }),
    deliveries: <R extends Request>(): Handle<R> =>
      handle(gateway, async ({ params, query }, asked) => {
        const { id } = await there(asked, (params as { id: string }).id);
        const { limit = 50, message } = (query ?? {}) as { limit?: number; message?: string };
        const what = { organisation: asked.organisation!.id, destination: id, limit, message };
        return json({ items: await readDeliveries(gateway.log.nats, what) });
      }),
  };
}
