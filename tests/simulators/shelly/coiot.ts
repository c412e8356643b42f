/** CoIoT v2: CoAP over UDP, not confirmed. Devices tell of themselves to a group or to a peer, and answer `/cit/d` and `/cit/s`. */
import { createSocket, type Socket } from "node:dgram";
import type { JsonObject } from "./face.ts";
import type { Gen1Device } from "./gen1-device.ts";

export interface Burst {
  /** `SHSW-1#34945472A643#2`. */
  readonly device: string;
  readonly validitySeconds: number;
  /** Sixteen bits; moves with the status. */
  readonly serial: number;
  readonly payload: JsonObject;
}

const NON = 0x50; // version 1, not confirmable, no token
const CODE_STATUS = 30;
const CODE_CONTENT = 69;
const URI_PATH = 11;
const DEVICE = 3332;
const VALIDITY = 3412;
const SERIAL = 3420;

function nibble(value: number): { readonly nibble: number; readonly more: Buffer } {
  if (value < 13) return { nibble: value, more: Buffer.alloc(0) };
  if (value < 269) return { nibble: 13, more: Buffer.from([value - 13]) };
  const more = Buffer.alloc(2);
  more.writeUInt16BE(value - 269);
  return { nibble: 14, more };
}

function option(delta: number, value: Buffer): Buffer {
  const [d, l] = [nibble(delta), nibble(value.length)];
  return Buffer.concat([Buffer.from([(d.nibble << 4) | l.nibble]), d.more, l.more, value]);
}

const two = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value & 0xffff);
  return bytes;
};

/** Tenths of a second where the last bit is 0, else units of four seconds. */
export const validityOf = (seconds: number): number =>
  seconds * 10 < 0x10000 ? Math.round(seconds * 10) & ~1 : (Math.round(seconds / 4) & 0xffff) | 1;

/** A message of a device. @param reply of a request: its code is 2.05, its token the request's. */
export function encode(burst: Burst, messageId: number, what: "d" | "s", reply?: { readonly token: Buffer }): Buffer {
  const token = reply?.token ?? Buffer.alloc(0);
  const head = Buffer.from([
    NON | token.length,
    reply === undefined ? CODE_STATUS : CODE_CONTENT,
    messageId >> 8,
    messageId & 0xff,
  ]);
  const path = reply === undefined ? [option(URI_PATH, Buffer.from("cit")), option(0, Buffer.from(what))] : [];
  return Buffer.concat([
    head,
    token,
    ...path,
    option(DEVICE - (reply === undefined ? URI_PATH : 0), Buffer.from(burst.device)),
    option(VALIDITY - DEVICE, two(validityOf(burst.validitySeconds))),
    option(SERIAL - VALIDITY, two(burst.serial)),
    Buffer.from([0xff]),
    Buffer.from(JSON.stringify(burst.payload)),
  ]);
}

export interface Message {
  readonly code: number;
  readonly id: number;
  readonly token: Buffer;
  /** By number; those that come more than once, in order. */
  readonly options: ReadonlyArray<readonly [number, Buffer]>;
  readonly payload: Buffer;
}

/** What came in; undefined for what is no CoAP. */
export function decode(bytes: Buffer): Message | undefined {
  if (bytes.length < 4 || bytes[0]! >> 6 !== 1) return undefined;
  const tokenLength = bytes[0]! & 0x0f;
  const options: Array<readonly [number, Buffer]> = [];
  let at = 4 + tokenLength;
  let number = 0;
  const extended = (value: number): number => {
    if (value === 13) return bytes[at++]! + 13;
    if (value !== 14) return value;
    at += 2;
    return bytes.readUInt16BE(at - 2) + 269;
  };
  try {
    while (at < bytes.length && bytes[at] !== 0xff) {
      const first = bytes[at++]!;
      number += extended(first >> 4);
      const length = extended(first & 0x0f);
      if (at + length > bytes.length) return undefined;
      options.push([number, bytes.subarray(at, at + length)]);
      at += length;
    }
  } catch {
    return undefined;
  }
  const token = bytes.subarray(4, 4 + tokenLength);
  return { code: bytes[1]!, id: bytes.readUInt16BE(2), token, options, payload: bytes.subarray(at + 1) };
}

export interface CoiotOptions {
  readonly port: number;
  /** `host:port`. */
  readonly group: string;
}

/** The UDP sockets of a fleet: one for each Gen1 device, at its own address. */
export class Coiot {
  readonly options: CoiotOptions;
  readonly #sockets = new Map<Gen1Device, { address: string; ready: Promise<Socket> }>();
  #messageId = 1;

  constructor(options: CoiotOptions) {
    this.options = options;
  }

  /** Listens where the device is; again where it has moved to. */
  async at(device: Gen1Device): Promise<Socket> {
    const known = this.#sockets.get(device);
    if (known?.address === device.address) return known.ready;
    this.#close(device);
    const ready = this.#open(device);
    this.#sockets.set(device, { address: device.address, ready });
    return ready;
  }

  #open(device: Gen1Device): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = createSocket({ type: "udp4", reuseAddr: true });
      socket.once("error", reject);
      socket.on("message", (bytes, from) => this.#answer(device, socket, bytes, from.address, from.port));
      socket.bind({ address: device.address, port: this.options.port }, () => {
        socket.off("error", reject);
        socket.on("error", () => {});
        socket.setMulticastInterface(device.address);
        socket.setMulticastTTL(1);
        socket.unref();
        resolve(socket);
      });
    });
  }

  readonly send = (device: Gen1Device, burst: Burst): void => {
    const [host = "", port = "5683"] = (device.peer === "" ? this.options.group : device.peer).split(":");
    // A child of a range extender sends nothing through it.
    if (device.mport !== undefined || host === "mcast") return;
    const bytes = encode(burst, this.#next(), "s");
    void this.at(device)
      .then((socket) => socket.send(bytes, Number(port), host))
      .catch(() => {});
  };

  #next(): number {
    this.#messageId = (this.#messageId + 1) & 0xffff;
    return this.#messageId;
  }

  #answer(device: Gen1Device, socket: Socket, bytes: Buffer, host: string, port: number): void {
    const message = decode(bytes);
    if (message?.code !== 1 || !device.online) return;
    const path = message.options.filter(([number]) => number === URI_PATH).map(([, value]) => value.toString());
    if (path[0] !== "cit" || (path[1] !== "d" && path[1] !== "s")) return;
    const end = device.begin(`coap:/${path.join("/")}`);
    const burst = device.burst();
    const payload = path[1] === "d" ? device.describe() : burst.payload;
    const reply = encode({ ...burst, payload }, message.id, path[1], { token: message.token });
    socket.send(reply, port, host, end);
  }

  #close(device: Gen1Device): void {
    void this.#sockets
      .get(device)
      ?.ready.then((socket) => socket.close())
      .catch(() => {});
    this.#sockets.delete(device);
  }

  async close(): Promise<void> {
    for (const { ready } of this.#sockets.values()) await ready.then((socket) => socket.close()).catch(() => {});
    this.#sockets.clear();
  }
}
