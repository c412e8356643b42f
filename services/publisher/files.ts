/**
 * Files of repositories and of builds, for gateways: what they serve by themselves, beside the Caddy of the node. What may be read is named here;
 * nothing else of the folders is.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { BuildState } from "@millrace/domain/publishing/build.ts";
import { type RepositoryState, repository } from "@millrace/domain/publishing/repository.ts";
import { answerContent } from "@millrace/eventlog/bytes-content.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { artefactFile } from "./artefacts.ts";
import { builderFolder, type PublisherNode, repositoryPlace } from "./places.ts";
import { flatpakref } from "./repositories/web.ts";

interface PathClass {
  readonly pattern: RegExp;
  /** Where else it may lie, from the repository's root. */
  readonly beside?: (path: string) => string;
  readonly cache: string;
  readonly type?: string;
}

const ASKED = "no-cache";
const FOR_GOOD = "public, max-age=31536000, immutable";
const OBJECTS = "objects".length;

const CLASSES: ReadonlyArray<PathClass> = [
  {
    pattern: /^objects\/[0-9a-f]{2}\/[0-9a-f]{62}\.(filez|dirtree|dirmeta|commit)$/,
    beside: (path) => `.millrace/quarantine${path.slice(OBJECTS)}`,
    cache: FOR_GOOD,
  },
  { pattern: /^objects\/[0-9a-f]{2}\/[0-9a-f]{62}\.commitmeta$/, cache: ASKED },
  {
    pattern: /^deltas\/[A-Za-z0-9+_]{2}\/[A-Za-z0-9+_]{41}(-[A-Za-z0-9+_]{43})?\/(superblock|[0-9]{1,9})$/,
    beside: (path) => `.millrace/${path}`,
    cache: "public, max-age=86400",
  },
  { pattern: /^delta-indexes\/[A-Za-z0-9+_]{2}\/[A-Za-z0-9+_]{41}\.index$/, cache: ASKED },
  { pattern: /^summaries\/([0-9a-f]{64}\.gz|[0-9a-f]{64}-[0-9a-f]{64}\.delta)$/, cache: FOR_GOOD },
  { pattern: /^(summaries\/[0-9a-f]{64}\.idx\.sig|summary(\.idx)?(\.sig)?|config)$/, cache: ASKED },
  { pattern: /^refs\/heads\/(app|runtime|appstream2?|screenshots)\/[A-Za-z0-9][A-Za-z0-9._/-]{0,400}$/, cache: ASKED },
];
/** Beside the repository, of a published one. */
const WEB: ReadonlyArray<PathClass> = [
  { pattern: /^(appstream\/)?[A-Za-z0-9._-]{1,255}\.flatpakref$/, cache: ASKED, type: "application/vnd.flatpak.ref" },
  { pattern: /^[A-Za-z0-9._-]{1,255}\.flatpakrepo$/, cache: ASKED, type: "application/vnd.flatpak.repo" },
  { pattern: /^key\.(asc|gpg)$/, cache: ASKED, type: "application/pgp-keys" },
];
const REF = /^([A-Za-z0-9._-]{1,255})\.flatpakref$/;

export interface FilesOptions {
  readonly place: PublisherNode;
  readonly log: EventLog;
}

/** A way out of the folder is no path that is served. */
const isOutside = (path: string): boolean => path.split("/").includes("..");

/** @param path without a slash before it */
export async function serveRepositoryFile(
  { place }: FilesOptions,
  { id }: Pick<RepositoryState, "id">,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const folder = repositoryPlace(place, id);
  const web = WEB.find(({ pattern }) => pattern.test(path));
  if (web !== undefined) {
    return send(request, response, [join(folder, "web", path.replace(/^appstream\//, ""))], web);
  }
  const of = CLASSES.find(({ pattern }) => pattern.test(path));
  await send(request, response, of === undefined ? [] : candidates(join(folder, "repo"), path, of), of);
}

/** What is kept of a build that failed, of one architecture. */
export async function serveArtefact(
  { place }: FilesOptions,
  { id, organisation }: BuildState,
  arch: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const file = artefactFile(builderFolder(join(place.folder, "..")), organisation, id, arch);
  await send(request, response, [file], { pattern: /$/, cache: "no-store", type: "application/gzip" });
}

/** What a build has, and behind it what is in its repository. */
export async function serveBuildFile(
  { place, log }: FilesOptions,
  build: BuildState,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const folder = repositoryPlace(place, build.repository);
  const own = join(folder, "builds", build.id, "repo");
  const id = REF.exec(path)?.[1];
  if (id !== undefined) return sendRef(log, build, id, request, response);
  const of = CLASSES.find(({ pattern }) => pattern.test(path));
  const isShared = of !== undefined && /^(objects|deltas)\//.test(path);
  const files = of === undefined ? [] : candidates(own, path, of);
  await send(request, response, isShared ? [...files, ...candidates(join(folder, "repo"), path, of)] : files, of);
}

const candidates = (root: string, path: string, { beside }: PathClass): string[] =>
  isOutside(path) ? [] : [join(root, path), ...(beside === undefined ? [] : [join(root, beside(path))])];

/** A build's references can be installed by themselves. The address is the gateway's, as it says it. */
async function sendRef(
  log: EventLog,
  build: BuildState,
  id: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const ref = build.refs.find(({ ref, committed }) => committed !== null && ref.split("/")[1] === id)?.ref;
  const url = request.headers["x-url"];
  if (ref === undefined || typeof url !== "string") return nothing(response);
  const { state } = await log.aggregates.load(repository, build.repository);
  const settings = { ...state.settings, title: `${state.settings.title ?? state.name}, build nr ${build.number}` };
  const publicKeys = state.keys.map(({ publicKey }) => publicKey);
  const name = `${state.name}-build-${build.number}`;
  const body = Buffer.from(flatpakref({ name, settings, publicKeys, url }, ref, false));
  response.writeHead(200, {
    "content-type": "application/vnd.flatpak.ref",
    "cache-control": ASKED,
    "content-length": body.length,
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

function nothing(response: ServerResponse): void {
  response.writeHead(404, { "content-type": "application/json", "cache-control": ASKED });
  response.end('{"fault":"unknown"}');
}

async function send(
  request: IncomingMessage,
  response: ServerResponse,
  files: ReadonlyArray<string>,
  of: PathClass | undefined,
): Promise<void> {
  for (const file of files) {
    const found = await stat(file).catch(() => undefined);
    if (found === undefined || !found.isFile()) continue;
    const tag = `"${found.size.toString(16)}-${Math.floor(found.mtimeMs).toString(16)}"`;
    const { status, headers, range } = answerContent(request.headers, { bytes: found.size, tag });
    response.writeHead(status, {
      ...headers,
      "last-modified": found.mtime.toUTCString(),
      "cache-control": of!.cache,
      "content-type": of!.type ?? "application/octet-stream",
    });
    if (range === undefined || request.method === "HEAD") return void response.end();
    const stream = createReadStream(file, { start: range.first, end: range.last, highWaterMark: 256 * 1024 });
    // The reader has gone: that is its own affair.
    return pipeline(stream, response).catch(() => void response.destroy());
  }
  nothing(response);
}
