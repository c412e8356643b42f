/** Presence: every worker process says that it is there and what its node has, in the KV bucket `NODES`, gone by itself when it is. */
import type { Nats } from "./connection.ts";

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
  /** RFC 3339 */
  readonly startedAt: string;
}

export interface PresenceOptions {
  readonly nats: Nats;
  /** Asked before each announcement; what is slow to find out should be kept by the caller. */
  readonly describe: () => NodeRecord | Promise<NodeRecord>;
  /** Default 10,000. */
  readonly ttlMs?: number;
  readonly onError?: (error: unknown) => void;
}

export interface Presence {
  /** Says it again now, e.g. when Docker has gone. */
  refresh(): Promise<void>;
  /** Takes the record away. */
  stop(): Promise<void>;
}

/** Announces this process until it is stopped; a server that is away is waited for. */
export declare function announce(options: PresenceOptions): Promise<Presence>;
/** All that are there now. @throws LogUnavailable */
export declare function listNodes(nats: Nats): Promise<ReadonlyArray<NodeRecord>>;
