/**
 * Erased secrets lose their keys, whatever dies in between: the event is written first, and every gateway destroys the key of every
 * erased secret it reads of in the log. Doing it again changes nothing.
 */
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import type { Place, Sealing } from "@millrace/eventlog/sealing.ts";

const AGAIN_MS = 5_000;

export class Erasures {
  readonly #sealing: Sealing;
  readonly #logger: Logger;
  #due: Place[] = [];
  #running = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(sealing: Sealing, logger: Logger) {
    this.#sealing = sealing;
    this.#logger = logger;
  }

  add(place: Place): void {
    this.#due.push(place);
    void this.#work();
  }

  /** What is due stays due: the next start reads of it again. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #work(): Promise<void> {
    if (this.#running || this.#stopped) return;
    this.#running = true;
    try {
      for (let place = this.#due[0]; place !== undefined && !this.#stopped; place = this.#due[0]) {
        faultPoint("gateway.erasure.before");
        await this.#sealing.erase(place);
        this.#due.shift();
      }
    } catch (error) {
      this.#logger.warn(
        { err: error, due: this.#due.length },
        "keys of erased secrets could not be destroyed; again soon",
      );
      this.#timer = setTimeout(() => void this.#work(), AGAIN_MS).unref();
    } finally {
      this.#running = false;
    }
  }
}
