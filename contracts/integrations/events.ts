/** What the world sees of webhooks and channels. Single deliveries are no events: they stand in a log of their own. */
import * as Schema from "effect/Schema";
import type { PublicEvent } from "../events.ts";
import { STATES } from "./values.ts";

const text = (description: string) => Schema.String.annotate({ description });
const texts = Schema.optionalKey(Schema.Array(Schema.String));

export const FilterShown = Schema.Struct({ context: texts, kind: texts, id: texts, type: texts }).annotate({
  description: "Which events it is sent",
});

/** Whose events are held back by themselves. */
export const EntityShown = Schema.Struct({ context: text("Its context"), kind: text("Its kind"), id: text("Its id") });

export const Paused = Schema.Struct({});
export const Resumed = Schema.Struct({
  from: Schema.Literals(STATES).annotate({ description: "What it was before" }),
  skip: Schema.Boolean.annotate({ description: "Events that had failed to the last are passed over" }),
});
export const ReplayRequested = Schema.Struct({
  position: Schema.optionalKey(text("From this position on")),
  time: Schema.optionalKey(text("From this time on, RFC 3339")),
});
export const TestRequested = Schema.Struct({ test: Schema.Int.annotate({ description: "How many there were" }) });
export const Disabled = Schema.Struct({ reason: text("What the receiver answered") });
export const Parked = Schema.Struct({ reason: text("Why the last try failed") });
export const EntityParked = Schema.Struct({
  entity: EntityShown,
  event: text("Id of the event that could not be delivered"),
  reason: text("Why the last try failed"),
});
export const GapMet = Schema.Struct({
  context: text("Whose events were gone"),
  resumedAt: text("Id of the oldest event that was left, or the place before it"),
});
export const Deleted = Schema.Struct({ name: Schema.String });

/** What happens to every destination, whichever kind. @param noun e.g. `Webhook` @param a e.g. `A webhook` */
export const sharedEvents = (noun: string, a: string): Record<string, PublicEvent> => ({
  [`${noun}Paused`]: { version: 1, data: Paused, description: `${a} was paused: nothing is sent until it is resumed.` },
  [`${noun}Resumed`]: { version: 1, data: Resumed, description: `${a} was resumed, where it had stopped.` },
  [`${noun}ReplayRequested`]: {
    version: 1,
    data: ReplayRequested,
    description: `${a} is sent everything again from a position or time on.`,
  },
  [`${noun}TestRequested`]: { version: 1, data: TestRequested, description: `${a} is sent a test.` },
  [`${noun}Disabled`]: {
    version: 1,
    data: Disabled,
    description: `${a} was disabled: the receiver said that it is gone.`,
  },
  [`${noun}Parked`]: {
    version: 1,
    data: Parked,
    description: `${a} was parked: the last retry failed. It waits to be resumed by hand.`,
  },
  [`${noun}EntityParked`]: {
    version: 1,
    data: EntityParked,
    description: `${a} gets no more of one entity: its event failed to the last retry, while others went through.`,
  },
  [`${noun}GapMet`]: {
    version: 1,
    data: GapMet,
    description: `${a} has missed events: they were no longer in the feed when it came to them.`,
  },
  [`${noun}Deleted`]: { version: 1, data: Deleted, description: `${a} was deleted.` },
});

const WebhookSpecShown = {
  url: text("Where it is sent"),
  description: text("What it is for"),
  events: FilterShown,
};
export const WebhookCreated = Schema.Struct({
  name: text("Unique name in the organisation"),
  ...WebhookSpecShown,
  from: ReplayRequested.annotate({ description: "What came after it is sent; neither: all there is" }),
});
export const WebhookChanged = Schema.Struct({
  url: Schema.optionalKey(WebhookSpecShown.url),
  description: Schema.optionalKey(WebhookSpecShown.description),
  events: Schema.optionalKey(WebhookSpecShown.events),
});
export const WebhookSecretRotated = Schema.Struct({
  oldUntil: text("Until then the old secret signs, too; RFC 3339"),
});

export const webhookEvents: Readonly<Record<string, PublicEvent>> = {
  WebhookCreated: { version: 1, data: WebhookCreated, description: "A webhook was created." },
  WebhookChanged: { version: 1, data: WebhookChanged, description: "A webhook's address or filter was changed." },
  WebhookSecretRotated: {
    version: 1,
    data: WebhookSecretRotated,
    description: "A webhook has another secret; for a time both sign.",
  },
  ...sharedEvents("Webhook", "A webhook"),
};
