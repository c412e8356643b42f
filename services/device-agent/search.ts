/** Looking for devices that went away: a lease changes, and the device answers elsewhere. By mDNS, and only while some are missing. */
import { isIPv4 } from "node:net";
import type { DeviceState } from "@millrace/domain/devices/device.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { Gate } from "./adapters/shelly/gate.ts";
import { browse, type Sighting } from "./adapters/shelly/mdns.ts";

const EVERY_MS = 120_000;
const LOOKS_AT_ONCE = 16;

/** Whether the network might know where it is. What stands on this machine itself (127.0.0.0/8) is not asked for there. */
export const isMissing = ({ reach, address, expected }: DeviceState): boolean =>
  (expected && address === null) ||
  (reach === "lost" && address !== null && !(isIPv4(address.host) && address.host.startsWith("127.")));

export interface SearchOptions {
  readonly missing: () => number;
  readonly look: (sighting: Sighting) => Promise<void>;
  readonly logger: Logger;
}

/** Until the signal. */
export async function searchMissing({ missing, look, logger }: SearchOptions, signal: AbortSignal): Promise<void> {
  const gate = new Gate(LOOKS_AT_ONCE);
  while (!signal.aborted) {
    await pause(EVERY_MS * (0.75 + Math.random() / 2), signal);
    if (signal.aborted || missing() === 0) continue;
    try {
      const looks: Promise<void>[] = [];
      await browse({ signal, onSighting: (sighting) => void looks.push(gate.pass(() => look(sighting))) });
      await Promise.all(looks);
    } catch (err) {
      logger.warn({ err }, "missing devices could not be looked for by mDNS");
    }
  }
}
