/**
 * The parts from which every context builds its endpoints, so that all of them behave alike: what a path, a list, a
 * change and a look at the past take, and what they answer. An endpoint is written with `HttpApiEndpoint` and these
 * fields, and says with `says(permission, summary)` who may call it.
 *
 *     HttpApiEndpoint.patch("changeItem", `${ORGANISATION}/work-items/:id`, {
 *       params: entityParams, headers: changeHeaders, payload: ChangeItem, success: WorkItem,
 *     }).annotateMerge(says("work:edit", "Change a work item"))
 */
import * as Context from "effect/Context";
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { Reference } from "./ids.ts";
import { isMoment } from "./moments.ts";
import { type Permission, Requires } from "./permissions.ts";
import { PROBLEMS } from "./problems.ts";

/** Who may call: read from the endpoint's `Requires`. Every endpoint stands behind it, and may answer any problem. */
export class Authorization extends HttpApiMiddleware.Service<Authorization>()("millrace/contracts/Authorization", {
  security: {
    bearer: HttpApiSecurity.bearer.pipe(
      HttpApiSecurity.annotate(OpenApi.Description, "A token, `mrt_…` or the owner's `mrp_…`"),
    ),
  },
  error: PROBLEMS,
}) {}

/** Permission and one-line summary of an endpoint, and more words where they are needed. */
export const says = (permission: Permission | "public" | "authenticated", summary: string, description?: string) =>
  Context.merge(
    Context.make(Requires, permission),
    OpenApi.annotations(description === undefined ? { summary } : { summary, description }),
  );

/** Path of what belongs to an organisation. */
export const ORGANISATION = "/v1/organisations/:org";

export const organisationParams = { org: Reference };
export const entityParams = { org: Reference, id: Reference };

/** Largest request body, in bytes, and deepest nesting of its JSON. */
export const LIMITS = { bodyBytes: 1_048_576, jsonDepth: 32, listMost: 200, listDefault: 50, waitMs: 5_000 } as const;

const IdempotencyKey = Schema.String.check(
  Schema.isPattern(/^("[\x20\x21\x23-\x7e]{1,255}"|[\x21\x23-\x7e]{1,255})$/u),
).annotate({
  description:
    "Any text of 1 to 255 printable characters, in quotes or bare. A repeat within 24 hours gets the first answer.",
  examples: ["8e03978e-40d5-43e8-bc93-6894a57f9324"],
});
const EntityTag = Schema.String.check(Schema.isPattern(/^(\*|"[0-9]{1,15}")$/u)).annotate({
  description: "The `ETag` of what you saw, or `*` for whatever is there",
  examples: ['"3"'],
});
const PositionToken = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,1024}$/u)).annotate({
  description: "`Millrace-Position` of an earlier answer: this one shows at least everything up to it",
});

/** Headers of a command that makes something, or acts without having seen a state. */
export const commandHeaders = {
  "idempotency-key": Schema.optionalKey(IdempotencyKey),
  "if-none-match": Schema.optionalKey(Schema.Literal("*")),
};
/** Headers of a change: `If-Match` is needed, and 428 says so. */
export const changeHeaders = {
  "idempotency-key": Schema.optionalKey(IdempotencyKey),
  "if-match": Schema.optionalKey(EntityTag),
};
export const queryHeaders = { "millrace-position": Schema.optionalKey(PositionToken) };

/** `?at=`: a moment of the past. */
export const At = Schema.String.check(
  Schema.makeFilter((text: string) => text.startsWith("v") || isMoment(text) || "a moment that exists"),
  Schema.isPattern(/^(v\d{1,9}|\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2}))$/u),
).annotate({
  description: "As it was then: a time (RFC 3339, the log's own), or `v` and the number of events",
  examples: ["v3", "2026-11-21T08:00:00.000Z"],
});
/** Longest and usual time of `?wait=`, in milliseconds. */
export const WAIT = { timeoutMs: 60_000, usualMs: 10_000 } as const;
/** `?wait=`: what to wait for before the answer. */
export const Wait = Schema.String.check(
  Schema.isPattern(
    /^(terminal|gone|state=[A-Za-z0-9-]{1,63}([|][A-Za-z0-9-]{1,63}){0,15}|(generation|version)>=[0-9]{1,9})$/u,
  ),
).annotate({
  description:
    "Answer when this holds, or time is up: `terminal` (its work has ended), `state=a|b` (of `status.state`), `generation>=n`, `version>=n` (number of events, which every answer has as `Millrace-Version`), `gone`. `Millrace-Wait` says which: `met` or `timeout`",
  examples: ["terminal", "state=succeeded|failed"],
});
const Timeout = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: WAIT.timeoutMs })).annotate({
  description: `How long to wait, in milliseconds; ${WAIT.usualMs} if left out`,
  examples: [10_000],
});
export const readQuery = {
  at: Schema.optionalKey(At),
  wait: Schema.optionalKey(Wait),
  timeout: Schema.optionalKey(Timeout),
};

const Limit = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: LIMITS.listMost })).annotate({
  description: `Items of one page, at most ${LIMITS.listMost}; ${LIMITS.listDefault} if left out`,
});
const Cursor = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,1024}$/u)).annotate({
  description: "`nextCursor` of the page before",
});
export const pageQuery = { limit: Schema.optionalKey(Limit), cursor: Schema.optionalKey(Cursor) };

/** Query of a list; `filters` has one schema for each field that can be asked for (a column with `filter` of the view). */
export const listQuery = <const F extends Schema.Struct.Fields>(filters: F) => ({
  ...pageQuery,
  sort: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^-?[a-zA-Z]{1,40}$/u)).annotate({
      description:
        "Field to sort by, with `-` for descending; `createdAt`, `updatedAt`, or a sortable field of the kind",
      examples: ["-createdAt"],
    }),
  ),
  q: Schema.optionalKey(
    Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(200)).annotate({ description: "Text to search for" }),
  ),
  fields: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^[a-zA-Z.]{1,80}(,[a-zA-Z.]{1,80}){0,19}$/u)).annotate({
      description: "Only these fields of each item, separated by commas, nested ones with a dot; `id` always",
      examples: ["spec.title,status.state"],
    }),
  ),
  ...filters,
});

/** Filters as text, when they are no more than that. */
export const textFilter = (description: string) =>
  Schema.optionalKey(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(200)).annotate({ description }));
export const booleanFilter = (description: string) =>
  Schema.optionalKey(Schema.Literals(["true", "false"]).annotate({ description }));

/** A page of a list; the end is where `nextCursor` is missing. */
export const page = <S extends Schema.Top>(item: S) =>
  Schema.Struct({ items: Schema.Array(item), nextCursor: Schema.optionalKey(Schema.String) });

export const Time = Schema.String.annotate({
  description: "RFC 3339, UTC, milliseconds",
  examples: ["2026-11-21T08:00:00.000Z"],
});

/** What every entity has. */
export const entity = <Spec extends Schema.Top, Status extends Schema.Top>(
  id: Schema.String,
  spec: Spec,
  status: Status,
) =>
  Schema.Struct({
    id,
    organisation: Schema.String.annotate({ description: "Id of the organisation it belongs to" }),
    generation: Schema.Int.annotate({ description: "Counts changes of `spec`; the ETag" }),
    spec,
    status,
    createdAt: Time,
    updatedAt: Time,
  });

export const ActorShown = Schema.Struct({
  kind: Schema.Literals(["token", "service", "system"]),
  id: Schema.String,
  name: Schema.String,
}).annotate({ identifier: "Actor", description: "Who did it" });

/** One event of an entity's past, as people read it. */
export const HistoryEntry = Schema.Struct({
  at: Time,
  actor: ActorShown,
  context: Schema.String,
  kind: Schema.String,
  id: Schema.String,
  type: Schema.String,
  version: Schema.Int.annotate({
    description: "Number of events of the entity up to this one: use it as `?at=v<version>`",
  }),
  sentence: Schema.String.annotate({ description: "What happened, as one would say it after the actor's name" }),
  data: Schema.Unknown.annotate({ description: "The event's public form" }),
  correlation: Schema.String,
  seq: Schema.Int,
}).annotate({ identifier: "HistoryEntry" });
export const HistoryPage = page(HistoryEntry).annotate({ identifier: "HistoryPage" });
export const historyQuery = pageQuery;

/** One place where two moments of an entity differ. */
export const Difference = Schema.Struct({
  pointer: Schema.String.annotate({ description: "JSON pointer into the entity" }),
  from: Schema.optionalKey(Schema.Unknown),
  to: Schema.optionalKey(Schema.Unknown),
}).annotate({ identifier: "Difference", description: "`from` is missing when it was added, `to` when it was removed" });
export const Differences = Schema.Struct({ changes: Schema.Array(Difference) }).annotate({ identifier: "Differences" });
export const diffQuery = { from: At, to: Schema.optionalKey(At) };

/** 201 and 202 for a success schema. */
export const created = <S extends Schema.Top>(schema: S) => schema.pipe(HttpApiSchema.status(201));
export const accepted = <S extends Schema.Top>(schema: S) => schema.pipe(HttpApiSchema.status(202));
