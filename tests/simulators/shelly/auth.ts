/** How a Gen2+ device lets somebody in: digest with SHA-256, over HTTP and in frames, in the dialects of its firmware (reference, 2.4). */
import { createHash, randomBytes } from "node:crypto";
import type { Dialect, Json, JsonObject, Stats } from "./face.ts";

export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** What stands for method and uri where there is neither: in a frame (documented; mongoose-os rpc-common). */
const HA2_OF_FRAMES = sha256("dummy_method:dummy_uri");

export const SLOTS = 32;
const NONCE_SECONDS = 3600;
const NONCE_USES = 30_000;
const WINDOW_MS = 600_000;
/** Failures within ten minutes, and how long nobody is let in then. */
const LADDER: ReadonlyArray<readonly [over: number, ms: number]> = [
  [40, 300_000],
  [30, 60_000],
  [20, 30_000],
  [10, 10_000],
];

export interface Challenge {
  readonly realm: string;
  /** Firmware 1.x: a number of seconds, in frames as a JSON number. */
  readonly nonce: string | number;
  readonly stale: boolean;
  readonly wall: boolean;
}

export type Verdict =
  | { readonly status: 200 }
  | { readonly status: 401; readonly challenge: Challenge }
  | { readonly status: 429; readonly text: string };

/** As the header `WWW-Authenticate`. */
export const headerOf = ({ realm, nonce, stale, wall }: Challenge): string =>
  [
    `Digest qop="auth", realm="${realm}", nonce="${nonce}"`,
    ...(wall ? [`opaque=""`] : []),
    "algorithm=SHA-256",
    ...(stale ? ["stale=true"] : []),
  ].join(", ");

/** As the message of an error frame: JSON in a string, spaced as captured. */
export const messageOf = ({ realm, nonce, stale, wall }: Challenge): string => {
  const fields: Array<[string, Json]> = [
    ["auth_type", "digest"],
    ["nonce", nonce],
    ["nc", wall ? "1" : 1],
    ["realm", realm],
    ["algorithm", "SHA-256"],
    ...(stale ? [["stale", true] as [string, Json]] : []),
  ];
  return `{${fields.map(([key, value]) => `"${key}": ${JSON.stringify(value)}`).join(", ")}}`;
};

/** `key=value` pairs; values may be quoted and hold commas and `=`. */
export function parseDigest(header: string): Record<string, string> | undefined {
  const found = /^Digest\s+(.*)$/is.exec(header)?.[1];
  if (found === undefined) return undefined;
  const fields: Record<string, string> = {};
  for (const [, key, quoted, plain] of found.matchAll(/([a-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))/gi)) {
    fields[key!.toLowerCase()] = quoted ?? plain ?? "";
  }
  return fields;
}

interface Slot {
  readonly nonce: string;
  /** Milliseconds. */
  readonly at: number;
  nc: number;
  uses: number;
}

/** The nonces of a 2.0.x device: 32 slots, shared by all clients. */
export class NonceTable {
  readonly #slots: Slot[] = [];
  readonly #now: () => number;
  readonly #holdMs: number;
  /** 2.0.0: what has expired keeps its slot. */
  readonly #leaks: boolean;
  #fullSince: number | undefined;

  constructor(now: () => number, leaks: boolean, holdMs: number) {
    this.#now = now;
    this.#leaks = leaks;
    this.#holdMs = holdMs;
  }

  get used(): number {
    return this.#slots.length;
  }

  get full(): boolean {
    this.#sweep();
    return this.#slots.length >= SLOTS;
  }

  /** A new nonce; none while the table is full and room may not be made (yet). */
  issue(mayEvict: boolean): string | undefined {
    if (this.full) {
      if (!mayEvict) return undefined;
      this.#fullSince ??= this.#now();
      if (this.#now() - this.#fullSince < this.#holdMs) return undefined;
      this.drop(this.#slots.reduce((least, slot) => (slot.uses < least.uses ? slot : least)).nonce);
    }
    this.#fullSince = undefined;
    const bytes = Buffer.concat([Buffer.alloc(8), randomBytes(8)]);
    bytes.writeBigUInt64BE(BigInt(Math.floor(this.#now() / 1000)));
    const nonce = bytes.toString("base64");
    this.#slots.push({ nonce, at: this.#now(), nc: 0, uses: 0 });
    return nonce;
  }

  /** Uses a nonce whose response was right. `counter`: `nc` did not begin with 1, or did not rise. */
  use(nonce: string, nc: number): "ok" | "unknown" | "expired" | "counter" {
    const slot = this.#slots.find((one) => one.nonce === nonce);
    if (slot === undefined) return "unknown";
    if (this.#expired(slot)) {
      if (!this.#leaks) this.drop(nonce);
      return "expired";
    }
    if (slot.nc === 0 ? nc !== 1 : !(nc > slot.nc)) return "counter";
    slot.nc = nc;
    slot.uses++;
    return "ok";
  }

  drop(nonce: string): void {
    const index = this.#slots.findIndex((slot) => slot.nonce === nonce);
    if (index >= 0) this.#slots.splice(index, 1);
  }

  #expired(slot: Slot): boolean {
    return this.#now() - slot.at >= NONCE_SECONDS * 1000 || slot.uses >= NONCE_USES;
  }

  #sweep(): void {
    if (this.#leaks) return;
    for (const slot of this.#slots.filter((one) => this.#expired(one))) this.drop(slot.nonce);
  }
}

export interface Gate {
  readonly dialect: Dialect;
  /** The device's id. */
  readonly realm: string;
  /** The device's own clock, milliseconds. */
  readonly now: () => number;
  readonly nonceHoldMs: number;
  readonly stats: Stats;
}

/** The login of one device. Without `ha1` everybody is let in. */
export class DigestLogin {
  ha1: string | null = null;
  readonly #gate: Gate;
  readonly nonces: NonceTable;
  #failures: number[] = [];
  #lockedUntil = 0;

  constructor(gate: Gate) {
    this.#gate = gate;
    this.nonces = new NonceTable(gate.now, gate.dialect === "2.0.0", gate.nonceHoldMs);
  }

  setPassword(password: string | null): void {
    this.ha1 = password === null ? null : sha256(`admin:${this.#gate.realm}:${password}`);
  }

  /** @param url as it was sent, with its query. */
  http(method: string, url: string, authorization: string | undefined): Verdict {
    const fields = authorization === undefined ? undefined : parseDigest(authorization);
    if (fields === undefined) return this.#judge(undefined, "", "", false);
    const uriIsTheRequests = fields.uri === url;
    const hasOpaque = this.#gate.dialect !== "wall" || fields.opaque === "";
    const ha2 = sha256(`${method}:${fields.uri}`);
    return this.#judge(fields, ha2, fields.nc ?? "", uriIsTheRequests && hasOpaque && fields.qop === "auth");
  }

  /** @param auth the frame's own, if it has one. */
  frame(auth: Json | undefined): Verdict {
    if (auth === undefined || auth === null) return this.#judge(undefined, "", "", false);
    const sent = typeof auth === "object" && !Array.isArray(auth) ? auth : {};
    const fields: Record<string, string> = {};
    for (const [key, value] of Object.entries(sent)) fields[key] = String(value);
    // Firmware 1.x reads no `nc` and computes with 1 (mongoose-os rpc-common).
    const nc = this.#gate.dialect === "1.x" ? "1" : (fields.nc ?? "1");
    const nonceIsNumber = typeof sent.nonce === "number";
    const rightType = this.#gate.dialect.startsWith("2") ? !nonceIsNumber : nonceIsNumber;
    return this.#judge(fields, HA2_OF_FRAMES, nc, rightType);
  }

  #judge(fields: Record<string, string> | undefined, ha2: string, nc: string, wellFormed: boolean): Verdict {
    if (this.ha1 === null) return { status: 200 };
    if (this.#gate.now() < this.#lockedUntil) return this.#refuse("Too many failed authentication attempts");
    if (fields === undefined) return this.#challenge(false, true);
    const { realm, username, nonce = "", cnonce = "", response, algorithm = "SHA-256" } = fields;
    const expected = sha256(`${this.ha1}:${nonce}:${nc}:${cnonce}:auth:${ha2}`);
    const mine = realm === this.#gate.realm && username === "admin" && algorithm.toUpperCase() === "SHA-256";
    if (!wellFormed || !mine || response?.toLowerCase() !== expected) return this.#failed(nonce);
    return this.#gate.dialect.startsWith("2") ? this.#tracked(nonce, nc) : this.#timed(nonce);
  }

  /** 1.x: the nonce is a time, in base 10 or 16, and good for an hour. */
  #timed(nonce: string): Verdict {
    const now = Math.floor(this.#gate.now() / 1000);
    const good = [Number.parseInt(nonce, 10), Number.parseInt(nonce, 16)].some(
      (at) => now - at >= 0 && now - at < NONCE_SECONDS,
    );
    return good ? this.#pass() : this.#challenge(false, true);
  }

  #tracked(nonce: string, nc: string): Verdict {
    // An integer in frames, eight hex digits in headers; both are in use in frames.
    const count = /^[0-9a-f]{8}$/i.test(nc) ? Number.parseInt(nc, 16) : /^\d{1,7}$/.test(nc) ? Number(nc) : 0;
    const outcome = this.nonces.use(nonce, count);
    if (outcome === "ok") return this.#pass();
    if (outcome === "counter") return this.#failed(nonce);
    return this.#challenge(true, this.#gate.dialect === "2.0.1");
  }

  #pass(): Verdict {
    this.#gate.stats.logins++;
    return { status: 200 };
  }

  #failed(nonce: string): Verdict {
    this.#gate.stats.failedLogins++;
    if (!this.#gate.dialect.startsWith("2")) return this.#challenge(false, true);
    this.nonces.drop(nonce);
    const now = this.#gate.now();
    this.#failures = [...this.#failures.filter((at) => now - at < WINDOW_MS), now];
    const step = LADDER.find(([over]) => this.#failures.length > over);
    if (step !== undefined) {
      this.#lockedUntil = now + step[1];
      return this.#refuse("Too many failed authentication attempts");
    }
    return this.#challenge(false, true);
  }

  #challenge(stale: boolean, mayEvict: boolean): Verdict {
    const { dialect, realm, now, stats } = this.#gate;
    const tracked = dialect.startsWith("2");
    const nonce = tracked ? this.nonces.issue(mayEvict) : Math.floor(now() / 1000);
    if (nonce === undefined) return this.#refuse("Too many requests");
    stats.challenges++;
    return { status: 401, challenge: { realm, nonce, stale, wall: dialect === "wall" } };
  }

  #refuse(text: string): Verdict {
    this.#gate.stats.refusals++;
    return { status: 429, text };
  }
}

/** Gen1: Basic. */
export function basicLogin(authorization: string | undefined): { user: string; password: string } | undefined {
  const encoded = /^Basic\s+([A-Za-z0-9+/=]+)\s*$/i.exec(authorization ?? "")?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString();
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
