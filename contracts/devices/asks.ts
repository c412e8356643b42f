/** What only an agent can tell, that stands in the device's network. Asked of a site; nothing is changed by it. */
import * as Schema from "effect/Schema";
import { declareAsk } from "../asks.ts";
import { Capabilities, ConfigurationShown } from "./device-parts.ts";
import { Plan } from "./task-parts.ts";
import { DeviceId } from "./values.ts";

const AskedOfDevice = Schema.Struct({ organisation: Schema.String, device: DeviceId });
export type AskedOfDevice = typeof AskedOfDevice.Type;

/** Name of whom to ask: every agent of a site answers as this. */
export const holderOfSite = (site: string): string => `site-${site}`;

/** What an apply would write at this moment: the device is read, and nothing is written. */
export const devicePlan = declareAsk({
  context: "devices",
  name: "device-plan",
  request: AskedOfDevice,
  answer: Schema.Union([
    Plan,
    Schema.Struct({ failed: Schema.Struct({ code: Schema.String, message: Schema.String, fix: Schema.String }) }),
  ]),
  timeoutMs: 20_000,
  maxBytes: 512 * 1024,
});

/** How a device stands at this moment, in its own words: `Shelly.GetStatus`, or Gen1's `/status`. */
export const deviceStatus = declareAsk({
  context: "devices",
  name: "device-status",
  request: AskedOfDevice,
  answer: Schema.Union([
    Schema.Struct({ at: Schema.String, status: ConfigurationShown }),
    Schema.Struct({ failed: Schema.Struct({ code: Schema.String, message: Schema.String, fix: Schema.String }) }),
  ]),
  timeoutMs: 10_000,
});

/** What a device can, by what it says of itself: a model never seen has all its capabilities at once. */
export const deviceCapabilities = declareAsk({
  context: "devices",
  name: "device-capabilities",
  request: AskedOfDevice,
  answer: Schema.Union([
    Capabilities,
    Schema.Struct({ failed: Schema.Struct({ code: Schema.String, message: Schema.String, fix: Schema.String }) }),
  ]),
  timeoutMs: 20_000,
  maxBytes: 256 * 1024,
});
