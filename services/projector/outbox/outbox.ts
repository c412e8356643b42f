/**
 * The outbox: everything that is sent to webhooks and channels, from the feed, without PostgreSQL. Destinations are spread over shards, and a
 * shard is served by the one process that holds its lease; each projector serves as many as fall to it, and takes over what another leaves.
 */

import type { SecureContext } from "node:tls";
import { type ChannelState, channel } from "@millrace/domain/integrations/channel.ts";
import { integrations } from "@millrace/domain/integrations/context.ts";
import { type WebhookState, webhook } from "@millrace/domain/integrations/webhook.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { Addresses, Resolve } from "@millrace/eventlog/addresses.ts";
import { DeliveryLog, ensureDeliveries } from "@millrace/eventlog/deliveries.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import { ContextFeed } from "@millrace/eventlog/feed-context.ts";
import type { Check } from "@millrace/eventlog/health.ts";
import type { Leases } from "@millrace/eventlog/leases.ts";
import { type IndexEntry, type LiveIndex, startLiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { type OutboxRecord, OutboxRecords } from "@millrace/eventlog/outbox-records.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import type { Sealing } from "@millrace/eventlog/sealing.ts";
import { runSingleton } from "@millrace/eventlog/singleton.ts";
import { shardOf } from "@millrace/eventlog/subjects.ts";
import { gaugeFrom, metrics } from "@millrace/eventlog/telemetry.ts";
import { type ChannelMeans, ChannelSender } from "./channel.ts";
import { type AnyState, type Courier, Destination, type Parts } from "./destination.ts";
import { Lanes } from "./lanes.ts";
import { isGathering, Paced } from "./paced.ts";
import type { Sender } from "./sender.ts";
import { Shares } from "./shares.ts";
import { Transport } from "./transport.ts";
import { Slots, Turns } from "./turns.ts";
import { WebhookSender } from "./webhook.ts";

export interface OutboxOptions {
  readonly log: EventLog;
  readonly logger: Logger;
  readonly leases: Leases;
  readonly sealing: Sealing;
  readonly contexts: ReadonlyArray<string>;
  readonly addresses: Addresses;
  readonly resolve?: Resolve;
  /** Whose certificates are believed; left out: Node's own. */
  readonly authorities?: SecureContext;
  /** Requests at the same moment; default 256, a quarter of them for receivers that failed or were slow. */
  readonly requests?: number;
  readonly retryScale?: number;
  readonly timeoutMs?: number;
}

export interface Outbox {
  checks(): ReadonlyArray<Check>;
  stop(): Promise<void>;
}

const SHARDS = 16;
const shard = (id: string): number => Number(shardOf(id)) % SHARDS;
const RING = { ringEvents: 2_048, ringBytes: 8 * 1024 ** 2 };
const PAGES_AT_ONCE = 8;

/** @throws LogUnavailable */
export async function startOutbox(options: OutboxOptions): Promise<Outbox> {
  const { log, logger, contexts } = options;
  const stopping = new AbortController();
  await ensureDeliveries(log.nats);
  const feeds = new Map<string, ContextFeed>();
  const running: Promise<unknown>[] = [];
  for (const context of contexts) {
    const feed = new ContextFeed({
      nats: log.nats,
      context,
      ...RING,
      signal: stopping.signal,
      onHead: () => {},
      onTrouble: (error) => logger.warn({ context, err: error }, "the outbox does not hear its feed"),
    });
    feeds.set(context, feed);
    running.push(feed.run());
  }
  const requests = options.requests ?? 256;
  const parts: Parts = {
    log,
    logger,
    records: await OutboxRecords.open(log.nats),
    deliveries: new DeliveryLog(log.nats),
    feeds,
    slots: new Slots(requests, Math.max(1, requests >> 2)),
    turns: new Turns(PAGES_AT_ONCE),
    retryScale: options.retryScale ?? 1,
  };
  const index = await startLiveIndex({
    log,
    context: integrations.name,
    kinds: Object.values(DELIVERED).map(({ kind }) => kind),
    snapshot: "outbox",
    onError: (error) => logger.warn({ err: error }, "the outbox does not hear of its destinations"),
  });
  const { addresses, resolve, timeoutMs, authorities } = options;
  const transport = new Transport({
    addresses,
    ...(resolve === undefined ? {} : { resolve }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(authorities === undefined ? {} : { authorities }),
  });
  const house = new House(options, parts, index, transport);
  const forget = index.onChange((_, id) => house.look(id));
  const forgetGauge = gaugeFrom(metrics.outboxDestinations, () => house.size);
  const watching = watchConnection(log, feeds);
  const shares = new Shares(options.leases, SHARDS, house.shards);
  running.push(shares.join(stopping.signal));
  for (let number = 0; number < SHARDS; number++) {
    running.push(serve(number, options, index, house, shares, stopping.signal));
  }
  return {
    checks: () => [{ name: "outbox", ok: true, detail: `${house.shards.size} of ${SHARDS} shards` }],
    stop: async () => {
      stopping.abort();
      forget();
      forgetGauge();
      watching.stop();
      await Promise.all(running);
      await index.stop();
      parts.deliveries.close();
      await transport.close();
    },
  };
}

/** A shard, as long as its lease is held, and it is not one too many beside what others could serve. */
const serve = (
  number: number,
  { leases, logger }: OutboxOptions,
  index: LiveIndex,
  house: House,
  shares: Shares,
  signal: AbortSignal,
) =>
  runSingleton({
    leases,
    name: `outbox.${number}`,
    signal,
    wanted: (stopping) => shares.room(stopping),
    onError: (error) => logger.warn({ err: error, shard: number }, "a shard of the outbox waits"),
    work: async (held) => {
      await Promise.race([index.caughtUp(), pause(2 ** 31 - 1, held)]);
      house.shards.add(number);
      for (const id of house.known()) if (shard(id) === number) house.look(id);
      await shares.surplus(number, held);
      house.shards.delete(number);
      await Promise.all([...house.known()].filter((id) => shard(id) === number).map((id) => house.look(id)));
    },
  });

function watchConnection({ nats: { nc } }: EventLog, feeds: ReadonlyMap<string, ContextFeed>) {
  const status = nc.status();
  void (async () => {
    for await (const { type } of status) {
      if (type === "reconnect") for (const feed of feeds.values()) feed.reconnected();
    }
  })();
  return { stop: () => (status as unknown as { stop?: () => void }).stop?.() };
}

interface Delivered {
  readonly kind: Kind<any, any>;
  readonly sender: (house: House, state: any) => Sender;
  readonly courier: (destination: Destination, record: OutboxRecord) => Courier;
}

/** What is delivered to, by prefix of its ids. */
const DELIVERED: Readonly<Record<string, Delivered>> = {
  [webhook.prefix]: {
    kind: webhook,
    sender: (house, state: WebhookState) =>
      new WebhookSender(house.transport, state, (sealed) => house.unseal(sealed, state.organisation)),
    courier: (destination, record) => new Lanes(destination, record),
  },
  [channel.prefix]: {
    kind: channel,
    sender: (house, state: ChannelState) => new ChannelSender(house.means(state), state),
    courier: (destination, record) => {
      const { pace = {} } = (destination.state as ChannelState).spec!;
      const isPaced = Object.keys(pace).length > 0 || isGathering(record);
      return isPaced ? new Paced(destination, record) : new Lanes(destination, record);
    },
  },
};

/** The destinations of the shards that this process serves. Changes of one are taken one after the other. */
class House {
  readonly shards = new Set<number>();
  readonly transport: Transport;
  readonly #options: OutboxOptions;
  readonly #parts: Parts;
  readonly #index: LiveIndex;
  readonly #live = new Map<string, { readonly destination: Destination; readonly seq: number }>();
  readonly #changing = new Map<string, Promise<void>>();

  constructor(options: OutboxOptions, parts: Parts, index: LiveIndex, transport: Transport) {
    this.#options = options;
    this.#parts = parts;
    this.#index = index;
    this.transport = transport;
  }

  get size(): number {
    return this.#live.size;
  }

  known(): Set<string> {
    const ids = new Set(this.#live.keys());
    for (const { kind } of Object.values(DELIVERED)) for (const { id } of this.#index.all(kind)) ids.add(id);
    return ids;
  }

  /** Makes one as it should be now. */
  look(id: string): Promise<void> {
    const before = this.#changing.get(id) ?? Promise.resolve();
    const change = before.then(() => this.#look(id));
    this.#changing.set(id, change);
    void change.finally(() => {
      if (this.#changing.get(id) === change) this.#changing.delete(id);
    });
    return change;
  }

  async #look(id: string): Promise<void> {
    const delivered = DELIVERED[id.slice(0, id.indexOf("_"))];
    if (delivered === undefined) return;
    const entry = this.#index.get(delivered.kind, id) as IndexEntry<AnyState> | undefined;
    const isMine = this.shards.has(shard(id));
    const live = this.#live.get(id);
    if (live !== undefined && (!isMine || entry === undefined || live.seq !== entry.seq)) {
      this.#live.delete(id);
      await live.destination.stop();
    }
    if (!isMine || entry === undefined || this.#live.has(id)) return;
    try {
      if (!entry.state.exists) return await this.#clear(id, entry.organisation);
    } catch (error) {
      this.#parts.logger.warn(
        { err: error, destination: id },
        "what is left of a deleted destination is cleared later",
      );
      return;
    }
    const { state } = entry;
    const destination = new Destination(
      this.#parts,
      delivered.kind,
      state,
      delivered.sender(this, state),
      delivered.courier,
    );
    this.#live.set(id, { destination, seq: entry.seq });
    destination.begin();
  }

  /** Deleted: its keys are destroyed, and last its record, by which a process that was cut off knows that it has to go on. */
  async #clear(id: string, organisation: string): Promise<void> {
    const { records } = this.#parts;
    const { record, seq } = await records.read(id);
    if (record === undefined) return;
    await this.#options.sealing.erase({ organisation, subject: id });
    await records.write(id, undefined, seq);
  }

  means(state: ChannelState): ChannelMeans {
    const { addresses, resolve, timeoutMs = 20_000, authorities } = this.#options;
    const unseal = () => this.unseal(state.secrets!.current, state.organisation);
    return { transport: this.transport, addresses, resolve, timeoutMs, authorities, unseal };
  }

  /** @throws LogUnavailable, or an Error that says why it cannot be opened */
  async unseal(sealed: Parameters<Sealing["unseal"]>[0], organisation: string): Promise<string> {
    try {
      return Buffer.from(await this.#options.sealing.unseal(sealed, { organisation, purpose: "deliver" })).toString();
    } catch (error) {
      if (error instanceof LogUnavailable) throw error;
      throw new Error(`the secret of ${sealed.subject} cannot be opened: ${(error as Error).message}`);
    }
  }
}
