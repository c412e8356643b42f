/**
 * Builds from manifests: their source pulled, each architecture built beside the others, what came out put where the build's commits are
 * made from, and every line kept in the build's log.
 *
 *     <folder>/builder/mirrors, tmp, known_hosts       what Git needs
 *     <folder>/builder/<organisation>/src/<commit>/    sources, whole
 *     <folder>/builder/<organisation>/runtimes/        what is built with
 *     <folder>/builder/<organisation>/failed/          of builds that failed: artefacts.ts
 *     <folder>/builder/<organisation>/apps/<id>/<arch>/   see adapters/builder/build.ts
 */
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { MANIFEST_SOURCE_LIMITS as LIMITS } from "@millrace/contracts/publishing/manifest-source.ts";
import { secret } from "@millrace/domain/identity/secret.ts";
import { type BuildState, type BuiltFactsOf, build } from "@millrace/domain/publishing/build.ts";
import type { ManifestSourceOf } from "@millrace/domain/publishing/build-source.ts";
import { blobPath } from "@millrace/eventlog/bytes-store.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { type Journal, openJournal } from "@millrace/eventlog/journal.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { type Logs, openLogs } from "@millrace/eventlog/logs.ts";
import { openSecret } from "@millrace/eventlog/open-secret.ts";
import { type Failed, fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import type { Sealing } from "@millrace/eventlog/sealing.ts";
import { logLimits } from "@millrace/eventlog/settings.ts";
import { unpackSource } from "@millrace/eventlog/sources/archive.ts";
import {
  type Credentials,
  type GitWork,
  type Pulled,
  pullSource,
  resolveRef,
  type Source,
} from "@millrace/eventlog/sources/git.ts";
import { cannotRun, HERE } from "./adapters/builder/architecture.ts";
import { type BuildAsked, type BuiltApp, buildManifest, checkSource, removeBuild } from "./adapters/builder/build.ts";
import { Installation, type Supply } from "./adapters/builder/installation.ts";
import { compareBuilds } from "./adapters/builder/reproduce.ts";
import type { BuildLimits } from "./adapters/builder/watch.ts";
import type { RefCommit } from "./adapters/ostree/builds.ts";
import type { Repository } from "./adapters/ostree/repository.ts";
import { pullLocal, Tools } from "./adapters/ostree/tools.ts";
import { type Artefact, artefactsFolder, keepArtefacts } from "./artefacts.ts";
import type { PublisherConfig } from "./config.ts";
import { Lanes } from "./lanes.ts";
import { builderFolder } from "./places.ts";

export interface Builder {
  readonly folder: string;
  readonly node: string;
  /** Where the node's uploads lie. */
  readonly bytes: string;
  readonly tools: Readonly<Record<string, string>>;
  readonly commits: Tools;
  readonly system: string | undefined;
  readonly localSources: readonly string[];
  /** File with the keys of Git servers, where they were given. */
  readonly givenHosts: string | undefined;
  readonly limits: BuildLimits;
  readonly jobs: number;
  /** Builds at the same moment. */
  readonly lanes: Lanes;
  readonly logs: Logs;
  readonly logger: Logger;
  /** What is kept of one architecture of a build that failed, unpacked. */
  readonly artefactBytes: number;
  /** Of a private repository. */
  secret(id: string, asked: { readonly organisation: string; readonly purpose: string }): Promise<Outcome<Opened>>;
  /** What a build was built in goes. Again: nothing. */
  discard(organisation: string, build: string): Promise<void>;
  /** That, and what was kept of it. */
  remove(organisation: string, build: string): Promise<void>;
}

interface Opened {
  readonly value: string;
}

const MIB = 1024 ** 2;
const LOG_BYTES = 64 * MIB;
const PROCESSES = 2_000;
const SOURCES_KEPT = 5;

export async function openBuilder(parts: {
  readonly config: PublisherConfig;
  readonly folder: string;
  readonly log: EventLog;
  readonly sealing: Sealing | undefined;
  readonly logger: Logger;
}): Promise<Builder> {
  const { config, log, sealing, logger } = parts;
  const folder = builderFolder(parts.folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const tools = config.tools ?? { PATH: process.env.PATH ?? "" };
  const discard = async (organisation: string, id: string): Promise<void> => {
    const apps = join(folder, checked(organisation), "apps");
    for (const app of await readdir(apps).catch(() => [])) {
      for (const arch of await readdir(join(apps, app)).catch(() => [])) {
        for (const name of [id, `${id}-again`]) await removeBuild(join(apps, app, arch), name);
      }
    }
  };
  return {
    folder,
    node: config.node,
    bytes: join(resolve(config.data), "orchestrator", config.node, "bytes"),
    tools,
    commits: await Tools.open({ env: tools, home: join(parts.folder, "home") }),
    system: config.installation,
    givenHosts: config.knownHosts,
    localSources: (config.localSources ?? "").split(":").filter((path) => path.startsWith("/")),
    limits: {
      timeoutMs: config.buildMinutes * 60_000,
      memoryBytes: config.buildMemoryMib * MIB,
      diskBytes: config.buildDiskMib * MIB,
      processes: PROCESSES,
      logBytes: LOG_BYTES,
    },
    jobs: config.buildJobs,
    lanes: new Lanes(config.manifestsAtOnce),
    logs: await openLogs(log.nats, logLimits(config)),
    logger,
    artefactBytes: config.buildArtefactMib * MIB,
    secret: async (id, { organisation, purpose }) => {
      const { state } = await log.aggregates.load(secret, id);
      const sealed = state.organisation === organisation ? state.sealed : null;
      return openSecret(sealing, sealed, { id, organisation, purpose, service: "publisher" });
    },
    discard,
    remove: async (organisation, id) => {
      await discard(organisation, id);
      await rm(artefactsFolder(folder, checked(organisation), id), { recursive: true, force: true });
    },
  };
}

function checked(organisation: string): string {
  if (!/^org_[0-9a-hjkmnp-tv-z]{26}$/.test(organisation)) throw new RangeError("no id of an organisation");
  return organisation;
}

/** Whether others that the build needs are published. Undefined: all are. */
export async function needsOf(
  log: EventLog,
  { source, organisation }: BuildState,
): Promise<undefined | { readonly reason: string } | Failed> {
  if (source.type !== "manifest") return undefined;
  for (const id of source.needs ?? []) {
    const { state } = await log.aggregates.load(build, id);
    if (state.organisation !== organisation || state.state === null) {
      return fail("permanent", "NEEDED_MISSING", `There is no build ${id}, which it needs.`, "Begin it without that.");
    }
    if (state.published === "published") continue;
    if (state.published === "failed" || ["failed", "cancelled", "purging", "purged"].includes(state.state)) {
      const message = `Build ${state.number}, which it needs, is ${state.state}, and ${state.published}.`;
      return fail("permanent", "NEEDED_FAILED", message, "Have that one published, then try again.");
    }
    return { reason: `it waits for build ${state.number}, which is ${state.state}, and ${state.published}` };
  }
  return undefined;
}

export interface ManifestWork {
  readonly state: BuildState;
  /** Where commits are taken from by the next step. */
  readonly upload: () => Promise<Repository>;
  readonly supplies: ReadonlyArray<Supply>;
  readonly signal: AbortSignal;
}

type Built = BuiltFactsOf & { readonly refs: ReadonlyArray<RefCommit> };
/** What is kept of it, where it failed. */
export type Tried = Built | (Failed & { readonly artefacts?: ReadonlyArray<Artefact> });

/** Never rejects but for what is the worker's. @returns what is to be recorded */
export async function buildFromManifest(builder: Builder, work: ManifestWork): Promise<Tried> {
  const { id, organisation } = work.state;
  const source = { organisation, context: "publishing", kind: "build", id, source: "build" };
  const journal = await openJournal(builder, source, { build: id });
  try {
    const outcome = await all(builder, work, journal);
    if ("failed" in outcome) journal.say(`failed: ${outcome.failed.code}: ${outcome.failed.message}`);
    else journal.say(`built ${outcome.refs.map(({ ref, commit }) => `${ref} ${commit}`).join(", ")}`);
    return outcome;
  } finally {
    await journal.close();
  }
}

async function all(builder: Builder, work: ManifestWork, journal: Journal): Promise<Tried> {
  const { state } = work;
  const { say } = journal;
  const source = state.source as ManifestSourceOf;
  const arches = source.arches ?? [HERE];
  for (const arch of arches) {
    const cannot = await cannotRun(arch);
    if (cannot !== undefined) return cannot;
  }
  // When one architecture has failed the others are of no use.
  const ending = new AbortController();
  const signal = AbortSignal.any([work.signal, ending.signal]);
  const pulled = await pull(builder, state, source, signal, journal);
  if ("failed" in pulled) return pulled;
  faultPoint("build.source.pulled");
  const { manifest } = checkSource(pulled.folder, source.manifest);
  // Where it has none, building says why.
  const id = manifest?.id ?? "none";
  const own = join(builder.folder, checked(state.organisation));
  const installation = new Installation({
    tools: builder.tools,
    folder: join(own, "runtimes"),
    system: builder.system,
  });
  const asked = async (arch: string): Promise<BuildAsked> => {
    const folder = join(own, "apps", id, arch);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return {
      ...{ tools: builder.tools, folder, name: state.id, source: pulled.folder, manifest: source.manifest, arch },
      ...{ branch: source.branch ?? "master", id: state.appId ?? undefined, installation, system: builder.system },
      ...{
        supplies: work.supplies,
        limits: builder.limits,
        jobs: builder.jobs,
        time: new Date(state.createdAt),
        signal,
      },
      onLine: arches.length === 1 ? say : (line) => say(`${arch}: ${line}`),
    };
  };
  const built: BuiltApp[] = [];
  const again: Built["differing"][] = [];
  const failures: Failed[] = [];
  const artefacts: Artefact[] = [];
  const ended = async (asks: BuildAsked, { failed }: Failed): Promise<void> => {
    failures.push({ failed });
    ending.abort();
    if (failed.class === "cancelled") return;
    const to = { builder: builder.folder, organisation: state.organisation, build: state.id, arch: asks.arch };
    const kept = await keepArtefacts(join(asks.folder, asks.name), to, builder.artefactBytes, work.signal, (why) =>
      asks.onLine(`what could not be built could not be kept: ${why}`),
    );
    if (kept === undefined) return;
    artefacts.push(kept);
    asks.onLine(`kept ${kept.files} files of what could not be built; ${kept.omitted} are left out`);
  };
  await Promise.all(
    arches.map(async (arch): Promise<void> => {
      const asks = await asked(arch);
      const first = await buildManifest(asks);
      if ("failed" in first) return ended(asks, first);
      built.push(first);
      if (!source.twice) return;
      asks.onLine("built once more, from nothing");
      const next = { ...asks, name: `${state.id}-again`, fresh: true };
      const second = await buildManifest(next);
      if ("failed" in second) return ended(next, second);
      again.push(await differing(first, second));
    }),
  );
  const failure = failures.find(({ failed }) => failed.class !== "cancelled") ?? failures[0];
  if (failure !== undefined) {
    await builder.discard(state.organisation, state.id);
    return artefacts.length === 0 ? failure : { ...failure, artefacts };
  }
  const upload = await work.upload();
  for (const { repository, refs } of built) {
    await pullLocal(
      builder.commits,
      repository.root,
      upload.root,
      refs.map(({ commit }) => commit),
      { signal },
    );
  }
  faultPoint("build.built.taken");
  await keepFew(join(own, "src"));
  const [facts] = built;
  return {
    refs: built.flatMap(({ refs }) => refs),
    source: pulled.commit,
    appId: facts!.manifest.id,
    findings: facts!.findings.slice(0, LIMITS.findings),
    permissions: facts!.manifest.permissions.map(({ permission }) => permission),
    used: built.flatMap(({ used }) =>
      used.map(({ ref, commit }) => (commit === undefined ? { ref } : { ref, commit })),
    ),
    ms: built.reduce((sum, { usage }) => sum + usage.ms, 0),
    memoryBytes: Math.max(...built.map(({ usage }) => usage.memoryBytes)),
    diskBytes: Math.max(...built.map(({ usage }) => usage.diskBytes)),
    ...(source.twice
      ? { reproducible: again.flat().length === 0, differing: again.flatMap((each) => each ?? []) }
      : {}),
  };
}

async function differing(first: BuiltApp, second: BuiltApp): Promise<NonNullable<Built["differing"]>> {
  const compared = await compareBuilds(first, second);
  return compared
    .filter((each) => each.first !== each.second)
    .map(({ ref, first: one, second: two, differs }) => ({
      ref,
      ...(one === undefined ? {} : { first: one }),
      ...(two === undefined ? {} : { second: two }),
      files: (differs?.files ?? []).slice(0, LIMITS.differing).map(({ path }) => path),
    }));
}

async function pull(
  builder: Builder,
  { id, organisation }: Pick<BuildState, "id" | "organisation">,
  { git, upload }: ManifestSourceOf,
  signal: AbortSignal,
  { say, redact }: Journal,
): Promise<Outcome<Pulled>> {
  const { folder } = builder;
  const into = { sources: join(folder, checked(organisation), "src") };
  await mkdir(into.sources, { recursive: true, mode: 0o700 });
  if (git !== undefined) {
    const disk = {
      root: folder,
      tmp: join(folder, "tmp"),
      knownHosts: join(folder, "known_hosts"),
      givenHosts: builder.givenHosts,
      mirrors: join(folder, "mirrors"),
    };
    const opened = await credentialsOf(builder, git, { organisation, purpose: `clone for ${id}` });
    if ("failed" in opened) return opened;
    redact(opened.values);
    const { localSources } = builder;
    const work: GitWork = { disk, localSources, ...opened.credentials, signal, onLine: say };
    const source: Source = git.url.startsWith("/") ? { kind: "path", path: git.url } : { kind: "git", url: git.url };
    const resolved = await resolveRef(source, git.ref, work);
    if ("failed" in resolved) return resolved;
    say(`${git.ref} is ${resolved.commit}`);
    return pullSource(into, source, resolved, work);
  }
  if (upload!.node !== builder.node) {
    const fix = `Upload it to the node ${builder.node}, on which the repository lies.`;
    return fail("permanent", "UPLOAD_ELSEWHERE", `The upload lies on the node ${upload!.node}.`, fix);
  }
  const { sha256 } = upload!;
  const path = blobPath(builder.bytes, organisation, sha256);
  return unpackSource(into, { path, sha256, signal, onLine: say });
}

/** What a private repository is asked with, opened for this. */
async function credentialsOf(
  builder: Builder,
  { credentials }: NonNullable<ManifestSourceOf["git"]>,
  opening: { readonly organisation: string; readonly purpose: string },
): Promise<Outcome<{ readonly values: string[]; readonly credentials: { readonly credentials?: Credentials } }>> {
  if (credentials === undefined) return { values: [], credentials: {} };
  const { secret: id, kind, user } = credentials;
  const opened = await builder.secret(id, opening);
  if ("failed" in opened) return opened;
  const { value } = opened;
  const who = user === undefined ? {} : { user };
  const shown = kind === "token" ? { kind, token: value.trim(), ...who } : { kind, key: value, ...who };
  return { values: [value], credentials: { credentials: shown } };
}

/** Sources come again from where they came: the newest few stay. */
async function keepFew(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{40,64}$/.test(name));
  const aged = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(folder, name))).mtimeMs })));
  for (const { name } of aged.sort((a, b) => b.at - a.at).slice(SOURCES_KEPT)) {
    await rm(join(folder, `${name}.complete`), { force: true });
    await rm(join(folder, name), { recursive: true, force: true });
  }
}
