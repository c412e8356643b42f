/**
 * Steps of a firmware update: look what there is, begin it, wait until the device shows another build, look at it. Any move off the old
 * build counts, for a device may take the one between first (reference, 2.6).
 */
import type { Firmware } from "@millrace/contracts/devices/device-parts.ts";
import { isNoUpdate, type Offered, offersOf, updateFor } from "@millrace/domain/devices/model/firmware.ts";
import type { Json } from "@millrace/domain/devices/model/report.ts";
import type { Device, Identity } from "../adapters/shelly/device.ts";
import { DeviceFailure } from "../adapters/shelly/failures.ts";
import { isObject, textAt } from "../adapters/shelly/json.ts";
import { RpcDevice } from "../adapters/shelly/rpc-device.ts";
import type { Notice } from "../adapters/shelly/rpc-peer.ts";
import { bootedAt, notInTime } from "./task-device.ts";
import { type Doing, deviceOf, type Perform, permanent, reported, untilFound } from "./task-work.ts";

/** Found by `check`: nothing newer is there, and nothing is done. */
const CURRENT = "nothing newer";

export const firmwareOf = ({ firmware: build, version }: Identity): Firmware => ({
  version: version ?? /\/(v?[0-9][^/]*)$/.exec(build)?.[1] ?? build,
  build,
});

function askedOf({ state }: Doing): { readonly stage: Offered["stage"]; readonly url?: string | undefined } {
  const { asked } = state;
  if (asked?.kind !== "firmware") throw new TypeError(`${state.id} is no update`);
  return { stage: asked.stage ?? "stable", url: asked.url };
}

const checked = ({ state }: Doing) => state.steps.check?.output;
const isCurrent = (doing: Doing): boolean => checked(doing)?.result?.startsWith(CURRENT) === true;

export const checkFirmware: Perform = async (doing) => {
  const device = deviceOf(doing);
  const identity = await device.identify();
  const firmware = firmwareOf(identity);
  const { stage, url } = askedOf(doing);
  if (url !== undefined) return { output: { firmware } };
  const offers = await offered(doing, device, identity);
  const { generation, model, app = model } = identity;
  const update = updateFor({ generation, app, firmware }, offers, [stage]);
  if (!isNoUpdate(update)) {
    return {
      output: { firmware, result: update.version },
      also: [reported(doing.owner, { firmware, offered: update })],
    };
  }
  if (update.none === "unreadable") throw permanent("UNREADABLE", update.reason, "Give the image's address.");
  const result = `${CURRENT}: ${offers.length === 0 ? "none is offered" : update.reason}`;
  return { output: { firmware, result }, also: [reported(doing.owner, { firmware, offered: null })] };
};

/** By our own look at the maker's index where images are served from here, else as the device knows. */
async function offered(doing: Doing, device: Device, identity: Identity): Promise<ReadonlyArray<Offered>> {
  const { images } = doing.keeping;
  const { stage } = askedOf(doing);
  if (images !== undefined) {
    const found = await images.offered({ ...identity, stage }, doing.signal);
    return found === undefined ? [] : [{ version: found.version, stage, ...buildOf(found.build) }];
  }
  if (identity.generation === 1) return offersOf(1, await device.status());
  // Asked anew, where the status says what it found some time ago.
  const answer = await device.call({ method: "Shelly.CheckForUpdate", params: {} }, CHECK_MS);
  const found: Json | undefined = isObject(answer) ? answer[stage] : undefined;
  const version = textAt(found, "version");
  return version === undefined ? [] : [{ version, stage, ...buildOf(textAt(found, "build_id")) }];
}

/** The device asks the maker. */
const CHECK_MS = 20_000;
const buildOf = (build: string | undefined) => (build === undefined ? {} : { build });

/** What a device told of an update that failed, by its id, until somebody waits for it. */
const told = new Map<string, string>();

function listen(device: Device, id: string): () => void {
  return device.subscribe((notice: Notice) => {
    if (notice.notice !== "events") return;
    const failed = notice.events.find(({ event }) => event === "ota_error");
    if (failed !== undefined) told.set(id, textAt(failed, "msg") ?? "it says no more");
  });
}

const changed = async (doing: Doing, device: Device): Promise<Identity | undefined> => {
  const identity = await device.identify();
  return identity.firmware === checked(doing)?.firmware?.build ? undefined : identity;
};

export const triggerFirmware: Perform = async (doing) => {
  if (isCurrent(doing)) return {};
  const device = deviceOf(doing);
  const { owner } = doing;
  const { generation } = device.identity;
  // Begun by somebody who died before it was recorded: a device that is at it refuses another, Gen1 takes no notice of it.
  if (doing.attempt > 1 && (await changed(doing, device)) !== undefined) return {};
  told.delete(owner.id);
  // How it fails is told to those who are connected, and to nobody afterwards.
  if (device instanceof RpcDevice && !device.linked) await device.link(doing.signal);
  // Until it is waited for: a failure may be told at once.
  const stop = listen(device, owner.id);
  setTimeout(stop, LISTEN_MS).unref();
  const { stage, url } = askedOf(doing);
  const from = url ?? (await servedFrom(doing, device, stage));
  try {
    await device.update(from === undefined ? { stage } : { url: from });
  } catch (error) {
    if (!(error instanceof DeviceFailure) || error.kind !== "refused") throw error;
    if (/in progress/i.test(error.reason)) return {};
    if (/no update/i.test(error.reason)) throw permanent("NO_UPDATE", error.reason, "Look what the maker offers it.");
    throw error;
  }
  doing.during();
  return { output: { result: generation === 1 || from !== undefined ? (from ?? stage) : stage } };
};

const LISTEN_MS = 30_000;

async function servedFrom(doing: Doing, device: Device, stage: Offered["stage"]): Promise<string | undefined> {
  const { images } = doing.keeping;
  if (images === undefined) return undefined;
  const offer = await images.offered({ ...device.identity, stage }, doing.signal);
  if (offer?.url === undefined) {
    throw permanent("NO_IMAGE", "The maker's index has no image of it any more.", "Ask for the update again.");
  }
  const host = doing.owner.address?.host;
  return images.served(offer.url, host, doing.signal);
}

export const awaitFirmware: Perform = async (doing) => {
  if (isCurrent(doing)) return {};
  const { id } = doing.owner;
  let heard: (() => void) | undefined;
  let by: Device | undefined;
  try {
    const found = await untilFound(doing, async (device) => {
      if (device !== by) {
        heard?.();
        heard = listen(device, id);
        by = device;
      }
      const identity = await changed(doing, device);
      if (identity !== undefined) return identity;
      const why = told.get(id);
      if (why !== undefined) throw permanent("OTA_ERROR", `The device could not install it: ${why}.`, OTA_FIX);
      return undefined;
    });
    if (found === undefined) return notInTime();
    return { output: { firmware: firmwareOf(found) } };
  } finally {
    heard?.();
    told.delete(id);
  }
};

const OTA_FIX =
  "See whether the image is for this model and can be fetched from the device's network; ask for it again.";

/** It runs, and says what: the log knows it with the task's end. */
export const verifyFirmware: Perform = async (doing) => {
  if (isCurrent(doing)) return {};
  const device = deviceOf(doing);
  const firmware = firmwareOf(await device.identify());
  if (firmware.build === checked(doing)?.firmware?.build) {
    throw permanent("NOT_VERIFIED", `It runs ${firmware.version} as before.`, OTA_FIX);
  }
  const began = await bootedAt(device);
  return { output: { firmware, bootedAt: began }, also: [reported(doing.owner, { firmware })] };
};
