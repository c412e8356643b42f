/** A Gen2, Gen3 or Gen4 device: components with configuration and status, calls by name, notifications to whoever has spoken. */
import { DigestLogin, isObject, messageOf } from "./auth.ts";
import { merge } from "./checks.ts";
import { Device, type Station, type World } from "./device.ts";
import type { DeviceSpec, Dialect, Json, JsonObject } from "./face.ts";
import type { Methods, RpcSource } from "./methods/keys.ts";
import { methodsOf } from "./methods/methods.ts";
import { RpcError } from "./methods/rpc-error.ts";
import type { RpcModel } from "./models/gen2.ts";
import { Outbound } from "./outbound.ts";
import { clone, type Dynamic, type Part } from "./parts.ts";
import { Stores } from "./stores.ts";

/** Somebody who has sent a frame and is told what happens. */
export interface Channel {
  /** Their `src`. */
  peer: string | undefined;
  send(text: string): void;
}

const NO_RULES = { checks: {}, secret: [], kept: [] };
const AT_HOME = "Simulated";

export class RpcDevice extends Device {
  readonly id: string;
  readonly type: RpcModel;
  readonly generation: 2 | 3 | 4;
  login: DigestLogin;
  readonly stores: Stores;
  profile: string;
  version: string;
  build: string;
  restartRequired = false;
  /** Taken and never shown: `wifi.sta.pass`. */
  secrets: JsonObject = {};
  /** By name, `cfg_rev` among them. */
  revisions: Record<string, number> = { cfg_rev: 12, schedule_rev: 1 };
  resetReason = 3;
  readonly #configs = new Map<string, JsonObject>();
  readonly #statuses = new Map<string, JsonObject>();
  #dynamic: Map<string, Dynamic> | undefined;
  #channels: Set<Channel> | undefined;
  readonly #outbound: Outbound;
  #methods: Methods | undefined;

  constructor(spec: DeviceSpec, type: RpcModel, mac: string, address: string, world: World) {
    super(spec, mac, address, world);
    this.type = type;
    this.generation = type.generation;
    this.id = type.wall === true ? `${type.prefix}-${mac}` : `${type.prefix}-${mac.toLowerCase()}`;
    this.version = spec.version ?? type.version;
    this.build = spec.version === undefined ? type.build : `20260101-120000/${spec.version}-gabcdef0`;
    this.profile = spec.profile ?? Object.keys(type.profiles)[0]!;
    if (type.profiles[this.profile] === undefined) throw new Error(`${type.model} has no profile ${this.profile}`);
    this.login = this.#door();
    this.login.setPassword(spec.password ?? null);
    this.stores = new Stores(this);
    this.#outbound = new Outbound(this);
    this.#preset();
  }

  get dialect(): Dialect {
    return this.spec.dialect ?? (this.type.wall === true ? "wall" : dialectOf(this.version));
  }

  /** By the firmware that it runs: an update changes it. */
  #door(): DigestLogin {
    const { stats, dialect, id: realm } = this;
    return new DigestLogin({
      dialect,
      realm,
      now: () => this.now(),
      stats,
      nonceHoldMs: this.world.timing.nonceHoldMs,
    });
  }

  get model(): string {
    return this.type.model;
  }

  get sleeper(): boolean {
    return this.type.sleeper === true;
  }

  /** How it comes out of the box, with what the fleet wants of it. */
  #preset(): void {
    const { spec, world } = this;
    const ssid = Object.keys(world.networks ?? {})[0] ?? AT_HOME;
    this.#put("wifi", { sta: { ssid } });
    this.secrets["wifi.sta.pass"] = world.networks?.[ssid] ?? null;
    if (spec.name !== undefined) this.#put("sys", { device: { name: spec.name } });
    if (spec.outbound !== undefined) this.#put("ws", { enable: true, server: spec.outbound });
    if (spec.https === "enforced") this.#put("sys", { device: { enhanced_security: true } });
    for (const [key, config] of Object.entries(spec.config ?? {})) if (isObject(config)) this.#put(key, config);
  }

  /** Without checks; keys that it does not have are not added. */
  #put(key: string, patch: JsonObject): void {
    const merged = merge(this.configOf(key), patch, NO_RULES);
    if (typeof merged !== "string") this.#configs.set(key, merged.value);
  }

  /** Forgets everything that anybody has set. */
  wipe(): void {
    this.#configs.clear();
    this.#statuses.clear();
    this.#dynamic = new Map();
    this.secrets = {};
    this.stores.wipe();
    this.login.setPassword(null);
    this.#configs.set("wifi", merged(this.configOf("wifi"), { sta: { ssid: null, enable: false } }));
  }

  // What it says of itself.

  part(key: string): Part | undefined {
    return this.type.profiles[this.profile]![key];
  }

  keys(): string[] {
    return Object.keys(this.type.profiles[this.profile]!).sort();
  }

  get dynamic(): Map<string, Dynamic> {
    if (this.#dynamic === undefined) this.#dynamic = new Map(Object.entries(structuredClone(this.type.dynamic ?? {})));
    return this.#dynamic;
  }

  configOf(key: string): JsonObject {
    const made = this.dynamic.get(key)?.config ?? this.#configs.get(key) ?? this.part(key)?.config(this) ?? {};
    if (key !== "sys") return made;
    const device = { ...(made.device as JsonObject), fw_id: this.build };
    return { ...made, device, cfg_rev: this.revisions.cfg_rev ?? 0 };
  }

  statusOf(key: string): JsonObject {
    const made = this.dynamic.get(key);
    if (made !== undefined) return made.status;
    if (key === "sys") return this.#sys();
    if (key === "wifi") return this.#wifi();
    if (key === "ws") return { connected: this.#outbound.connected };
    return { ...this.part(key)?.status(this), ...this.#statuses.get(key) };
  }

  override config(component?: string): Json {
    if (component !== undefined) return clone(this.configOf(component));
    const all = [...this.keys(), ...this.stores.scriptKeys()];
    return Object.fromEntries(
      all.map((key) => [key, key.startsWith("script:") ? this.stores.scriptConfig(key) : this.configOf(key)]),
    );
  }

  override status(component?: string): Json {
    if (component !== undefined) return clone(this.statusOf(component));
    const all = [...this.keys(), ...this.stores.scriptKeys()];
    return Object.fromEntries(
      all.map((key) => [key, key.startsWith("script:") ? this.stores.scriptStatus(key) : this.statusOf(key)]),
    );
  }

  override stored(): JsonObject {
    return this.stores.shown();
  }

  #sys(): JsonObject {
    const time = new Date(this.now());
    const { updates } = this.spec;
    const available = Object.entries(updates ?? {}).filter(([, release]) => release.version !== this.version);
    const slept = { wakeup_reason: { boot: "deepsleep_wake", cause: "periodic" }, wakeup_period: 7200 };
    return {
      mac: this.mac,
      restart_required: this.restartRequired,
      time: time.toISOString().slice(11, 16),
      unixtime: Math.floor(this.now() / 1000),
      last_sync_ts: Math.floor(this.now() / 1000) - 600,
      uptime: this.uptime,
      ram_size: 260_000,
      ram_free: 120_000,
      ram_min_free: 96_000,
      fs_size: 524_288,
      fs_free: 188_416,
      cfg_rev: this.revisions.cfg_rev ?? 0,
      kvs_rev: this.revisions.kvs_rev ?? 0,
      webhook_rev: this.revisions.webhook_rev ?? 0,
      ...Object.fromEntries(this.type.revisions.map((name) => [name, this.revisions[name] ?? 0])),
      available_updates: Object.fromEntries(available.map(([stage, { version }]) => [stage, { version }])),
      ...(this.type.alt === undefined ? {} : { alt: this.type.alt }),
      ...(this.sleeper ? slept : {}),
      reset_reason: this.resetReason,
      utc_offset: 3600,
    };
  }

  #wifi(): JsonObject {
    const on = this.network !== null;
    return {
      sta_ip: on ? (this.inner ?? this.address) : null,
      status: on ? "got ip" : "disconnected",
      ssid: this.network,
      bssid: on ? "02:00:00:00:00:01" : null,
      rssi: on ? -40 - (Number.parseInt(this.mac.slice(-2), 16) % 40) : 0,
      ...(this.dialect.startsWith("2") ? { channel: 4 } : {}),
      ...(this.generation === 2 && this.part("bthome") === undefined ? {} : { sta_ip6: ["fe80::1"] }),
    };
  }

  info(): JsonObject {
    const { name = null } = this.configOf("sys").device as JsonObject;
    const auth = this.login.ha1 !== null;
    const device = this.configOf("sys").device as JsonObject;
    return {
      name,
      id: this.id,
      mac: this.mac,
      slot: 0,
      model: this.model,
      gen: this.generation,
      fw_id: this.build,
      ver: this.version,
      app: this.type.app,
      auth_en: auth,
      auth_domain: auth ? this.id : null,
      ...(this.profile === "" ? {} : { profile: this.profile }),
      ...(device.discoverable === false ? { discoverable: false } : {}),
      ...clone(this.type.info ?? {}),
      ...(provisions(this.version) ? { provision: "complete" } : {}),
      ...("enhanced_security" in device ? { enhanced_security: device.enhanced_security! } : {}),
    };
  }

  // What changes.

  /** As `<Component>.SetConfig`. @throws RpcError. @returns whether a reboot is needed. */
  configure(key: string, patch: JsonObject): boolean {
    const made = this.dynamic.get(key);
    const part = this.part(key);
    const { checks = {}, secret = [], kept = [] } = part ?? {};
    const result = merge(this.configOf(key), patch, { checks, secret, kept: ["id", ...kept] });
    if (typeof result === "string") throw new RpcError(-103, `Invalid argument 'config': ${result}`);
    const changed = [...result.changed];
    for (const [path, value] of Object.entries(result.secrets)) {
      if (this.secrets[`${key}.${path}`] !== value) changed.push(path);
      this.secrets[`${key}.${path}`] = value;
    }
    if (changed.length === 0) return false;
    if (made !== undefined) made.config = result.value;
    else this.#configs.set(key, result.value);
    const restart =
      part?.restart === true || changed.some((path) => Array.isArray(part?.restart) && part.restart.includes(path));
    if (restart) this.restartRequired = true;
    this.revised("cfg_rev");
    this.event(key, "config_changed", { restart_required: restart, cfg_rev: this.revisions.cfg_rev! });
    if (key === "wifi" && changed.some((path) => path.startsWith("sta"))) this.rejoin();
    if (key === "sys" && changed.includes("device.name")) this.world.changed(this);
    return restart;
  }

  revised(revision: string): void {
    this.revisions[revision] = (this.revisions[revision] ?? 0) + 1;
    this.notify("NotifyStatus", { sys: { [revision]: this.revisions[revision]! } });
  }

  /** Changes status and tells of it. */
  patch(key: string, status: JsonObject): void {
    const made = this.dynamic.get(key);
    if (made !== undefined) made.status = { ...made.status, ...status };
    else this.#statuses.set(key, { ...this.#statuses.get(key), ...status });
    const id = idOf(key);
    this.notify("NotifyStatus", { [key]: { ...(id === undefined ? {} : { id }), ...status } });
  }

  event(component: string, event: string, more: JsonObject = {}): void {
    const id = idOf(component);
    const ts = this.now() / 1000;
    this.notify("NotifyEvent", {
      events: [{ component, ...(id === undefined ? {} : { id }), event, ...more, ts }],
    });
  }

  notify(method: "NotifyStatus" | "NotifyFullStatus" | "NotifyEvent", params: JsonObject): void {
    if (this.#channels === undefined || !this.online) return;
    for (const channel of this.#channels) {
      if (channel.peer === undefined) continue;
      const frame = { src: this.id, dst: channel.peer, method, params: { ts: this.now() / 1000, ...params } };
      channel.send(JSON.stringify(frame));
    }
  }

  join(channel: Channel): void {
    this.#channels ??= new Set();
    this.#channels.add(channel);
  }

  leave(channel: Channel): void {
    this.#channels?.delete(channel);
  }

  override change(component: string, config: JsonObject): void {
    this.configure(component, config);
  }

  override sense(component: string, status: JsonObject): void {
    this.patch(component, status);
  }

  override press(id = 0): void {
    const key = `input:${id}`;
    const { type, name: _ } = this.configOf(key);
    if (type === "button") this.event(key, "single_push");
    else this.patch(key, { state: this.statusOf(key).state !== true });
    const output = ["switch", "light", "rgb", "rgbw"].map((kind) => `${kind}:${id}`).find((one) => this.part(one));
    if (output !== undefined) this.patch(output, { output: this.statusOf(output).output !== true, source: "switch" });
  }

  override setPassword(password: string | null): void {
    this.login.setPassword(password);
  }

  /** Another profile: what was set for the old one is gone, schedules and webhooks, too. */
  reprofile(name: string): void {
    const gone = this.keys().filter((key) => key.includes(":"));
    for (const key of gone) {
      this.#configs.delete(key);
      this.#statuses.delete(key);
    }
    this.profile = name;
    this.#methods = undefined;
    const { device } = this.configOf("sys");
    this.#configs.set("sys", { ...this.configOf("sys"), device: { ...(device as JsonObject), profile: name } });
    this.stores.forgetJobs();
  }

  // Calls.

  get methods(): Methods {
    this.#methods ??= methodsOf(this.type, this.profile);
    return this.#methods;
  }

  /** @throws RpcError. */
  call(method: string, params: JsonObject, source: RpcSource): Json {
    const found = this.methods.get(method.toLowerCase());
    if (found === undefined) throw new RpcError(404, `No handler for ${method}`);
    return found.run(this, params, source);
  }

  /**
   * What a frame is answered with.
   * @param trusted the channel needs no login (outbound WebSocket; HTTP with a header that was right).
   */
  answer(frame: JsonObject, source: RpcSource, trusted: boolean): JsonObject {
    const { id = null, src, method, params, auth } = frame;
    const head = { id, src: this.id, ...(typeof src === "string" ? { dst: src } : {}) };
    try {
      if (typeof method !== "string") throw new RpcError(-103, "Missing required argument 'method'!");
      if (!trusted && method.toLowerCase() !== "shelly.getdeviceinfo") {
        const verdict = this.login.frame(auth);
        if (verdict.status === 401) throw new RpcError(401, messageOf(verdict.challenge));
        if (verdict.status === 429) throw new RpcError(429, verdict.text);
      }
      if (params !== undefined && params !== null && !isObject(params)) {
        throw new RpcError(-103, "Invalid argument 'params'!");
      }
      return { ...head, result: this.call(method, isObject(params) ? params : {}, source) };
    } catch (error) {
      if (error instanceof RpcError) return { ...head, error: { code: error.code, message: error.message } };
      throw error;
    }
  }

  // Comings and goings.

  protected override rebooted(): void {
    this.restartRequired = false;
    this.resetReason = 3;
    const { ha1 } = this.login;
    this.login = this.#door();
    this.login.ha1 = ha1;
    for (const [key, { output, current_pos }] of [...this.#statuses]) {
      const { initial_state } = this.configOf(key);
      this.#statuses.delete(key);
      if (initial_state === "restore_last" && output !== undefined) this.#statuses.set(key, { output });
      if (initial_state === "on") this.#statuses.set(key, { output: true });
      if (current_pos !== undefined)
        this.#statuses.set(key, { current_pos, state: current_pos === 0 ? "closed" : "stopped" });
    }
    this.stores.rebooted();
  }

  protected override started(): void {
    this.#outbound.dial();
    this.stores.started();
  }

  protected override falling(): void {
    this.event("sys", "sleep");
  }

  override stop(): void {
    this.#outbound.stop();
    this.stores.stop();
    super.stop();
  }

  protected override wired(): boolean {
    return this.part("eth") !== undefined && this.configOf("eth").enable === true;
  }

  protected override stations(): Station[] {
    const wifi = this.configOf("wifi");
    return ["sta", "sta1"].map((key) => {
      const { enable, ssid } = wifi[key] as JsonObject;
      const password = this.secrets[`wifi.${key}.pass`];
      return {
        enable: enable === true,
        ssid: typeof ssid === "string" ? ssid : null,
        password: typeof password === "string" ? password : null,
      };
    });
  }
}

const merged = (current: JsonObject, patch: JsonObject): JsonObject => {
  const result = merge(current, patch, NO_RULES);
  return typeof result === "string" ? current : result.value;
};

/** 0 of `switch:0`; none of `sys`. */
export const idOf = (key: string): number | undefined => {
  const id = key.split(":")[1];
  return id === undefined ? undefined : Number(id);
};

const dialectOf = (version: string): Dialect =>
  Number(version.split(".")[0]) < 2 ? "1.x" : /^2\.0\.0/.test(version) ? "2.0.0" : "2.0.1";

/** From 1.7.5 on they say how far secure provisioning is (captured). */
const provisions = (version: string): boolean => {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
  return major * 10_000 + minor * 100 + patch >= 10_705;
};
