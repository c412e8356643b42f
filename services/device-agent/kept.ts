/** How a device is kept: where it is talked to, how, and when it is taken for lost, by what the log says of it. */
import type { DeviceState } from "@millrace/domain/devices/device.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { isSelected } from "@millrace/domain/devices/sync-documents.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Address } from "./adapters/shelly/address.ts";
import type { Identity } from "./adapters/shelly/device.ts";
import type { Kept } from "./adapters/shelly/keeper.ts";

/** A device that sleeps tells no interval: a day and a little. */
const SLEEPER_LOST_MS = 26 * 3_600_000;
const NOWHERE: Address = { host: "", scheme: "http" };

export interface KeptOptions {
  readonly pollMs: number;
  readonly lostMs: number;
  readonly index: LiveIndex;
}

/** The shortest interval of the groups that it is in, by hand or by what they select. */
function ofGroups(state: DeviceState, index: LiveIndex): number | undefined {
  let least: number | undefined;
  for (const { id, state: of } of index.all(group)) {
    const { pollMs, selection } = of.spec;
    if (of.organisation !== state.organisation || pollMs === null || pollMs >= (least ?? Infinity)) continue;
    if (selection === null ? state.groups.includes(id) : isSelected(selection, state)) least = pollMs;
  }
  return least;
}

/** @param found what answered at its address, until the log knows what it is */
export function keptOf(
  state: DeviceState,
  found: Identity | undefined,
  { pollMs: usual, lostMs, index }: KeptOptions,
): Kept {
  const { identity, address } = state;
  const generation = (identity?.gen ?? found?.generation ?? 2) as Identity["generation"];
  const sleeps = identity?.sleeps === true;
  const isNowhere = address === null || (identity === null && found === undefined);
  const pollMs = state.pollMs ?? ofGroups(state, index) ?? usual;
  return {
    identity: {
      mac: state.mac,
      generation,
      model: identity?.model ?? "",
      firmware: state.firmware?.build ?? "",
      login: found?.login ?? state.credentials !== null,
      shelly: {},
      ...(identity === null ? (found?.id === undefined ? {} : { id: found.id }) : { id: identity.hostname }),
    },
    address: isNowhere ? NOWHERE : addressIn(state),
    reach: sleeps || isNowhere ? "wait" : generation === 1 ? "poll" : "dial",
    pollMs,
    lostAfterMs: sleeps ? SLEEPER_LOST_MS : Math.max(lostMs, 2.5 * pollMs),
  };
}

/** Where it is, by the one certificate that is trusted. */
export function addressIn({ address, fingerprint }: DeviceState): Address {
  if (address === null) return NOWHERE;
  const { host, port, scheme } = address;
  return { host, port, scheme, ...(fingerprint === null ? {} : { pin: fingerprint }) };
}
