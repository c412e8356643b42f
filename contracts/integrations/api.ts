/** Webhooks: where events are sent to, signed and in order. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import { accepted, changeHeaders, entityParams, ORGANISATION, says, textFilter } from "../http.ts";
import { Name } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";
import { Deliveries, Outbox, Webhook, WebhookWithSecret } from "./entities.ts";
import { Description, EventsFilter, From, LIMITS, StateName, Url } from "./values.ts";

const { optionalKey } = Schema;

export const CreateWebhook = Schema.Struct({
  name: Name,
  url: Url,
  description: optionalKey(Description),
  events: optionalKey(EventsFilter),
  from: optionalKey(From),
}).annotate({
  identifier: "CreateWebhook",
  description:
    "Left out: all events that the token may read, from now on. The token needs `<context>:read` for what is sent",
  examples: [{ name: "chat", url: "https://example.com/hooks/millrace", events: { context: ["work"] } }],
});
export const ChangeWebhook = Schema.Struct({
  url: optionalKey(Url),
  description: optionalKey(Description),
  events: optionalKey(EventsFilter),
}).annotate({
  identifier: "ChangeWebhook",
  description: "What is left out stays; `events` is replaced as a whole. It goes on where it is",
});
export const Resume = Schema.Struct({
  skip: optionalKey(
    Schema.Boolean.annotate({
      description: "Pass over the events that failed to the last, instead of trying them again",
    }),
  ),
}).annotate({ identifier: "ResumeDestination" });
export const RotateWebhookSecret = Schema.Struct({
  overlapHours: optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: LIMITS.overlapHours.most })).annotate({
      description: `Hours that the old secret signs, too; ${LIMITS.overlapHours.usual} if left out`,
    }),
  ),
}).annotate({ identifier: "RotateWebhookSecret" });

const webhooks = `${ORGANISATION}/webhooks` as const;
const webhook = `${webhooks}/:id` as const;
const act = { params: entityParams, headers: changeHeaders, success: Webhook };
export const deliveriesQuery = {
  limit: optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 200 })).annotate({
      description: "At most so many; 50 if left out",
    }),
  ),
  message: optionalKey(
    Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,120}$/u)).annotate({
      description: "Tries of this one alone",
    }),
  ),
};

const entityEndpoints = HttpApiGroup.make("webhooks")
  .add(
    createOf("createWebhook", webhooks, CreateWebhook, WebhookWithSecret).annotateMerge(
      says(
        "integrations:edit",
        "Create a webhook",
        "Its secret is shown this once. Deliveries follow Standard Webhooks: signed, retried for three days, in order for each entity.",
      ),
    ),
  )
  .add(
    listOf("listWebhooks", webhooks, Webhook, {
      name: textFilter("Its name"),
      state: optionalKey(StateName),
    }).annotateMerge(says("integrations:read", "List webhooks")),
  )
  .add(
    getOf("getWebhook", webhook, Webhook).annotateMerge(says("integrations:read", "A webhook, as it is or as it was")),
  )
  .add(
    HttpApiEndpoint.patch("changeWebhook", webhook, { ...act, payload: ChangeWebhook }).annotateMerge(
      says("integrations:edit", "Change where a webhook leads, or what is sent"),
    ),
  )
  .add(
    deleteOf("deleteWebhook", webhook).annotateMerge(
      says("integrations:edit", "Delete a webhook; its secrets are destroyed"),
    ),
  )
  .add(historyOf("historyOfWebhook", webhook).annotateMerge(says("integrations:read", "What happened to a webhook")))
  .add(
    diffOf("diffWebhook", webhook).annotateMerge(
      says("integrations:read", "What differs between two moments of a webhook"),
    ),
  );

export const webhooksApi = entityEndpoints
  .add(
    HttpApiEndpoint.post("pauseWebhook", `${webhook}/pause`, act).annotateMerge(
      says("integrations:edit", "Pause a webhook", "What happens meanwhile is sent when it is resumed."),
    ),
  )
  .add(
    HttpApiEndpoint.post("resumeWebhook", `${webhook}/resume`, { ...act, payload: Resume }).annotateMerge(
      says(
        "integrations:edit",
        "Resume a webhook that was paused, parked or disabled",
        "It goes on where it stopped; what had failed is tried again at once.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("rotateWebhookSecret", `${webhook}/rotate-secret`, {
      params: entityParams,
      headers: changeHeaders,
      payload: RotateWebhookSecret,
      success: WebhookWithSecret,
    }).annotateMerge(
      says("integrations:edit", "Give a webhook another secret", "For a time both sign, so that receivers can change."),
    ),
  )
  .add(
    HttpApiEndpoint.post("testWebhook", `${webhook}/test`, { ...act, success: accepted(Webhook) }).annotateMerge(
      says(
        "integrations:edit",
        "Send a test, once, whatever the state of the webhook",
        "Its outcome stands in the deliveries, as message `msg_test_<id>_<number of the test>`.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("replayWebhook", `${webhook}/replay`, {
      ...act,
      payload: From,
      success: accepted(Webhook),
    }).annotateMerge(
      says(
        "integrations:edit",
        "Send everything again from a position or time on",
        "Messages keep their ids, so a receiver knows what it has had.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("deliveriesOfWebhook", `${webhook}/deliveries`, {
      params: entityParams,
      query: deliveriesQuery,
      success: Deliveries,
    }).annotateMerge(says("integrations:read", "What was sent to a webhook, and what it answered")),
  )
  .add(
    HttpApiEndpoint.get("outboxOfWebhook", `${webhook}/outbox`, {
      params: entityParams,
      success: Outbox,
    }).annotateMerge(says("integrations:read", "How far a webhook has come, and what waits behind a failure")),
  )
  .annotateMerge(
    OpenApi.annotations({ title: "Webhooks", description: "Events sent over HTTP, by Standard Webhooks" }),
  );
