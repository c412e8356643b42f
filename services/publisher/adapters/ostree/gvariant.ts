/**
 * GVariant, the serialisation of OSTree's metadata: enough of it, safe on hostile bytes (nothing is believed that is not checked against
 * the bytes there are; depth and number of values are bounded), and exact: `decodeNormal` takes only the one spelling that OSTree
 * itself writes for a value.
 *
 *     y b n q i u x t d s o g   v   a…   m…   (…)   {…}
 *
 * Framing is little-endian, always; OSTree stores its own integers big-endian (documented in its data formats), which is the default here.
 * Values: numbers (bigint for `x` and `t`), booleans, strings, `Buffer` for `ay` (a view, no copy), arrays for arrays, tuples and
 * entries, `{ type, value }` for `v`, `null` for nothing.
 */
import { isUtf8 } from "node:buffer";

export type Value = number | bigint | boolean | string | Buffer | null | Boxed | ReadonlyArray<Value>;
export interface Boxed {
  readonly type: string;
  readonly value: Value;
}

/** Thrown for bytes that are no value of the type. */
export class NotAVariant extends Error {
  override readonly name = "NotAVariant";
}

const DEPTH = 32;
/** Of one decoding; about 100 MB of them. */
const VALUES = 1_000_000;

interface Node {
  readonly sign: string;
  readonly align: number;
  /** Bytes; 0: it varies. */
  readonly fixed: number;
  readonly items: ReadonlyArray<Node>;
  /** Ends of items that stand at the end of a tuple. */
  readonly frames: number;
}

const FIXED: Readonly<Record<string, number>> = { y: 1, b: 1, n: 2, q: 2, i: 4, u: 4, h: 4, x: 8, t: 8, d: 8 };
const align = (at: number, to: number): number => (at + to - 1) & ~(to - 1);

class TypeReader {
  at = 0;
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }

  read(depth: number): Node {
    const sign = this.text[this.at++];
    if (sign === undefined || depth > DEPTH) throw new NotAVariant("no such type");
    const size = FIXED[sign];
    if (size !== undefined) return { sign, align: size, fixed: size, items: [], frames: 0 };
    if (sign === "s" || sign === "o" || sign === "g") return { sign, align: 1, fixed: 0, items: [], frames: 0 };
    if (sign === "v") return { sign, align: 8, fixed: 0, items: [], frames: 0 };
    if (sign === "a" || sign === "m") {
      const of = this.read(depth + 1);
      return { sign, align: of.align, fixed: 0, items: [of], frames: 0 };
    }
    if (sign !== "(" && sign !== "{") throw new NotAVariant("no such type");
    const items: Node[] = [];
    const close = sign === "(" ? ")" : "}";
    while (this.text[this.at] !== close) items.push(this.read(depth + 1));
    this.at++;
    if (sign === "{" && (items.length !== 2 || items[0]!.items.length > 0)) throw new NotAVariant("no such type");
    return tuple(sign, items);
  }
}

function tuple(sign: string, items: ReadonlyArray<Node>): Node {
  const most = items.reduce((max, item) => Math.max(max, item.align), 1);
  let fixed = 0;
  for (const item of items) fixed = item.fixed === 0 ? Number.NaN : align(fixed, item.align) + item.fixed;
  const frames = items.filter((item, index) => item.fixed === 0 && index < items.length - 1).length;
  const whole = items.every((item) => item.fixed > 0);
  return { sign, align: most, fixed: whole ? align(items.length === 0 ? 1 : fixed, most) : 0, items, frames };
}

const known = new Map<string, Node>();

/** @param keep whether it is one of the few that we ask for, not one that stands in the bytes */
function nodeOf(type: string, keep = false): Node {
  const there = known.get(type);
  if (there !== undefined) return there;
  if (type.length > 255) throw new NotAVariant("no such type");
  const reader = new TypeReader(type);
  const node = reader.read(0);
  if (reader.at !== type.length) throw new NotAVariant("no such type");
  if (keep) known.set(type, node);
  return node;
}

const frameSize = (length: number): number => (length > 0xffff ? 4 : length > 0xff ? 2 : length > 0 ? 1 : 0);

class Decoder {
  readonly bytes: Buffer;
  readonly little: boolean;
  left = VALUES;
  constructor(bytes: Buffer, little: boolean) {
    this.bytes = bytes;
    this.little = little;
  }

  frame(at: number, size: number): number {
    return this.bytes.readUIntLE(at, size);
  }

  value(node: Node, from: number, to: number, depth: number): Value {
    if (--this.left < 0) throw new NotAVariant("it holds too many values");
    if (depth > DEPTH) throw new NotAVariant("it is too deep");
    const length = to - from;
    if (node.fixed > 0 && length !== node.fixed) throw new NotAVariant("its length does not fit");
    switch (node.sign) {
      case "s":
      case "o":
      case "g":
        return this.text(from, to);
      case "v":
        return this.boxed(from, to, depth);
      case "a":
        return this.array(node.items[0]!, from, to, depth);
      case "m":
        return this.maybe(node.items[0]!, from, to, depth);
      case "(":
      case "{":
        return this.tuple(node, from, to, depth);
      default:
        return this.number(node.sign, from);
    }
  }

  number(sign: string, at: number): Value {
    const { bytes, little } = this;
    switch (sign) {
      case "y":
        return bytes.readUInt8(at);
      case "b":
        if (bytes.readUInt8(at) > 1) throw new NotAVariant("a boolean is neither true nor false");
        return bytes.readUInt8(at) === 1;
      case "n":
        return little ? bytes.readInt16LE(at) : bytes.readInt16BE(at);
      case "q":
        return little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
      case "i":
        return little ? bytes.readInt32LE(at) : bytes.readInt32BE(at);
      case "u":
      case "h":
        return little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
      case "x":
        return little ? bytes.readBigInt64LE(at) : bytes.readBigInt64BE(at);
      case "t":
        return little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at);
      default:
        return little ? bytes.readDoubleLE(at) : bytes.readDoubleBE(at);
    }
  }

  text(from: number, to: number): string {
    const zero = this.bytes.indexOf(0, from);
    if (to <= from || zero !== to - 1) throw new NotAVariant("a text has no end, or more than one");
    const view = this.bytes.subarray(from, zero);
    if (!isUtf8(view)) throw new NotAVariant("a text is not UTF-8");
    return view.toString("utf8");
  }

  boxed(from: number, to: number, depth: number): Boxed {
    const zero = to > from ? this.bytes.lastIndexOf(0, to - 1) : -1;
    if (zero < from) throw new NotAVariant("a variant names no type");
    const type = this.bytes.toString("latin1", zero + 1, Math.min(to, zero + 257));
    return { type, value: this.value(nodeOf(type), from, zero, depth + 1) };
  }

  maybe(of: Node, from: number, to: number, depth: number): Value {
    if (to === from) return null;
    if (of.fixed === 0 && this.bytes[to - 1] !== 0) throw new NotAVariant("its length does not fit");
    return this.value(of, from, of.fixed > 0 ? to : to - 1, depth + 1);
  }

  array(of: Node, from: number, to: number, depth: number): Value {
    const length = to - from;
    if (of.sign === "y") return this.bytes.subarray(from, to);
    const values: Value[] = [];
    if (of.fixed > 0) {
      if (length % of.fixed !== 0) throw new NotAVariant("its length does not fit");
      for (let at = from; at < to; at += of.fixed) values.push(this.value(of, at, at + of.fixed, depth + 1));
      return values;
    }
    if (length === 0) return values;
    const size = frameSize(length);
    const end = length < size ? -1 : this.frame(to - size, size);
    const count = (length - end) / size;
    if (end < 0 || end > length - size || !Number.isInteger(count)) throw new NotAVariant("a list's ends do not fit");
    for (let index = 0, at = 0; index < count; index++) {
      const start = align(at, of.align);
      at = this.frame(from + end + index * size, size);
      if (start > at || at > end) throw new NotAVariant("a list's ends do not fit");
      values.push(this.value(of, from + start, from + at, depth + 1));
    }
    return values;
  }

  tuple(node: Node, from: number, to: number, depth: number): Value {
    const length = to - from;
    const size = frameSize(length);
    const body = length - node.frames * size;
    if (body < 0) throw new NotAVariant("a tuple's ends do not fit");
    const values: Value[] = [];
    let at = 0;
    let frame = 0;
    for (const [index, item] of node.items.entries()) {
      const start = align(at, item.align);
      const last = index === node.items.length - 1;
      if (item.fixed > 0) at = start + item.fixed;
      else at = last ? body : this.frame(to - ++frame * size, size);
      if (start > at || at > body) throw new NotAVariant("a tuple's ends do not fit");
      values.push(this.value(item, from + start, from + at, depth + 1));
    }
    if (node.fixed === 0 && at !== body) throw new NotAVariant("something stands behind a tuple");
    return values;
  }
}

/** How numbers are stored. OSTree's own are big-endian. */
export interface Order {
  readonly little?: boolean;
}

/** @throws NotAVariant for bytes that are none */
export function decode<T extends Value>(type: string, bytes: Buffer, { little = false }: Order = {}): T {
  return new Decoder(bytes, little).value(nodeOf(type, true), 0, bytes.length, 0) as T;
}

/** The same, and only the one spelling of it that is normal. @throws NotAVariant for every other */
export function decodeNormal<T extends Value>(type: string, bytes: Buffer, order: Order = {}): T {
  const value = decode<T>(type, bytes, order);
  if (!encode(type, value, order).equals(bytes)) throw new NotAVariant("it is not in normal form");
  return value;
}

/** The bytes of a value, in normal form. @throws TypeError for a value that is none of its type */
export function encode(type: string, value: Value, { little = false }: Order = {}): Buffer {
  return write(nodeOf(type), value, little);
}

function write(node: Node, value: Value, little: boolean): Buffer {
  switch (node.sign) {
    case "s":
    case "o":
    case "g":
      return Buffer.from(`${value as string}\0`, "utf8");
    case "v": {
      const { type, value: inner } = value as Boxed;
      return Buffer.concat([write(nodeOf(type), inner, little), Buffer.from(`\0${type}`, "latin1")]);
    }
    case "m": {
      if (value === null) return Buffer.alloc(0);
      const inner = write(node.items[0]!, value, little);
      return node.items[0]!.fixed > 0 ? inner : Buffer.concat([inner, Buffer.alloc(1)]);
    }
    case "a": {
      const of = node.items[0]!;
      if (of.sign === "y") return Buffer.from(value as Buffer);
      const items = (value as ReadonlyArray<Value>).map((item) => [of, write(of, item, little)] as const);
      return joined(items, of.fixed > 0 ? [] : items.map((_, index) => index), 0);
    }
    case "(":
    case "{": {
      const values = value as ReadonlyArray<Value>;
      if (values.length !== node.items.length) throw new TypeError("a tuple has another number of items");
      const items = node.items.map((item, index) => [item, write(item, values[index]!, little)] as const);
      const ends = node.items.flatMap((item, index) =>
        item.fixed === 0 && index < node.items.length - 1 ? [index] : [],
      );
      return joined(items, ends.reverse(), node.fixed);
    }
    default:
      return numberBytes(node, value, little);
  }
}

/** Items one after the other, each at its place; then the ends of those that are asked for. */
function joined(items: ReadonlyArray<readonly [Node, Buffer]>, ends: ReadonlyArray<number>, fixed: number): Buffer {
  const starts: number[] = [];
  let body = 0;
  for (const [{ align: to }, bytes] of items) {
    const start = align(body, to);
    starts.push(start);
    body = start + bytes.length;
  }
  const size = [1, 2, 4].find((each) => body + ends.length * each <= 2 ** (8 * each) - 1)!;
  const result = Buffer.alloc(Math.max(body + ends.length * size, fixed));
  for (const [index, [, bytes]] of items.entries()) bytes.copy(result, starts[index]!);
  for (const [place, index] of ends.entries()) {
    result.writeUIntLE(starts[index]! + items[index]![1].length, body + place * size, size);
  }
  return result;
}

function numberBytes({ sign, fixed }: Node, value: Value, little: boolean): Buffer {
  const bytes = Buffer.alloc(fixed);
  if (sign === "b") bytes[0] = value === true ? 1 : 0;
  else if (sign === "d") bytes.writeDoubleBE(value as number);
  else if (sign === "x") bytes.writeBigInt64BE(value as bigint);
  else if (sign === "t") bytes.writeBigUInt64BE(value as bigint);
  else if (sign === "n" || sign === "i") bytes.writeIntBE(value as number, 0, fixed);
  else bytes.writeUIntBE(value as number, 0, fixed);
  return little ? bytes.reverse() : bytes;
}
