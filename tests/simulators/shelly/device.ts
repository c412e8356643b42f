/** What every simulated device is, of whatever generation: an identity at an address, with power, a network, faults and counters. */
import type { Clock } from "./clock.ts";
import type { DeviceHandle, DeviceSpec, Fault, Json, JsonObject, Stats, Timing } from "./face.ts";

/** What a device knows of the fleet that it stands in. */
export interface World {
  readonly clock: Clock;
  readonly timing: Timing;
  readonly networks?: Readonly<Record<string, string | null>>;
  readonly port: () => number;
  readonly tlsPort: () => number;
  /** Another address, or a change of what mDNS says. */
  readonly changed: (device: Device, was?: string) => void;
  /** The children of a range extender. */
  readonly children: (device: Device) => readonly Device[];
  readonly fingerprint: (device: Device) => string;
}

/** What is cut when a device goes away. */
export interface Cuttable {
  destroy(): unknown;
}

/** Of a password for a network. */
export interface Station {
  readonly enable: boolean;
  readonly ssid: string | null;
  readonly password: string | null;
}

export abstract class Device implements DeviceHandle {
  readonly mac: string;
  readonly spec: DeviceSpec;
  readonly world: World;
  address: string;
  /** A child of a range extender: the port at its parent. */
  mport: number | undefined;
  /** And the address that its parent gives it. */
  inner: string | undefined;
  abstract readonly id: string;
  abstract readonly model: string;
  abstract readonly generation: 1 | 2 | 3 | 4;
  abstract readonly sleeper: boolean;
  readonly stats: Stats = {
    requests: 0,
    failedLogins: 0,
    logins: 0,
    challenges: 0,
    refusals: 0,
    mostAtOnce: 0,
    connections: 0,
    boots: 0,
    calls: {},
  };
  /** Milliseconds of the device's own clock. */
  bootedAt = 0;
  #powered = true;
  #changing: (() => void) | undefined;
  #up = false;
  #awake = false;
  #joined = true;
  #inFlight = 0;
  #faults: Array<{ fault: Fault; left: number }> | undefined;
  #connections: Set<Cuttable> | undefined;
  #cancelSleep: (() => void) | undefined;
  #cancelBoot: (() => void) | undefined;

  constructor(spec: DeviceSpec, mac: string, address: string, world: World) {
    this.spec = spec;
    this.mac = mac;
    this.address = address;
    this.world = world;
  }

  now(): number {
    return this.world.clock.now() + (this.spec.clockSkewMs ?? 0);
  }

  /** Seconds. */
  get uptime(): number {
    return Math.max(0, Math.floor((this.now() - this.bootedAt) / 1000));
  }

  get online(): boolean {
    return this.#powered && this.#up && this.#joined && (!this.sleeper || this.#awake);
  }

  get awake(): boolean {
    return this.#awake;
  }

  get port(): number {
    return this.mport ?? this.world.port();
  }

  get url(): string {
    return `http://${this.address}:${this.port}`;
  }

  get tlsUrl(): string {
    return `https://${this.address}:${this.world.tlsPort()}`;
  }

  get fingerprint(): string {
    return this.world.fingerprint(this);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  abstract config(component?: string): Json;
  abstract status(component?: string): Json;
  abstract stored(): JsonObject;
  abstract change(component: string, config: JsonObject): void;
  abstract sense(component: string, status: JsonObject): void;
  abstract press(id?: number): void;
  abstract setPassword(password: string | null): void;
  /** Has booted, or woken. */
  protected abstract started(): void;
  /** Is about to sleep. */
  protected abstract falling(): void;
  /** Where it would connect to, in the order in which it tries. */
  protected abstract stations(): readonly Station[];
  /** Something else than Wi-Fi connects it. */
  protected abstract wired(): boolean;

  /** Comes up for the first time, at once; as if it had run for an hour. */
  start(): void {
    this.#up = true;
    this.stats.boots = 1;
    this.bootedAt = this.now() - 3_600_000;
    this.#join();
    if (!this.sleeper) this.started();
    else this.#wakeLater();
  }

  /** Ends everything that it would still do. */
  stop(): void {
    this.#powered = false;
    this.#cancelSleep?.();
    this.#cancelBoot?.();
    this.cut();
  }

  reboot(): void {
    this.restart(0);
  }

  /**
   * Goes down in `ms`, and comes up again.
   * @param changing what is another when it comes up, whoever sends it down: new firmware does not run before
   */
  restart(ms: number, changing?: () => void): void {
    const { clock, timing } = this.world;
    this.#changing = changing ?? this.#changing;
    this.#cancelBoot?.();
    this.#cancelBoot = clock.after(ms, () => {
      this.#up = false;
      this.#changing?.();
      this.#changing = undefined;
      this.cut();
      this.#cancelBoot = clock.after(timing.bootMs, () => this.#boot());
    });
  }

  #boot(): void {
    if (!this.#powered) return;
    this.#up = true;
    this.stats.boots++;
    this.bootedAt = this.now();
    this.rebooted();
    this.#join();
    if (this.sleeper) this.wake();
    else this.started();
  }

  /** What a boot resets, before anything is sent. */
  protected abstract rebooted(): void;

  power(on: boolean): void {
    if (on === this.#powered) return;
    this.#powered = on;
    this.#cancelBoot?.();
    if (on) this.#cancelBoot = this.world.clock.after(this.world.timing.bootMs, () => this.#boot());
    else {
      this.#up = false;
      this.cut();
    }
  }

  wake(): void {
    if (!this.sleeper) throw new Error(`${this.id} never sleeps`);
    this.#awake = true;
    this.#cancelSleep?.();
    this.#cancelSleep = this.world.clock.after(this.world.timing.awakeMs, () => this.sleep());
    this.started();
  }

  sleep(): void {
    if (!this.sleeper || !this.#awake) return;
    this.#cancelSleep?.();
    this.falling();
    this.#awake = false;
    // What was just sent still leaves.
    this.world.clock.after(5, () => !this.#awake && this.cut());
    this.#wakeLater();
  }

  #wakeLater(): void {
    const { wakeEveryMs } = this.world.timing;
    if (wakeEveryMs > 0) this.#cancelSleep = this.world.clock.after(wakeEveryMs, () => this.#powered && this.wake());
  }

  moveTo(address: string): void {
    const was = this.address;
    this.address = address;
    this.cut();
    this.world.changed(this, was);
    if (this.online) this.started();
  }

  /** The network that it is on, if any. */
  network: string | null = null;

  #join(): void {
    const { networks } = this.world;
    const joined = this.stations().find(
      ({ enable, ssid, password }) =>
        enable &&
        ssid !== null &&
        (networks === undefined || (ssid in networks && (networks[ssid] === null || networks[ssid] === password))),
    );
    this.network = joined?.ssid ?? null;
    this.#joined = joined !== undefined || this.wired();
  }

  /** Its Wi-Fi has changed: it leaves, and comes back if it finds a network. The answer still goes out before. */
  rejoin(): void {
    this.world.clock.after(this.world.timing.rebootMs, () => {
      this.cut();
      this.#join();
      if (this.online) this.started();
    });
  }

  fault(fault: Fault): void {
    this.#faults = [...(this.#faults ?? []), { fault, left: fault.times ?? Number.POSITIVE_INFINITY }];
  }

  heal(): void {
    this.#faults = undefined;
  }

  /** The fault that a request for `what` meets, and is used up by. */
  meets(what: string): Fault | undefined {
    const found = this.#faults?.find(({ fault }) => fault.match === undefined || what.includes(fault.match));
    if (found === undefined) return undefined;
    if (--found.left <= 0) this.#faults = this.#faults!.filter((one) => one !== found);
    return found.fault;
  }

  /** @returns how it ends. */
  begin(what: string): () => void {
    this.stats.requests++;
    this.stats.calls[what] = (this.stats.calls[what] ?? 0) + 1;
    this.#inFlight++;
    this.stats.mostAtOnce = Math.max(this.stats.mostAtOnce, this.#inFlight);
    let open = true;
    return () => {
      if (open) this.#inFlight--;
      open = false;
    };
  }

  attach(connection: Cuttable): void {
    this.#connections ??= new Set();
    this.#connections.add(connection);
  }

  detach(connection: Cuttable): void {
    this.#connections?.delete(connection);
  }

  cut(): void {
    const all = [...(this.#connections ?? [])];
    this.#connections = undefined;
    for (const one of all) one.destroy();
  }
}
