/** What people decide about builds before they are published: when they are asked, what they said, and what is remembered of it. */
import * as Schema from "effect/Schema";
import { ActorShown, Time } from "../http.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

export const REVIEW_LIMITS = {
  /** References of a build whose permissions change, that are decided about one by one. */
  changes: 100,
  /** Permissions of one reference that are told, and the characters of each. */
  permissions: 50,
  characters: 200,
  comment: 500,
} as const;
/** `none`: nobody is asked; `permissions`: where an application may do other things than before; `always`: about each build. */
export const REVIEW_POLICIES = ["none", "permissions", "always"] as const;
export const ReviewPolicy = Schema.Literals(REVIEW_POLICIES).annotate({
  description:
    "When somebody has to decide before a build is published: `none`, never, as it is unless said; `permissions`, where an application may do other things than before, once for each set of permissions; `always`, about each build",
  examples: ["permissions"],
});

const Permissions = Schema.Array(Schema.String).annotate({
  description: `The first ${REVIEW_LIMITS.permissions}: \`filesystems=home\``,
});
export const PermissionChange = Schema.Struct({
  ref: text("The reference"),
  application: text("Its application"),
  set: text("Which permissions it has then, all together: a checksum, by which the decision is found again"),
  added: Permissions,
  removed: Permissions,
}).annotate({ identifier: "PermissionChange" });
const changes = {
  changes: Schema.Array(PermissionChange),
  more: optionalKey(count("References whose permissions change as well, and which are not told")),
};
const decided = {
  comment: optionalKey(text("Why")),
  sets: Schema.Array(Schema.String).annotate({ description: "Sets of permissions for which it is remembered" }),
};

export const BuildReviewAsked = Schema.Struct({
  why: Schema.Literals(["permissions", "always"]).annotate({ description: "By the policy of its repository" }),
  ...changes,
});
export const BuildApproved = Schema.Struct(decided);
export const BuildRejected = Schema.Struct(decided);
export const BuildReviewRecalled = Schema.Struct({
  approved: Schema.Boolean,
  build: text("Id of the build about which it was decided"),
  ...changes,
});

const line = /^[^\p{Cc}\p{Cs}\s][^\p{Cc}\p{Cs}]{0,499}$/u;
export const REVIEW_COMMENT = line;
export const DecideBuild = Schema.Struct({
  comment: optionalKey(
    Schema.String.check(Schema.isPattern(line)).annotate({
      description: `Why: one line of at most ${REVIEW_LIMITS.comment} characters`,
      examples: ["It opens documents now"],
    }),
  ),
}).annotate({ identifier: "DecideBuild" });

export const ReviewShown = Schema.Struct({
  why: Schema.Literals(["permissions", "always"]),
  since: Time,
  ...changes,
  decision: optionalKey(
    Schema.Struct({
      approved: Schema.Boolean,
      by: optionalKey(ActorShown),
      comment: optionalKey(Schema.String),
      at: Time,
      remembered: optionalKey(text("Id of the build about which it was decided")),
    }).annotate({ identifier: "BuildDecision", description: "Without it somebody is to decide" }),
  ),
}).annotate({ identifier: "BuildAsked", description: "What somebody decides, or decided, about it" });
