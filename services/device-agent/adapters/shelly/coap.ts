/** As much of CoAP (RFC 7252) as Gen1 devices use for CoIoT: packets in, and a question out. */
import { type Json, parseJson } from "./json.ts";

export interface CoapPacket {
  /** Byte value: 30 (0.30) for what is told by itself, 69 (2.05) for an answer. */
  readonly code: number;
  readonly options: ReadonlyArray<readonly [number: number, value: Buffer]>;
  readonly payload: Buffer;
}

const OPTIONS = 32;

/** @returns undefined for what is no such packet */
export function parseCoap(packet: Buffer): CoapPacket | undefined {
  if (packet.length < 4 || packet[0]! >> 6 !== 1) return undefined;
  const tokenLength = packet[0]! & 15;
  if (tokenLength > 8) return undefined;
  const options: [number, Buffer][] = [];
  let number = 0;
  let at = 4 + tokenLength;
  while (at < packet.length && packet[at] !== 0xff) {
    const first = packet[at]!;
    const delta = extended(packet, at + 1, first >> 4);
    const length = delta === undefined ? undefined : extended(packet, at + 1 + delta.bytes, first & 15);
    if (delta === undefined || length === undefined || options.length === OPTIONS) return undefined;
    const from = at + 1 + delta.bytes + length.bytes;
    if (from + length.value > packet.length) return undefined;
    number += delta.value;
    options.push([number, packet.subarray(from, from + length.value)]);
    at = from + length.value;
  }
  return { code: packet[1]!, options, payload: packet.subarray(Math.min(at + 1, packet.length)) };
}

/** 13 and 14 say that one or two bytes more follow; 15 is no length. */
function extended(packet: Buffer, at: number, nibble: number): { value: number; bytes: number } | undefined {
  if (nibble < 13) return { value: nibble, bytes: 0 };
  const bytes = nibble - 12;
  if (nibble === 15 || at + bytes > packet.length) return undefined;
  return { value: bytes === 1 ? packet[at]! + 13 : packet.readUInt16BE(at) + 269, bytes };
}

/** A question that needs no answer to be confirmed: `NON GET /cit/s`. */
export function coapGet(path: string, messageId: number): Buffer {
  const head = Buffer.from([0x50, 1, (messageId >> 8) & 0xff, messageId & 0xff]);
  const parts = path.split("/").filter((part) => part !== "");
  // Option 11 (a part of the path): delta 11 from none for the first, 0 for the next.
  const options = parts.map((part, i) => Buffer.from([((i === 0 ? 11 : 0) << 4) | part.length, ...Buffer.from(part)]));
  return Buffer.concat([head, ...options]);
}

/** What a device tells by CoIoT. */
export interface CoiotMessage {
  /** `SHSW-25` */
  readonly type: string;
  /** As the device gives it: 12 hex digits of its MAC, 6 on old firmware. */
  readonly device: string;
  /** Rises when something has changed. */
  readonly serial: number | undefined;
  /** Seconds until it tells again, at the latest. */
  readonly validitySeconds: number | undefined;
  /** Values by the number of their sensor. */
  readonly values: ReadonlyMap<number, Json>;
}

const DEVICE = 3332;
const VALIDITY = 3412;
const SERIAL = 3420;
const VALUES = 256;

/** @returns undefined for what is none @throws never */
export function parseCoiot(packet: Buffer): CoiotMessage | undefined {
  const coap = parseCoap(packet);
  if (coap === undefined || (coap.code !== 30 && coap.code !== 69)) return undefined;
  const option = (wanted: number) => coap.options.find(([number]) => number === wanted)?.[1];
  const [type, device] = (option(DEVICE)?.toString("latin1") ?? "").split("#");
  if (type === undefined || device === undefined || !/^[0-9A-Fa-f]{6}([0-9A-Fa-f]{6})?$/.test(device)) return undefined;
  const values = valuesOf(coap.payload);
  if (values === undefined) return undefined;
  const serial = uintOf(option(SERIAL));
  return {
    type: type.slice(0, 32),
    device: device.toUpperCase(),
    serial,
    validitySeconds: validityOf(option(VALIDITY)),
    values,
  };
}

const uintOf = (value: Buffer | undefined): number | undefined =>
  value === undefined || value.length > 4 ? undefined : value.length === 0 ? 0 : value.readUIntBE(0, value.length);

/** With the lowest bit set in units of four seconds, else of a tenth of one. */
function validityOf(value: Buffer | undefined): number | undefined {
  const raw = uintOf(value);
  return raw === undefined ? undefined : raw & 1 ? raw * 4 : raw / 10;
}

function valuesOf(payload: Buffer): ReadonlyMap<number, Json> | undefined {
  try {
    const { G } = parseJson(payload.toString()) as { readonly G?: unknown };
    if (!Array.isArray(G)) return undefined;
    const values = new Map<number, Json>();
    for (const one of G.slice(0, VALUES)) {
      if (Array.isArray(one) && typeof one[1] === "number") values.set(one[1], one[2] as Json);
    }
    return values;
  } catch {
    return undefined;
  }
}
