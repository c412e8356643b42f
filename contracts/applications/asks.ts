/** What only the node on which an application lives can tell. */
import * as Schema from "effect/Schema";
import { declareAsk } from "../asks.ts";
import { GitSource, PathSource } from "./entities.ts";
import { ApplicationId, Ref } from "./values.ts";

const { optionalKey } = Schema;

export const ApplicationSeen = Schema.Struct({
  at: Schema.String.annotate({ description: "When it was looked at" }),
  stopped: Schema.Boolean,
  /** Null: nothing is served. */
  route: Schema.NullOr(
    Schema.Struct({ generation: Schema.Int, deployment: Schema.String, addresses: Schema.Array(Schema.String) }),
  ),
  /** Null: the engine does not answer. */
  containers: Schema.NullOr(
    Schema.Array(
      Schema.Struct({
        id: Schema.String,
        deployment: Schema.String,
        slot: Schema.Int,
        state: Schema.String,
        health: Schema.String,
        address: optionalKey(Schema.String),
      }),
    ),
  ),
  /** What the next round would put right. */
  differences: Schema.Array(
    Schema.Struct({
      resource: Schema.String,
      action: Schema.String,
      expected: Schema.String,
      actual: Schema.String,
    }),
  ),
});

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
