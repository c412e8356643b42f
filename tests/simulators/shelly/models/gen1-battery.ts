/** Gen1 models that live on a battery. No captures of them stand beside the others. */
import { changed, FW, type Gen1Model } from "./gen1-shape.ts";

/** Documented; its settings are few, and it answers only when awake. */
export const shht1: Gen1Model = {
  model: "SHHT-1",
  prefix: "shellyht",
  app: "ht",
  arch: "esp8266",
  fw: FW("20230913-112531"),
  version: "1.0",
  modes: [""],
  sleeper: true,
  without: ["led_status_disable", "eco_mode_enabled", "ap_roaming"],
  actions: ["report_url", "temp_over_url", "temp_under_url", "hum_over_url", "hum_under_url"],
  shape: () => ({
    shelly: {},
    device: { sleep_mode: true },
    settings: {
      external_power: 0,
      temperature_offset: 0,
      humidity_offset: 0,
      sensors: { temperature_threshold: 1, temperature_unit: "C", humidity_threshold: 5 },
      sleep_mode: { period: 12, unit: "h" },
    },
    status: {
      is_valid: true,
      tmp: { value: 22.5, units: "C", tC: 22.5, tF: 72.5, is_valid: true },
      hum: { value: 41.5, is_valid: true },
      bat: { value: 88, voltage: 2.94 },
      act_reasons: ["periodic"],
      connect_retries: 0,
      sensor_error: 0,
    },
    blocks: [
      [1, "sensor_0"],
      [2, "device"],
    ],
    sensors: [
      changed(2),
      { I: 3101, T: "T", D: "extTemp", U: "C", R: ["-55/125", "999"], L: 1, from: "tmp.tC" },
      { I: 3102, T: "T", D: "extTemp", U: "F", R: ["-67/257", "999"], L: 1, from: "tmp.tF" },
      { I: 3103, T: "H", D: "humidity", R: ["0/100", "999"], L: 1, from: "hum.value" },
      { I: 3115, T: "S", D: "sensorError", R: "0/1", L: 1, from: "sensor_error" },
      { I: 3111, T: "B", D: "battery", R: ["0/100", "-1"], L: 2, from: "bat.value" },
      {
        I: 9102,
        T: "EV",
        D: "wakeupEvent",
        R: ["battery/button/periodic/poweron/sensor/alarm", "unknown"],
        L: 2,
        from: "act_reasons",
      },
    ],
  }),
};

/** Documented; a radiator valve with its own processor. */
export const shtrv: Gen1Model = {
  model: "SHTRV-01",
  prefix: "shellytrv",
  arch: "EFM32GG11",
  fw: "20220811-152343/v2.1.8@5afc928c",
  version: "1.0",
  modes: [""],
  without: ["led_status_disable", "ap_roaming", "eco_mode_enabled", "allow_cross_origin"],
  actions: ["valve_open_url", "valve_close_url", "report_url"],
  shape: () => ({
    shelly: {},
    device: {},
    settings: {
      child_lock: false,
      display: { brightness: 7, flipped: false },
      sleep_mode: { period: 60, unit: "m" },
      thermostats: [
        {
          target_t: { enabled: true, value: 20.5, value_op: 8, units: "C", accelerated_heating: true },
          schedule: false,
          schedule_profile: 1,
          schedule_profile_names: ["Livingroom", "Bedroom", "Kitchen", "Bathroom", "Holiday"],
          schedule_rules: [],
          temperature_offset: 0,
          ext_t: { enabled: false, floor_heating: false },
          t_auto: { enabled: true },
          boost_minutes: 30,
          valve_min_percent: 0,
          force_close: false,
          calibration_correction: true,
          extra_pressure: false,
          open_window_report: false,
        },
      ],
    },
    status: {
      calibrated: true,
      charger: false,
      ps_mode: 0,
      dbg_flags: 0,
      bat: { value: 92, voltage: 3.98 },
      thermostats: [
        {
          pos: 0,
          target_t: { enabled: true, value: 20.5, value_op: 8, units: "C" },
          tmp: { value: 21.4, units: "C", is_valid: true },
          schedule: false,
          schedule_profile: 1,
          boost_minutes: 0,
          window_open: false,
        },
      ],
    },
    blocks: [
      [1, "sensor_0"],
      [2, "device"],
    ],
    sensors: [
      changed(2),
      { I: 3101, T: "T", D: "temp", U: "C", R: ["-55/125", "999"], L: 1, from: "thermostats.0.tmp.value" },
      { I: 3103, T: "T", D: "targetTemp", U: "C", R: ["4/31", "999"], L: 1, from: "thermostats.0.target_t.value" },
      { I: 3121, T: "S", D: "valvePos", U: "%", R: ["0/100", "-1"], L: 1, from: "thermostats.0.pos" },
      { I: 3111, T: "B", D: "battery", U: "%", R: ["0/100", "-1"], L: 2, from: "bat.value" },
    ],
  }),
};
