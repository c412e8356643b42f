/** Which newer firmware there is for a device: by the maker's index where images are served from here, else as the device says itself. */
import type { OfferedFirmware } from "@millrace/contracts/devices/device-parts.ts";
import type { DeviceState } from "@millrace/domain/devices/device.ts";
import { sameJson } from "@millrace/domain/devices/drift.ts";
import { isNoUpdate, type Offered, offersOf, updateFor } from "@millrace/domain/devices/model/firmware.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { DeviceFailure } from "./adapters/shelly/failures.ts";
import { isObject, type Json, type JsonObject } from "./adapters/shelly/json.ts";
import type { Images } from "./images.ts";

type Running = Pick<DeviceState, "identity" | "firmware">;

/** What a status says of updates, to be compared with what it said before. */
const updatesIn = (status: JsonObject): Json | undefined =>
  isObject(status.sys) ? status.sys.available_updates : status.update;

/** @returns null: nothing that is newer; undefined: it is not known yet what it runs */
export function offerIn(status: JsonObject, running: Running): OfferedFirmware | null | undefined {
  const { identity } = running;
  return identity === null ? undefined : newer(running, offersOf(identity.gen, status));
}

export interface OffersOptions {
  /** Where firmware is served to devices from; left out: they fetch it from the maker, and say what there is. */
  readonly images?: Images | undefined;
  readonly logger: Logger;
  readonly tell: (id: string, offered: OfferedFirmware | null) => void;
}

const ASK_MS = 60_000;

export class Offers {
  readonly #options: OffersOptions;
  /** What a device said of updates last: it says the same all day. */
  readonly #said = new Map<string, Json | undefined>();

  constructor(options: OffersOptions) {
    this.#options = options;
  }

  /** What devices say counts. */
  get ofDevices(): boolean {
    return this.#options.images === undefined;
  }

  status(id: string, running: Running, status: JsonObject): void {
    if (!this.ofDevices || running.identity === null) return;
    const said = updatesIn(status);
    if (sameJson(said, this.#said.get(id))) return;
    const offered = offerIn(status, running);
    if (offered === undefined) return;
    this.#said.set(id, said);
    this.#options.tell(id, offered);
  }

  /** It was read whole. Never rejects. */
  async read(id: string, running: Running): Promise<void> {
    const { images, logger, tell } = this.#options;
    if (images === undefined) return;
    try {
      const offered = await offerOf(images, running, AbortSignal.timeout(ASK_MS));
      if (offered !== undefined) tell(id, offered);
    } catch (error) {
      logger.error({ err: error, device: id }, "firmware for it could not be looked for");
    }
  }

  forget(id: string): void {
    this.#said.delete(id);
  }
}

/** @returns undefined: the index could not be asked */
async function offerOf(
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
