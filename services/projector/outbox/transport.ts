/**
 * Requests to addresses that somebody else chose: to vetted addresses only, no redirects followed, everything bounded in time and
 * size. One client for all: connections are kept and used again.
 */
import type { SecureContext } from "node:tls";
import type { Addresses, Resolve } from "@millrace/eventlog/addresses.ts";
import { Agent, type Dispatcher } from "undici";

/** What came of a request. */
export type Answered =
  | {
      readonly status: number;
      /** The beginning of the answer, printable. */
      readonly answer: string;
      /** Milliseconds; of `Retry-After`. */
      readonly retryAfterMs?: number;
    }
  /** There was no answer. */
  | { readonly failed: string };

export interface TransportOptions {
  readonly addresses: Addresses;
  readonly resolve?: Resolve;
  readonly authorities?: SecureContext;
  /** For a request with its answer's head; in milliseconds. */
  readonly timeoutMs?: number;
}

export interface Post {
  readonly url: string;
  readonly method?: "POST" | "PUT";
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const TIMEOUT_MS = 20_000;
const CONNECT_MS = 10_000;
const CONNECTIONS_EACH = 16;
/** Of an answer that was kept; more is cut off, and its connection with it. */
const EXCERPT_BYTES = 1_024;
const BODY_BYTES = 64 * 1024;
/** How long a body may take after the head has come: the outcome is known by then. */
const BODY_MS = 2_000;
const RETRY_AFTER_MOST_MS = 24 * 3_600_000;

interface Target {
  readonly origin: string;
  readonly path: string;
  /** The address that may not be sent to. */
  readonly refused: string | undefined;
}

const TARGETS_MOST = 10_000;

export class Transport {
  readonly #agent: Agent;
  readonly #addresses: Addresses;
  readonly #timeoutMs: number;
  readonly #targets = new Map<string, Target>();

  constructor({ addresses, resolve, authorities, timeoutMs = TIMEOUT_MS }: TransportOptions) {
    this.#addresses = addresses;
    this.#timeoutMs = timeoutMs;
    this.#agent = new Agent({
      connections: CONNECTIONS_EACH,
      pipelining: 1,
      allowH2: false,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      keepAliveTimeout: 10_000,
      keepAliveMaxTimeout: 60_000,
      connect: {
        timeout: Math.min(CONNECT_MS, timeoutMs),
        lookup: addresses.lookup(resolve) as never,
        ...(authorities === undefined ? {} : { secureContext: authorities }),
      },
    });
  }

  /** Never rejects. */
  post({ url, method = "POST", headers, body }: Post): Promise<Answered> {
    const { refused, origin, path } = this.#targetOf(url);
    if (refused !== undefined) return Promise.resolve({ failed: `${refused} is an address that may not be sent to` });
    return new Promise((resolve) => {
      const handler = new Handler(resolve, this.#timeoutMs);
      try {
        this.#agent.dispatch({ origin, path, method, headers, body } as never, handler);
      } catch (error) {
        handler.onResponseError(undefined, error as Error);
      }
    });
  }

  /** Read once: the same few are sent to again and again. */
  #targetOf(url: string): Target {
    let target = this.#targets.get(url);
    if (target === undefined) {
      const { origin, pathname, search } = new URL(url);
      target = { origin, path: pathname + search, refused: this.#addresses.refusedIn(url) };
      if (this.#targets.size >= TARGETS_MOST) this.#targets.clear();
      this.#targets.set(url, target);
    }
    return target;
  }

  /** Connections and what is under way are cut. */
  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

class Handler implements Dispatcher.DispatchHandler {
  readonly #resolve: (answered: Answered) => void;
  #timer: NodeJS.Timeout | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #retryAfterMs: number | undefined;
  readonly #parts: Buffer[] = [];
  #bytes = 0;
  #over = false;

  constructor(resolve: (answered: Answered) => void, timeoutMs: number) {
    this.#resolve = resolve;
    this.#timer = setTimeout(() => {
      // Also one that is still in the queue for a connection.
      this.#settle({ failed: `no answer within ${timeoutMs} ms` });
      this.#controller?.abort(new Error("too slow"));
    }, timeoutMs);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#over) controller.abort(new Error("nobody waits any more"));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    if (status < 200) return;
    this.#controller = controller;
    this.#status = status;
    this.#retryAfterMs = retryAfter(headers["retry-after"]);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#cut(), BODY_MS);
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#bytes < EXCERPT_BYTES) this.#parts.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes > BODY_BYTES) this.#cut();
  }

  onResponseEnd(): void {
    this.#answered();
  }

  onResponseError(_: unknown, error: Error): void {
    // After the head has come the outcome is known, whatever becomes of the body.
    if (this.#status > 0) this.#answered();
    else this.#settle({ failed: reasonOf(error) });
  }

  #cut(): void {
    this.#answered();
    this.#controller?.abort(new Error("the rest is not read"));
  }

  #answered(): void {
    const answer = printable(Buffer.concat(this.#parts).subarray(0, EXCERPT_BYTES));
    const retryAfterMs = this.#retryAfterMs;
    this.#settle({ status: this.#status, answer, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
  }

  #settle(answered: Answered): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#resolve(answered);
  }
}

/** What people are told; never more than a line. */
export function reasonOf(error: unknown): string {
  const { code, message, cause, errors } = error as NodeJS.ErrnoException & {
    readonly errors?: ReadonlyArray<NodeJS.ErrnoException>;
  };
  const first = errors?.[0] ?? (message === "" ? (cause as Error | undefined) : undefined);
  const text = first?.message ?? message ?? String(error);
  return printable(Buffer.from(code === undefined || text.includes(code) ? text : `${text} (${code})`)).slice(0, 300);
}

const printable = (bytes: Uint8Array): string =>
  new TextDecoder()
    .decode(bytes)
    .replaceAll(/[^\x20-\x7e\u00a0-\ufffc\n]+/g, " ")
    .trim();

/** Seconds, or a date. */
function retryAfter(header: string | string[] | undefined): number | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), RETRY_AFTER_MOST_MS) : undefined;
}
