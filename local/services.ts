/** The services of ours as processes: one each, or all in one. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "./ports.ts";
import type { Exit } from "./process.ts";
import type { Settings } from "./settings.ts";
import type { ServiceSpec } from "./supervise.ts";

/** A service of ours: a Node program that takes its settings from the environment and answers `/readyz`. */
export interface ServiceEntry {
  readonly name: string;
  /** The path of its `main.ts`. */
  readonly main: string;
  /** The gateway listens on MILLRACE_PORT; the others only for probes, on MILLRACE_HEALTH_PORT. */
  readonly isGateway?: boolean;
}

const checkout = fileURLToPath(new URL("..", import.meta.url));

/** The services that this checkout has, those that follow the log first and the gateway, the door, last. */
export function checkoutServices(): ServiceEntry[] {
  const names = ["projector", "orchestrator", "publisher", "device-agent", "gateway"];
  return names
    .map((name) => ({ name, main: join(checkout, "services", name, "main.ts"), isGateway: name === "gateway" }))
    .filter((service) => existsSync(service.main));
}

/** Starts the services that it is given the `start.ts` of, as one process. */
const together = join(checkout, "eventlog", "run-services.ts");

/**
 * On a machine with much memory V8 lets garbage grow to many times of what lives before it looks; a control plane is a guest on its
 * machine. With these its services take half (bench `machine`).
 */
const SMALL_HEAP = ["--heap-growing-percent=25", "--max-semi-space-size=8"];

const fastStart = new URL("fast-start.ts", import.meta.url).href;

interface Surroundings {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly gatewayPort: number;
  readonly settings: Pick<Settings, "host" | "processes">;
  /** How long a service may take to become ready, in milliseconds. */
  readonly timeoutMs: number;
}

/** One process each; with `processes` "one" all in one, which saves memory and the time of loading, and shares a crash. */
export function serviceSpecs(entries: readonly ServiceEntry[], around: Surroundings): Promise<ServiceSpec[]> {
  const gateway = entries.find(({ isGateway }) => isGateway);
  if (around.settings.processes === "each" || gateway === undefined)
    return Promise.all(entries.map((entry) => serviceSpec(entry, [entry.main], around)));
  const starts = entries.map(({ main }) => join(dirname(main), "start.ts"));
  return Promise.all([serviceSpec({ ...gateway, name: "services" }, [together, ...starts], around)]);
}

async function serviceSpec(
  { name, isGateway = false }: ServiceEntry,
  args: readonly string[],
  { environment, gatewayPort, settings: { host }, timeoutMs }: Surroundings,
): Promise<ServiceSpec> {
  const port = isGateway ? gatewayPort : await freePort();
  const probe = isGateway ? reachable(host) : "127.0.0.1";
  return {
    name,
    command: process.execPath,
    args: [...SMALL_HEAP, "--import", fastStart, ...args],
    inputPipe: true,
    env: {
      ...environment,
      MILLRACE_PARENT_PIPE: "1",
      ...(isGateway ? { MILLRACE_PORT: `${port}` } : { MILLRACE_HEALTH_PORT: `${port}` }),
    },
    ports: isGateway ? { http: port } : { health: port },
    ready: (exited) => readyOverHttp(`http://${probe}:${port}/readyz`, timeoutMs, exited),
    stopTimeoutMs: 10_000,
  };
}

/** The name under which this machine reaches a server that listens on this address, as it stands in a URL. */
export function reachable(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}

/** Resolves when the address answers 200. */
async function readyOverHttp(url: string, timeoutMs: number, exited: () => Exit | undefined): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let last = "no answer";
  while (Date.now() < deadline) {
    const exit = exited();
    if (exit) throw new Error(`it ended (${exit.signal ?? `code ${exit.code}`})`);
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(2000) });
      const body = await answer.text();
      if (answer.status === 200) return;
      last = `${answer.status} ${body.slice(0, 500)}`;
    } catch (error) {
      const cause = (error as { cause?: { message?: string } }).cause;
      last = cause?.message || (error as Error).message;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${url} is not ready after ${timeoutMs / 1000} s: ${last}`);
}
