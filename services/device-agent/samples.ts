/** What devices measured, kept for a while and written as series: a piece of it at a time, so that thousands of devices make no burst. */
import type { DeviceState } from "@millrace/domain/devices/device.ts";
import type { Nats } from "@millrace/eventlog/connection.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { ensureTelemetry, type Sample, SeriesWriter } from "@millrace/eventlog/series.ts";
import { LANES, laneOf } from "./lanes.ts";

const CONTEXT = "devices";
const KIND = "device";

export class Samples {
  readonly #nats: Nats;
  readonly #logger: Logger;
  readonly #everyMs: number;
  readonly #writers: ReadonlyArray<SeriesWriter>;

  /** @param everyMs between two writings of a device's */
  constructor(nats: Nats, logger: Logger, everyMs: number) {
    this.#nats = nats;
    this.#logger = logger;
    this.#everyMs = everyMs;
    this.#writers = Array.from({ length: LANES }, () => new SeriesWriter(nats));
  }

  readonly add = ({ id, organisation }: DeviceState, samples: ReadonlyArray<Sample>): void => {
    this.#writers[laneOf(id)]!.add({ organisation, context: CONTEXT, kind: KIND, id }, samples);
  };

  /** Until the signal; then what is left is written. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await ensureTelemetry(this.#nats);
        break;
      } catch (err) {
        this.#logger.warn({ err }, "samples cannot be stored; it is tried again");
        await pause(5_000, signal);
      }
    }
    while (!signal.aborted) {
      for (const writer of this.#writers) {
        await pause(this.#everyMs / LANES, signal);
        await this.#flush(writer);
      }
    }
    await Promise.all(this.#writers.map((writer) => this.#flush(writer)));
  }

  async #flush(writer: SeriesWriter): Promise<void> {
    const given = await writer.flush();
    if (given > 0) this.#logger.warn({ chunks: given }, "samples could not be stored");
  }
}
