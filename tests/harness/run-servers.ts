/**
 * The servers of a run: one NATS server (sync always) with an account per test file, so that streams and buckets bear
 * their real names in every file, and one PostgreSQL. Started when the first file needs them; unit files do not. One
 * Docker engine, started when the first file comes that speaks of `testDocker`.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type NatsAccount, type RunningNats, startNats } from "@millrace/local/nats.ts";
import { type RunningPostgres, startPostgres } from "@millrace/local/postgres.ts";
import { type TestFile, takesDocker } from "./discover.ts";
import { type NoEngine, startTestEngine, type TestEngine } from "./docker-engine.ts";

/** What of the caller's own settings reaches a test: where programs are, never which servers to use. */
const kept = ["MILLRACE_NATS_SERVER", "MILLRACE_CADDY", "MILLRACE_CACHE", "MILLRACE_FIXTURES"];

const FAST_START = new URL("../../local/fast-start.ts", import.meta.url).href;

/**
 * A database for each file, more than a hundred: its keepers would start a process for one after the other all the while. Who ends a server, or cuts
 * its power, has one of his own.
 */
const POSTGRES = {
  max_connections: "200",
  autovacuum: "off",
  synchronous_commit: "off",
  checkpoint_timeout: "1h",
  max_wal_size: "4GB",
};

export class RunServers {
  private readonly folder: string;
  private readonly accounts: ReadonlyMap<string, NatsAccount>;
  private servers: Promise<[RunningNats, RunningPostgres]> | undefined;
  private docker: Promise<TestEngine | NoEngine> | undefined;

  constructor(folder: string, files: readonly TestFile[]) {
    this.folder = folder;
    this.accounts = new Map(
      files.map((file, index) => [
        file.path,
        { name: `T${index}`, user: `t${index}`, password: randomBytes(12).toString("base64url") },
      ]),
    );
  }

  /** The environment for a file's process; starts the servers if the file is not a unit file. */
  async environmentOf(file: TestFile): Promise<Record<string, string | undefined>> {
    const environment: Record<string, string | undefined> = {};
    for (const [name, value] of Object.entries(process.env)) {
      const foreign = name.startsWith("MILLRACE_") && !kept.includes(name) && !name.startsWith("MILLRACE_TEST_");
      // Nor an engine in which the caller's own containers run.
      if (!foreign && name !== "DOCKER_HOST") environment[name] = value;
    }
    // The same modules are loaded some thousand times.
    environment.NODE_COMPILE_CACHE = join(this.folder, "compiled");
    environment.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ""} --import=${FAST_START}`.trim();
    if (file.kind === "unit") return environment;
    this.servers ??= this.start();
    const [nats, postgres] = await this.servers;
    const account = this.accounts.get(file.path)!;
    return {
      ...environment,
      ...(await this.dockerFor(file)),
      MILLRACE_TEST_NATS_URL: nats.url,
      MILLRACE_TEST_NATS_USER: account.user,
      MILLRACE_TEST_NATS_PASSWORD: account.password,
      MILLRACE_TEST_POSTGRES_URL: postgres.url,
    };
  }

  private async dockerFor(file: TestFile): Promise<Record<string, string>> {
    if (!takesDocker(file)) return {};
    this.docker ??= startTestEngine(join(this.folder, "docker"));
    const engine = await this.docker;
    if (engine.unavailable !== undefined) return { MILLRACE_TEST_NO_DOCKER: engine.unavailable };
    return { MILLRACE_TEST_DOCKER: engine.endpoint };
  }

  async stop(): Promise<void> {
    const docker = await this.docker?.catch(() => undefined);
    if (docker?.unavailable === undefined) await docker?.stop();
    if (!this.servers) return;
    // What they hold is thrown away, so they need not write it down first.
    const [nats, postgres] = await this.servers.catch(() => [undefined, undefined]);
    await Promise.all([nats?.kill(), postgres?.stop("SIGQUIT")]);
  }

  private async start(): Promise<[RunningNats, RunningPostgres]> {
    const starts = [
      startNats({ dataDir: join(this.folder, "nats"), accounts: [...this.accounts.values()] }),
      startPostgres({ dataDir: join(this.folder, "postgres"), settings: POSTGRES }),
    ] as const;
    const [nats, postgres] = await Promise.allSettled(starts);
    if (nats.status === "fulfilled" && postgres.status === "fulfilled") return [nats.value, postgres.value];
    if (nats.status === "fulfilled") await nats.value.kill();
    if (postgres.status === "fulfilled") await postgres.value.stop("SIGQUIT");
    throw nats.status === "rejected" ? nats.reason : (postgres as PromiseRejectedResult).reason;
  }
}
