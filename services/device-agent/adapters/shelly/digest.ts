/**
 * Digest authentication (RFC 7616) as Gen2+ devices speak it: SHA-256, `qop=auth`, user `admin`, realm = the device's id. Over HTTP in
 * headers, in RPC frames (WebSocket) as an object, where the method and the address are two fixed words.
 */
import { createHash } from "node:crypto";
import { failure } from "./failures.ts";
import { isObject, type Json, type JsonObject, parseJson } from "./json.ts";

export const USER = "admin";
const ALGORITHM = "SHA-256";

/** What the device asks for, whichever way it came. */
export interface Challenge {
  readonly realm: string;
  readonly nonce: string;
  /** Of frames: firmware before 2.0.0 sends the nonce as a number, and wants it back as one. */
  readonly numeric: boolean;
  readonly stale: boolean;
  /** Missing in some answers; then it is not said back. Never another than SHA-256. */
  readonly algorithm: boolean;
  /** Wall Display sends an empty one, and refuses an answer without it. */
  readonly opaque?: string;
  /** Wall Display sends `nc` in frames as text, and takes it as such. */
  readonly countAsText: boolean;
}

/**
 * Firmware before 2.0.0 makes nonces of its clock, checks them without memory, and reckons with the count 1 whatever is sent; from 2.0.0
 * on they are base 64 text, and each use counts.
 */
export const isCounted = ({ nonce }: { readonly nonce: string }): boolean => !/^[0-9a-fA-F]{1,16}$/.test(nonce);

const LONGEST = 4_096;
const PARAMETER = /\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)/y;

/**
 * The parameters of one challenge: split at the first `=` (nonces end with them) and at commas outside of quotes.
 * @param text of `WWW-Authenticate`; what follows of a second scheme is left alone
 * @returns the scheme in lower case and its parameters, names in lower case
 */
export function parseChallengeHeader(
  text: string,
): { readonly scheme: string; readonly parameters: ReadonlyMap<string, string> } | undefined {
  if (text.length > LONGEST) return undefined;
  const scheme = /^\s*([A-Za-z][A-Za-z0-9-]*)(?:\s+|$)/.exec(text);
  if (scheme === null) return undefined;
  const parameters = new Map<string, string>();
  for (let at = scheme[0].length; at < text.length; at = PARAMETER.lastIndex) {
    PARAMETER.lastIndex = at;
    const found = PARAMETER.exec(text);
    if (found === null) break;
    const [, name, quoted, bare] = found;
    const value = quoted === undefined ? bare! : quoted.replaceAll(/\\(.)/g, "$1");
    if (!parameters.has(name!.toLowerCase())) parameters.set(name!.toLowerCase(), value);
  }
  return { scheme: scheme[1]!.toLowerCase(), parameters };
}

/** @returns undefined where no Digest is asked for @throws DeviceFailure garbled, for one that nobody could answer */
export function challengeOfHeader(text: string | ReadonlyArray<string> | undefined): Challenge | undefined {
  for (const one of typeof text === "string" ? [text] : (text ?? [])) {
    const parsed = parseChallengeHeader(one);
    if (parsed?.scheme !== "digest") continue;
    const { parameters } = parsed;
    const algorithm = parameters.get("algorithm");
    const qop = parameters.get("qop");
    if (qop !== undefined && !/(^|[\s,])auth([\s,]|$)/i.test(qop))
      throw failure("garbled", "It asks for no known qop.");
    const opaque = parameters.get("opaque");
    return checked({
      realm: parameters.get("realm"),
      nonce: parameters.get("nonce"),
      algorithm,
      numeric: false,
      stale: parameters.get("stale")?.toLowerCase() === "true",
      opaque,
      countAsText: false,
    });
  }
  return undefined;
}

/** Of the error 401 of a frame, whose message holds the challenge as JSON text. @throws DeviceFailure garbled */
export function challengeOfMessage(message: string): Challenge {
  if (message.length > LONGEST) throw failure("garbled", "Its challenge is too long.");
  const value = parseJson(message);
  if (!isObject(value)) throw failure("garbled", "Its challenge is no object.");
  const { realm, nonce, algorithm, stale, opaque, nc } = value;
  return checked({
    realm,
    nonce: typeof nonce === "number" ? String(nonce) : nonce,
    algorithm,
    numeric: typeof nonce === "number",
    stale: stale === true || stale === "true",
    opaque,
    countAsText: typeof nc === "string",
  });
}

interface Raw extends Pick<Challenge, "numeric" | "stale" | "countAsText"> {
  readonly realm: Json | undefined;
  readonly nonce: Json | undefined;
  readonly algorithm: Json | undefined;
  readonly opaque: Json | undefined;
}

const TEXT = /^[\x20-\x7e]{1,512}$/;

function checked({ realm, nonce, algorithm, opaque, ...rest }: Raw): Challenge {
  const isText = (value: unknown): value is string => typeof value === "string" && TEXT.test(value);
  if (!isText(realm) || !isText(nonce)) throw failure("garbled", "Its challenge has no realm, or no nonce.");
  if (algorithm !== undefined && String(algorithm).toUpperCase() !== ALGORITHM) {
    throw failure("garbled", `It asks for another algorithm than ${ALGORITHM}.`);
  }
  return {
    realm,
    nonce,
    algorithm: algorithm !== undefined,
    ...(typeof opaque === "string" && opaque.length <= 512 ? { opaque } : {}),
    ...rest,
  };
}

export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** What is kept instead of the password: 64 hex digits. */
export const ha1Of = (realm: string, password: string, user = USER): string => sha256(`${user}:${realm}:${password}`);

/** @param ha2 see `ha2OfRequest` and `HA2_OF_FRAMES`; @param nc the very text that is sent */
export const responseOf = (ha1: string, nonce: string, nc: string, cnonce: string | number, ha2: string): string =>
  sha256(`${ha1}:${nonce}:${nc}:${cnonce}:auth:${ha2}`);

/** @param uri as it is sent, with its query */
export const ha2OfRequest = (method: string, uri: string): string => sha256(`${method}:${uri}`);

export const HA2_OF_FRAMES = sha256("dummy_method:dummy_uri");

export interface Proof {
  readonly challenge: Challenge;
  /** How often the nonce is used, with this. */
  readonly nc: number;
  /** In frames it is sent as a number, as the vendor's documentation has it. */
  readonly cnonce: number;
  readonly ha1: string;
}

const hex8 = (nc: number): string => nc.toString(16).padStart(8, "0");
const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, "\\$&")}"`;

/** `Authorization` of a request. */
export function authorizationOf({ challenge, nc, cnonce, ha1 }: Proof, method: string, uri: string): string {
  const count = hex8(nc);
  const response = responseOf(ha1, challenge.nonce, count, cnonce, ha2OfRequest(method, uri));
  const parts = [
    `username=${quoted(USER)}`,
    `realm=${quoted(challenge.realm)}`,
    `nonce=${quoted(challenge.nonce)}`,
    `uri=${quoted(uri)}`,
    ...(challenge.algorithm ? [`algorithm=${ALGORITHM}`] : []),
    `response="${response}"`,
    "qop=auth",
    `nc=${count}`,
    `cnonce="${cnonce}"`,
    ...(challenge.opaque === undefined ? [] : [`opaque=${quoted(challenge.opaque)}`]),
  ];
  return `Digest ${parts.join(", ")}`;
}

/** `auth` of a frame. Both ways of writing `nc` are in use by others; what is hashed is the text of what is sent. */
export function authOf({ challenge, nc, cnonce, ha1 }: Proof): JsonObject {
  const count = challenge.countAsText ? hex8(nc) : String(nc);
  return {
    realm: challenge.realm,
    username: USER,
    nonce: challenge.numeric ? Number(challenge.nonce) : challenge.nonce,
    nc: challenge.countAsText ? count : nc,
    cnonce,
    response: responseOf(ha1, challenge.nonce, count, cnonce, HA2_OF_FRAMES),
    algorithm: ALGORITHM,
    ...(challenge.opaque === undefined ? {} : { opaque: challenge.opaque }),
  };
}
