/** How calls find their component. */
import type { Json, JsonObject } from "../face.ts";
import type { RpcDevice } from "../rpc-device.ts";
import { badId, need } from "./rpc-error.ts";

/** What stands in `source` of what a call has changed. */
export type RpcSource = "http" | "WS_in" | "WS_out" | "timer";
export type Method = (device: RpcDevice, params: JsonObject, source: RpcSource) => Json;
export type Methods = ReadonlyMap<string, { readonly name: string; readonly run: Method }>;

/** Namespaces whose name is not their component's with a capital. */
const SPELLED: Readonly<Record<string, string>> = {
  ...{ ble: "BLE", ws: "WS", knx: "KNX", bthome: "BTHome", bthomedevice: "BTHomeDevice", bthomesensor: "BTHomeSensor" },
  ...{ em: "EM", em1: "EM1", emdata: "EMData", em1data: "EM1Data", devicepower: "DevicePower", ht_ui: "HT_UI" },
  ...{
    ui: "UI",
    rgb: "RGB",
    rgbw: "RGBW",
    cct: "CCT",
    rgbcct: "RGBCCT",
    powerstrip_ui: "POWERSTRIP_UI",
    blutrv: "BluTrv",
  },
};

export const namespaceOf = (type: string): string => SPELLED[type] ?? type[0]!.toUpperCase() + type.slice(1);

export const typeOf = (key: string): string => key.split(":")[0]!;

/** The component that `{id}` means. @throws RpcError −103 without an id, −105 for one that is not there. */
export function keyOf(device: RpcDevice, type: string, params: JsonObject): string {
  if (device.part(type) !== undefined) return type;
  const id = need(params, "id", "number");
  const key = `${type}:${id}`;
  if (device.part(key) === undefined && !device.dynamic.has(key)) throw badId(id);
  return key;
}
