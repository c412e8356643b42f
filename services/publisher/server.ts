/**
 * What gateways bring for builds of this node, by tickets (eventlog/bytes-ticket.ts):
 *
 *     PUT  /<build>   multipart: objects and static deltas   [sizes in the order of the parts]
 *     POST /<build>   missing: {"wanted": [names]}           {"missing": [names]}, the others held until the build ends
 *     POST /<build>   check                                  {"count", "missing": [some names]} of what its references lead to
 *     GET  /files     files                                  what backups take: eventlog/backup/files-away.ts
 *     POST /<build>   review                                 what its references change
 *     GET  /<build>                  x-artefact: arch   what is kept of a build that failed
 *     GET  /<build>, /<repository>, HEAD   x-file: path      a file of it, as far as it is served (files.ts)
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type BuildState, build } from "@millrace/domain/publishing/build.ts";
import { repository } from "@millrace/domain/publishing/repository.ts";
import type { NodeHook } from "@millrace/eventlog/backup/files.ts";
import { answerFiles } from "@millrace/eventlog/backup/files-away.ts";
import { say } from "@millrace/eventlog/bytes-server.ts";
import { readTicket, type Ticket } from "@millrace/eventlog/bytes-ticket.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { receiveUpload } from "./adapters/ostree/intake.ts";
import { readJson } from "./adapters/ostree/multipart.ts";
import { Refusal, type RefusalCode } from "./adapters/ostree/refusal.ts";
import { serveArtefact, serveBuildFile, serveRepositoryFile } from "./files.ts";
import { missingOf } from "./missing.ts";
import { reviewOf } from "./review.ts";
import type { Store } from "./store.ts";

export interface UploadsOptions {
  readonly store: Store;
  readonly log: EventLog;
  readonly keys: ReadonlyArray<Uint8Array>;
  readonly node: string;
  /** The folder with all state, and what backups take of it. */
  readonly dataFolder: string;
  readonly backups: ReadonlyArray<NodeHook>;
  readonly host: string;
  readonly port: number;
  readonly logger: Logger;
}

export interface UploadsServer {
  readonly port: number;
  stop(): Promise<void>;
}

/** Of a question for what is missing, unpacked. */
const QUESTION_MOST = 10 * 1024 * 1024;
const STATUS: Readonly<Partial<Record<RefusalCode, number>>> = {
  "too-large": 413,
  "missing-objects": 422,
  "not-found": 404,
  "ref-moved": 409,
};

export async function serveUploads(options: UploadsOptions): Promise<UploadsServer> {
  const stopping = new AbortController();
  const server = createServer(
    { requestTimeout: 0, headersTimeout: 10_000, keepAliveTimeout: 60_000 },
    (request, response) => {
      answer(options, request, response, stopping.signal).catch((error: unknown) => {
        const { status, body } = faultOf(error);
        if (status === 503 && !(error instanceof LogUnavailable) && !request.destroyed) {
          options.logger.error({ err: error }, "what was brought for a build could not be taken");
        }
        if (response.headersSent) response.destroy();
        else say(request, response, status, body);
      });
    },
  );
  server.on("clientError", (_, socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => resolve());
  });
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      stopping.abort();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** What is answered to what went wrong. */
function faultOf(error: unknown): { readonly status: number; readonly body: object } {
  if (error instanceof Refusal) {
    const { code, subject, reason, fix, missing } = error;
    return { status: STATUS[code] ?? 400, body: { fault: "refused", code, subject, reason, fix, missing } };
  }
  if ((error as NodeJS.ErrnoException).code === "ENOSPC") return { status: 507, body: { fault: "disk-full" } };
  return { status: 503, body: { fault: "unavailable" } };
}

async function answer(
  options: UploadsOptions,
  request: IncomingMessage,
  response: ServerResponse,
  stopping: AbortSignal,
): Promise<void> {
  const { keys, node, log, store } = options;
  const [scheme, text] = (request.headers.authorization ?? "").split(" ");
  const ticket = scheme === "Ticket" && text !== undefined ? readTicket(keys, text, Date.now()) : undefined;
  if (ticket === undefined || ticket.node !== node || request.url !== `/${ticket.resource}`) {
    return say(request, response, 403, { fault: "ticket" });
  }
  if (ticket.act === "files") {
    return answerFiles({ dataFolder: options.dataFolder, hooks: options.backups }, request, response, stopping);
  }
  if (ticket.act === "read") return give(options, ticket, request, response);
  const { state, organisation } = await log.aggregates.load(build, ticket.resource);
  if (organisation !== ticket.organisation) return say(request, response, 404, { fault: "unknown" });
  const answered = await store.receive(state.id, async (ended) => {
    const signal = AbortSignal.any([stopping, ended]);
    switch (ticket.act) {
      case "upload":
        return take(options, state, request, signal);
      case "missing":
        return missing(options, state, request);
      case "check":
        return missingOf(store, state, signal);
      case "review":
        return reviewOf(store, state, signal);
      default:
        throw new Refusal("bad-body", "", "this is not done here");
    }
  });
  say(request, response, answered === undefined ? 404 : 200, answered ?? { fault: "unknown" });
}

async function give(
  { log, store }: UploadsOptions,
  { resource, organisation }: Ticket,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = String(request.headers["x-file"] ?? "");
  const arch = request.headers["x-artefact"];
  const options = { place: store.node, log };
  const isBuild = resource.startsWith(`${build.prefix}_`);
  const loaded = isBuild ? await log.aggregates.load(build, resource) : await log.aggregates.load(repository, resource);
  if (loaded.organisation !== organisation) return say(request, response, 404, { fault: "unknown" });
  if (isBuild && typeof arch === "string" && /^[a-z0-9_]{1,64}$/.test(arch)) {
    return serveArtefact(options, loaded.state as BuildState, arch, request, response);
  }
  return isBuild
    ? serveBuildFile(options, loaded.state as BuildState, path, request, response)
    : serveRepositoryFile(options, loaded.state, path, request, response);
}

/** @throws Refusal where nothing more comes */
function checkOpen(state: BuildState): void {
  if (state.state === "uploading") return;
  throw new Refusal("not-found", `build ${state.number}`, `takes no more uploads: it is ${state.state}`);
}

async function take({ store }: UploadsOptions, state: BuildState, request: IncomingMessage, signal: AbortSignal) {
  checkOpen(state);
  const upload = await store.upload(state.repository, state.id);
  return receiveUpload(upload, request, request.headers["content-type"], { signal });
}

async function missing({ store }: UploadsOptions, state: BuildState, request: IncomingMessage) {
  checkOpen(state);
  const asked = await readJson(request, request.headers["content-encoding"], QUESTION_MOST);
  const wanted = (asked as { readonly wanted?: unknown } | null)?.wanted;
  if (!Array.isArray(wanted) || !wanted.every((name): name is string => typeof name === "string")) {
    throw new Refusal("bad-body", "wanted", "is no list of names of objects");
  }
  const upload = await store.upload(state.repository, state.id);
  const { leases } = await store.main(state.repository);
  // What lies in the repository is held first, then looked at; what was uploaded is the build's own.
  return { missing: upload.missing(await leases.pin(state.id, wanted)) };
}
