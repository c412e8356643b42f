/**
 * The server's side door: a leaf connection. What mirrors a stream takes its messages from whoever delivers them in the form of a consumer,
 * with sequence and time in the reply subject; a client may not send that form, a leaf may. Only what a restore needs of the protocol.
 */
import { connect, type Socket } from "node:net";
import { LogUnavailable } from "../failures.ts";

export interface LeafAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

export interface LeafMessage {
  readonly subject: string;
  readonly reply: string | undefined;
  /** Without headers. */
  readonly body: Buffer;
}

const CONNECT_MS = 10_000;
const LINE_MOST = 1024 * 1024;

export class Leaf {
  readonly #socket: Socket;
  readonly #onMessage: (message: LeafMessage) => void;
  #received: Buffer = Buffer.alloc(0);
  #greeted = false;
  #drained: Promise<void> | undefined;
  /** Rejects when the connection ends. */
  readonly ended: Promise<never>;
  #fail: (cause: unknown) => void = () => {};
  #ready: () => void = () => {};

  private constructor(socket: Socket, onMessage: (message: LeafMessage) => void) {
    this.#socket = socket;
    this.#onMessage = onMessage;
    this.ended = new Promise((_, reject) => {
      this.#fail = (cause) => reject(new LogUnavailable({ what: "NATS", cause }));
    });
    this.ended.catch(() => {});
  }

  /** @throws LogUnavailable */
  static async open(
    address: LeafAddress,
    subjects: ReadonlyArray<string>,
    onMessage: (message: LeafMessage) => void,
  ): Promise<Leaf> {
    const socket = connect(address.port, address.host);
    socket.setNoDelay(true);
    const leaf = new Leaf(socket, onMessage);
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${CONNECT_MS} ms`)), CONNECT_MS);
    const ready = new Promise<void>((resolve) => {
      leaf.#ready = resolve;
    });
    socket.on("data", (data) => leaf.#read(data, address, subjects));
    socket.once("error", (cause) => leaf.#fail(cause));
    socket.once("close", () => leaf.#fail("the leaf connection was closed"));
    try {
      await Promise.race([ready, leaf.ended]);
    } finally {
      clearTimeout(timer);
    }
    return leaf;
  }

  /** Waits while the other side cannot take more. */
  async send(parts: ReadonlyArray<Uint8Array>): Promise<void> {
    if (this.#socket.write(parts.length === 1 ? parts[0]! : Buffer.concat(parts))) return;
    this.#drained ??= new Promise((resolve) =>
      this.#socket.once("drain", () => {
        this.#drained = undefined;
        resolve();
      }),
    );
    await Promise.race([this.#drained, this.ended]);
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(data: Buffer, address: LeafAddress, subjects: ReadonlyArray<string>): void {
    this.#received = this.#received.length === 0 ? data : Buffer.concat([this.#received, data]);
    for (;;) {
      const end = this.#received.indexOf("\r\n");
      if (end < 0) {
        if (this.#received.length > LINE_MOST) this.#socket.destroy(new Error("a line without an end"));
        return;
      }
      const [verb = "", ...words] = this.#received.toString("latin1", 0, end).split(" ").filter(Boolean);
      let next = end + 2;
      if (verb === "LMSG" || verb === "HMSG") {
        const size = Number(words.at(-1));
        next += size + 2;
        if (this.#received.length < next) return;
        const headers = verb === "HMSG" ? Number(words.at(-2)) : 0;
        const body = Buffer.from(this.#received.subarray(end + 2 + headers, end + 2 + size));
        const between = words.slice(1, verb === "HMSG" ? -2 : -1).filter((word) => word !== "|" && word !== "+");
        this.#onMessage({ subject: words[0]!, reply: between[0], body });
      } else if (verb === "INFO" && !this.#greeted) {
        this.#greeted = true;
        const { user, password: pass } = address;
        const hello = { user, pass, name: "millrace-restore", server_id: "MILLRACE-RESTORE", headers: true };
        const wanted = subjects.map((subject) => `LS+ ${subject}\r\n`).join("");
        this.#socket.write(`CONNECT ${JSON.stringify({ ...hello, compression: "off" })}\r\n${wanted}PING\r\n`);
      } else if (verb === "PING") this.#socket.write("PONG\r\n");
      else if (verb === "PONG") this.#ready();
      else if (verb === "-ERR") this.#socket.destroy(new Error(words.join(" ")));
      this.#received = this.#received.subarray(next);
    }
  }
}
