/**
 * HTTP/1.1 over a bare socket, kept alive: sends whatever bytes it is given, also such that no client library would send,
 * and reads answers strictly.
 */
import { connect, type Socket } from "node:net";

export interface Answer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Bytes that came after the answer, though nothing more was asked. */
  readonly beyond: number;
}

/** The connection ended without an answer. */
export class Cut extends Error {}

const HEAD_END = Buffer.from("\r\n\r\n");

/** @returns undefined while it is not complete. @throws Error when it is no HTTP/1.1 */
function parse(bytes: Buffer, bodiless: boolean): Answer | undefined {
  const end = bytes.indexOf(HEAD_END);
  if (end < 0) return undefined;
  const [first, ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
  const status = Number(/^HTTP\/1\.1 ([1-5]\d\d) [\x20-\x7e]*$/.exec(first!)?.[1]);
  if (Number.isNaN(status)) throw new Error(`no answer in HTTP/1.1: ${JSON.stringify(first)}`);
  const rest = bytes.subarray(end + 4);
  if (status === 100) return parse(rest, bodiless);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const [, name, value] = /^([A-Za-z0-9-]+): ?([\x20-\x7e\t]*)$/.exec(line) ?? [];
    if (name === undefined) throw new Error(`no header: ${JSON.stringify(line)}`);
    headers[name.toLowerCase()] = value!;
  }
  if (bodiless || status === 204 || status === 304) {
    return { status, headers, body: Buffer.alloc(0), beyond: rest.length };
  }
  if (headers["transfer-encoding"] === "chunked") {
    const chunked = unchunk(rest);
    return chunked && { status, headers, ...chunked };
  }
  const length = Number(headers["content-length"]);
  if (!Number.isSafeInteger(length)) throw new Error("an answer that does not tell its length");
  if (rest.length < length) return undefined;
  return { status, headers, body: rest.subarray(0, length), beyond: rest.length - length };
}

function unchunk(bytes: Buffer): { body: Buffer; beyond: number } | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = bytes.indexOf("\r\n", at);
    if (end < 0) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, end), 16);
    if (bytes.length < end + 4 + size) return undefined;
    if (size === 0) return { body: Buffer.concat(parts), beyond: bytes.length - end - 4 };
    parts.push(bytes.subarray(end + 2, end + 2 + size));
    at = end + 4 + size;
  }
}

export interface Sent {
  readonly bytes: Buffer;
  /** The answer has no body whatever it says: the method is HEAD. */
  readonly bodiless: boolean;
}

/** One connection, opened when needed and again after it was ended. */
export class Wire {
  readonly #port: number;
  readonly #timeoutMs: number;
  #socket: Socket | undefined;

  constructor(port: number, timeoutMs = 30_000) {
    this.#port = port;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws Cut; Error when there is no answer in time or it is no HTTP */
  async ask(sent: Sent): Promise<Answer> {
    const used = this.#socket !== undefined;
    try {
      return await this.#once(sent);
    } catch (error) {
      // A kept connection may have been ended before this request reached it.
      if (!(error instanceof Cut) || !used) throw error;
      return this.#once(sent);
    }
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #once({ bytes, bodiless }: Sent): Promise<Answer> {
    const socket = this.#socket ?? connect(this.#port, "127.0.0.1").setNoDelay(true);
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      let got: Buffer = Buffer.alloc(0);
      const over = (settle: () => void, keep: boolean) => {
        clearTimeout(late);
        socket.removeAllListeners();
        socket.on("error", () => {});
        if (!keep) {
          socket.destroy();
          this.#socket = undefined;
        }
        settle();
      };
      const late = setTimeout(
        () => over(() => reject(new Error(`no answer in ${this.#timeoutMs} ms`)), false),
        this.#timeoutMs,
      );
      socket.on("data", (chunk: Buffer) => {
        got = got.length === 0 ? chunk : Buffer.concat([got, chunk]);
        try {
          const answer = parse(got, bodiless);
          if (answer === undefined) return;
          const keep = answer.headers.connection !== "close" && answer.beyond === 0;
          over(() => resolve(answer), keep);
        } catch (error) {
          over(() => reject(error), false);
        }
      });
      // What was answered before the end is read all the same: an error of writing must not hide it.
      socket.on("error", () => {});
      socket.on("close", () => over(() => reject(new Cut(`cut off after ${got.length} bytes`)), false));
      socket.write(bytes);
    });
  }
}

/** Sends bytes on a connection of their own and waits until the other side ends it, or for so long. */
export function talk(port: number, bytes: string | Buffer, waitMs: number): Promise<{ text: string; ended: boolean }> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(port, "127.0.0.1");
    const over = (ended: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, ended });
    };
    const timer = setTimeout(over, waitMs, false);
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => over(true));
    socket.write(bytes);
  });
}
