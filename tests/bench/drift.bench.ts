/** The drift check of 10,000 devices that are as wanted, against Node's own deep comparison of the same two trees. */
import { isDeepStrictEqual } from "node:util";
import { driftOf } from "@millrace/domain/devices/drift.ts";
import { configurationOf } from "@millrace/domain/devices/model/configuration.ts";
import type { Json } from "@millrace/domain/devices/model/report.ts";
import { startFleet } from "../simulators/shelly/fleet.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";

const DEVICES = Number(process.env.DRIFT_DEVICES ?? 10_000);
const ROUNDS = 5;
const MODELS = ["S3SW-001X16EU", "SNSW-001X16EU", "SNSW-102P16EU", "S4SW-001X16EU"];

const fleet = await startFleet({ devices: MODELS.map((model) => ({ model })) });
const kinds = fleet.devices.map(({ mac }) => {
  const device = fleet.device(mac);
  const [config, status] = [device.config() as Json, device.status() as Json];
  return configurationOf({ generation: 3, shelly: {}, config, status });
});
await fleet.close();
const observed = Array.from({ length: DEVICES }, (_, i) => structuredClone(kinds[i % kinds.length]!));
const desired = structuredClone(observed);

let wrong = 0;
/** Microseconds of the processor for each. */
async function cpuOf(check: (i: number) => boolean): Promise<number> {
  const from = process.cpuUsage();
  for (let i = 0; i < DEVICES; i++) if (!check(i)) wrong++;
  const { user, system } = process.cpuUsage(from);
  return (user + system) / DEVICES;
}

const measured = await inTurn(
  ROUNDS,
  () => cpuOf((i) => driftOf(desired[i]!, desired[i]!, observed[i]!).fields.length === 0),
  () => cpuOf((i) => isDeepStrictEqual(desired[i], observed[i])),
);
if (wrong > 0) throw new Error(`${wrong} devices are not as wanted`);
const us = (all: number[]) => `${median(all).toFixed(1)} µs of the processor a device`;
report({
  what: `drift of ${DEVICES.toLocaleString("en")} devices that are as wanted`,
  against: "isDeepStrictEqual",
  ratio: ratioOf(measured, (took) => took),
  reach: "≤ 10",
  ours: us(measured.ours),
  theirs: us(measured.theirs),
  durability: "in memory",
});
