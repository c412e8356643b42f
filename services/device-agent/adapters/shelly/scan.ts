/** Looking for devices address by address, and looking who one is: `/shelly` is open on all of them. */
import { isIPv4 } from "node:net";
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

/** A /16 is the most that one scan looks at. */
export const SCAN_MOST = 65_536;

const toNumber = (address: string): number =>
  address.split(".").reduce((number, part) => number * 256 + Number(part), 0);

export const toAddress = (number: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");

/**
 * `192.168.1.0/24`, `192.168.1.10-192.168.1.50`, `192.168.1.7`: first and last address, without those of the network and of everybody.
 * @throws DeviceFailure invalid-argument
 */
export function rangeOf(text: string): { readonly first: number; readonly last: number } {
  const wrong = () =>
    failure("invalid-argument", "A range is 192.168.1.0/24, 192.168.1.10-192.168.1.50, or one address.");
  const [, from, bits, to] = /^([\d.]{7,15})(?:\/(\d{1,2})|-([\d.]{7,15}))?$/.exec(text.trim()) ?? [];
  if (from === undefined || !isIPv4(from) || (to !== undefined && !isIPv4(to)) || Number(bits ?? 0) > 32) throw wrong();
  let first = toNumber(from);
  let last = to === undefined ? first : toNumber(to);
  if (bits !== undefined) {
    const size = 2 ** (32 - Number(bits));
    first -= first % size;
    last = first + size - 1;
    if (size > 2) {
      first += 1;
      last -= 1;
    }
  }
  if (last < first) throw wrong();
  if (last - first + 1 > SCAN_MOST)
    throw failure("invalid-argument", `A scan looks at ${SCAN_MOST} addresses at the most.`);
  return { first, last };
}

export interface ScanOptions {
  readonly ranges: ReadonlyArray<string>;
  readonly gate: Gate;
  /** For each address. Default 1,500. */
  readonly timeoutMs?: number;
  /** Addresses looked at at once; more fill the neighbour table of small machines. Default 128. */
  readonly atOnce?: number;
  readonly port?: number;
  readonly signal?: AbortSignal;
  /** Told of each device once, by its MAC. */
  readonly onFound: (found: Found) => void;
  /** How many have been looked at. */
  readonly onProgress?: (done: number, all: number) => void;
}

/** @returns how many devices were found @throws DeviceFailure invalid-argument, for ranges that are none */
export async function scan(options: ScanOptions): Promise<number> {
  const { gate, timeoutMs = 1_500, atOnce = 128, port, signal, onFound, onProgress } = options;
  const ranges = options.ranges.map(rangeOf);
  const all = ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  if (all > SCAN_MOST) throw failure("invalid-argument", `A scan looks at ${SCAN_MOST} addresses at the most.`);
  const macs = new Set<string>();
  const addresses = each(ranges);
  let done = 0;
  const work = async () => {
    for (const host of addresses) {
      if (signal?.aborted) return;
      try {
        const found = await lookAt({ host, scheme: "http", ...(port === undefined ? {} : { port }) }, gate, timeoutMs);
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

function* each(ranges: ReadonlyArray<{ readonly first: number; readonly last: number }>): Generator<string> {
  for (const { first, last } of ranges) for (let at = first; at <= last; at++) yield toAddress(at);
}
