/** Peer: rebuilding a projection with @event-driven-io/emmett-postgresql 0.42.0 at its best batch size, one document a stream. */
import {
  getPostgreSQLEventStore,
  pongoSingleStreamProjection,
  rebuildPostgreSQLProjections,
} from "@event-driven-io/emmett-postgresql";

type Added = { type: "Added"; data: { name: string; by: number } };
type Totals = { _id?: string; name: string; total: number; steps: number };

const totals = pongoSingleStreamProjection<Totals, Added>({
  collectionName: "totals",
  canHandle: ["Added"],
  initialState: () => ({ name: "", total: 0, steps: 0 }),
  evolve: (document: Totals, { data }: Added) => ({
    ...document,
    name: data.name,
    total: document.total + data.by,
    steps: document.steps + 1,
  }),
});

/** Writes `streams` streams of `events` events each. */
export async function seedEmmett(url: string, streams: number, events: number): Promise<void> {
  const store = getPostgreSQLEventStore(url);
  let next = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (next < streams) {
        const stream = `counter-${next++}`;
        const batch = Array.from(
          { length: events },
          (_, i): Added => ({ type: "Added", data: { name: stream, by: i } }),
        );
        await store.appendToStream(stream, batch);
      }
    }),
  );
  await store.close();
}

/** @returns milliseconds from start to the last event handled */
export async function rebuildEmmett(url: string, batchSize: number): Promise<number> {
  const started = performance.now();
  const consumer = rebuildPostgreSQLProjections({
    connectionString: url,
    pulling: { batchSize },
    projections: [{ projection: totals, startFrom: "BEGINNING" }] as never,
  } as never);
  await consumer.start();
  const took = performance.now() - started;
  await consumer.close();
  return took;
}
