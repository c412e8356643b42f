/** Subscribers: credentials for NATS. Who lets them in, and what they are answered there, is the gate's (subscribers/). */
import { randomBytes } from "node:crypto";
import { Api } from "@millrace/contracts/api.ts";
import { inboxPrefix, readSubject } from "@millrace/contracts/integrations/subscribers.ts";
import { LIMITS } from "@millrace/contracts/integrations/values.ts";
import { makeToken } from "@millrace/contracts/token.ts";
import { subscriber } from "@millrace/domain/integrations/subscriber.ts";
import { subscribersView } from "@millrace/domain/integrations/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import type { Asked } from "../asked.ts";
import { commands, handle, json } from "../command.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { hashOf } from "../identity.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";
import type { Gate } from "../subscribers/gate.ts";
import { rightsOf } from "../subscribers/rights.ts";
import { mayRead, mustRead } from "./destinations.ts";

const HOUR_MS = 3_600_000;

/** Passwords that are being made, until the one answer that shows them. */
const shownOnce = new WeakMap<Asked, string>();

function make(asked: Asked): { readonly hash: string; readonly last8: string; readonly maker: string } {
  const secret = makeToken("mrs", randomBytes);
  shownOnce.set(asked, secret);
  return { hash: hashOf(secret), last8: secret.slice(-8), maker: asked.token!.id };
}

const show = (
  entity: Readonly<Record<string, unknown>>,
  { first, asked }: { readonly first: boolean; readonly asked: Asked },
): unknown => (first && shownOnce.has(asked) ? { ...entity, secret: shownOnce.get(asked) } : entity);

const given = (seen: number | undefined) => (seen === undefined ? {} : { seen });

export const subscriberRoutes = (gateway: Gateway, gate: () => Gate | undefined) =>
  HttpApiBuilder.group(Api, "subscribers", (handlers) => {
    const subscribers = commands(gateway, subscriber);
    const before = past(gateway, subscriber);
    const after = (_: Asked, id: string) => gate()?.settled(id) ?? Promise.resolve();
    /** Its filter as it is: whoever gets hold of what reads it must be able to read it. */
    const eventsOf = async (asked: Asked, id: string) =>
      (await loadOwn(gateway, subscriber, asked, id)).state.spec!.events;
    return handlers
      .handle(
        "createSubscriber",
        subscribers.create(
          ({ payload: { expiresAt = null, ...payload } }, asked) => {
            const events = mayRead(asked, payload.events ?? {});
            return { do: "create", spec: { description: "", ...payload, events, expiresAt }, ...make(asked) };
          },
          { show, after },
        ),
      )
      .handle("listSubscribers", list(gateway, subscribersView))
      .handle("getSubscriber", before.get())
      .handle(
        "changeSubscriber",
        subscribers.change(
          async ({ payload }, seen, asked, id) => {
            const events = payload.events === undefined ? undefined : mayRead(asked, payload.events);
            // A longer life is as good as a new one.
            if (events === undefined && payload.expiresAt !== undefined) mustRead(asked, await eventsOf(asked, id));
            const takesOver = events !== undefined || payload.expiresAt !== undefined;
            return {
              do: "change",
              spec: { ...payload, ...(events === undefined ? {} : { events }) },
              ...(takesOver ? { maker: asked.token!.id } : {}),
              ...given(seen),
            };
          },
          { after },
        ),
      )
      .handle(
        "revokeSubscriber",
        subscribers.remove((_, seen) => ({ do: "revoke", ...given(seen) }), { after }),
      )
      .handle(
        "rotateSubscriberSecret",
        subscribers.act(
          async ({ payload: { overlapHours = LIMITS.overlapHours.usual } }, seen, asked, id) => {
            mustRead(asked, await eventsOf(asked, id));
            const until = new Date(Date.now() + overlapHours * HOUR_MS).toISOString();
            return { do: "rotate", until, ...make(asked), ...given(seen) };
          },
          { show, after },
        ),
      )
      .handle(
        "connectionsOfSubscriber",
        handle(gateway, async ({ params }, asked) => {
          const { id, state } = await loadOwn(gateway, subscriber, asked, (params as { id: string }).id);
          const may = rightsOf(gateway.identity, state, Date.now());
          return json({
            servers: gate()?.servers ?? [],
            user: id,
            inboxPrefix: inboxPrefix(id),
            read: readSubject(id),
            live: may?.live ?? [],
            contexts: may?.contexts ?? [],
            connections: (gate()?.connectionsOf(id) ?? []).map(({ since, address, name, library }) => ({
              ...(since === undefined ? {} : { since: new Date(since).toISOString() }),
              address,
              ...(name === undefined ? {} : { name }),
              ...(library === undefined ? {} : { library }),
            })),
          });
        }),
      )
      .handle("historyOfSubscriber", history(gateway, subscriber))
      .handle("diffSubscriber", before.diff());
  });
