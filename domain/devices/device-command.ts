/** What can be asked of a device, and what agents report of it. */
import type {
  Address,
  Firmware,
  Identity,
  OfferedFirmware,
  Revisions,
} from "@millrace/contracts/devices/device-parts.ts";
import type { Authentication, Outcome, TaskKind, Values } from "@millrace/contracts/devices/values.ts";
import type { Configuration } from "./configuration.ts";
import type { Credentials } from "./device-state.ts";
import type { Wished } from "./wish.ts";

interface Seen {
  /** The generation the asker saw; left out: any. */
  readonly seen?: number;
}

export interface DeviceInput {
  readonly mac: string;
  readonly name: string;
  readonly title?: string;
  readonly site: string;
  readonly tags: ReadonlyArray<string>;
  readonly groups: ReadonlyArray<string>;
  readonly expected: boolean;
  readonly pollMs?: number;
  readonly address?: Address;
  readonly found?: string;
}

export interface DeviceChange {
  readonly name?: string;
  readonly title?: string | null;
  readonly site?: string;
  readonly tags?: ReadonlyArray<string>;
  readonly groups?: ReadonlyArray<string>;
  readonly expected?: boolean;
  readonly pollMs?: number | null;
}

/** What profiles and own settings come to, made at the edge from the profiles as they are now (`desiredOf`). */
export interface Resolved {
  readonly desired: Configuration;
  readonly profiles: ReadonlyArray<{ readonly id: string; readonly generation: number }>;
}

export type PersonsDeviceCommand =
  | { readonly do: "add"; readonly spec: DeviceInput }
  | (Seen & { readonly do: "change"; readonly spec: DeviceChange })
  | (Seen & {
      readonly do: "configure";
      readonly configuration?: Configuration | null;
      readonly profiles?: ReadonlyArray<string>;
      readonly values?: Values;
      /** Needed where there will be profiles; of the spec as it will be. */
      readonly resolved?: Resolved;
    })
  /** What was observed, of these components or of all, becomes what is wanted. */
  | (Seen & { readonly do: "adopt"; readonly components?: ReadonlyArray<string>; readonly resolved?: Resolved })
  | (Seen & { readonly do: "storeCredentials"; readonly credentials: Credentials })
  | (Seen & { readonly do: "removeCredentials" })
  | (Seen & { readonly do: "resetTrust" })
  | (Seen & { readonly do: "remove" })
  /** With the task's `request`, all or nothing. */
  | { readonly do: "enqueue"; readonly task: string; readonly kind: TaskKind }
  /** With the task's `cancel`, all or nothing; refused as overtaken when it has begun meanwhile. */
  | { readonly do: "dequeue"; readonly task: string };

/** What an agent found, as far as it found it; what is left out was not looked at. Only what differs becomes an event. */
export interface DeviceReport {
  /** `asleep` and waking are of devices that sleep. */
  readonly reach?: "reachable" | "asleep" | "lost";
  /** Of `lost`: one line. */
  readonly reason?: string;
  readonly address?: Address;
  /** SHA-256 of the certificate that it showed. */
  readonly fingerprint?: string;
  readonly identity?: Identity;
  readonly firmware?: Firmware;
  /** null: none is newer. */
  readonly offered?: OfferedFirmware | null;
  /** In the model's normal form: without what is volatile, read-only or secret. */
  readonly configuration?: Configuration;
  readonly revisions?: Revisions;
  /** Who changed it, as `config_changed` tells. */
  readonly source?: string;
  readonly authentication?: { readonly state: Authentication; readonly until?: string };
}

export type WorkersDeviceCommand =
  /** `mac`: of who answered. Another's is refused by the rule `another-device`, and nothing is kept. */
  | { readonly do: "report"; readonly mac: string; readonly report: DeviceReport }
  /** Profiles have changed: of the spec of this generation, else it is refused as overtaken. */
  | { readonly do: "resolve"; readonly generation: number; readonly resolved: Resolved }
  /** With the task's `start`, all or nothing. */
  | { readonly do: "begin"; readonly task: string }
  /** With the task's `finish`, all or nothing; of an apply that was verified, with what was applied. */
  | { readonly do: "end"; readonly task: string; readonly outcome: Outcome; readonly applied?: Configuration }
  /** What a bulk operation wishes, worked out from this generation (`wished`), with what profiles then come to. */
  | ({ readonly do: "wish"; readonly seen: number; readonly resolved?: Resolved } & Wished)
  /** The password was changed on the device: with the task's own record. */
  | { readonly do: "rotateCredentials"; readonly credentials: Credentials | null };

export type DeviceCommand = PersonsDeviceCommand | WorkersDeviceCommand;
