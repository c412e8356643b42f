/** What makes a Gen1 model, and what several of them have. */
import type { Json, JsonObject } from "../face.ts";

/** A sensor of CoIoT: its description, and where in `/status` (or `settings:` of `/settings`) its value stands, if it does. */
export interface Sensor {
  readonly I: number;
  readonly T: string;
  readonly D: string;
  readonly L: number;
  readonly U?: string;
  readonly R?: Json;
  readonly from: string;
}

export interface Gen1Shape {
  /** More of `/shelly`. */
  readonly shelly: JsonObject;
  /** More of `/settings.device`. */
  readonly device: JsonObject;
  readonly settings: JsonObject;
  readonly status: JsonObject;
  readonly blocks: ReadonlyArray<readonly [number, string]>;
  readonly sensors: readonly Sensor[];
}

export interface Gen1Model {
  readonly model: string;
  /** Of its id: `shelly1`. */
  readonly prefix: string;
  /** mDNS TXT. */
  readonly app?: string;
  readonly arch: string;
  readonly fw: string;
  readonly version: string;
  /** `switch` of `?mode=`; the first is what it comes with, `""` where there are none. */
  readonly modes: readonly string[];
  readonly sleeper?: boolean;
  readonly actions: readonly string[];
  shape(mode: string): Gen1Shape;
  /** Common keys that this model does not have. */
  readonly without?: readonly string[];
}

export const FW = (stamp: string) => `${stamp}/v1.14.0-gcb84623`;
export const state = (D: string, I: number, L: number, from: string, R: Json = "0/1"): Sensor => ({
  I,
  T: "S",
  D,
  R,
  L,
  from,
});
export const changed = (L: number): Sensor => ({
  I: 9103,
  T: "EVC",
  D: "cfgChanged",
  R: "U16",
  L,
  from: "cfg_changed_cnt",
});
export const inputSensors = (index: number, L: number, base = 2001): Sensor[] => {
  const at = base + 100 * (index + 1);
  return [
    state("input", at, L, `inputs.${index}.input`),
    { I: at + 1, T: "EV", D: "inputEvent", R: ["S/L", ""], L, from: `inputs.${index}.event` },
    { I: at + 2, T: "EVC", D: "inputEventCnt", R: "U16", L, from: `inputs.${index}.event_cnt` },
  ];
};
export const meterSensors = (index: number, L: number, most: number, overpower: string): Sensor[] => [
  { I: 4101 + 100 * index, T: "P", D: "power", U: "W", R: [`0/${most}`, "-1"], L, from: `meters.${index}.power` },
  { I: 4103 + 100 * index, T: "E", D: "energy", U: "Wmin", R: ["U32", "-1"], L, from: `meters.${index}.total` },
  { I: 6102 + 100 * index, T: "A", D: "overpower", R: ["0/1", "-1"], L, from: overpower },
];
export const deviceTemperature = (L: number): Sensor[] => [
  { I: 3104, T: "T", D: "deviceTemp", U: "C", R: ["-40/300", "999"], L, from: "tmp.tC" },
  { I: 6101, T: "A", D: "overtemp", R: ["0/1", "-1"], L, from: "overtemperature" },
];
export const mode = (L: number, R: string): Sensor => ({ I: 9101, T: "S", D: "mode", R, L, from: "settings:mode" });

export const input = (): JsonObject => ({ input: 0, event: "", event_cnt: 0 });
export const many = <A>(count: number, make: (index: number) => A): A[] =>
  Array.from({ length: count }, (_, index) => make(index));
export const meter = (overpower: Json): JsonObject => ({
  power: 0,
  overpower,
  is_valid: true,
  timestamp: 1_741_445_506,
  counters: [0, 0, 0],
  total: 120,
});
export const switched = (more: JsonObject = {}): JsonObject => ({
  ison: false,
  has_timer: false,
  timer_started: 0,
  timer_duration: 0,
  timer_remaining: 0,
  ...more,
  source: "input",
});
export const heat = (tC: number): JsonObject => ({
  temperature: tC,
  overtemperature: false,
  tmp: { tC, tF: Math.round((tC * 1.8 + 32) * 100) / 100, is_valid: true },
});
export const relaySettings = (more: JsonObject = {}): JsonObject => ({
  name: null,
  appliance_type: "General",
  ison: false,
  has_timer: false,
  default_state: "off",
  btn_type: "toggle",
  btn_reverse: 0,
  auto_on: 0,
  auto_off: 0,
  ...more,
  schedule: false,
  schedule_rules: [],
});
export const NIGHT: JsonObject = { enabled: false, start_time: "00:00", end_time: "00:00", brightness: 0 };
export const ACTIONS = ["btn_on_url", "btn_off_url", "longpush_url", "shortpush_url", "out_on_url", "out_off_url"];
