/** Log lines of applications and their deployments: a page, a download, or as they come. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { booleanFilter, created, entityParams, ORGANISATION, organisationParams, page, says, Time } from "../http.ts";
import { Moment } from "../moments.ts";
import { Expensive, Partly } from "../permissions.ts";

const { optionalKey } = Schema;

export const LOG_LIMITS = { listMost: 1_000, listDefault: 200, applications: 20, downloadLines: 1_000_000 } as const;

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;

export const LogLine = Schema.Struct({
  time: Time,
  level: Schema.NullOr(Schema.Literals(LOG_LEVELS)).annotate({
    description: "null: nothing in the line tells; it is filtered as `info`",
  }),
  text: Schema.String.annotate({ description: "With the colours it came with; secret values are `[redacted]`" }),
  application: Schema.String,
  source: Schema.String.annotate({ description: "`build` or `run`" }),
  deployment: optionalKey(Schema.String),
  instance: optionalKey(Schema.String.annotate({ description: "Which of its containers" })),
  stderr: optionalKey(Schema.Literal(true)),
  cut: optionalKey(Schema.Literal(true).annotate({ description: "Only the beginning of a longer line was kept" })),
  gap: optionalKey(
    Schema.Literal(true).annotate({ description: "Lines are missing here; the text says how many and why" }),
  ),
  position: Schema.String.annotate({ description: "Take it as `after`, or as `Last-Event-ID`, to follow from there" }),
}).annotate({ identifier: "LogLine" });
export const LogPage = page(LogLine).annotate({
  identifier: "LogPage",
  description: "With `nextCursor` it goes on, also when there are few lines or none: looking has a time limit",
});

export const BuildLogLine = Schema.Struct({
  time: Time,
  level: LogLine.fields.level,
  text: Schema.String,
  build: Schema.String,
  source: Schema.String.annotate({ description: "`build`" }),
  stderr: LogLine.fields.stderr,
  cut: LogLine.fields.cut,
  gap: LogLine.fields.gap,
  position: LogLine.fields.position,
}).annotate({ identifier: "BuildLogLine" });

const Token = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,64}$/u));
const Position = Schema.String.check(Schema.isPattern(/^\d{1,15}(\.\d{1,7})?$/u));

/** What chooses lines, by whatever way they are read. */
const choosing = {
  since: optionalKey(Moment.annotate({ description: "RFC 3339, inclusive" })),
  until: optionalKey(Moment.annotate({ description: "RFC 3339, exclusive; not with `follow`" })),
  level: optionalKey(Schema.Literals(LOG_LEVELS).annotate({ description: "Of this level or a graver one" })),
  q: optionalKey(
    Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(200)).annotate({
      description: "Text in the line; in any case, unless it has capitals",
    }),
  ),
  regex: optionalKey(
    Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(512)).annotate({
      description: "A regular expression in the syntax of RE2",
      examples: ["status=5\\d\\d"],
    }),
  ),
  source: optionalKey(Schema.Literals(["build", "run"])),
  instance: optionalKey(Token.annotate({ description: "One of the containers: `0`, `1`, …" })),
  order: optionalKey(Schema.Literals(["newest", "oldest"]).annotate({ description: "Default `newest`" })),
};
const query = {
  ...choosing,
  limit: optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: LOG_LIMITS.listMost })).annotate({
      description: `Lines of a page (default ${LOG_LIMITS.listDefault}); with \`follow\`, how many of the past come first (default 0)`,
    }),
  ),
  cursor: optionalKey(
    Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,1024}$/u)).annotate({
      description: "`nextCursor` of the page before, with the same query",
    }),
  ),
  follow: booleanFilter("As Server-Sent Events, as they come: `lines`, `gap`, `caught-up`, `heartbeat`, `closing`"),
  after: optionalKey(Position.annotate({ description: "Follow: a `position`; what came after it comes first" })),
  download: optionalKey(
    Schema.Literals(["ndjson", "text"]).annotate({
      description: `All of them as a file, oldest first, at most ${LOG_LIMITS.downloadLines} lines`,
    }),
  ),
};
const applications = Schema.String.check(
  Schema.isPattern(/^[a-z0-9][a-z0-9_-]{0,62}(,[a-z0-9][a-z0-9_-]{0,62}){0,19}$/u),
).annotate({
  description: `Ids or names, separated by commas, at most ${LOG_LIMITS.applications}`,
  examples: ["shop,api"],
});
const deployment = optionalKey(Token.annotate({ description: "Id of a deployment" }));
const headers = { "last-event-id": optionalKey(Position) };
const NOTE =
  "A page as JSON; with `follow=true` a stream of events, with `download` a file. Events carry an id: send it as `Last-Event-ID`, and nothing is missed or told twice.";

/** A link is good for so long at the most. */
export const SHARE_MOST_MS = 7 * 86_400_000;
export const LINK_CHARACTERS = 4_096;

const sharing = <const F extends Schema.Struct.Fields>(fields: F) => ({
  query: optionalKey(
    Schema.Struct(fields).annotate({
      description: "Which lines, as when they are read. Without `until` those that come later are shown, too",
    }),
  ),
  expiresInMs: Schema.Int.check(Schema.isBetween({ minimum: 1_000, maximum: SHARE_MOST_MS })).annotate({
    description: "How long the link is good, at most seven days",
    examples: [86_400_000],
  }),
});
export const ShareLogs = Schema.Struct(sharing({ ...choosing, deployment })).annotate({ identifier: "ShareLogs" });
export const ShareLogsOfSeveral = Schema.Struct(sharing(choosing)).annotate({ identifier: "ShareLogsOfSeveral" });
export const SharedLogs = Schema.Struct({
  url: Schema.String.annotate({ description: "From the root of the gateway's address; whoever has it can read" }),
  expiresAt: Time,
}).annotate({ identifier: "SharedLogs" });
const SHARES =
  "The link shows these lines and no others, to whoever has it, until it expires, or until the token that made it is revoked, expires or may no longer read them. Where only its `url` is known it cannot be taken back alone: give it a short time.";

export const logsApi = HttpApiGroup.make("logs")
  .add(
    HttpApiEndpoint.get("logsOfApplication", `${ORGANISATION}/applications/:id/logs`, {
      params: entityParams,
      headers,
      query: { ...query, deployment },
      success: LogPage,
    })
      .annotate(Expensive, true)
      .annotateMerge(says("applications:logs", "What an application and its builds have written", NOTE)),
  )
  .add(
    HttpApiEndpoint.get("logsOfDeployment", `${ORGANISATION}/deployments/:id/logs`, {
      params: entityParams,
      headers,
      query,
      success: LogPage,
    })
      .annotate(Expensive, true)
      .annotateMerge(says("applications:logs", "What a deployment's build and containers have written", NOTE)),
  )
  .add(
    HttpApiEndpoint.get("logsOfBuild", `${ORGANISATION}/builds/:id/logs`, {
      params: entityParams,
      headers,
      query,
      success: page(BuildLogLine).annotate({ identifier: "BuildLogPage" }),
    })
      .annotate(Expensive, true)
      .annotateMerge(says("publishing:read", "What a build from a manifest has written", NOTE)),
  )
  .add(
    HttpApiEndpoint.get("logsOfApplications", `${ORGANISATION}/logs`, {
      params: organisationParams,
      headers,
      query: {
        ...query,
        applications,
      },
      success: LogPage,
    })
      .annotate(Expensive, true)
      .annotateMerge(says("applications:logs", "What several applications have written, merged by time", NOTE)),
  )
  .add(
    HttpApiEndpoint.post("shareLogsOfApplication", `${ORGANISATION}/applications/:id/logs/share`, {
      params: entityParams,
      payload: ShareLogs,
      success: created(SharedLogs),
    }).annotateMerge(
      says("applications:logs", "Make a link to lines of an application, for people without a token", SHARES),
    ),
  )
  .add(
    HttpApiEndpoint.post("shareLogsOfApplications", `${ORGANISATION}/logs/share`, {
      params: organisationParams,
      query: { applications },
      payload: ShareLogsOfSeveral,
      success: created(SharedLogs),
    })
      .annotateMerge(says("applications:logs", "Make a link to lines of several applications", SHARES))
      .annotate(Partly, true),
  )
  .add(
    HttpApiEndpoint.get("sharedLogs", "/v1/shared-logs/:link", {
      params: { link: Schema.String.check(Schema.isMaxLength(LINK_CHARACTERS)) },
      query: { limit: query.limit, cursor: query.cursor },
      success: LogPage,
    })
      .annotateMerge(
        says("public", "The lines that a link was made for", "Takes no token: the link is what lets read."),
      )
      .annotateMerge(OpenApi.annotations({ override: { security: [] } })),
  )
  .annotateMerge(OpenApi.annotations({ title: "Logs", description: "Log lines of applications and deployments" }));
