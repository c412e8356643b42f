/** Sends one event to a webhook, signed. */
import type { KeyObject } from "node:crypto";
import type { WebhookState } from "@millrace/domain/integrations/webhook.ts";
import type { FeedEvent } from "@millrace/eventlog/cloudevents.ts";
import { keyOf, sign } from "@millrace/eventlog/webhook-signature.ts";
import { type Outcome, outcomeOf, type Sender } from "./sender.ts";
import type { Transport } from "./transport.ts";

export type Unseal = (sealed: NonNullable<WebhookState["secrets"]>["current"]) => Promise<string>;

/**
 * The body: the CloudEvent as WebSocket and SSE carry it, with its time once more as `timestamp`, so that it is a payload of
 * Standard Webhooks, too: `{type, timestamp, data}` and more.
 */
export const bodyOf = (event: FeedEvent): string => `{"timestamp":${JSON.stringify(event.time)},${event.json.slice(1)}`;

const TEST_TYPE = "millrace.integrations.WebhookTest.v1";
const USER_AGENT = "Millrace-Webhooks/1";

export class WebhookSender implements Sender {
  readonly testType = TEST_TYPE;
  readonly #transport: Transport;
  readonly #state: WebhookState;
  readonly #unseal: Unseal;
  #keys: Promise<ReadonlyArray<{ readonly key: KeyObject; readonly until: number }>> | undefined;

  constructor(transport: Transport, state: WebhookState, unseal: Unseal) {
    this.#transport = transport;
    this.#state = state;
    this.#unseal = unseal;
  }

  send(event: FeedEvent, message: string): Promise<Outcome> {
    return this.#post(message, bodyOf(event));
  }

  test(test: number): Promise<Outcome> {
    const { id, organisation, spec } = this.#state;
    const time = new Date().toISOString();
    return this.#post(
      `msg_test_${id}_${test}`,
      JSON.stringify({
        timestamp: time,
        specversion: "1.0",
        id: `test_${id}_${test}`,
        source: `/organisations/${organisation}/integrations/webhook/${id}`,
        type: TEST_TYPE,
        time,
        datacontenttype: "application/json",
        data: { webhook: spec!.name, test },
      }),
    );
  }

  async #post(message: string, body: string): Promise<Outcome> {
    const keys = await this.#goodKeys();
    const seconds = Math.floor(Date.now() / 1_000);
    const headers = {
      "content-type": "application/json",
      "user-agent": USER_AGENT,
      "webhook-id": message,
      "webhook-timestamp": String(seconds),
      "webhook-signature": sign(keys, message, seconds, body),
    };
    return outcomeOf(await this.#transport.post({ url: this.#state.spec!.url, headers, body }));
  }

  /** Opened once. */
  async #goodKeys(): Promise<ReadonlyArray<KeyObject>> {
    this.#keys ??= this.#open();
    this.#keys.catch(() => {
      this.#keys = undefined;
    });
    const now = Date.now();
    return (await this.#keys).filter(({ until }) => until > now).map(({ key }) => key);
  }

  async #open() {
    const { current, previous } = this.#state.secrets!;
    const pairs = [
      { sealed: current, until: Number.POSITIVE_INFINITY },
      ...(previous === undefined ? [] : [{ sealed: previous.sealed, until: Date.parse(previous.until) }]),
    ];
    return Promise.all(pairs.map(async ({ sealed, until }) => ({ key: keyOf(await this.#unseal(sealed)), until })));
  }
}
