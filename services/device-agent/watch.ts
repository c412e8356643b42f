/**
 * Watching the devices of the lanes that are held: each is connected to, what it tells becomes what the log knows of it, and its
 * configuration is read again when the device says that something has changed. Follows the log: a device that is added, changed or
 * removed anywhere is so here a moment later.
 */
import type { OfferedFirmware } from "@millrace/contracts/devices/device-parts.ts";
import { type DeviceState, device as deviceKind } from "@millrace/domain/devices/device.ts";
import { sameJson } from "@millrace/domain/devices/drift.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { revisionsOf } from "@millrace/domain/devices/model/identity.ts";
import type { IndexEntry, LiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import type { Sample } from "@millrace/eventlog/series.ts";
import type { Address } from "./adapters/shelly/address.ts";
import { backoffMs } from "./adapters/shelly/backoff.ts";
import type { Device, Identity } from "./adapters/shelly/device.ts";
import { DeviceFailure } from "./adapters/shelly/failures.ts";
import type { Fleet, FleetListener } from "./adapters/shelly/fleet.ts";
import { Gate } from "./adapters/shelly/gate.ts";
import type { JsonObject } from "./adapters/shelly/json.ts";
import type { Kept } from "./adapters/shelly/keeper.ts";
import { type Found, lookAt } from "./adapters/shelly/scan.ts";
import type { Images } from "./images.ts";
import { addressIn, keptOf } from "./kept.ts";
import { laneOf } from "./lanes.ts";
import { addressOf, observedOf, strangerOf } from "./observed.ts";
import { Offers } from "./offers.ts";
import type { Recorder } from "./recorder.ts";
import { isMissing } from "./search.ts";

export interface WatchOptions {
  readonly site: string;
  readonly index: LiveIndex;
  readonly recorder: Recorder;
  readonly logger: Logger;
  /** Whether a lane is held at this moment. */
  readonly holds: (lane: number) => boolean;
  readonly samples: (state: DeviceState, samples: ReadonlyArray<Sample>) => void;
  readonly pollMs: number;
  readonly lostMs: number;
  /** A configuration is read again after this, though the device told of no change. */
  readonly readAfterMs: number;
  /** Where firmware is served to devices from: what there is for them is asked there. */
  readonly images?: Images | undefined;
}

interface Watched {
  readonly id: string;
  readonly mac: string;
  device: Device;
  state: DeviceState;
  kept: Kept;
  /** What answered at its address, until the log knows what it is. */
  found: Identity | undefined;
  tries: number;
  /** When it was read whole, by the clock of `performance`. */
  readAt: number;
  reading: boolean;
  /** Something has changed since it was begun to be read. */
  stale: boolean;
  timer: NodeJS.Timeout | undefined;
  /** When it fires, by the clock of `performance`. */
  timerAt: number;
}

/** Reports read at the same moment: each is a dozen calls. */
const READS_AT_ONCE = 32;
/** A change is mostly one of several. */
const SETTLE_MS = 1_000;
const READ_AGAIN_MS = 30_000;
const LOOK_MS = 3_000;

export class Watch {
  readonly #options: WatchOptions;
  readonly #byId = new Map<string, Watched>();
  readonly #byMac = new Map<string, Watched>();
  readonly #reads = new Gate(READS_AT_ONCE);
  readonly #offers: Offers;
  #fleet!: Fleet;
  #stopChanges: () => void = () => {};
  #closed = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    const tell = (id: string, offered: OfferedFirmware | null) => {
      const one = this.#byId.get(id);
      if (one !== undefined) this.#report(one, { offered });
    };
    this.#offers = new Offers({ images: options.images, logger: options.logger, tell });
  }

  /** What the fleet tells; made before it. */
  readonly listener: FleetListener = {
    seen: (mac, identity, address) => this.#seen(mac, identity, address),
    lost: (mac, why) => this.#tell(mac, { reach: "lost", reason: (why?.reason ?? "it is silent").slice(0, 300) }),
    away: (mac) => this.#tell(mac, { reach: "asleep" }),
    status: (mac, status) => this.#status(mac, status),
    revision: (mac) => this.#touched(mac),
    event: () => {},
    samples: (mac, samples) => this.#sampled(mac, samples),
    address: (mac, address) => this.#moved(mac, address),
    trouble: (mac, why) => this.#trouble(mac, why),
    stranger: ({ by, host }) => this.#options.logger.info({ by, host }, "a device came that is not known at this site"),
    sighted: (mac, host) => void (this.#byMac.has(mac) && this.look(host)),
  };

  begin(fleet: Fleet): void {
    this.#fleet = fleet;
    this.#stopChanges = this.#options.index.onChange((kind, id) => {
      if (kind === deviceKind.kind) this.#sync(id);
      // How often its devices are polled may stand there.
      else if (kind === group.kind) for (const one of this.#byId.values()) this.#keep(one);
    });
  }

  /** A lane has become this agent's. */
  own(lane: number): void {
    for (const { id } of this.#options.index.all(deviceKind)) if (laneOf(id) === lane) this.#sync(id);
  }

  /** A lane is this agent's no more: its devices are let go of at once. */
  lose(lane: number): void {
    for (const one of [...this.#byId.values()]) if (laneOf(one.id) === lane) this.#release(one);
  }

  /** For tasks and asks: the device, when it is this agent's. */
  device(id: string): Device | undefined {
    return this.#byId.get(id)?.device;
  }

  /** Its status as last told. */
  statusOf(id: string): JsonObject | undefined {
    const one = this.#byId.get(id);
    return one === undefined ? undefined : this.#fleet.status(one.mac);
  }

  /** @param mac twelve hex digits in capitals */
  idOf(mac: string): string | undefined {
    return this.#byMac.get(mac)?.id;
  }

  mine(id: string): boolean {
    return this.#byId.has(id);
  }

  get size(): number {
    return this.#byId.size;
  }

  /** How many of them should be there, and nobody knows where. */
  missing(): number {
    let count = 0;
    for (const { state } of this.#byId.values()) if (isMissing(state)) count += 1;
    return count;
  }

  /** Read it whole, now or as soon as it answers. */
  readAgain(id: string): void {
    const one = this.#byId.get(id);
    if (one !== undefined) this.#read(one, 0);
  }

  /** Somebody answered at an address: when it is one of these devices, it is talked to there from now on. Never rejects. */
  async look(host: string, port?: number): Promise<void> {
    try {
      const at = { host, scheme: "http" as const, ...(port === undefined ? {} : { port }) };
      this.#at(await lookAt(at, this.#fleet.gate, LOOK_MS));
    } catch (error) {
      if (!(error instanceof DeviceFailure)) this.#options.logger.error({ err: error, host }, "not looked at");
    }
  }

  /** By a scan. What answers already stays where it is, which may be by HTTPS. */
  found(found: Found): void {
    const one = this.#byMac.get(found.identity.mac);
    if (one !== undefined && isMissing(one.state)) this.#at(found);
  }

  #at({ identity: { mac }, address }: Found): void {
    const one = this.#byMac.get(mac);
    if (one === undefined) return;
    this.#report(one, { address: addressOf(address) });
    // Where it was all the time, there is nothing to record: it answers, and is called at once.
    if (one.state.reach === "lost" && one.state.address?.host === address.host) this.#fleet.hint(mac);
  }

  close(): void {
    this.#closed = true;
    this.#stopChanges();
    for (const one of this.#byId.values()) clearTimeout(one.timer);
  }

  #sync(id: string): void {
    if (this.#closed) return;
    const entry = this.#options.index.get(deviceKind, id);
    const here = this.#byId.get(id);
    const isMine = entry?.state.exists && entry.state.site === this.#options.site && this.#options.holds(laneOf(id));
    if (!isMine) {
      if (here !== undefined) this.#release(here);
      return;
    }
    if (here === undefined) this.#add(entry);
    else this.#change(here, entry.state);
  }

  #add({ id, state }: IndexEntry<DeviceState>): void {
    const mac = state.mac;
    const other = this.#byMac.get(mac);
    if (other !== undefined) {
      this.#options.logger.warn(
        { device: id, other: other.id, mac },
        "two organisations have this device; the first one drives it",
      );
      return;
    }
    const kept = keptOf(state, undefined, this.#options);
    const device = this.#fleet.keep(kept);
    const fresh = { found: undefined, tries: 0, readAt: 0, reading: false, stale: false, timer: undefined, timerAt: 0 };
    const one: Watched = { id, mac, device, state, kept, ...fresh };
    this.#byId.set(id, one);
    this.#byMac.set(mac, one);
    if (state.identity === null) void this.#recognise(one);
  }

  /** Nothing is known of it but where it is: its generation decides how it is spoken to. */
  async #recognise(one: Watched): Promise<void> {
    const { address, identity } = one.state;
    if (address === null || identity !== null) return;
    try {
      const found = await lookAt(addressIn(one.state), this.#fleet.gate, LOOK_MS);
      if (this.#byId.get(one.id) !== one) return;
      if (found.identity.mac === one.mac) {
        one.found = found.identity;
        this.#keep(one);
        return;
      }
    } catch (error) {
      if (!(error instanceof DeviceFailure))
        this.#options.logger.error({ err: error, device: one.id }, "not looked at");
    }
    one.tries += 1;
    this.#later(one, 500 + backoffMs(one.tries, Math.random()), () => void this.#recognise(one));
  }

  #later(one: Watched, ms: number, work: () => void): void {
    clearTimeout(one.timer);
    one.timerAt = performance.now() + ms;
    one.timer = setTimeout(() => {
      one.timer = undefined;
      if (this.#byId.get(one.id) === one && !this.#closed) work();
    }, ms);
  }

  #change(one: Watched, state: DeviceState): void {
    const before = one.state;
    one.state = state;
    this.#keep(one);
    if (!sameJson(state.address, before.address)) {
      // In vain it was called elsewhere: that says nothing of here.
      if (state.identity === null) void this.#recognise(one);
      else this.#fleet.hint(one.mac);
    }
    if (!sameJson(state.credentials, before.credentials) || (before.rejected !== null && state.rejected === null)) {
      one.device.forgetCredentials();
      one.readAt = 0;
      this.#fleet.hint(one.mac);
    }
  }

  #keep(one: Watched): void {
    const kept = keptOf(one.state, one.found, this.#options);
    if (sameJson(kept, one.kept)) return;
    one.kept = kept;
    one.device = this.#fleet.keep(kept);
  }

  #release(one: Watched): void {
    clearTimeout(one.timer);
    this.#byId.delete(one.id);
    this.#byMac.delete(one.mac);
    this.#offers.forget(one.id);
    void this.#fleet.release(one.mac);
  }

  #seen(mac: string, identity: Identity, _: Address): void {
    const one = this.#byMac.get(mac);
    if (one === undefined) return;
    this.#report(one, { reach: "reachable" });
    // What it is was not known: of another generation it is spoken to otherwise.
    if (one.state.identity === null || one.state.firmware?.build !== identity.firmware) this.#read(one, 0);
  }

  /** The counters in it say whether the configuration is as it was read. */
  #status(mac: string, status: JsonObject): void {
    const one = this.#byMac.get(mac);
    if (one === undefined) return;
    // It answers again who was shut out, or asks nobody any more.
    if (one.state.authentication.state === "locked-out" || one.state.authentication.state === "rejected") {
      this.#report(one, { authentication: { state: one.device.identity.login ? "accepted" : "open" } });
    }
    this.#offers.status(one.id, one.state, status);
    if (one.reading) return;
    const isOld = performance.now() - one.readAt > this.#options.readAfterMs && one.readAt > 0;
    if (isOld || one.state.observedAt === null || !sameJson(revisionsOf(status), one.state.revisions)) {
      this.#read(one, SETTLE_MS);
    } else if (one.readAt === 0) one.readAt = performance.now();
  }

  #touched(mac: string): void {
    const one = this.#byMac.get(mac);
    if (one === undefined) return;
    const status = this.#fleet.status(mac);
    if (one.state.observedAt === null || status === undefined || !sameJson(revisionsOf(status), one.state.revisions)) {
      this.#read(one, SETTLE_MS);
    }
  }

  #read(one: Watched, inMs: number): void {
    if (one.reading) {
      one.stale = true;
      return;
    }
    // What wakes for seconds is not left to a later try.
    if (one.timer !== undefined && one.timerAt <= performance.now() + inMs) return;
    this.#later(one, inMs, () => void this.#readNow(one));
  }

  /** Never rejects. */
  async #readNow(one: Watched): Promise<void> {
    one.reading = true;
    one.stale = false;
    let again: number | undefined;
    try {
      const report = await this.#reads.pass(() => one.device.report());
      if (this.#byId.get(one.id) !== one) return;
      const seen = observedOf(report, this.#offers.ofDevices).report;
      this.#report(one, seen);
      one.readAt = performance.now();
      void this.#offers.read(one.id, { ...one.state, ...seen });
    } catch (error) {
      if (!(error instanceof DeviceFailure)) {
        this.#options.logger.error({ err: error, device: one.id }, "a device could not be read");
      }
      // A login that is refused is told where it was refused; it is read when it changes.
      const waits = error instanceof DeviceFailure && error.again.when !== "after";
      if (!waits && one.state.identity?.sleeps !== true) again = READ_AGAIN_MS;
      if (error instanceof DeviceFailure) this.#trouble(one.mac, error);
    } finally {
      one.reading = false;
    }
    if (one.stale) this.#read(one, SETTLE_MS);
    else if (again !== undefined) this.#read(one, again);
  }

  #trouble(mac: string, why: DeviceFailure): void {
    const one = this.#byMac.get(mac);
    if (one === undefined) return;
    switch (why.kind) {
      case "wrong-credentials":
        if (one.state.identity === null) this.#report(one, strangerOf(one.device.identity.shelly) ?? {});
        if (why.again.when !== "after") this.#report(one, { authentication: { state: "rejected" } });
        return;
      case "locked-out": {
        const ms = why.again.when === "after" ? why.again.ms : 0;
        const until = new Date(Date.now() + ms).toISOString();
        if (one.state.authentication.state === "locked-out") return;
        this.#report(one, { authentication: { state: "locked-out", until } });
        return;
      }
      case "certificate-changed":
        if (why.fingerprint !== undefined) this.#report(one, { fingerprint: why.fingerprint });
        return;
      default:
        this.#options.logger.debug({ device: one.id, kind: why.kind, reason: why.reason }, "trouble with a device");
    }
  }

  #moved(mac: string, address: Address): void {
    const one = this.#byMac.get(mac);
    if (one === undefined) return;
    this.#report(one, {
      address: { ...one.state.address, ...addressOf(address) },
      ...(address.pin === undefined ? {} : { fingerprint: address.pin }),
    });
  }

  #sampled(mac: string, samples: ReadonlyArray<Sample>): void {
    const one = this.#byMac.get(mac);
    if (one !== undefined) this.#options.samples(one.state, samples);
  }

  #tell(mac: string, report: Parameters<Recorder["report"]>[2]): void {
    const one = this.#byMac.get(mac);
    if (one !== undefined) this.#report(one, report);
  }

  #report(one: Watched, report: Parameters<Recorder["report"]>[2]): void {
    this.#options.recorder.report(one.id, one.mac, report);
  }
}
