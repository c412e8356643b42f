/** The connection to NATS and the streams that must be there. */
import {
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  type MsgRequest,
  type StoredMsg,
  type StreamConfig,
} from "@nats-io/jetstream";
import { connect, type NatsConnection, nanos } from "@nats-io/transport-node";
import { LogUnavailable } from "./failures.ts";
import { feedStream, logStream } from "./subjects.ts";

export interface NatsSettings {
  /** `nats://host:port`, several separated by commas. */
  readonly url: string;
  readonly user?: string;
  readonly password?: string;
  /** Shown in the server's connection list. */
  readonly name: string;
  /** Default 1. */
  readonly replicas?: 1 | 3;
}

export interface Nats {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  /** 1 on one machine, 3 in a cluster. */
  readonly replicas: 1 | 3;
  readonly close: () => Promise<void>;
}

/** On this machine, and without `tls://`. One that requires TLS gets it all the same. */
const isBeside = (server: string): boolean =>
  /^(nats:\/\/)?(127(\.\d{1,3}){3}|\[::1\]|localhost)(:\d+)?$/.test(server.trim());

/** Connects, and reconnects for ever: a server that is away makes requests fail in time, never the process. */
export async function connectNats(settings: NatsSettings): Promise<Nats> {
  const servers = settings.url.split(",");
  const nc = await connect({
    servers,
    // A server that offers TLS to the world is spoken to in clear by those beside it: its certificate is not for their address.
    ...(servers.every(isBeside) ? { tls: null } : {}),
    name: settings.name,
    ...(settings.user === undefined ? {} : { user: settings.user, pass: settings.password ?? "" }),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    waitOnFirstConnect: true,
    timeout: 5_000,
    pingInterval: 10_000,
    noAsyncTraces: true,
  });
  const js = jetstream(nc, { timeout: 5_000 });
  const jsm = await jetstreamManager(nc, { timeout: 5_000, checkAPI: false });
  return {
    nc,
    js,
    jsm,
    replicas: settings.replicas ?? 1,
    close: async () => {
      if (!nc.isClosed()) await nc.drain().catch(() => nc.close());
    },
  };
}

export interface StreamSettings {
  /** 1 on one machine (default), 3 in a cluster. */
  readonly replicas?: 1 | 3;
  /** FEED is kept this long and this large. */
  readonly feedMaxAgeMs?: number;
  readonly feedMaxBytes?: number;
}

const DAY_MS = 86_400_000;

/** The log of a context: no limits, nothing can be deleted, atomic batches, direct reads. */
export const logStreamConfig = (
  context: string,
  settings: StreamSettings,
): Partial<StreamConfig> & { name: string } => ({
  name: logStream(context),
  subjects: [`evt.${context}.>`, `uniq.${context}.>`],
  storage: "file",
  retention: "limits",
  discard: "new",
  num_replicas: settings.replicas ?? 1,
  allow_direct: true,
  allow_atomic: true,
  deny_delete: true,
  deny_purge: true,
  duplicate_window: nanos(120_000),
  max_msg_size: 1_000_000,
});

/** The public feed of a context: what is too old or too much goes from its beginning. */
export const feedStreamConfig = (
  context: string,
  settings: StreamSettings,
): Partial<StreamConfig> & { name: string } => ({
  name: feedStream(context),
  subjects: [`feed.*.${context}.>`],
  storage: "file",
  retention: "limits",
  discard: "old",
  num_replicas: settings.replicas ?? 1,
  allow_direct: true,
  allow_atomic: true,
  deny_delete: true,
  duplicate_window: nanos(1_000),
  max_age: nanos(settings.feedMaxAgeMs ?? 30 * DAY_MS),
  max_bytes: settings.feedMaxBytes ?? 10 * 1024 ** 3,
});

const NO_MESSAGE_FOUND = 10037;

export const isNotFound = (error: unknown): boolean =>
  typeof error === "object" &&
  error !== null &&
  "code" in error &&
  (error.code === 404 || error.code === 10059 || error.code === 10037);

/** How long what is opened waits for a cluster that is just coming up, milliseconds. */
export const OPEN_MS = 20_000;

/**
 * Asks again for a while. Only for what may be done twice: reads, deletes of one message, and writes that expect a revision.
 * @param answers codes that are an answer and no trouble: thrown as they came
 * @throws LogUnavailable when the time is over
 */
export async function persist<T>(
  nats: Nats,
  ms: number,
  answers: ReadonlyArray<number>,
  ask: () => Promise<T>,
): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof JetStreamApiError && answers.includes(error.code)) throw error;
      if (nats.nc.isClosed() || Date.now() > deadline) throw new LogUnavailable({ what: "NATS", cause: error });
      await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 100));
    }
  }
}

/** What the server's `STREAM.MSG.GET` takes; the client's own type leaves the second form out. */
export type MessageQuery = MsgRequest | { readonly seq: number; readonly next_by_subj: string };

/**
 * A message as the stream's leader has it, which on three servers a direct read does not promise.
 * @returns null when there is none
 * @throws LogUnavailable
 */
export async function leaderMessage(nats: Nats, stream: string, query: MessageQuery): Promise<StoredMsg | null> {
  try {
    return await nats.jsm.streams.getMessage(stream, query as MsgRequest);
  } catch (error) {
    // "Stream not found" is no such answer: three servers say it for a moment of a stream that is there.
    if ((error as { code?: number }).code === NO_MESSAGE_FOUND) return null;
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}
