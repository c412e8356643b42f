/** What the API shows of webhooks, and of what was sent to them. */
import * as Schema from "effect/Schema";
import { entity, Time } from "../http.ts";
import { Id, Name } from "../ids.ts";
import { EntityShown } from "./events.ts";
import { Description, EventsFilter, StateName, Url } from "./values.ts";

const { optionalKey } = Schema;

export const ParkedEntity = Schema.Struct({
  ...EntityShown.fields,
  event: Schema.String,
  reason: Schema.String,
  since: Time,
}).annotate({
  identifier: "ParkedEntity",
  description: "An entity whose events wait behind one that failed to the last",
});

/** Status of every destination. */
export const destinationStatus = {
  state: StateName,
  reason: optionalKey(Schema.String.annotate({ description: "Why it is in that state" })),
  since: Time,
  parked: Schema.Array(ParkedEntity),
};

export const WebhookSpec = Schema.Struct({ name: Name, url: Url, description: Description, events: EventsFilter });
export type WebhookSpec = typeof WebhookSpec.Type;

export const Webhook = entity(
  Id("whk", "Webhook id"),
  WebhookSpec,
  Schema.Struct({
    ...destinationStatus,
    oldSecretUntil: optionalKey(Time.annotate({ description: "Until then two secrets sign" })),
  }),
).annotate({ identifier: "Webhook", description: "Where events are sent, without its secret" });

export const WebhookWithSecret = Schema.Struct({
  ...Webhook.fields,
  secret: optionalKey(
    Schema.String.annotate({
      description: "`whsec_…`: what deliveries are signed with. Shown this once, and not in a repeated answer.",
    }),
  ),
}).annotate({ identifier: "WebhookWithSecret" });

/** One try to deliver something. */
export const Delivery = Schema.Struct({
  at: Time,
  message: Schema.String.annotate({ description: "`webhook-id` of what was sent: the same for every try" }),
  event: optionalKey(Schema.String.annotate({ description: "Id of the event, `<sequence>.<index>` in its context" })),
  type: Schema.String.annotate({ description: "Its type" }),
  source: optionalKey(Schema.String.annotate({ description: "Its source" })),
  attempt: Schema.Int.annotate({ description: "Counts the tries of it, from 1" }),
  outcome: Schema.Literals(["delivered", "failed"]),
  status: optionalKey(Schema.Int.annotate({ description: "HTTP status of the answer, where there was one" })),
  reason: optionalKey(Schema.String.annotate({ description: "Why it failed" })),
  durationMs: Schema.Int,
  answer: optionalKey(Schema.String.annotate({ description: "Beginning of the answer" })),
  nextAt: optionalKey(Time.annotate({ description: "When it is tried again" })),
}).annotate({ identifier: "Delivery" });
export type Delivery = typeof Delivery.Type;
export const Deliveries = Schema.Struct({ items: Schema.Array(Delivery) }).annotate({
  identifier: "Deliveries",
  description: "The newest first. Some hundred are kept of each",
});

export const Held = Schema.Struct({
  ...EntityShown.fields,
  after: Schema.String.annotate({ description: "Place of its last event that was delivered or passed" }),
  attempts: Schema.Int.annotate({ description: "Tries of its next event; 0: it is on its way" }),
  nextAt: optionalKey(Time),
}).annotate({ identifier: "HeldEntity" });
export const Outbox = Schema.Struct({
  position: optionalKey(
    Schema.String.annotate({ description: "Everything up to here was delivered, but for what is held" }),
  ),
  held: Schema.Array(Held),
  gathered: optionalKey(
    Schema.Struct({
      events: Schema.Int.annotate({ description: "How many" }),
      since: Time.annotate({ description: "When the first of them came" }),
    }).annotate({
      description: "Of channels: events that are told together, when quiet hours, digest and flood cap allow it",
    }),
  ),
  throttledUntil: optionalKey(Time.annotate({ description: "The receiver asked to be left alone until then" })),
  writtenAt: optionalKey(Time.annotate({ description: "When this was written; a delivery may be a second ahead" })),
}).annotate({ identifier: "Outbox", description: "How far deliveries have come, and what waits behind a failure" });
