/** What only the node on which an application lives can tell. */
import * as Schema from "effect/Schema";
import { declareAsk } from "../asks.ts";
import { GitSource, PathSource } from "./entities.ts";
import { ApplicationId, Ref } from "./values.ts";

const { optionalKey } = Schema;

export const ApplicationSeen = Schema.Struct({
  at: Schema.String.annotate({ description: "When it was looked at" }),
  stopped: Schema.Boolean.annotate({ description: "Requests are answered by 503" }),
  route: Schema.NullOr(
    Schema.Struct({ generation: Schema.Int, deployment: Schema.String, addresses: Schema.Array(Schema.String) }),
  ).annotate({ description: "What is served; `null`: nothing" }),
  containers: Schema.NullOr(
    Schema.Array(
      Schema.Struct({
        id: Schema.String,
        deployment: Schema.String,
        slot: Schema.Int,
        state: Schema.String.annotate({ description: "As the engine calls it: `running`, `restarting`, `exited` …" }),
        health: Schema.String.annotate({ description: "`starting`, `healthy`, `unhealthy`, or `none`: not checked" }),
        address: optionalKey(Schema.String),
        restarts: optionalKey(
          Schema.Int.annotate({ description: "How often the engine has started it again after it ended by itself" }),
        ),
        startedAt: optionalKey(Schema.String.annotate({ description: "When it was started last, RFC 3339" })),
        exitCode: optionalKey(Schema.Int.annotate({ description: "With which it ended last; of one that has ended" })),
        oomKilled: optionalKey(Schema.Boolean.annotate({ description: "It ended because it ran out of memory" })),
      }).annotate({ identifier: "ContainerSeen" }),
    ),
  ).annotate({ description: "Of containers; `null`: the engine does not answer" }),
  differences: Schema.Array(
    Schema.Struct({
      resource: Schema.String,
      action: Schema.String,
      expected: Schema.String,
      actual: Schema.String,
    }),
  ).annotate({ description: "What the next round will put right" }),
}).annotate({ identifier: "ApplicationSeen", description: "How an application stands in the world at this moment" });

/** How an application stands in the world at this moment. Asked of its node. */
export const applicationSeen = declareAsk({
  context: "applications",
  name: "application-seen",
  request: Schema.Struct({ organisation: Schema.String, application: ApplicationId }),
  answer: ApplicationSeen,
  timeoutMs: 10_000,
});

/** What a branch, tag or commit of a repository is now, before anything is made of it. Asked of any node. */
export const refSeen = declareAsk({
  context: "applications",
  name: "ref-seen",
  request: Schema.Struct({
    organisation: Schema.String,
    source: Schema.Union([GitSource, PathSource]),
    ref: Ref,
  }),
  answer: Schema.Union([
    Schema.Struct({ commit: Schema.String, ref: Schema.String }),
    Schema.Struct({ failed: Schema.Struct({ code: Schema.String, message: Schema.String, fix: Schema.String }) }),
  ]),
  timeoutMs: 15_000,
});
