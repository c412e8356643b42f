/** The whole fleet in one JSON file, out and in. */
import type { Configuration } from "../configuration.ts";
import { fieldOf, isList, isObject } from "../json.ts";
import type { Json } from "../report.ts";
import { type Document, documentOf, type Fault, fileOf } from "./document.ts";

const FORMAT = "millrace.devices";
const VERSION = 1;
/** Characters of one file: ten thousand devices of the size that is common. */
export const FLEET_MOST = 128 * 1024 * 1024;

/** Sorted, so that equal fleets are equal texts. */
export function fleetJson(documents: ReadonlyArray<Document>): string {
  const devices = documents.toSorted((a, b) => (a.device.mac < b.device.mac ? -1 : 1)).map(fileOf);
  return `${JSON.stringify({ format: FORMAT, version: VERSION, devices }, null, 2)}\n`;
}

export function fleetFromJson(
  text: string,
  known: (mac: string) => Configuration | undefined = () => undefined,
): ReadonlyArray<Document> | { readonly faults: ReadonlyArray<Fault> } {
  const fault = (detail: string, fix: string) => ({ faults: [{ place: "", detail, fix }] });
  if (text.length > FLEET_MOST) return fault(`has ${text.length} characters`, `A file has at most ${FLEET_MOST}.`);
  let file: Json;
  try {
    file = JSON.parse(text);
  } catch (error) {
    return fault(`is no JSON: ${(error as Error).message.slice(0, 120)}`, "Give the file that an export made.");
  }
  const devices = fieldOf(file, "devices");
  if (!isObject(file) || file.format !== FORMAT || file.version !== VERSION || !isList(devices)) {
    return fault(`is none of ${FORMAT}, version ${VERSION}`, "Give the file that an export made.");
  }
  const read = devices.map((device) => documentOf(device, known));
  const faults = read.flatMap((found, index) =>
    "faults" in found ? found.faults.map((one) => ({ ...one, place: `devices[${index}].${one.place}` })) : [],
  );
  return faults.length > 0 ? { faults } : (read as ReadonlyArray<Document>);
}
