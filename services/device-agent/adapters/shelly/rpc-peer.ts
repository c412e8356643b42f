/**
 * One WebSocket with a Gen2+ device, whoever of the two dialled: calls and their answers, what the device tells by itself, and its calls
 * to us, which are answered that there is no such method.
 */
import type { RawData, WebSocket } from "ws";
import { authOf, type Proof } from "./digest.ts";
import { type DeviceFailure, failure, failureOf } from "./failures.ts";
import { CALL_MS } from "./http.ts";
import { isObject, type Json, type JsonObject, parseJson } from "./json.ts";
import type { Taken } from "./login.ts";
import { heardOf, outcomeOf, type RpcOutcome } from "./rpc.ts";
import type { RpcCall } from "./rpc-http.ts";

/** A frame of a device known is 30 KB at the most; longer ones end the connection. */
export const FRAME_BYTES = 256 * 1024;

/** What the device tells by itself. */
export type Notice =
  | { readonly notice: "status"; readonly params: JsonObject }
  | { readonly notice: "full-status"; readonly params: JsonObject }
  | { readonly notice: "events"; readonly events: ReadonlyArray<JsonObject> };

export interface PeerListener {
  /** The first frame with a `src`, and any that says another. */
  readonly onSource?: (src: string) => void;
  readonly onNotice: (notice: Notice) => void;
  /** Once; the reason when it was not we who closed. */
  readonly onClose: (why: DeviceFailure, peer: RpcPeer) => void;
}

interface Waiting {
  readonly id: number;
  readonly resolve: (taken: Taken<RpcOutcome>) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
}

/** Frames that are none, in a row: then it is no device. */
const GARBLED = 10;
/** Calls of the device that are answered a second. */
const ANSWERS = 20;
const EVENTS = 64;

export class RpcPeer {
  readonly #socket: WebSocket;
  #listener: PeerListener;
  readonly #src: string;
  /** One, mostly: calls to a device go one after the other. */
  #waiting: Waiting[] = [];
  #id = 0;
  #dst: string | undefined;
  #garbled = 0;
  #answersLeft = ANSWERS;
  #answersFrom = 0;
  #heardAt = performance.now();
  #closed: DeviceFailure | undefined;

  /** @param socket open @param src what the device is to send to */
  constructor(socket: WebSocket, src: string, listener: PeerListener) {
    this.#socket = socket;
    this.#src = src;
    this.#listener = listener;
    socket.on("message", (data, binary) => this.#take(data, binary));
    const live = () => this.#live();
    socket.on("pong", live);
    socket.on("ping", live);
    socket.on("error", (error) => this.#end(failureOf(codeOf(error), false)));
    socket.on("close", (code) => this.#end(failure("unreachable", `The connection was closed (${code}).`)));
  }

  /** Somebody else hears from it from now on. */
  handTo(listener: PeerListener): void {
    this.#listener = listener;
    if (this.#closed !== undefined) listener.onClose(this.#closed, this);
  }

  /** The id that the device gives itself. */
  get source(): string | undefined {
    return this.#dst;
  }

  get open(): boolean {
    return this.#closed === undefined;
  }

  /** Milliseconds since anything came. */
  get silentMs(): number {
    return performance.now() - this.#heardAt;
  }

  ping(): void {
    if (this.open) this.#socket.ping();
  }

  /** One sending, with or without a proof. @throws DeviceFailure unreachable, timeout, garbled */
  call({ method, params, timeoutMs }: RpcCall, proof: Proof | undefined): Promise<Taken<RpcOutcome>> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(this.#closed);
      this.#id = (this.#id % 1_000_000_000) + 1;
      const id = this.#id;
      const frame = {
        id,
        src: this.#src,
        ...(this.#dst === undefined ? {} : { dst: this.#dst }),
        method,
        ...(params === undefined ? {} : { params }),
        ...(proof === undefined ? {} : { auth: authOf(proof) }),
      };
      const late = () => {
        this.#waitsNoMore(id);
        reject(failure("timeout", `${method}: no answer until the deadline.`, { maybeDone: true }));
      };
      this.#waiting.push({ id, resolve, reject, timer: setTimeout(late, timeoutMs ?? CALL_MS) });
      this.#socket.send(JSON.stringify(frame));
    });
  }

  #waitsNoMore(id: number): Waiting | undefined {
    const at = this.#waiting.findIndex((one) => one.id === id);
    return at < 0 ? undefined : this.#waiting.splice(at, 1)[0];
  }

  /** @param why told to `onClose` and to calls that wait */
  close(why: DeviceFailure): void {
    this.#socket.close(1_000);
    // A device that has no power answers no close.
    setTimeout(() => this.#socket.terminate(), 2_000).unref();
    this.#end(why);
  }

  #live(): void {
    this.#heardAt = performance.now();
  }

  #take(data: RawData, binary: boolean): void {
    this.#live();
    if (this.#closed !== undefined) return;
    let frame: Json;
    try {
      frame = binary ? null : parseJson(String(data));
      if (!isObject(frame)) throw failure("garbled", "It sends what is no frame.");
      this.#hear(frame);
      this.#garbled = 0;
    } catch (error) {
      this.#garbled += 1;
      if (this.#garbled < GARBLED) return;
      this.#socket.terminate();
      this.#end(failureOf(error, false));
    }
  }

  #hear(frame: JsonObject): void {
    const { id, src, method, params } = frame;
    if (typeof src === "string" && src !== this.#dst) {
      this.#dst = src.slice(0, 128);
      this.#listener.onSource?.(this.#dst);
    }
    if (typeof method === "string") {
      if (id === undefined) this.#notice(method, params);
      else this.#refuse(id, src, method);
      return;
    }
    const waiting = typeof id === "number" ? this.#waitsNoMore(id) : undefined;
    // An answer that nobody waits for any more.
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    try {
      const value = outcomeOf(frame);
      waiting.resolve({ heard: heardOf(value), value });
    } catch (error) {
      waiting.reject(error);
    }
  }

  /** It calls us: it is told so, rather than left waiting. */
  #refuse(id: Json, src: Json | undefined, method: string): void {
    const now = performance.now();
    if (now - this.#answersFrom >= 1_000) {
      this.#answersFrom = now;
      this.#answersLeft = ANSWERS;
    }
    if (this.#answersLeft <= 0 || JSON.stringify(id).length > 64) return;
    this.#answersLeft -= 1;
    const error = { code: 404, message: `No handler for ${method.slice(0, 64)}` };
    this.#socket.send(JSON.stringify({ id, src: this.#src, ...(src === undefined ? {} : { dst: src }), error }));
  }

  #notice(method: string, params: Json | undefined): void {
    if (!isObject(params)) throw failure("garbled", `${method.slice(0, 64)} without params.`);
    const { onNotice } = this.#listener;
    switch (method.toLowerCase()) {
      case "notifystatus":
        onNotice({ notice: "status", params });
        break;
      case "notifyfullstatus":
        onNotice({ notice: "full-status", params });
        break;
      case "notifyevent":
        if (!Array.isArray(params.events)) throw failure("garbled", "Events without a list.");
        onNotice({ notice: "events", events: params.events.slice(0, EVENTS).filter(isObject) });
    }
  }

  #end(why: DeviceFailure): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(failure(why.kind, why.reason, { ...why, maybeDone: true }));
    }
    this.#listener.onClose(why, this);
  }
}

/** `ws` says with its own codes what a frame was too large for. */
const codeOf = (error: Error): Error =>
  (error as NodeJS.ErrnoException).code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH"
    ? failure("too-large", `It sends frames of more than ${FRAME_BYTES} bytes.`)
    : error;
