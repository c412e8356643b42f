/** Webhooks: what people ask of them; what is sent is the outbox's. */
import { Api } from "@millrace/contracts/api.ts";

import { LIMITS } from "@millrace/contracts/integrations/values.ts";
import { webhooksView } from "@millrace/domain/integrations/views.ts";
import { type WebhookState, webhook } from "@millrace/domain/integrations/webhook.ts";
import { newSecret } from "@millrace/eventlog/webhook-signature.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { inWords, seenOf } from "../answers.ts";
import type { Asked } from "../asked.ts";
import { commands } from "../command.ts";
import type { Gateway } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";
import { checkAddress, destinations, headPosition, mayRead, mustRead, readFrom } from "./destinations.ts";

const HOUR_MS = 3_600_000;

/** Secrets that are being made, until the one answer that shows them. */
const shownOnce = new WeakMap<Asked, string>();

const show = (
  entity: Readonly<Record<string, unknown>>,
  { first, asked }: { readonly first: boolean; readonly asked: Asked },
): unknown => (first && shownOnce.has(asked) ? { ...entity, secret: shownOnce.get(asked) } : entity);

export const webhookRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "webhooks", (handlers) => {
    const webhooks = commands(gateway, webhook);
    const before = past(gateway, webhook);
    const shared = destinations(gateway, webhook);
    const seal = async (asked: Asked, id: string) => {
      const secret = newSecret();
      shownOnce.set(asked, secret);
      return shared.seal(asked, id, secret);
    };
    return handlers
      .handle(
        "createWebhook",
        webhooks.create(
          async ({ payload: { from, ...payload } }, asked, id) => {
            checkAddress(gateway, payload.url);
            const events = mayRead(asked, payload.events ?? {});
            const begin = from === undefined ? await headPosition(gateway) : readFrom(from);
            await shared.free(asked, payload.name, id);
            const spec = { description: "", ...payload, events };
            return { do: "create", spec, from: begin, sealed: await seal(asked, id) };
          },
          { show },
        ),
      )
      .handle("listWebhooks", list(gateway, webhooksView, { query: inWords }))
      .handle("getWebhook", before.get())
      .handle(
        "changeWebhook",
        webhooks.change(async ({ payload }, seen, asked, id) => {
          if (payload.url !== undefined) checkAddress(gateway, payload.url);
          const { spec } = (await shared.there(asked, id)) as WebhookState;
          // Who says where it goes, or what, must be allowed to read what is sent.
          if (payload.events === undefined) mustRead(asked, spec!.events);
          const events = payload.events === undefined ? {} : { events: mayRead(asked, payload.events) };
          return { do: "change", spec: { ...payload, ...events }, ...seenOf(seen) };
        }),
      )
      .handle("deleteWebhook", shared.remove())
      .handle("historyOfWebhook", history(gateway, webhook))
      .handle("diffWebhook", before.diff())
      .handle(
        "pauseWebhook",
        webhooks.act((_, seen) => ({ do: "pause", ...seenOf(seen) })),
      )
      .handle(
        "resumeWebhook",
        webhooks.act(({ payload }, seen) => ({ do: "resume", skip: payload.skip ?? false, ...seenOf(seen) })),
      )
      .handle(
        "rotateWebhookSecret",
        webhooks.act(
          async ({ payload: { overlapHours = LIMITS.overlapHours.usual } }, seen, asked, id) => {
            await shared.there(asked, id);
            const until = new Date(Date.now() + overlapHours * HOUR_MS).toISOString();
            return { do: "rotate", sealed: await seal(asked, id), until, ...seenOf(seen) };
          },
          { show },
        ),
      )
      .handle(
        "testWebhook",
        webhooks.act((_, seen) => ({ do: "test", ...seenOf(seen) }), { status: 202 }),
      )
      .handle(
        "replayWebhook",
        webhooks.act(({ payload }, seen) => ({ do: "replay", ...readFrom(payload), ...seenOf(seen) }), { status: 202 }),
      )
      .handle("deliveriesOfWebhook", shared.deliveries())
      .handle("outboxOfWebhook", shared.outbox());
  });
