/** A sealed value, opened for the moment of its use: what is missing for that is a failure that says what to do. */
import { LogUnavailable } from "./failures.ts";
import { fail, type Outcome } from "./outcome.ts";
import { Erased, type SealedValue, type Sealing } from "./sealing.ts";

export interface SecretAsked {
  readonly id: string;
  readonly organisation: string;
  /** What for, in a word or two. */
  readonly purpose: string;
  /** Who opens it: `orchestrator`. */
  readonly service: string;
}

/**
 * @param sealing undefined: there is no master key
 * @param sealed null: there is no such secret, or it is another organisation's
 * @throws LogUnavailable
 */
export async function openSecret(
  sealing: Sealing | undefined,
  sealed: SealedValue | null,
  { id, organisation, purpose, service }: SecretAsked,
): Promise<Outcome<{ readonly value: string }>> {
  if (sealing === undefined) {
    const fix = `Give the ${service} the master key (MILLRACE_MASTER_KEY_FILE).`;
    return fail("permanent", "NO_MASTER_KEY", `The secret ${id} cannot be opened without the master key.`, fix);
  }
  if (sealed === null) return missing(id);
  try {
    const bytes = await sealing.unseal(sealed, { organisation, purpose });
    return { value: Buffer.from(bytes).toString("utf8") };
  } catch (error) {
    if (error instanceof LogUnavailable) throw error;
    if (error instanceof Erased) return missing(id);
    const fix = `Store the secret again, or give the ${service} the master key that it was stored with.`;
    const message = `The secret ${id} cannot be opened: ${(error as Error).message}`;
    return fail("permanent", "SECRET_UNREADABLE", message, fix);
  }
}

const missing = (id: string) =>
  fail(
    "permanent",
    "SECRET_MISSING",
    `The secret ${id} is not there, or was erased.`,
    "Store it again, name the new one where this one is named, and begin again.",
  );
