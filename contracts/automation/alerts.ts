/** Alerts: a condition on a series, for a time; what the world sees of them, and what can be asked. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import type { PublicEvents } from "../events.ts";
import { ActorShown, changeHeaders, entity, entityParams, ORGANISATION, says, Time, textFilter } from "../http.ts";
import { Id, Name, Reference } from "../ids.ts";
import { MetricName } from "../metrics.ts";
import { Moment } from "../moments.ts";
import { diffOf, historyOf } from "../past.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

export const ALERTS = { title: 200, reason: 500, forMs: 86_400_000, labels: 4 } as const;
export const ALERTED_KINDS = ["application", "node"] as const;
export const ALERT_STATES = ["ok", "firing"] as const;

const line = (most: number, description: string) =>
  Schema.String.check(
    Schema.isPattern(new RegExp(`^[^\\p{Cc}\\p{Cs}\\s][^\\p{Cc}\\p{Cs}]{0,${most - 1}}$`, "u")),
  ).annotate({
    description: `${description}, in one line of at most ${most} characters`,
  });
export const AlertReason = line(ALERTS.reason, "Why");

const Condition = Schema.Struct({
  is: Schema.Literals(["above", "below"]),
  value: Schema.Finite.annotate({ description: "Threshold, in the metric's unit" }),
  back: optionalKey(
    Schema.Finite.annotate({
      description: "It is over when the series has come back beyond this; left out: beyond the threshold itself",
    }),
  ),
}).annotate({ identifier: "AlertCondition" });
const labels = Schema.Record(Schema.String, Schema.String).annotate({
  description: `Only series with these labels; at most ${ALERTS.labels}. Of several series the worst counts`,
});
const forMs = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: ALERTS.forMs })).annotate({
  description: "For so many milliseconds without a break, counted by stored samples",
  examples: [300_000],
});

export const AlertSpec = Schema.Struct({
  name: Name,
  title: optionalKey(line(ALERTS.title, "What it is about")),
  on: Schema.Struct({ kind: Schema.Literals(ALERTED_KINDS), id: Schema.String }),
  metric: MetricName,
  labels: optionalKey(labels),
  condition: Condition,
  forMs,
}).annotate({ identifier: "AlertSpec" });
export type AlertSpec = typeof AlertSpec.Type;

const Silence = Schema.Struct({ until: Time, reason: Schema.String, by: ActorShown });
export const AlertStatus = Schema.Struct({
  state: Schema.Literals(ALERT_STATES),
  since: optionalKey(Time.annotate({ description: "Firing: when the condition began to hold" })),
  value: optionalKey(Schema.Finite.annotate({ description: "Of the series, when the state changed" })),
  acknowledged: optionalKey(Schema.Struct({ at: Time, by: ActorShown })),
  silence: optionalKey(Silence),
}).annotate({ identifier: "AlertStatus" });
export const Alert = entity(Id("alr", "Alert id"), AlertSpec, AlertStatus).annotate({ identifier: "Alert" });

const silenced = Schema.Boolean.annotate({ description: "Somebody has asked to hear nothing of it" });
const event = {
  AlertCreated: Schema.Struct({ spec: AlertSpec }),
  AlertChanged: Schema.Struct({ spec: AlertSpec }),
  AlertFired: Schema.Struct({
    name: Schema.String,
    on: AlertSpec.fields.on,
    metric: Schema.String,
    value: Schema.Finite,
    since: text("When the condition began to hold"),
    silenced,
  }),
  AlertResolved: Schema.Struct({
    name: Schema.String,
    on: AlertSpec.fields.on,
    metric: Schema.String,
    value: Schema.Finite,
    silenced,
  }),
  AlertAcknowledged: Schema.Struct({}),
  AlertSilenced: Schema.Struct({ until: Schema.String, reason: Schema.String }),
  AlertUnsilenced: Schema.Struct({}),
  AlertDeleted: Schema.Struct({ name: Schema.String }),
} as const;
export const alertShapes = event;

export const alertEvents = {
  AlertCreated: { version: 1, data: event.AlertCreated, description: "An alert was created." },
  AlertChanged: { version: 1, data: event.AlertChanged, description: "An alert waits for something else." },
  AlertFired: {
    version: 1,
    data: event.AlertFired,
    description: "A condition has held for as long as an alert allows.",
  },
  AlertResolved: { version: 1, data: event.AlertResolved, description: "What an alert was about is over." },
  AlertAcknowledged: { version: 1, data: event.AlertAcknowledged, description: "Somebody looks after a firing alert." },
  AlertSilenced: {
    version: 1,
    data: event.AlertSilenced,
    description: "Nobody is to be told of an alert for a while.",
  },
  AlertUnsilenced: { version: 1, data: event.AlertUnsilenced, description: "An alert is to be told again." },
  AlertDeleted: { version: 1, data: event.AlertDeleted, description: "An alert was deleted." },
} satisfies PublicEvents;

const { name, title, metric, condition } = AlertSpec.fields;
const on = Schema.Struct({ kind: Schema.Literals(ALERTED_KINDS), id: Reference });
export const CreateAlert = Schema.Struct({
  name,
  title,
  on,
  metric,
  labels: optionalKey(labels),
  condition,
  forMs: optionalKey(forMs),
}).annotate({ identifier: "CreateAlert", description: "Left out: `forMs` is 0, any labels" });
export const ChangeAlert = Schema.Struct({
  title,
  metric: optionalKey(metric),
  labels: optionalKey(labels),
  condition: optionalKey(condition),
  forMs: optionalKey(forMs),
}).annotate({ identifier: "ChangeAlert" });
export const SilenceAlert = Schema.Struct({
  until: Moment,
  reason: AlertReason,
}).annotate({ identifier: "SilenceAlert" });

const all = `${ORGANISATION}/alerts` as const;
const one = `${all}/:id` as const;
const act = { params: entityParams, headers: changeHeaders, success: Alert };

export const alertsApi = HttpApiGroup.make("alerts")
  .add(
    createOf("createAlert", all, CreateAlert, Alert).annotateMerge(
      says(
        "automation:edit",
        "Create an alert",
        "State changes are events, `AlertFired` and `AlertResolved`: webhooks, rules and notifications hear of them.",
      ),
    ),
  )
  .add(
    listOf("listAlerts", all, Alert, {
      name: textFilter("Its name"),
      state: optionalKey(Schema.Literals(ALERT_STATES)),
      on: textFilter("Id of what it is about"),
      metric: textFilter("Name of the metric"),
    }).annotateMerge(says("automation:read", "List alerts")),
  )
  .add(
    getOf("getAlert", one, Alert).annotateMerge(
      says("automation:read", "An alert by id or name, as it is or as it was"),
    ),
  )
  .add(
    HttpApiEndpoint.patch("changeAlert", one, { ...act, payload: ChangeAlert }).annotateMerge(
      says("automation:edit", "Change what an alert waits for"),
    ),
  )
  .add(deleteOf("deleteAlert", one).annotateMerge(says("automation:delete", "Delete an alert")))
  .add(
    HttpApiEndpoint.post("acknowledgeAlert", `${one}/acknowledge`, act).annotateMerge(
      says("automation:edit", "Say that somebody looks after a firing alert"),
    ),
  )
  .add(
    HttpApiEndpoint.post("silenceAlert", `${one}/silence`, { ...act, payload: SilenceAlert }).annotateMerge(
      says("automation:edit", "Have nobody told of an alert for a while; its state is kept all the same"),
    ),
  )
  .add(
    HttpApiEndpoint.post("unsilenceAlert", `${one}/unsilence`, act).annotateMerge(
      says("automation:edit", "Have an alert told again"),
    ),
  )
  .add(historyOf("historyOfAlert", one).annotateMerge(says("automation:read", "What happened to an alert")))
  .add(diffOf("diffAlert", one).annotateMerge(says("automation:read", "What differs between two moments of an alert")))
  .annotateMerge(OpenApi.annotations({ title: "Alerts", description: "Conditions on what is measured" }));
