/** What is wanted of devices: profiles and groups by name, secrets that may be named, and what profiles and own settings come to. */

import type { Values } from "@millrace/contracts/devices/values.ts";
import { Forbidden, type Problem, Refused } from "@millrace/contracts/problems.ts";
import {
  type Configuration,
  desiredOf,
  type ProfileUsed,
  secretsNamed,
} from "@millrace/domain/devices/configuration.ts";
import { type DeviceState, device } from "@millrace/domain/devices/device.ts";
import type { Resolved } from "@millrace/domain/devices/device-command.ts";
import { adopted } from "@millrace/domain/devices/device-decide.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { profile } from "@millrace/domain/devices/profile.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { type Asked, mayAlso } from "../asked.ts";
import { invalidInput } from "../command.ts";
import { Failed, fail } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";

const KINDS: Readonly<Record<"group" | "profile", Kind>> = { group, profile };

/** Ids of groups or profiles that are there. @throws Failed (invalid-input) at the place of one that is not */
export const idsOf = (
  gateway: Gateway,
  asked: Asked,
  what: keyof typeof KINDS,
  references: ReadonlyArray<string>,
  pointer: string,
): Promise<string[]> =>
  Promise.all(
    references.map(async (reference, i) => {
      try {
        return (await loadOwn(gateway, KINDS[what], asked, reference)).id;
      } catch (error) {
        if (error instanceof Failed && (error.problem as Problem).status === 404) {
          return fail(
            invalidInput(`${pointer}/${i}`, `is no ${what} of the organisation`, `Create the ${what} first.`),
          );
        }
        throw error;
      }
    }),
  );

/**
 * Who names a secret in a configuration has it sent to the device, where others may read it: so to name one in a place where it is
 * not named already takes the permission for secrets. @throws Failed (forbidden)
 */
export function mayNameSecrets(asked: Asked, wanted: unknown, own: unknown): void {
  const known = secretsNamed(own);
  for (const { place, secret } of secretsNamed(wanted)) {
    if (known.some((one) => one.secret === secret && one.place === place)) continue;
    if (mayAlso(asked, "identity:secrets", secret)) continue;
    fail(
      new Forbidden({
        permission: "identity:secrets",
        detail: `It names the secret ${secret}, which is sent to the device: that takes the permission identity:secrets.`,
        fix: `Use a token that holds it, for all secrets or as identity:secrets@${secret} for this one.`,
      }),
    );
  }
}

interface Wanted {
  readonly configuration: Configuration | null;
  readonly profiles: ReadonlyArray<string>;
  readonly values: Values;
}

/** What it comes to, with the profiles as they are now; undefined without profiles. @throws Failed (refused) where a value is missing */
async function resolvedOf(gateway: Gateway, asked: Asked, wanted: Wanted): Promise<Resolved | undefined> {
  if (wanted.profiles.length === 0) return undefined;
  const used = await Promise.all(
    wanted.profiles.map(async (id): Promise<ProfileUsed> => {
      const { state } = await loadOwn(gateway, profile, asked, id);
      return { id, generation: state.generation, configuration: state.spec.configuration };
    }),
  );
  const { desired, missing } = desiredOf(used, wanted.configuration, wanted.values);
  if (missing.length > 0) {
    const reason = `Its profiles use values that the device does not have: ${missing.slice(0, 10).join(", ")}.`;
    const fix = "Give them in `values`.";
    return fail(new Refused({ rule: "values-missing", reason, detail: reason, fix }));
  }
  return { desired: desired ?? {}, profiles: used.map(({ id, generation }) => ({ id, generation })) };
}

const withResolved = (resolved: Resolved | undefined) => (resolved === undefined ? {} : { resolved });

/** What of a request goes into `configure`. */
export async function configuredBy(
  gateway: Gateway,
  asked: Asked,
  id: string,
  payload: {
    readonly configuration?: Configuration | null;
    readonly profiles?: ReadonlyArray<string>;
    readonly values?: Values;
  },
) {
  const { state } = await loadOwn(gateway, device, asked, id);
  mayNameSecrets(asked, payload.configuration ?? {}, state.configuration);
  const { profiles: named, ...rest } = payload;
  const chosen =
    named === undefined ? {} : { profiles: await idsOf(gateway, asked, "profile", named, "/body/profiles") };
  const wanted: Wanted = { ...pick(state), ...rest, ...chosen };
  return { ...rest, ...chosen, ...withResolved(await resolvedOf(gateway, asked, wanted)) };
}

const pick = ({ configuration, profiles, values }: DeviceState): Wanted => ({ configuration, profiles, values });

/** What goes into `adopt`, beside the components. */
export async function adoptedBy(
  gateway: Gateway,
  asked: Asked,
  id: string,
  components: ReadonlyArray<string> | undefined,
) {
  const { state } = await loadOwn(gateway, device, asked, id);
  if (state.observed === null || state.profiles.length === 0) return {};
  const known = components?.filter((component) => Object.hasOwn(state.observed!, component));
  const configuration = adopted(state, known);
  return withResolved(await resolvedOf(gateway, asked, { ...pick(state), configuration }));
}
