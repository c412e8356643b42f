/** Numbers in a status that are worth a curve: what is measured, by component, in the units that the names say. */
import type { Sample } from "@millrace/eventlog/series.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";

type Metric = readonly [name: string, factor?: number];

/** Fields of a component of Gen2+ (documented; seen in captures). A point goes down one level. */
const COMPONENT: ReadonlyMap<string, Metric> = new Map(
  Object.entries<Metric>({
    apower: ["power_watts"],
    act_power: ["power_watts"],
    total_act_power: ["power_watts"],
    aprt_power: ["apparent_power_volt_amperes"],
    total_aprt_power: ["apparent_power_volt_amperes"],
    voltage: ["voltage_volts"],
    current: ["current_amperes"],
    total_current: ["current_amperes"],
    n_current: ["neutral_current_amperes"],
    pf: ["power_factor_ratio"],
    freq: ["frequency_hertz"],
    "aenergy.total": ["energy_watt_hours"],
    "ret_aenergy.total": ["returned_energy_watt_hours"],
    total_act: ["energy_watt_hours"],
    total_act_ret: ["returned_energy_watt_hours"],
    total_act_energy: ["energy_watt_hours"],
    total_act_ret_energy: ["returned_energy_watt_hours"],
    "temperature.tC": ["temperature_celsius"],
    tC: ["temperature_celsius"],
    rh: ["humidity_percent"],
    lux: ["illuminance_lux"],
    "battery.percent": ["battery_percent"],
    "battery.V": ["battery_volts"],
    current_pos: ["position_percent"],
    brightness: ["brightness_percent"],
    rssi: ["rssi_dbm"],
    current_C: ["temperature_celsius"],
    target_C: ["target_temperature_celsius"],
    uptime: ["uptime_seconds"],
    ram_free: ["ram_free_bytes"],
    fs_free: ["fs_free_bytes"],
  }),
);

/** Three-phase meters name the phase before the field. */
const PHASE = /^([abc])_(?:total_)?(act_power|aprt_power|voltage|current|pf|freq|act_energy|act_ret_energy)$/;
const OF_PHASE: ReadonlyMap<string, Metric> = new Map([
  ...COMPONENT,
  ["act_energy", ["energy_watt_hours"]],
  ["act_ret_energy", ["returned_energy_watt_hours"]],
]);

const MOST = 150;

/** Of a Gen2+ status, whole or what has changed of it. */
export function samplesOf(status: Json): Sample[] {
  const samples: Sample[] = [];
  if (!isObject(status)) return samples;
  for (const component in status) {
    const fields = status[component];
    if (isObject(fields) && /^[a-z0-9_]{1,32}(:\d{1,4})?$/.test(component)) addComponent(samples, component, fields);
  }
  return samples.length > MOST ? samples.slice(0, MOST) : samples;
}

function addComponent(samples: Sample[], component: string, fields: JsonObject): void {
  for (const field in fields) {
    const value = fields[field];
    if (typeof value === "number") {
      const metric = COMPONENT.get(field);
      if (metric !== undefined) add(samples, metric, value, { component });
      else {
        const [, phase, name] = PHASE.exec(field) ?? [];
        if (phase !== undefined) add(samples, OF_PHASE.get(name!), value, { component, phase });
      }
    } else if (isObject(value)) {
      for (const inner in value) {
        if (typeof value[inner] === "number")
          add(samples, COMPONENT.get(`${field}.${inner}`), value[inner], { component });
      }
    }
  }
}

function add(
  samples: Sample[],
  metric: Metric | undefined,
  value: unknown,
  labels: Readonly<Record<string, string>>,
): void {
  if (metric === undefined || typeof value !== "number" || !Number.isFinite(value)) return;
  const [name, factor = 1] = metric;
  samples.push({ metric: name, value: value * factor, labels });
}

/** Gen1 counts the energy of relays in watt-minutes (as its own description says), that of energy meters in watt-hours. */
const WATT_MINUTE: Metric = ["energy_watt_hours", 1 / 60];
const LISTS: Readonly<Record<string, Readonly<Record<string, Metric>>>> = {
  meters: { power: ["power_watts"], total: WATT_MINUTE },
  emeters: {
    power: ["power_watts"],
    voltage: ["voltage_volts"],
    current: ["current_amperes"],
    pf: ["power_factor_ratio"],
    total: ["energy_watt_hours"],
    total_returned: ["returned_energy_watt_hours"],
  },
  rollers: { power: ["power_watts"], current_pos: ["position_percent"] },
  lights: { brightness: ["brightness_percent"] },
};
const FLAT: ReadonlyArray<readonly [component: string, path: ReadonlyArray<string>, metric: Metric]> = [
  ["sys", ["temperature"], ["temperature_celsius"]],
  ["sys", ["voltage"], ["voltage_volts"]],
  ["sys", ["uptime"], ["uptime_seconds"]],
  ["sys", ["ram_free"], ["ram_free_bytes"]],
  ["sys", ["fs_free"], ["fs_free_bytes"]],
  ["wifi", ["wifi_sta", "rssi"], ["rssi_dbm"]],
  ["temperature:0", ["tmp", "tC"], ["temperature_celsius"]],
  ["humidity:0", ["hum", "value"], ["humidity_percent"]],
  ["illuminance:0", ["lux", "value"], ["illuminance_lux"]],
  ["devicepower:0", ["bat", "value"], ["battery_percent"]],
  ["devicepower:0", ["bat", "voltage"], ["battery_volts"]],
];
const ADDON: Readonly<Record<string, readonly [component: string, field: string, metric: Metric]>> = {
  ext_temperature: ["temperature", "tC", ["temperature_celsius"]],
  ext_humidity: ["humidity", "hum", ["humidity_percent"]],
};

/** Of a Gen1 `/status`. */
export function samplesOfGen1(status: Json): Sample[] {
  const samples: Sample[] = [];
  if (!isObject(status)) return samples;
  for (const [list, metrics] of Object.entries(LISTS)) {
    const all = status[list];
    if (!Array.isArray(all)) continue;
    all.slice(0, 16).forEach((one: Json, i) => {
      if (!isObject(one) || one.is_valid === false) return;
      for (const [field, metric] of Object.entries(metrics)) {
        add(samples, metric, one[field], { component: `${gen1Component(status, list)}:${i}` });
      }
    });
  }
  for (const [component, path, metric] of FLAT) {
    let at: Json | undefined = status;
    for (const key of path) at = isObject(at) ? at[key] : undefined;
    add(samples, metric, at, { component });
  }
  for (const [list, [component, field, metric]] of Object.entries(ADDON)) {
    const all = status[list];
    if (!isObject(all)) continue;
    for (const [i, one] of Object.entries(all).slice(0, 16)) {
      if (isObject(one) && /^\d$/.test(i))
        add(samples, metric, one[field], { component: `${component}:${100 + Number(i)}` });
    }
  }
  return samples.slice(0, MOST);
}

/** A meter belongs to what it measures. */
function gen1Component(status: JsonObject, list: string): string {
  const has = (name: string) => Array.isArray(status[name]) && status[name].length > 0;
  if (list === "emeters") return "em1";
  if (list === "rollers") return "cover";
  if (list === "lights") return "light";
  return has("rollers") ? "cover" : has("relays") ? "switch" : has("lights") ? "light" : "pm1";
}
