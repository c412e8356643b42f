/** What people say of an application on the command line, as the API takes it. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { usage } from "../failure.ts";
import { readAll } from "../io.ts";
import type { Call, Flag, None } from "../table.ts";
import type { RequestOf } from "../typed.ts";
import type { Application } from "./applications-text.ts";

export type Of<T extends Flag["type"], K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};

export type SpecFlags = Of<
  "string",
  | "title"
  | "repository"
  | "ref"
  | "token-secret"
  | "key-secret"
  | "upload"
  | "folder"
  | "not-found"
  | "dockerfile"
  | "build-context"
  | "memory"
  | "cpus"
  | "health"
  | "node"
  | "file"
> &
  Of<"strings", "arg" | "env" | "env-secret" | "domain"> &
  Of<"integer", "port" | "keep"> &
  Of<"boolean", "spa">;

type SpecCall = Call<SpecFlags, None>;
export type Creating = RequestOf<"createApplication">["payload"];
export type Changing = RequestOf<"changeApplication">["payload"];
type Spec = Application["spec"];
/** What is there already, or stands in a file: any part of a spec. */
type Base = { -readonly [K in keyof Spec]?: Spec[K] | undefined };

const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

function memoryOf(text: string): number {
  const [, count, unit] = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text) ?? [];
  if (count === undefined) throw usage(`"${text}" is no amount of memory`, "Write it like 256MiB");
  return Number(count) * UNITS[unit!]!;
}

/** `NAME=VALUE`, as often as given. */
export function pairs(flag: string, texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw usage(`--${flag} "${text}" has no name and value`, `Write it like --${flag} NAME=VALUE`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** What Git fetches over a network has a colon in it, behind its scheme or its host. */
const isPath = (text: string): boolean => /^\.{0,2}\//.test(text) || !text.includes(":");

function sourceOf({ flags, io }: SpecCall, base: Base["source"], uploaded?: string): Spec["source"] | undefined {
  const { repository, ref } = flags;
  if (uploaded !== undefined) {
    if (repository !== undefined || ref !== undefined)
      throw usage("--upload and --repository, --ref exclude each other");
    return { kind: "upload", upload: uploaded };
  }
  const credentials = credentialsOf(flags);
  if (repository === undefined && ref === undefined && credentials === undefined) return undefined;
  // What is not said is left to the API's own default.
  const branch = (ref ?? (base !== undefined && "ref" in base ? base.ref : undefined)) as string;
  const withRef = branch === undefined ? ({} as { readonly ref: string }) : { ref: branch };
  if (repository !== undefined && isPath(repository)) {
    if (credentials !== undefined) throw usage("A repository by path needs no credentials");
    return { kind: "path", path: resolve(io.cwd, repository), ...withRef };
  }
  if (repository !== undefined) {
    return { kind: "git", url: repository, ...withRef, ...(credentials === undefined ? {} : { credentials }) };
  }
  if (base === undefined) throw usage("--repository is needed", "A URL that git clones, or the path of a repository");
  return { ...base, ...withRef, ...(credentials === undefined ? {} : { credentials }) } as Spec["source"];
}

function buildOf({ flags }: SpecCall, base: Base["build"]): Spec["build"] | undefined {
  const { folder, dockerfile, spa, arg } = flags;
  const context = flags["build-context"];
  const notFound = flags["not-found"];
  const isStatic = folder !== undefined || notFound !== undefined || spa;
  const isImage = dockerfile !== undefined || context !== undefined || arg.length > 0;
  if (isStatic && isImage)
    throw usage("--folder, --not-found and --spa are of static sites, the other flags of images");
  if (isStatic) {
    const kept = base?.kind === "static" ? base : {};
    const said = { ...(folder && { folder }), ...(notFound && { notFound }), ...(spa && { spa }) };
    return { ...kept, kind: "static", ...said } as Spec["build"];
  }
  const needsImage = isImage || (base === undefined && flags.port !== undefined);
  if (!needsImage) return undefined;
  const kept = base?.kind === "dockerfile" ? base : undefined;
  const args = { ...kept?.args, ...pairs("arg", arg) };
  return {
    ...kept,
    kind: "dockerfile",
    ...(dockerfile === undefined ? {} : { dockerfile }),
    ...(context === undefined ? {} : { context }),
    ...(Object.keys(args).length === 0 ? {} : { args }),
  } as Spec["build"];
}

/** The part of `runtime` that is said; variables are replaced as a whole, so those that are there come with them. */
function runtimeOf(
  { flags }: SpecCall,
  base: Base["runtime"],
  unset: readonly string[],
): Partial<NonNullable<Spec["runtime"]>> | undefined {
  const env: Record<string, string | { readonly secret: string }> = { ...base?.env, ...pairs("env", flags.env) };
  for (const [name, secret] of Object.entries(pairs("env-secret", flags["env-secret"]))) env[name] = { secret };
  for (const name of unset) delete env[name];
  const changesEnv = flags.env.length + flags["env-secret"].length + unset.length > 0;
  if (flags.cpus !== undefined && !/^\d{1,3}(\.\d{1,3})?$/.test(flags.cpus)) {
    throw usage(`"${flags.cpus}" is no number of processor cores`, "Write it like --cpus 0.5");
  }
  const said = {
    ...(flags.port === undefined ? {} : { port: flags.port }),
    ...(flags.memory === undefined ? {} : { memoryBytes: memoryOf(flags.memory) }),
    ...(flags.cpus === undefined ? {} : { cpus: Number(flags.cpus) }),
    ...(changesEnv ? { env } : {}),
  };
  return Object.keys(said).length === 0 ? undefined : said;
}

interface Less {
  readonly unset?: readonly string[];
  readonly withoutDomains?: readonly string[];
  /** Id of the upload that it is made from. */
  readonly uploaded?: string | undefined;
}

/** The sections that the flags say something of, each whole where the API replaces it as a whole. */
function said(call: SpecCall, base: Base, { unset = [], withoutDomains = [], uploaded }: Less = {}): Changing {
  const { flags } = call;
  const source = sourceOf(call, base.source, uploaded);
  const build = buildOf(call, base.build);
  const runtime = runtimeOf(call, base.runtime, unset);
  const changesDomains = flags.domain.length + withoutDomains.length > 0;
  const domains = [...new Set([...(base.domains ?? []), ...flags.domain])].filter(
    (host) => !withoutDomains.includes(host),
  );
  return {
    ...(flags.title === undefined ? {} : { title: flags.title }),
    ...(source === undefined ? {} : { source }),
    ...(build === undefined ? {} : { build }),
    ...(runtime === undefined ? {} : { runtime }),
    ...(flags.health === undefined ? {} : { health: { path: flags.health } }),
    ...(changesDomains ? { domains } : {}),
    ...(flags.keep === undefined ? {} : { policy: { keepReleases: flags.keep } }),
    ...(flags.node === undefined ? {} : { node: flags.node }),
  };
}

/** What a file says: a spec, or the application that holds one. */
async function fileOf({ io, flags }: SpecCall): Promise<Base> {
  if (flags.file === undefined) return {};
  const text = flags.file === "-" ? await readAll(io) : await readFile(resolve(io.cwd, flags.file), "utf8");
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw usage(`${flags.file} is no JSON: ${(error as Error).message}`);
  }
  if (typeof read !== "object" || read === null || Array.isArray(read)) throw usage(`${flags.file} holds no object`);
  const { spec } = read as { readonly spec?: unknown };
  return (typeof spec === "object" && spec !== null ? spec : read) as Base;
}

/** Objects one level deep are put together; lists and the rest are replaced. */
const merged = <T extends object>(under: object, over: T): T =>
  Object.fromEntries(
    [...new Set([...Object.keys(under), ...Object.keys(over)])].map((key) => {
      const [low, high] = [(under as Record<string, unknown>)[key], (over as Record<string, unknown>)[key]];
      const both = ["runtime", "health", "policy"].includes(key) && low !== undefined && high !== undefined;
      return [key, both ? { ...(low as object), ...(high as object) } : (high ?? low)];
    }),
  ) as T;

export async function created(call: SpecCall, name: string, uploaded?: string): Promise<Creating> {
  const file = await fileOf(call);
  const flags = said(call, file, { uploaded });
  const spec = merged(file, { ...flags, name }) as Partial<Creating>;
  if (spec.source === undefined)
    throw usage(
      "--repository or --upload is needed",
      "A URL that git clones, the path of a repository, or a folder to upload",
    );
  return { ...spec, name, build: spec.build ?? { kind: "static" } } as Creating;
}

/** @returns what is to be changed; nothing of it where nothing was said */
export async function changed(call: SpecCall, now: Spec, less: Less): Promise<Changing> {
  const { name: _name, wanted: _wanted, ...file } = await fileOf(call);
  const change = merged(file, said(call, { ...now, ...file }, less));
  const title = call.flags.title === "none" ? null : change.title;
  const node = call.flags.node === "none" ? null : change.node;
  return { ...change, ...(title === undefined ? {} : { title }), ...(node === undefined ? {} : { node }) } as Changing;
}

/** What a private repository is asked with. */
export function credentialsOf(flags: {
  readonly "token-secret"?: string | undefined;
  readonly "key-secret"?: string | undefined;
}): { readonly secret: string; readonly kind: "token" | "ssh-key" } | undefined {
  const { "token-secret": token, "key-secret": key } = flags;
  if (token !== undefined && key !== undefined) throw usage("--token-secret and --key-secret exclude each other");
  if (token !== undefined) return { secret: token, kind: "token" };
  return key === undefined ? undefined : { secret: key, kind: "ssh-key" };
}
