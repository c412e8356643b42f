/**
 * Who is connected as a subscriber, and ending those that may no longer be: heard of by the servers' own events, and listed by them once a
 * minute and at the start, because events may be missed. A connection bears what it was let in for in its name, so that any gateway can judge any of them.
 */
import { isId } from "@millrace/contracts/ids.ts";
import { connectNats, type Nats, type NatsSettings } from "@millrace/eventlog/connection.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { metrics } from "@millrace/eventlog/telemetry.ts";

export interface Connection {
  /** Id of the NATS server, and the connection's number there: never given twice. */
  readonly server: string;
  readonly cid: number;
  readonly subscriber: string;
  /** What it was let in for. */
  readonly digest: string;
  readonly since: string | undefined;
  readonly address: string;
  readonly name: string | undefined;
  readonly library: string | undefined;
}

export interface ConnectionsOptions {
  readonly settings: NatsSettings;
  /** The account that subscribers are in. */
  readonly account: string;
  readonly logger: Pick<Logger, "info" | "warn">;
  /** Whether it may go on as it is. Asked when one begins, when something has changed, and in every round. */
  readonly isGood: (connection: Connection) => boolean;
}

const ROUND_MS = 60_000;
const AGAIN_MS = 1_000;
const ANSWER_MS = 2_000;
/** How long servers are waited for that answer a question to all. */
const GATHER_MS = 400;
const PAGE = 1_024;

/** As the servers tell of it, in events and lists. */
interface Told {
  readonly user?: string;
  readonly authorized_user?: string;
  readonly id?: number;
  readonly cid?: number;
  readonly host?: string;
  readonly ip?: string;
  readonly start?: string;
  readonly name?: string;
  readonly lang?: string;
  readonly ver?: string;
  readonly version?: string;
}

export const userName = (subscriber: string, digest: string): string => `${subscriber}.${digest}`;

function read(server: string, told: Told): Connection | undefined {
  const [subscriber = "", digest = ""] = (told.authorized_user ?? told.user ?? "").split(".");
  const cid = told.cid ?? told.id;
  if (!isId("sub", subscriber) || cid === undefined) return undefined;
  const library = [told.lang, told.version ?? told.ver].filter((part) => part !== undefined && part !== "").join(" ");
  return {
    server,
    cid,
    subscriber,
    digest,
    since: told.start,
    address: told.ip ?? told.host ?? "",
    name: told.name === "" ? undefined : told.name?.slice(0, 200),
    library: library === "" ? undefined : library.slice(0, 100),
  };
}

export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #nats: Nats;
  readonly #open = new Map<string, Connection>();
  readonly #counts = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  /** What ended while the servers were asked: their lists may still have it. */
  #gone: Set<string> | undefined;
  #stopped = false;

  private constructor(options: ConnectionsOptions, nats: Nats) {
    this.#options = options;
    this.#nats = nats;
    const told = (what: string, take: (connection: Connection) => void) =>
      nats.nc.subscribe(`$SYS.ACCOUNT.${options.account}.${what}`, {
        callback: (error, message) => {
          if (error !== null) return;
          const { server, client } = message.json<{ server: { id: string }; client: Told }>();
          const connection = read(server.id, client);
          if (connection !== undefined) take(connection);
        },
      });
    told("CONNECT", (connection) => {
      this.#add(connection);
      void this.judge(connection.subscriber);
    });
    told("DISCONNECT", (connection) => this.#remove(connection));
    this.#timer = setInterval(() => void this.round(), ROUND_MS);
  }

  /** Connects with the system account's user, and takes the first look round. */
  static async open(options: ConnectionsOptions): Promise<Connections> {
    const nats = await connectNats(options.settings);
    const connections = new Connections(options, nats);
    await connections.round();
    return connections;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#nats.close();
  }

  /** How many a subscriber has open. */
  count(subscriber: string): number {
    return this.#counts.get(subscriber) ?? 0;
  }

  of(subscriber: string): Connection[] {
    return [...this.#open.values()].filter((one) => one.subscriber === subscriber);
  }

  /** Ends those that may no longer be. @param subscriber only of this one @returns when the servers have done so, or cannot be reached */
  async judge(subscriber?: string): Promise<void> {
    if (subscriber !== undefined && this.count(subscriber) === 0) return;
    const { isGood } = this.#options;
    const bad = [...this.#open.values()].filter(
      (one) => (subscriber === undefined || one.subscriber === subscriber) && !isGood(one),
    );
    await Promise.all(bad.map((one) => this.end(one)));
  }

  /** Ends one, whatever it may. Tried again until it is gone. */
  async end(connection: Connection): Promise<void> {
    const { server, cid, subscriber } = connection;
    try {
      const reply = await this.#nats.nc.request(`$SYS.REQ.SERVER.${server}.KICK`, JSON.stringify({ cid }), {
        timeout: ANSWER_MS,
      });
      const { error } = reply.json<{ error?: { code?: number; description?: string } }>();
      // It ended by itself meanwhile.
      if (error !== undefined && error.code !== 404 && !/no such client/i.test(error.description ?? "")) {
        throw new Error(error.description);
      }
      this.#remove(connection);
      metrics.subscribersEnded.inc();
      this.#options.logger.info({ subscriber, cid }, "ended a connection that may no longer be");
    } catch (error) {
      if (this.#stopped) return;
      this.#options.logger.warn({ err: error, subscriber, cid }, "a connection could not be ended; tried again");
      setTimeout(() => void (this.#open.has(keyOf(connection)) && this.judge(subscriber)), AGAIN_MS).unref();
    }
  }

  /** Asks every server who is connected, and judges them all. Never rejects. */
  async round(): Promise<void> {
    if (this.#gone !== undefined || this.#stopped) return;
    this.#gone = new Set();
    const before = new Set(this.#open.keys());
    try {
      const listed = await this.#list();
      // Of a server that did not answer nothing is known: what was known stays.
      for (const key of before) if (listed.servers.has(serverOf(key)) && !listed.open.has(key)) this.#drop(key);
      for (const [key, connection] of listed.open) if (!this.#gone.has(key)) this.#add(connection);
    } catch (error) {
      if (!this.#stopped) this.#options.logger.warn({ err: error }, "the connections of subscribers cannot be listed");
    }
    this.#gone = undefined;
    await this.judge();
  }

  async #list(): Promise<{ open: Map<string, Connection>; servers: Set<string> }> {
    const query = { auth: true, acc: this.#options.account, limit: PAGE };
    const open = new Map<string, Connection>();
    const servers = new Set<string>();
    type Page = { server: { id: string }; data?: { connections?: Told[]; total?: number } };
    const take = ({ server, data }: Page): number => {
      servers.add(server.id);
      for (const told of data?.connections ?? []) {
        const connection = read(server.id, told);
        if (connection !== undefined) open.set(keyOf(connection), connection);
      }
      return data?.total ?? 0;
    };
    const more: { server: string; total: number }[] = [];
    const answers = await this.#nats.nc.requestMany("$SYS.REQ.SERVER.PING.CONNZ", JSON.stringify(query), {
      strategy: "stall",
      stall: GATHER_MS,
      maxWait: ANSWER_MS,
    } as never);
    for await (const answer of answers) {
      const page = answer.json<Page>();
      more.push({ server: page.server.id, total: take(page) });
    }
    for (const { server, total } of more) {
      for (let offset = PAGE; offset < total; offset += PAGE) {
        const asked = JSON.stringify({ ...query, offset });
        const answer = await this.#nats.nc.request(`$SYS.REQ.SERVER.${server}.CONNZ`, asked, { timeout: ANSWER_MS });
        take(answer.json<Page>());
      }
    }
    return { open, servers };
  }

  #add(connection: Connection): void {
    const key = keyOf(connection);
    if (!this.#open.has(key)) this.#counts.set(connection.subscriber, this.count(connection.subscriber) + 1);
    this.#open.set(key, connection);
    metrics.subscribersConnected.set(this.#open.size);
  }

  #remove(connection: Connection): void {
    const key = keyOf(connection);
    this.#gone?.add(key);
    this.#drop(key);
  }

  #drop(key: string): void {
    const known = this.#open.get(key);
    if (known === undefined) return;
    this.#open.delete(key);
    const left = this.count(known.subscriber) - 1;
    if (left > 0) this.#counts.set(known.subscriber, left);
    else this.#counts.delete(known.subscriber);
    metrics.subscribersConnected.set(this.#open.size);
  }
}

const keyOf = ({ server, cid }: Connection): string => `${server} ${cid}`;
const serverOf = (key: string): string => key.slice(0, key.indexOf(" "));
