/**
 * Starts processes in order, keeps them running, and stops them in reverse order. They end when this process does,
 * however it does (process.ts), and what one did leave is ended at the next start on the same data folder.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Lock, LockedError, takeLock } from "./lock.ts";
import { LogRotation } from "./log-rotation.ts";
import { type BoundProcess, type BoundSpec, type Exit, startBound, startTime, tail } from "./process.ts";
import { endOrphans, lockPath, type RunningService, type ServiceState, writeRunState } from "./run-state.ts";

export interface ServiceSpec extends BoundSpec {
  /** Resolves when the process can do its work; rejects after its own deadline, or when told that it has ended. */
  readonly ready: (exited: () => Exit | undefined) => Promise<void>;
  /** Before each start, the first included: clears what a crash left. */
  readonly beforeStart?: () => Promise<void>;
  /** Shown by `mill status`. */
  readonly ports?: Readonly<Record<string, number>>;
  /** Milliseconds between an unexpected end and the next start: the first time, and at most. Default 500 and 30 000. */
  readonly backoff?: { readonly firstMs: number; readonly mostMs: number };
}

export interface SupervisorOptions {
  readonly dataDir: string;
  /** One line for people about each start, end and restart. */
  readonly log?: (line: string) => void;
  /** Bytes after which a log file is moved on. Default 10 MiB, four files kept. */
  readonly logBytes?: number;
}

interface Supervised {
  readonly spec: ServiceSpec;
  readonly logFile: string;
  process: BoundProcess | undefined;
  state: ServiceState;
  startedAt: string | undefined;
  restarts: number;
  lastExit: string | undefined;
  /** The wait before the next start; back to the first after a minute of life. */
  delayMs: number;
  wake: (() => void) | undefined;
  /** The first start, and then the loop that keeps it running. */
  work: Promise<void> | undefined;
}

/** A process that ran this long has recovered: the next wait is short again. */
const stableMs = 60_000;

export class Supervisor {
  private readonly options: SupervisorOptions;
  private readonly lock: Lock;
  private readonly rotation: LogRotation;
  private readonly startedAt = new Date().toISOString();
  private readonly groups: Supervised[][] = [];
  private stopped: Promise<void> | undefined;
  private facts: Readonly<Record<string, string>> = {};

  private constructor(options: SupervisorOptions, lock: Lock) {
    this.options = options;
    this.lock = lock;
    this.rotation = new LogRotation(options.logBytes ?? 10 * 1024 * 1024);
  }

  /**
   * Takes the data folder for this process, and ends what a dead supervisor left on it.
   * @throws Error when a living process has it, naming the pid.
   */
  static async open(options: SupervisorOptions): Promise<Supervisor> {
    mkdirSync(join(options.dataDir, "logs"), { recursive: true, mode: 0o700 });
    let lock: Lock;
    try {
      lock = takeLock(lockPath(options.dataDir));
    } catch (error) {
      if (!(error instanceof LockedError)) throw error;
      const fix = "end that one first (mill down), or choose another folder (--data, MILLRACE_DATA)";
      throw new Error(`Millrace runs already on ${options.dataDir}, as process ${error.pid}: ${fix}`, { cause: error });
    }
    try {
      if (await endOrphans(options.dataDir)) options.log?.("ended what an earlier run left behind");
      return new Supervisor(options, lock);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /**
   * Starts these together, and waits until all are ready; then they are kept running.
   * @throws Error with the end of the log of the first that does not come up. What was started before goes on: stop it.
   */
  async start(...specs: readonly ServiceSpec[]): Promise<void> {
    if (this.stopped) throw new Error("the supervisor is stopping");
    const group = specs.map((spec): Supervised => {
      const logFile = spec.logFile ?? join(this.options.dataDir, "logs", `${spec.name}.log`);
      this.rotation.watch(logFile);
      const idle = { process: undefined, startedAt: undefined, lastExit: undefined, wake: undefined, work: undefined };
      return { spec, logFile, state: "starting", restarts: 0, delayMs: 0, ...idle };
    });
    this.groups.push(group);
    const starts = await Promise.allSettled(
      group.map((service) => {
        const first = this.launch(service);
        service.work = first.catch(() => {});
        return first;
      }),
    );
    for (const [index, start] of starts.entries()) {
      const service = group[index]!;
      if (start.status === "fulfilled") service.work = this.keepRunning(service);
    }
    const failed = starts.find((start) => start.status === "rejected");
    if (failed) throw failed.reason;
  }

  /** Writes facts for other terminals into the run's state (run-state.ts). No secrets. */
  tell(facts: Readonly<Record<string, string>>): void {
    this.facts = { ...this.facts, ...facts };
    this.save();
  }

  /** What runs, in the order of the start. */
  services(): RunningService[] {
    return this.groups.flat().map((service) => ({
      name: service.spec.name,
      state: service.state,
      pid: service.process?.pid,
      processStart: service.process && startTime(service.process.pid),
      ports: service.spec.ports ?? {},
      startedAt: service.startedAt,
      restarts: service.restarts,
      lastExit: service.lastExit,
      stopSignal: service.spec.stopSignal ?? "SIGTERM",
      logFile: service.logFile,
    }));
  }

  /** Stops all, those started last first, and gives the data folder back. May be called more than once. */
  stop(): Promise<void> {
    this.stopped ??= this.stopAll();
    return this.stopped;
  }

  private async stopAll(): Promise<void> {
    for (const group of [...this.groups].reverse()) {
      await Promise.all(
        group.map(async (service) => {
          service.state = "stopping";
          service.wake?.();
          this.save();
          const exit = await service.process?.stop();
          await service.work;
          service.state = "stopped";
          if (exit?.signal === "SIGKILL") this.log(`${service.spec.name} did not stop in time and was killed`);
          this.save();
        }),
      );
    }
    this.rotation.stop();
    this.save();
    this.lock.release();
  }

  private async launch(service: Supervised): Promise<void> {
    const { spec } = service;
    await spec.beforeStart?.();
    service.state = "starting";
    const child = await startBound({ ...spec, logFile: service.logFile });
    service.process = child;
    service.startedAt = new Date().toISOString();
    this.save();
    try {
      if (this.stopped) throw new Error("the supervisor is stopping");
      await spec.ready(child.exit);
      if (child.exit()) throw new Error("it ended at once");
    } catch (error) {
      // Told to stop while it started, it may end in order; one that does not come up is of no use.
      await (this.stopped ? child.stop() : child.kill());
      service.process = undefined;
      throw new Error(`${spec.name} does not start: ${(error as Error).message}\n${tail(service.logFile)}`, {
        cause: error,
      });
    }
    if (service.state === "starting") service.state = "ready";
    this.save();
  }

  /** Waits for the end of the process and starts it again, until the supervisor stops. */
  private async keepRunning(service: Supervised): Promise<void> {
    const { spec } = service;
    const { firstMs, mostMs } = spec.backoff ?? { firstMs: 500, mostMs: 30_000 };
    while (!this.stopped) {
      const began = Date.now();
      const exit = service.process ? await service.process.exited : undefined;
      service.process = undefined;
      if (this.stopped) return;
      if (exit) service.lastExit = exit.signal ?? `code ${exit.code}`;
      const recovered = Date.now() - began > stableMs;
      service.delayMs = recovered || service.delayMs === 0 ? firstMs : Math.min(mostMs, service.delayMs * 2);
      // Half of it by chance, so that what fell together does not come back in step.
      const delay = service.delayMs * (0.5 + Math.random() / 2);
      service.state = "waiting";
      this.log(
        `${spec.name} ended (${service.lastExit ?? "it did not start"}), starting again in ${Math.round(delay)} ms`,
      );
      this.save();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, delay);
        service.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (this.stopped) return;
      service.restarts++;
      try {
        await this.launch(service);
        this.log(`${spec.name} is ready again`);
      } catch (error) {
        if (!this.stopped) this.log((error as Error).message);
      }
    }
  }

  private log(line: string): void {
    this.options.log?.(line);
  }

  private save(): void {
    const { dataDir } = this.options;
    const { startedAt, facts } = this;
    writeRunState({ version: 1, pid: process.pid, startedAt, dataDir, facts, services: this.services() });
  }
}
