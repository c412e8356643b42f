/**
 * A build on its way into a repository, act by act. Each may be done again after any crash: it looks first whether the world has what it
 * would make, and takes that. What it looks for is the time of the commit, which comes from the event that asked for it: the same content
 * with the same time is the same act.
 *
 *     <folder>/upload    what was uploaded, as the client made it; looks into the main repository for what is there
 *     <folder>/repo      the same as commits of ours: signed, with our time, end of life, token type
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { closure } from "./closure.ts";
import { readDelta } from "./delta.ts";
import type { Leases } from "./leases.ts";
import { type DeltaName, parseFlatpakRef } from "./names.ts";
import { type Commit, parseCommit } from "./objects.ts";
import { Refusal } from "./refusal.ts";
import { Repository } from "./repository.ts";
import { published } from "./summary.ts";
import {
  buildCommitFrom,
  buildUpdateRepo,
  generateDelta,
  pullLocal,
  type Signer,
  signCommits,
  type Tools,
  type UpdateRepo,
} from "./tools.ts";

export interface BuildPlace {
  readonly main: Repository;
  /** Of the build alone. */
  readonly folder: string;
}

export interface RefCommit {
  readonly ref: string;
  readonly commit: string;
}

export interface CommitTerms {
  /** Whole seconds count. */
  readonly timestamp: Date;
  readonly signer?: Signer | undefined;
  readonly endOfLife?: string | undefined;
  readonly endOfLifeRebase?: string | undefined;
  readonly tokenType?: number | undefined;
  /** Left out: those that the source's commit has. */
  readonly subsets?: ReadonlyArray<string> | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Made extends RefCommit {
  /** It was there already. */
  readonly adopted: boolean;
}

/** How far back an own commit is looked for, behind others that came later. */
const ADOPT_BACK = 100;

/** Where uploads of the build go. */
export function openUpload(tools: Tools, { main, folder }: BuildPlace): Promise<Repository> {
  return Repository.init(tools, join(folder, "upload"), { parent: main.root });
}

/** Whether a commit that the client names is one for this reference, and whole. @throws Refusal, with what is missing */
export async function checkUploadedRef(upload: Repository, { ref, commit }: RefCommit): Promise<number> {
  parseFlatpakRef(ref);
  return (await closure(upload, commit)).size;
}

const readCommit = (repository: Repository, commit: string): Commit => {
  const bytes = repository.read(`${commit}.commit`);
  if (bytes === undefined) throw new Refusal("not-found", commit, "there is no such commit");
  return parseCommit(bytes, `${commit}.commit`);
};

/** The newest commit of a reference that has this content and time; undefined where there is none. */
async function findOwn(
  repository: Repository,
  ref: string,
  source: Commit,
  seconds: number,
): Promise<string | undefined> {
  let at = await repository.ref(ref);
  for (let back = 0; at !== undefined && back < ADOPT_BACK; back++) {
    if (!repository.has(`${at}.commit`)) return undefined;
    const { timestamp, tree, meta, parent } = readCommit(repository, at);
    if (timestamp === seconds && tree === source.tree && meta === source.meta) return at;
    if (timestamp < seconds) return undefined;
    at = parent;
  }
  return undefined;
}

const secondsOf = (time: Date): number => Math.floor(time.getTime() / 1000);

interface Wanted extends RefCommit {
  readonly source: Commit;
}

/** At most so many references in one run of the tool: its command line has to hold them. */
const REFS_AT_ONCE = 200;

/**
 * Commits with our time, made from another repository's unless they are there. Of several references in one run of the tool: a run for
 * each would cost three times as much (measured).
 */
async function make(
  tools: Tools,
  from: Repository,
  to: Repository,
  refs: ReadonlyArray<RefCommit>,
  terms: CommitTerms,
): Promise<Made[]> {
  const seconds = secondsOf(terms.timestamp);
  const made = new Map<string, Made>();
  const wanted: Wanted[] = [];
  for (const { ref, commit } of refs) {
    const source = readCommit(from, commit);
    const own = await findOwn(to, ref, source, seconds);
    if (own !== undefined) {
      made.set(ref, { ref, commit: own, adopted: true });
      continue;
    }
    const newest = await to.ref(ref);
    if (newest !== undefined && readCommit(to, newest).timestamp >= seconds) {
      // Clients refuse what is older than what they have.
      throw new Refusal("ref-moved", ref, "it has a commit of a later time");
    }
    wanted.push({ ref, commit, source });
  }
  for (let at = 0; at < wanted.length; at += REFS_AT_ONCE) {
    terms.signal?.throwIfAborted();
    const some = wanted.slice(at, at + REFS_AT_ONCE);
    await run(tools, from, to, some, terms);
    for (const { ref, source } of some) {
      const commit = await findOwn(to, ref, source, seconds);
      if (commit === undefined) throw new Refusal("not-found", ref, "the commit that was made is not there");
      // Whatever went into quarantine meanwhile comes back.
      await closure(to, commit, { signal: terms.signal });
      made.set(ref, { ref, commit, adopted: false });
    }
  }
  return refs.map(({ ref }) => made.get(ref)!);
}

async function run(
  tools: Tools,
  from: Repository,
  to: Repository,
  wanted: ReadonlyArray<Wanted>,
  terms: CommitTerms,
): Promise<void> {
  const { timestamp, signal, ...more } = terms;
  const [first] = wanted;
  const isOne = wanted.length === 1;
  // A commit can be named for one reference only; of several, those of the same names are taken.
  if (!isOne) {
    for (const { ref, commit } of wanted) if ((await from.ref(ref)) !== commit) await from.writeRef(ref, commit);
  }
  faultPoint("publish.commit.before");
  const what = {
    ...more,
    timestamp: new Date(secondsOf(timestamp) * 1000),
    from: from.root,
    to: to.root,
    ...(isOne ? { sourceRef: first!.commit } : {}),
    refs: wanted.map(({ ref }) => ref),
  };
  // Forced, for content that is as before is published again too; a second try has found the first above.
  await buildCommitFrom(tools, { ...what, force: true }, signal === undefined ? {} : { signal });
  faultPoint("publish.commit.made");
}

/** Uploaded commits become ours. */
export async function commitBuild(
  tools: Tools,
  place: BuildPlace,
  refs: ReadonlyArray<RefCommit>,
  terms: CommitTerms,
): Promise<Made[]> {
  const upload = await openUpload(tools, place);
  const repo = await Repository.init(tools, join(place.folder, "repo"), { parent: place.main.root });
  for (const each of refs) {
    terms.signal?.throwIfAborted();
    await checkUploadedRef(upload, each);
  }
  return make(tools, upload, repo, refs, terms);
}

/** Commits of a build go into the main repository, behind what is there. Seen by clients after `announce`. */
export async function publishBuild(
  tools: Tools,
  { main, folder }: BuildPlace,
  refs: ReadonlyArray<RefCommit>,
  terms: Pick<CommitTerms, "timestamp" | "signer" | "signal">,
): Promise<Made[]> {
  const repo = await Repository.openBelow(tools, join(folder, "repo"), main.root);
  return make(tools, repo, main, refs, terms);
}

/** What was published before is published again, as a new commit: clients take no older one. @throws Refusal where it has been pruned */
export async function rollBack(
  tools: Tools,
  main: Repository,
  to: RefCommit,
  terms: Pick<CommitTerms, "timestamp" | "signer" | "signal">,
): Promise<Made> {
  // It may be in quarantine, where the tool does not look.
  await closure(main, to.commit, { signal: terms.signal });
  return (await make(tools, main, main, [to], terms))[0]!;
}

/**
 * The same commits in another repository, signed by its keys as well: what was tried in one is what is published in the other.
 * @throws Refusal `ref-moved` where what is there is as new; `not-found` where the commit is bound to another collection
 */
export async function promote(
  tools: Tools,
  { from, to }: { readonly from: Repository; readonly to: Repository },
  refs: ReadonlyArray<RefCommit>,
  { signer, signal }: { readonly signer: Signer; readonly signal?: AbortSignal | undefined },
): Promise<Made[]> {
  const made: Made[] = [];
  for (const { ref, commit } of refs) {
    signal?.throwIfAborted();
    const now = await to.ref(ref);
    if (now === commit) {
      made.push({ ref, commit, adopted: true });
      continue;
    }
    const fresh = readCommit(from, commit);
    if (now !== undefined && readCommit(to, now).timestamp >= fresh.timestamp) {
      throw new Refusal("ref-moved", ref, "it has a commit that is as new; clients refuse what is older");
    }
    await closure(from, commit, { signal });
    faultPoint("publish.promote.before");
    await pullLocal(tools, from.root, to.root, [commit], { signal });
    await closure(to, commit, { signal });
    await signCommits(tools, to.root, [commit], signer, { signal });
    faultPoint("publish.promote.pulled");
    await to.writeRef(ref, commit, { expected: now });
    made.push({ ref, commit, adopted: false });
  }
  return made;
}

/**
 * Lets clients see what the references are: the summary and its index, signed.
 * @returns references of the repository that clients would not find at their commit; none, unless something wrote meanwhile
 */
export async function announce(
  tools: Tools,
  main: Repository,
  what: UpdateRepo,
  signal?: AbortSignal,
): Promise<string[]> {
  faultPoint("publish.summary.before");
  await buildUpdateRepo(tools, main.root, what, signal === undefined ? {} : { signal });
  faultPoint("publish.summary.made");
  const seen = await published(main);
  const refs = [...(await main.refs())].filter(([ref]) => /^(app|runtime)\//.test(ref));
  return refs.filter(([ref, commit]) => seen?.get(ref) !== commit).map(([ref]) => ref);
}

/** A delta, unless it is there. @returns whether it was there */
export async function ensureDelta(
  tools: Tools,
  main: Repository,
  delta: DeltaName,
  signal?: AbortSignal,
): Promise<boolean> {
  if ((await readDelta(main, delta)) !== undefined) return true;
  faultPoint("publish.delta.before");
  await generateDelta(tools, main.root, delta, signal === undefined ? {} : { signal });
  faultPoint("publish.delta.made");
  return false;
}

/** The build has ended, well or not: its files go, and what it held is free. */
export async function endBuild({ folder }: BuildPlace, build: string, leases: Leases): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  faultPoint("publish.end.removed");
  await leases.release(build);
}
