/** A Gen1 device: one tree of settings, one of status, Basic login, CoIoT. */
import { isObject } from "./auth.ts";
import type { Burst } from "./coiot.ts";
import { Device, type Station, type World } from "./device.ts";
import type { DeviceSpec, Json, JsonObject } from "./face.ts";
import { setSetting } from "./gen1-settings.ts";
import type { Gen1Model, Gen1Shape, Sensor } from "./models/gen1-shape.ts";

export interface Action {
  readonly name: string;
  readonly index: number;
  enabled: boolean;
  urls: Json[];
}

/** Its fleet's sender of CoIoT; none where that is off. */
export type Sender = (device: Gen1Device, burst: Burst) => void;

const shapes = new WeakMap<Gen1Model, Map<string, Gen1Shape>>();

function shapeOf(model: Gen1Model, mode: string): Gen1Shape {
  const known = shapes.get(model) ?? new Map<string, Gen1Shape>();
  shapes.set(model, known);
  const shape = known.get(mode) ?? model.shape(mode);
  known.set(mode, shape);
  return shape;
}

/** `relays.0.ison` in a tree. */
export function at(tree: Json, path: string): Json | undefined {
  let now: Json | undefined = tree;
  for (const key of path.split(".")) {
    now = Array.isArray(now) ? now[Number(key)] : isObject(now) && Object.hasOwn(now, key) ? now[key] : undefined;
  }
  return now;
}

export class Gen1Device extends Device {
  readonly generation = 1;
  readonly id: string;
  readonly type: Gen1Model;
  readonly #sender: Sender | undefined;
  mode: string;
  fw: string;
  password: string | null;
  user = "admin";
  /** Wi-Fi keys and the password for MQTT: taken and never shown. */
  secrets: Record<string, string> = {};
  cfgChanged = 0;
  serial = 1;
  updating = false;
  #settings: JsonObject | undefined;
  #status: JsonObject | undefined;
  #actions: Action[] | undefined;

  constructor(spec: DeviceSpec, type: Gen1Model, mac: string, address: string, world: World, sender?: Sender) {
    super(spec, mac, address, world);
    this.type = type;
    this.id = `${type.prefix}-${mac}`;
    this.mode = spec.profile ?? type.modes[0]!;
    if (!type.modes.includes(this.mode)) throw new Error(`${type.model} has no mode ${this.mode}`);
    this.fw = spec.version ?? type.fw;
    this.password = spec.password ?? null;
    this.#sender = sender;
    const ssid = Object.keys(world.networks ?? {})[0];
    if (ssid !== undefined) this.secrets["wifi_sta.key"] = world.networks?.[ssid] ?? "";
  }

  get model(): string {
    return this.type.model;
  }

  get sleeper(): boolean {
    return this.type.sleeper === true;
  }

  get shape(): Gen1Shape {
    return shapeOf(this.type, this.mode);
  }

  // What it says of itself.

  shelly(): JsonObject {
    const { model: type, mac, fw } = this;
    const auth = this.password !== null;
    return { type, mac, auth, fw, discoverable: this.settings.discoverable!, longid: 1, ...this.shape.shelly };
  }

  /** Without what moves by itself. */
  get settings(): JsonObject {
    this.#settings ??= this.#fresh();
    return this.#settings;
  }

  /** Without what moves by itself. */
  get state(): JsonObject {
    this.#status ??= structuredClone(this.shape.status);
    return this.#status;
  }

  #fresh(): JsonObject {
    const { device, settings } = this.shape;
    const station = (ssid: string, enabled: boolean): JsonObject => ({
      ...{ enabled, ssid, ipv4_method: "dhcp", ip: null, gw: null, mask: null, dns: null },
    });
    const all: JsonObject = {
      device: { type: this.model, mac: this.mac, hostname: this.id, ...device },
      wifi_ap: { enabled: false, ssid: `${this.type.prefix}-${this.mac}`, key: "" },
      wifi_sta: station(Object.keys(this.world.networks ?? {})[0] ?? "Simulated", true),
      wifi_sta1: station("", false),
      ap_roaming: { enabled: false, threshold: -70 },
      mqtt: {
        ...{ enable: false, server: "192.168.33.3:1883", user: "", id: this.id, reconnect_timeout_max: 60 },
        ...{
          reconnect_timeout_min: 2,
          clean_session: true,
          keep_alive: 60,
          max_qos: 0,
          retain: false,
          update_period: 30,
        },
      },
      coiot: {
        ...{ enabled: true, update_period: 15, peer: this.spec.coiotPeer ?? "" },
        ...(this.model === "SHRGBW2" ? { execute_enable: false } : {}),
      },
      sntp: { server: "time.google.com", enabled: true },
      login: { enabled: false, unprotected: false, username: "admin" },
      pin_code: "",
      name: this.spec.name ?? null,
      pon_wifi_reset: false,
      discoverable: true,
      cloud: { enabled: false, connected: false },
      timezone: "Europe/Berlin",
      lat: 52.5,
      lng: 13.4,
      tzautodetect: true,
      tz_utc_offset: 3600,
      tz_dst: false,
      tz_dst_auto: true,
      led_status_disable: false,
      debug_enable: false,
      allow_cross_origin: false,
      hwinfo: { hw_revision: "dev-prototype", batch_id: 0 },
      eco_mode_enabled: true,
      ...structuredClone(settings),
    };
    for (const key of this.type.without ?? []) delete all[key];
    for (const [key, value] of Object.entries(this.spec.config ?? {})) {
      all[key] = isObject(value) && isObject(all[key]) ? { ...all[key], ...value } : value;
    }
    return all;
  }

  override config(component?: string): Json {
    const time = new Date(this.now());
    const [build, version] = this.fw.split("/");
    const stamp = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)/.exec(build ?? "");
    const whole: JsonObject = {
      ...this.settings,
      login: { enabled: this.password !== null, unprotected: false, username: this.user },
      fw: this.fw,
      build_info: {
        build_id: this.fw,
        build_timestamp:
          stamp === null ? "" : `${stamp[1]}-${stamp[2]}-${stamp[3]}T${stamp[4]}:${stamp[5]}:${stamp[6]}Z`,
        build_version: version === undefined ? "" : this.type.version,
      },
      time: time.toISOString().slice(11, 16),
      unixtime: Math.floor(this.now() / 1000),
      actions: { active: this.actions().some(({ enabled }) => enabled), names: [...this.type.actions] },
    };
    for (const list of ["relays", "lights"] as const) {
      const [set, shown] = [whole[list], this.state[list]];
      if (!Array.isArray(set) || !Array.isArray(shown)) continue;
      whole[list] = set.map((one, index) => mixed(one, shown[index]));
    }
    return component === undefined
      ? structuredClone(whole)
      : structuredClone(at(whole, component.replaceAll("/", ".")) ?? null);
  }

  override status(component?: string): Json {
    const time = new Date(this.now());
    const next = this.spec.updates?.stable?.version ?? this.fw;
    const whole: JsonObject = {
      wifi_sta: {
        connected: this.network !== null,
        ssid: this.network ?? "",
        ip: this.inner ?? this.address,
        rssi: -52,
      },
      cloud: structuredClone(this.settings.cloud!),
      mqtt: { connected: false },
      time: time.toISOString().slice(11, 16),
      unixtime: Math.floor(this.now() / 1000),
      serial: this.serial,
      has_update: next !== this.fw,
      mac: this.mac,
      cfg_changed_cnt: this.cfgChanged,
      actions_stats: { skipped: 0 },
      ...this.state,
      update: this.update(),
      ram_total: 51_688,
      ram_free: 39_720,
      fs_size: 233_681,
      fs_free: 150_851,
      uptime: this.uptime,
    };
    return component === undefined ? structuredClone(whole) : structuredClone(at(whole, component) ?? null);
  }

  update(): JsonObject {
    const { stable, beta } = this.spec.updates ?? {};
    const next = stable?.version ?? this.fw;
    const status = this.updating ? "updating" : next !== this.fw ? "pending" : "idle";
    return {
      status,
      has_update: next !== this.fw,
      new_version: next,
      old_version: this.fw,
      beta_version: beta?.version ?? "20231107-162940/v1.14.1-rc1-g0617c15",
    };
  }

  actions(): Action[] {
    if (this.#actions === undefined) {
      const counted = new Map<string, number>();
      this.#actions = this.type.actions.map((name) => {
        const index = counted.get(name) ?? 0;
        counted.set(name, index + 1);
        return { name, index, enabled: false, urls: [] };
      });
    }
    return this.#actions;
  }

  override stored(): JsonObject {
    const actions: Record<string, Json[]> = {};
    for (const { name, index, enabled, urls } of this.actions()) {
      actions[name] ??= [];
      actions[name].push({ index, urls: [...urls], enabled });
    }
    return { actions };
  }

  // What changes.

  configured(): void {
    this.cfgChanged++;
    this.tell();
  }

  /** Changes what stands at a path of the status, and tells of it. */
  put(path: string, values: JsonObject): void {
    const found = path === "" ? this.state : at(this.state, path);
    if (!isObject(found)) throw new Error(`${this.id} has no ${path}`);
    Object.assign(found, values);
    this.serial = (this.serial + 1) & 0xffff;
    this.tell();
  }

  tell(): void {
    if (this.online && isObject(this.settings.coiot) && this.settings.coiot.enabled === true) {
      this.#sender?.(this, this.burst());
    }
  }

  /** Where its CoIoT goes, if not to everybody. */
  get peer(): string {
    const { coiot } = this.settings;
    return isObject(coiot) && typeof coiot.peer === "string" ? coiot.peer : "";
  }

  burst(): Burst {
    const status = this.status();
    const measured = ({ from }: Sensor): Json | undefined => {
      const found = from.startsWith("settings:") ? at(this.settings, from.slice(9)) : at(status, from);
      return typeof found === "boolean" ? Number(found) : found;
    };
    const { coiot } = this.settings;
    const period = isObject(coiot) ? Number(coiot.update_period) : 15;
    return {
      device: `${this.model}#${this.mac}#2`,
      validitySeconds: this.sleeper ? 43_200 : Math.round(period * 2.5),
      serial: this.serial,
      payload: {
        G: this.shape.sensors.flatMap((sensor): Json[] => {
          const value = measured(sensor);
          return value === undefined ? [] : [[0, sensor.I, value]];
        }),
      },
    };
  }

  describe(): JsonObject {
    return {
      blk: this.shape.blocks.map(([I, D]) => ({ I, D })),
      sen: this.shape.sensors.map(({ from: _, ...said }) => said as JsonObject),
    };
  }

  override change(component: string, config: JsonObject): void {
    const texts = Object.entries(config).map(([key, value]): [string, string] => [
      key,
      value === null ? "" : String(value),
    ]);
    const wrong = setSetting(
      this,
      component === "" ? "/settings" : `/settings/${component}`,
      new URLSearchParams(texts),
    );
    if (wrong !== undefined) throw new Error(wrong);
  }

  override sense(component: string, status: JsonObject): void {
    this.put(component.replaceAll("/", "."), status);
  }

  override press(id = 0): void {
    const [input, relay] = [at(this.state, `inputs.${id}`), at(this.state, `relays.${id}`)];
    if (isObject(input)) {
      this.put(`inputs.${id}`, {
        input: input.input === 1 ? 0 : 1,
        event: "S",
        event_cnt: Number(input.event_cnt) + 1,
      });
    }
    if (isObject(relay)) this.put(`relays.${id}`, { ison: relay.ison !== true, source: "input" });
  }

  override setPassword(password: string | null): void {
    this.password = password;
  }

  /** Another mode: its outputs are others, and it reboots. */
  switchMode(mode: string): void {
    this.mode = mode;
    const { shape } = this;
    const { device } = this.settings;
    Object.assign(this.settings, structuredClone(shape.settings));
    this.settings.device = { ...(device as JsonObject), ...shape.device };
    this.#status = undefined;
    this.restart(this.world.timing.rebootMs);
  }

  wipe(): void {
    this.#settings = undefined;
    this.#actions = undefined;
    this.password = null;
    this.secrets = {};
    Object.assign(this.settings.wifi_sta as JsonObject, { enabled: false, ssid: "" });
    this.restart(this.world.timing.rebootMs);
  }

  // Comings and goings.

  protected override rebooted(): void {
    this.cfgChanged = 0;
    this.updating = false;
    const outputs = [this.state.relays, this.settings.relays];
    const [shown, set] = outputs;
    const kept = Array.isArray(shown) && Array.isArray(set) ? shown.map((one, i) => [one, set[i]] as const) : [];
    for (const [one, settings] of kept) {
      if (!isObject(one) || !isObject(settings)) continue;
      if (settings.default_state === "on") one.ison = true;
      else if (settings.default_state !== "last") one.ison = false;
    }
  }

  #ticking: (() => void) | undefined;

  protected override started(): void {
    this.tell();
    const { coiotMs } = this.world.timing;
    if (coiotMs <= 0 || this.sleeper || this.#sender === undefined) return;
    this.#ticking?.();
    const tick = () => {
      this.tell();
      this.#ticking = this.world.clock.after(coiotMs, tick);
    };
    this.#ticking = this.world.clock.after(coiotMs, tick);
  }

  protected override falling(): void {}

  override stop(): void {
    this.#ticking?.();
    super.stop();
  }

  protected override wired(): boolean {
    return false;
  }

  protected override stations(): Station[] {
    return ["wifi_sta", "wifi_sta1"].map((key) => {
      const { enabled, ssid } = this.settings[key] as JsonObject;
      const named = typeof ssid === "string" && ssid !== "" ? ssid : null;
      return { enable: enabled === true, ssid: named, password: this.secrets[`${key}.key`] ?? null };
    });
  }
}

/** The settings of an output show its state, too. */
function mixed(set: Json, shown: Json | undefined): Json {
  if (!isObject(set) || !isObject(shown)) return set;
  const both = Object.keys(set).filter((key) => key in shown && !["transition", "schedule", "name"].includes(key));
  return { ...set, ...Object.fromEntries(both.map((key) => [key, shown[key]!])) };
}
