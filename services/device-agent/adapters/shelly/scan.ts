/** Looking for devices address by address, and looking who one is: `/shelly` is open on all of them. */
import type { AddressRange } from "@millrace/domain/devices/scan.ts";
import { type Address, movedToHttps } from "./address.ts";
import { type Identity, identityOf } from "./device.ts";
import { DeviceFailure, failure } from "./failures.ts";
import type { Gate } from "./gate.ts";
import { DeviceHttp } from "./http.ts";
import { parseJson } from "./json.ts";

/** One `/shelly` is less than 1 KB. */
const SHELLY_BYTES = 16 * 1024;

export interface Found {
  readonly identity: Identity;
  /** As it answered: with HTTPS and its certificate where that is all it speaks. */
  readonly address: Address;
}

/** Who is there. @throws DeviceFailure */
export async function lookAt(address: Address, gate: Gate, timeoutMs: number): Promise<Found> {
  let reached = address;
  const ask = async (): Promise<Identity> => {
    const http = new DeviceHttp({
      address: reached,
      gate,
      onPin: (pin) => {
        reached = { ...reached, pin };
      },
    });
    try {
      const answer = await http.request({ method: "GET", path: "/shelly", timeoutMs, mostBytes: SHELLY_BYTES });
      if (answer.status !== 200) throw failure("garbled", `/shelly answers ${answer.status}.`, { code: answer.status });
      return identityOf(parseJson(answer.body));
    } finally {
      await http.close();
    }
  };
  try {
    return { identity: await ask(), address: reached };
  } catch (error) {
    const moved = movedToHttps(reached, error);
    if (moved === undefined) throw error;
    reached = moved;
    return { identity: await ask(), address: reached };
  }
}

export const toAddress = (number: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");

export interface ScanOptions {
  readonly ranges: ReadonlyArray<AddressRange>;
  readonly gate: Gate;
  /** For each address. Default 1,500. */
  readonly timeoutMs?: number;
  /** Addresses looked at at once; more fill the neighbour table of small machines. Default 128. */
  readonly atOnce?: number;
  readonly signal?: AbortSignal;
  /** Told of each device once, by its MAC. */
  readonly onFound: (found: Found) => void;
  /** How many have been looked at. */
  readonly onProgress?: (done: number, all: number) => void;
}

/** @returns how many devices were found */
export async function scan(options: ScanOptions): Promise<number> {
  const { ranges, gate, timeoutMs = 1_500, atOnce = 128, signal, onFound, onProgress } = options;
  const all = ranges.reduce((sum, { from, to }) => sum + to - from + 1, 0);
  const macs = new Set<string>();
  const addresses = each(ranges);
  let done = 0;
  const work = async () => {
    for (const address of addresses) {
      if (signal?.aborted) return;
      try {
        const found = await lookAt({ ...address, scheme: "http" }, gate, timeoutMs);
        if (!macs.has(found.identity.mac)) {
          macs.add(found.identity.mac);
          onFound(found);
        }
      } catch (error) {
        // Nobody there, or no device: what most addresses are.
        if (!(error instanceof DeviceFailure)) throw error;
      }
      done += 1;
      onProgress?.(done, all);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, all) }, work));
  return macs.size;
}

function* each(ranges: ReadonlyArray<AddressRange>): Generator<{ readonly host: string; readonly port?: number }> {
  for (const { from, to, port } of ranges) {
    for (let at = from; at <= to; at++) yield { host: toAddress(at), ...(port === 80 ? {} : { port }) };
  }
}
