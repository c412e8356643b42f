/** Which newer firmware there is for a device: by the maker's index where images are served from here, else as the device says itself. */
import type { OfferedFirmware } from "@millrace/contracts/devices/device-parts.ts";
import type { DeviceState } from "@millrace/domain/devices/device.ts";
import { isNoUpdate, type Offered, offersOf, updateFor } from "@millrace/domain/devices/model/firmware.ts";
import { DeviceFailure } from "./adapters/shelly/failures.ts";
import { isObject, type Json, type JsonObject } from "./adapters/shelly/json.ts";
import type { Images } from "./images.ts";

type Running = Pick<DeviceState, "identity" | "firmware">;

/** What a status says of updates, to be compared with what it said before. */
export const updatesIn = (status: JsonObject): Json | undefined =>
  isObject(status.sys) ? status.sys.available_updates : status.update;

/** @returns null: nothing that is newer; undefined: it is not known yet what it runs */
export function offerIn(status: JsonObject, running: Running): OfferedFirmware | null | undefined {
  const { identity } = running;
  return identity === null ? undefined : newer(running, offersOf(identity.gen, status));
}

/** @returns undefined: the index could not be asked */
export async function offerOf(
  images: Images,
  running: Running,
  signal: AbortSignal,
): Promise<OfferedFirmware | null | undefined> {
  const { identity } = running;
  if (identity === null) return undefined;
  const { gen: generation, model, app } = identity;
  try {
    const wanted = { generation, model, stage: "stable", ...(app === undefined ? {} : { app }) } as const;
    const found = await images.offered(wanted, signal);
    if (found === undefined) return null;
    const { version, build } = found;
    return newer(running, [{ version, stage: "stable", ...(build === undefined ? {} : { build }) }]);
  } catch (error) {
    if (error instanceof DeviceFailure) return undefined;
    throw error;
  }
}

function newer({ identity, firmware }: Running, offers: ReadonlyArray<Offered>): OfferedFirmware | null | undefined {
  if (identity === null || firmware === null) return undefined;
  const { gen, app, model } = identity;
  const generation = gen as 1 | 2 | 3 | 4;
  const found = updateFor({ generation, app: app ?? model, firmware }, offers);
  return isNoUpdate(found) ? null : found;
}
