/**
 * What a supervisor, Kubernetes or a person asks a process: `/livez` (does it live: nothing else is asked),
 * `/readyz` (can it take the next request; `?verbose` names the checks), `/startupz` (has it come up), `/metrics`.
 * No authentication, no log line, no span, nothing kept by caches. The same answers serve from a port of their own
 * (`openHealthServer`) and from a service's own server (`health.answer`).
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { redactText } from "./logging.ts";
import { metrics, registry } from "./telemetry.ts";

/** One thing that the next request needs. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** For people: what is wrong and what helps. */
  readonly detail?: string;
}

export type Checks = () => ReadonlyArray<Check> | Promise<ReadonlyArray<Check>>;

export interface HealthAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** How long all checks of a service may take together. */
const CHECK_MS = 2_000;

interface Part {
  state: "starting" | "started" | "stopping";
  checks: Checks;
}

export class Health {
  /** More than one when services share a process. */
  readonly #parts = new Map<string, Part>();

  starting(service: string): void {
    this.#parts.set(service, { state: "starting", checks: () => [] });
    metrics.ready.set({ service }, 0);
  }

  started(service: string, checks: Checks): void {
    this.#parts.set(service, { state: "started", checks });
  }

  /** From now on not ready, whatever the checks say: the first thing on the way out. */
  stopping(service: string): void {
    const part = this.#parts.get(service);
    if (part !== undefined) part.state = "stopping";
    metrics.ready.set({ service }, 0);
  }

  get allStarted(): boolean {
    return this.#parts.size > 0 && [...this.#parts.values()].every(({ state }) => state !== "starting");
  }

  /** Every check of every service, bounded in time; names are prefixed when services share the process. */
  async check(): Promise<ReadonlyArray<Check>> {
    const all = await Promise.all(
      [...this.#parts].map(async ([service, part]) => {
        const checks = await checkPart(part);
        metrics.ready.set({ service }, checks.every(({ ok }) => ok) ? 1 : 0);
        return this.#parts.size === 1
          ? checks
          : checks.map((check) => ({ ...check, name: `${service}/${check.name}` }));
      }),
    );
    return all.flat();
  }

  /**
   * @param path without the query
   * @returns undefined for a path that is not about health
   */
  async answer(path: string, query: URLSearchParams = new URLSearchParams()): Promise<HealthAnswer | undefined> {
    switch (path) {
      case "/livez":
        return text(200, "ok\n");
      case "/startupz":
        return this.allStarted ? text(200, "ok\n") : text(503, "starting\n");
      case "/readyz": {
        const excluded = new Set(query.getAll("exclude"));
        const checks = (await this.check()).filter(({ name }) => !excluded.has(name));
        const ok = this.#parts.size > 0 && checks.every((check) => check.ok);
        return text(ok ? 200 : 503, query.has("verbose") ? verbose(checks, ok) : ok ? "ok\n" : "not ready\n");
      }
      case "/metrics":
        return {
          status: 200,
          headers: { ...NO_STORE, "content-type": registry.contentType },
          body: await registry.metrics(),
        };
      default:
        return undefined;
    }
  }
}

async function checkPart({ state, checks }: Part): Promise<ReadonlyArray<Check>> {
  if (state !== "started") return [{ name: "process", ok: false, detail: state }];
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<ReadonlyArray<Check>>((resolve) => {
      const answer = [{ name: "checks", ok: false, detail: `no answer within ${CHECK_MS} ms` }];
      timer = setTimeout(resolve, CHECK_MS, answer);
    });
    return await Promise.race([Promise.resolve().then(checks), late]);
  } catch (error) {
    return [{ name: "checks", ok: false, detail: error instanceof Error ? error.message : String(error) }];
  } finally {
    clearTimeout(timer);
  }
}

const NO_STORE = { "cache-control": "no-store" };

const text = (status: number, body: string): HealthAnswer => ({
  status,
  headers: { ...NO_STORE, "content-type": "text/plain; charset=utf-8" },
  body,
});

function verbose(checks: ReadonlyArray<Check>, ok: boolean): string {
  const lines = checks.map((check) => {
    const detail = check.detail === undefined ? "" : `: ${redactText(check.detail).replaceAll(/\s+/g, " ")}`;
    return `[${check.ok ? "+" : "-"}]${check.name} ${check.ok ? "ok" : "failed"}${detail}`;
  });
  return `${[...lines, ok ? "ready" : "not ready"].join("\n")}\n`;
}

/** Serves `health` on a port of its own. @param port 0: any free one */
export async function openHealthServer(
  health: Health,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server: Server = createServer(
    { headersTimeout: 5_000, requestTimeout: 5_000, keepAliveTimeout: 5_000, maxHeaderSize: 8_192 },
    (request, response) => {
      request.resume();
      const [path = "", query = ""] = (request.url ?? "").split("?", 2);
      const allowed = request.method === "GET" || request.method === "HEAD";
      const answering = allowed
        ? health.answer(path, new URLSearchParams(query))
        : Promise.resolve(text(405, "use GET\n"));
      answering
        .catch((error: unknown) => text(500, `${redactText(String(error))}\n`))
        .then((answer = text(404, "/livez /readyz /startupz /metrics\n")) => {
          response.writeHead(answer.status, answer.headers);
          response.end(request.method === "HEAD" ? undefined : answer.body);
        });
    },
  );
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
