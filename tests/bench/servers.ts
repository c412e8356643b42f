/** Servers of a benchmark's own, gone at its end. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type NatsOptions, type RunningNats, startNats } from "@millrace/local/nats.ts";
import { startPostgres } from "@millrace/local/postgres.ts";

/** Runs a benchmark with a folder and what it starts; everything ends with it, and the process too. */
export async function bench(body: (bench: Bench) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "millrace-bench-"));
  chmodSync(folder, 0o711); // PostgreSQL's user passes through it
  const endings: (() => unknown)[] = [];
  let made = 0;
  let code = 0;
  try {
    await body({
      folder,
      defer: (end) => endings.push(end),
      async nats(options = {}) {
        const server = await startNats({ dataDir: join(folder, `nats-${++made}`), ...options });
        endings.push(() => server.kill());
        return server;
      },
      async log(server, contexts, append) {
        const { url, user, password } = server;
        const log = await EventLog.open(
          { url, user, password, name: "bench", ...(append ? { append } : {}) },
          contexts,
        );
        endings.push(() => log.close());
        return log;
      },
      async postgres() {
        const server = await startPostgres({ dataDir: join(folder, `postgres-${++made}`, "data") });
        endings.push(() => server.stop("SIGQUIT"));
        return server.url;
      },
    });
  } catch (error) {
    console.error(error);
    code = 1;
  } finally {
    for (const end of endings.reverse()) await Promise.resolve(end()).catch(() => {});
    rmSync(folder, { recursive: true, force: true });
  }
  process.exit(code);
}

export interface Bench {
  readonly folder: string;
  readonly defer: (end: () => unknown) => void;
  readonly nats: (options?: Partial<NatsOptions>) => Promise<RunningNats>;
  readonly log: (
    server: RunningNats,
    contexts: ReadonlyArray<string>,
    append?: { groupFrom?: number },
  ) => Promise<EventLog>;
  readonly postgres: () => Promise<string>;
}
