/** A whole platform of a test's own: real processes, supervised, on a temporary folder, and what it takes to end them. */
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { Postgres } from "@millrace/eventlog/postgres.ts";
import { type Platform, startPlatform } from "@millrace/local/platform.ts";
import { freePort } from "@millrace/local/ports.ts";
import { type BoundProcess, commandLine, processesWhere, startBound, workingFolder } from "@millrace/local/process.ts";
import { readSettings, type SettingName } from "@millrace/local/settings.ts";
import { testFolder } from "../harness/servers.ts";
import { deferToEndOfFile } from "../harness/suite.ts";

export interface HouseOptions {
  /** Settings of the platform as text, e.g. `natsUrl`. */
  readonly flags?: Partial<Record<SettingName, string>>;
  readonly backoff?: { readonly firstMs: number; readonly mostMs: number };
  /** So many orchestrators on the one node: `orchestrator`, `orchestrator-2` … Default none. */
  readonly orchestrators?: number;
  /** Added to the environment of every service. */
  readonly env?: Readonly<Record<string, string>>;
}

type Role = "gateway" | "projector" | "orchestrator";

/** @throws Error when it does not come up */
export async function openHouse(options: HouseOptions = {}): Promise<House> {
  const dataDir = join(testFolder("house"), "data");
  const { values } = readSettings({ folder: dataDir, env: {}, flags: { data: dataDir, port: "0", ...options.flags } });
  const programs = process.env.MILLRACE_NATS_SERVER ? { natsServer: process.env.MILLRACE_NATS_SERVER } : {};
  const lines: string[] = [];
  const start = () =>
    startPlatform({
      settings: { ...values, ...programs },
      services: [
        { name: "projector", main: mainOf("projector") },
        ...orchestratorNames(options.orchestrators ?? 0).map((name) => ({ name, main: mainOf("orchestrator") })),
        { name: "gateway", main: mainOf("gateway"), isGateway: true },
      ],
      ...(options.env === undefined ? {} : { env: options.env }),
      readyTimeoutMs: 90_000,
      log: (line) => lines.push(`${new Date().toISOString()} ${line}`),
      ...(options.backoff === undefined ? {} : { backoff: options.backoff }),
    });
  // A port that was free when it was chosen may be somebody else's when it is used.
  const platform = await start().catch((error: Error) => {
    if (/EADDRINUSE|in use/.test(error.message)) return start();
    throw error;
  });
  deferToEndOfFile(() => platform.stop());
  return new House(platform, lines);
}

export const orchestratorNames = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => (i === 0 ? "orchestrator" : `orchestrator-${i + 1}`));

const mainOf = (role: Role): string => fileURLToPath(new URL(`../../services/${role}/main.ts`, import.meta.url));

export class House {
  readonly platform: Platform;
  readonly url: string;
  /** The owner's token. */
  readonly owner: string;
  /** What the supervisor said. */
  readonly lines: ReadonlyArray<string>;
  /** As its services were given it. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #others: BoundProcess[] = [];

  constructor(platform: Platform, lines: ReadonlyArray<string>) {
    this.platform = platform;
    this.url = platform.url;
    this.owner = readFileSync(platform.ownerTokenFile, "utf8").trim();
    this.lines = lines;
    this.environment = environmentOf(this.#service("gateway").pid!);
  }

  #service(name: string) {
    const found = this.platform.services().find((service) => service.name === name);
    if (found === undefined) throw new Error(`nothing here is called ${name}`);
    return found;
  }

  pid(name: string): number | undefined {
    return this.#service(name).pid;
  }

  /** SIGKILL. @returns false when it does not run at this moment */
  kill(name: string): boolean {
    const { pid } = this.#service(name);
    if (pid === undefined) return false;
    try {
      process.kill(pid, "SIGKILL");
      return true;
    } catch {
      return false; // It has just ended, and the supervisor was not told yet.
    }
  }

  /** SIGKILL for one of them that runs. @returns its name, undefined when none runs */
  killOne(names: ReadonlyArray<string>): string | undefined {
    const running = names.filter((name) => this.pid(name) !== undefined);
    if (running.length === 0) return undefined;
    const name = running[randomInt(running.length)]!;
    return this.kill(name) ? name : undefined;
  }

  /** Whether the supervisor has it running and ready. */
  isUp(name: string): boolean {
    return this.#service(name).state === "ready";
  }

  restarts(name: string): number {
    return this.#service(name).restarts;
  }

  /** @returns what is not ready; "" when everything is */
  async trouble(): Promise<string> {
    const waiting = this.platform.services().filter(({ state }) => state !== "ready");
    if (waiting.length > 0) return waiting.map(({ name, state }) => `${name} is ${state}`).join(", ");
    for (const { name, ports } of this.platform.services()) {
      const port = ports.http ?? ports.health;
      if (port === undefined) continue;
      try {
        const answer = await fetch(`http://127.0.0.1:${port}/readyz?verbose`, { signal: AbortSignal.timeout(3_000) });
        const text = await answer.text();
        if (answer.status !== 200) return `${name}: ${answer.status} ${text.slice(0, 300)}`;
      } catch (error) {
        return `${name}: ${(error as Error).message}`;
      }
    }
    return "";
  }

  /** @returns milliseconds until everything was ready. @throws Error naming what is not, after the deadline */
  async ready(deadlineMs: number): Promise<number> {
    const began = Date.now();
    await until(
      "everything is ready",
      async () => {
        const trouble = await this.trouble();
        if (trouble !== "") throw new Error(`${trouble}\n${this.lines.slice(-12).join("\n")}`);
        return true;
      },
      deadlineMs,
    );
    return Date.now() - began;
  }

  /** A connection to its log, closed with the file. */
  async openLog(): Promise<EventLog> {
    const log = await EventLog.open(
      {
        url: this.environment.MILLRACE_NATS_URL!,
        ...(this.environment.MILLRACE_NATS_USER ? { user: this.environment.MILLRACE_NATS_USER } : {}),
        ...(this.environment.MILLRACE_NATS_PASSWORD ? { password: this.environment.MILLRACE_NATS_PASSWORD } : {}),
        name: "fault-test",
      },
      Object.keys(CONTEXTS),
    );
    deferToEndOfFile(() => log.nats.nc.close());
    return log;
  }

  openPostgres(): Postgres {
    const postgres = new Postgres({ url: this.environment.MILLRACE_POSTGRES_URL!, name: "fault-test", most: 3 });
    deferToEndOfFile(() => postgres.close());
    return postgres;
  }

  /** Another one of a service, started by hand with the same environment. Not restarted by anybody. */
  async another(role: Role): Promise<{ readonly url: string; readonly process: BoundProcess }> {
    const port = await freePort();
    const { MILLRACE_PORT: _, MILLRACE_HEALTH_PORT: __, ...environment } = this.environment;
    const started = await startBound({
      name: `${role}-2`,
      command: process.execPath,
      args: [mainOf(role)],
      inputPipe: true,
      env: { ...environment, [role === "gateway" ? "MILLRACE_PORT" : "MILLRACE_HEALTH_PORT"]: `${port}` },
      logFile: join(this.platform.dataDir, "logs", `${role}-2.log`),
    });
    this.#others.push(started);
    deferToEndOfFile(() => started.stop());
    const url = `http://127.0.0.1:${port}`;
    await until(
      `the second ${role} is ready`,
      async () => {
        if (started.exit() !== undefined) throw new Error("it has ended");
        return (await fetch(`${url}/readyz`)).status === 200;
      },
      60_000,
    );
    return { url, process: started };
  }

  /** Stops everything. @returns processes and ports that are left all the same */
  async stop(): Promise<string[]> {
    const ports = this.platform.services().flatMap((service) => Object.values(service.ports));
    await Promise.all(this.#others.map((other) => other.stop()));
    await this.platform.stop();
    const { dataDir } = this.platform;
    const isOurs = (pid: number) =>
      commandLine(pid).includes(dataDir) ||
      (workingFolder(pid) ?? "").startsWith(dataDir) ||
      environmentOf(pid).MILLRACE_DATA === dataDir;
    const left = processesWhere(isOurs).map((pid) => `process ${pid}: ${commandLine(pid)}`);
    for (const port of ports) if (!(await isFree(port))) left.push(`port ${port}`);
    return left;
  }
}

/** Empty where it cannot be read. */
function environmentOf(pid: number): Record<string, string> {
  try {
    const pairs = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").filter(Boolean);
    return Object.fromEntries(
      pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
    );
  } catch {
    return {};
  }
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });

/** Polls until it answers true; what it throws counts as no. @throws Error with the last cause after the deadline */
export async function until(what: string, holds: () => unknown, deadlineMs: number): Promise<void> {
  const deadline = Date.now() + deadlineMs;
  let cause: unknown;
  for (;;) {
    try {
      if (await holds()) return;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (Date.now() > deadline) {
      const why = cause === undefined ? "" : `: ${(cause as Error).message}`;
      throw new Error(`not within ${deadlineMs} ms: ${what}${why}`, { cause });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
