/** The port to a device: one face for Gen1 and Gen2+, whatever it is reached by. */
import type { Call, Report, Write } from "@millrace/domain/devices/model/report.ts";
import { failure } from "./failures.ts";
import { isObject, type Json, numberAt, textAt } from "./json.ts";
import type { Credentials } from "./login.ts";
import type { Notice } from "./rpc-peer.ts";

/** Who a device is, as `/shelly` says: open, whatever login is set. */
export interface Identity {
  /** 12 hex digits in capitals: the identity that stays. */
  readonly mac: string;
  /** Gen2+: what it calls itself, and the realm of its login: `shellyplus2pm-c4d8d5517c68`. */
  readonly id?: string;
  readonly generation: 1 | 2 | 3 | 4;
  /** `SHSW-25`, `SNSW-102P16EU` */
  readonly model: string;
  /** `20230913-112234/v1.14.0-gcb84623` */
  readonly firmware: string;
  /** Gen2+: `1.7.5` */
  readonly version?: string;
  /** Gen2+: `Plus2PM`, by which the vendor's index of firmware goes. */
  readonly app?: string;
  readonly name?: string;
  /** A login is set. */
  readonly login: boolean;
  /** The object itself, without what is secret in it. */
  readonly shelly: Json;
}

/** @returns 12 hex digits in capitals, or undefined */
export function macOf(text: string | undefined): string | undefined {
  const digits = text?.replaceAll(/[:-]/g, "").toUpperCase();
  return digits !== undefined && /^[0-9A-F]{12}$/.test(digits) ? digits : undefined;
}

/** @throws DeviceFailure garbled, when it is no device's */
export function identityOf(answer: Json): Identity {
  const mac = macOf(textAt(answer, "mac"));
  if (!isObject(answer) || mac === undefined) throw failure("garbled", "What answers is no Shelly: it has no MAC.");
  const { key: _, ...shelly } = answer;
  const gen = numberAt(answer, "gen");
  const name = textAt(answer, "name");
  const named = name === undefined ? {} : { name: name.slice(0, 128) };
  if (gen === undefined) {
    const model = textAt(answer, "type");
    if (model === undefined) throw failure("garbled", "What answers is no Shelly: it has neither `gen` nor `type`.");
    return {
      mac,
      generation: 1,
      model,
      firmware: textAt(answer, "fw") ?? "",
      login: answer.auth === true,
      ...named,
      shelly,
    };
  }
  if (gen !== 2 && gen !== 3 && gen !== 4) throw failure("garbled", `Its generation ${gen} is not known here.`);
  const [id, model] = [textAt(answer, "id"), textAt(answer, "model")];
  if (id === undefined || model === undefined) throw failure("garbled", "It says neither its id nor its model.");
  const [version, app] = [textAt(answer, "ver"), textAt(answer, "app")];
  return {
    mac,
    id,
    generation: gen,
    model,
    firmware: textAt(answer, "fw_id") ?? "",
    ...(version === undefined ? {} : { version }),
    ...(app === undefined ? {} : { app }),
    ...named,
    login: answer.auth_en === true,
    shelly,
  };
}

export interface Written {
  /** What the device answered. */
  readonly answer: Json;
  /** It takes effect after a restart. */
  readonly restartRequired: boolean;
  /** No answer came, as was to be expected of this one: find the device again. */
  readonly cut: boolean;
}

/** What to install: by the vendor's channel, or from an address that the device fetches itself. */
export type Update = { readonly stage: "stable" | "beta" } | { readonly url: string };

export interface Device {
  readonly identity: Identity;
  /** Asks `/shelly` anew. @throws DeviceFailure another-device, and what any call throws */
  identify(): Promise<Identity>;
  /** All that the device says of itself: several calls, a second or so. @throws DeviceFailure */
  report(): Promise<Report>;
  /** @throws DeviceFailure */
  status(): Promise<Json>;
  /** Any one call: RPC, or a path. @throws DeviceFailure */
  call(call: Call, timeoutMs?: number): Promise<Json>;
  /** Carries out one step; secrets stand in it in clear. @throws DeviceFailure */
  write(step: Write): Promise<Written>;
  /** Answers before it goes. @throws DeviceFailure */
  reboot(): Promise<void>;
  /** Begins it; how it ends shows in `/shelly` and in events. @throws DeviceFailure */
  update(what: Update): Promise<void>;
  /**
   * Sets, changes or (null) takes away the login; from then on the new one is used.
   * @throws DeviceFailure; with `maybeDone` nobody knows which of the two it has
   */
  setAuthentication(login: Credentials | null): Promise<void>;
  /** These are taken for its login from now on, whatever the log says; until `forgetCredentials`. */
  assume(login: Credentials | null): void;
  /** Other credentials are known now, or somebody wants it tried again. */
  forgetCredentials(): void;
  /** It was heard of otherwise: whatever did not answer before is asked again at once. */
  heardOf(): void;
  /** What it tells by itself, as long as a connection stands. @returns ends it */
  subscribe(listener: (notice: Notice) => void): () => void;
  close(): Promise<void>;
}

/** @throws DeviceFailure another-device */
export function assertSame(mac: string, found: Identity): Identity {
  if (found.mac !== mac) throw failure("another-device", `The device at this address is ${found.mac}.`);
  return found;
}
