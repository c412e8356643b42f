/**
 * The components of Gen2+ devices: what each answers to GetConfig and GetStatus when nobody has changed anything, what its configuration
 * may hold, and which changes take a reboot. Shapes: captured where a model of the captures has the component, else documented.
 */
import { bool, type Check, endpoint, ipv4, oneOf, range, refused, text, url } from "./checks.ts";
import type { Json, JsonObject } from "./face.ts";

/** What a component may know of its device. */
export interface Live {
  readonly mac: string;
  readonly id: string;
  readonly address: string;
  readonly online: boolean;
  /** Milliseconds, the device's own clock. */
  now(): number;
}

export interface Part {
  config(d: Live): JsonObject;
  status(d: Live): JsonObject;
  readonly checks?: Readonly<Record<string, Check>>;
  readonly secret?: readonly string[];
  readonly kept?: readonly string[];
  /** Paths whose change takes a reboot; true: every. */
  readonly restart?: true | readonly string[];
}

const name = { name: text(64) };
const minuteOf = (d: Live) => Math.floor(d.now() / 60_000) * 60;
const energy = (d: Live, total: number): JsonObject => ({ total, by_minute: [0, 0, 0], minute_ts: minuteOf(d) });
export const celsius = (tC: number): JsonObject => ({ tC, tF: Math.round((tC * 1.8 + 32) * 10) / 10 });

const plain = (config: JsonObject, status: JsonObject, more: Partial<Part> = {}): Part => ({
  config: () => structuredClone(config),
  status: () => structuredClone(status),
  ...more,
});

export const input = (id: number, type = "switch"): Part => ({
  config: () => ({ id, name: null, type, enable: true, invert: false, factory_reset: true }),
  status: () => ({ id, state: type === "button" ? null : false }),
  checks: { ...name, type: oneOf("switch", "button", "analog", "count") },
});

const AUTO = { auto_on_delay: range(0, 86_400), auto_off_delay: range(0, 86_400) };
const LIMITS = {
  power_limit: range(0, 2800, true),
  voltage_limit: range(0, 280, true),
  undervoltage_limit: range(0, 280, true),
  current_limit: range(0, 16, true),
};

export interface SwitchOptions {
  /** Measures power; `returned`: also what comes back. */
  readonly meter?: "power" | "returned";
  readonly maxCurrent?: number;
}

export const relay = (id: number, { meter, maxCurrent = 10 }: SwitchOptions = {}): Part => ({
  config: () => ({
    id,
    name: null,
    in_mode: "follow",
    in_locked: false,
    initial_state: "match_input",
    auto_on: false,
    auto_on_delay: 60,
    auto_off: false,
    auto_off_delay: 60,
    ...(meter === undefined
      ? {}
      : {
          power_limit: 2800,
          voltage_limit: 280,
          undervoltage_limit: 0,
          autorecover_voltage_errors: false,
          current_limit: maxCurrent,
        }),
    ...(meter === "returned" ? { reverse: false } : {}),
  }),
  status: (d) => ({
    id,
    source: "init",
    output: false,
    ...(meter === undefined
      ? {}
      : { apower: 0, voltage: 230.1, freq: 50, current: 0, pf: 0, aenergy: energy(d, 1.5 + id) }),
    ...(meter === "returned" ? { ret_aenergy: energy(d, 0) } : {}),
    temperature: celsius(44.4),
  }),
  checks: {
    ...name,
    ...AUTO,
    ...LIMITS,
    in_mode: oneOf("momentary", "follow", "flip", "detached", "cycle", "activate"),
    initial_state: oneOf("off", "on", "restore_last", "match_input"),
  },
});

export const cover = (id: number): Part => ({
  config: () => ({
    id,
    name: null,
    motor: { idle_power_thr: 2, idle_confirm_period: 0.25 },
    maxtime_open: 60,
    maxtime_close: 60,
    initial_state: "stopped",
    invert_directions: false,
    maintenance_mode: false,
    in_mode: "dual",
    in_locked: false,
    swap_inputs: false,
    safety_switch: { enable: false, direction: "both", action: "stop", allowed_move: null },
    power_limit: 2800,
    voltage_limit: 280,
    undervoltage_limit: 0,
    current_limit: 10,
    obstruction_detection: { enable: false, direction: "both", action: "stop", power_thr: 200, holdoff: 1 },
    slat: { enable: false, open_time: 1.5, close_time: 1.5, step: 20, retain_pos: false, precise_ctl: false },
  }),
  status: (d) => ({
    id,
    source: "init",
    state: "open",
    apower: 0,
    voltage: 231.2,
    current: 0,
    pf: 0,
    freq: 50,
    aenergy: energy(d, 12.25),
    temperature: celsius(41.3),
    pos_control: true,
    last_direction: "open",
    current_pos: 100,
  }),
  checks: {
    ...name,
    ...LIMITS,
    "motor.idle_power_thr": range(0, 50),
    "motor.idle_confirm_period": range(0.25, 2),
    maxtime_open: range(0.1, 300),
    maxtime_close: range(0.1, 300),
    initial_state: oneOf("open", "closed", "stopped"),
    in_mode: oneOf("single", "dual", "detached"),
    "safety_switch.direction": oneOf("open", "close", "both"),
    "obstruction_detection.direction": oneOf("open", "close", "both"),
    "obstruction_detection.holdoff": range(0.1, 300),
  },
});

const LIGHT_CONFIG = (id: number): JsonObject => ({
  id,
  name: null,
  in_mode: "follow",
  initial_state: "restore_last",
  auto_on: false,
  auto_on_delay: 60,
  auto_off: false,
  auto_off_delay: 60,
  transition_duration: 1,
  min_brightness_on_toggle: 3,
  night_mode: { enable: false, brightness: 50, active_between: [] },
  button_fade_rate: 3,
  button_presets: { button_doublepush: { brightness: 100 } },
});

/** `light`, `rgb`, `rgbw`, `cct`: the same, with what each can show. */
export const lamp = (id: number, shows: JsonObject = {}): Part => ({
  config: () => LIGHT_CONFIG(id),
  status: () => ({ id, source: "init", output: false, brightness: 50, ...structuredClone(shows) }),
  checks: {
    ...name,
    ...AUTO,
    transition_duration: range(0, 10_800),
    min_brightness_on_toggle: range(0, 100),
    "night_mode.brightness": range(0, 100),
    initial_state: oneOf("off", "on", "restore_last"),
  },
});

export const temperature = (id: number, threshold = 5): Part => ({
  config: () => ({ id, name: null, report_thr_C: threshold, offset_C: 0 }),
  status: () => ({ id, ...celsius(23.9) }),
  checks: { ...name, report_thr_C: range(0.5, 5), offset_C: range(-50, 50) },
});

export const humidity = (id: number): Part => ({
  config: () => ({ id, name: null, report_thr: 5, offset: 0 }),
  status: () => ({ id, rh: 48.2 }),
  checks: { ...name, report_thr: range(1, 20), offset: range(-50, 50) },
});

export const illuminance = (id: number): Part =>
  plain(
    { id, name: null, dark_thr: 50, bright_thr: 200 },
    { id, lux: 140, illumination: "twilight" },
    { checks: name },
  );

export const battery = (id: number): Part =>
  plain({}, { id, battery: { V: 5.6, percent: 81 }, external: { present: false } });

const PHASE = (phase: string): JsonObject => ({
  [`${phase}_current`]: 0.028,
  [`${phase}_voltage`]: 230.4,
  [`${phase}_act_power`]: 4.1,
  [`${phase}_aprt_power`]: 6.4,
  [`${phase}_pf`]: 0.64,
  [`${phase}_freq`]: 50,
});

export const em = (id: number): Part => ({
  config: () => ({
    id,
    name: null,
    blink_mode_selector: "active_energy",
    phase_selector: "all",
    monitor_phase_sequence: false,
    ct_type: "120A",
    reverse: {},
  }),
  status: () => ({
    id,
    ...PHASE("a"),
    ...PHASE("b"),
    ...PHASE("c"),
    n_current: null,
    total_current: 0.084,
    total_act_power: 12.3,
    total_aprt_power: 19.2,
    user_calibrated_phase: [],
  }),
  checks: {
    ...name,
    phase_selector: oneOf("a", "b", "c", "all"),
    blink_mode_selector: oneOf("active_energy", "apparent_energy", "reactive_energy"),
  },
  restart: ["ct_type"],
});

export const emdata = (id: number): Part =>
  plain(
    {},
    {
      id,
      ...Object.fromEntries(
        ["a", "b", "c"].flatMap((phase) => [
          [`${phase}_total_act_energy`, 815.25],
          [`${phase}_total_act_ret_energy`, 0],
        ]),
      ),
      total_act: 2445.75,
      total_act_ret: 0,
    },
  );

/** @param alarms the Mini EM has alarms and no choice of clamp (captured). */
export const em1 = (id: number, alarms = false): Part => ({
  config: () => ({
    id,
    name: null,
    reverse: false,
    ...(alarms
      ? { alarms: { voltage: [null, null], current: [null, null], power: [null, null] } }
      : { ct_type: "120A" }),
  }),
  status: () => ({
    id,
    voltage: 231.5,
    current: 0.028,
    act_power: 2.6,
    ...(alarms ? {} : { aprt_power: 6.5, pf: 0.4 }),
    freq: 50,
    calibration: "factory",
  }),
  checks: name,
  restart: ["ct_type"],
});

export const em1data = (id: number): Part => plain({}, { id, total_act_energy: 58.83, total_act_ret_energy: 0 });

/** @param enable null: from 2.0.0 on there is no such switch (captured). */
export const ble = (enable: boolean | null = false): Part =>
  plain({ ...(enable === null ? {} : { enable }), rpc: { enable: false } }, {}, { restart: ["enable"] });

export const bthome = (bluetoothOn: boolean): Part => plain({}, bluetoothOn ? {} : { errors: ["bluetooth_disabled"] });

export const cloud: Part = plain(
  { enable: false, server: "iot.shelly.cloud:6012/jrpc" },
  { connected: false },
  { checks: { server: text(255) } },
);

export const eth: Part = plain(
  { enable: false, server_mode: false, ipv4mode: "dhcp", ip: null, netmask: null, gw: null, nameserver: null },
  { ip: null, ip6: null },
  { checks: { ipv4mode: oneOf("dhcp", "static"), ip: ipv4, netmask: ipv4, gw: ipv4, nameserver: ipv4 }, restart: true },
);

export const knx: Part = plain(
  { enable: false, ia: "15.15.255", routing: { addr: "224.0.23.12:3671" } },
  {},
  { checks: { "routing.addr": endpoint }, restart: true },
);
export const matter = (enable = false): Part =>
  plain({ enable }, { num_fabrics: 0, commissionable: false }, { restart: true });
export const modbus: Part = plain({ enable: true }, {}, { restart: true });
export const zigbee: Part = plain({ enable: true }, {}, { restart: true });

export const mqtt: Part = {
  config: (d) => ({
    enable: false,
    server: null,
    client_id: d.id,
    user: null,
    ssl_ca: null,
    topic_prefix: d.id,
    rpc_ntf: true,
    status_ntf: false,
    use_client_cert: false,
    enable_rpc: true,
    enable_control: true,
  }),
  status: () => ({ connected: false }),
  checks: {
    server: endpoint,
    client_id: text(64),
    user: text(64),
    topic_prefix: text(300),
    ssl_ca: oneOf(null, "*", "ca.pem", "user_ca.pem"),
  },
  secret: ["pass"],
  restart: true,
};

export interface SysOptions {
  /** Fields of `device` after `eco_mode`. */
  readonly device?: JsonObject;
  readonly fileLog?: boolean;
  readonly ui?: JsonObject;
}

/** Its `fw_id`, `mac`, `cfg_rev` and its whole status are the device's own and filled in there. */
export const sys = ({ device = {}, fileLog = false, ui = {} }: SysOptions = {}): Part => ({
  config: (d) => ({
    device: { name: null, mac: d.mac, fw_id: "", discoverable: true, eco_mode: false, ...structuredClone(device) },
    location: { tz: "Europe/Berlin", lat: 52.5, lon: 13.4 },
    debug: {
      level: 2,
      file_level: null,
      mqtt: { enable: false },
      websocket: { enable: false },
      ...(fileLog ? { file_log: { enable: false } } : {}),
      udp: { addr: null },
    },
    ui_data: structuredClone(ui),
    rpc_udp: { dst_addr: null, listen_port: null },
    sntp: { server: "time.cloudflare.com" },
    cfg_rev: 0,
  }),
  status: () => ({}),
  checks: {
    "device.name": text(64),
    "device.addon_type": oneOf(null, "sensor", "prooutput", "LoRa"),
    "debug.level": range(0, 4),
    "debug.udp.addr": endpoint,
    "rpc_udp.dst_addr": endpoint,
    "rpc_udp.listen_port": range(0, 65_535, true),
    "location.tz": text(64),
    "location.lat": range(-90, 90, true),
    "location.lon": range(-180, 180, true),
    "sntp.server": text(255),
    "device.discoverable": bool,
  },
  kept: ["device.mac", "device.fw_id", "device.profile", "device.enhanced_security", "cfg_rev"],
  restart: ["device.eco_mode", "device.addon_type", "rpc_udp.dst_addr", "rpc_udp.listen_port"],
});

const STATION = (ssid: string | null, enable: boolean): JsonObject => ({
  ssid,
  is_open: ssid === null,
  enable,
  ipv4mode: "dhcp",
  ip: null,
  netmask: null,
  gw: null,
  nameserver: null,
});

export interface WifiOptions {
  /** `extends`: may be a range extender; `none`: no access point in the configuration (captured on a Mini Gen4). */
  readonly ap?: "extends" | "plain" | "none";
}

/** Its status is the device's own. */
export const wifi = ({ ap = "extends" }: WifiOptions = {}): Part => ({
  config: (d) => ({
    ...(ap === "none"
      ? {}
      : {
          ap: {
            ssid: d.id.replace(/-.*/, "-") + d.mac,
            is_open: true,
            enable: false,
            ...(ap === "extends" ? { range_extender: { enable: false } } : {}),
          },
        }),
    sta: STATION("", true),
    sta1: STATION(null, false),
    roam: { rssi_thr: -80, interval: 60 },
  }),
  status: () => ({}),
  checks: {
    "ap.is_open": refused,
    "sta.ssid": text(32),
    "sta1.ssid": text(32),
    "roam.rssi_thr": range(-100, 0),
    "roam.interval": range(0, 86_400),
    ...Object.fromEntries(
      ["sta", "sta1"].flatMap(
        (sta): Array<[string, Check]> => [
          [`${sta}.ipv4mode`, oneOf("dhcp", "static")],
          ...["ip", "netmask", "gw", "nameserver"].map((field): [string, Check] => [`${sta}.${field}`, ipv4]),
        ],
      ),
    ),
  },
  secret: ["ap.pass", "sta.pass", "sta1.pass"],
  restart: ["ap.range_extender.enable"],
});

export const ws: Part = plain(
  { enable: false, server: null, ssl_ca: "ca.pem" },
  { connected: false },
  { checks: { server: url, ssl_ca: oneOf(null, "*", "ca.pem", "user_ca.pem") }, restart: true },
);

/** Anything with a configuration and a status that nobody has described. */
export const odd = (config: JsonObject, status: JsonObject): Part => plain(config, status);

/** Kept beside configuration and status of what a user made: ids 200 to 299. */
export interface Dynamic {
  config: JsonObject;
  status: JsonObject;
  attrs?: JsonObject;
}

export type Parts = Readonly<Record<string, Part>>;
export const clone = <A extends Json>(value: A): A => structuredClone(value);
