/** The connection to an engine, and the engine's face put together from its parts. */
import { existsSync } from "node:fs";
import { Agent } from "node:http";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { inspect } from "node:util";
import type Dockerode from "dockerode";
import type { DockerEngine, DockerOptions, EngineInfo } from "./docker.ts";
import { baseImages, build } from "./docker-build.ts";
import { configHash } from "./docker-config.ts";
import {
  ensureContainer,
  inspectContainer,
  listContainers,
  removeContainer,
  startContainer,
  stopContainer,
} from "./docker-containers.ts";
import { DockerFailed, refusedBy } from "./docker-failures.ts";
import { findImage, pruneImages, removeImage, retagImage } from "./docker-images.ts";
import { followLogs } from "./docker-logs.ts";
import { ensureNetwork, removeNetwork } from "./docker-networks.ts";
import { containerUse } from "./docker-use.ts";
import { watch } from "./docker-watch.ts";
import { type Addresses, parseRange } from "./subnets.ts";

/** What the parts of the adapter share. */
export interface Connection {
  readonly scope: string;
  readonly endpoint: string;
  /** For answers: kept connections, and a limit of time. */
  readonly calls: Dockerode;
  /** For streams: a connection each, no limit of time. */
  readonly streams: Dockerode;
  readonly subnets: Addresses;
  readonly ports: { readonly from: number; readonly to: number };
  /** By which tool an image can be checked, by its id. */
  readonly checks: Map<string, string>;
  /** Runs one call; what it throws becomes a DockerFailed, but for the statuses that the caller takes as an answer. */
  call<A>(doing: string, act: (docker: Dockerode) => Promise<A>): Promise<A>;
}

export function openEngine(options: DockerOptions): DockerEngine {
  if (!/^[a-z0-9][a-z0-9.-]{0,62}$/.test(options.scope)) throw new TypeError(`"${options.scope}" is no scope`);
  const endpoint = options.endpoint ?? (process.env.DOCKER_HOST || "unix:///var/run/docker.sock");
  const named = options.endpoint !== undefined || Boolean(process.env.DOCKER_HOST);
  const agent = new TerseAgent({ keepAlive: true });
  const opened: { calls?: Dockerode; streams?: Dockerode } = {};
  let reached = false;
  const connection: Connection = {
    scope: options.scope,
    endpoint,
    get calls() {
      opened.calls ??= open(endpoint, { agent, timeout: options.timeoutMs ?? 30_000 });
      return opened.calls;
    },
    get streams() {
      opened.streams ??= open(endpoint, { agent: new TerseAgent({ keepAlive: false }) });
      return opened.streams;
    },
    subnets: parseRange(options.subnets ?? { range: "10.213.0.0/16", prefix: 27 }),
    ports: options.ports ?? { from: 20_000, to: 31_999 },
    checks: new Map(),
    call: async (doing, act) => {
      try {
        const socket = socketOf(endpoint);
        if (!opened.calls && socket && !existsSync(socket)) throw notThere(socket);
        const answer = await act(connection.calls);
        reached = true;
        return answer;
      } catch (error) {
        if (!reached && !named && !installed() && nobodyThere(error)) throw missing(endpoint, error);
        throw refusedBy(error, doing);
      }
    },
  };
  return {
    scope: options.scope,
    info: () => info(connection),
    baseImages: (request) => baseImages(connection, request),
    build: (request) => build(connection, request),
    findImage: (tag, hash) => findImage(connection, tag, hash),
    retagImage: (application, hash, tag) => retagImage(connection, application, hash, tag),
    removeImage: (tag) => removeImage(connection, tag),
    pruneImages: (application, keep) => pruneImages(connection, application, keep),
    ensureNetwork: (application) => ensureNetwork(connection, application),
    removeNetwork: (application) => removeNetwork(connection, application),
    ensureContainer: (spec) => ensureContainer(connection, spec),
    startContainer: (spec) => startContainer(connection, spec),
    listContainers: (filter) => listContainers(connection, filter ?? {}),
    inspectContainer: (id) => inspectContainer(connection, id),
    use: (id) => containerUse(connection, id),
    configHash,
    stopContainer: (id) => stopContainer(connection, id),
    removeContainer: (id, drained) => removeContainer(connection, id, drained),
    followLogs: (id, following) => followLogs(connection, id, following),
    watch: (onHint, signal) => watch(connection, onHint, signal),
    close: () => agent.destroy(),
  };
}

/**
 * The library writes the whole of each request's options down for a debug line that nobody asked for, with everything that the agent
 * leads to: its sockets, their buffers. Of two hundred deployments that was half of the orchestrator's time (measured, docker-modem 5.0.7).
 */
class TerseAgent extends Agent {
  [inspect.custom](): string {
    return "Agent";
  }
}

function open(endpoint: string, more: { agent: Agent; timeout?: number }): Dockerode {
  // A machine without an engine is spared the library: gRPC, protobuf and SSH come with it.
  const Client = createRequire(import.meta.url)("dockerode") as typeof Dockerode;
  const url = new URL(endpoint);
  const socketPath = socketOf(endpoint);
  // Every field that DOCKER_HOST in the environment would set is given, or it would win. No version is asked for: the
  // engine answers with its own.
  const address =
    socketPath !== undefined
      ? { socketPath, host: undefined, port: undefined, protocol: "http" }
      : { host: url.hostname, port: url.port || 2375, protocol: url.protocol === "https:" ? "https" : "http" };
  return new Client({ ...address, ...more } as Dockerode.DockerOptions);
}

function socketOf(endpoint: string): string | undefined {
  const url = new URL(endpoint);
  return url.protocol === "unix:" ? decodeURIComponent(url.pathname) : undefined;
}

/** As connecting would fail. */
function notThere(socket: string): Error {
  return Object.assign(new Error(`connect ENOENT ${socket}`), { code: "ENOENT" });
}

async function info(connection: Connection): Promise<EngineInfo> {
  return connection.call("say what it is", async (docker) => {
    const [version, about] = await Promise.all([docker.version(), docker.info()]);
    const lacks = [
      ...(about.MemoryLimit === false ? ["memory"] : []),
      ...(about.CpuCfsQuota === false ? ["cpus"] : []),
      ...(about.PidsLimit === false ? ["processes"] : []),
    ];
    return {
      version: version.Version,
      apiVersion: version.ApiVersion,
      os: about.OperatingSystem,
      architecture: version.Arch,
      storageDriver: about.Driver,
      cgroupVersion: about.CgroupVersion ?? "1",
      lacks,
      cpus: about.NCPU,
      memoryBytes: about.MemTotal,
    };
  });
}

function nobodyThere(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === "ENOENT" || code === "ECONNREFUSED";
}

/** An engine that is installed and not running is away, not missing. */
function installed(): boolean {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/bin", "/usr/sbin", "/usr/local/bin"];
  return folders.some((folder) => folder !== "" && existsSync(join(folder, "dockerd")));
}

function missing(endpoint: string, cause: unknown): DockerFailed {
  return new DockerFailed({
    class: "permanent",
    code: "DOCKER_MISSING",
    reason: `There is no Docker engine at ${endpoint}: applications built from a Dockerfile cannot run on this node. Static sites can.`,
    fix:
      process.platform === "darwin"
        ? "brew install --cask docker"
        : "apt-get install docker.io (or set MILLRACE_DOCKER_HOST to the endpoint of an engine)",
    cause,
  });
}
