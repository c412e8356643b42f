/** Whether a container engine is there, asked again and again; and what the node says of itself to all. */
import { statfs } from "node:fs/promises";
import { hostname } from "node:os";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import type { NodeRecord } from "@millrace/eventlog/presence.ts";
import type { NodeDisk } from "./adapters/disk.ts";
import type { DockerEngine, EngineHint, EngineInfo } from "./adapters/docker.ts";
import { DockerFailed } from "./adapters/docker-failures.ts";
import type { OrchestratorConfig } from "./config.ts";

const LOOK_MS = 5_000;

export class EngineWatch {
  readonly #docker: DockerEngine;
  readonly #logger: Logger;
  #info: EngineInfo | undefined;
  #wasPresent = false;
  #missing: string | undefined = "It has not been asked yet.";
  /** Something changed in the engine. */
  onHint: (hint: EngineHint) => void = () => {};
  /** The engine came or went. */
  onChange: () => void = () => {};

  constructor(docker: DockerEngine, logger: Logger) {
    this.#docker = docker;
    this.#logger = logger;
  }

  /** It has answered before, if not now. */
  get wasPresent(): boolean {
    return this.#wasPresent;
  }

  get present(): boolean {
    return this.#info !== undefined;
  }

  get info(): EngineInfo | undefined {
    return this.#info;
  }

  /** One or two sentences: what is missing and what to do. */
  get missing(): string | undefined {
    return this.#missing;
  }

  async run(signal: AbortSignal): Promise<void> {
    const hints = new AbortController();
    const both = AbortSignal.any([signal, hints.signal]);
    let hinting: Promise<void> | undefined;
    while (!signal.aborted) {
      await this.look();
      if (this.present && hinting === undefined) {
        hinting = this.#docker
          .watch((hint) => this.onHint(hint), both)
          .catch(() => {
            hinting = undefined;
          });
      }
      await pause(LOOK_MS, signal);
    }
    hints.abort();
    await hinting;
  }

  /** Asks it now. */
  async look(): Promise<void> {
    const was = this.present;
    try {
      this.#info = await this.#docker.info();
      this.#wasPresent = true;
      this.#missing = undefined;
    } catch (error) {
      if (!(error instanceof DockerFailed)) throw error;
      this.#info = undefined;
      this.#missing = `${error.reason} ${error.fix}`;
    }
    if (was === this.present) return;
    this.#logger.info(
      { docker: this.#info?.version ?? this.#missing },
      was ? "the engine has gone" : "the engine is there",
    );
    this.onChange();
    this.onHint({ hint: "list" });
  }
}

const startedAt = new Date().toISOString();

export async function nodeRecord(
  config: OrchestratorConfig,
  of: {
    readonly worker: string;
    readonly scope: string;
    readonly version: string;
    readonly dataFolder: string;
    readonly disk: NodeDisk;
    readonly engine: EngineWatch;
    /** Where it takes bytes, when it does. */
    readonly bytes: string | undefined;
  },
): Promise<NodeRecord> {
  const { worker, scope, version, dataFolder, disk, engine, bytes } = of;
  const endpoint = config.dockerHost ?? process.env.DOCKER_HOST ?? "unix:///var/run/docker.sock";
  const { bavail, bsize } = await statfs(disk.root).catch(() => ({ bavail: 0, bsize: 0 }));
  const { info, missing = "" } = engine;
  return {
    node: config.node,
    service: "orchestrator",
    instance: worker,
    pid: process.pid,
    host: hostname(),
    version,
    dataFolder,
    docker: info === undefined ? { endpoint, missing } : { endpoint, version: info.version, scope },
    freeBytes: bavail * bsize,
    capabilities: ["git", "static", ...(info === undefined ? [] : ["docker"])],
    ...(bytes === undefined ? {} : { bytes }),
    startedAt,
  };
}
