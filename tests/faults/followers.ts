/**
 * What follows a log: the relay to the feed and projections into PostgreSQL, over the toy context, in this process. For tests that
 * cut the power of NATS and PostgreSQL together.
 */
import type { View } from "@millrace/domain/view.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { Postgres } from "@millrace/eventlog/postgres.ts";
import { ensureSchema, listCheckpoints } from "@millrace/eventlog/projection-checkpoint.ts";
import { startProjections } from "@millrace/eventlog/projection-engine.ts";
import { historyProjection } from "@millrace/eventlog/projection-history.ts";
import { viewProjection } from "@millrace/eventlog/projection-state.ts";
import { startRelay } from "@millrace/eventlog/relay.ts";
import { endProcesses, processesWhere, workingFolder } from "@millrace/local/process.ts";
import { type Counter, counter, toy } from "../harness/counter.ts";
import { until } from "./house.ts";
import { auditFeed, auditHistory, auditView, feedAhead, isProjected, readLog } from "./truth.ts";

const counters: View<Counter> = {
  name: "counters",
  version: 1,
  kind: counter,
  columns: {
    name: { type: "text", value: ({ name }) => name },
    total: { type: "bigint", value: ({ total }) => total },
    steps: { type: "bigint", value: ({ steps }) => steps },
  },
};
const PROJECTIONS = [viewProjection(counters), historyProjection(toy)];
const silent = makeLogger({ service: "soak", level: "silent" });

export interface Followers {
  readonly postgres: Postgres;
  /** Resolves when nothing of it is under way any more; what it needs may have gone. */
  readonly stop: () => Promise<void>;
}

export function startFollowers(log: EventLog, postgresUrl: string): Followers {
  const postgres = new Postgres({ url: postgresUrl, name: "soak", most: 6 });
  const stopping = new AbortController();
  const projections = startProjections({
    nats: log.nats,
    postgres,
    deadLetters: new DeadLetters(log.nats),
    projections: PROJECTIONS,
    log: silent,
    leaseMs: 1_500,
    takeoverMs: 3_000,
    lookMs: 50,
  });
  const relay = startRelay({
    nats: log.nats,
    context: "toy",
    kinds: toy.kinds,
    signal: stopping.signal,
    log: silent,
    park: ({ cause }) => Promise.reject(cause),
  });
  const stop = async () => {
    stopping.abort();
    await Promise.all([projections.stop(), relay.ended]);
    await postgres.close();
  };
  return { postgres, stop };
}

/** What a power cut has left, before anybody works on it: whether anything is ahead of the log. */
export async function aheadOfLog(log: EventLog, postgresUrl: string): Promise<string[]> {
  const postgres = new Postgres({ url: postgresUrl, name: "soak", most: 1 });
  try {
    const head = await log.head("toy");
    await ensureSchema(postgres);
    const rows = await listCheckpoints(postgres);
    const ahead = rows
      .filter(({ seq }) => seq > head)
      .map(({ name, seq }) => `the checkpoint of ${name} is at ${seq}, the log at ${head}`);
    return [...ahead, ...(await feedAhead(log.nats, toy))];
  } finally {
    await postgres.close();
  }
}

/** Lets relay and projections go on, and compares what they made with the log. */
export async function auditAfterCut(log: EventLog, postgresUrl: string): Promise<string[]> {
  const { postgres, stop } = startFollowers(log, postgresUrl);
  try {
    const atEnd = () => isProjected(postgres, log.nats, PROJECTIONS);
    const late = await until("the projections are at the log's end", atEnd, 60_000).catch((error: Error) => error);
    if (late instanceof Error) return [late.message];
    await until(
      "the feed is at the log's end",
      async () => (await auditFeed(log.nats, toy)).length === 0,
      30_000,
    ).catch(
      () => {}, // What differs is told below.
    );
    return [
      ...(await auditFeed(log.nats, toy)),
      ...(await auditView(postgres, counters, readLog(log.nats, "toy"))),
      ...(await auditHistory(postgres, toy, readLog(log.nats, "toy"))),
    ];
  } finally {
    await stop();
  }
}

/** Every process of a PostgreSQL server. */
export const serverProcesses = (dataDir: string): number[] => processesWhere((pid) => workingFolder(pid) === dataDir);

/** Also those that are frozen. */
export const killServer = (dataDir: string): Promise<void> => endProcesses(serverProcesses(dataDir), "SIGKILL", 5_000);
