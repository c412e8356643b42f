/** Dead letters of the relay: events whose public form could not be made. The feed went on without them. */
import { decodeCommitBody } from "@millrace/eventlog/commit.ts";
import type { Nats } from "@millrace/eventlog/connection.ts";
import { causeOf, type DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { readBatch } from "@millrace/eventlog/direct.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import type { UnmappableEvent } from "@millrace/eventlog/relay.ts";
import { parseAggregateSubject } from "@millrace/eventlog/subjects.ts";

const CONSUMER = "relay";

/** Writes the pointer; the relay moves past the event only then. @throws LogUnavailable */
export async function parkForRelay(nats: Nats, deadLetters: DeadLetters, event: UnmappableEvent): Promise<void> {
  const { stream, seq, index, cause } = event;
  const { messages } = await readBatch(nats, stream, { seq, batch: 1 });
  const message = messages[0];
  const place = message === undefined ? undefined : parseAggregateSubject(message.subject);
  if (message?.seq !== seq || place === undefined)
    throw new LogUnavailable({ what: "NATS", cause: "a replica is behind" });
  const { organisation, events } = decodeCommitBody(message.data);
  await deadLetters.park({
    stream,
    seq,
    consumer: CONSUMER,
    context: place.context,
    kind: place.kind,
    aggregate: place.id,
    organisation,
    cause: `${events[index]?.type} (${seq}.${index}) has no public form: ${causeOf(cause)}`,
  });
}

/** Between two looks at what is asked. */
const LOOK_MS = 2_000;

/** A position on the feed cannot be filled afterwards: a retry says so, a drop takes the pointer away. Ends with the signal. */
export async function answerForRelay(deadLetters: DeadLetters, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await look(deadLetters).catch(() => {}); // The log is away: what is asked stands in it.
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LOOK_MS);
      signal.addEventListener(
        "abort",
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    });
  }
}

async function look(deadLetters: DeadLetters): Promise<void> {
  for (const ask of await deadLetters.asks()) {
    const letter = await deadLetters.get(ask.id);
    if (letter?.consumer !== CONSUMER) continue;
    if (ask.action === "drop") await deadLetters.dropped(ask.id, ask.by, ask.why);
    else
      await deadLetters.failedAgain(ask.id, "the feed has gone on: what is past cannot be put in. Drop this letter.");
    await deadLetters.answered(ask.id);
  }
}
