/** The face of the simulator: what a test asks for, and what it may do to a device. Made by `startFleet` in `fleet.ts`. */
import type { Clock } from "./clock.ts";

export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [key: string]: Json };

/**
 * How a firmware logs in (reference, 2.4). `1.x`: the nonce is the time, any number of clients. `2.0.0`: 32 slots, `nc` rises, `stale`,
 * two kinds of 429, and its faults: a slot is not given back when its nonce expires, and only an unauthenticated request makes room.
 * `2.0.1`: the same without the faults. `wall`: the Wall Display, which wants `opaque=""` back and sends `nc` as text.
 */
export type Dialect = "1.x" | "2.0.0" | "2.0.1" | "wall";

export interface DeviceSpec {
  /** A name of the catalogue (`models/catalogue.ts`): `SNSW-001X16EU`, `SHSW-25`, … */
  readonly model: string;
  /** Gen2+: `switch`, `cover`, `triphase` …; Gen1: the mode, `relay`, `roller`, `color`, `white`. Default: the model's first. */
  readonly profile?: string;
  readonly name?: string | null;
  /** Twelve hex digits. Default: made from the device's place in the fleet. */
  readonly mac?: string;
  /** 127.x.y.z. Default: the next after the one before. */
  readonly address?: string;
  /** Login on, with this password (user `admin`). */
  readonly password?: string;
  /** Gen2+: default by `version`. */
  readonly dialect?: Dialect;
  /** Gen2+: version of the firmware; default the model's. */
  readonly version?: string;
  /** What it may be updated to, by channel. With `url` the image is really fetched. */
  readonly updates?: { readonly stable?: Release; readonly beta?: Release };
  /** Gen2+: dials in there (`ws://…`) from its start. */
  readonly outbound?: string;
  /** Gen1: CoIoT goes to this `host:port` instead of the multicast group. */
  readonly coiotPeer?: string;
  /** `off`; `on`: also on the fleet's TLS port, with its own certificate; `enforced`: HTTP only redirects there. Default `off`. */
  readonly https?: "off" | "on" | "enforced";
  /** MAC of the range extender whose child this is: reached at `<parent's address>:<mport>` only. */
  readonly behind?: string;
  /** Anything of its configuration (`{"sys": {…}}`, Gen1: of `/settings`) that differs from the model's. */
  readonly config?: JsonObject;
  /** How far its own clock is off, milliseconds. */
  readonly clockSkewMs?: number;
}

export interface Release {
  readonly version: string;
  readonly buildId: string;
  readonly url?: string;
}

export interface FleetOptions {
  /** Default: one of every model. */
  readonly devices?: readonly DeviceSpec[];
  /** How many; `devices` is gone through again and again. Default: as many as `devices` has. */
  readonly count?: number;
  /** The first address. Default 127.20.0.1. */
  readonly base?: string;
  /** Of HTTP and WebSocket, the same for all devices; 0 (default) takes a free one. */
  readonly port?: number;
  readonly tlsPort?: number;
  readonly clock?: Clock;
  readonly timing?: Partial<Timing>;
  /** CoIoT of Gen1. Default: off. */
  readonly coiot?: {
    /** Where devices listen for `/cit/d`, `/cit/s`. Default: the same number as `port`. */
    readonly port?: number;
    /** Where those without a peer send. Default 224.0.1.187:5683. */
    readonly group?: string;
  };
  /** Default: off. `port` and `group` part tests from each other; the standard is 5353 and 224.0.0.251. */
  readonly mdns?: { readonly port?: number; readonly group?: string };
  /** Networks in the air, with their passwords (null: open). Default: any network and any password will do. */
  readonly networks?: Readonly<Record<string, string | null>>;
  /** A control HTTP server for other processes. Default: none. */
  readonly control?: { readonly port?: number };
  /** Seed of what varies between devices. Default 1. */
  readonly seed?: number;
}

/** Milliseconds of the fleet's clock. */
export interface Timing {
  /** From the answer to a reboot until it is gone (a device is asked for at least 500). Default 50. */
  readonly rebootMs: number;
  /** How long it is away. Default 150. */
  readonly bootMs: number;
  /** How long a sleeper stays awake. Default 2 000. */
  readonly awakeMs: number;
  /** A sleeper wakes by itself that often; 0 (default): only when told. */
  readonly wakeEveryMs: number;
  /** One step of an update. Default 20. */
  readonly otaStepMs: number;
  /** A cover's whole way. Default 200. */
  readonly coverMs: number;
  /** Between two tries of the outbound WebSocket. Default 200. */
  readonly redialMs: number;
  /** How long a 2.0.x device says 429 before it makes room for a nonce. Default 2 000. */
  readonly nonceHoldMs: number;
  /** CoIoT goes out that often beside changes; 0 (default): only on changes and when told. */
  readonly coiotMs: number;
}

/** Something wrong with a device's answers; every request that matches meets it, until it is used up or taken away. */
export interface Fault {
  readonly kind: /** Bytes that are no JSON, with status 200. */
    | "garbage"
    /** 100 MB of JSON text that never ends before them. */
    | "huge"
    /** Nothing is done, nothing answered, and the socket stays open. */
    | "silent"
    /** What was asked is done, and never answered; the socket stays open. */
    | "unanswered"
    /** What was asked is done; the answer's first half comes, then a reset. */
    | "drop"
    /** The right answer, `ms` late. */
    | "slow"
    /** The answers of another device: another MAC and id. */
    | "other-mac"
    /** 503. */
    | "busy"
    /** 429 "Too many requests". */
    | "too-many-requests"
    /** 429 "Too many failed authentication attempts". */
    | "locked-out"
    /** 500 with a text. */
    | "error";
  /** Only requests whose method or path holds this text. Default: all. */
  readonly match?: string;
  /** How many requests. Default: all. */
  readonly times?: number;
  /** For `slow`; milliseconds. Default 1 000. */
  readonly ms?: number;
}

/** What a test may count. */
export interface Stats {
  /** Requests answered, of every channel. */
  requests: number;
  /** Logins with a wrong password, or with a counter that did not rise. */
  failedLogins: number;
  /** Logins let through. */
  logins: number;
  /** Answers 401 with a new challenge. */
  challenges: number;
  /** Answers 429, of either kind. */
  refusals: number;
  /** The most requests that were in flight at once, WebSocket and HTTP together. */
  mostAtOnce: number;
  /** Connections taken. */
  connections: number;
  /** How often it started. */
  boots: number;
  /** Calls by method (Gen2+) or path (Gen1). */
  calls: Record<string, number>;
}

export interface DeviceHandle {
  readonly mac: string;
  /** `shellyplus1-a0dd6c000001`. */
  readonly id: string;
  readonly model: string;
  readonly generation: 1 | 2 | 3 | 4;
  readonly address: string;
  readonly port: number;
  /** `http://<address>:<port>`, of a child of a range extender at its parent. */
  readonly url: string;
  /** `https://…`, where the device has it. */
  readonly tlsUrl?: string;
  /** SHA-256 of its certificate, hex; where the device has HTTPS. */
  readonly fingerprint?: string;
  readonly stats: Stats;
  /** Whether it can be reached now. */
  readonly online: boolean;
  /** Gen2+: one component's configuration or all; Gen1: `/settings`. As the device would answer. */
  config(component?: string): Json;
  /** Gen2+: one component's status or all; Gen1: `/status`. */
  status(component?: string): Json;
  /** What stands beside `GetConfig`: schedules, webhooks, kvs, scripts with their code. Gen1: `{ actions }`. */
  stored(): JsonObject;
  /** A user changes something in the device's own web page (source `http`); Gen1: query parameters of `component` as path (`relay/0`, "" for `/settings`). */
  change(component: string, config: JsonObject): void;
  /** The world changes: status fields of a component (Gen1: a path like `relays.0.ison`); notifications go out. */
  sense(component: string, status: JsonObject): void;
  /** Somebody presses the button at input `id`: input events, and what hangs on it toggles. */
  press(id?: number): void;
  /** A sleeper wakes, sends its burst, and sleeps again after `awakeMs`. */
  wake(): void;
  /** Ends the waking time of a sleeper. */
  sleep(): void;
  reboot(): void;
  /** Power off, or on. */
  power(on: boolean): void;
  /** A new lease: another address, its connections are cut. */
  moveTo(address: string): void;
  fault(fault: Fault): void;
  heal(): void;
  setPassword(password: string | null): void;
}

export interface Fleet {
  readonly devices: readonly DeviceHandle[];
  readonly port: number;
  readonly tlsPort?: number;
  readonly coiotPort?: number;
  readonly controlUrl?: string;
  /** By MAC, id or address. @throws Error where there is none. */
  device(which: string): DeviceHandle;
  close(): Promise<void>;
}
