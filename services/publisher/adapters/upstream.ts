/**
 * Another repository, read over HTTP at an address that somebody chose: to judged addresses only, no redirects followed, everything bounded
 * in time and size. What comes is believed by nobody: it is checked by who asks.
 */
import type { SecureContext } from "node:tls";
import type { Addresses, Resolve } from "@millrace/eventlog/addresses.ts";
import { Agent, type Dispatcher } from "undici";

/** It does not answer as a repository does; another time it may. */
export class UpstreamFailed extends Error {
  override readonly name = "UpstreamFailed";
  /** Whether the same may work in a moment. */
  readonly isPassing: boolean;

  constructor(reason: string, isPassing: boolean) {
    super(reason);
    this.isPassing = isPassing;
  }
}

export interface UpstreamOptions {
  readonly url: string;
  readonly addresses: Addresses;
  readonly resolve?: Resolve | undefined;
  readonly authorities?: SecureContext | undefined;
  /** Without a byte, milliseconds. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 30_000;
const CONNECT_MS = 10_000;
const CONNECTIONS = 8;
const NOT_THERE = [404, 410];

export class Upstream {
  readonly #agent: Agent;
  readonly #base: URL;
  readonly #refused: string | undefined;

  constructor({ url, addresses, resolve, authorities, timeoutMs = TIMEOUT_MS }: UpstreamOptions) {
    this.#base = new URL(url.endsWith("/") ? url : `${url}/`);
    this.#refused = addresses.refusedIn(url);
    this.#agent = new Agent({
      connections: CONNECTIONS,
      pipelining: 1,
      allowH2: false,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      keepAliveTimeout: 10_000,
      connect: {
        timeout: Math.min(CONNECT_MS, timeoutMs),
        lookup: addresses.lookup(resolve) as never,
        ...(authorities === undefined ? {} : { secureContext: authorities }),
      },
    });
  }

  /** All of a small file; undefined: it is not there. @param path from the repository's root @throws UpstreamFailed */
  async get(path: string, most: number, signal: AbortSignal): Promise<Buffer | undefined> {
    const pieces: Buffer[] = [];
    let bytes = 0;
    const source = await this.stream(path, signal);
    if (source === undefined) return undefined;
    for await (const piece of source) {
      bytes += piece.length;
      if (bytes > most) throw new UpstreamFailed(`${path} has more than ${most} bytes`, false);
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  /** A file as it comes; undefined: it is not there. @throws UpstreamFailed, also while it is read */
  async stream(path: string, signal: AbortSignal): Promise<AsyncIterable<Buffer> | undefined> {
    if (this.#refused !== undefined) {
      throw new UpstreamFailed(`${this.#refused} is an address that may not be asked`, false);
    }
    const { origin, pathname } = new URL(path, this.#base);
    const headers = { "accept-encoding": "identity", "user-agent": "millrace" };
    const answer = await this.#agent
      .request({ origin, path: pathname, method: "GET", headers, signal })
      .catch((error: unknown) => failed(path, error, signal));
    const { statusCode: status, body } = answer;
    if (status === 200) return pieces(path, body, signal);
    body.on("error", () => {}).destroy();
    if (NOT_THERE.includes(status)) return undefined;
    if (status >= 300 && status < 400) {
      const to = String(answer.headers.location ?? "elsewhere").slice(0, 200);
      throw new UpstreamFailed(`${path} leads to ${to}: name that address itself`, false);
    }
    throw new UpstreamFailed(`${path} was answered ${status}`, status >= 500 || status === 429);
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

async function* pieces(
  path: string,
  body: Dispatcher.ResponseData["body"],
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  try {
    for await (const piece of body) yield piece as Buffer;
  } catch (error) {
    failed(path, error, signal);
  }
}

function failed(path: string, error: unknown, signal: AbortSignal): never {
  if (signal.aborted) throw signal.reason;
  const { code, message } = error as NodeJS.ErrnoException;
  const isJudged = code === "ERR_ADDRESS_REFUSED";
  throw new UpstreamFailed(`${path}: ${code === undefined || isJudged ? message : `${message} (${code})`}`, !isJudged);
}
