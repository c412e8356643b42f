/**
 * The servers a test file may use: its own account of the run's NATS server, databases of the run's PostgreSQL, and,
 * where three matter, a cluster of its own. The run starts the first two; a file run without them starts its own.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type NatsCluster,
  type NatsOptions,
  type RunningNats,
  startNats,
  startNatsCluster,
} from "@millrace/local/nats.ts";
import { createDatabase, type RunningPostgres, startPostgres } from "@millrace/local/postgres.ts";
import { deferToEndOfFile } from "./suite.ts";

export interface TestNats {
  /** `nats://127.0.0.1:port` */
  readonly url: string;
  readonly user: string;
  readonly pass: string;
}

let ownNats: Promise<TestNats> | undefined;
let ownPostgres: Promise<string> | undefined;

/** The NATS account of this file: empty at its start, JetStream enabled, shared by the file's tests. One server. */
export function testNats(): Promise<TestNats> {
  const { MILLRACE_TEST_NATS_URL: url, MILLRACE_TEST_NATS_USER: user, MILLRACE_TEST_NATS_PASSWORD: pass } = process.env;
  if (url && user && pass) return Promise.resolve({ url, user, pass });
  ownNats ??= startOwnNats().then((server) => ({ url: server.url, user: server.user, pass: server.password }));
  return ownNats;
}

/** A NATS server of the file's own, for what ends or freezes it. Ended and removed at the end of the file. */
export async function startOwnNats(options: Partial<NatsOptions> = {}): Promise<RunningNats> {
  const dataDir = testFolder("nats");
  let server = await startNats({ dataDir, ...options });
  deferToEndOfFile(() => server.kill());
  const follow = (running: RunningNats): RunningNats => ({
    ...running,
    async restart() {
      server = await running.restart();
      return follow(server);
    },
  });
  return follow(server);
}

/** The URL of a fresh, empty database: `postgres://user:password@127.0.0.1:port/name`. */
export async function testPostgres(): Promise<string> {
  let server = process.env.MILLRACE_TEST_POSTGRES_URL;
  if (!server) {
    ownPostgres ??= startOwnPostgres();
    server = await ownPostgres;
  }
  return createDatabase(server, `t_${randomBytes(8).toString("hex")}`);
}

async function startOwnPostgres(): Promise<string> {
  const server = await startPostgres({ dataDir: join(testFolder("postgres"), "data") });
  deferToEndOfFile(() => server.stop("SIGQUIT"));
  return server.url;
}

/** A PostgreSQL of the file's own, for what ends it. Started again on the same data and port by `restart`; removed at the end of the file. */
export async function startRestartablePostgres(): Promise<RunningPostgres & { restart(): Promise<void> }> {
  const dataDir = join(testFolder("postgres"), "data");
  let server = await startPostgres({ dataDir });
  const { port } = server;
  deferToEndOfFile(() => server.stop("SIGQUIT"));
  return {
    ...server,
    stop: (signal) => server.stop(signal),
    kill: () => server.kill(),
    signal: (signal) => server.signal(signal),
    async restart() {
      server = await startPostgres({ dataDir, port });
    },
  };
}

export interface ThreeServers {
  /** All three: give them to the client as `servers`. */
  readonly urls: readonly string[];
  readonly user: string;
  readonly pass: string;
  readonly cluster: NatsCluster;
}

/** A cluster of three NATS servers of the file's own, sync always. Ended and removed at the end of the file. */
export async function threeServers(options: Partial<NatsOptions> = {}): Promise<ThreeServers> {
  const cluster = await startNatsCluster({ dataDir: testFolder("cluster"), ...options });
  deferToEndOfFile(() => Promise.all(cluster.servers.map((server) => server.kill())));
  return { urls: cluster.urls, user: cluster.user, pass: cluster.password, cluster };
}

/** For processes that are given nothing else of the environment: what the run remembers of modules. */
export const fastStart = (): Record<string, string> => {
  const { NODE_OPTIONS = "", NODE_COMPILE_CACHE = "" } = process.env;
  return { NODE_OPTIONS, NODE_COMPILE_CACHE };
};

/** A fresh folder, removed at the end of the file. */
export function testFolder(name: string): string {
  const folder = mkdtempSync(join(process.env.MILLRACE_TEST_FOLDER ?? tmpdir(), `millrace-${name}-`));
  chmodSync(folder, 0o711); // PostgreSQL's user passes through it
  deferToEndOfFile(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
