/**
 * A container engine (Docker Engine 20.10 or later) as the orchestrator uses it. Each act is create-if-absent or
 * compare-at-target, so it may be repeated after any crash; nothing without the label of this node's scope is changed or
 * removed. Every method throws DockerFailed and nothing else (save a defect).
 */
import { openEngine } from "./docker-engine.ts";

export { DockerFailed, type DockerFailureClass, type DockerFailureCode } from "./docker-failures.ts";
export { containerName, imageTag, networkName } from "./docker-names.ts";

export interface DockerOptions {
  /** The node's scope, `millrace.scope` on everything: a name of the installation and node, at most 63 of `[a-z0-9.-]`. */
  readonly scope: string;
  /** `unix:///…` or `tcp://host:port`. Default: DOCKER_HOST, else `unix:///var/run/docker.sock`. */
  readonly endpoint?: string;
  /** Where the applications' networks lie, in CIDR, and how long each prefix is. Default 10.213.0.0/16, each /27. */
  readonly subnets?: { readonly range: string; readonly prefix: number };
  /** Host ports on 127.0.0.1 for containers, first and last. Outside the kernel's own range. Default 20000 to 31999. */
  readonly ports?: { readonly from: number; readonly to: number };
  /** Longest wait for an answer that is no stream. Default 30 000. */
  readonly timeoutMs?: number;
}

export interface EngineInfo {
  /** Such as "20.10.24". */
  readonly version: string;
  readonly apiVersion: string;
  readonly os: string;
  readonly architecture: string;
  readonly storageDriver: string;
  readonly cgroupVersion: string;
  /** What this engine cannot enforce, such as "memory" or "processes": applications run without that limit. */
  readonly lacks: ReadonlyArray<string>;
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** One line of a build's output, without its newline. */
export type OnLine = (line: string) => void;

export interface BuildRequest {
  readonly application: string;
  /** `millrace/<appId>:<depId>` in lower case: `imageTag(application, deployment)`. */
  readonly tag: string;
  /** From `inputHash`; kept in the image's label. Content only, so that equal inputs give the same image. */
  readonly inputHash: string;
  /** Absolute: the build's context. Symbolic links are kept as links, never followed. */
  readonly folder: string;
  /** Relative to the folder. */
  readonly dockerfile: string;
  /** Build arguments. Never secrets: they stay in the image's history. */
  readonly args?: Readonly<Record<string, string>>;
  readonly limits: {
    readonly timeoutMs: number;
    readonly memoryBytes?: number;
    /** Cores, such as 1.5. */
    readonly cpus?: number;
    /** Largest context. */
    readonly contextBytes: number;
    /** Output beyond it is dropped after one line that says so. Default 16 MiB. */
    readonly outputBytes?: number;
  };
  /** Whether steps may use the network. Default true. */
  readonly network?: boolean;
  /** Aborting ends the build: its container is gone soon after, nothing is tagged. */
  readonly signal: AbortSignal;
  readonly onLine: OnLine;
}

export interface Image {
  /** `sha256:…` */
  readonly id: string;
  readonly tag: string;
  readonly inputHash: string;
}

export interface BaseImage {
  readonly name: string;
  /** `sha256:…` */
  readonly id: string;
}

export interface HealthSpec {
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly retries: number;
  /** Failures in this time after the start do not count. Default 10 000. */
  readonly startPeriodMs?: number;
}

export interface ContainerSpec {
  readonly application: string;
  readonly deployment: string;
  /** 0 … 11 */
  readonly slot: number;
  readonly imageId: string;
  /** What the application listens on, inside. */
  readonly port: number;
  /** Values unsealed. They are seen by whoever may inspect the container; no hash or label holds them in clear. */
  readonly env: Readonly<Record<string, string>>;
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly processes: number;
  /** Between SIGTERM and SIGKILL. Rounded up to whole seconds. */
  readonly stopTimeoutMs: number;
  /** `uid[:gid]` or a name of the image. Without it: the image's own, which then keeps the few capabilities to change user. */
  readonly user?: string;
  /** Default: the image's own. */
  readonly command?: ReadonlyArray<string>;
  /** The root file system read-only, with 64 MiB of memory at /tmp. Default false. */
  readonly readOnly?: boolean;
  readonly health: HealthSpec;
}

/** How Docker itself checks a container: by a tool found in the image, by the image's own check, or not at all (`none`). */
export type HealthCheckedBy = "wget" | "curl" | "node" | "python3" | "image" | "none";

export interface Container {
  readonly id: string;
  readonly name: string;
  readonly application: string;
  readonly deployment: string;
  readonly slot: number;
  readonly imageId: string;
  /** `millrace.config` */
  readonly configHash: string;
  readonly state: "created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead";
  /** Docker's verdict; `none` when it does not check (then only our own probe knows). */
  readonly health: "starting" | "healthy" | "unhealthy" | "none";
  /** Exit code of the last end, of what does not run. */
  readonly endedWith?: number | undefined;
  /** `127.0.0.1:<port>` while running. It stays the same over restarts of the container. */
  readonly address: string | undefined;
  /** Epoch milliseconds. */
  readonly createdAt: number;
}

export interface ContainerDetail extends Container {
  readonly checkedBy: HealthCheckedBy;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** Restarts by the engine after crashes. */
  readonly restarts: number;
  /** RFC 3339 with nanoseconds. */
  readonly startedAt: string;
  /** What the last health check printed (at most 1 000 characters). */
  readonly lastCheck: string | undefined;
}

export interface RunningContainer {
  readonly slot: number;
  readonly id: string;
  readonly name: string;
  /** `127.0.0.1:<port>` */
  readonly address: string;
}

/** Where a reader of a container's log stands: opaque text, from a line or from `followLogs`. */
export type LogCursor = string;

export interface LogLine {
  /** RFC 3339 with nanoseconds, the engine's. */
  readonly at: string;
  readonly stream: "stdout" | "stderr";
  /** Without its newline, at most 16 KiB; a longer line is cut, and `cut` says so. */
  readonly text: string;
  readonly cut: boolean;
  readonly cursor: LogCursor;
}

/** A hint that something changed; `list` (after each connect) asks for a listing, because events may have been missed. */
export type EngineHint =
  | { readonly hint: "list" }
  | {
      readonly hint: "container";
      readonly id: string;
      readonly name: string;
      readonly application: string;
      readonly deployment: string;
      readonly action: "create" | "start" | "die" | "destroy" | "health_status" | "oom";
      /** With `die`. */
      readonly exitCode?: number;
      /** With `health_status`. */
      readonly health?: "healthy" | "unhealthy";
    };

/** What a container takes, by the engine's count since it was started. */
export interface ContainerUse {
  /** Epoch milliseconds of the reading. */
  readonly atMs: number;
  readonly cpuSeconds: number;
  /** Now; without what the kernel would give back at once. */
  readonly memoryBytes: number;
  readonly receivedBytes: number;
  readonly transmittedBytes: number;
}

export interface ContainerFilter {
  readonly application?: string;
  readonly deployment?: string;
}

export interface DockerEngine {
  readonly scope: string;

  /** @throws DockerFailed DOCKER_MISSING (`fix` is the command that installs one) or DOCKER_UNREACHABLE. */
  info(): Promise<EngineInfo>;

  // -- images
  /** The images a Dockerfile begins with, pulled where they are absent. Before `inputHash`, and before `build`. */
  baseImages(request: {
    readonly folder: string;
    readonly dockerfile: string;
    readonly args?: Readonly<Record<string, string>>;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
    readonly onLine: OnLine;
  }): Promise<BaseImage[]>;
  /** Builds and tags; the layers' cache makes a repetition cheap. Look with `findImage` before. */
  build(request: BuildRequest): Promise<Image>;
  /** By its tag, which is applied last; then the label must be equal. An untagged image of a killed build is not found. */
  findImage(tag: string, inputHash: string): Promise<Image | undefined>;
  /** Gives another whole image of the application with the same input this tag as well; undefined when there is none. */
  retagImage(application: string, inputHash: string, tag: string): Promise<Image | undefined>;
  /** Whether the image was there. Ours only. */
  removeImage(tag: string): Promise<boolean>;
  /** Removes the application's images (untagged ones of killed builds, too) but those tags; what is in use stays. */
  pruneImages(application: string, keep: ReadonlyArray<string>): Promise<number>;

  // -- networks
  /** The application's own network; created with a subnet of the range when absent. @returns its name. */
  ensureNetwork(application: string): Promise<string>;
  /** Whether it was there. Refused by the engine (transient) while containers are in it. */
  removeNetwork(application: string): Promise<boolean>;

  // -- containers
  /** Created as asked, not started; what bears its name with other contents is replaced when it is ours. */
  ensureContainer(
    spec: ContainerSpec,
  ): Promise<{ readonly id: string; readonly name: string; readonly created: boolean }>;
  /** Created if need be, and running. @returns where it listens (whether it answers is for `probeReady` to find out). */
  startContainer(spec: ContainerSpec): Promise<RunningContainer>;
  /** All of this scope (and application, deployment), in every state. */
  listContainers(filter?: ContainerFilter): Promise<Container[]>;
  /** By id or name; undefined when it is not there or not ours. */
  inspectContainer(id: string): Promise<ContainerDetail | undefined>;
  use(id: string): Promise<ContainerUse>;
  /** `millrace.config` of a spec, to compare with a container's `configHash`. */
  configHash(spec: ContainerSpec): string;
  /** SIGTERM, then SIGKILL after its stop timeout. @returns whether it was running. */
  stopContainer(id: string): Promise<boolean>;
  /**
   * Stops, waits for `drained` (at most 10 s: the reader of its log has reached the end), removes.
   * @returns whether it was there.
   */
  removeContainer(id: string, drained?: () => Promise<void>): Promise<boolean>;

  // -- watching
  /**
   * Follows a container's log over cuts and restarts of the engine until the container has ended or the signal aborts.
   * No line twice, none left out, as long as the engine still holds it.
   * @returns where it stands, and whether the container's log is at its end.
   */
  followLogs(
    id: string,
    options: {
      readonly after?: LogCursor | undefined;
      readonly signal: AbortSignal;
      /** May return a promise: reading waits for it. */
      readonly onLine: (line: LogLine) => void | Promise<void>;
    },
  ): Promise<{ readonly cursor: LogCursor | undefined; readonly ended: boolean }>;
  /** Hints until the signal aborts; reconnects for ever, with `list` after each connect. */
  watch(onHint: (hint: EngineHint) => void, signal: AbortSignal): Promise<void>;

  /** Closes kept connections. */
  close(): void;
}

/** Opens no connection yet. */
export function openDocker(options: DockerOptions): DockerEngine {
  return openEngine(options);
}
