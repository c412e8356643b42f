/**
 * Uploads of this node: one of its processes takes their bytes from gateways, tells the log when one is whole, and removes what
 * nobody continued or uses.
 */
import { hostname } from "node:os";
import { resolve } from "node:path";
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import { type UploadCommand, upload } from "@millrace/domain/applications/upload.ts";
import { build, uploadOfBuild } from "@millrace/domain/publishing/build.ts";
import { type BytesServer, serveBytes } from "@millrace/eventlog/bytes-server.ts";
import { BytesStore, type Held } from "@millrace/eventlog/bytes-store.ts";
import { ticketKeyOf } from "@millrace/eventlog/bytes-ticket.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { parseMasterKeys } from "@millrace/eventlog/sealing.ts";
import { nodeHooks } from "./backups.ts";
import type { OrchestratorConfig } from "./config.ts";
import type { OrchestratorNode } from "./node.ts";

/** How long a place is kept of which the log does not know: its gateway may be about to tell. */
const UNKNOWN_MS = 3_600_000;
const SWEEP_MS = 60_000;
const GIB = 1024 ** 3;

export class Uploads {
  readonly #config: OrchestratorConfig;
  readonly #node: OrchestratorNode;
  readonly #index: LiveIndex;
  readonly #builds: LiveIndex;
  #url: string | undefined;
  onChange: () => void = () => {};

  /** @param builds those that may need an upload again */
  constructor(config: OrchestratorConfig, node: OrchestratorNode, index: LiveIndex, builds: LiveIndex) {
    this.#config = config;
    this.#node = node;
    this.#index = index;
    this.#builds = builds;
  }

  /** Where this process takes bytes; undefined: it does not. */
  get url(): string | undefined {
    return this.#url;
  }

  /** While this process is the one. */
  async run(signal: AbortSignal): Promise<void> {
    const { masterKey, bytesListen, uploadGib } = this.#config;
    // Without it no ticket can be read, as no secret can be.
    if (masterKey === undefined) return pause(2 ** 30, signal);
    const store = await BytesStore.open(this.#node.disk.bytes, { quotaBytes: uploadGib * GIB });
    const at = bytesListen.lastIndexOf(":");
    const host = bytesListen.slice(0, at).replace(/^\[(.*)\]$/, "$1");
    const server: BytesServer = await serveBytes({
      store,
      keys: parseMasterKeys(masterKey).map(({ bytes }) => ticketKeyOf(bytes)),
      node: this.#node.name,
      host: host === "" ? "0.0.0.0" : host,
      port: Number(bytesListen.slice(at + 1)),
      complete: (id, what) => this.#complete(id, what),
      files: { dataFolder: resolve(this.#config.data), hooks: nodeHooks(resolve(this.#config.data), this.#node.name) },
      expiryMs: this.#expiryMs,
      logger: this.#node.logger,
    });
    const name = host === "" || host === "0.0.0.0" || host === "::" ? hostname() : host;
    this.#say(`http://${name.includes(":") ? `[${name}]` : name}:${server.port}`);
    try {
      // What is not known yet must not look unused.
      await Promise.all([this.#index.caughtUp(), this.#builds.caughtUp()]);
      while (!signal.aborted) {
        await this.#sweep(store);
        await pause(SWEEP_MS, signal);
      }
    } finally {
      this.#say(undefined);
      await server.stop();
    }
  }

  get #expiryMs(): number {
    return this.#config.uploadHours * 3_600_000;
  }

  #say(url: string | undefined): void {
    this.#url = url;
    this.onChange();
  }

  async #complete(
    id: string,
    what: { readonly organisation: string; readonly sha256: string; readonly bytes: number },
  ) {
    const { organisation, sha256, bytes } = what;
    return this.#execute(id, organisation, { do: "complete", sha256, bytes });
  }

  async #execute(id: string, organisation: string, command: UploadCommand): Promise<boolean> {
    const change = { kind: upload, id, command };
    const outcome = await execute(this.#node.log, change, ownContext("orchestrator", organisation));
    return !("refusal" in outcome);
  }

  /** What is whole and was not told is told; what nobody continues, or uses, goes. */
  async #sweep(store: BytesStore): Promise<void> {
    const used = this.#used();
    for (const [id, held] of store.all()) {
      try {
        await this.#look(store, id, held, used);
      } catch (error) {
        if (!(error instanceof LogUnavailable)) throw error;
      }
    }
  }

  async #look(store: BytesStore, id: string, held: Held, used: ReadonlySet<string>): Promise<void> {
    const { state } = await this.#node.log.aggregates.load(upload, id);
    const keep = held.sha256 !== undefined && used.has(held.sha256);
    const age = Date.now() - (await store.touchedAt(id));
    if (state.state === "removed") return store.remove(id, keep);
    if (state.state === null) return age > UNKNOWN_MS ? store.remove(id, false) : undefined;
    if (state.state === "open" && held.sha256 !== undefined) {
      const done = await store.finish(id);
      if ("sha256" in done) await this.#complete(id, { organisation: held.organisation, ...done });
      return;
    }
    if (keep || used.has(id) || age < this.#expiryMs) return;
    if (await this.#execute(id, held.organisation, { do: "remove", why: "expired" })) await store.remove(id, false);
  }

  /** Ids of uploads, and hashes of content, that an application, or a build, may need again. */
  #used(): ReadonlySet<string> {
    const used = new Set<string>();
    for (const { state } of this.#index.all(application)) {
      if (!state.exists) continue;
      if (state.spec?.source.kind === "upload") used.add(state.spec.source.upload);
      for (const { commit } of state.releases) used.add(commit);
    }
    for (const { state } of this.#index.all(deployment)) {
      if (state.requested?.source.kind === "upload") used.add(state.requested.source.upload);
      used.add(state.ref);
    }
    for (const { state } of this.#builds.all(build)) {
      const source = uploadOfBuild(state);
      if (source !== undefined) used.add(source.id).add(source.sha256);
    }
    return used;
  }
}
