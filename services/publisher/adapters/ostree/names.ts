/**
 * Names: of objects, of static deltas, of references, and where each lies in a repository in archive mode.
 *
 *     objects/aa/<62 hex>.<type>      deltas/AB/<rest>/superblock|0|1|…      delta-indexes/AB/<rest>.index      refs/heads/<ref>
 *
 * A delta is named by its commits in base 64 without padding, `/` written as `_` (documented in the format of static deltas).
 */
import { Refusal } from "./refusal.ts";

/** As they stand in files' names. `commitmeta` (signatures) is not addressed by its content. */
export const OBJECT_TYPES = ["commit", "dirtree", "dirmeta", "filez", "commitmeta"] as const;
export type ObjectType = (typeof OBJECT_TYPES)[number];

/** `<64 hexadecimal digits>.<type>` */
export type ObjectName = string;

const OBJECT = /^[0-9a-f]{64}\.(commit|dirtree|dirmeta|filez)$/;
const ANY_OBJECT = /^[0-9a-f]{64}\.(commit|dirtree|dirmeta|filez|commitmeta)$/;
const CHECKSUM = /^[0-9a-f]{64}$/;
const DELTA = /^([A-Za-z0-9+_]{43})(?:-([A-Za-z0-9+_]{43}))?$/;
const DELTA_FILE = /^((?:[A-Za-z0-9+_]{43}-)?[A-Za-z0-9+_]{43})\.(superblock|0|[1-9][0-9]{0,6})\.delta$/;

export const isChecksum = (text: string): boolean => CHECKSUM.test(text);
/** Of what is addressed by its content. */
export const isObjectName = (name: string): boolean => OBJECT.test(name);

/** @throws Refusal for what is none */
export function checkedChecksum(text: string, what = "checksum"): string {
  if (!CHECKSUM.test(text)) throw new Refusal("bad-name", text, `is no ${what}`);
  return text;
}

/** @throws Refusal for what is no name of an object, signatures included */
export function typeOfObject(name: ObjectName): ObjectType {
  const type = ANY_OBJECT.exec(name)?.[1];
  if (type === undefined) throw new Refusal("bad-name", name, "is no name of an object");
  return type as ObjectType;
}

/** From the repository's root. @throws Refusal for what is none */
export function objectPath(name: ObjectName): string {
  typeOfObject(name);
  return `objects/${name.slice(0, 2)}/${name.slice(2)}`;
}

/** 32 bytes as hexadecimal digits. */
export const hexOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");

export interface DeltaName {
  /** Undefined: from nothing. */
  readonly from: string | undefined;
  readonly to: string;
}

const toBase64 = (checksum: string): string =>
  Buffer.from(checksum, "hex").toString("base64").replace("=", "").replaceAll("/", "_");

function fromBase64(text: string): string | undefined {
  const bytes = Buffer.from(text.replaceAll("_", "/"), "base64");
  // The last character holds four bits: others would be a second name for the same.
  return bytes.length === 32 && toBase64(bytes.toString("hex")) === text ? bytes.toString("hex") : undefined;
}

/** `<to>` or `<from>-<to>`, each 43 characters. @throws Refusal for what are no checksums */
export function encodeDelta({ from, to }: DeltaName): string {
  const end = toBase64(checkedChecksum(to, "commit"));
  return from === undefined ? end : `${toBase64(checkedChecksum(from, "commit"))}-${end}`;
}

/** @throws Refusal for what is no name of a delta, or another spelling of one */
export function decodeDelta(name: string): DeltaName {
  const match = DELTA.exec(name);
  const first = match?.[1] === undefined ? undefined : fromBase64(match[1]);
  const second = match?.[2] === undefined ? undefined : fromBase64(match[2]);
  if (first === undefined || (match?.[2] !== undefined && second === undefined)) {
    throw new Refusal("bad-name", name, "is no name of a delta");
  }
  return second === undefined ? { from: undefined, to: first } : { from: first, to: second };
}

/** The folder of a delta, from the repository's root. */
export function deltaFolder(delta: DeltaName): string {
  const name = encodeDelta(delta);
  return `deltas/${name.slice(0, 2)}/${name.slice(2)}`;
}

/** The index of the deltas that lead to a commit, from the repository's root. */
export function deltaIndexPath(to: string): string {
  const name = encodeDelta({ from: undefined, to });
  return `delta-indexes/${name.slice(0, 2)}/${name.slice(2)}.index`;
}

/** What an uploaded file is to become. */
export type UploadTarget =
  | { readonly kind: "object"; readonly name: ObjectName; readonly path: string }
  | {
      readonly kind: "delta";
      readonly delta: DeltaName;
      readonly part: "superblock" | number;
      readonly path: string;
    };

/**
 * The grammar of uploaded files' names (flat-manager's). One that was escaped for a header (`%2B`) is read as what it stands for.
 * @throws Refusal for every other name
 */
export function uploadTarget(filename: string): UploadTarget {
  const name = unescaped(filename);
  if (OBJECT.test(name)) return { kind: "object", name, path: objectPath(name) };
  const match = DELTA_FILE.exec(name);
  if (match === null) throw new Refusal("bad-name", filename, "Invalid upload filename");
  const delta = decodeDelta(match[1]!);
  const part = match[2] === "superblock" ? match[2] : Number(match[2]);
  return { kind: "delta", delta, part, path: `${deltaFolder(delta)}/${match[2]}` };
}

function unescaped(filename: string): string {
  if (filename.length > 400 || !filename.includes("%")) return filename;
  return filename.replaceAll(/%([2-7][0-9A-Fa-f])/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** A part of a reference: as OSTree allows them, and no way out of `refs/heads`. */
const REF_PART = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
/** An application's id: at least two parts, none begins with a digit (flatpak's rule), at most 255 characters. */
const APP_ID = /^(?=.{3,255}$)[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_-]*)+$/;
const ARCH = /^[A-Za-z0-9_]{1,64}$/;
const BRANCH = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** Any reference that `ostree` takes and that is a path below `refs/heads`. @throws Refusal for every other text */
export function checkedRef(ref: string): string {
  const parts = ref.split("/");
  if (ref.length > 1000 || parts.length > 32 || !parts.every((part) => part.length <= 250 && REF_PART.test(part))) {
    throw new Refusal("bad-name", ref, "is no name of a reference");
  }
  return ref;
}

/** References of flatpak that may be uploaded. */
export type FlatpakRef =
  | {
      readonly kind: "app" | "runtime";
      readonly id: string;
      readonly arch: string;
      readonly branch: string;
    }
  | { readonly kind: "screenshots"; readonly arch: string };

/** `app/<id>/<arch>/<branch>`, `runtime/…` the same, `screenshots/<arch>`. @throws Refusal for every other text */
export function parseFlatpakRef(ref: string): FlatpakRef {
  const [kind = "", ...rest] = ref.split("/");
  if (ref.length <= 600) {
    const [id = "", arch = "", branch = ""] = rest;
    if ((kind === "app" || kind === "runtime") && rest.length === 3) {
      if (APP_ID.test(id) && ARCH.test(arch) && BRANCH.test(branch)) return { kind, id, arch, branch };
    }
    if (kind === "screenshots" && rest.length === 1 && ARCH.test(id)) return { kind, arch: id };
  }
  throw new Refusal("bad-name", ref, "Invalid ref_name");
}
