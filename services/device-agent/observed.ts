/** What a device says of itself, as the log knows it: the protocol's report through the model. */
import type { DeviceReport } from "@millrace/domain/devices/device.ts";
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

/** @throws DeviceFailure garbled, when it says nothing that could be understood */
export function observedOf(report: Report): { readonly known: Known; readonly report: DeviceReport } {
  const known = identityOf(report);
  if (isNoDevice(known)) throw failure("garbled", `It is no device that is known: ${known.reason}.`);
  const { id, model, app, generation, profile, firmware, authentication } = known;
  return {
    known,
    report: {
      reach: "reachable",
      identity: {
        hostname: id,
        model,
        ...(app === "" ? {} : { app }),
        gen: generation,
        ...(profile === null ? {} : { profile }),
        sleeps: known.sleeper === true,
        capabilities: capabilitiesOf(report),
      },
      firmware,
      revisions: revisionsOf(report.status),
      authentication: { state: authentication ? "accepted" : "open" },
    },
  };
}

/** `switch:0`, `wifi` …, as it names them. */
function capabilitiesOf(report: Report): ReadonlyArray<string> {
  const of: Json = report.generation === 1 ? report.settings : report.config;
  return isObject(of)
    ? Object.keys(of)
        .filter((name) => /^[a-z][a-z0-9_]{0,31}(:\d{1,5})?$/.test(name))
        .sort()
    : [];
}

export const addressOf = (address: Address): NonNullable<DeviceReport["address"]> => ({
  host: address.host,
  port: portOf(address),
  scheme: address.scheme,
});
