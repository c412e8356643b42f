/** The Gen2, Gen3 and Gen4 models. Names, ids and versions as captured where a capture exists, else as documented. */
import type { JsonObject } from "../face.ts";
import {
  battery,
  ble,
  bthome,
  cloud,
  cover,
  type Dynamic,
  em,
  em1,
  em1data,
  emdata,
  eth,
  humidity,
  illuminance,
  input,
  knx,
  lamp,
  matter,
  modbus,
  mqtt,
  odd,
  type Parts,
  relay,
  sys,
  temperature,
  wifi,
  ws,
  zigbee,
} from "../parts.ts";

export interface RpcModel {
  readonly model: string;
  readonly generation: 2 | 3 | 4;
  readonly app: string;
  /** Of its id: `shellyplus1`, before `-<mac>`. */
  readonly prefix: string;
  /** Of its host name: `ShellyPlus1`. */
  readonly host: string;
  readonly version: string;
  /** `fw_id`. */
  readonly build: string;
  /** By profile; one without profiles has `""`. The first is what it comes with. */
  readonly profiles: Readonly<Record<string, Parts>>;
  /** What a user has made on it already. */
  readonly dynamic?: Readonly<Record<string, Dynamic>>;
  /** Wakes, sends, sleeps. */
  readonly sleeper?: boolean;
  readonly wall?: boolean;
  /** Other firmware for the same hardware: `sys.alt`. */
  readonly alt?: JsonObject;
  /** More of `/shelly`. */
  readonly info?: JsonObject;
  /** Virtual components, BTHome, scripts. Sleepers and the oldest have none. */
  readonly services?: { readonly virtual?: boolean; readonly scripts?: boolean; readonly schedules?: boolean };
  /** Revisions that its status has beside `cfg_rev`, `kvs_rev` and `webhook_rev`. */
  readonly revisions: readonly string[];
}

const STABLE = "1.7.5";
const fw = (stamp: string, version = STABLE) => `${stamp}/${version}-g9979d16`;
const VIRTUAL = { virtual: true, scripts: true, schedules: true };
const SCRIPTED = { virtual: false, scripts: true, schedules: true };
const GEN2 = ["schedule_rev", "btrelay_rev"];
const GEN3 = ["schedule_rev", "btrelay_rev", "bthc_rev"];

const range = (count: number) => Array.from({ length: count }, (_, id) => id);
const each = (type: string, count: number, make: (id: number) => Parts[string]): Parts =>
  Object.fromEntries(range(count).map((id) => [`${type}:${id}`, make(id)]));

/** What all mains-powered ones have. */
const base = (device: JsonObject, more: { readonly ui?: JsonObject } = {}): Parts => ({
  ble: ble(),
  cloud,
  mqtt,
  sys: sys({ device, ...more }),
  wifi: wifi(),
  ws,
});
const gen3 = (device: JsonObject): Parts => ({
  ...base(device),
  ble: ble(true),
  bthome: bthome(true),
  knx,
  matter: matter(),
});
const inputs = (count: number, type?: string) => each("input", count, (id) => input(id, type));
const relays = (count: number, options: Parameters<typeof relay>[1]) =>
  each("switch", count, (id) => relay(id, options));

const twoChannels = (common: (device: JsonObject) => Parts): Readonly<Record<string, Parts>> => ({
  switch: {
    ...common({ profile: "switch", addon_type: null }),
    ...inputs(2),
    ...relays(2, { meter: "returned" }),
  },
  cover: { ...common({ profile: "cover", addon_type: null }), ...inputs(2), "cover:0": cover(0) },
});

const pro3em = (profile: string, meters: Parts): Parts => ({
  ...base({ profile, addon_type: null, sys_btn_toggle: true }),
  bthome: bthome(false),
  eth,
  modbus,
  "temperature:0": temperature(0),
  ...meters,
});

const bthomeDevice = (id: number, addr: string, name: string | null, model: number): Dynamic => ({
  config: { id, addr, name, key: null, meta: { ui: { view: "regular", icon: null } } },
  status: {
    id,
    rssi: -61,
    battery: 100,
    packet_id: 17,
    last_updated_ts: 1_779_351_000,
    paired: true,
    rpc: false,
    rsv: -1,
    fw_ver: "v1.0.22",
  },
  attrs: { flags: 0, model_id: model },
});

const bthomeSensor = (id: number, addr: string, object: number, value: number | boolean, index = 0): Dynamic => ({
  config: { id, addr, name: null, obj_id: object, idx: index, meta: null },
  status: { id, value, last_updated_ts: 1_779_351_000 },
});

const virtual = (id: number, config: JsonObject, status: JsonObject): Dynamic => ({
  config: { id, ...config, owner: "", access: "*" },
  status,
});
const never = { source: "", last_update_ts: 0 };

/** One of each kind that a user can make. */
const MADE: Readonly<Record<string, Dynamic>> = {
  "button:200": virtual(200, { name: "Doorbell", meta: { ui: { view: "button", icon: null } } }, {}),
  "enum:200": virtual(
    200,
    {
      name: "Mode",
      options: ["day", "night"],
      meta: {
        ui: { view: "dropdown", titles: { day: null, night: null }, icon: "", images: { day: null, night: null } },
      },
      persisted: false,
      default_value: "day",
    },
    { value: "day", ...never },
  ),
  "group:200": virtual(
    200,
    { name: null, meta: { ui: { icon: null } } },
    { value: ["button:200", "enum:200", "number:200", "text:200"], source: "sys", last_update_ts: 1_743_001_149 },
  ),
  "number:200": virtual(
    200,
    {
      name: "Set point",
      min: 0,
      max: 100,
      meta: { ui: { view: "slider", unit: "", step: 1, icon: "" } },
      persisted: true,
      default_value: 0,
    },
    { value: 20, source: "rpc", last_update_ts: 1_744_902_563 },
  ),
  "text:200": virtual(
    200,
    { name: "Note", max_len: 255, meta: { ui: { view: "field", icon: "" } }, persisted: false, default_value: "" },
    { value: "", ...never },
  ),
};

const BUTTON = "38:39:8f:10:20:30";
const DOOR = "60:ef:ab:10:20:31";
const TRV = "0c:ef:f6:10:20:32";

const PLUS: ReadonlyArray<RpcModel> = [
  {
    model: "SNSW-001X16EU",
    generation: 2,
    app: "Plus1",
    prefix: "shellyplus1",
    host: "ShellyPlus1",
    version: STABLE,
    build: fw("20260311-095850"),
    profiles: { "": { ...base({ addon_type: null }), ...inputs(1), "switch:0": relay(0) } },
    services: SCRIPTED,
    revisions: GEN2,
  },
  {
    model: "SNSW-102P16EU",
    generation: 2,
    app: "Plus2PM",
    prefix: "shellyplus2pm",
    host: "ShellyPlus2PM",
    version: STABLE,
    build: fw("20260311-095847"),
    profiles: twoChannels(base),
    services: SCRIPTED,
    revisions: GEN2,
  },
  {
    model: "SNSN-0013A",
    generation: 2,
    app: "PlusHT",
    prefix: "shellyplusht",
    host: "ShellyPlusHT",
    version: "1.7.4",
    build: "20260120-145238/1.7.4-gf9878b6",
    profiles: {
      "": {
        ...base({}),
        wifi: wifi({ ap: "plain" }),
        "devicepower:0": battery(0),
        ht_ui: odd({ temperature_unit: "C" }, {}),
        "humidity:0": humidity(0),
        "temperature:0": temperature(0, 0.5),
      },
    },
    sleeper: true,
    revisions: [],
  },
  {
    model: "SNDC-0D4P10WW",
    generation: 2,
    app: "PlusRGBWPM",
    prefix: "shellyplusrgbwpm",
    host: "ShellyPlusRGBWPM",
    version: STABLE,
    build: fw("20260311-095852"),
    profiles: {
      light: {
        ...base({ profile: "light", addon_type: null }),
        ...inputs(4, "button"),
        ...each("light", 4, (id) => lamp(id)),
      },
      rgb: {
        ...base({ profile: "rgb", addon_type: null }),
        ...inputs(4, "button"),
        "rgb:0": lamp(0, { rgb: [255, 255, 255] }),
      },
      rgbw: {
        ...base({ profile: "rgbw", addon_type: null }),
        ...inputs(4, "button"),
        "rgbw:0": lamp(0, { rgb: [255, 255, 255], white: 0 }),
      },
    },
    services: SCRIPTED,
    revisions: GEN2,
  },
  {
    model: "SPEM-003CEBEU",
    generation: 2,
    app: "Pro3EM",
    prefix: "shellypro3em",
    host: "ShellyPro3EM",
    version: STABLE,
    build: fw("20260311-095913"),
    profiles: {
      triphase: pro3em("triphase", { "em:0": em(0), "emdata:0": emdata(0) }),
      monophase: pro3em("monophase", { ...each("em1", 3, (id) => em1(id)), ...each("em1data", 3, em1data) }),
    },
    services: SCRIPTED,
    revisions: GEN2,
  },
  {
    model: "SPSW-104PE16EU",
    generation: 2,
    app: "Pro4PM",
    prefix: "shellypro4pm",
    host: "ShellyPro4PM",
    version: STABLE,
    build: fw("20260311-095915"),
    profiles: {
      "": {
        ...base({ addon_type: null }),
        eth,
        ui: odd({ idle_brightness: 30 }, {}),
        ...inputs(4),
        ...relays(4, { meter: "returned", maxCurrent: 16 }),
      },
    },
    services: SCRIPTED,
    revisions: GEN2,
  },
  {
    model: "SAWD-0A1XX10EU1",
    generation: 2,
    app: "WallDisplay",
    prefix: "ShellyWallDisplay",
    host: "ShellyWallDisplay",
    version: "2.4.4",
    build: "20260205-142433/2.4.4-6d2fb96b",
    profiles: {
      "": {
        ...base({}),
        "input:0": input(0),
        "switch:0": relay(0),
        "temperature:0": temperature(0),
        "humidity:0": humidity(0),
        "illuminance:0": illuminance(0),
        ui: odd(
          { lock_type: "none", disable_gestures_when_locked: false, screen_saver: { enable: true, timeout: 20 } },
          {},
        ),
      },
    },
    wall: true,
    services: { schedules: true },
    revisions: ["schedule_rev"],
  },
];

const LATER: ReadonlyArray<RpcModel> = [
  {
    model: "S3SW-001X16EU",
    generation: 3,
    app: "S1G3",
    prefix: "shelly1g3",
    host: "Shelly1G3",
    version: STABLE,
    build: fw("20260311-095909"),
    profiles: { "": { ...gen3({ addon_type: null }), "input:0": input(0, "button"), "switch:0": relay(0) } },
    dynamic: MADE,
    info: { matter: false },
    services: VIRTUAL,
    revisions: GEN3,
  },
  {
    model: "S3SW-002P16EU",
    generation: 3,
    app: "S2PMG3",
    prefix: "shelly2pmg3",
    host: "Shelly2PMG3",
    version: STABLE,
    build: fw("20260311-095911"),
    profiles: twoChannels(gen3),
    dynamic: {
      "bthomedevice:200": bthomeDevice(200, BUTTON, "Button at the door", 1),
      "bthomedevice:201": bthomeDevice(201, DOOR, null, 2),
      "bthomesensor:200": bthomeSensor(200, BUTTON, 1, 100),
      "bthomesensor:201": bthomeSensor(201, DOOR, 1, 100),
      "bthomesensor:202": bthomeSensor(202, DOOR, 5, 203),
      "bthomesensor:203": bthomeSensor(203, DOOR, 45, true),
    },
    info: { matter: false },
    services: VIRTUAL,
    revisions: GEN3,
  },
  {
    model: "S3GW-1DBT001",
    generation: 3,
    app: "BluGwG3",
    prefix: "shellyblugwg3",
    host: "ShellyBluGwG3",
    version: STABLE,
    build: fw("20260311-095905"),
    profiles: { "": { ...base({}), ble: ble(true), bthome: bthome(true) } },
    dynamic: {
      "blutrv:200": {
        config: {
          id: 200,
          addr: TRV,
          name: "Radiator",
          key: null,
          trv: "bthomedevice:200",
          temp_sensors: [],
          dw_sensors: [],
          override_delay: 30,
          meta: {},
        },
        status: {
          id: 200,
          target_C: 19,
          current_C: 21,
          pos: 0,
          rssi: -58,
          battery: 100,
          packet_id: 29,
          last_updated_ts: 1_779_351_000,
          paired: true,
          rpc: true,
          rsv: 14,
        },
        attrs: { flags: 17, model_id: 8 },
      },
      "bthomedevice:200": bthomeDevice(200, TRV, "Radiator", 8),
      "bthomesensor:200": bthomeSensor(200, TRV, 1, 100),
      "bthomesensor:202": bthomeSensor(202, TRV, 69, 19),
      "bthomesensor:203": bthomeSensor(203, TRV, 69, 0, 1),
    },
    services: VIRTUAL,
    revisions: GEN3,
  },
  {
    model: "S4SW-001X16EU",
    generation: 4,
    app: "S1G4",
    prefix: "shelly1g4",
    host: "Shelly1G4",
    version: STABLE,
    build: fw("20260311-095901"),
    profiles: {
      "": {
        ...gen3({ addon_type: null }),
        ble: ble(),
        bthome: bthome(false),
        modbus,
        ...inputs(1),
        "switch:0": relay(0),
      },
    },
    alt: {
      S1G4ZB: {
        name: "Shelly 1 Gen4",
        desc: "Zigbee",
        stable: { version: STABLE, build_id: fw("20260311-095857") },
        beta: { version: "2.0.0-beta1", build_id: fw("20260423-102600", "2.0.0-beta1") },
      },
    },
    info: { matter: false },
    services: VIRTUAL,
    revisions: GEN3,
  },
  {
    model: "S4SW-001X8EU",
    generation: 4,
    app: "Mini1G4ZB",
    prefix: "shelly1minig4",
    host: "Shelly1MiniG4",
    version: "1.5.99-g4prod1",
    build: "20250214-121701/1.5.99-g4prod1-gc32c24b",
    profiles: {
      "": { ...base({}), ble: ble(true), wifi: wifi({ ap: "none" }), knx, zigbee, ...inputs(1), "switch:0": relay(0) },
    },
    alt: {
      Mini1G4: {
        name: "Shelly 1 Mini Gen4",
        desc: "Matter",
        beta: { version: "1.6.0-beta1", build_id: fw("20250410-085758", "1.6.0-beta1") },
      },
    },
    services: SCRIPTED,
    revisions: ["schedule_rev"],
  },
  {
    model: "S4EM-001PXCEU16",
    generation: 4,
    app: "MiniEMG4",
    prefix: "shellyemminig4",
    host: "ShellyEMMiniG4",
    version: "2.0.0-beta1",
    build: "20260423-102553/2.0.0-beta1-g8c7700a",
    profiles: {
      "": {
        ...base({}),
        ble: ble(null),
        bthome: bthome(true),
        matter: matter(true),
        modbus,
        sys: sys({
          device: { tls_check_cert_validity_time: true, enhanced_security: false },
          fileLog: true,
          ui: { device_revision: "1-19" },
        }),
        "em1:0": em1(0, true),
        "em1data:0": em1data(0),
      },
    },
    alt: {
      MiniEMG4ZB: {
        name: "Shelly Mini EM Gen4",
        desc: "Zigbee",
        stable: { version: "1.7.0-miniemg4prod0", build_id: "20250915-120859/gb95ce8e" },
        beta: { version: "2.0.0-beta1", build_id: "20260423-102547/2.0.0-beta1-g8c7700a" },
      },
    },
    info: { matter: true, enhanced_security: false },
    services: VIRTUAL,
    revisions: GEN2,
  },
  {
    model: "S4PL-00416EU",
    generation: 4,
    app: "PowerStripG4",
    prefix: "shellypstripg4",
    host: "ShellyPStripG4",
    version: STABLE,
    build: fw("20260311-095903"),
    profiles: {
      "": {
        ...gen3({}),
        ...relays(4, { meter: "power" }),
        powerstrip_ui: odd(
          { leds: { mode: "switch", colors: { power: { brightness: 100 } } }, controls: { in_mode: "momentary" } },
          {},
        ),
      },
    },
    info: { matter: false },
    services: VIRTUAL,
    revisions: GEN3,
  },
  {
    // No such device: what a manager must get along with that knows only what a device says of itself.
    model: "S5XX-0ODD01EU",
    generation: 4,
    app: "OddOne",
    prefix: "shellyoddone",
    host: "ShellyOddOne",
    version: "2.1.0",
    build: "20261001-080000/2.1.0-g0ddba11",
    profiles: {
      "": {
        ...gen3({ flux: { enable: false, level: 3 } }),
        "pump:0": odd(
          { id: 0, name: null, prime_s: 4, curve: [0, 20, 100], mode: "eco" },
          { id: 0, rpm: 0, state: "idle" },
        ),
        "pump:1": odd(
          { id: 1, name: null, prime_s: 4, curve: [0, 20, 100], mode: "eco" },
          { id: 1, rpm: 0, state: "idle" },
        ),
        "cct:0": lamp(0, { ct: 4000 }),
        "switch:100": relay(100),
        aurora: odd({ enable: true, palette: { day: "#ffffff", night: "#102030" } }, { phase: "day" }),
      },
    },
    dynamic: {
      "object:200": virtual(200, { name: null, meta: { ui: { view: "label" } } }, { value: { a: 1 }, ...never }),
    },
    services: VIRTUAL,
    revisions: [...GEN3, "aurora_rev"],
  },
];

export const RPC_MODELS: readonly RpcModel[] = [...PLUS, ...LATER];
