/** What an action is in a device's own calls. What a component cannot do is said before anything is sent. */
import type { Action } from "@millrace/contracts/devices/task-parts.ts";
import type { Call, JsonObject } from "@millrace/domain/devices/model/report.ts";
import { permanent } from "./task-work.ts";

type Params = NonNullable<Action["params"]>;

const without = (values: Readonly<Record<string, unknown>>): JsonObject =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as JsonObject;

const impossible = ({ component, action }: Action, why = "") =>
  permanent("NOT_AN_ACTION", `${component} cannot be told "${action}"${why}.`, "Ask for what this component can do.");

/** @throws StepFault NOT_AN_ACTION */
export function actionCalls(generation: number, action: Action): ReadonlyArray<Call> {
  const [type = "", number = "0"] = action.component.split(":");
  return [generation === 1 ? gen1(type, number, action) : rpc(type, Number(number), action)];
}

const LIGHTS: Readonly<Record<string, string>> = {
  light: "Light",
  rgb: "RGB",
  rgbw: "RGBW",
  cct: "CCT",
  rgbcct: "RGBCCT",
};

function rpc(type: string, id: number, asked: Action): Call {
  const { action, params = {} } = asked;
  const { afterS } = params;
  if (action === "identify") return { method: "Shelly.Identify", params: {} };
  switch (type) {
    case "switch":
      if (action === "on" || action === "off") {
        return { method: "Switch.Set", params: without({ id, on: action === "on", toggle_after: afterS }) };
      }
      if (action === "reset-counters") return { method: "Switch.ResetCounters", params: { id } };
      throw impossible(asked);
    case "pm1":
    case "em1":
    case "em":
    case "emdata":
    case "em1data":
      if (action === "reset-counters") {
        const name = { pm1: "PM1", em1: "EM1Data", em: "EMData", emdata: "EMData", em1data: "EM1Data" }[type];
        return { method: `${name}.ResetCounters`, params: { id } };
      }
      throw impossible(asked);
    case "cover":
      return cover(id, asked, params);
    case "thermostat":
      if (action === "target" && params.target !== undefined) {
        return { method: "Thermostat.SetConfig", params: { id, config: { target_C: params.target } } };
      }
      throw impossible(asked);
    default: {
      const name = LIGHTS[type];
      if (name === undefined) throw impossible(asked);
      return { method: `${name}.Set`, params: light(id, asked, params) };
    }
  }
}

function cover(id: number, asked: Action, { position, slat, afterS }: Params): Call {
  switch (asked.action) {
    case "open":
      return { method: "Cover.Open", params: without({ id, duration: afterS }) };
    case "close":
      return { method: "Cover.Close", params: without({ id, duration: afterS }) };
    case "stop":
      return { method: "Cover.Stop", params: { id } };
    case "calibrate":
      return { method: "Cover.Calibrate", params: { id } };
    case "position":
      if (position === undefined && slat === undefined) throw impossible(asked, " without a position");
      return { method: "Cover.GoToPosition", params: without({ id, pos: position, slat_pos: slat }) };
    case "reset-counters":
      return { method: "Cover.ResetCounters", params: { id } };
    default:
      throw impossible(asked);
  }
}

function light(id: number, asked: Action, params: Params): JsonObject {
  const { action } = asked;
  if (action !== "on" && action !== "off" && action !== "set") throw impossible(asked);
  const { red, green, blue } = params;
  const rgb =
    red === undefined && green === undefined && blue === undefined ? undefined : [red ?? 0, green ?? 0, blue ?? 0];
  return without({
    id,
    ...(action === "set" ? {} : { on: action === "on" }),
    brightness: params.brightness,
    rgb,
    white: params.white,
    ct: params.temperature,
    transition_duration: params.transitionMs === undefined ? undefined : params.transitionMs / 1_000,
    toggle_after: params.afterS,
  });
}

const text = (values: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );

function gen1(type: string, id: string, asked: Action): Call {
  const { action, params = {} } = asked;
  switch (type) {
    case "switch":
      if (action === "on" || action === "off") {
        return { path: `/relay/${id}`, query: text({ turn: action, timer: params.afterS }) };
      }
      throw impossible(asked);
    case "cover":
      if (action === "position" && params.position !== undefined) {
        return { path: `/roller/${id}`, query: text({ go: "to_pos", roller_pos: params.position }) };
      }
      if (action === "open" || action === "close" || action === "stop") {
        return { path: `/roller/${id}`, query: text({ go: action, duration: params.afterS }) };
      }
      throw impossible(asked);
    case "light":
    case "rgb":
    case "rgbw":
    case "cct": {
      if (action !== "on" && action !== "off" && action !== "set") throw impossible(asked);
      const { red, green, blue, white, brightness, temperature, transitionMs, afterS } = params;
      const isColor = type === "rgb" || type === "rgbw";
      const turn = action === "set" ? undefined : action;
      const common = { turn, transition: transitionMs, timer: afterS };
      return isColor
        ? { path: `/color/${id}`, query: text({ ...common, red, green, blue, white, gain: brightness }) }
        : { path: `/light/${id}`, query: text({ ...common, brightness, temp: temperature }) };
    }
    case "thermostat":
      if (action !== "target" || params.target === undefined) throw impossible(asked);
      return { path: `/thermostats/${id}`, query: text({ target_t: params.target }) };
    default:
      throw impossible(asked);
  }
}
