/** Secrets of applications, opened for the moment of their use. Each opening is told in the process's log and counted. */
import { secret } from "@millrace/domain/identity/secret.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { openSecret } from "@millrace/eventlog/open-secret.ts";
import type { Outcome } from "@millrace/eventlog/outcome.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";

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
    const { state } = await this.#log.aggregates.load(secret, id);
    const sealed = state.organisation === organisation ? state.sealed : null;
    return openSecret(this.#sealing, sealed, { id, organisation, purpose, service: "orchestrator" });
  }

  close(): void {
    this.#sealing?.close();
  }
}
