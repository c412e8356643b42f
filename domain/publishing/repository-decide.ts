/** What may happen to a repository, and what its publisher is to do about it now. */

import { MIRROR_LIMITS } from "@millrace/contracts/publishing/mirrors.ts";
import type * as shape from "@millrace/contracts/publishing/repository-events.ts";
import {
  REPOSITORY_LIMITS,
  REPOSITORY_PATTERNS,
  SETTING_NAMES,
} from "@millrace/contracts/publishing/repository-parts.ts";
import { REVIEW_POLICIES } from "@millrace/contracts/publishing/reviews.ts";
import { type Circumstances, type Decision, type DomainEvent, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import { nameClaims } from "../names.ts";
import type { Sealed } from "../sealed.ts";
import { checkMirror, mayMirror, mirrorDue } from "./mirror.ts";
import {
  changedTo,
  type Mirrored,
  type Pruned,
  type RepositoryFailure,
  type RepositoryKey,
  type RepositorySettings,
  type RepositoryState,
  type Validated,
} from "./repository-state.ts";

interface Attempted {
  readonly attempt: number;
  readonly worker: string;
}
type Changes = { readonly [K in keyof RepositorySettings]?: RepositorySettings[K] | null | undefined };
export type RepositoryCommand =
  | ({
      readonly do: "create";
      readonly name: string;
      readonly collectionId?: string | undefined;
      /** A key that was given, sealed. */
      readonly key?: Sealed | undefined;
    } & RepositorySettings)
  | ({ readonly do: "change"; readonly seen?: number } & Changes)
  | { readonly do: "retry" }
  | {
      readonly do: "rotateKey";
      readonly key?: Sealed | undefined;
      readonly overlapDays: number;
      readonly seen?: number;
    }
  | { readonly do: "validate" }
  | { readonly do: "mirror"; readonly refs?: ReadonlyArray<string> | undefined }
  | { readonly do: "prune" }
  | { readonly do: "delete"; readonly seen?: number }
  /** By a publisher, before it touches anything. */
  | (Attempted & { readonly do: "begin"; readonly node: string })
  | (Attempted & { readonly do: "keepKey"; readonly key: RepositoryKey })
  | (Attempted & { readonly do: "finish" })
  | (Attempted & { readonly do: "fail"; readonly failure: RepositoryFailure })
  | RepositoryReport;

/** What a publisher did with one that is there. */
export type RepositoryReport =
  | { readonly do: "rotated"; readonly key: RepositoryKey }
  | { readonly do: "refuseKey"; readonly failure: RepositoryFailure }
  | { readonly do: "retireKey"; readonly fingerprint: string }
  | { readonly do: "configured"; readonly revision: number; readonly url?: string | undefined }
  | ({ readonly do: "validated" } & Validated)
  | ({ readonly do: "pruned" } & Pruned)
  | ({ readonly do: "mirrored" } & Mirrored)
  | { readonly do: "removed" };

/** What a publisher is to do. */
export type RepositoryStep =
  | { readonly kind: "begin"; readonly attempt: number }
  | { readonly kind: "giveUp"; readonly attempt: number }
  | { readonly kind: "rotate" }
  | { readonly kind: "retireKey"; readonly fingerprint: string }
  | { readonly kind: "configure"; readonly revision: number }
  | { readonly kind: "validate"; readonly request: number }
  | { readonly kind: "mirror"; readonly request: number; readonly by: "command" | "schedule" }
  | { readonly kind: "prune"; readonly request: number; readonly by: "command" | "retention" }
  /** Those that were put aside because another key signs: by a publisher's own knowledge, once for each process and change. */
  | { readonly kind: "deltas" }
  | { readonly kind: "remove" };
export type RepositoryNext = undefined | { readonly do: RepositoryStep } | { readonly waitUntil: number };

/** Pure: the same for every publisher. Who asks holds the lease, so an attempt that is under way is one that broke off. */
export function nextOfRepository(state: RepositoryState, nowMs: number): RepositoryNext {
  if (state.state === "deleted") return state.removed || state.node === null ? undefined : { do: { kind: "remove" } };
  if (state.state === "pending" || state.state === "making") {
    const { attempt } = state;
    const isLast = attempt >= REPOSITORY_LIMITS.attempts;
    return { do: isLast ? { kind: "giveUp", attempt } : { kind: "begin", attempt: attempt + 1 } };
  }
  if (state.state !== "ready") return undefined;
  if (state.rotation !== null) return { do: { kind: "rotate" } };
  const ends = state.keys.flatMap(({ fingerprint, until }) =>
    until === undefined ? [] : [{ fingerprint, at: Date.parse(until) }],
  );
  const over = ends.find(({ at }) => at <= nowMs);
  if (over !== undefined) return { do: { kind: "retireKey", fingerprint: over.fingerprint } };
  if (state.carried < state.revision) return { do: { kind: "configure", revision: state.revision } };
  const { mirroring } = state;
  const isAsked = state.settings.mirror !== undefined && mirroring.done < mirroring.asked;
  if (isAsked) return { do: { kind: "mirror", request: mirroring.asked, by: "command" } };
  const look = mirrorDue(state);
  if (look <= nowMs) return { do: { kind: "mirror", request: mirroring.asked, by: "schedule" } };
  if (state.validation.done < state.validation.asked) {
    return { do: { kind: "validate", request: state.validation.asked } };
  }
  const { asked, done } = state.pruning;
  if (done < asked) return { do: { kind: "prune", request: asked, by: "command" } };
  const due = pruneDue(state);
  if (due <= nowMs) return { do: { kind: "prune", request: asked, by: "retention" } };
  const soonest = Math.min(due, look, ...ends.map(({ at }) => at));
  return Number.isFinite(soonest) ? { waitUntil: soonest } : undefined;
}

/** When it is to be pruned by itself; never without a retention. */
function pruneDue({ settings: { retention }, pruning, readyAt }: RepositoryState): number {
  if (retention === undefined) return Number.POSITIVE_INFINITY;
  return Date.parse(pruning.last?.at ?? readyAt!) + retention.everyHours * 3_600_000;
}

const { REPOSITORY_LIMITS: LIMITS, REPOSITORY_PATTERNS: PATTERNS } = { REPOSITORY_LIMITS, REPOSITORY_PATTERNS };
export const names = nameClaims("repository");
const line = (pattern: RegExp) => says((text) => pattern.test(text), `one line of at most ${LIMITS.title} characters`);
const address = says(
  (text) => PATTERNS.url.test(text) && URL.canParse(text),
  "an address with http:// or https://, without credentials",
);
const CHECKS = {
  title: line(PATTERNS.title),
  comment: line(PATTERNS.comment),
  description: says((text) => PATTERNS.description.test(text), `at most ${LIMITS.description} characters`),
  homepage: address,
  icon: address,
  redirectUrl: address,
  defaultBranch: says((text) => PATTERNS.branch.test(text), "the name of a branch: letters, digits, . _ -"),
} as const;
const collectionIdCheck = says(
  (text) => text.length <= LIMITS.collectionId && PATTERNS.collectionId.test(text),
  "two or more parts of letters, digits and _ with dots between, none beginning with a digit",
);
const applicationCheck = says(
  (text) => PATTERNS.application.test(text),
  "the id of an application, as org.example.App",
);

function faultsOf(asked: Changes): Faults {
  const faults = new Faults();
  for (const [name, check] of Object.entries(CHECKS))
    faults.check(`/${name}`, check, asked[name as keyof typeof CHECKS]);
  const readers = asked.readers ?? [];
  faults.most("/readers", readers.length, LIMITS.readers);
  for (const [index, { applications }] of readers.entries()) {
    faults.each(`/readers/${index}/applications`, applicationCheck, applications);
  }
  if (asked.review != null && !REVIEW_POLICIES.includes(asked.review)) {
    faults.add("/review", `one of ${REVIEW_POLICIES.join(", ")}`);
  }
  if (asked.mirror != null) checkMirror(asked.mirror, faults);
  const tokens = readers.map(({ token }) => token);
  const twice = tokens.findIndex((token, index) => tokens.indexOf(token) < index);
  return twice < 0
    ? faults
    : faults.add(`/readers/${twice}/token`, "is named already: say all of its applications there");
}

const overtaken = rule("overtaken", "Another attempt is under way, or it is over.", "Let it pass.");

const said = (data: object): object =>
  Object.fromEntries(Object.entries(data).filter(([, value]) => value !== undefined));

const keyAsked = (key: Sealed | undefined, overlapDays: number): DomainEvent => ({
  type: "RepositoryKeyAsked",
  data: { imported: key !== undefined, overlapDays, ...(key === undefined ? {} : { sealed: key }) },
});

function create(
  { do: _, key, ...asked }: Extract<RepositoryCommand, { do: "create" }>,
  state: RepositoryState,
  organisation: string,
): Decision<DomainEvent> {
  if (state.state !== null) {
    return { refused: "conflict", reason: "This repository exists already.", fix: "Use another Idempotency-Key." };
  }
  const faults = faultsOf(asked).check("/collectionId", collectionIdCheck, asked.collectionId);
  const claims = [names.claim(organisation, asked.name, true)];
  const events: DomainEvent[] = [{ type: "RepositoryCreated", data: said(asked) }];
  if (key !== undefined) events.push(keyAsked(key, 0));
  return faults.refusal() ?? { events, claims };
}

function change(
  { do: _, seen: __, ...asked }: Extract<RepositoryCommand, { do: "change" }>,
  state: RepositoryState,
): Decision<DomainEvent> {
  const refusal = faultsOf(asked).refusal();
  if (refusal !== undefined) return refusal;
  const merged = changedTo(state.settings, said(asked));
  const differs = SETTING_NAMES.filter((name) => JSON.stringify(merged[name]) !== JSON.stringify(state.settings[name]));
  if (differs.length === 0) return { events: [] };
  const data = Object.fromEntries(differs.map((name) => [name, merged[name] ?? null]));
  const type = differs.length === 1 && differs[0] === "title" ? "RepositoryRetitled" : "RepositoryChanged";
  return { events: [{ type, data }] };
}

/** What only the publisher does whose attempt it is. */
function attempt(command: Extract<RepositoryCommand, Attempted>, state: RepositoryState): Decision<DomainEvent> {
  if (command.do === "begin") {
    const { attempt: number, worker, node } = command;
    const next = state.state === "deleted" ? undefined : nextOfRepository(state, 0);
    const isNext = next !== undefined && "do" in next && state.state !== "ready" && number === state.attempt + 1;
    if (!isNext || (state.node !== null && state.node !== node)) return overtaken;
    return { events: [{ type: "RepositoryBegun", data: { node, attempt: number, worker } }] };
  }
  if (state.state !== "making" || command.attempt !== state.attempt || command.worker !== state.worker)
    return overtaken;
  switch (command.do) {
    case "keepKey":
      // One key, whatever breaks off afterwards.
      return state.keys.length === 0 ? { events: [{ type: "RepositoryKeyMade", data: command.key }] } : overtaken;
    case "finish":
      if (state.keys.length === 0) return overtaken;
      return { events: [{ type: "RepositoryMade", data: { attempt: command.attempt } }] };
    case "fail":
      return { events: [{ type: "RepositoryFailed", data: command.failure }] };
  }
}

const DAY_MS = 86_400_000;

/** Each as long as it is still wanted: of two workers one is overtaken. */
function report(command: RepositoryReport, state: RepositoryState, now: string): Decision<DomainEvent> {
  if (command.do === "removed") {
    const isWanted = state.state === "deleted" && !state.removed;
    return isWanted ? { events: [{ type: "RepositoryRemoved", data: {} }] } : overtaken;
  }
  if (command.do === "refuseKey") {
    // Of one that is being made, too.
    return state.rotation === null ? overtaken : { events: [{ type: "RepositoryKeyRefused", data: command.failure }] };
  }
  if (state.state !== "ready") return overtaken;
  switch (command.do) {
    case "rotated": {
      if (state.rotation === null) return overtaken;
      const until = new Date(Date.parse(now) + state.rotation.overlapDays * DAY_MS).toISOString();
      return { events: [{ type: "RepositoryKeyMade", data: { ...command.key, until } }] };
    }
    case "retireKey": {
      const { fingerprint } = command;
      const key = state.keys.find((one) => one.fingerprint === fingerprint);
      if (key?.until === undefined || key.until > now) return overtaken;
      return { events: [{ type: "RepositoryKeyRetired", data: { fingerprint } }] };
    }
    case "configured": {
      const { revision, url } = command;
      const isNews = revision > state.carried || (revision === state.carried && (url ?? null) !== state.url);
      if (!isNews || revision > state.revision) return overtaken;
      return { events: [{ type: "RepositoryConfigured", data: said({ revision, url }) }] };
    }
    case "validated": {
      const { do: _, ...data } = command;
      return { events: [{ type: "RepositoryValidated", data: data satisfies typeof shape.RepositoryValidated.Type }] };
    }
    case "mirrored": {
      const { do: _, ...data } = command;
      if (state.settings.mirror === undefined) return overtaken;
      return { events: [{ type: "RepositoryMirrored", data: data satisfies typeof shape.RepositoryMirrored.Type }] };
    }
    case "pruned": {
      const { do: _, ...data } = command;
      return { events: [{ type: "RepositoryPruned", data: data satisfies typeof shape.RepositoryPruned.Type }] };
    }
  }
}

const notReady = (state: RepositoryState) =>
  rule(
    "not-ready",
    `The repository is ${state.state}.`,
    "Wait until it is ready: `mill repos show … --wait state=ready`.",
  );

/** The other repository is looked at; what is named is followed from now on. */
function mirror(refs: ReadonlyArray<string>, state: RepositoryState): Decision<DomainEvent> {
  const { mirror: spec } = state.settings;
  if (state.state !== "ready") return notReady(state);
  if (spec === undefined) {
    return rule("no-mirror", "The repository follows no other one.", "Name one: `mill repos change … --mirror <url>`.");
  }
  const { wanted, asked, done } = state.mirroring;
  const faults = new Faults();
  for (const [index, ref] of refs.entries()) {
    if (!mayMirror(spec, ref)) faults.add(`/refs/${index}`, "is none of the references that this mirror may take");
  }
  const news = [...new Set(refs)].filter((ref) => !wanted.includes(ref));
  faults.most("/refs", refs.length, MIRROR_LIMITS.asked);
  if (faults.any) return faults.refusal()!;
  if (wanted.length + news.length > MIRROR_LIMITS.refs) {
    const fix = "Make another repository that follows the same one.";
    return rule("too-many-refs", `A mirror follows at most ${MIRROR_LIMITS.refs} references that were asked for.`, fix);
  }
  // One look that waits answers for both.
  if (news.length === 0 && asked > done) return { events: [] };
  return { events: [{ type: "RepositoryMirrorAsked", data: { refs: news } }] };
}

export function decide(
  command: RepositoryCommand,
  state: RepositoryState,
  { organisation, now }: Circumstances,
): Decision<DomainEvent> {
  if (command.do === "create") return create(command, state, organisation);
  const isThere = state.state !== null && (state.state !== "deleted" || command.do === "removed");
  if (!isThere) return { refused: "not-found", reason: "There is no such repository." };
  if ("seen" in command && command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  switch (command.do) {
    case "change":
      return change(command, state);
    case "delete":
      return {
        events: [{ type: "RepositoryDeleted", data: { name: state.name } }],
        claims: [names.claim(organisation, state.name, false)],
      };
    case "retry":
      if (state.state === "failed") return { events: [{ type: "RepositoryRetried", data: {} }] };
      return rule("not-failed", `The repository is ${state.state}.`, "Nothing: only one that failed is tried again.");
    case "rotateKey": {
      if (state.state !== "ready") return notReady(state);
      if (state.rotation !== null) {
        return rule("rotating", "Another key is about to be made or imported.", "Wait until it is there.");
      }
      if (state.keys.length >= LIMITS.keys) {
        const fix = "Wait until the oldest has ended, or rotate with a shorter overlap next time.";
        return rule("too-many-keys", `${LIMITS.keys} keys sign already.`, fix);
      }
      return { events: [keyAsked(command.key, command.overlapDays)] };
    }
    case "validate":
    case "prune": {
      if (state.state !== "ready") return notReady(state);
      const isValidation = command.do === "validate";
      const { asked, done } = isValidation ? state.validation : state.pruning;
      // One that waits answers for both.
      if (asked > done) return { events: [] };
      return { events: [{ type: isValidation ? "RepositoryValidationAsked" : "RepositoryPruneAsked", data: {} }] };
    }
    case "mirror":
      return mirror(command.refs ?? [], state);
    case "begin":
    case "keepKey":
    case "finish":
    case "fail":
      return attempt(command, state);
    default:
      return report(command, state, now);
  }
}
