/**
 * A look at the repository that one of ours follows: its summary, signed by a key that is believed; what is new there becomes builds, in the
 * same commit of the log in which the look is told. What cannot be had, or is another's, is a finding; nothing here is changed by it.
 */
import { createHash, randomBytes } from "node:crypto";
import type { SecureContext } from "node:tls";
import { makeId } from "@millrace/contracts/ids.ts";
import { MIRROR_LIMITS as LIMITS } from "@millrace/contracts/publishing/mirrors.ts";
import { type BuildState, build, NUMBER_TAKEN } from "@millrace/domain/publishing/build.ts";
import { parseKeyFile, runtimeOf } from "@millrace/domain/publishing/metadata.ts";
import {
  type BuildFate,
  type Follow,
  type MirrorSpec,
  matches,
  mayMirror,
  roundOf,
} from "@millrace/domain/publishing/mirror.ts";
import type { RepositoryCommand, RepositoryState, RepositoryStep } from "@millrace/domain/publishing/repository.ts";
import type { Addresses } from "@millrace/eventlog/addresses.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Change } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { FreeNumbers } from "@millrace/eventlog/free-numbers.ts";
import { RecordRefused, type Work } from "@millrace/eventlog/worker.ts";
import { publicKeyOf, signerOf } from "../adapters/ostree/keys.ts";
import {
  boundRefs,
  type Commit,
  METADATA_MOST,
  metadataText,
  parseCommit,
  parseCommitMeta,
} from "../adapters/ostree/objects.ts";
import { Refusal } from "../adapters/ostree/refusal.ts";
import { parseSummary, parseSummaryIndex, SUMMARY_MOST, unpackSummary } from "../adapters/ostree/summary.ts";
import type { Tools } from "../adapters/ostree/tools.ts";
import { Upstream, UpstreamFailed } from "../adapters/upstream.ts";

/** What every mirror of a publisher has. */
export interface Mirrors {
  readonly log: EventLog;
  readonly tools: Tools;
  readonly numbers: FreeNumbers;
  readonly addresses: Addresses;
  readonly authorities?: SecureContext | undefined;
}

type Report = Extract<RepositoryCommand, { do: "mirrored" }>;
type Finding = Report["findings"][number];
type MirrorStep = Extract<RepositoryStep, { kind: "mirror" }>;

const LOOK_MS = 300_000;
const SIGNATURE_MOST = 1024 * 1024;
const ARCHITECTURES = 64;
/** People's own builds go first. */
const PRIORITY = -10;
const TRIES = 5;

class Found extends Error {
  readonly what: Finding["what"];
  constructor(what: Finding["what"], reason: string) {
    super(reason);
    this.what = what;
  }
}

export const openUpstream = ({ addresses, authorities }: Mirrors, url: string): Upstream =>
  new Upstream({ url, addresses, authorities });

export async function lookAtMirror(
  mirrors: Mirrors,
  step: MirrorStep,
  work: Work<RepositoryState, RepositoryCommand>,
): Promise<void> {
  const { mirror: spec } = work.loaded.state.settings;
  if (spec === undefined) return;
  faultPoint("repository.mirror.before");
  const upstream = openUpstream(mirrors, spec.url);
  const signal = AbortSignal.any([work.signal, AbortSignal.timeout(LOOK_MS)]);
  const fates = await fatesOf(mirrors.log, work.loaded.state.mirroring.open);
  let seen: Seen;
  try {
    seen = await work.aside(() => look(mirrors, upstream, spec, work.loaded.state, fates, signal));
  } catch (error) {
    work.signal.throwIfAborted();
    seen = { ...NOTHING_SEEN, findings: [findingOf(error, spec.url)] };
  } finally {
    await upstream.close();
  }
  faultPoint("repository.mirror.looked");
  await record(mirrors, work, step, spec, seen, fates);
  faultPoint("repository.mirror.recorded");
}

/** What it is when all of a look came to nothing. @throws what is no matter of the other repository */
function findingOf(error: unknown, url: string): Finding {
  const reason = (error as Error).message.slice(0, 500);
  if (error instanceof Found) return { what: error.what, name: url, reason };
  if (error instanceof UpstreamFailed || error instanceof Refusal) return { what: "upstream", name: url, reason };
  if ((error as Error).name === "TimeoutError") return { what: "upstream", name: url, reason: "it takes too long" };
  throw error;
}

interface Taking {
  readonly application: string;
  readonly refs: ReadonlyArray<Follow & { readonly at: number }>;
}
interface Seen {
  readonly signedBy?: string;
  readonly refs: number;
  readonly waiting: number;
  readonly more: number;
  readonly taking: ReadonlyArray<Taking>;
  readonly retried: ReadonlyArray<string>;
  readonly replaced: ReadonlyArray<string>;
  readonly related: ReadonlyArray<string>;
  readonly findings: ReadonlyArray<Finding>;
}
const NOTHING_SEEN = { refs: 0, waiting: 0, more: 0, taking: [], retried: [], replaced: [], related: [] } as const;

async function look(
  { tools }: Mirrors,
  upstream: Upstream,
  spec: MirrorSpec,
  { mirroring }: RepositoryState,
  fates: ReadonlyMap<string, BuildFate>,
  signal: AbortSignal,
): Promise<Seen> {
  const { offered, signedBy } = await readOffered(tools, upstream, spec, signal);
  const findings: Finding[] = [];
  const taking = new Map<string, Taking>();
  const related = new Set<string>();
  const commits = new Map<string, Commit | undefined>();
  let [round, more] = [roundOf(spec, mirroring, offered, fates), 0];
  for (;;) {
    const before = related.size;
    more = 0;
    for (const { application, refs } of round.groups) {
      const known = taking.get(application)?.refs.length ?? -1;
      const count = [...taking.values()].reduce((sum, each) => sum + each.refs.length, 0);
      const isFull = taking.size >= LIMITS.builds || (count > 0 && count + refs.length > LIMITS.taken);
      if (known < 0 && isFull) {
        more++;
        continue;
      }
      if (known === refs.length) continue;
      const good: (Follow & { at: number })[] = [];
      for (const each of refs) {
        if (!commits.has(each.commit)) commits.set(each.commit, await readCommit(upstream, each.commit, signal));
        const fault = faultOf(each, commits.get(each.commit), mirroring.taken[each.ref]?.at);
        if (fault !== undefined) {
          if (!findings.some(({ name }) => name === each.ref)) findings.push(fault);
          continue;
        }
        const commit = commits.get(each.commit)!;
        good.push({ ...each, at: commit.timestamp });
        if (spec.follow === "asked") for (const ref of neededBy(each.ref, commit)) related.add(ref);
      }
      taking.set(application, { application, refs: good });
    }
    for (const ref of related) {
      if (!offered.has(ref) || !mayMirror(spec, ref) || mirroring.wanted.includes(ref)) related.delete(ref);
    }
    if (related.size <= before || mirroring.wanted.length + related.size > LIMITS.refs) break;
    const wanted = [...mirroring.wanted, ...related];
    round = roundOf(spec, { ...mirroring, wanted }, offered, fates);
  }
  for (const ref of round.gone)
    findings.push({ what: "gone", name: ref, reason: "it is not there any more; it stays here" });
  for (const ref of round.missing)
    findings.push({ what: "missing", name: ref, reason: "it was asked for, and is not there" });
  if (round.beyond > 0) {
    findings.push({ what: "limit", name: spec.url, reason: `${round.beyond} more references fit than are followed` });
  }
  if (round.refs === 0 && spec.follow !== "asked") {
    findings.push({ what: "nothing", name: spec.url, reason: `none of its ${offered.size} references fits` });
  }
  return {
    ...(signedBy === undefined ? {} : { signedBy }),
    refs: round.refs,
    waiting: round.waiting,
    more,
    taking: [...taking.values()].filter(({ refs }) => refs.length > 0),
    retried: round.retried,
    replaced: round.replaced,
    related: [...related],
    findings,
  };
}

function faultOf({ ref, commit }: Follow, found: Commit | undefined, least = 0): Finding | undefined {
  if (found === undefined) return { what: "missing", name: ref, reason: `its commit ${commit} is not there` };
  const bound = boundRefs(found);
  if (bound.length > 0 && !bound.includes(ref)) {
    return { what: "upstream", name: ref, reason: `its commit ${commit} is one of ${bound[0]}` };
  }
  if (found.timestamp >= least) return undefined;
  const reason = `its commit is of ${new Date(found.timestamp * 1_000).toISOString()}, and a later one was taken before`;
  return { what: "older", name: ref, reason };
}

/** Runtime and translations of what somebody asked for. */
function neededBy(ref: string, commit: Commit): string[] {
  const [, id, arch, branch] = ref.split("/");
  const runtime = runtimeOf(parseKeyFile(metadataText(commit.metadata, "xa.metadata") ?? ""));
  return [`runtime/${id}.Locale/${arch}/${branch}`, ...(runtime === undefined ? [] : [`runtime/${runtime}`])];
}

/** Undefined: it is not there. @throws Refusal where it is another */
async function readCommit(upstream: Upstream, commit: string, signal: AbortSignal): Promise<Commit | undefined> {
  const path = `objects/${commit.slice(0, 2)}/${commit.slice(2)}.commit`;
  const bytes = await upstream.get(path, METADATA_MOST, signal);
  if (bytes === undefined) return undefined;
  const found = sha256(bytes);
  if (found !== commit) throw new Refusal("hash-mismatch", `${commit}.commit`, `its content has the checksum ${found}`);
  return parseCommit(bytes, `${commit}.commit`);
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** What it offers, as its signed summary says. @throws Found, UpstreamFailed, Refusal */
async function readOffered(
  tools: Tools,
  upstream: Upstream,
  spec: MirrorSpec,
  signal: AbortSignal,
): Promise<{ readonly offered: Map<string, string>; readonly signedBy: string | undefined }> {
  const offered = new Map<string, string>();
  const take = (refs: ReadonlyArray<Follow>) => {
    for (const { ref, commit } of refs) offered.set(ref, commit);
  };
  const index = await upstream.get("summary.idx", SUMMARY_MOST, signal);
  if (index === undefined) {
    const summary = await upstream.get("summary", SUMMARY_MOST, signal);
    if (summary === undefined) throw new Found("upstream", "there is no summary: it is no repository");
    const signature = () => upstream.get("summary.sig", SIGNATURE_MOST, signal);
    const signedBy = await believed(tools, spec, summary, signature);
    take(parseSummary(summary).refs);
    return { offered, signedBy };
  }
  const signedBy = await believed(tools, spec, index, async () => {
    const own = await upstream.get(`summaries/${sha256(index)}.idx.sig`, SIGNATURE_MOST, signal);
    return own ?? upstream.get("summary.idx.sig", SIGNATURE_MOST, signal);
  });
  // `<subset>-<architecture>` has nothing that the architecture's own has not.
  const all = parseSummaryIndex(index).summaries.filter(({ name }) => !name.includes("-"));
  const fits = (arch: string) =>
    spec.refs?.some((pattern) => matches(`x/x/${pattern.split("/")[2]}/x`, `x/x/${arch}/x`)) ?? true;
  for (const { checksum } of all.filter(({ name }) => fits(name)).slice(0, ARCHITECTURES)) {
    const path = `summaries/${checksum}.gz`;
    const packed = await upstream.get(path, SUMMARY_MOST, signal);
    if (packed === undefined) throw new Refusal("missing-objects", path, "the index names it, and it is not there");
    take((await unpackSummary(packed, checksum, path)).refs);
  }
  return { offered, signedBy };
}

/** @returns the key that signed it; undefined where nobody need have @throws Found */
async function believed(
  tools: Tools,
  { gpgKeys = [] }: MirrorSpec,
  content: Buffer,
  signature: () => Promise<Buffer | undefined>,
): Promise<string | undefined> {
  // What is asked of a mirror says so: without keys it is allowed to be unsigned.
  if (gpgKeys.length === 0) return undefined;
  const bytes = await signature();
  if (bytes === undefined) throw new Found("signature", "its summary is not signed");
  const all = parseCommitMeta(bytes, "summary.sig")["ostree.gpgsigs"]?.value;
  const signatures = Array.isArray(all) ? all.filter((each): each is Buffer => Buffer.isBuffer(each)) : [];
  let signer: string | undefined;
  try {
    signer = await signerOf(tools, gpgKeys.map(publicKeyOf), content, signatures);
  } catch (error) {
    throw error instanceof Refusal ? new Found("keys", error.reason) : error;
  }
  if (signer === undefined) throw new Found("signature", "none of the keys that are believed signed its summary");
  return signer;
}

async function fatesOf(log: EventLog, builds: ReadonlyArray<string>): Promise<Map<string, BuildFate>> {
  const found = await Promise.all(
    builds.map(async (id) => [id, fateOf((await log.aggregates.load(build, id)).state)] as const),
  );
  return new Map(found);
}

function fateOf({ state, published }: BuildState): BuildFate {
  if (published === "published" || published === "rejected") return "over";
  if (state === "failed" || published === "failed")
    return state === "purging" || state === "purged" ? "lost" : "failed";
  if (state === "cancelled") return "over";
  return state === "purging" || state === "purged" ? "lost" : "open";
}

/** The look, and the builds that come of it, all or nothing. */
async function record(
  { numbers }: Mirrors,
  work: Work<RepositoryState, RepositoryCommand>,
  { by, request }: MirrorStep,
  { url }: MirrorSpec,
  seen: Seen,
  fates: ReadonlyMap<string, BuildFate>,
): Promise<void> {
  const { taking, retried, replaced, related, findings: found, ...shown } = seen;
  const failed = [...fates].filter(([, fate]) => fate === "failed").map(([id]) => id);
  const findings: Finding[] = [
    ...found,
    ...failed.map((id) => ({ what: "build" as const, name: id, reason: "taking it failed; it is tried again" })),
  ];
  const over = [...fates].filter(([id, fate]) => fate === "over" || fate === "lost" || replaced.includes(id));
  for (let tried = 1; ; tried++) {
    const also: Change[] = [
      ...retried.map((id) => ({ kind: build, id, command: { do: "retry" } })),
      ...replaced.map((id) => ({ kind: build, id, command: { do: "purge" } })),
    ];
    const taken: Report["taken"][number][] = [];
    for (const { application: appId, refs } of taking) {
      const id = makeId(build.prefix, Date.now(), randomBytes(24));
      const named = refs.map(({ ref, commit }) => ({ ref, commit }));
      const more = { source: { type: "mirror", url }, publicDownload: false, priority: PRIORITY, refs: named } as const;
      const number = await numbers.next();
      also.push({ kind: build, id, command: { do: "create", number, repository: work.id, appId, ...more } });
      taken.push(...refs.map((each) => ({ ...each, build: id })));
    }
    const report: Report = {
      ...{ do: "mirrored", by, request, ...shown, taken, related },
      over: over.map(([id]) => id),
      found: findings.length,
      findings: findings.slice(0, LIMITS.findings),
    };
    try {
      await work.record(report, also);
      return;
    } catch (error) {
      const isTaken =
        error instanceof RecordRefused && error.refusal.refused === "rule" && error.refusal.rule === NUMBER_TAKEN;
      if (!isTaken || tried === TRIES) throw error;
      numbers.overtaken();
    }
  }
}
