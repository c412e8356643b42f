/** Subscribers: credentials with which a program reads its part of the feed over NATS itself, and nothing else. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { changeOf, createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import type { PublicEvent } from "../events.ts";
import { changeHeaders, entity, entityParams, ORGANISATION, says, Time, textFilter } from "../http.ts";
import { Timestamp } from "../identity/events.ts";
import { Id, Name } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";
import { RotateWebhookSecret } from "./api.ts";
import { FilterShown } from "./events.ts";
import { Description, EventsFilter } from "./values.ts";

const { optionalKey } = Schema;

export const SUBSCRIBER_LIMITS = {
  /** Subjects that one subscriber may listen to: the product of its lists. */
  subjects: 256,
  /** Connections at the same moment. */
  connections: 32,
  /** Requests to read that wait or are worked on at the same moment. */
  readsAtOnce: 32,
  /** Bytes of a request to read. */
  requestBytes: 4_096,
  /** Bytes of events in one answer, unless a single one has more. */
  answerBytes: 512 * 1024,
  events: { usual: 100, most: 1_000 },
  waitMs: { usual: 0, most: 30_000 },
} as const;

/** Where a subscriber asks for what it has missed. */
export const readSubject = (id: string): string => `subscribers.${id}.read`;
/** Where alone it is answered. */
export const inboxPrefix = (id: string): string => `_INBOX.${id}`;

const text = (description: string) => Schema.String.annotate({ description });
const whole = (range: { readonly most: number }, minimum: number, description: string) =>
  optionalKey(Schema.Int.check(Schema.isBetween({ minimum, maximum: range.most })).annotate({ description }));

export const SubscriberSpec = Schema.Struct({
  name: Name,
  description: Description,
  events: EventsFilter,
  expiresAt: optionalKey(Time.annotate({ description: "Good until then" })),
});
export type SubscriberSpec = typeof SubscriberSpec.Type;

export const Subscriber = entity(
  Id("sub", "Subscriber id"),
  SubscriberSpec,
  Schema.Struct({
    last8: Schema.String.annotate({ description: "The last eight digits of the password, to tell them apart" }),
    maker: Schema.String.annotate({
      description:
        "Id of the token whose rights it reads by: of whoever made it, or last changed what it reads, or its password",
    }),
    oldSecretUntil: optionalKey(Time.annotate({ description: "Until then the old password lets in, too" })),
  }),
).annotate({ identifier: "Subscriber", description: "Credentials for NATS, without the password" });

export const SubscriberWithSecret = Schema.Struct({
  ...Subscriber.fields,
  secret: optionalKey(
    Schema.String.annotate({
      description: "`mrs_…`: the password; the user is the id. Shown this once, and not in a repeated answer.",
    }),
  ),
}).annotate({ identifier: "SubscriberWithSecret" });

export const SubscriberConnections = Schema.Struct({
  servers: Schema.Array(Schema.String).annotate({
    description: "Addresses of NATS. None: this installation's NATS lets no subscribers in",
  }),
  user: text("The subscriber's id"),
  inboxPrefix: text("What the client's inboxes must begin with: answers come nowhere else"),
  read: text("Subject that is asked for events"),
  live: Schema.Array(Schema.String).annotate({ description: "Subjects that may be listened to, as things are now" }),
  contexts: Schema.Array(Schema.String).annotate({ description: "Contexts that it can read of now" }),
  connections: Schema.Array(
    Schema.Struct({
      since: optionalKey(Time),
      address: text("Where it comes from"),
      name: optionalKey(text("As the client calls itself")),
      library: optionalKey(text("The client's library and its version")),
    }),
  ).annotate({ description: "Those that are open at this moment" }),
}).annotate({ identifier: "SubscriberConnections", description: "How to connect, and who is connected" });

const SpecShown = {
  description: text("What it is for"),
  events: FilterShown,
  expiresAt: Schema.NullOr(Timestamp).annotate({ description: "Good until then; null: until it is revoked" }),
};
export const SubscriberCreated = Schema.Struct({
  name: text("Unique name in the organisation"),
  ...SpecShown,
  last8: text("The last eight digits of its password"),
});
export const SubscriberChanged = Schema.Struct({
  description: optionalKey(SpecShown.description),
  events: optionalKey(SpecShown.events),
  expiresAt: optionalKey(SpecShown.expiresAt),
});
export const SubscriberSecretRotated = Schema.Struct({
  last8: text("The last eight digits of its new password"),
  oldUntil: text("Until then the old password lets in, too; RFC 3339"),
});
export const SubscriberRevoked = Schema.Struct({ name: Schema.String });

export const subscriberEvents: Readonly<Record<string, PublicEvent>> = {
  SubscriberCreated: { version: 1, data: SubscriberCreated, description: "Credentials for NATS were made." },
  SubscriberChanged: {
    version: 1,
    data: SubscriberChanged,
    description: "What credentials for NATS may read, or until when, was changed.",
  },
  SubscriberSecretRotated: {
    version: 1,
    data: SubscriberSecretRotated,
    description: "Credentials for NATS have another password; for a time both let in.",
  },
  SubscriberRevoked: {
    version: 1,
    data: SubscriberRevoked,
    description: "Credentials for NATS were revoked: their connections were ended.",
  },
};

export const CreateSubscriber = Schema.Struct({
  name: Name,
  description: optionalKey(Description),
  events: optionalKey(EventsFilter),
  expiresAt: optionalKey(Timestamp),
}).annotate({
  identifier: "CreateSubscriber",
  description:
    "Left out: all events that the token may read. It reads by the rights of the token that makes it, as they are at each moment",
  examples: [{ name: "warehouse", events: { context: ["work"] } }],
});
export const ChangeSubscriber = Schema.Struct({
  description: optionalKey(Description),
  events: optionalKey(EventsFilter),
  expiresAt: optionalKey(Schema.NullOr(Timestamp)),
}).annotate({
  identifier: "ChangeSubscriber",
  description: "What is left out stays; `events` is replaced as a whole; `expiresAt: null` takes the end away",
});

/** What a subscriber asks of `read`, as JSON. */
export const ReadRequest = Schema.Struct({
  after: optionalKey(text("A position: only what came after it. Opaque, as it was given")),
  from: optionalKey(
    Schema.Literals(["beginning", "now"]).annotate({ description: "Without `after`; `now` if left out" }),
  ),
  most: whole(SUBSCRIBER_LIMITS.events, 1, `At most so many events; ${SUBSCRIBER_LIMITS.events.usual} if left out`),
  waitMs: whole(
    SUBSCRIBER_LIMITS.waitMs,
    0,
    "How long to wait for the first event where there is none, in milliseconds; not at all if left out",
  ),
}).annotate({ identifier: "ReadRequest" });

/** What it is answered. */
export const ReadAnswer = Schema.Struct({
  events: Schema.Array(Schema.Record(Schema.String, Schema.Unknown)).annotate({
    description: "CloudEvents in structured mode, in the order of their contexts' feeds",
  }),
  position: text("Everything up to here was told: ask for what comes after it next"),
  live: Schema.Boolean.annotate({ description: "There is nothing more at this moment" }),
  gap: optionalKey(
    Schema.Struct({
      context: Schema.String,
      history: text("Template of the address under which an entity's own history is kept"),
      detail: Schema.String,
    }).annotate({ description: "Events after the position are no longer in the feed; `position` goes on behind them" }),
  ),
}).annotate({ identifier: "ReadAnswer" });
export type ReadAnswer = typeof ReadAnswer.Type;

const subscribers = `${ORGANISATION}/subscribers` as const;
const subscriber = `${subscribers}/:id` as const;

export const subscribersApi = HttpApiGroup.make("subscribers")
  .add(
    createOf("createSubscriber", subscribers, CreateSubscriber, SubscriberWithSecret).annotateMerge(
      says("integrations:edit", "Make credentials for NATS", "The password is shown this once. The user is the id."),
    ),
  )
  .add(
    listOf("listSubscribers", subscribers, Subscriber, { name: textFilter("Its name") }).annotateMerge(
      says("integrations:read", "List subscribers"),
    ),
  )
  .add(
    getOf("getSubscriber", subscriber, Subscriber).annotateMerge(
      says("integrations:read", "A subscriber, as it is or as it was"),
    ),
  )
  .add(
    changeOf("changeSubscriber", subscriber, ChangeSubscriber, Subscriber).annotateMerge(
      says(
        "integrations:edit",
        "Change what a subscriber reads, or until when",
        "It reads by your rights from then on.",
      ),
    ),
  )
  .add(
    deleteOf("revokeSubscriber", subscriber).annotateMerge(
      says("integrations:edit", "Revoke a subscriber: its connections are ended"),
    ),
  )
  .add(
    HttpApiEndpoint.post("rotateSubscriberSecret", `${subscriber}/rotate-secret`, {
      params: entityParams,
      headers: changeHeaders,
      payload: RotateWebhookSecret,
      success: SubscriberWithSecret,
    }).annotateMerge(
      says(
        "integrations:edit",
        "Give a subscriber another password",
        "For a time both let in; with an overlap of 0 hours whoever is connected by the old one is cut off. It reads by your rights from then on.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("connectionsOfSubscriber", `${subscriber}/connections`, {
      params: entityParams,
      success: SubscriberConnections,
    }).annotateMerge(says("integrations:read", "How a subscriber connects, what it may hear, and who is connected")),
  )
  .add(
    historyOf("historyOfSubscriber", subscriber).annotateMerge(
      says("integrations:read", "What happened to a subscriber"),
    ),
  )
  .add(
    diffOf("diffSubscriber", subscriber).annotateMerge(
      says("integrations:read", "What differs between two moments of a subscriber"),
    ),
  )
  .annotateMerge(
    OpenApi.annotations({ title: "Subscribers", description: "Credentials that read the feed over NATS itself" }),
  );
