/**
 * The sweep: once in a while one worker of the node looks at the last commit of every aggregate and wakes what it has not seen at rest
 * there, so that a wake-up that was lost (by a server that forgot it, by a message acknowledged in error) costs time and nothing else.
 * It also picks up what people want done with dead letters.
 */
import { DeliverPolicy } from "@nats-io/jetstream";
import { pause } from "./pause.ts";
import { runSingleton } from "./singleton.ts";
import { logStream, parseAggregateSubject } from "./subjects.ts";
import { metrics } from "./telemetry.ts";
import type { WorkerCore } from "./worker-core.ts";
import { entryKey } from "./worker-entry.ts";

/** Between two looks at what is asked about dead letters. */
const ASKED_MS = 2_000;
/** A timer is late only after this. */
const LATE_MS = 5_000;
/** Aggregates looked at by the sweep at the same moment. */
const AT_ONCE = 128;

export class Sweeper {
  readonly #core: WorkerCore;
  readonly #everyMs: number;
  sweeping = false;

  constructor(core: WorkerCore, everyMs: number) {
    this.#core = core;
    this.#everyMs = everyMs;
  }

  run(signal: AbortSignal): Promise<void> {
    const { leases, service, node, context, logger } = this.#core.options;
    return runSingleton({
      leases,
      name: `sweep.${service}.${node}.${context}`,
      signal,
      work: (held) => this.#work(held),
      onError: (error) => logger.warn({ err: error, context }, "the sweep broke off; it begins again"),
    });
  }

  async #work(signal: AbortSignal): Promise<void> {
    this.sweeping = true;
    try {
      let nextAt = 0;
      while (!signal.aborted) {
        await this.#answerAsked();
        if (Date.now() >= nextAt) {
          await this.#sweep(signal);
          // Spread, so that many contexts' sweeps do not fall together.
          nextAt = Date.now() + this.#everyMs * (0.8 + Math.random() * 0.4);
        }
        await pause(Math.min(ASKED_MS, this.#everyMs), signal);
      }
    } finally {
      this.sweeping = false;
    }
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const { log, context, reactors } = this.#core.options;
    const consumer = await log.nats.js.consumers.get(logStream(context), {
      deliver_policy: DeliverPolicy.LastPerSubject,
      filter_subjects: reactors.map(({ kind }) => `evt.${context}.*.${kind.kind}.>`),
      headers_only: true,
    } as never);
    try {
      // Pages, so that what waits here is bounded.
      for (let left = (await consumer.info()).num_pending; left > 0 && !signal.aborted; ) {
        const page = await consumer.fetch({ max_messages: Math.min(left, 500), expires: 5_000 });
        let got = 0;
        for await (const { subject, seq } of page) {
          got++;
          this.#see(subject, seq);
        }
        if (got === 0) return; // The server is away, or there were fewer.
        left -= got;
        while (this.#core.entries.size > AT_ONCE && !signal.aborted) await pause(20);
      }
    } finally {
      await consumer.delete().catch(() => {});
    }
  }

  #see(subject: string, seq: number): void {
    const place = parseAggregateSubject(subject);
    if (place === undefined) return;
    const key = entryKey(place.kind, place.id);
    const { entries, rests } = this.#core;
    if (entries.has(key)) return;
    const rest = rests.get(key);
    const late = rest?.until !== undefined && rest.until < Date.now() - LATE_MS;
    if (rest !== undefined && seq <= rest.seq && !late) return;
    this.#core.wake(place.kind, place.id, { source: "sweep", seq });
  }

  async #answerAsked(): Promise<void> {
    const { deadLetters, context } = this.#core.options;
    const { consumer } = this.#core;
    const letters = await deadLetters.list({ consumer, context });
    metrics.deadLetters.set({ consumer }, letters.length);
    if (letters.length === 0) return;
    const mine = new Map(letters.map((letter) => [letter.id, letter]));
    for (const ask of await deadLetters.asks()) {
      const letter = mine.get(ask.id);
      if (letter === undefined) continue;
      if (ask.action === "drop") await deadLetters.dropped(ask.id, ask.by, ask.why);
      else this.#core.wake(letter.kind, letter.aggregate, { source: "hand", retry: true });
      await deadLetters.answered(ask.id);
    }
  }
}
