/** The gate for subscribers: lets them into NATS, answers what they ask, and ends those that may no longer be. */
import { SUBSCRIBER_LIMITS } from "@millrace/contracts/integrations/subscribers.ts";
import { type SubscriberState, subscriber } from "@millrace/domain/integrations/subscriber.ts";
import { connectNats, type Nats } from "@millrace/eventlog/connection.ts";
import { type LiveIndex, startLiveIndex } from "@millrace/eventlog/live-index.ts";
import type { GatewayConfig } from "../config.ts";
import type { Gateway } from "../gateway.ts";
import type { Hub } from "../hub.ts";
import { answerCallouts } from "./callout.ts";
import { type Connection, Connections } from "./connections.ts";
import { Issuer } from "./issuer.ts";
import { answerReads } from "./reads.ts";
import { digestOf, type Rights, rightsOf } from "./rights.ts";

/** Users of the configuration of NATS by which gateways do this: in the account of subscribers, and in the system account. */
export const DOOR_USER = "millrace-door";
export const WARDEN_USER = "millrace-warden";

const ACCOUNT = "SUBSCRIBERS";

export interface Gate {
  /** Where subscribers find NATS. */
  readonly servers: ReadonlyArray<string>;
  /** Why nobody can be let in; undefined: they can. */
  readonly trouble: string | undefined;
  /** Resolves when it lets in, or does not yet after a moment. Never rejects. */
  opened(): Promise<void>;
  /** After a change: resolves when it is known here, and whoever may no longer be connected is not. Bounded. */
  settled(id: string): Promise<void>;
  connectionsOf(id: string): ReadonlyArray<Connection>;
  stop(): Promise<void>;
}

const SETTLED_MS = 2_000;
const OPENED_MS = 3_000;
const CHANGED_MS = 20;

const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref());

export interface GateOptions {
  readonly config: GatewayConfig;
  readonly gateway: Gateway;
  readonly hub: Hub;
}

/** @returns undefined where NATS is not configured for it. The connections are made behind it: `trouble` says how far it is. */
export function openGate(options: GateOptions): Gate | undefined {
  const { natsIssuerSeed, natsDoorPassword } = options.config;
  if (natsIssuerSeed === undefined || natsDoorPassword === undefined) return undefined;
  return new OpenGate(options, new Issuer(natsIssuerSeed), natsDoorPassword);
}

class OpenGate implements Gate {
  readonly servers: ReadonlyArray<string>;
  readonly #options: GateOptions;
  readonly #opening: Promise<void>;
  readonly #stops: (() => void)[] = [];
  #index: LiveIndex | undefined;
  #door: Nats | undefined;
  #connections: Connections | undefined;
  #judging: NodeJS.Timeout | undefined;
  #failure: unknown;
  #isOpen = false;
  #isStopped = false;

  constructor(options: GateOptions, issuer: Issuer, password: string) {
    this.#options = options;
    const { natsPublicUrl, natsUrl } = options.config;
    this.servers = (natsPublicUrl ?? natsUrl).split(",");
    this.#opening = this.#open(issuer, password).catch((error: unknown) => {
      this.#failure = error;
      options.gateway.logger.error({ err: error }, "subscribers of NATS cannot be let in");
    });
  }

  get trouble(): string | undefined {
    if (this.#failure !== undefined) return (this.#failure as Error).message;
    if (!this.#isOpen) return "NATS has not let the gateway in yet";
    return this.#options.gateway.identity.trouble;
  }

  async #open(issuer: Issuer, password: string): Promise<void> {
    const { gateway, hub, config } = this.#options;
    const { log, logger, identity } = gateway;
    const account = config.natsSubscribersAccount ?? ACCOUNT;
    const settings = (user: string) => ({ url: config.natsUrl, name: `gateway ${user}`, user, password });
    const onError = (error: unknown) => logger.warn({ err: error }, "the subscribers' index tries again");
    const index = await startLiveIndex({
      log,
      context: "integrations",
      kinds: [subscriber],
      snapshot: "gateway-subscribers",
      keep: (_, state: SubscriberState) => state.exists,
      onError,
    });
    this.#index = index;
    await index.caughtUp();
    this.#connections = await Connections.open({
      settings: settings(WARDEN_USER),
      account,
      logger,
      isGood: (connection) => this.#isGood(connection),
    });
    this.#door = await connectNats(settings(DOOR_USER));
    if (this.#isStopped) return;
    const [nats, connections] = [this.#door, this.#connections];
    const find = (id: string) => index.get(subscriber, id)?.state;
    const rights = (state: SubscriberState, nowMs: number) => rightsOf(identity, state, nowMs);
    const shared = { nats, find, rights, trouble: () => identity.trouble };
    this.#stops.push(
      answerReads({ ...shared, gateway, hub, logger, onFlood: (id) => this.#endFlood(id) }),
      answerCallouts({
        ...shared,
        issuer,
        account,
        tlsOnly: config.natsSubscribersTls ?? false,
        open: (id) => connections.count(id),
      }),
      index.onChange((_, id) => void connections.judge(id)),
      identity.onChange(() => this.#changed()),
    );
    // The server knows of all of it before anybody is told that this gateway is there.
    await nats.nc.flush().catch(() => {});
    if (this.#isStopped) return;
    this.#isOpen = true;
    await connections.judge();
  }

  /** Whatever has changed in identity may have taken a right from anybody: many changes of one moment are one look. */
  #changed(): void {
    this.#judging ??= setTimeout(() => {
      this.#judging = undefined;
      void this.#connections?.judge();
    }, CHANGED_MS);
  }

  #isGood({ subscriber: id, digest }: Connection): boolean {
    const state = this.#index?.get(subscriber, id)?.state;
    const { identity } = this.#options.gateway;
    // Who cannot be judged at this moment goes on until they can.
    if (identity.trouble !== undefined) return true;
    const now = Date.now();
    const may: Rights | undefined = state === undefined ? undefined : rightsOf(identity, state, now);
    if (state === undefined || may === undefined) return false;
    const { hash, previous } = state;
    const isOld = previous !== null && Date.parse(previous.until) > now;
    return digest === digestOf(may.live, hash) || (isOld && digest === digestOf(may.live, previous.hash));
  }

  #endFlood(id: string): void {
    const { logger } = this.#options.gateway;
    const open = this.connectionsOf(id);
    logger.warn({ subscriber: id, connections: open.length }, "a subscriber asks on and on though refused: cut off");
    for (const connection of open) void this.#connections!.end(connection);
  }

  opened(): Promise<void> {
    return Promise.race([this.#opening, after(OPENED_MS)]);
  }

  async settled(id: string): Promise<void> {
    const { log } = this.#options.gateway;
    if (this.#index === undefined || this.#connections === undefined) return;
    await this.#index.reached(await log.head("integrations"), SETTLED_MS);
    await Promise.race([this.#connections.judge(id), after(SETTLED_MS)]);
  }

  connectionsOf(id: string): ReadonlyArray<Connection> {
    return this.#connections?.of(id).slice(0, SUBSCRIBER_LIMITS.connections * 2) ?? [];
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#judging);
    for (const stop of this.#stops) stop();
    // A server that never let us in is waited for behind our back.
    await Promise.race([this.#opening, after(500)]);
    await Promise.all([this.#connections?.stop(), this.#door?.close(), this.#index?.stop()]);
  }
}
