/** Passwords of devices: made into what the device takes, sealed, and forgotten, all before anything is decided. */
import { createHash } from "node:crypto";
import { NotFound } from "@millrace/contracts/problems.ts";
import { type DeviceState, device } from "@millrace/domain/devices/device.ts";
import type { Credentials } from "@millrace/domain/devices/device-state.ts";
import { Erased } from "@millrace/eventlog/sealing.ts";
import type { Asked } from "../asked.ts";
import { invalidInput } from "../command.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";

export interface PasswordGiven {
  readonly password: string;
  /** Of one that nobody has talked to yet. */
  readonly realm?: string | undefined;
  readonly gen?: number | undefined;
}

/** What Gen2 and later compute with, and all that is ever kept of their password. */
export const ha1Of = (realm: string, password: string): string =>
  createHash("sha256").update(`admin:${realm}:${password}`).digest("hex");

/** @throws Failed (invalid-input) where it is not known what the device takes */
export async function sealCredentials(
  gateway: Gateway,
  asked: Asked,
  state: Pick<DeviceState, "id" | "identity">,
  { password, realm = state.identity?.hostname, gen = state.identity?.gen }: PasswordGiven,
): Promise<Credentials> {
  if (gen === undefined) {
    return fail(
      invalidInput(
        "/body/gen",
        "is needed: nobody has talked to the device yet, so it is not known what it takes",
        "Give `gen`, and from 2 on `realm`, the device's own id; or wait until it was found.",
      ),
    );
  }
  if (gen > 1 && realm === undefined) {
    return fail(invalidInput("/body/realm", "is needed from generation 2 on", "It is the device's own id."));
  }
  const value = gen === 1 ? password : ha1Of(realm!, password);
  try {
    const sealed = await gateway.sealing.seal({ organisation: asked.organisation!.id, subject: state.id }, value);
    return { scheme: gen === 1 ? "basic" : "digest", sealed };
  } catch (error) {
    if (error instanceof Erased) return fail(new NotFound({ detail: `There is no such ${device.kind}.` }));
    throw error;
  }
}
