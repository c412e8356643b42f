/**
 * Decisions about builds before they are published. What was decided about a set of permissions of an application is found by a claim that
 * the build holds about which it was decided; the decision itself is that build's, and may be another later.
 */
import type * as shape from "@millrace/contracts/publishing/build-events.ts";
import { REVIEW_COMMENT, REVIEW_LIMITS } from "@millrace/contracts/publishing/reviews.ts";
import { type Actor, type Claim, type Decision, type DomainEvent, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import type { BuildState } from "./build-state.ts";

export type PermissionChangeOf = (typeof shape.BuildReviewAsked.Type)["changes"][number];
type Changes = Pick<typeof shape.BuildReviewAsked.Type, "changes" | "more">;

export interface ReviewState extends Changes {
  readonly why: "permissions" | "always";
  readonly since: string;
  readonly decision: {
    readonly approved: boolean;
    readonly by: Actor | null;
    readonly comment: string | null;
    readonly at: string;
    /** Id of the build about which it was decided; null: about this one. */
    readonly remembered: string | null;
  } | null;
  /** Sets of permissions for which what is decided here is remembered. */
  readonly sets: ReadonlyArray<string>;
}

export type ReviewCommand =
  /** `take`: sets of permissions about which nothing is remembered yet, as the edge knows it. */
  | {
      readonly do: "approve" | "reject";
      readonly comment?: string | undefined;
      readonly take: ReadonlyArray<string>;
    }
  /** By a publisher, before anything is published. */
  | ({ readonly do: "askReview"; readonly why: ReviewState["why"] } & Changes)
  | ({ readonly do: "recallReview"; readonly approved: boolean; readonly build: string } & Changes);

/** Which build it was decided about: a set of permissions of an application in a repository. */
export const reviewClaim = (repository: string, set: string): Pick<Claim, "what" | "value"> => ({
  what: "reviewed-permissions",
  value: `${repository}/${set}`,
});
/** Another took one of the sets at the same moment: the edge looks again. */
export const REVIEW_TAKEN = "review-taken";
const taken = rule(REVIEW_TAKEN, "It was decided about these permissions at the same moment.", "Try again.");

const overtaken = rule("overtaken", "It is not about to be published, or was decided about.", "Let it pass.");
const commentCheck = says(
  (text) => REVIEW_COMMENT.test(text),
  `one line of at most ${REVIEW_LIMITS.comment} characters`,
);

/** Somebody approved of it, or of the same before. */
export const isCleared = ({ review }: Pick<BuildState, "review">): boolean => review?.decision?.approved === true;

export function decideReview(command: ReviewCommand, state: BuildState): Decision<DomainEvent> {
  const { review } = state;
  if (command.do === "askReview" || command.do === "recallReview") {
    const isNow = state.state === "ready" && state.published === "publishing" && !state.isBrought;
    if (!isNow || isCleared(state)) return overtaken;
    const { do: verb, more, ...data } = command;
    const type = verb === "askReview" ? "BuildReviewAsked" : "BuildReviewRecalled";
    return { events: [{ type, data: more === undefined ? data : { ...data, more } }] };
  }
  if (review === null) {
    const fix = "Nothing: ask for it to be published; the policy of its repository says whether somebody is asked.";
    return rule("no-review", "There is nothing to decide about this build.", fix);
  }
  const faults = new Faults().check("/comment", commentCheck, command.comment);
  if (faults.any) return faults.refusal()!;
  const approved = command.do === "approve";
  if (review.decision?.approved === approved) return { events: [] };
  if (!approved && state.published === "publishing") {
    return rule("too-late", "It is being published at this moment.", "Roll it back when it is published.");
  }
  const sets = [...new Set([...review.sets, ...command.take])];
  const claims = command.take.map((set) => ({ ...reviewClaim(state.repository, set), hold: true, taken }));
  const data = { ...(command.comment === undefined ? {} : { comment: command.comment }), sets };
  return { events: [{ type: approved ? "BuildApproved" : "BuildRejected", data }], claims };
}

type Told = { readonly time: string; readonly actor: Actor };

/** Undefined: it is another event. */
export function evolveReview(
  state: BuildState,
  { type, data }: DomainEvent,
  { time, actor }: Told,
): Partial<BuildState> | undefined {
  const stepping = { attempt: 0, worker: "", stepSince: time };
  switch (type) {
    case "BuildReviewAsked": {
      const asked = data as typeof shape.BuildReviewAsked.Type;
      return { ...stepping, published: "reviewing", review: { ...asked, since: time, decision: null, sets: [] } };
    }
    case "BuildReviewRecalled": {
      const { approved, build, ...changes } = data as typeof shape.BuildReviewRecalled.Type;
      const decision = { approved, by: null, comment: null, at: time, remembered: build };
      const review = { why: "permissions", since: time, ...changes, decision, sets: [] } as const;
      return { review, ...(approved ? {} : { ...stepping, published: "rejected" as const }) };
    }
    case "BuildApproved":
    case "BuildRejected": {
      const { comment = null, sets } = data as typeof shape.BuildApproved.Type;
      if (state.review === null) return {};
      const approved = type === "BuildApproved";
      const review = {
        ...state.review,
        sets,
        decision: { approved, by: actor, comment, at: time, remembered: null },
      };
      const isWaiting = state.state === "ready" && ["reviewing", "rejected"].includes(state.published);
      if (!isWaiting) return { review };
      if (!approved) return { ...stepping, review, published: "rejected" };
      // From now on, and with a time of now: others were published meanwhile.
      return { ...stepping, review, published: "publishing", publishRequestedAt: time, publishAt: null, failure: null };
    }
    default:
      return undefined;
  }
}

export function representReview({ review }: BuildState): object {
  if (review === null) return {};
  const { sets: _, decision, ...shown } = review;
  if (decision === null) return { review: shown };
  const { approved, at, by, comment, remembered } = decision;
  const told = {
    approved,
    at,
    ...(by === null ? {} : { by }),
    ...(comment === null ? {} : { comment }),
    ...(remembered === null ? {} : { remembered }),
  };
  return { review: { ...shown, decision: told } };
}
