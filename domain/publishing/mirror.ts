/**
 * What a mirror does about what it sees in the other repository. An application, with its translations and the like, is one build: it fails,
 * waits for somebody's decision, and is tried again by itself.
 */
import {
  MIRROR_LIMITS as LIMITS,
  type Mirror,
  MIRROR_PATTERNS as PATTERNS,
} from "@millrace/contracts/publishing/mirrors.ts";
import { type Faults, says } from "../faults.ts";
import type { Mirroring, RepositoryState } from "./repository-state.ts";

export type MirrorSpec = typeof Mirror.Type;

const MINUTE_MS = 60_000;
/** Until the rest is taken, milliseconds. */
const REST_MS = 30_000;

/** When the other repository is to be looked at by itself, milliseconds since 1970. */
export function mirrorDue({ settings: { mirror }, mirroring: { last }, readyAt }: RepositoryState): number {
  if (mirror === undefined) return Number.POSITIVE_INFINITY;
  if (last === null) return Date.parse(readyAt!);
  const { everyMinutes = LIMITS.minutes.usual } = mirror;
  return Date.parse(last.at) + (last.more > 0 ? REST_MS : everyMinutes * MINUTE_MS);
}

/** Whether a reference is one of a pattern: `*` is anything within its part. Linear in either. */
export function matches(pattern: string, ref: string): boolean {
  const [parts, names] = [pattern.split("/"), ref.split("/")];
  return parts.length === names.length && parts.every((part, at) => fits(part, names[at]!));
}

function fits(part: string, name: string): boolean {
  let [at, star, back] = [0, -1, 0];
  for (let i = 0; i < name.length; ) {
    if (part[at] === "*") {
      star = at++;
      back = i;
    } else if (part[at] === name[i]) {
      at++;
      i++;
    } else if (star >= 0) {
      at = star + 1;
      i = ++back;
    } else return false;
  }
  while (part[at] === "*") at++;
  return at === part.length;
}

/** Only applications and runtimes are; catalogues are made anew here. */
export const mayMirror = ({ refs }: MirrorSpec, ref: string): boolean =>
  /^(app|runtime)\//.test(ref) && (refs?.some((pattern) => matches(pattern, ref)) ?? true);

/** Not a secret one, which would stand in the log for good: RFC 9580, 4.2: the first packet is a public key (6). */
function isPublic(text: string): boolean {
  if (text.includes("-----BEGIN "))
    return text.includes("-----BEGIN PGP PUBLIC KEY BLOCK-----") && !/PRIVATE/.test(text);
  const start = text.trim().slice(0, 4);
  if (!/^[A-Za-z0-9+/]{4}$/.test(start)) return false;
  const head = atob(start).charCodeAt(0);
  return ((head & 0x40) === 0 ? (head >> 2) & 0x0f : head & 0x3f) === 6;
}

export function checkMirror(mirror: MirrorSpec, faults: Faults): void {
  const { url, gpgKeys = [], allowUnsigned = false, refs, everyMinutes: every = LIMITS.minutes.usual } = mirror;
  const address = says(
    (text) => PATTERNS.url.test(text) && URL.canParse(text),
    "an address with http:// or https://, without credentials",
  );
  const pattern = says(
    (text) => text.length <= LIMITS.pattern && PATTERNS.ref.test(text),
    "four parts, as app/org.example.*/x86_64/stable; * is anything within a part",
  );
  const key = says(
    (text) => text.length <= LIMITS.keyCharacters && PATTERNS.key.test(text) && isPublic(text),
    "a public key, armored or in base 64",
  );
  faults.check("/mirror/url", address, url).each("/mirror/gpgKeys", key, gpgKeys);
  faults.most("/mirror/gpgKeys", gpgKeys.length, LIMITS.keys).most("/mirror/refs", refs?.length ?? 0, LIMITS.patterns);
  faults.each("/mirror/refs", pattern, refs ?? []);
  const { least, most } = LIMITS.minutes;
  if (!Number.isInteger(every) || every < least || every > most) {
    faults.add("/mirror/everyMinutes", `from ${least} to ${most}`);
  }
  if (gpgKeys.length === 0 && !allowUnsigned) {
    faults.add(
      "/mirror/gpgKeys",
      "one of its public keys; without any, `allowUnsigned` believes whoever answers there",
    );
  }
  if (gpgKeys.length > 0 && allowUnsigned) faults.add("/mirror/allowUnsigned", "is for a mirror without keys");
}

/** What became of a build that a mirror made. `lost`: it failed, and its files have gone. */
export type BuildFate = "open" | "failed" | "lost" | "over";

export interface Follow {
  readonly ref: string;
  readonly commit: string;
}

export interface Round {
  /** Applications to be taken, each by a build. */
  readonly groups: ReadonlyArray<{ readonly application: string; readonly refs: ReadonlyArray<Follow> }>;
  /** Builds that are tried again as they are. */
  readonly retried: ReadonlyArray<string>;
  /** Builds that failed, and that newer ones take the place of. */
  readonly replaced: ReadonlyArray<string>;
  /** How many references are followed. */
  readonly refs: number;
  readonly waiting: number;
  /** Taken before, and not there any more. */
  readonly gone: ReadonlyArray<string>;
  /** Asked for, and not there. */
  readonly missing: ReadonlyArray<string>;
  /** More fit than are followed. */
  readonly beyond: number;
}

const PART = /\.(Locale|Debug|Sources|Docs)$/;
/** What belongs together. */
export const applicationOf = (ref: string): string => ref.split("/")[1]!.replace(PART, "");

/**
 * @param offered what the other repository has: commits by references
 * @param fates what became of builds that were open
 */
export function roundOf(
  spec: MirrorSpec,
  { taken, wanted }: Pick<Mirroring, "taken" | "wanted">,
  offered: ReadonlyMap<string, string>,
  fates: ReadonlyMap<string, BuildFate>,
): Round {
  const asked = new Set(wanted);
  const isFollowed = (ref: string) => mayMirror(spec, ref) && (spec.follow !== "asked" || asked.has(ref));
  const all = [...offered.keys()].filter(isFollowed).sort();
  // What is here already comes first: it is never given up for something else.
  const following = [...all.filter((ref) => ref in taken), ...all.filter((ref) => !(ref in taken))].slice(
    0,
    LIMITS.refs,
  );
  const groups = new Map<string, string[]>();
  for (const ref of following) groups.set(applicationOf(ref), [...(groups.get(applicationOf(ref)) ?? []), ref]);
  const made: { application: string; refs: Follow[] }[] = [];
  const [retried, replaced] = [new Set<string>(), new Set<string>()];
  let waiting = 0;
  for (const [application, refs] of groups) {
    const fateOf = (ref: string): BuildFate =>
      taken[ref] === undefined ? "over" : (fates.get(taken[ref].build) ?? "over");
    if (refs.some((ref) => fateOf(ref) === "open")) {
      waiting++;
      continue;
    }
    const failed = refs.filter((ref) => fateOf(ref) === "failed");
    const isNew = (ref: string) => offered.get(ref) !== taken[ref]?.commit || fateOf(ref) === "lost";
    const news = refs.filter(isNew);
    if (news.length === 0) for (const ref of failed) retried.add(taken[ref]!.build);
    else {
      for (const ref of failed) replaced.add(taken[ref]!.build);
      const wantedNow = [...new Set([...news, ...failed])].sort();
      made.push({ application, refs: wantedNow.map((ref) => ({ ref, commit: offered.get(ref)! })) });
    }
  }
  return {
    groups: made,
    retried: [...retried],
    replaced: [...replaced],
    refs: following.length,
    waiting,
    gone: Object.keys(taken).filter((ref) => !offered.has(ref)),
    missing: wanted.filter((ref) => !offered.has(ref) && taken[ref] === undefined),
    beyond: all.length - following.length,
  };
}
