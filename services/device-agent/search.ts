/** Looking for devices that went away: a lease changes, and the device answers elsewhere. By mDNS, and only while some are missing. */
import { isIPv4 } from "node:net";
import type { DeviceState } from "@millrace/domain/devices/device.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { Gate } from "./adapters/shelly/gate.ts";
import { type BrowseOptions, browse, type Sighting } from "./adapters/shelly/mdns.ts";

const EVERY_MS = 120_000;
/** How soon it is seen that one is missing, or none is any more. */
const WATCH_MS = 2_000;
const LOOKS_AT_ONCE = 16;

/** Whether the network might know where it is. What stands on this machine itself (127.0.0.0/8) is not asked for there. */
export const isMissing = ({ reach, address, expected }: DeviceState): boolean =>
  (expected && address === null) ||
  (reach === "lost" && address !== null && !(isIPv4(address.host) && address.host.startsWith("127.")));

export interface SearchOptions {
  readonly missing: () => number;
  readonly look: (sighting: Sighting) => Promise<void>;
  readonly logger: Logger;
  /** For tests. */
  readonly socket?: BrowseOptions["socket"];
}

/** Until the signal. */
export async function searchMissing(
  { missing, look, logger, socket }: SearchOptions,
  signal: AbortSignal,
): Promise<void> {
  const gate = new Gate(LOOKS_AT_ONCE);
  while (!signal.aborted) {
    await pause(WATCH_MS, signal);
    if (signal.aborted || missing() === 0) continue;
    // Asked for a few times, and listened for from then on: who comes back says so, and is called at once.
    const over = new AbortController();
    const watching = setInterval(() => missing() === 0 && over.abort(), WATCH_MS);
    try {
      const looks: Promise<void>[] = [];
      await browse({
        forMs: EVERY_MS * (0.75 + Math.random() / 2),
        signal: AbortSignal.any([signal, over.signal]),
        onSighting: (sighting) => void looks.push(gate.pass(() => look(sighting))),
        ...(socket === undefined ? {} : { socket }),
      });
      await Promise.all(looks);
    } catch (err) {
      logger.warn({ err }, "missing devices could not be looked for by mDNS");
      await pause(EVERY_MS, signal);
    } finally {
      clearInterval(watching);
    }
  }
}
