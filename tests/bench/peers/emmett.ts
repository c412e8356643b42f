/** Peer: Emmett's event store on PostgreSQL, @event-driven-io/emmett-postgresql 0.42.0, as its own documentation sets it up. */
import { getPostgreSQLEventStore } from "@event-driven-io/emmett-postgresql";

export function emmett(url: string) {
  const store = getPostgreSQLEventStore(url);
  return {
    store,
    /** One event on a stream of its own version. */
    append: (stream: string, expected: bigint | "STREAM_DOES_NOT_EXIST", data: Record<string, unknown>) =>
      store.appendToStream(stream, [{ type: "Added", data }] as never, { expectedStreamVersion: expected as never }),
    close: () => store.close(),
  };
}
