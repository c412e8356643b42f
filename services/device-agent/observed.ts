/** What a device says of itself, as the log knows it: the protocol's report through the model. */

import { LIMITS } from "@millrace/contracts/devices/values.ts";
import type { DeviceReport } from "@millrace/domain/devices/device.ts";
import { componentKeys } from "@millrace/domain/devices/model/capabilities.ts";
import { configurationOf } from "@millrace/domain/devices/model/configuration.ts";
import {
  identityOf,
  isNoDevice,
  type Identity as Known,
  revisionsOf,
} from "@millrace/domain/devices/model/identity.ts";
import type { Json, Report } from "@millrace/domain/devices/model/report.ts";
import type { Address } from "./adapters/shelly/address.ts";
import { portOf } from "./adapters/shelly/address.ts";
import { failure } from "./adapters/shelly/failures.ts";
import { isObject } from "./adapters/shelly/json.ts";
import { offerIn } from "./offers.ts";

const COMPONENT = /^[a-z][a-z0-9_]{0,31}(:\d{1,5})?$/;

/**
 * @param offers whether what it says of newer firmware counts
 * @throws DeviceFailure garbled, when it says nothing that could be understood
 */
export function observedOf(report: Report, offers = false): { readonly known: Known; readonly report: DeviceReport } {
  const known = identityOf(report);
  if (isNoDevice(known)) throw failure("garbled", `It is no device that is known: ${known.reason}.`);
  const { id, model, app, generation, profile, firmware, authentication } = known;
  const configuration = configurationOf(report);
  const identity = {
    hostname: id,
    model,
    ...(app === "" ? {} : { app }),
    gen: generation,
    ...(profile === null ? {} : { profile }),
    sleeps: known.sleeper === true,
    capabilities: componentKeys(report)
      .filter((name) => COMPONENT.test(name))
      .slice(0, LIMITS.capabilities),
  };
  const offered = offers && isObject(report.status) ? offerIn(report.status, { identity, firmware }) : undefined;
  return {
    known,
    report: {
      reach: "reachable",
      identity,
      firmware,
      ...(offered === undefined ? {} : { offered }),
      configuration,
      revisions: revisionsOf(report.status),
      authentication: { state: authentication ? "accepted" : "open" },
    },
  };
}

export const addressOf = (address: Address): NonNullable<DeviceReport["address"]> => ({
  host: address.host,
  port: portOf(address),
  scheme: address.scheme,
});

/** Of a device that tells no more than `/shelly` to who has no login: who it is, so that its login can be given. */
export function strangerOf(shelly: Json): DeviceReport | undefined {
  const known = identityOf({ shelly });
  if (isNoDevice(known)) return undefined;
  const { id: hostname, model, app, generation: gen, profile, firmware } = known;
  const named = { ...(app === "" ? {} : { app }), ...(profile === null ? {} : { profile }) };
  return { identity: { hostname, model, gen, ...named, sleeps: false, capabilities: [] }, firmware };
}
