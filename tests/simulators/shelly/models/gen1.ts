/** The Gen1 models: what beside the common they answer to `/shelly`, `/settings`, `/status`, and what they describe over CoIoT. */
import type { JsonObject } from "../face.ts";
import { shht1, shtrv } from "./gen1-battery.ts";
import {
  ACTIONS,
  changed,
  deviceTemperature,
  FW,
  type Gen1Model,
  heat,
  input,
  inputSensors,
  many,
  meter,
  meterSensors,
  mode,
  NIGHT,
  relaySettings,
  type Sensor,
  state,
  switched,
} from "./gen1-shape.ts";

const extras = (): JsonObject => ({ ext_sensors: {}, ext_temperature: {}, ext_humidity: {} });

const shsw1: Gen1Model = {
  model: "SHSW-1",
  prefix: "shelly1",
  app: "switch1",
  arch: "esp8266",
  fw: FW("20230913-112003"),
  version: "1.0",
  modes: [""],
  without: ["led_status_disable"],
  actions: [
    ...ACTIONS,
    "lp_on_url",
    "lp_off_url",
    ...["report_url", "report_url", "report_url"],
    ...many(3, () => ["ext_temp_over_url", "ext_temp_under_url"]).flat(),
    "ext_hum_over_url",
    "ext_hum_under_url",
  ],
  shape: () => ({
    shelly: { num_outputs: 1 },
    device: { num_outputs: 1 },
    settings: {
      factory_reset_from_switch: true,
      ext_switch_enable: false,
      ext_switch_reverse: false,
      ext_switch: { 0: { relay_num: -1 } },
      mode: "relay",
      longpush_time: 800,
      relays: [relaySettings({ power: 0 })],
      ...extras(),
    },
    status: {
      relays: [switched()],
      meters: [{ power: 0, is_valid: true }],
      inputs: [input()],
      ...extras(),
    },
    blocks: [
      [1, "relay_0"],
      [2, "sensor_0"],
      [3, "sensor_1"],
      [4, "sensor_2"],
      [5, "device"],
    ],
    sensors: [
      changed(5),
      state("output", 1101, 1, "relays.0.ison"),
      ...inputSensors(0, 1, 2001),
      // Described always, told of when they are plugged in.
      ...many(3, (index): Sensor[] => [
        {
          I: 3101 + 100 * index,
          T: "T",
          D: "extTemp",
          U: "C",
          R: ["-55/125", "999"],
          L: 2 + index,
          from: `ext_temperature.${index}.tC`,
        },
        {
          I: 3102 + 100 * index,
          T: "T",
          D: "extTemp",
          U: "F",
          R: ["-67/257", "999"],
          L: 2 + index,
          from: `ext_temperature.${index}.tF`,
        },
      ]).flat(),
      { I: 3103, T: "H", D: "humidity", R: ["0/100", "999"], L: 2, from: "ext_humidity.0.hum" },
      { I: 3117, T: "S", D: "extInput", R: "0/1", L: 2, from: "ext_switch.0.input" },
    ],
  }),
};

const rollerSettings = (): JsonObject => ({
  maxtime: 20,
  maxtime_open: 20,
  maxtime_close: 20,
  default_state: "stop",
  swap: false,
  swap_inputs: false,
  input_mode: "openclose",
  button_type: "momentary",
  btn_reverse: 0,
  state: "stop",
  power: 0,
  is_valid: true,
  safety_switch: false,
  schedule: false,
  schedule_rules: [],
  obstacle_mode: "disabled",
  obstacle_action: "stop",
  obstacle_power: 200,
  obstacle_delay: 1,
  ends_delay: 2500,
  safety_mode: "while_opening",
  safety_action: "stop",
  safety_allowed_on_trigger: "none",
  off_power: 2,
  positioning: true,
});

const shsw25: Gen1Model = {
  model: "SHSW-25",
  prefix: "shellyswitch25",
  app: "switch25",
  arch: "esp8266",
  fw: FW("20230913-112234"),
  version: "1.0",
  modes: ["relay", "roller"],
  actions: [
    ...many(2, () => [
      "btn_on_url",
      "btn_off_url",
      "longpush_url",
      "shortpush_url",
      "out_on_url",
      "out_off_url",
    ]).flat(),
    ...["roller_open_url", "roller_close_url", "roller_stop_url"],
  ],
  shape: (now) => {
    const numbers = { num_outputs: 2, num_meters: 2, num_rollers: 1, mode: now };
    const roller: JsonObject = {
      state: "stop",
      source: "http",
      power: 0,
      is_valid: true,
      safety_switch: false,
      overtemperature: false,
      stop_reason: "normal",
      last_direction: "close",
      current_pos: 0,
      calibrating: false,
      positioning: true,
    };
    const guarded = { overpower: false, overtemperature: false, is_valid: true };
    const L = 4;
    return {
      shelly: numbers,
      device: numbers,
      settings: {
        factory_reset_from_switch: true,
        mode: now,
        max_power: 1840,
        longpush_time: 800,
        relays: many(2, () => relaySettings({ max_power: 0 })),
        rollers: [rollerSettings()],
        favorites_enabled: false,
        favorites: many(4, (index) => ({ name: `Position ${index + 1}`, pos: 0 })),
      },
      status: {
        ...(now === "roller" ? { rollers: [roller] } : { relays: many(2, () => switched(guarded)) }),
        meters: many(2, () => meter(0)),
        inputs: many(2, input),
        ...heat(51.61),
        temperature_status: "Normal",
        voltage: 240.98,
      },
      blocks: [[1, "relay_0"], [2, "relay_1"], ...(now === "roller" ? [[3, "roller_0"] as const] : []), [L, "device"]],
      sensors: [
        changed(L),
        ...(now === "roller"
          ? [
              state("roller", 1102, 3, "rollers.0.state", "open/close/stop"),
              state("rollerPos", 1103, 3, "rollers.0.current_pos", ["0/100", "-1"]),
            ]
          : [state("output", 1101, 1, "relays.0.ison"), state("output", 1201, 2, "relays.1.ison")]),
        ...inputSensors(0, 1),
        ...inputSensors(1, 2),
        ...(now === "roller"
          ? [
              { I: 4102, T: "P", D: "rollerPower", U: "W", R: ["0/2300", "-1"], L: 3, from: "rollers.0.power" },
              { I: 4104, T: "E", D: "rollerEnergy", U: "Wmin", R: ["U32", "-1"], L: 3, from: "meters.0.total" },
              {
                ...{ I: 6103, T: "A", D: "rollerStopReason", R: "normal/safety_switch/obstacle/overpower", L: 3 },
                from: "rollers.0.stop_reason",
              },
            ]
          : [...meterSensors(0, 1, 2300, "relays.0.overpower"), ...meterSensors(1, 2, 2300, "relays.1.overpower")]),
        ...deviceTemperature(L),
        mode(L, "relay/roller"),
        { I: 4108, T: "V", D: "voltage", U: "V", L, from: "voltage" },
      ],
    };
  },
};

const shplgs: Gen1Model = {
  model: "SHPLG-S",
  prefix: "shellyplug-s",
  app: "plug-s",
  arch: "esp8266",
  fw: FW("20230913-113421"),
  version: "1.0",
  modes: [""],
  actions: ["btn_on_url", "out_on_url", "out_off_url"],
  shape: () => {
    const { btn_type: _, btn_reverse: __, ...relay } = relaySettings({ max_power: 2000 });
    return {
      shelly: { num_outputs: 1, num_meters: 1 },
      device: { num_outputs: 1, num_meters: 1 },
      settings: { max_power: 2000, led_power_disable: false, relays: [relay] },
      status: { relays: [switched({ overpower: false })], meters: [meter(0)], ...heat(33.69) },
      blocks: [
        [1, "relay_0"],
        [2, "device"],
      ],
      sensors: [
        changed(2),
        state("output", 1101, 1, "relays.0.ison"),
        ...meterSensors(0, 1, 2500, "relays.0.overpower"),
        ...deviceTemperature(2),
      ],
    };
  },
};

/** Documented, with what its owners' clients read; no capture of it stands beside the others. */
const shdm2: Gen1Model = {
  model: "SHDM-2",
  prefix: "shellydimmer2",
  app: "dimmer-l51",
  arch: "esp8266",
  fw: FW("20230913-114008"),
  version: "1.0",
  modes: [""],
  actions: ["btn1_on_url", "btn1_off_url", "btn1_longpush_url", "btn1_shortpush_url", "out_on_url", "out_off_url"],
  shape: () => ({
    shelly: { num_outputs: 1, num_meters: 1 },
    device: { num_outputs: 1, num_meters: 1 },
    settings: {
      factory_reset_from_switch: true,
      mode: "white",
      pulse_mode: 2,
      calibrated: true,
      transition: 1000,
      fade_rate: 3,
      min_brightness: 0,
      zcross_debounce: 150,
      dcc_transition: false,
      warm_up: { enabled: false, brightness: 50, time: 20 },
      night_mode: { ...NIGHT },
      lights: [
        {
          name: null,
          ison: false,
          default_state: "last",
          auto_on: 0,
          auto_off: 0,
          btn1_type: "one_button",
          btn2_type: "one_button",
          btn_type: "one_button",
          btn_reverse: 0,
          schedule: false,
          night_mode: { ...NIGHT },
          schedule_rules: [],
        },
      ],
    },
    status: {
      lights: [
        {
          ison: false,
          source: "http",
          has_timer: false,
          timer_started: 0,
          timer_duration: 0,
          timer_remaining: 0,
          mode: "white",
          brightness: 50,
          transition: 0,
        },
      ],
      meters: [meter(false)],
      inputs: many(2, input),
      ...heat(48.2),
      calibrated: true,
      calib_progress: 0,
      calib_status: 0,
      loaderror: 0,
      overload: 0,
    },
    blocks: [
      [1, "light_0"],
      [2, "device"],
    ],
    sensors: [
      changed(2),
      state("output", 1101, 1, "lights.0.ison"),
      state("brightness", 5101, 1, "lights.0.brightness", "1/100"),
      ...inputSensors(0, 2),
      ...inputSensors(1, 2),
      { I: 4101, T: "P", D: "power", U: "W", R: ["0/230", "-1"], L: 1, from: "meters.0.power" },
      { I: 4103, T: "E", D: "energy", U: "Wmin", R: ["U32", "-1"], L: 1, from: "meters.0.total" },
      ...deviceTemperature(2),
    ],
  }),
};

const COLOUR = { red: 0, green: 255, blue: 0, white: 0, gain: 100, effect: 0 };

const shrgbw2: Gen1Model = {
  model: "SHRGBW2",
  prefix: "shellyrgbw2",
  app: "rgbw2",
  arch: "esp8266",
  fw: FW("20230913-113259"),
  version: "1.0",
  modes: ["color", "white"],
  actions: ["btn_on_url", "btn_off_url", "out_on_url", "out_off_url", "longpush_url", "shortpush_url"],
  shape: (now) => {
    const count = now === "color" ? 1 : 4;
    const shown = now === "color" ? COLOUR : { brightness: 50, effect: 0 };
    const shared = { transition: 1000, default_state: "last", auto_on: 0, auto_off: 0, schedule: false };
    return {
      shelly: { num_outputs: count, mode: now },
      device: { num_outputs: count, mode: now },
      settings: {
        factory_reset_from_switch: true,
        fw_mode: `SHRGBW2!${now}`,
        mode: now,
        alt_modes: [now === "color" ? "white" : "color"],
        dcpower: 0,
        lights: many(count, () => ({
          ...{ name: null, ison: false, ...shown, ...shared },
          ...{ btn_type: "toggle", btn_reverse: 0, night_mode: { ...NIGHT }, schedule_rules: [] },
        })),
        night_mode: { ...NIGHT },
      },
      status: {
        mode: now,
        input: 0,
        lights: many(count, () => ({
          ...{ ison: false, source: "http", has_timer: false, timer_started: 0, timer_duration: 0, timer_remaining: 0 },
          ...{ mode: now, ...shown, transition: 0, power: 0, overpower: false },
        })),
        meters: many(count, () => meter(false)),
        inputs: [input()],
      },
      blocks: [...many(count, (index) => [index + 1, `light_${index}`] as const), [count + 1, "device"]],
      sensors: [
        changed(count + 1),
        ...many(count, (index) => state("output", 1101 + 100 * index, index + 1, `lights.${index}.ison`)),
        ...(now === "color"
          ? [
              ...["red", "green", "blue", "white"].map((one, i) => state(one, 5105 + i, 1, `lights.0.${one}`, "0/255")),
              state("gain", 5102, 1, "lights.0.gain", "0/100"),
              state("effect", 5109, 1, "lights.0.effect", "0/3"),
            ]
          : many(4, (index) =>
              state("brightness", 5101 + 100 * index, index + 1, `lights.${index}.brightness`, "0/100"),
            )),
        ...many(count, (index) => meterSensors(index, index + 1, 288, `lights.${index}.overpower`)).flat(),
        ...inputSensors(0, count + 1),
        mode(count + 1, "color/white"),
      ],
    };
  },
};

const shem3: Gen1Model = {
  model: "SHEM-3",
  prefix: "shellyem3",
  app: "em3",
  arch: "esp8266",
  fw: FW("20230913-114244"),
  version: "1.0",
  modes: [""],
  actions: [
    "out_on_url",
    "out_off_url",
    ...many(4, () => ["over_power_url", "under_power_url"]).flat(),
    "n_mismatch_url",
  ],
  shape: () => {
    const numbers = { num_outputs: 1, num_meters: 0, num_emeters: 3, report_period: 1 };
    const { appliance_type: _, btn_type: __, btn_reverse: ___, ...relay } = relaySettings();
    const emeter = (power: number): JsonObject => ({
      ...{ power, pf: 0.39, current: 0.07, voltage: 231.8, is_valid: true, total: 1972.1, total_returned: 0 },
    });
    const kinds: ReadonlyArray<readonly [string, string, string | undefined, string]> = [
      ["P", "power", "W", "power"],
      ["E", "energy", "Wh", "total"],
      ["E", "energyReturned", "Wh", "total_returned"],
      ["V", "voltage", "V", "voltage"],
      ["I", "current", "A", "current"],
      ["S", "powerFactor", undefined, "pf"],
    ];
    return {
      shelly: numbers,
      device: numbers,
      settings: {
        cf_output: 0,
        relays: [relay],
        emeters: many(3, () => ({ name: null, appliance_type: "General", max_power: 0, range_extender: 1 })),
        emeter_n: { range_extender: 1, mismatch_threshold: 1 },
      },
      status: {
        relays: [switched({ overpower: false, is_valid: true })],
        emeters: [emeter(6.6), emeter(0), emeter(0)],
        total_power: 6.6,
        emeter_n: { current: 0, ixsum: 0.07, mismatch: false, is_valid: false },
        fs_mounted: true,
        v_data: 1,
        ct_calst: 0,
      },
      blocks: [[1, "relay_0"], ...many(3, (index) => [index + 2, `emeter_${index}`] as const), [5, "device"]],
      sensors: [
        changed(5),
        state("output", 1101, 1, "relays.0.ison"),
        ...many(3, (index) =>
          kinds.map(([T, D, U, field], i) => ({
            ...{ I: 4105 + 100 * index + i, T, D, L: index + 2, from: `emeters.${index}.${field}` },
            ...(U === undefined ? { R: ["0/1", "-1"] } : { U }),
          })),
        ).flat(),
        { I: 6102, T: "A", D: "overpower", R: ["0/1", "-1"], L: 1, from: "relays.0.overpower" },
      ],
    };
  },
};

const PUSHES = [
  "shortpush",
  "longpush",
  "double_shortpush",
  "triple_shortpush",
  "shortpush_longpush",
  "longpush_shortpush",
];

const shix3: Gen1Model = {
  model: "SHIX3-1",
  prefix: "shellyix3",
  app: "ix3",
  arch: "esp8266",
  fw: "20240117-143427/v1.14.1-rc1-3-gd248c7ff7",
  version: "1.0",
  modes: [""],
  actions: many(3, () => ["btn_on_url", "btn_off_url", ...PUSHES.map((push) => `${push}_url`)]).flat(),
  shape: () => ({
    shelly: { num_inputs: 3, num_outputs: 0 },
    device: { num_inputs: 3, num_outputs: 0 },
    settings: {
      factory_reset_from_switch: true,
      longpush_duration_ms: { min: 800, max: 3000 },
      multipush_time_between_pushes_ms: { max: 500 },
      inputs: many(3, () => ({ name: null, btn_type: "momentary", btn_reverse: 0 })),
    },
    status: { inputs: many(3, () => ({ ...input(), last_sequence: "" })), temperature_status: "Normal" },
    blocks: [...many(3, (index) => [index + 1, `input_${index}`] as const), [4, "device"]],
    sensors: [changed(4), ...many(3, (index) => inputSensors(index, index + 1)).flat()],
  }),
};

export const GEN1_MODELS: readonly Gen1Model[] = [shsw1, shsw25, shplgs, shdm2, shrgbw2, shem3, shix3, shht1, shtrv];
