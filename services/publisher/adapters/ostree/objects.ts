/**
 * What OSTree's objects hold, read from their bytes. Types as documented in its data formats, integers big-endian; what is not exactly as
 * OSTree writes it is refused with the object's name.
 */
import { type Boxed, decode, decodeNormal, encode, NotAVariant, type Value } from "./gvariant.ts";
import { hexOf, type ObjectName, typeOfObject } from "./names.ts";
import { Refusal } from "./refusal.ts";

/** Of a metadata object, bytes; OSTree's own limit was 10 MiB for years. */
export const METADATA_MOST = 16 * 1024 * 1024;
/** Of the head of a file: a link's target, extended attributes. */
export const HEADER_MOST = 1024 * 1024;

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFDIR = 0o040000;
const PERMISSIONS = 0o7777;

export type Metadata = Readonly<Record<string, Boxed>>;

export interface Commit {
  readonly metadata: Metadata;
  /** Undefined: the first of its history. */
  readonly parent: string | undefined;
  readonly subject: string;
  readonly body: string;
  /** Seconds since 1970. */
  readonly timestamp: number;
  /** Checksums of its root: `<tree>.dirtree`, `<meta>.dirmeta`. */
  readonly tree: string;
  readonly meta: string;
}

export interface DirTree {
  /** Checksums of `.filez` objects. */
  readonly files: ReadonlyArray<{ readonly name: string; readonly checksum: string }>;
  readonly folders: ReadonlyArray<{ readonly name: string; readonly tree: string; readonly meta: string }>;
}

export interface DirMeta {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

export interface FileHeader {
  /** Bytes of the content, uncompressed; of a link it says nothing. */
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly isLink: boolean;
  readonly target: string;
  /** What the checksum is made of, before the content: length, padding, the header without its size. */
  readonly hashed: Buffer;
}

/** Reads bytes as what they should be, and says whose they are when they are not. */
function reading<T>(subject: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof NotAVariant || error instanceof RangeError) {
      throw new Refusal("malformed", subject, `is not as OSTree writes it: ${error.message}`);
    }
    throw error;
  }
}

const malformed = (subject: string, why: string): Refusal => new Refusal("malformed", subject, why);

function checksum(subject: string, bytes: Buffer, what: string): string {
  if (bytes.length !== 32) throw malformed(subject, `the checksum of ${what} has ${bytes.length} bytes`);
  return hexOf(bytes);
}

function metadataOf(entries: ReadonlyArray<readonly [string, Boxed]>): Metadata {
  return Object.assign(Object.create(null) as Record<string, Boxed>, Object.fromEntries(entries));
}

/** @throws Refusal for bytes that are no commit */
export function parseCommit(bytes: Buffer, subject: string): Commit {
  type Raw = [[string, Boxed][], Buffer, [string, Buffer][], string, string, bigint, Buffer, Buffer];
  const raw = reading(subject, () => decodeNormal<Raw & Value>("(a{sv}aya(say)sstayay)", bytes));
  const [metadata, parent, , title, body, timestamp, tree, meta] = raw;
  if (timestamp > 253_402_300_799n) throw malformed(subject, "its time is none");
  return {
    metadata: metadataOf(metadata),
    parent: parent.length === 0 ? undefined : checksum(subject, parent, "its parent"),
    subject: title,
    body,
    timestamp: Number(timestamp),
    tree: checksum(subject, tree, "its tree"),
    meta: checksum(subject, meta, "its folder"),
  };
}

/** @throws Refusal for bytes that are no directory, or one with names that lead elsewhere */
export function parseDirTree(bytes: Buffer, subject: string): DirTree {
  type Raw = [[string, Buffer][], [string, Buffer, Buffer][]];
  const [files, folders] = reading(subject, () => decodeNormal<Raw & Value>("(a(say)a(sayay))", bytes));
  const seen = new Set<string>();
  const named = (name: string): string => {
    if (name === "" || name === "." || name === ".." || name.includes("/")) {
      throw malformed(subject, `it holds a name that leads elsewhere: "${name.slice(0, 50)}"`);
    }
    if (Buffer.byteLength(name) > 255) throw malformed(subject, "it holds a name of more than 255 bytes");
    if (seen.has(name)) throw malformed(subject, `it holds "${name.slice(0, 50)}" twice`);
    seen.add(name);
    return name;
  };
  return {
    files: files.map(([name, content]) => ({ name: named(name), checksum: checksum(subject, content, "a file") })),
    folders: folders.map(([name, tree, meta]) => ({
      name: named(name),
      tree: checksum(subject, tree, "a folder"),
      meta: checksum(subject, meta, "a folder"),
    })),
  };
}

/** @throws Refusal for bytes that are no description of a directory */
export function parseDirMeta(bytes: Buffer, subject: string): DirMeta {
  type Raw = [number, number, number, [Buffer, Buffer][]];
  const [uid, gid, mode] = reading(subject, () => decodeNormal<Raw & Value>("(uuua(ayay))", bytes));
  if ((mode & S_IFMT) !== S_IFDIR || (mode & ~(S_IFMT | PERMISSIONS)) !== 0) {
    throw malformed(subject, `its mode ${mode.toString(8)} is none of a directory`);
  }
  return { uid, gid, mode };
}

/** @throws Refusal for bytes that are no signatures and the like */
export function parseCommitMeta(bytes: Buffer, subject: string): Metadata {
  return metadataOf(reading(subject, () => decode<[string, Boxed][] & Value>("a{sv}", bytes)));
}

/**
 * The head of a `.filez`: what stands behind the first eight bytes.
 * @throws Refusal for bytes that are none, or of what is neither a file nor a link
 */
export function parseFileHeader(bytes: Buffer, subject: string): FileHeader {
  type Raw = [bigint, number, number, number, number, string, [Buffer, Buffer][]];
  const raw = reading(subject, () => decodeNormal<Raw & Value>("(tuuuusa(ayay))", bytes));
  const [size, uid, gid, mode, device, target, attributes] = raw;
  const kind = mode & S_IFMT;
  if ((kind !== S_IFREG && kind !== S_IFLNK) || (mode & ~(S_IFMT | PERMISSIONS)) !== 0) {
    throw malformed(subject, `its mode ${mode.toString(8)} is neither a file's nor a link's`);
  }
  const isLink = kind === S_IFLNK;
  if (device !== 0) throw malformed(subject, "it names a device");
  if (isLink === (target === "")) throw malformed(subject, isLink ? "a link without a target" : "a file with a target");
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new Refusal("too-large", subject, "its size is beyond all disks");
  const header = encode("(uuuusa(ayay))", [uid, gid, mode, 0, target, attributes]);
  const hashed = Buffer.alloc(8 + header.length);
  hashed.writeUInt32BE(header.length);
  header.copy(hashed, 8);
  return { size: Number(size), uid, gid, mode, isLink, target, hashed };
}

/** The structure of a metadata object. @throws Refusal when it is not what its type says */
export function checkStructure(name: ObjectName, bytes: Buffer): void {
  switch (typeOfObject(name)) {
    case "commit":
      parseCommit(bytes, name);
      break;
    case "dirtree":
      parseDirTree(bytes, name);
      break;
    case "dirmeta":
      parseDirMeta(bytes, name);
      break;
    case "commitmeta":
      parseCommitMeta(bytes, name);
      break;
    default:
      throw new RangeError(`${name} is no metadata`);
  }
}

/** Subsets of a repository that a commit belongs to, as flatpak writes them. */
export function subsetsOf({ metadata }: Pick<Commit, "metadata">): ReadonlyArray<string> {
  const value = metadata["xa.subsets"]?.value;
  return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
}

/** A text of a commit's metadata, such as `xa.metadata`; undefined where there is none. */
export function metadataText(metadata: Metadata, key: string): string | undefined {
  const value = metadata[key]?.value;
  return typeof value === "string" ? value : undefined;
}

/** Its references (`ostree.ref-binding`); empty where it names none. */
export function boundRefs({ metadata }: Commit): ReadonlyArray<string> {
  const bound = metadata["ostree.ref-binding"];
  return bound?.type === "as" ? (bound.value as string[]) : [];
}
