/** Secrets of applications, opened for the moment of their use. Each opening is told in the process's log and counted. */
import { secret } from "@millrace/domain/identity/secret.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import { Erased, parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";

export interface Opening {
  readonly organisation: string;
  /** What for, in a word or two. */
  readonly purpose: string;
}

export class Secrets {
  readonly #log: EventLog;
  readonly #sealing: Sealing | undefined;

  private constructor(log: EventLog, sealing: Sealing | undefined) {
    this.#log = log;
    this.#sealing = sealing;
  }

  /** @param masterKey left out: no secret can be opened, and what needs one says so. @throws LogUnavailable */
  static async open(log: EventLog, masterKey: string | undefined, logger: Logger): Promise<Secrets> {
    if (masterKey === undefined) return new Secrets(log, undefined);
    const sealing = await Sealing.open({
      nats: log.nats,
      masterKeys: parseMasterKeys(masterKey),
      replicas: log.nats.replicas,
      onUnseal: ({ organisation, subject, purpose }) => {
        logger.info({ organisation, secret: subject, purpose }, "a secret was opened");
      },
    });
    return new Secrets(log, sealing);
  }

  /** @throws LogUnavailable */
  async value(id: string, { organisation, purpose }: Opening): Promise<Outcome<{ readonly value: string }>> {
    if (this.#sealing === undefined) {
      const fix = "Give the orchestrator the master key (MILLRACE_MASTER_KEY_FILE).";
      return fail("permanent", "NO_MASTER_KEY", `The secret ${id} cannot be opened without the master key.`, fix);
    }
    const { state } = await this.#log.aggregates.load(secret, id);
    if (state.organisation !== organisation || state.sealed === null) return missing(id);
    try {
      const bytes = await this.#sealing.unseal(state.sealed, { organisation, purpose });
      return { value: Buffer.from(bytes).toString("utf8") };
    } catch (error) {
      if (error instanceof LogUnavailable) throw error;
      if (error instanceof Erased) return missing(id);
      const fix = "Store the secret again, or give the orchestrator the master key that it was stored with.";
      return fail(
        "permanent",
        "SECRET_UNREADABLE",
        `The secret ${id} cannot be opened: ${(error as Error).message}`,
        fix,
      );
    }
  }

  close(): void {
    this.#sealing?.close();
  }
}

const missing = (id: string) =>
  fail(
    "permanent",
    "SECRET_MISSING",
    `The secret ${id} is not there, or was erased.`,
    "Store it again, name the new one in the application, and deploy.",
  );
