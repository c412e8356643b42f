/**
 * Keeping one device: connected where it can be, polled where not, its status as it is now, and what of it is news. Push first: what
 * devices tell by themselves is merged; asking for the whole status fills the gaps.
 */
import type { Sample } from "@millrace/eventlog/series.ts";
import type { Address } from "./address.ts";
import { backoffMs } from "./backoff.ts";
import type { CoiotMessage } from "./coap.ts";
import { configCountOf, type Description, describe, samplesOfCoiot, stateChanged } from "./coiot.ts";
import type { Identity } from "./device.ts";
import { DeviceFailure, type DeviceFailureKind, retryAfterMs } from "./failures.ts";
import { Gen1Device } from "./gen1-device.ts";
import { isObject, type Json, type JsonObject, merge, numberAt } from "./json.ts";
import { countersOf, phase, type Revisions } from "./revisions.ts";
import { type DeviceOptions, RpcDevice } from "./rpc-device.ts";
import type { Notice, RpcPeer } from "./rpc-peer.ts";
import { samplesOf, samplesOfGen1 } from "./samples.ts";
import type { Wait, Wheel } from "./wheel.ts";

/** What a keeper tells, each with the device's MAC first. */
export interface KeeperListener {
  /** It answers: for the first time here, or again after it was lost. */
  readonly seen: (mac: string, identity: Identity, address: Address) => void;
  /** It has not been heard of for as long as it may be silent. */
  readonly lost: (mac: string, why: DeviceFailure | undefined) => void;
  /** Of one that comes by itself: it is gone again, as it does. The next time it comes it is seen. */
  readonly away: (mac: string) => void;
  /** The whole status, and what of it has changed (undefined: all of it is new). */
  readonly status: (mac: string, status: JsonObject, change: JsonObject | undefined) => void;
  /** Its configuration, or what stands beside it, is another than when it was last looked at. */
  readonly revision: (mac: string, revisions: Revisions) => void;
  readonly event: (mac: string, event: JsonObject) => void;
  readonly samples: (mac: string, samples: ReadonlyArray<Sample>) => void;
  /** By what it is reached from now on. */
  readonly address: (mac: string, address: Address) => void;
  /** Something that does not pass by itself: a wrong login, another device. Told once, until it works again. */
  readonly trouble: (mac: string, why: DeviceFailure) => void;
}

export interface Kept {
  readonly identity: Identity;
  readonly address: Address;
  /** `dial`: a WebSocket is opened (Gen2+) · `poll`: it is asked · `wait`: it comes by itself, now and then (on batteries). */
  readonly reach: "dial" | "poll" | "wait";
  readonly pollMs: number;
  /** Silent for so long, it is lost. */
  readonly lostAfterMs: number;
}

export interface KeeperOptions extends Kept, Pick<DeviceOptions, "gate" | "credentials"> {
  readonly wheel: Wheel;
  readonly listener: KeeperListener;
}

const PING_MS = 30_000;
const SILENT_MS = 75_000;
/** Notices of one device that are merged in a second: a meter tells once a second, a loose contact all the time. */
const NOTICES_PER_SECOND = 20;
/** Silent for so long, one that comes by itself has gone to sleep. */
const ASLEEP_MS = 30_000;
/** After a state was told by CoIoT, which says less than the status. */
const LOOK_AGAIN_MS = 500;
/** Failures that are an answer: it is there. */
const ANSWERS: ReadonlySet<DeviceFailureKind> = new Set([
  "wrong-credentials",
  "locked-out",
  "too-busy",
  "refused",
  "device-error",
  "not-found",
]);
/** A status that grew beyond this by merging is asked for anew. */
const MERGED_MOST = 1_000;

/** When the device told it, by its own clock, is no part of its status. */
function withoutTime(params: JsonObject): JsonObject {
  const status: Record<string, Json> = {};
  for (const key in params) if (key !== "ts" && key !== "__proto__") status[key] = params[key]!;
  return status;
}

export class Keeper {
  readonly device: RpcDevice | Gen1Device;
  readonly #options: KeeperOptions;
  #kept: Kept;
  #failures = 0;
  #status: JsonObject | undefined;
  #revisions: Revisions = {};
  #uptime: number | undefined;
  #seenAt = performance.now();
  #isSeen = false;
  #isLost = false;
  #troubled: string | undefined;
  #merged = 0;
  #description: Description | undefined;
  #told: CoiotMessage | undefined;
  #second = 0;
  #taken = 0;
  #busy = false;
  /** Somebody wanted a look while one was under way. */
  #again = false;
  #wholeAt = Number.NEGATIVE_INFINITY;
  #lastFailure: DeviceFailure | undefined;
  #closed = false;
  #nextLook: Wait | undefined;
  #nextAt = Number.POSITIVE_INFINITY;
  #untilLost: Wait | undefined;
  #untilAsleep: Wait | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#kept = options;
    const { gate, credentials, identity, address, listener } = options;
    const all: DeviceOptions = {
      address,
      identity,
      gate,
      credentials,
      onAddress: (moved) => listener.address(identity.mac, moved),
      onCut: (why) => this.#cut(why),
    };
    this.device = identity.generation === 1 ? new Gen1Device(all) : new RpcDevice(all);
    this.device.subscribe((notice) => this.#noticed(notice));
    // Not all at once: where they stand in their interval goes by their MAC.
    if (options.reach !== "wait") this.#next(phase(identity.mac) * Math.min(options.pollMs, 10_000));
    this.#watchSilence();
  }

  get #mac(): string {
    return this.#options.identity.mac;
  }

  get status(): JsonObject | undefined {
    return this.#status;
  }

  /** When it was last heard of, by the clock of `performance`. */
  get seenAt(): number {
    return this.#seenAt;
  }

  /** Another interval, or another way. */
  retune(kept: Pick<Kept, "reach" | "pollMs" | "lostAfterMs">): void {
    this.#kept = { ...this.#kept, ...kept };
    if (kept.reach !== "wait") this.#next(phase(this.device.identity.mac) * 1_000);
    this.#watchSilence();
  }

  /** It is there (somebody found it, it dialled, it told something): asked at once rather than when its wait is over. */
  hint(): void {
    this.device.heardOf();
    this.#failures = 0;
    this.#soon(0);
  }

  /** It dialled us and was recognised. */
  attach(peer: RpcPeer, notices: ReadonlyArray<Notice>): void {
    if (!(this.device instanceof RpcDevice)) return;
    this.device.attach(peer);
    this.#failures = 0;
    for (const notice of notices) this.#noticed(notice);
    this.#soon(0);
  }

  /** What it told by CoIoT. */
  hear(message: CoiotMessage): void {
    const { listener } = this.#options;
    this.#heardOf();
    // It tells something, so it is there: what was called in vain is called again.
    if (this.#failures > 0 && /^(unreachable|timeout)$/.test(this.#lastFailure?.kind ?? "")) this.hint();
    const before = this.#told;
    if (message.serial !== undefined && message.serial === before?.serial) return;
    this.#told = message;
    if (this.#description === undefined) {
      this.#soon(0);
      return;
    }
    const samples = samplesOfCoiot(message, this.#description);
    if (samples.length > 0) listener.samples(this.#mac, samples);
    const count = configCountOf(message);
    if (count !== undefined) this.#revise({ cfg_changed_cnt: count });
    if (stateChanged(before, message, this.#description)) this.#soon(LOOK_AGAIN_MS);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#nextLook?.cancel();
    this.#untilLost?.cancel();
    this.#untilAsleep?.cancel();
    await this.device.close();
  }

  #next(ms: number): void {
    this.#nextLook?.cancel();
    if (this.#closed) return;
    this.#nextAt = performance.now() + ms;
    this.#nextLook = this.#options.wheel.after(ms, () => void this.#look());
  }

  /** Sooner than it would be, never later: what tells all the time puts nothing off. */
  #soon(ms: number): void {
    if (this.#busy) this.#again = true;
    else if (performance.now() + ms < this.#nextAt) this.#next(ms);
  }

  async #look(): Promise<void> {
    this.#nextAt = Number.POSITIVE_INFINITY;
    if (this.#closed || this.#busy) return;
    this.#busy = true;
    let next: number | undefined;
    try {
      next = await this.#once();
      this.#failures = 0;
      this.#troubled = undefined;
    } catch (error) {
      next = this.#failed(error);
    } finally {
      this.#busy = false;
    }
    if (this.#again) next = LOOK_AGAIN_MS;
    this.#again = false;
    if (next !== undefined) this.#next(next);
  }

  /** @returns milliseconds until the next look */
  async #once(): Promise<number | undefined> {
    const { device } = this;
    const { reach, pollMs } = this.#kept;
    // It may be another device by now, or have no login any more: `/shelly` says so to everybody.
    if (this.#troubled !== undefined) await device.identify();
    if (device instanceof RpcDevice && reach === "dial" && !device.linked) {
      await device.link();
      this.#status = undefined;
    }
    const linked = device instanceof RpcDevice && device.linked;
    if (linked && this.#fresh()) return this.#pingOrCut(device);
    this.#whole(await device.status());
    if (device instanceof Gen1Device && this.#told !== undefined && this.#description === undefined) {
      this.#description = describe(await device.call({ path: "/cit/d", query: {} }));
    }
    if (linked) return Math.min(PING_MS, pollMs);
    // Who comes by itself is asked while it is awake, and left to sleep.
    return reach === "wait" ? undefined : pollMs;
  }

  /** The whole status was had within the interval. */
  #fresh(): boolean {
    return this.#status !== undefined && performance.now() - this.#wholeAt < this.#kept.pollMs;
  }

  #pingOrCut(device: RpcDevice): number {
    if ((device.silentMs ?? 0) > SILENT_MS) {
      device.unlink();
      return 0;
    }
    device.ping();
    return Math.min(PING_MS, this.#kept.pollMs);
  }

  /** @returns milliseconds until the next try; undefined: not by itself */
  #failed(error: unknown): number | undefined {
    const why = error instanceof DeviceFailure ? error : undefined;
    this.#failures += 1;
    if (why !== undefined && ANSWERS.has(why.kind)) this.#heardOf();
    if (why !== undefined && !/^(unreachable|timeout|not-sent)$/.test(why.kind) && this.#troubled !== why.kind) {
      this.#troubled = why.kind;
      this.#options.listener.trouble(this.#mac, why);
    }
    this.#lastFailure = why;
    if (this.#kept.reach === "wait") return undefined;
    const least = why === undefined ? 30_000 : retryAfterMs(why);
    // What a timer must not try again: rarely, beginning with `/shelly`.
    if (least === undefined) return Math.max(300_000, this.#kept.pollMs);
    return least - 1_000 + 250 + backoffMs(this.#failures, Math.random());
  }

  #cut(why: DeviceFailure): void {
    this.#lastFailure = why;
    this.#status = undefined;
    if (this.#kept.reach === "wait") this.#gone();
    else this.#next(250 + backoffMs(1, Math.random()));
  }

  #gone(): void {
    if (!this.#isSeen || this.#isLost) return;
    this.#isSeen = false;
    this.#options.listener.away(this.#mac);
  }

  #watchSleep(): void {
    this.#untilAsleep?.cancel();
    this.#untilAsleep = this.#options.wheel.after(ASLEEP_MS, () => {
      const linked = this.device instanceof RpcDevice && this.device.linked;
      if (linked || this.#busy || performance.now() - this.#seenAt < ASLEEP_MS) this.#watchSleep();
      else this.#gone();
    });
  }

  #heardOf(): void {
    this.#seenAt = performance.now();
    if (this.#isSeen && !this.#isLost) return;
    this.#isSeen = true;
    this.#isLost = false;
    this.#watchSilence();
    if (this.#kept.reach === "wait") this.#watchSleep();
    this.#options.listener.seen(this.#mac, this.device.identity, this.device.address);
  }

  /** One wait for as long as it may be silent, begun again by what is left of it. */
  #watchSilence(): void {
    this.#untilLost?.cancel();
    const left = this.#seenAt + this.#kept.lostAfterMs - performance.now();
    this.#untilLost = this.#options.wheel.after(Math.max(left, 250), () => {
      if (this.#closed || this.#isLost) return;
      if (performance.now() - this.#seenAt < this.#kept.lostAfterMs) return this.#watchSilence();
      this.#isLost = true;
      this.#options.listener.lost(this.#mac, this.#lastFailure);
    });
  }

  #whole(status: Json): void {
    if (!isObject(status)) return;
    this.#heardOf();
    this.#wholeAt = performance.now();
    this.#merged = 0;
    const before = this.#status;
    this.#status = status;
    this.#options.listener.status(this.#mac, status, undefined);
    const samples = this.device instanceof Gen1Device ? samplesOfGen1(status) : samplesOf(status);
    if (samples.length > 0) this.#options.listener.samples(this.#mac, samples);
    this.#count(status, before === undefined);
  }

  #noticed(notice: Notice): void {
    this.#heardOf();
    if (notice.notice === "full-status") {
      this.#whole(withoutTime(notice.params));
      return;
    }
    if (this.#tooMany()) return;
    if (notice.notice === "events") {
      for (const event of notice.events) this.#happened(event);
      return;
    }
    this.#merge(notice.params);
  }

  #merge(params: JsonObject): void {
    if (this.#status === undefined) return;
    const change = withoutTime(params);
    try {
      const merged = merge(this.#status, change);
      if (merged === this.#status) return;
      this.#status = merged;
      this.#merged += 1;
      if (this.#merged > MERGED_MOST) this.#wholeAt = Number.NEGATIVE_INFINITY;
      this.#options.listener.status(this.#mac, merged, change);
      const samples = samplesOf(change);
      if (samples.length > 0) this.#options.listener.samples(this.#mac, samples);
      this.#count(change, false);
    } catch (error) {
      if (!(error instanceof DeviceFailure)) throw error;
      this.#status = undefined;
      this.#options.listener.trouble(this.#mac, error);
    }
  }

  #happened(event: JsonObject): void {
    this.#options.listener.event(this.#mac, event);
    const rev = numberAt(event, "cfg_rev");
    if (event.event === "config_changed") this.#revise(rev === undefined ? { changes: Date.now() } : { cfg_rev: rev });
  }

  /** @param status whole, or what has changed of it */
  #count(status: JsonObject, first: boolean): void {
    const { found, uptime } = countersOf(status, this.device.identity.generation, this.#uptime);
    if (uptime !== undefined) this.#uptime = uptime;
    if (first || Object.keys(found).length > 0) this.#revise(found);
  }

  #revise(found: Revisions): void {
    const before = this.#revisions;
    if (Object.entries(found).every(([name, value]) => before[name] === value)) return;
    this.#revisions = { ...before, ...found };
    this.#options.listener.revision(this.#mac, this.#revisions);
  }

  #tooMany(): boolean {
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#taken = 0;
    }
    this.#taken += 1;
    if (this.#taken <= NOTICES_PER_SECOND) return false;
    // What is let pass is made good by the whole status.
    this.#wholeAt = Number.NEGATIVE_INFINITY;
    return true;
  }
}
