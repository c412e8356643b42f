/** Presence: every worker process says that it is there and what its node has, in the KV bucket `NODES`, gone by itself when it is. */
import { isNotFound, type Nats } from "./connection.ts";
import { readBatch } from "./direct.ts";
import { LogUnavailable } from "./failures.ts";
import { LeaseBucket } from "./lease-bucket.ts";

/** What a worker process says about itself and its node. */
export interface NodeRecord {
  readonly node: string;
  readonly service: string;
  /** Name of the process: `host:pid:…`. */
  readonly instance: string;
  readonly pid: number;
  readonly host: string;
  readonly version: string;
  readonly dataFolder: string;
  readonly docker:
    | { readonly endpoint: string; readonly version: string; readonly scope: string }
    /** One sentence: what is missing and what to do. */
    | { readonly endpoint: string; readonly missing: string };
  /** On the data folder's file system. */
  readonly freeBytes: number;
  /** What it can do: `git`, `static`, `docker`, … */
  readonly capabilities: ReadonlyArray<string>;
  /** Where it takes and gives bytes, for gateways: `http://host:port`; missing: it does not, or another process of the node does. */
  readonly bytes?: string;
  /** RFC 3339 */
  readonly startedAt: string;
}

export interface PresenceOptions {
  readonly nats: Nats;
  /** Asked before each announcement; what is slow to find out should be kept by the caller. */
  readonly describe: () => NodeRecord | Promise<NodeRecord>;
  /** In whole seconds. Default 10,000. */
  readonly ttlMs?: number;
  readonly onError?: (error: unknown) => void;
}

export interface Presence {
  /** Says it again now, e.g. when Docker has gone. */
  refresh(): Promise<void>;
  /** Takes the record away. */
  stop(): Promise<void>;
}

const BUCKET = "NODES";
/** Processes listed at the most. */
const LIST_MOST = 1_000;

/** `<service>.<node>.<unique part of the instance>` */
const keyOf = ({ service, node, instance }: NodeRecord): string =>
  [service, node, instance.split(":").at(-1)!].map((part) => part.replaceAll(/[^A-Za-z0-9_-]/g, "_")).join(".");

/** Announces this process until it is stopped. A server that is away is waited for; the first announcement, too, may come later. */
export async function announce(options: PresenceOptions): Promise<Presence> {
  const bucket = new LeaseBucket(options.nats, BUCKET);
  const ttlMs = options.ttlMs ?? 10_000;
  let standing: { readonly key: string; readonly revision: number } | undefined;
  let stopped = false;
  const say = async () => {
    const record = await options.describe();
    const key = keyOf(record);
    await bucket.make();
    if (stopped) return;
    const written = await bucket.put(key, JSON.stringify(record), ttlMs, undefined);
    if (!("revision" in written)) throw new LogUnavailable({ what: "NATS", cause: written.cause });
    standing = { key, revision: written.revision };
  };
  let saying: Promise<void> = Promise.resolve();
  const sayOnce = () => {
    saying = saying
      .catch(() => {})
      .then(say)
      .catch((error: unknown) => options.onError?.(error));
    return saying;
  };
  const timer = setInterval(() => void sayOnce(), ttlMs / 3);
  await sayOnce();
  return {
    refresh: sayOnce,
    async stop() {
      clearInterval(timer);
      stopped = true;
      await saying;
      if (standing !== undefined) await bucket.remove(standing.key, standing.revision, "stopped");
    },
  };
}

const decoder = new TextDecoder();

/** All that are there now, by service, node and instance. @throws LogUnavailable */
export async function listNodes(nats: Nats): Promise<ReadonlyArray<NodeRecord>> {
  const bucket = new LeaseBucket(nats, BUCKET);
  try {
    await nats.jsm.streams.info(bucket.stream);
  } catch (error) {
    if (isNotFound(error)) return []; // Nobody has ever said anything since the server was started.
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
  const { messages } = await readBatch(nats, bucket.stream, { multi_last: [bucket.subject(">")], batch: LIST_MOST });
  return messages
    .filter(({ data }) => data.length > 0)
    .sort((a, b) => (a.subject < b.subject ? -1 : 1))
    .map(({ data }) => JSON.parse(decoder.decode(data)) as NodeRecord);
}
