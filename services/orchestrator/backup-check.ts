/** Whether a restored log can be used: every aggregate is loaded, every data key opened, every view built. */
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { VIEWS } from "@millrace/domain/views.ts";
import { Aggregates } from "@millrace/eventlog/aggregate.ts";
import type { Nats } from "@millrace/eventlog/connection.ts";
import { DataKeys, parseMasterKeys, unwrapKey } from "@millrace/eventlog/datakeys.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { Postgres } from "@millrace/eventlog/postgres.ts";
import { listCheckpoints } from "@millrace/eventlog/projection-checkpoint.ts";
import { startProjections } from "@millrace/eventlog/projection-engine.ts";
import { historyProjection } from "@millrace/eventlog/projection-history.ts";
import { viewProjection } from "@millrace/eventlog/projection-state.ts";
import { ensureStreams } from "@millrace/eventlog/streams.ts";
import { aggregateSubject, logStream, parseAggregateSubject } from "@millrace/eventlog/subjects.ts";

export interface Inside {
  readonly aggregates: number;
  readonly dataKeys: number;
  /** In words, a hundred at the most. */
  readonly unusable: ReadonlyArray<string>;
}

const MOST = 100;

/** @param masterKeys left out: no data key is opened @throws LogUnavailable */
export async function checkInside(nats: Nats, masterKeys: string | undefined): Promise<Inside> {
  const unusable: string[] = [];
  const cannot = (text: string) => unusable.length < MOST && unusable.push(text);
  let aggregates = 0;
  const loader = new Aggregates(nats, { most: 100 });
  for (const { name, kinds } of Object.values(CONTEXTS)) {
    for (const subject of await subjectsOf(nats, logStream(name), `evt.${name}.>`)) {
      const place = parseAggregateSubject(subject);
      const kind = place === undefined ? undefined : kinds[place.kind];
      if (place === undefined || kind === undefined) {
        cannot(`${subject} is of a kind that this release does not know`);
        continue;
      }
      try {
        const { seq } = await loader.load(kind, place.id);
        if (seq === 0) cannot(`${aggregateSubject(name, place.kind, place.id)} is empty`);
        aggregates++;
      } catch (error) {
        cannot(`${subject}: ${(error as Error).message}`);
      }
    }
  }
  return { aggregates, ...(await openKeys(nats, masterKeys, cannot)), unusable };
}

async function subjectsOf(nats: Nats, stream: string, filter: string): Promise<string[]> {
  try {
    const { state } = await nats.jsm.streams.info(stream, { subjects_filter: filter });
    return Object.keys(state.subjects ?? {});
  } catch {
    return []; // A context that was added after the backup has no log yet.
  }
}

async function openKeys(nats: Nats, masterKeys: string | undefined, cannot: (text: string) => unknown) {
  if (masterKeys === undefined) return { dataKeys: 0 };
  const masters = parseMasterKeys(masterKeys);
  const keys = await DataKeys.open(nats, nats.replicas);
  let dataKeys = 0;
  for (const place of await keys.places()) {
    const found = await keys.read(place);
    for (const [id, wrapped] of Object.entries(found?.record.keys ?? {})) {
      const master = masters.find((one) => one.id === wrapped.master);
      if (master === undefined || unwrapKey(master, place, id, wrapped) === undefined)
        cannot(`the data key of ${place.organisation}/${place.subject} cannot be opened with this master key`);
      else dataKeys++;
    }
  }
  return { dataKeys };
}

export interface Built {
  /** Rows by view. */
  readonly views: Readonly<Record<string, number>>;
  /** In words. */
  readonly unbuilt: ReadonlyArray<string>;
}

const quiet = { info: () => {}, warn: () => {}, error: () => {} };
const LOOK_MS = 200;

/** Builds every view and history in an empty database, and waits until each has all of the log. @throws PostgresUnavailable, LogUnavailable */
export async function buildViews(nats: Nats, postgresUrl: string, signal: AbortSignal): Promise<Built> {
  const contexts = Object.values(CONTEXTS);
  // A context that was added after the backup has no log yet.
  await ensureStreams(nats, Object.keys(CONTEXTS), { feedMaxBytes: 1024 ** 2 });
  const declared = [...VIEWS.map(viewProjection), ...contexts.map(historyProjection)];
  const postgres = new Postgres({ url: postgresUrl, name: "drill", most: Math.min(20, declared.length + 4) });
  const deadLetters = new DeadLetters(nats, nats.replicas);
  const projections = startProjections({ nats, postgres, deadLetters, projections: declared, log: quiet as never });
  const unbuilt: string[] = [];
  try {
    for (;;) {
      signal.throwIfAborted();
      const all = projections.status();
      const stopped = all.filter(({ state }) => state === "stopped");
      if (stopped.length > 0) {
        unbuilt.push(
          ...stopped.map(({ name, context, reason }) => `${name} of ${context}: ${reason ?? "it stands still"}`),
        );
        break;
      }
      const done = all.length >= declared.length && all.every(({ shown, seq, head }) => shown && seq >= head);
      if (done && projections.unseen().length === 0) {
        for (const { name, context, parked } of all)
          if (parked > 0) unbuilt.push(`${name} of ${context}: ${parked} entities could not be folded`);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    const views: Record<string, number> = {};
    for (const { name, table, shown } of await listCheckpoints(postgres)) {
      if (!shown) continue;
      const [row] = await postgres.query<{ rows: number }>(`SELECT count(*)::int AS rows FROM projection."${table}"`);
      views[name] = (views[name] ?? 0) + row!.rows;
    }
    return { views, unbuilt };
  } finally {
    await projections.stop();
    await postgres.close();
  }
}
