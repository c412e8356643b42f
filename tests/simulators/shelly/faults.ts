/** What a fault makes of an answer, alike over HTTP and WebSocket. */
import type { Device } from "./device.ts";
import type { Fault, Json } from "./face.ts";

/** How an answer leaves, by its channel. */
export interface Way {
  /** Whole. `status` means something over HTTP only. */
  send(text: string, status: number): void;
  /** An error as this channel says it. */
  refuse(status: number, text: string): void;
  /** These bytes as the beginning of something longer, then a reset. */
  breakOff(text: string): void;
  /** More than anybody should read. */
  flood(): void;
}

const OTHER_MAC = "0BADC0DE0BAD";

/** The same text, of another device. */
export const asAnother = (device: Device, text: string): string =>
  text.replaceAll(device.mac, OTHER_MAC).replaceAll(device.mac.toLowerCase(), OTHER_MAC.toLowerCase());

export const REFUSALS: Readonly<Partial<Record<Fault["kind"], readonly [number, string]>>> = {
  busy: [503, "Service Unavailable"],
  "too-many-requests": [429, "Too many requests"],
  "locked-out": [429, "Too many failed authentication attempts"],
  error: [500, "Internal error"],
};

/** Answers by way of the fault that this request meets, if it does. `make` is called for no answer that is never given. */
export function answerBy(device: Device, what: string, way: Way, make: () => { text: string; status: number }): void {
  const fault = device.meets(what);
  if (fault === undefined) {
    const { text, status } = make();
    way.send(text, status);
    return;
  }
  const refusal = REFUSALS[fault.kind];
  if (refusal !== undefined) {
    way.refuse(...refusal);
    return;
  }
  switch (fault.kind) {
    case "garbage":
      way.send('{"id":1,"result":{"\u0001\u{1f4a5}', 200);
      return;
    case "huge":
      way.flood();
      return;
    case "silent":
      return;
    case "unanswered":
      make();
      return;
    case "drop":
      way.breakOff(make().text);
      return;
    case "slow": {
      const { text, status } = make();
      device.world.clock.after(fault.ms ?? 1_000, () => way.send(text, status));
      return;
    }
    default: {
      const { text, status } = make();
      way.send(asAnother(device, text), status);
      return;
    }
  }
}

export const textOf = (value: Json): string => JSON.stringify(value);
