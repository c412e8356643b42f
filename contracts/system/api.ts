/** What crosses contexts: the audit log, one search over everything, dead letters, projections. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import {
  accepted,
  entityParams,
  HistoryPage,
  ORGANISATION,
  organisationParams,
  page,
  pageQuery,
  queryHeaders,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { Moment } from "../moments.ts";
import { Expensive } from "../permissions.ts";

const auditQuery = {
  ...pageQuery,
  actor: textFilter("Id of who did it, e.g. a token's"),
  context: textFilter("`identity`, `work`, …"),
  kind: textFilter("Kind of entity, e.g. `token`"),
  id: textFilter("Id of an entity"),
  type: textFilter("Type of event, e.g. `TokenRevoked`"),
  from: Schema.optionalKey(Moment),
  to: Schema.optionalKey(Moment),
};

export const Hit = Schema.Struct({
  context: Schema.String,
  kind: Schema.String,
  id: Schema.String,
  title: Schema.String,
  excerpt: Schema.String.annotate({ description: "Where its text fits" }),
  path: Schema.String.annotate({ description: "Of the entity in this API" }),
  updatedAt: Time,
}).annotate({ identifier: "Hit" });
export const Hits = page(Hit).annotate({ identifier: "Hits" });

export const KeyRotation = Schema.Struct({
  rewrapped: Schema.Int.annotate({ description: "Subjects whose data keys are under the current master key now" }),
  current: Schema.Int.annotate({ description: "Subjects whose data keys were so already" }),
  failed: Schema.Array(
    Schema.Struct({ organisation: Schema.String, subject: Schema.String, reason: Schema.String }),
  ).annotate({ description: "What could not be unwrapped, a hundred at the most: keep the older master keys" }),
  failures: Schema.Int,
}).annotate({ identifier: "KeyRotation" });

export const DeadLetter = Schema.Struct({
  id: Schema.String,
  at: Time,
  consumer: Schema.String.annotate({ description: "Who could not get past it, e.g. `projection:work_items`" }),
  context: Schema.String,
  kind: Schema.String,
  aggregate: Schema.String,
  stream: Schema.String,
  seq: Schema.Int,
  cause: Schema.String,
  attempts: Schema.Int,
}).annotate({ identifier: "DeadLetter", description: "A pointer to an event that somebody could not handle" });

export const DeadLetterAnswer = Schema.Struct({
  outcome: Schema.Literals(["recovered", "failed", "accepted"]).annotate({
    description: "`accepted`: whoever handles it has not answered yet, and acts on it when it is back",
  }),
  letter: Schema.optionalKey(DeadLetter),
}).annotate({ identifier: "DeadLetterAnswer" });

export const Projection = Schema.Struct({
  name: Schema.String,
  context: Schema.String,
  build: Schema.Int,
  version: Schema.Int,
  state: Schema.Literals(["building", "active", "stopped", "retired"]),
  shown: Schema.Boolean.annotate({ description: "Queries read this build" }),
  seq: Schema.Int.annotate({ description: "Everything of the log up to here is in it" }),
  head: Schema.Int.annotate({ description: "The log's newest sequence" }),
  lag: Schema.Int.annotate({ description: "Messages of the log that it has not folded yet" }),
  stoppedReason: Schema.optionalKey(Schema.String),
  updatedAt: Time,
}).annotate({ identifier: "Projection" });

export const Rebuild = Schema.Struct({
  builds: Schema.Array(
    Schema.Struct({
      context: Schema.String,
      build: Schema.Int,
      asked: Schema.Literals(["now", "before"]).annotate({ description: "`before`: one was under way already" }),
    }),
  ),
}).annotate({ identifier: "Rebuild" });

const Backup = Schema.Struct({
  id: Schema.String,
  at: Time.annotate({ description: "The moment of which it is" }),
  tookMs: Schema.Int,
  position: Schema.Record(Schema.String, Schema.Int).annotate({
    description: "By context: every change up to this sequence of its log is in it",
  }),
  storedBytes: Schema.Int.annotate({ description: "Written for it, compressed and encrypted" }),
  reusedBytes: Schema.Int.annotate({ description: "Content that was there already" }),
});

export const Backups = Schema.Struct({
  target: Schema.optionalKey(Schema.String.annotate({ description: "Left out: none are made" })),
  everyHours: Schema.optionalKey(Schema.Int),
  running: Schema.optionalKey(Schema.Struct({ since: Time, part: Schema.String })),
  last: Schema.optionalKey(Backup),
  failed: Schema.optionalKey(Schema.Struct({ at: Time, reason: Schema.String })).annotate({
    description: "How the last one failed, if it did",
  }),
  next: Schema.optionalKey(Time),
}).annotate({ identifier: "Backups" });

const letters = `${ORGANISATION}/dead-letters` as const;
const projectionParams = {
  name: Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9_]{0,39}$/u)).annotate({ examples: ["work_items"] }),
};

const ofOrganisation = HttpApiGroup.make("system")
  .add(
    HttpApiEndpoint.get("auditLog", `${ORGANISATION}/history`, {
      params: organisationParams,
      headers: queryHeaders,
      query: auditQuery,
      success: HistoryPage,
    })
      .annotate(Expensive, true)
      .annotateMerge(says("identity:audit", "Who did what, newest first", "Answered from the events themselves.")),
  )
  .add(
    HttpApiEndpoint.get("search", `${ORGANISATION}/search`, {
      params: organisationParams,
      headers: queryHeaders,
      query: {
        q: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(200)).annotate({
          description: "Words, or a phrase in quotes",
        }),
        ...pageQuery,
        context: textFilter("Only in this context"),
        kind: textFilter("Only this kind of entity"),
      },
      success: Hits,
    })
      .annotate(Expensive, true)
      .annotateMerge(says("authenticated", "One search over everything that the token may read, best hits first")),
  )
  .add(
    HttpApiEndpoint.get("listDeadLetters", letters, {
      params: organisationParams,
      query: { consumer: textFilter("Who could not get past it"), context: textFilter("Of this context") },
      success: page(DeadLetter),
    }).annotateMerge(says("system:read", "Events that could not be handled, oldest first; a thousand at the most")),
  )
  .add(
    HttpApiEndpoint.post("retryDeadLetter", `${letters}/:id/retry`, {
      params: entityParams,
      success: DeadLetterAnswer,
    }).annotateMerge(says("system:operate", "Have it tried again, and wait a little for what becomes of it")),
  )
  .add(
    HttpApiEndpoint.delete("dropDeadLetter", `${letters}/:id`, {
      params: entityParams,
      query: {
        why: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(500)).annotate({
          description: "Stays with the record of it",
        }),
      },
      success: HttpApiSchema.NoContent,
    }).annotateMerge(says("system:operate", "Leave the entity out for good, with a reason that stays")),
  );

export const systemApi = ofOrganisation
  .add(
    HttpApiEndpoint.get("listProjections", "/v1/projections", { success: page(Projection) }).annotateMerge(
      says("system:read", "What is kept for queries, and how far it is (the installation's owner)"),
    ),
  )
  .add(
    HttpApiEndpoint.post("rebuildProjection", "/v1/projections/:name/rebuild", {
      params: projectionParams,
      success: accepted(Rebuild),
    })
      .annotate(Expensive, true)
      .annotateMerge(
        says(
          "system:operate",
          "Build it anew beside the one that is shown (the installation's owner)",
          "Readers go on with the shown one, and are switched when the new one has caught up.",
        ),
      ),
  )
  .add(
    HttpApiEndpoint.post("rotateMasterKey", "/v1/master-key/rotate", { success: KeyRotation })
      .annotate(Expensive, true)
      .annotateMerge(
        says(
          "identity:install",
          "Wrap every data key by the current master key (the installation's owner)",
          "Sealed values stay as they are. Cut off or done again it does what is left. When nothing failed, older master keys may go.",
        ),
      ),
  )
  .add(
    HttpApiEndpoint.get("getBackups", "/v1/system/backups", { success: Backups }).annotateMerge(
      says("system:read", "How the last backup went, and when the next is due (the installation's owner)"),
    ),
  )
  .add(
    HttpApiEndpoint.post("makeBackup", "/v1/system/backups", { success: accepted(Backups) }).annotateMerge(
      says(
        "system:operate",
        "Have a backup made now (the installation's owner)",
        "Answers how it stands; `last` is another one when it is made. Asking again before it has begun changes nothing.",
      ),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "System", description: "What crosses contexts" }));
