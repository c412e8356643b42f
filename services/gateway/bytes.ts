/**
 * The streaming hop: a request for bytes goes on to the service that holds them, with a ticket, and the answer comes back. Nothing is
 * held here but what is on its way: the slower of the two ends sets the pace.
 */
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { Conflict, type Problem, TooLarge, Unavailable } from "@millrace/contracts/problems.ts";
import { type BytesAct, TICKET_MS, writeTicket } from "@millrace/eventlog/bytes-ticket.ts";
import { listNodes, type NodeRecord } from "@millrace/eventlog/presence.ts";
import { type Down, openDown } from "./bytes-down.ts";
import { fail } from "./failures.ts";
import type { Gateway } from "./gateway.ts";

export interface Holder {
  readonly node: string;
  readonly url: string;
  readonly freeBytes: number;
}

/** How long what nodes announce is believed, in milliseconds. */
const KNOWN_MS = 1_000;
const CONNECT_MS = 5_000;
/** A stream of which nothing has passed for so long is cut. */
const STALLED_MS = 60_000;

/** Who holds bytes, as the nodes announce it. */
export class Holders {
  readonly #gateway: Gateway;
  readonly #service: string;
  #known: Promise<ReadonlyArray<NodeRecord>> | undefined;
  #knownAt = 0;

  constructor(gateway: Gateway, service: string) {
    this.#gateway = gateway;
    this.#service = service;
  }

  async all(): Promise<ReadonlyArray<Holder>> {
    if (this.#known === undefined || Date.now() - this.#knownAt > KNOWN_MS) {
      this.#knownAt = Date.now();
      this.#known = listNodes(this.#gateway.log.nats);
      this.#known.catch(() => {
        this.#known = undefined;
      });
    }
    return (await this.#known).flatMap(({ service, node, bytes, freeBytes }) =>
      service === this.#service && bytes !== undefined ? [{ node, url: bytes, freeBytes }] : [],
    );
  }

  /** @throws Failed (unavailable) when no process of the node takes bytes now */
  async of(node: string): Promise<Holder> {
    return (await this.all()).find((holder) => holder.node === node) ?? fail(away(node));
  }

  /** What was announced turned out to be otherwise. */
  forget(): void {
    this.#known = undefined;
  }
}

export const away = (node: string): Unavailable =>
  new Unavailable({
    what: `node ${node}`,
    detail: `No worker of the node ${node} takes or gives bytes at the moment.`,
    fix: "Try again in a moment: an upload goes on where it stopped. If that does not help, look whether the node's services run (`mill status`), and have the master key.",
    retryAfterSeconds: 1,
  });

export interface Hop {
  readonly act: BytesAct;
  /** Id of what it is about. */
  readonly resource: string;
  readonly method?: "HEAD";
  readonly maxBytes?: number;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** Sent on as it comes. */
  readonly body?: IncomingMessage;
  /** Instead of it: what is here already. */
  readonly content?: Buffer;
}

/** In whose name it goes on. */
export interface Caller {
  readonly requestId: string;
  readonly token?: { readonly id: string };
  readonly organisation?: { readonly id: string };
}

const METHODS: Readonly<Record<BytesAct, string>> = {
  files: "GET",
  reserve: "POST",
  offset: "HEAD",
  append: "PATCH",
  read: "GET",
  remove: "DELETE",
  upload: "PUT",
  missing: "POST",
  check: "POST",
  review: "POST",
};

/** What every request to a holder says. */
function headersOfHop(
  gateway: Gateway,
  holder: Holder,
  asked: Caller,
  { act, resource, maxBytes = 0, headers: more = {} }: Hop,
): Record<string, string> {
  const ticket = writeTicket(gateway.ticketKey, {
    subject: asked.token!.id,
    organisation: asked.organisation!.id,
    resource,
    act,
    node: holder.node,
    maxBytes,
    until: Date.now() + TICKET_MS,
  });
  const headers: Record<string, string> = {
    authorization: `Ticket ${ticket}`,
    "x-request-id": asked.requestId,
    // Ended from here, when the answer has been read: ended from there, while a body still flows, it could be lost.
    connection: "keep-alive",
  };
  for (const [name, value] of Object.entries(more)) if (value !== undefined) headers[name] = value;
  return headers;
}

/** Asks for content. @returns the holder's answer, its content yet to be sent on @throws Failed (unavailable) */
export async function down(
  gateway: Gateway,
  holders: Holders,
  holder: Holder,
  asked: Caller,
  asks: Pick<Hop, "act" | "resource" | "headers">,
): Promise<Down> {
  const headers = headersOfHop(gateway, holder, asked, asks);
  const lines = Object.entries({ host: new URL(holder.url).host, ...headers }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  try {
    return await openDown(holder.url, [`GET /${asks.resource} HTTP/1.1`, ...lines].join("\r\n"));
  } catch (error) {
    holders.forget();
    gateway.logger.debug({ err: error, node: holder.node }, "a hop broke off");
    return fail(away(holder.node));
  }
}

/** @returns the holder's answer, its body yet to be read @throws Failed (unavailable) */
export async function hop(
  gateway: Gateway,
  holders: Holders,
  holder: Holder,
  asked: Caller,
  hop: Hop,
): Promise<IncomingMessage> {
  const { act, resource, body, content } = hop;
  const headers = headersOfHop(gateway, holder, asked, hop);
  const length = body?.headers["content-length"];
  if (length !== undefined) headers["content-length"] = length;
  return new Promise((resolve, reject) => {
    // A connection of its own: one that was kept may be closed at this very moment, and a stream cannot be sent twice.
    const sending = httpRequest(`${holder.url}/${resource}`, {
      method: hop.method ?? METHODS[act],
      headers,
      agent: false,
    });
    const give = (problem: Problem) => {
      body?.unpipe(sending);
      holders.forget();
      try {
        fail(problem);
      } catch (error) {
        reject(error);
      }
    };
    const connecting = setTimeout(() => sending.destroy(new Error("it does not answer")), CONNECT_MS);
    sending.once("socket", (socket) => socket.once("connect", () => clearTimeout(connecting)));
    sending.on("error", (error) => {
      clearTimeout(connecting);
      gateway.logger.debug({ err: error, node: holder.node }, "a hop broke off");
      give(away(holder.node));
    });
    sending.once("response", (answer) => {
      body?.unpipe(sending);
      // It was refused before all of it had gone.
      if (body?.complete === false) answer.once("close", () => sending.destroy());
      resolve(answer);
    });
    if (body === undefined) return void sending.end(content);
    // The client has gone: what it sent is there, and kept.
    body.once("close", () => body.complete || sending.destroy());
    if (body.destroyed && !body.complete) return void sending.destroy();
    body.once(
      "close",
      cutWhenStalled(body.socket, () => body.complete),
    );
    body.pipe(sending);
  });
}

/** Ends a connection over which nothing passes any more, whichever end holds it up. @returns stops looking, as `isOver` does in time */
export function cutWhenStalled(socket: IncomingMessage["socket"], isOver: () => boolean): () => void {
  let passed = -1;
  const timer = setInterval(() => {
    const now = socket.bytesRead + socket.bytesWritten;
    if (isOver()) return stop();
    if (now === passed) socket.destroy();
    passed = now;
  }, STALLED_MS);
  timer.unref();
  // A connection that is kept sees many of these.
  const stop = () => {
    clearInterval(timer);
    socket.off("close", stop);
  };
  socket.once("close", stop);
  return stop;
}

/** A small answer of a holder: its fault, or nothing. */
export async function faultOf(answer: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > 4_096) break;
    chunks.push(chunk);
  }
  return faultIn(Buffer.concat(chunks).toString("utf8"));
}

export function faultIn(text: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** What a holder's fault means for the client. */
export function problemOfFault(
  node: string,
  { fault, ...more }: Readonly<Record<string, unknown>>,
): Problem | undefined {
  const GIB = 1024 ** 3;
  switch (fault) {
    case "quota":
      return new TooLarge({
        limitBytes: Number(more.freeBytes),
        detail: `The organisation may have ${Number(more.quotaBytes) / GIB} GiB of uploads on the node ${node}; ${more.freeBytes} bytes of that are free.`,
        fix: "Delete uploads that are not needed, or have MILLRACE_UPLOAD_GIB raised on the node.",
      });
    case "too-long":
      return new TooLarge({
        detail: "The piece goes beyond the length that the upload was made with.",
        fix: "Begin another upload, with the right `Upload-Length`.",
      });
    case "offset":
      return new Conflict({
        detail: `The upload goes on at ${more.offset}.`,
        fix: "Ask for the offset by `HEAD`, and send what comes from there.",
      });
    case "taken":
      return new Conflict({ detail: "This upload exists already.", fix: "Use another Idempotency-Key." });
    case "disk-full":
      return new Unavailable({
        what: `disk of node ${node}`,
        detail: `The disk of the node ${node} is full.`,
        fix: "Free space on it; what has arrived is kept, and the upload goes on.",
        retryAfterSeconds: 60,
      });
    case "unavailable":
      return away(node);
    default:
      return undefined;
  }
}

export const headerOf = (headers: IncomingHttpHeaders, name: string): string | undefined => {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
};
