/**
 * Down from a holder to the client by a few buffers that are used again: through streams every 64 KiB are a buffer of their own, and the
 * collector had the greatest part of a gateway's time (measured: 3.8 seconds of the processor for a GiB, 1.5 so).
 */
import type { ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";

const BUFFERS = 4;
const BUFFER_BYTES = 256 * 1024;
const HEAD_MOST = 16_384;
const CONNECT_MS = 5_000;

/** A holder's answer, its content yet to come. */
export class Down {
  readonly #socket: Socket;
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly #reader: Reader;

  constructor(socket: Socket, reader: Reader, head: string) {
    const [first = "", ...lines] = head.split("\r\n");
    this.#socket = socket;
    this.#reader = reader;
    this.status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0);
    this.headers = Object.fromEntries(
      lines.map((line) => {
        const at = line.indexOf(":");
        return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
      }),
    );
  }

  /** Ends it, whatever would still come. */
  drop(): void {
    this.#socket.destroy();
  }

  /** A small content. */
  async text(): Promise<string> {
    const parts: Buffer[] = [];
    let left = Math.min(this.#length, 4_096);
    await this.#reader.read(
      (part, used) => {
        parts.push(Buffer.from(part.subarray(0, left)));
        left -= part.length;
        used();
      },
      () => left <= 0,
    );
    this.drop();
    return Buffer.concat(parts).toString("utf8");
  }

  get #length(): number {
    return Number(this.headers["content-length"] ?? 0);
  }

  /**
   * Sends the content after a head that says its length. What breaks off on either side cuts the client's connection, so that nobody
   * takes a part for the whole.
   */
  async sendTo(response: ServerResponse): Promise<void> {
    const gone = () => this.drop();
    response.once("close", gone);
    let left = this.#length;
    await this.#reader.read(
      (part, used) => {
        left -= part.length;
        response.write(part, used);
      },
      () => left <= 0 || response.destroyed,
    );
    response.off("close", gone);
    this.drop();
    if (left === 0 && !response.destroyed) return new Promise((resolve) => endOf(response, resolve));
    response.destroy();
    response.end(); // For those who ask whether it has been answered.
  }
}

/** When all has been taken, or the client has gone. */
function endOf(response: ServerResponse, then: () => void): void {
  response.once("close", then);
  response.end(then);
}

/** What comes over a socket, into buffers that are given back. */
class Reader {
  readonly #free: Buffer[] = [];
  #made = 0;
  #paused = false;
  #over = false;
  #socket: Socket | undefined;
  #take: ((part: Buffer, used: () => void) => void) | undefined;
  #isEnough: () => boolean = () => false;
  #wake: () => void = () => {};
  #ahead: Buffer | undefined;

  /** The next buffer to read into. */
  next(): Buffer {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    this.#made++;
    return Buffer.allocUnsafeSlow(BUFFER_BYTES);
  }

  /** @returns whether to read on */
  came(part: Buffer, buffer: Buffer): boolean {
    this.#hand(part, () => {
      this.#free.push(buffer);
      if (this.#paused && !this.#over) {
        this.#paused = false;
        this.#socket?.resume();
      }
    });
    // The next read has its buffer already.
    this.#paused = this.#made > BUFFERS && this.#free.length === 0;
    return !this.#paused;
  }

  /** What came behind the head. */
  keep(part: Buffer): void {
    if (part.length > 0) this.#ahead = Buffer.from(part);
  }

  ended(): void {
    this.#over = true;
    this.#wake();
  }

  #hand(part: Buffer, used: () => void): void {
    if (this.#take === undefined || this.#over) {
      used();
      return;
    }
    this.#take(part, used);
    if (this.#isEnough()) this.ended();
  }

  /** Resolves when there is enough, or no more. */
  read(take: (part: Buffer, used: () => void) => void, isEnough: () => boolean): Promise<void> {
    this.#take = take;
    this.#isEnough = isEnough;
    return new Promise((resolve) => {
      this.#wake = resolve;
      const ahead = this.#ahead;
      this.#ahead = undefined;
      if (ahead !== undefined) this.#hand(ahead, () => {});
      if (this.#over || isEnough()) return resolve();
      this.#socket!.resume();
    });
  }

  of(socket: Socket): void {
    this.#socket = socket;
  }
}

/**
 * Asks a holder.
 * @param head the request's head, without its end
 * @throws Error when there is no answer
 */
export function openDown(url: string, head: string): Promise<Down> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const reader = new Reader();
    let came = Buffer.alloc(0);
    let answered = false;
    let buffer: Buffer = Buffer.alloc(0);
    const socket = connect({
      host: hostname.replace(/^\[|\]$/g, ""),
      port: Number(port),
      onread: {
        buffer: () => {
          buffer = reader.next();
          return buffer;
        },
        callback: (size) => {
          const part = buffer.subarray(0, size);
          if (answered) return reader.came(part, buffer);
          came = Buffer.concat([came, part]);
          const end = came.indexOf("\r\n\r\n");
          if (end < 0) {
            if (came.length > HEAD_MOST) socket.destroy(new Error("its head has no end"));
            return true;
          }
          answered = true;
          reader.keep(came.subarray(end + 4));
          resolve(new Down(socket, reader, came.toString("latin1", 0, end)));
          // Until somebody wants it.
          return false;
        },
      },
    });
    reader.of(socket);
    const connecting = setTimeout(() => socket.destroy(new Error("it does not answer")), CONNECT_MS);
    socket.once("connect", () => clearTimeout(connecting));
    socket.on("error", reject);
    socket.once("close", () => {
      clearTimeout(connecting);
      reader.ended();
      reject(new Error("it broke off"));
    });
    socket.write(`${head}\r\n\r\n`, "latin1");
  });
}
