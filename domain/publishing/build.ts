/** A build: content on its way into a repository. Rules of what is asked and of what publishers report; see build-state.ts. */
import * as shape from "@millrace/contracts/publishing/build-events.ts";
import { BUILD_LIMITS as LIMITS, BUILD_PATTERNS as PATTERNS } from "@millrace/contracts/publishing/build-parts.ts";
import { type Claim, type Decider, type Decision, type DomainEvent, type Refusal, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import type { Kind } from "../kind.ts";
import { buildEventDeclarations } from "./build-events.ts";
import { decideReview } from "./build-review.ts";
import { checkManifestSource, checkSubsets, refusedSource } from "./build-source.ts";
import {
  type BuildCommand,
  type BuildState,
  evolveBuild,
  initialBuild,
  representBuild,
  stepOf,
} from "./build-state.ts";

export { isCleared, type PermissionChangeOf, REVIEW_TAKEN, reviewClaim } from "./build-review.ts";
export { uploadOfBuild } from "./build-source.ts";
export type * from "./build-state.ts";
export { expiryOfBuild, isManifest, nextOfBuild } from "./build-state.ts";

/** Where a number leads to its build: unique in the installation, held for ever. */
export const numberClaim = (number: number | string): Pick<Claim, "what" | "value"> => ({
  what: "build-number",
  value: `${number}`,
});
/** Another took the number at the same moment: the next one is free. */
export const NUMBER_TAKEN = "number-taken";

const appId = says(
  (text) => text.length <= 255 && PATTERNS.appId.test(text),
  "two or more parts of letters, digits, _ and - with dots between, none beginning with a digit",
);
const ref = says(
  (text) => text.length <= 600 && PATTERNS.ref.test(text),
  "app/<id>/<arch>/<branch>, runtime/<id>/<arch>/<branch>, or screenshots/<arch>",
);
const commit = says((text) => PATTERNS.commit.test(text), "64 hexadecimal digits");
const url = says((text) => PATTERNS.url.test(text), "an http or https address of at most 1900 characters");
const line = says((text) => PATTERNS.line.test(text), `one line of at most ${LIMITS.text} characters`);
const isPriority = (value: number): boolean => Number.isInteger(value) && Math.abs(value) <= LIMITS.priority;

const overtaken = rule("overtaken", "Another attempt is under way, or it is over.", "Let it pass.");
const without = <T extends object>(command: T & { readonly do: string }): Omit<T, "do"> =>
  Object.fromEntries(Object.entries(command).filter(([name, value]) => name !== "do" && value !== undefined)) as never;

const happened = (type: string, data: object = {}): Decision<DomainEvent> => ({ events: [{ type, data }] });

/** What a build cannot do in its state. */
const notNow = (name: string, state: BuildState, verb: string, fix: string): Refusal =>
  rule(name, `A build that is ${state.state}, and ${state.published}, cannot be ${verb}.`, fix);

/** The same within its organisation: another's leads nowhere. */
const ownClaim = (organisation: string, number: number | string): Pick<Claim, "what" | "value"> => ({
  what: "build-own-number",
  value: `${organisation}/${number}`,
});

/** Who holds a reference of a repository: nobody else publishes to it. */
export const holdClaim = (repository: string, ref: string): Pick<Claim, "what" | "value"> => ({
  what: "ref-hold",
  value: `${repository}/${ref}`,
});
/** Somebody holds the reference. */
export const HELD = (ref: string): Refusal =>
  rule("held", `${ref} is held: nothing else is published to it.`, "Release the hold of the build that took it back.");
const holdOf = (repository: string, ref: string, hold: boolean): Claim => ({
  ...holdClaim(repository, ref),
  hold,
  taken: HELD(ref),
});

function create(
  command: Extract<BuildCommand, { do: "create" }>,
  state: BuildState,
  organisation: string,
): Decision<DomainEvent> {
  if (state.state !== null) {
    return { refused: "conflict", reason: "This build exists already.", fix: "Use another Idempotency-Key." };
  }
  const faults = new Faults()
    .check("/appId", appId, command.appId)
    .check("/logUrl", url, command.logUrl)
    .check("/hold", line, command.hold);
  if (!isPriority(command.priority)) faults.add("/priority", `from -${LIMITS.priority} to ${LIMITS.priority}`);
  if (command.source.type === "manifest") checkManifestSource(command.source, faults);
  const taken = rule(NUMBER_TAKEN, "Another build took this number at the same moment.", "Try again.");
  const names = [numberClaim(command.number), ownClaim(organisation, command.number)];
  const claims: Claim[] = names.map((each) => ({ ...each, hold: true, taken }));
  const { refs, hold } = command;
  if (refs?.length === 0) return rule("nothing-published", "The build has published nothing.", "Name one that has.");
  if (hold !== undefined) for (const each of refs ?? []) claims.push(holdOf(command.repository, each.ref, true));
  const events: DomainEvent[] = [{ type: "BuildCreated", data: without(command) }];
  if (command.source.type === "mirror" && refs !== undefined) checkRefs(refs, faults);
  else if (refs !== undefined) events.push({ type: "BuildPublishRequested", data: {} });
  const refused = command.source.type === "manifest" ? refusedSource(command.source) : undefined;
  return faults.refusal() ?? refused ?? { events, claims };
}

function change(command: Extract<BuildCommand, { do: "change" }>, state: BuildState): Decision<DomainEvent> {
  const { seen, ...asked } = command;
  if (seen !== undefined && seen !== state.generation) {
    return { refused: "precondition", expected: seen, actual: state.generation };
  }
  const faults = new Faults().check("/logUrl", url, asked.logUrl);
  if (asked.priority !== undefined && !isPriority(asked.priority)) {
    faults.add("/priority", `from -${LIMITS.priority} to ${LIMITS.priority}`);
  }
  const changes = Object.entries(without(asked)).filter(([name, value]) => state[name as keyof BuildState] !== value);
  if (faults.any) return faults.refusal()!;
  return changes.length === 0 ? { events: [] } : happened("BuildChanged", Object.fromEntries(changes));
}

function checkRefs(refs: ReadonlyArray<typeof shape.DeclaredRef.Type>, faults: Faults): void {
  for (const [index, each] of refs.entries()) {
    faults
      .check(`/refs/${index}/ref`, ref, each.ref)
      .check(`/refs/${index}/commit`, commit, each.commit)
      .check(`/refs/${index}/logUrl`, url, each.logUrl);
  }
}

/** References may be named while content comes. */
const isOpen = ({ state }: BuildState): boolean => state === "uploading";

function declareRefs({ refs }: Extract<BuildCommand, { do: "declareRefs" }>, state: BuildState): Decision<DomainEvent> {
  if (!isOpen(state)) return notNow("not-uploading", state, "given references", "Begin another build.");
  const faults = new Faults();
  checkRefs(refs, faults);
  const known = new Map(state.refs.map((each) => [each.ref, each]));
  const last = new Map(refs.map((each) => [each.ref, each]));
  faults.most("/refs", new Set([...known.keys(), ...last.keys()]).size, LIMITS.refs);
  if (faults.any) return faults.refusal()!;
  const news = [...last.values()].filter((each) => {
    const had = known.get(each.ref);
    return had?.commit !== each.commit || had.logUrl !== (each.logUrl ?? null);
  });
  const told = news.map(({ logUrl, ...each }) => (logUrl === undefined ? each : { ...each, logUrl }));
  return told.length === 0 ? { events: [] } : happened("BuildRefsDeclared", { refs: told });
}

function addIds({ ids }: Extract<BuildCommand, { do: "addExtraIds" }>, state: BuildState): Decision<DomainEvent> {
  if (!isOpen(state)) return notNow("not-uploading", state, "given ids", "Begin another build.");
  const news = [...new Set(ids)].filter((id) => !state.extraIds.includes(id));
  const faults = new Faults()
    .each("/ids", appId, ids)
    .most("/ids", state.extraIds.length + news.length, LIMITS.extraIds);
  if (faults.any) return faults.refusal()!;
  return news.length === 0 ? { events: [] } : happened("BuildIdsAdded", { ids: news });
}

function requestCommit(command: Extract<BuildCommand, { do: "commit" }>, state: BuildState): Decision<DomainEvent> {
  if (!isOpen(state)) return notNow("not-uploading", state, "committed", "Look at its state, or begin another build.");
  if (state.refs.length === 0) {
    return rule("no-refs", "No reference of the build is named.", "Name its references and their commits first.");
  }
  const terms = without(command);
  const faults = new Faults()
    .check("/endOfLife", line, terms.endOfLife)
    .check("/endOfLifeRebase", appId, terms.endOfLifeRebase);
  checkSubsets("/subsets", terms.subsets ?? [], faults);
  return faults.refusal() ?? happened("BuildCommitRequested", terms);
}

const CANCELLABLE = ["queued", "building", "fetching", "uploading", "committing", "validating", "ready"];
const PURGEABLE = ["queued", "uploading", "ready", "failed", "cancelled"];

/** What people ask of a build, and other parts of the product in their name. */
function steer(verb: "publish" | "cancel" | "purge" | "expire" | "retry", state: BuildState): Decision<DomainEvent> {
  switch (verb) {
    case "publish":
      if (state.state !== "ready" || state.published !== "unpublished") {
        const fix = "Commit it and wait until it is ready; what failed is tried again by `retry`.";
        return notNow("not-ready", state, "published", fix);
      }
      return happened("BuildPublishRequested");
    case "cancel":
      if (state.state === "cancelled") return { events: [] };
      if (!CANCELLABLE.includes(state.state!) || !["unpublished", "reviewing", "rejected"].includes(state.published)) {
        return notNow("too-late", state, "cancelled", "Roll back what was published instead.");
      }
      return happened("BuildCancelled");
    case "purge":
    case "expire":
      if (state.state === "purging" || state.state === "purged") return { events: [] };
      if (!PURGEABLE.includes(state.state!) || state.published === "publishing") {
        return notNow("in-use", state, "purged", "Wait until what is under way has ended, or cancel it.");
      }
      return happened("BuildPurgeRequested", { why: verb === "purge" ? "asked" : "expired" });
    case "retry":
      if (state.failure === null || !(state.state === "failed" || state.published === "failed")) {
        return notNow("not-failed", state, "tried again", "Nothing: only what failed is tried again.");
      }
      return happened("BuildRetried");
  }
}

const canBring = (state: BuildState): boolean => stepOf(state) === "publish" && !state.isBrought;

function committed(refs: ReadonlyArray<typeof shape.RefMade.Type>, { terms }: BuildState): Decision<DomainEvent> {
  const publishing = terms?.publish === true ? [{ type: "BuildPublishRequested", data: {} }] : [];
  return { events: [{ type: "BuildCommitted", data: { refs } }, ...publishing] };
}

type Report = Extract<BuildCommand, { readonly attempt: number }>;

/** What only the publisher does whose attempt it is. */
function report(command: Report, state: BuildState): Decision<DomainEvent> {
  const step = stepOf(state);
  if (command.do === "begin") {
    const { do: _, anew = false, ...data } = command;
    const isNext = step === command.step && command.attempt === state.attempt + 1;
    const isLast = command.attempt > LIMITS.attempts;
    if (!isNext || isLast || (state.node !== null && state.node !== command.node)) return overtaken;
    return happened("BuildStepBegun", without({ do: "", ...data, at: anew ? data.at : (state.publishAt ?? data.at) }));
  }
  if (command.attempt !== state.attempt || command.worker !== state.worker) return overtaken;
  switch (command.do) {
    case "built": {
      const { do: _, attempt: __, worker: ___, ...data } = command;
      return step === "build" ? happened("BuildBuilt", data) : overtaken;
    }
    case "fetched": {
      const { objects, bytes } = command;
      return step === "fetch" ? happened("BuildFetched", { objects, bytes }) : overtaken;
    }
    case "incomplete": {
      const { count, missing } = command;
      if (step !== "commit") return overtaken;
      return happened("BuildIncomplete", { count, missing: missing.slice(0, LIMITS.missing) });
    }
    case "committed":
      return step === "commit" ? committed(command.refs, state) : overtaken;
    case "refsPublished":
      return canBring(state) ? happened("BuildRefsPublished", { refs: command.refs }) : overtaken;
    case "refsRemoved":
      return canBring(state) ? happened("BuildRefsRemoved", { refs: command.refs }) : overtaken;
    case "published":
      return step === "publish" && state.isBrought ? happened("BuildPublished") : overtaken;
    case "deltasMade":
      if (step !== "deltas") return overtaken;
      return happened("BuildDeltasMade", without({ do: "", made: command.made, failed: command.failed }));
    case "fail": {
      const { step: failed, failure } = command;
      const fits = failed === step || (failed === "validate" && state.state === "validating");
      return fits ? happened("BuildFailed", { step: failed, ...failure }) : overtaken;
    }
  }
}

const decider: Decider<BuildState, BuildCommand, DomainEvent> = {
  initial: initialBuild,
  evolve: evolveBuild,
  decide: (command, state, { organisation }): Decision<DomainEvent> => {
    if (command.do === "create") return create(command, state, organisation);
    if (state.state === null) return { refused: "not-found", reason: "There is no such build." };
    switch (command.do) {
      case "change":
        return change(command, state);
      case "declareRefs":
        return declareRefs(command, state);
      case "addExtraIds":
        return addIds(command, state);
      case "commit":
        return requestCommit(command, state);
      case "approve":
      case "reject":
      case "askReview":
      case "recallReview":
        return decideReview(command, state);
      case "released":
        return state.isHeld ? happened("BuildReleased") : { events: [] };
      case "releaseHold": {
        if (state.hold === null) return { events: [] };
        const claims = state.refs.map((each) => holdOf(state.repository, each.ref, false));
        return { events: [{ type: "BuildHoldReleased", data: {} }], claims };
      }
      case "purged":
        return state.state === "purging" ? happened("BuildPurged") : { events: [] };
      case "publish":
      case "cancel":
      case "purge":
      case "expire":
      case "retry":
        return steer(command.do, state);
      default:
        return report(command, state);
    }
  },
};

export const build: Kind<BuildState, BuildCommand> = {
  context: "publishing",
  kind: "build",
  prefix: "bld",
  collection: "builds",
  decider,
  events: buildEventDeclarations,
  publicEvents: shape.buildEvents,
  generation: (state) => state.generation,
  exists: (state) => state.state !== null,
  over: ({ state, published }) =>
    ["published", "failed", "rejected"].includes(published) || (state === "ready" && published === "unpublished")
      ? true
      : ["failed", "purged", "cancelled"].includes(state!),
  represent: representBuild,
  parents: ({ repository }) => [repository],
  nameClaim: ownClaim,
  stateVersion: 3,
};
