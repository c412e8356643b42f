/**
 * Gen1's `/settings` and the fields of Gen2+ that say the same, as data. What is not listed here keeps its name: in its component
 * (`relays[0].appliance_type` → `switch:0`, `appliance_type`), or in `sys`, so that a model never seen has all its settings.
 * Names of reading and of writing differ (documented in the maker's reference of Gen1; `mask`/`netmask` and `button_type` seen on devices).
 */
import { type Codec, flag, map, mode, same, scaled, timer, window } from "./gen1-codec.ts";

/** How one setting is read, what it is called in a configuration, and how it is written. `#` is an index. */
export interface Mapping {
  /** Path in `/settings`. */
  readonly read: string;
  /** Component key; `#` the index, `+#` the index counted from 100, where add-ons stand. */
  readonly component: string;
  readonly codec: Codec;
  /** Path and parameter of the write. Left out: `/settings` of the component, and the name that it is read by. */
  readonly path?: string;
  readonly name?: string;
  /** A flag that is written as 0 or 1. */
  readonly numeric?: true;
  /** The device restarts by itself when this is written. */
  readonly reboots?: true;
  /** The device may not be found afterwards where and how it was. */
  readonly cutsOff?: true;
}

/** Lists of components in `/settings`: which component each is, and the path that writes it. */
export const CONTAINERS: Readonly<Record<string, { readonly component: string; readonly path: string }>> = {
  relays: { component: "switch:#", path: "/settings/relay/#" },
  rollers: { component: "cover:#", path: "/settings/roller/#" },
  inputs: { component: "input:#", path: "/settings/input/#" },
  emeters: { component: "em1:#", path: "/settings/emeter/#" },
  thermostats: { component: "thermostat:#", path: "/settings/thermostats/#" },
  adcs: { component: "voltmeter:#", path: "/settings/adc/#" },
  favorites: { component: "favorites:#", path: "/settings/favorites/#" },
  ext_temperature: { component: "temperature:+#", path: "/settings/ext_temperature/#" },
  ext_humidity: { component: "humidity:+#", path: "/settings/ext_humidity/#" },
  ext_switch: { component: "input:+#", path: "/settings/ext_switch/#" },
};

const INITIAL = { last: "restore_last", switch: "match_input" };
/** Buttons of a relay or light. What Gen2+ does not know (`action`, `momentary_on_release`) keeps its word. */
const BUTTON = { toggle: "follow", edge: "flip" };
const PROFILE = { relay: "switch", roller: "cover" };

const wifi = (read: string, at: string, path: string): Mapping[] => {
  const field = (name: string, field: string, write: string): Mapping => ({
    read: `${read}.${name}`,
    component: "wifi",
    codec: same(`${at}.${field}`),
    path,
    name: write,
    cutsOff: true,
  });
  return [
    field("enabled", "enable", "enabled"),
    field("ssid", "ssid", "ssid"),
    field("ipv4_method", "ipv4mode", "ipv4_method"),
    field("ip", "ip", "ip"),
    field("mask", "netmask", "netmask"),
    field("gw", "gw", "gateway"),
    field("dns", "nameserver", "dns"),
  ];
};

const prefixed = (prefix: string, component: string, names: Readonly<Record<string, string>>): Mapping[] =>
  Object.entries(names).map(([name, field]) => ({
    read: `${prefix}.${name}`,
    component,
    codec: same(field),
    name: `${prefix}_${name}`,
  }));

const channel = (container: string, component: string): Mapping[] => [
  { read: `${container}.#.default_state`, component, codec: map("initial_state", INITIAL) },
  { read: `${container}.#.btn_type`, component, codec: map("in_mode", BUTTON) },
  { read: `${container}.#.btn_reverse`, component: "input:#", codec: flag("invert") },
  { read: `${container}.#.auto_on`, component, codec: timer("auto_on", "auto_on_delay") },
  { read: `${container}.#.auto_off`, component, codec: timer("auto_off", "auto_off_delay") },
];

const roller = (name: string, codec: Codec, write?: string): Mapping => ({
  read: `rollers.#.${name}`,
  component: "cover:#",
  codec,
  ...(write === undefined ? {} : { name: write }),
});

/** Every light, by whatever name it goes (`lightComponent` says which). */
export const lightMappings = (component: string): Mapping[] => [
  ...channel("lights", component),
  { read: "lights.#.transition", component, codec: scaled("transition_duration", 1000) },
];

export const MAPPINGS: ReadonlyArray<Mapping> = [
  { read: "name", component: "sys", codec: same("device.name") },
  { read: "discoverable", component: "sys", codec: same("device.discoverable") },
  { read: "eco_mode_enabled", component: "sys", codec: same("device.eco_mode"), reboots: true },
  { read: "mode", component: "sys", codec: map("device.profile", PROFILE), reboots: true, cutsOff: true },
  { read: "timezone", component: "sys", codec: same("location.tz") },
  { read: "lat", component: "sys", codec: same("location.lat") },
  { read: "lng", component: "sys", codec: same("location.lon") },
  { read: "tzautodetect", component: "sys", codec: same("location.tzautodetect") },
  { read: "tz_dst_auto", component: "sys", codec: same("location.tz_dst_auto"), numeric: true },
  { read: "sntp.server", component: "sys", codec: same("sntp.server"), name: "sntp_server" },
  { read: "cloud.enabled", component: "cloud", codec: same("enable"), path: "/settings/cloud" },
  ...prefixed("mqtt", "mqtt", {
    enable: "enable",
    server: "server",
    user: "user",
    id: "client_id",
    reconnect_timeout_max: "reconnect_timeout_max",
    reconnect_timeout_min: "reconnect_timeout_min",
    clean_session: "clean_session",
    keep_alive: "keep_alive",
    max_qos: "max_qos",
    retain: "retain",
    update_period: "update_period",
  }),
  { read: "coiot.enabled", component: "coiot", codec: same("enable"), name: "coiot_enable" },
  ...prefixed("coiot", "coiot", { update_period: "update_period", peer: "peer", execute_enable: "execute_enable" }),
  { read: "wifi_ap.enabled", component: "wifi", codec: same("ap.enable"), path: "/settings/ap", cutsOff: true },
  ...wifi("wifi_sta", "sta", "/settings/sta"),
  ...wifi("wifi_sta1", "sta1", "/settings/sta1"),
  ...prefixed("ap_roaming", "wifi", { enabled: "roam.enable", threshold: "roam.rssi_thr" }),
  { read: "login.enabled", component: "auth", codec: same("enable"), path: "/settings/login", cutsOff: true },
  { read: "login.unprotected", component: "auth", codec: same("unprotected"), path: "/settings/login" },
  { read: "login.username", component: "auth", codec: same("user"), path: "/settings/login", cutsOff: true },
  ...channel("relays", "switch:#"),
  { read: "relays.#.max_power", component: "switch:#", codec: same("power_limit") },
  { read: "relays.#.power", component: "switch:#", codec: same("power"), path: "/settings/power/#" },
  roller("default_state", map("initial_state", { stop: "stopped", close: "closed" })),
  roller("swap", same("invert_directions")),
  roller("input_mode", map("in_mode", { openclose: "dual", onebutton: "single" })),
  roller("button_type", same("button_type"), "btn_type"),
  roller("off_power", same("motor.idle_power_thr")),
  roller("obstacle_mode", mode("obstruction_detection.enable", "obstruction_detection.direction")),
  roller("obstacle_action", same("obstruction_detection.action")),
  roller("obstacle_power", same("obstruction_detection.power_thr")),
  roller("obstacle_delay", same("obstruction_detection.holdoff")),
  roller("safety_mode", mode("safety_switch.enable", "safety_switch.direction")),
  roller("safety_action", same("safety_switch.action")),
  roller("safety_allowed_on_trigger", same("safety_switch.allowed_move")),
  { read: "inputs.#.btn_type", component: "input:#", codec: map("type", { momentary: "button", toggle: "switch" }) },
  { read: "inputs.#.btn_reverse", component: "input:#", codec: flag("invert") },
  { read: "ext_temperature.#.offset_tC", component: "temperature:+#", codec: same("offset_C") },
  { read: "ext_switch_enable", component: "input:100", codec: same("enable") },
  { read: "ext_switch_reverse", component: "input:100", codec: same("invert") },
  {
    read: "sensors.temperature_threshold",
    component: "temperature:0",
    codec: same("report_thr_C"),
    name: "temperature_threshold",
  },
  {
    read: "sensors.humidity_threshold",
    component: "humidity:0",
    codec: same("report_thr"),
    name: "humidity_threshold",
  },
  { read: "sensors.temperature_unit", component: "ht_ui", codec: same("temperature_unit"), name: "temperature_units" },
  { read: "sensors.motion_duration", component: "motion:0", codec: same("duration"), name: "pir_motion_duration_time" },
  { read: "sensors.motion_led", component: "motion:0", codec: same("led"), name: "pir_motion_led" },
  { read: "temperature_offset", component: "temperature:0", codec: same("offset_C") },
  { read: "humidity_offset", component: "humidity:0", codec: same("offset") },
  { read: "dark_threshold", component: "illuminance:0", codec: same("dark_thr") },
  { read: "twilight_threshold", component: "illuminance:0", codec: same("bright_thr") },
  { read: "motion.enabled", component: "motion:0", codec: same("enable"), name: "motion_enable" },
  ...prefixed("motion", "motion:0", {
    sensitivity: "sensitivity",
    blind_time_minutes: "blind_time_minutes",
    pulse_count: "pulse_count",
    operating_mode: "operating_mode",
  }),
  { read: "transition", component: "light:0", codec: scaled("transition_duration", 1000) },
  { read: "fade_rate", component: "light:0", codec: same("button_fade_rate") },
  ...["enabled", "brightness", "time"].map(
    (name): Mapping => ({
      read: `warm_up.${name}`,
      component: "light:0",
      codec: same(`warm_up.${name}`),
      path: "/settings/warm_up",
    }),
  ),
];

/** Night mode stands at the channel (firmware 1.12 and later), at the device, or at both alike. One is kept, the channel's. */
export const nightMode = (component: string): Mapping => ({
  read: "night_mode",
  component,
  codec: window("night_mode"),
  path: "/settings/night_mode",
});

/** Why something of `/settings` is no part of a configuration. */
export type Left = "volatile" | "read-only" | "write-only" | "derived";

/** State, facts and secrets within `/settings` (reference: 2.9). `#` any index, `*` any name. */
export const GEN1_LEFT_OUT: Readonly<Record<string, Left>> = {
  device: "read-only",
  fw: "read-only",
  build_info: "read-only",
  hwinfo: "read-only",
  fw_mode: "read-only",
  alt_modes: "read-only",
  light_sensor: "read-only",
  pin_code: "write-only",
  time: "volatile",
  unixtime: "volatile",
  tz_utc_offset: "volatile",
  tz_dst: "volatile",
  actions: "derived",
  meters: "volatile",
  calibrated: "volatile",
  pulse_mode_detected: "volatile",
  pulse_mode_rebooted: "volatile",
  sleep_time: "volatile",
  sleep_mode: "read-only",
  "cloud.connected": "volatile",
  "sntp.enabled": "derived",
  "wifi_ap.ssid": "read-only",
  "wifi_ap.key": "write-only",
  "wifi_sta.key": "write-only",
  "wifi_sta1.key": "write-only",
  "mqtt.pass": "write-only",
  "login.password": "write-only",
  "login.default_username": "read-only",
  "*.#.ison": "volatile",
  "*.#.has_timer": "volatile",
  "*.#.overpower": "volatile",
  "*.#.is_valid": "volatile",
  "lights.#.red": "volatile",
  "lights.#.green": "volatile",
  "lights.#.blue": "volatile",
  "lights.#.white": "volatile",
  "lights.#.gain": "volatile",
  "lights.#.temp": "volatile",
  "lights.#.brightness": "volatile",
  "lights.#.effect": "volatile",
  "lights.#.power": "volatile",
  "lights.#.mode": "volatile",
  "rollers.#.state": "volatile",
  "rollers.#.power": "volatile",
  "rollers.#.safety_switch": "volatile",
  "thermostats.#.target_t.value": "volatile",
  "thermostats.#.target_t.value_op": "volatile",
  "thermostats.#.target_t.units": "read-only",
  "thermostats.#.schedule_profile_names": "read-only",
  // Both units are always there; the Celsius ones are kept.
  "ext_temperature.#.overtemp_threshold_tF": "derived",
  "ext_temperature.#.undertemp_threshold_tF": "derived",
  "ext_temperature.#.offset_tF": "derived",
};

/** Where a secret is written that no read returns. */
export const GEN1_SECRETS: Readonly<
  Record<string, { readonly path: string; readonly name: string; readonly cutsOff: boolean }>
> = {
  "wifi.ap.pass": { path: "/settings/ap", name: "key", cutsOff: true },
  "wifi.sta.pass": { path: "/settings/sta", name: "key", cutsOff: true },
  "wifi.sta1.pass": { path: "/settings/sta1", name: "key", cutsOff: true },
  "mqtt.pass": { path: "/settings", name: "mqtt_pass", cutsOff: false },
  "auth.password": { path: "/settings/login", name: "password", cutsOff: true },
};
