/** A gateway over a NATS server of the file's own that lets subscribers in, and clients that come by it. */
import { randomBytes } from "node:crypto";
import type { NatsOptions } from "@millrace/local/nats.ts";
import { accountKeyOf, makeAccountSeed } from "@millrace/local/nkeys.ts";
import { type ConnectionOptions, connect, type NatsConnection } from "@nats-io/transport-node";
import { startOwnNats } from "./servers.ts";

export interface Door {
  /** For the configuration of a gateway. */
  readonly config: { readonly natsIssuerSeed: string; readonly natsDoorPassword: string };
  /** For the configuration of NATS. */
  readonly nats: Pick<NatsOptions, "subscribers">;
}

export function makeDoor(): Door {
  const seed = makeAccountSeed();
  const password = randomBytes(18).toString("base64url");
  return {
    config: { natsIssuerSeed: seed, natsDoorPassword: password },
    nats: { subscribers: { issuer: accountKeyOf(seed), password } },
  };
}

/** One NATS server that lets subscribers in, and what a gateway needs for it. */
export async function natsWithDoor(options: Partial<NatsOptions> = {}) {
  const door = makeDoor();
  const nats = await startOwnNats({ ...door.nats, ...options });
  const { url: natsUrl, user: natsUser, password: natsPassword } = nats;
  return { nats, config: { ...door.config, natsUrl, natsUser, natsPassword } };
}

export interface Credentials {
  /** Id of the subscriber. */
  readonly id: string;
  readonly secret: string;
}

/** Connects as a subscriber does. @throws what the client throws when it is not let in */
export const connectAs = (
  servers: string,
  { id, secret }: Credentials,
  options: Partial<ConnectionOptions> = {},
): Promise<NatsConnection> =>
  connect({
    servers,
    user: id,
    pass: secret,
    inboxPrefix: `_INBOX.${id}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    ignoreAuthErrorAbort: true,
    timeout: 10_000,
    noAsyncTraces: true,
    ...options,
  });

/** Asks for events. */
export async function readAs(client: NatsConnection, id: string, ask: object = {}, timeout = 20_000) {
  const reply = await client.request(`subscribers.${id}.read`, JSON.stringify(ask), { timeout });
  return { code: reply.headers?.get("Nats-Service-Error-Code") ?? "", body: reply.json<any>() };
}
