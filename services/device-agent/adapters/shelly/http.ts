/**
 * HTTP to one device: bounded in time and size, no redirect followed, one connection that is given up soon after the last answer:
 * devices have few sockets, and firmware 2.0 never closes an idle one.
 */
import { Client, type Dispatcher } from "undici";
import { type Address, connect, originOf, sentAway } from "./address.ts";
import { type DeviceFailure, failure, failureOf } from "./failures.ts";
import type { Gate } from "./gate.ts";
import { ANSWER_BYTES } from "./json.ts";

export interface HttpRequest {
  readonly method: "GET" | "POST";
  /** Path with query, as it is sent. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** For the whole exchange, connecting included. */
  readonly timeoutMs?: number;
  readonly mostBytes?: number;
  /** May be sent twice: it changes nothing, and shows no proof that counts. */
  readonly again?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface HttpOptions {
  readonly address: Address;
  /** Of the whole process: connects at once. */
  readonly gate: Gate;
  readonly onPin?: (fingerprint: string) => void;
}

export const CALL_MS = 10_000;
const CONNECT_MS = 5_000;
const IDLE_MS = 2_000;

export class DeviceHttp {
  readonly #options: HttpOptions;
  #client: Client | undefined;
  #connections = 0;
  #closed = false;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /** @throws DeviceFailure unreachable, timeout, too-large, redirected, garbled, certificate-changed, not-sent */
  async request(request: HttpRequest): Promise<HttpAnswer> {
    const before = this.#connections;
    let answer: HttpAnswer;
    try {
      answer = await this.#exchange(request);
    } catch (error) {
      // A connection that was kept from before may have been closed in this very moment.
      const wasKept = request.again === true && before > 0 && this.#connections === before;
      if (!wasKept || (error as DeviceFailure).kind !== "unreachable") throw error;
      answer = await this.#exchange(request);
    }
    const { status, headers } = answer;
    if (status >= 300 && status < 400) throw sentAway(this.#options.address, status, headers.location);
    return answer;
  }

  #exchange(request: HttpRequest): Promise<HttpAnswer> {
    if (this.#closed) return Promise.reject(failure("not-sent", "This side is ending."));
    return new Promise<HttpAnswer>((resolve, reject) => {
      const handler = new Exchange(request, resolve, reject);
      const { method, path, body } = request;
      const headers = { accept: "application/json", ...request.headers };
      try {
        this.#open().dispatch({ method, path, headers, ...(body === undefined ? {} : { body }) }, handler);
      } catch (error) {
        handler.onResponseError(undefined, error as Error);
      }
    });
  }

  /** What is under way is cut. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#client?.destroy();
  }

  #open(): Client {
    if (this.#client !== undefined) return this.#client;
    const { address, gate, onPin } = this.#options;
    const client = new Client(originOf(address), {
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: IDLE_MS,
      keepAliveTimeoutThreshold: 0,
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: 16_384,
      strictContentLength: true,
      connect: (_, done) => {
        gate
          .pass(() => connect({ address, timeoutMs: CONNECT_MS, ...(onPin === undefined ? {} : { onPin }) }))
          .then(
            (socket) => {
              this.#connections += 1;
              done(null, socket);
            },
            (error: Error) => done(error, null),
          );
      },
    });
    // Ten thousand idle clients are not kept: the next call makes another.
    client.on("disconnect", () => {
      if (this.#client === client && client.stats.size === 0) {
        this.#client = undefined;
        client.close().catch(() => {});
      }
    });
    this.#client = client;
    return client;
  }
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #resolve: (answer: HttpAnswer) => void;
  readonly #reject: (error: Error) => void;
  readonly #most: number;
  readonly #timer: NodeJS.Timeout;
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #headers: HttpAnswer["headers"] = {};
  readonly #parts: Buffer[] = [];
  #bytes = 0;
  #over = false;

  constructor(request: HttpRequest, resolve: (answer: HttpAnswer) => void, reject: (error: Error) => void) {
    this.#resolve = resolve;
    this.#reject = reject;
    this.#most = request.mostBytes ?? ANSWER_BYTES;
    const timeoutMs = request.timeoutMs ?? CALL_MS;
    this.#timer = setTimeout(
      () => this.#fail(failure("timeout", "No whole answer until the deadline.", { maybeDone: this.#begun() })),
      timeoutMs,
    );
  }

  #begun(): boolean {
    return this.#controller !== undefined;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#over) controller.abort(new Error("nobody waits any more"));
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: HttpAnswer["headers"]): void {
    if (status < 200) return;
    this.#controller = controller;
    this.#status = status;
    this.#headers = headers;
    if (Number(headers["content-length"] ?? 0) > this.#most) this.#tooLarge();
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#most) this.#tooLarge();
    else this.#parts.push(chunk);
  }

  onResponseEnd(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    const body = new TextDecoder().decode(Buffer.concat(this.#parts));
    this.#resolve({ status: this.#status, headers: this.#headers, body });
  }

  onResponseError(_: unknown, error: Error): void {
    this.#fail(failureOf(error, this.#begun()));
  }

  #tooLarge(): void {
    this.#fail(failure("too-large", `It answers more than ${this.#most} bytes.`, { maybeDone: true }));
  }

  #fail(error: DeviceFailure): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#parts.length = 0;
    this.#reject(error);
    this.#controller?.abort(error);
  }
}
