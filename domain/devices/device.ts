/** The device: what people want of it, and what agents found. */
import { deviceEvents } from "@millrace/contracts/devices/events.ts";
import type { Kind } from "../kind.ts";
import type { DeviceCommand, DeviceReport } from "./device-command.ts";
import { decide, deviceNameClaim } from "./device-decide.ts";
import { deviceEventDeclarations } from "./device-events.ts";
import { type DeviceEvent, type DeviceState, evolve, initial, represent } from "./device-state.ts";

export const device: Kind<DeviceState, DeviceCommand, DeviceEvent> = {
  context: "devices",
  kind: "device",
  prefix: "dev",
  collection: "devices",
  decider: { initial, evolve, decide },
  events: deviceEventDeclarations,
  publicEvents: deviceEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  parents: (state) => state.groups,
  represent,
  nameClaim: deviceNameClaim,
  stateVersion: 1,
};

export type { DeviceCommand, DeviceEvent, DeviceReport, DeviceState };
