/** A change of a device on its way to becoming writes: what both generations are given, and what they make of it. */
import { componentOf } from "./collections.ts";
import type { Configuration } from "./configuration.ts";
import type { Difference } from "./difference.ts";
import type { Report, Write } from "./report.ts";

export const UNWRITABLE = {
  "unknown-component": "the device has no such component",
  "unknown-field": "the device has no such field",
  "read-only": "the device does not let it be written",
  "secret-here": "a secret stands here in clear, or a reference where no secret belongs",
  "secret-needed": "another network is joined with its password, which is not given",
  "wrong-value": "the device cannot hold this value",
  "no-method": "the device has no call that writes it",
  "too-much": "it is more than a device takes",
} as const;

/** What cannot be written, and why. */
export interface Unwritable {
  readonly component: string;
  /** JSON pointer within the component. */
  readonly path: string;
  readonly reason: keyof typeof UNWRITABLE;
  readonly detail: string;
  /** The next step. */
  readonly fix: string;
}

/** A change on its way to becoming writes. */
export interface Work {
  readonly report: Report;
  readonly desired: Configuration;
  readonly observed: Configuration;
  /** By component; secrets that must be written are among them. */
  readonly changes: ReadonlyArray<Difference>;
}

/** What one generation makes of it. Ranks give the order; from `CUTTING` on a write may cut off. */
export interface Ranked {
  readonly rank: number;
  readonly write: Write;
}
export interface Made {
  readonly writes: ReadonlyArray<Ranked>;
  readonly refused: ReadonlyArray<Unwritable>;
  readonly again: ReadonlyArray<string>;
}

/** In which order components are written. */
export const RANKS = { keys: 0, scripts: 1, virtual: 2, components: 3, hooks: 4, system: 5, restarting: 6 } as const;
export const CUTTING = { auth: 10, network: 11, profile: 12 } as const;
const SYSTEM = new Set(["sys", "ble", "cloud", "mqtt", "ws", "coiot", "ui"]);
export const rankOf = (component: string): number => {
  const { type } = componentOf(component);
  if (type === "auth") return CUTTING.auth;
  if (type === "wifi" || type === "eth") return CUTTING.network;
  return SYSTEM.has(type) ? RANKS.system : RANKS.components;
};
