/** OSTree objects made by hand, for what the tools would never write. */
import { createHash } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import { encode, type Value } from "@millrace/publisher/adapters/ostree/gvariant.ts";

export interface MadeObject {
  readonly name: string;
  readonly checksum: string;
  readonly bytes: Buffer;
}

const sha256 = (...parts: Buffer[]): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};

const framed = (header: Buffer): Buffer => {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(header.length);
  return Buffer.concat([head, header]);
};

export interface FileOptions {
  readonly mode?: number;
  readonly uid?: number;
  /** Of a link. */
  readonly target?: string;
  /** What the head says; default: the truth. */
  readonly size?: number;
  readonly device?: number;
  readonly attributes?: [Buffer, Buffer][];
  /** Changes the bytes behind the head. */
  readonly packed?: (bytes: Buffer) => Buffer;
}

export function makeFile(content: Buffer | string, options: FileOptions = {}): MadeObject {
  const { target = "", uid = 0, device = 0, attributes = [] } = options;
  const mode = options.mode ?? (target === "" ? 0o100644 : 0o120777);
  const bytes = Buffer.from(content as string);
  const rest: Value[] = [uid, 0, mode, device, target, attributes];
  const checksum = sha256(framed(encode("(uuuusa(ayay))", rest)), target === "" ? bytes : Buffer.alloc(0));
  const header = framed(encode("(tuuuusa(ayay))", [BigInt(options.size ?? bytes.length), ...rest]));
  const packed = target === "" ? deflateRawSync(bytes) : Buffer.alloc(0);
  return {
    name: `${checksum}.filez`,
    checksum,
    bytes: Buffer.concat([header, options.packed?.(packed) ?? packed]),
  };
}

export function makeMetadata(type: "commit" | "dirtree" | "dirmeta", bytes: Buffer): MadeObject {
  const checksum = sha256(bytes);
  return { name: `${checksum}.${type}`, checksum, bytes };
}

const hex = (checksum: string): Buffer => Buffer.from(checksum, "hex");

export const makeDirTree = (
  files: ReadonlyArray<readonly [name: string, checksum: string]>,
  folders: ReadonlyArray<readonly [name: string, tree: string, meta: string]> = [],
): MadeObject =>
  makeMetadata(
    "dirtree",
    encode("(a(say)a(sayay))", [
      files.map(([name, checksum]) => [name, hex(checksum)]),
      folders.map(([name, tree, meta]) => [name, hex(tree), hex(meta)]),
    ]),
  );

export const makeDirMeta = (mode = 0o40755): MadeObject =>
  makeMetadata("dirmeta", encode("(uuua(ayay))", [0, 0, mode, []]));

export const makeCommit = (tree: string, meta: string, parent = "", seconds = 1_000_000_000): MadeObject =>
  makeMetadata(
    "commit",
    encode("(a{sv}aya(say)sstayay)", [[], hex(parent), [], "made", "", BigInt(seconds), hex(tree), hex(meta)]),
  );
