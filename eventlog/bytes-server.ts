/**
 * The holder's side of the hop: a small HTTP listener of a service, for gateways with a ticket and nobody else. It belongs to no
 * public address; what it answers is read by `services/gateway/bytes.ts`.
 *
 *     POST   /<id>           upload-length              a place for so many bytes
 *     HEAD   /<id>                                      upload-offset
 *     PATCH  /<id>           upload-offset, -checksum   a piece; with the last one the upload is complete before the answer
 *     GET    /<id>, HEAD …   range, if-range, …         its content
 *     DELETE /<id>
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { answerFiles, type NodeFiles } from "./backup/files-away.ts";
import { answerContent } from "./bytes-content.ts";
import type { BytesStore, Checksum, StoreFault } from "./bytes-store.ts";
import { type BytesAct, readTicket, type Ticket } from "./bytes-ticket.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import type { Logger } from "./logging.ts";

export interface BytesServerOptions {
  readonly store: BytesStore;
  readonly keys: ReadonlyArray<Uint8Array>;
  readonly node: string;
  readonly host: string;
  readonly port: number;
  /** Tells the log that all bytes of an upload are on the disk; again when it was told before. False: it is wanted no more. */
  readonly complete: (
    id: string,
    what: { readonly organisation: string; readonly sha256: string; readonly bytes: number },
  ) => Promise<boolean>;
  /** What backups take from this node. */
  readonly files?: NodeFiles;
  /** After how long an upload goes that nobody continues. */
  readonly expiryMs: number;
  readonly logger: Logger;
}

export interface BytesServer {
  readonly port: number;
  /** Ends what is under way; what has arrived is kept. */
  stop(): Promise<void>;
}

const STATUS: Readonly<Record<StoreFault["fault"], number>> = {
  unknown: 404,
  offset: 409,
  taken: 409,
  quota: 413,
  "too-long": 413,
  checksum: 460,
  "disk-full": 507,
};

export async function serveBytes(options: BytesServerOptions): Promise<BytesServer> {
  const stopping = new AbortController();
  const server = createServer(
    { requestTimeout: 0, headersTimeout: 10_000, keepAliveTimeout: 60_000 },
    (request, response) => {
      answer(options, request, response, stopping.signal).catch((error: unknown) => {
        if (!(error instanceof LogUnavailable)) options.logger.error({ err: error }, "bytes could not be served");
        if (response.headersSent) response.destroy();
        else say(request, response, 503, { fault: "unavailable" });
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
      await options.store.stop();
      server.closeAllConnections();
      await closed;
    },
  };
}

const DRAIN_MS = 10_000;

/** An answer. What still comes of a body is read and dropped until the gateway, which has the answer, ends the connection: an end from here could overtake it. */
export function say(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  body?: object,
  headers: object = {},
): void {
  const text = body === undefined ? "" : JSON.stringify(body);
  response.writeHead(status, {
    ...(body === undefined ? {} : { "content-type": "application/json" }),
    ...(status === 204 ? {} : { "content-length": Buffer.byteLength(text) }),
    ...headers,
  });
  response.end(request.method === "HEAD" || status === 204 ? undefined : text);
  if (request.complete) return;
  request.resume();
  setTimeout(() => request.complete || request.destroy(), DRAIN_MS).unref();
}

const ACTS: Readonly<Record<string, BytesAct>> = {
  POST: "reserve",
  HEAD: "offset",
  PATCH: "append",
  GET: "read",
  DELETE: "remove",
};

function ticketOf({ keys, node }: BytesServerOptions, request: IncomingMessage): Ticket | undefined {
  const [scheme, text] = (request.headers.authorization ?? "").split(" ");
  if (scheme !== "Ticket" || text === undefined) return undefined;
  const ticket = readTicket(keys, text, Date.now());
  // What can be read can be asked for its size as well.
  const acts =
    request.method === "HEAD"
      ? ["offset", "read"]
      : request.method === "GET"
        ? ["read", "files"]
        : [ACTS[request.method ?? ""]];
  const good =
    ticket !== undefined && acts.includes(ticket.act) && ticket.node === node && request.url === `/${ticket.resource}`;
  return good ? ticket : undefined;
}

async function answer(
  options: BytesServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const { store } = options;
  const ticket = ticketOf(options, request);
  if (ticket === undefined) return say(request, response, 403, { fault: "ticket" });
  const { resource: id, organisation } = ticket;
  if (ticket.act === "files") {
    if (options.files === undefined) return say(request, response, 404, { fault: "unknown" });
    return answerFiles(options.files, request, response, signal);
  }
  const held = store.held(id);
  if (ticket.act !== "reserve" && held?.organisation !== organisation) {
    return say(request, response, 404, { fault: "unknown" });
  }
  switch (ticket.act) {
    case "reserve": {
      const bytes = numberOf(request.headers["upload-length"]) ?? Number.NaN;
      if (!(bytes <= ticket.maxBytes)) return say(request, response, 403, { fault: "ticket" });
      const fault = await store.reserve(id, { organisation, bytes });
      return fault === undefined
        ? say(request, response, 201, undefined, expires(options))
        : sayFault(request, response, fault);
    }
    case "offset": {
      const offset = (await store.offset(id))!;
      if (offset === held!.bytes) return finish(options, request, response, id, organisation);
      return say(request, response, 200, {}, { ...expires(options), "upload-offset": offset });
    }
    case "append":
      return append(options, request, response, ticket, signal);
    case "read":
      return read(options, request, response, id);
    case "remove":
      await store.remove(id, false);
      return say(request, response, 204);
  }
}

const expires = ({ expiryMs }: BytesServerOptions) => ({
  "upload-expires": new Date(Date.now() + expiryMs).toUTCString(),
});

const numberOf = (text: string | string[] | undefined): number | undefined =>
  typeof text === "string" && /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : undefined;

function sayFault(request: IncomingMessage, response: ServerResponse, fault: StoreFault): void {
  const headers = "offset" in fault ? { "upload-offset": fault.offset } : {};
  say(request, response, STATUS[fault.fault], fault, headers);
}

async function append(
  options: BytesServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  { resource: id, organisation }: Ticket,
  signal: AbortSignal,
): Promise<void> {
  const { store } = options;
  const offset = numberOf(request.headers["upload-offset"]);
  if (offset === undefined) return say(request, response, 400, { fault: "offset" });
  const checksum = checksumOf(request.headers["upload-checksum"]);
  const done = await store.append(id, request, { offset, signal, ...(checksum === undefined ? {} : { checksum }) });
  if ("fault" in done) return sayFault(request, response, done);
  if (done.offset === store.held(id)?.bytes) return finish(options, request, response, id, organisation);
  // Nobody is there any more to be told, or another piece has taken the place of this one.
  if (done.cut && request.destroyed) return void response.destroy();
  if (done.cut) return sayFault(request, response, { fault: "offset", offset: done.offset });
  say(request, response, 204, undefined, { ...expires(options), "upload-offset": done.offset });
}

/** All has arrived: it gets its place, the log is told, and only then the sender. */
async function finish(
  options: BytesServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  id: string,
  organisation: string,
): Promise<void> {
  const done = await options.store.finish(id);
  if ("fault" in done) return sayFault(request, response, done);
  const { sha256, bytes } = done;
  if (!(await options.complete(id, { organisation, sha256, bytes }))) {
    return sayFault(request, response, { fault: "unknown" });
  }
  faultPoint("bytes.told");
  const status = request.method === "HEAD" ? 200 : 204;
  say(request, response, status, undefined, { "upload-offset": bytes, "upload-length": bytes, "x-sha256": sha256 });
}

function checksumOf(header: string | string[] | undefined): Checksum | undefined {
  const [algorithm, digest] = String(header ?? "").split(" ");
  if (digest === undefined || (algorithm !== "sha256" && algorithm !== "sha1")) return undefined;
  return { algorithm, digest: Buffer.from(digest, "base64") };
}

async function read(
  { store }: BytesServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  id: string,
): Promise<void> {
  const held = store.held(id);
  if (held?.sha256 === undefined) return say(request, response, 404, { fault: "unknown" });
  const path = store.blob(held.organisation, held.sha256);
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return say(request, response, 404, { fault: "unknown" });
  const { status, headers, range } = answerContent(request.headers, { bytes: found.size, tag: `"${held.sha256}"` });
  response.writeHead(status, headers);
  if (range === undefined || request.method === "HEAD") return void response.end();
  const file = createReadStream(path, { start: range.first, end: range.last, highWaterMark: 512 * 1024 });
  // The reader has gone: that is its own affair.
  await pipeline(file, response).catch(() => response.destroy());
}
