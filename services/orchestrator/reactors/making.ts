/**
 * What a release is made of, made again wherever it is missing: source, image, release folder, containers' settings. Used by
 * the phases of a deployment and by what heals, so that both make the same.
 */
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import type { ApplicationSpec, Release as KnownRelease } from "@millrace/contracts/applications/entities.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { upload } from "@millrace/domain/applications/upload.ts";
import { blobPath } from "@millrace/eventlog/bytes-store.ts";
import { fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { unpackSource } from "@millrace/eventlog/sources/archive.ts";
import {
  type Credentials,
  findSource,
  type GitWork,
  type Pulled,
  pullSource,
  type Resolved,
  resolveRef,
} from "@millrace/eventlog/sources/git.ts";
import { inputHash as hashOfInput } from "../adapters/build-input.ts";
import { type AppDisk, appDisk } from "../adapters/disk.ts";
import { type ContainerSpec, imageTag } from "../adapters/docker.ts";
import { materialiseImage, materialiseStatic, type Release } from "../adapters/releases.ts";
import type { OrchestratorNode } from "../node.ts";

/** For whom something is made. */
export interface Making {
  readonly node: OrchestratorNode;
  readonly organisation: string;
  readonly application: string;
  /** The application as it was when the deployment was asked for. */
  readonly requested: ApplicationSpec;
  readonly signal: AbortSignal;
  /** A line for the log of the deployment. */
  readonly say: (line: string) => void;
  /** Values that must not stand in that log. */
  readonly redact: (values: ReadonlyArray<string>) => void;
  /** Told once, somewhere in the middle of what is long. */
  readonly during: () => void;
}

export const diskOf = ({ node, application }: Pick<Making, "node" | "application">): AppDisk =>
  appDisk(node.disk, application);

/*
 * What a switch says that it knows of, so that who was stopped for a while undoes nothing: a deployment, then its undoing,
 * then repairs, then the next deployment. Each is refused behind the next.
 */
export const fenceOf = ({ seq }: { readonly seq: number }): number => 2 * seq;
export const fenceOfUndoing = ({ seq }: { readonly seq: number }): number => 2 * seq + 1;
export const fenceOfRepair = ({ nextSeq }: { readonly nextSeq: number }): number => 2 * nextSeq - 1;

/** Lets what is under way run for a moment, and tells that it is. */
export async function amid<T>(during: () => void, acting: Promise<T>): Promise<T> {
  await Promise.race([acting, pause(2)]);
  during();
  return acting;
}

/** What asking a repository takes. */
export type Asking = Pick<Making, "node" | "organisation" | "signal" | "redact"> & {
  readonly requested: Pick<ApplicationSpec, "source">;
} & Partial<Pick<Making, "application" | "say" | "during">>;

async function gitWork(asking: Asking): Promise<Outcome<{ readonly work: GitWork }>> {
  const { node, organisation, requested, signal, redact } = asking;
  const { application = "an application", say = () => {}, during = () => {} } = asking;
  const { source } = requested;
  let credentials: Credentials | undefined;
  if (source.kind === "git" && source.credentials !== undefined) {
    const { secret, kind, user } = source.credentials;
    const opened = await node.secrets.value(secret, { organisation, purpose: `clone for ${application}` });
    if ("failed" in opened) return opened;
    redact([opened.value]);
    const who = user === undefined ? {} : { user };
    credentials = kind === "token" ? { kind, token: opened.value.trim(), ...who } : { kind, key: opened.value, ...who };
  }
  return {
    work: {
      disk: node.disk,
      localSources: node.localSources,
      ...(credentials === undefined ? {} : { credentials }),
      signal,
      onLine: (line) => {
        say(line);
        during();
      },
    },
  };
}

type Repository = Exclude<ApplicationSpec["source"], { readonly kind: "upload" }>;

const repositoryOf = (source: Repository) =>
  source.kind === "git" ? ({ kind: "git", url: source.url } as const) : ({ kind: "path", path: source.path } as const);

/** What a branch, tag or commit, or an upload, is at this moment. */
export async function resolveNow(asking: Asking, ref: string): Promise<Outcome<Resolved>> {
  const { source } = asking.requested;
  if (source.kind === "upload") return resolveUpload(asking, ref);
  const git = await gitWork(asking);
  return "failed" in git ? git : resolveRef(repositoryOf(source), ref, git.work);
}

/** The hash of an upload that is whole, and lies here. */
async function resolveUpload({ node, organisation }: Asking, id: string): Promise<Outcome<Resolved>> {
  const missing = (code: string, message: string, fix: string) => fail("permanent", code, message, fix);
  const found = isId(upload.prefix, id) ? await node.log.aggregates.load(upload, id) : undefined;
  const again = "Upload the archive again, and deploy that.";
  if (found === undefined || found.organisation !== organisation || found.state.state === null) {
    return missing("UPLOAD_NOT_FOUND", `There is no upload ${id}.`, again);
  }
  const { state } = found;
  if (state.state === "removed") return missing("UPLOAD_NOT_FOUND", `The upload ${id} was removed.`, again);
  if (state.node !== node.name) {
    const fix = `Upload it to the node ${node.name}, or have the application live on ${state.node}.`;
    return missing("UPLOAD_ELSEWHERE", `The upload ${id} lies on the node ${state.node}.`, fix);
  }
  if (state.sha256 === null)
    return missing("UPLOAD_INCOMPLETE", `Not all of the upload ${id} has arrived.`, "Send the rest, and deploy again.");
  return { commit: state.sha256, ref: id };
}

/** The files of what was resolved: out of a repository, or out of an archive. */
async function pullResolved(making: Making, resolved: Resolved): Promise<Outcome<Pulled>> {
  const { source } = making.requested;
  const { node, organisation, signal, say } = making;
  if (source.kind !== "upload") {
    const git = await gitWork(making);
    return "failed" in git ? git : pullSource(diskOf(making), repositoryOf(source), resolved, git.work);
  }
  const path = blobPath(node.disk.bytes, organisation, resolved.commit);
  const unpacking = unpackSource(diskOf(making), { path, sha256: resolved.commit, signal, onLine: say });
  return amid(making.during, unpacking);
}

/** The files of what a branch, tag or commit, or an upload, is now. */
export async function pullRef(making: Making, ref: string): Promise<Outcome<Pulled & { readonly ref: string }>> {
  const resolved = await resolveNow(making, ref);
  if ("failed" in resolved) return resolved;
  making.say(`${ref} is ${resolved.commit}`);
  making.during();
  const pulled = await pullResolved(making, resolved);
  return "failed" in pulled ? pulled : { ...pulled, ref: resolved.ref };
}

/** The files of a commit that was pulled before: where they are gone, from where they came again. */
export async function sourceAt(making: Making, resolved: Resolved): Promise<Outcome<Pulled>> {
  return (await findSource(diskOf(making), resolved.commit)) ?? pullResolved(making, resolved);
}

/** What a build of this deployment depends on and gives. */
export interface Built {
  readonly inputHash: string;
  readonly image?: NonNullable<KnownRelease["image"]>;
  readonly adopted: boolean;
}

/** Bytes of a build's context at the most. */
const CONTEXT_MOST = 2 * 1024 ** 3;
/** What a build may use of the machine; an application's own limits are for running. */
const BUILD_MEMORY = 4 * 1024 ** 3;

/** The image of a deployment, under its own tag; a static site has none, only a hash of what it depends on. */
export async function build(
  making: Making,
  deployment: string,
  source: Resolved & { readonly tree: string },
  deadlineAt: number | null,
): Promise<Outcome<Built>> {
  const { node, application, requested, signal, say } = making;
  const how = requested.build;
  if (how.kind === "static") {
    const bare = { tree: source.tree, dockerfile: "", context: how.folder, args: {}, bases: [] };
    return { inputHash: hashOfInput(bare), adopted: false };
  }
  const pulled = await sourceAt(making, source);
  if ("failed" in pulled) return pulled;
  const context = await contextIn(pulled.folder, how.context);
  if ("failed" in context) return context;
  const { folder } = context;
  const dockerfile = within(how.context, how.dockerfile);
  const args = how.args ?? {};
  const timeoutMs = Math.max(1_000, (deadlineAt ?? Date.now() + 3_600_000) - Date.now());
  const asked = { folder, dockerfile, args, timeoutMs, signal, onLine: say };
  const bases = await node.docker.baseImages(asked);
  const inputHash = hashOfInput({ tree: source.tree, dockerfile: how.dockerfile, context: how.context, args, bases });
  const tag = imageTag(application, deployment);
  const there =
    (await node.docker.findImage(tag, inputHash)) ?? (await node.docker.retagImage(application, inputHash, tag));
  if (there !== undefined) {
    say(`the image ${there.id} of the same input is there`);
    return { inputHash, image: { id: there.id, tag: there.tag }, adopted: true };
  }
  const image = await node.docker.build({
    application,
    tag,
    inputHash,
    folder,
    dockerfile,
    args,
    limits: { timeoutMs, memoryBytes: BUILD_MEMORY, contextBytes: CONTEXT_MOST },
    signal,
    onLine: (line) => {
      say(line);
      making.during();
    },
  });
  return { inputHash, image: { id: image.id, tag: image.tag }, adopted: false };
}

/** The folder of the build's context: links on the way there must not lead out of the source. */
async function contextIn(source: string, context: string): Promise<Outcome<{ readonly folder: string }>> {
  const root = await realpath(source).catch(() => source);
  const folder = await realpath(join(source, context)).catch(() => undefined);
  if (folder !== undefined && (folder === root || folder.startsWith(`${root}/`))) return { folder };
  const what = folder === undefined ? "is not there" : "leads out of the repository";
  return fail(
    "permanent",
    "BUILD_CONTEXT",
    `The build's context ${context} ${what}.`,
    "Name a folder of the repository.",
  );
}

/** The Dockerfile's path is relative to the repository; the engine wants it from the context. */
function within(context: string, dockerfile: string): string {
  if (context === ".") return dockerfile;
  return dockerfile.startsWith(`${context}/`) ? dockerfile.slice(context.length + 1) : dockerfile;
}

/** The folder that says, or holds, what is served. */
export async function materialise(
  making: Making,
  made: {
    readonly source: Resolved & { readonly tree: string };
    readonly inputHash: string;
    readonly image?: NonNullable<KnownRelease["image"]>;
    /** The live release: files that it has, too, keep their ETag. */
    readonly previous?: string;
  },
): Promise<Outcome<Release>> {
  const { requested, signal, say } = making;
  if (requested.build.kind === "static") {
    const pulled = await sourceAt(making, made.source);
    if ("failed" in pulled) return pulled;
    return materialiseStatic(diskOf(making), {
      source: pulled.folder,
      folder: requested.build.folder,
      ...(made.previous === undefined ? {} : { previous: made.previous }),
      signal,
      onLine: say,
    });
  }
  if (made.image === undefined) {
    const fix = "Deploy again.";
    return fail("permanent", "IMAGE_MISSING", "The deployment has no image.", fix);
  }
  const { runtime, health } = requested;
  return materialiseImage(diskOf(making), { image: made.image.id, inputHash: made.inputHash, runtime, health }, signal);
}

/** How each of the containers of a deployment runs; opens the secrets of its environment. */
export async function containerSpecs(
  making: Making,
  deployment: string,
  imageId: string,
  slots: ReadonlyArray<number>,
): Promise<Outcome<{ readonly specs: ReadonlyArray<ContainerSpec> }>> {
  const { requested, application } = making;
  const { runtime, health } = requested;
  if (runtime === undefined) {
    return fail(
      "permanent",
      "NO_RUNTIME",
      "The application says nothing about how it runs.",
      "Set its port, and deploy.",
    );
  }
  const opened = await environment(making);
  if ("failed" in opened) return opened;
  const { path, intervalMs, timeoutMs, retries } = health;
  const common = {
    application,
    deployment,
    imageId,
    port: runtime.port,
    env: opened.env,
    memoryBytes: runtime.memoryBytes,
    cpus: runtime.cpus,
    processes: runtime.processes,
    stopTimeoutMs: runtime.stopTimeoutMs,
    ...(runtime.user === undefined ? {} : { user: runtime.user }),
    health: { path, intervalMs, timeoutMs, retries },
  };
  return { specs: slots.map((slot) => ({ ...common, slot })) };
}

/** The variables of its environment with their values; those of secrets are told to `redact`. */
export async function environment(making: Making): Promise<Outcome<{ readonly env: Record<string, string> }>> {
  const { node, organisation, application, requested } = making;
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(requested.runtime?.env ?? {})) {
    if (typeof value === "string") {
      env[name] = value;
      continue;
    }
    const opened = await node.secrets.value(value.secret, { organisation, purpose: `${name} of ${application}` });
    if ("failed" in opened) return opened;
    making.redact([opened.value]);
    env[name] = opened.value;
  }
  return { env };
}
