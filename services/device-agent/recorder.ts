/**
 * What agents found goes into the log here, and only what is news: what is found of a device while an append of it is under way is put
 * together and follows it, and what the log knows already costs nothing.
 */
import { isRefusal } from "@millrace/domain/decider.ts";
import { type DeviceReport, device } from "@millrace/domain/devices/device.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { AppendConflict, LogUnavailable } from "@millrace/eventlog/failures.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";

const SERVICE = "device-agent";
/** Appends under way: they go together as one group. */
const AT_ONCE = 128;
const AGAIN_MS = 2_000;

export interface RecorderOptions {
  readonly log: EventLog;
  readonly index: LiveIndex;
  readonly logger: Logger;
  /** Whether the device is this agent's at this moment: what was found before it was lost is another's to find. */
  readonly mine: (id: string) => boolean;
}

interface Waiting {
  readonly mac: string;
  readonly report: DeviceReport;
}

export class Recorder {
  readonly #options: RecorderOptions;
  readonly #waiting = new Map<string, Waiting>();
  readonly #underWay = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #idle: (() => void)[] = [];
  #closed = false;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** @param mac of who answered, twelve hexadecimal digits in upper case */
  report(id: string, mac: string, report: DeviceReport): void {
    if (this.#closed) return;
    const before = this.#waiting.get(id);
    this.#waiting.set(id, { mac, report: { ...before?.report, ...report } });
    this.#pump();
  }

  /** Nothing waits and nothing is under way. */
  async settled(): Promise<void> {
    while (this.#waiting.size + this.#underWay.size > 0 && !this.#closed) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
  }

  async close(): Promise<void> {
    await Promise.race([this.settled(), new Promise((resolve) => setTimeout(resolve, 2_000).unref())]);
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const done of this.#idle.splice(0)) done();
  }

  #pump(): void {
    if (this.#timer !== undefined || this.#closed) return;
    for (const [id, one] of this.#waiting) {
      if (this.#underWay.size >= AT_ONCE) return;
      if (this.#underWay.has(id)) continue;
      this.#waiting.delete(id);
      this.#underWay.add(id);
      void this.#record(id, one).finally(() => {
        this.#underWay.delete(id);
        if (this.#waiting.size + this.#underWay.size === 0) for (const done of this.#idle.splice(0)) done();
        else this.#pump();
      });
    }
  }

  /** Never rejects. */
  async #record(id: string, { mac, report }: Waiting): Promise<void> {
    const { log, logger, mine } = this.#options;
    if (!mine(id)) return;
    const organisation = this.#isNews(id, mac, report);
    if (organisation === undefined) return;
    const command = { do: "report" as const, mac, report };
    try {
      faultPoint("device.report.before");
      const outcome = await execute(log, { kind: device, id, command }, ownContext(SERVICE, organisation));
      faultPoint("device.report.after");
      if ("refusal" in outcome) logger.warn({ device: id, refusal: outcome.refusal }, "what was found was refused");
    } catch (err) {
      if (!(err instanceof LogUnavailable) && !(err instanceof AppendConflict)) {
        logger.error({ err, device: id }, "what was found could not be recorded");
        return;
      }
      this.#later(id, { mac, report });
    }
  }

  /** Put back, under what came meanwhile, and everything waits a moment: it is the log that is away. */
  #later(id: string, { mac, report }: Waiting): void {
    this.#waiting.set(id, { mac, report: { ...report, ...this.#waiting.get(id)?.report } });
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#pump();
    }, AGAIN_MS);
  }

  /** The same rules decide on what this process saw last. @returns the organisation, when something would come of it */
  #isNews(id: string, mac: string, report: DeviceReport): string | undefined {
    const { log, index } = this.#options;
    const [cached, indexed] = [log.aggregates.cached(device, id), index.get(device, id)];
    const known = (cached?.seq ?? 0) > (indexed?.seq ?? 0) ? cached : indexed;
    if (known?.organisation === undefined || known.organisation === "") return undefined;
    const { organisation } = known;
    const { actor, now } = ownContext(SERVICE, organisation);
    const decision = device.decider.decide({ do: "report", mac, report }, known.state, { organisation, actor, now });
    return isRefusal(decision) || decision.events.length > 0 ? organisation : undefined;
  }
}
