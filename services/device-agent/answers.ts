/** What is asked of the agents of a site: whoever is asked passes it on to the one that holds the device's lane. */
import type { AskDeclaration } from "@millrace/contracts/asks.ts";
import {
  type AskedOfDevice,
  deviceCapabilities,
  devicePlan,
  deviceStatus,
  holderOfSite,
} from "@millrace/contracts/devices/asks.ts";
import { LIMITS } from "@millrace/contracts/devices/values.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { type DeviceState, device } from "@millrace/domain/devices/device.ts";
import { capabilitiesOf } from "@millrace/domain/devices/model/capabilities.ts";
import type { Configuration } from "@millrace/domain/devices/model/configuration.ts";
import { AskRefused, AskUnavailable, answerAsk, ask } from "@millrace/eventlog/asks.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Device } from "./adapters/shelly/device.ts";
import { DeviceFailure } from "./adapters/shelly/failures.ts";
import { isObject } from "./adapters/shelly/json.ts";
import { laneHolder, laneOf } from "./lanes.ts";
import { shownPlan } from "./reactors/task-apply.ts";
import { permanent, StepFault } from "./reactors/task-work.ts";
import type { Watch } from "./watch.ts";

export interface AnswersOptions {
  readonly log: EventLog;
  readonly site: string;
  readonly watch: Watch;
}

type Answer<A> = (asked: AskedOfDevice, signal: AbortSignal) => Promise<A>;

/** What could not be had, as asks tell it. */
export const failedAs = ({ kind, reason, fix }: DeviceFailure) => ({
  failed: { code: kind.toUpperCase().replaceAll("-", "_"), message: reason, fix },
});

const notHere = () =>
  new AskRefused({ problem: new NotFound({ fix: "Look at the device's site: an agent must run there." }) });

export class Answers {
  readonly #options: AnswersOptions;
  readonly #declared: ReadonlyArray<{ readonly declaration: AskDeclaration<any, any>; readonly answer: Answer<any> }>;
  readonly #stops = new Map<number, () => void>();
  #stopSite: () => void = () => {};

  constructor(options: AnswersOptions) {
    this.#options = options;
    this.#declared = [
      { declaration: deviceStatus, answer: (asked) => this.#status(asked) },
      { declaration: devicePlan, answer: (asked) => this.#plan(asked) },
      { declaration: deviceCapabilities, answer: (asked) => this.#capabilities(asked) },
    ];
  }

  /** As an agent of the site: passes on what another holds. */
  begin(): void {
    const { log, site, watch } = this.#options;
    const stops = this.#declared.map(({ declaration, answer }) =>
      answerAsk(log.nats, declaration, holderOfSite(site), (asked: AskedOfDevice, signal: AbortSignal) => {
        if (watch.mine(asked.device)) return answer(asked, signal);
        const holder = laneHolder(site, laneOf(asked.device));
        return ask(log.nats, declaration, holder, asked, `The agent of the device ${asked.device}`);
      }),
    );
    this.#stopSite = () => {
      for (const stop of stops) stop();
    };
  }

  /** As the holder of a lane. */
  own(lane: number): void {
    const { log, site } = this.#options;
    const holder = laneHolder(site, lane);
    const stops = this.#declared.map(({ declaration, answer }) => answerAsk(log.nats, declaration, holder, answer));
    this.#stops.set(lane, () => {
      for (const stop of stops) stop();
    });
  }

  lose(lane: number): void {
    this.#stops.get(lane)?.();
    this.#stops.delete(lane);
  }

  close(): void {
    this.#stopSite();
    for (const lane of [...this.#stops.keys()]) this.lose(lane);
  }

  #status(asked: AskedOfDevice) {
    return this.#of(asked, async (driven) => {
      const status = await driven.status();
      return { at: new Date().toISOString(), status: isObject(status) ? status : {} };
    });
  }

  #plan(asked: AskedOfDevice) {
    return this.#of(asked, async (driven, state) => {
      if (state.desired === null) throw permanent("NOTHING_WANTED", "Nothing is wanted of it.", "Configure it first.");
      return shownPlan(state, state.desired as Configuration, await driven.report());
    });
  }

  #capabilities(asked: AskedOfDevice) {
    return this.#of(asked, async (driven) => {
      const capabilities = capabilitiesOf(await driven.report()).slice(0, LIMITS.capabilities);
      return { at: new Date().toISOString(), capabilities };
    });
  }

  /** @throws AskRefused, AskUnavailable, LogUnavailable */
  async #of<A>({ organisation, device: id }: AskedOfDevice, look: (driven: Device, state: DeviceState) => Promise<A>) {
    const { log, watch } = this.#options;
    const { state } = await log.aggregates.load(device, id);
    if (!state.exists || state.organisation !== organisation) throw notHere();
    const driven = watch.device(id);
    if (driven === undefined) throw new AskUnavailable({ what: `The agent of the device ${id}`, reason: "no-holder" });
    try {
      return await look(driven, state);
    } catch (error) {
      if (error instanceof DeviceFailure) return failedAs(error);
      if (error instanceof StepFault) return { failed: { code: error.code, message: error.reason, fix: error.fix } };
      throw error;
    }
  }
}
