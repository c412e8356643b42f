/** Logins of devices, opened for the moment of their use. Each opening is told in the process's log and counted. */
import { device } from "@millrace/domain/devices/device.ts";
import type { Credentials as Stored } from "@millrace/domain/devices/device-state.ts";
import { secret } from "@millrace/domain/identity/secret.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { Erased, parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { failure } from "./adapters/shelly/failures.ts";
import type { Credentials } from "./adapters/shelly/login.ts";

export class Logins {
  readonly #log: EventLog;
  readonly #logger: Logger;
  readonly #sealing: Sealing | undefined;

  private constructor(log: EventLog, logger: Logger, sealing: Sealing | undefined) {
    this.#log = log;
    this.#logger = logger;
    this.#sealing = sealing;
  }

  /** @param masterKey left out: none can be opened @throws LogUnavailable */
  static async open(log: EventLog, masterKey: string | undefined, logger: Logger): Promise<Logins> {
    if (masterKey === undefined) return new Logins(log, logger, undefined);
    const sealing = await Sealing.open({
      nats: log.nats,
      masterKeys: parseMasterKeys(masterKey),
      replicas: log.nats.replicas,
      onUnseal: ({ organisation, subject, purpose }) => {
        logger.info({ organisation, secret: subject, purpose }, "a secret was opened");
      },
    });
    return new Logins(log, logger, sealing);
  }

  /** What a device is to be logged in to with, as the log has it now. @throws LogUnavailable; DeviceFailure not-sent, when it cannot be opened */
  async of(id: string): Promise<Credentials | undefined> {
    const { state } = await this.#log.aggregates.load(device, id);
    return state.credentials === null ? undefined : this.opened(state.credentials, state.organisation, id);
  }

  /** @throws LogUnavailable; DeviceFailure not-sent */
  async opened({ scheme, sealed }: Stored, organisation: string, id: string): Promise<Credentials | undefined> {
    if (this.#sealing === undefined) {
      throw withoutKey("Its login");
    }
    try {
      const bytes = await this.#sealing.unseal(sealed, { organisation, purpose: `login of ${id}` });
      const text = Buffer.from(bytes).toString("utf8");
      return scheme === "digest" ? { ha1: text } : { username: "admin", password: text };
    } catch (error) {
      if (error instanceof LogUnavailable) throw error;
      if (error instanceof Erased) return undefined;
      this.#logger.warn({ device: id, why: (error as Error).message }, "a login cannot be opened");
      throw failure("not-sent", "Its login cannot be opened with this master key.", { again: { when: "credentials" } });
    }
  }

  /** As the log keeps it. @throws LogUnavailable, Erased; DeviceFailure not-sent */
  async sealed(login: Credentials, organisation: string, id: string): Promise<Stored> {
    if (this.#sealing === undefined) throw withoutKey("Its login");
    const place = { organisation, subject: id };
    return "ha1" in login
      ? { scheme: "digest", sealed: await this.#sealing.seal(place, login.ha1) }
      : { scheme: "basic", sealed: await this.#sealing.seal(place, login.password) };
  }

  /** The value of one of the organisation's secrets. @throws LogUnavailable; DeviceFailure not-sent */
  async secret(id: string, organisation: string, purpose = "configuration of a device"): Promise<string> {
    if (this.#sealing === undefined) throw withoutKey(`The secret ${id}`);
    const { state } = await this.#log.aggregates.load(secret, id);
    const again = { when: "credentials" } as const;
    if (state.organisation !== organisation || state.sealed === null) {
      throw failure("not-sent", `The secret ${id} is not there, or was erased.`, { again });
    }
    try {
      const bytes = await this.#sealing.unseal(state.sealed, { organisation, purpose });
      return Buffer.from(bytes).toString("utf8");
    } catch (error) {
      if (error instanceof LogUnavailable) throw error;
      throw failure("not-sent", `The secret ${id} cannot be opened: ${(error as Error).message}`, { again });
    }
  }

  close(): void {
    this.#sealing?.close();
  }
}

const withoutKey = (what: string) =>
  failure("not-sent", `${what} cannot be opened without the master key.`, { again: { when: "credentials" } });
