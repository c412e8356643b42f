/** Configuration of the projector, from the environment. */
import {
  AUTHORITY_SETTINGS,
  type ConfigOf,
  defineSettings,
  IntegerBetween,
  NATS_SETTINGS,
  OUTGOING_SETTINGS,
  POSTGRES_SETTINGS,
  Text,
} from "@millrace/eventlog/settings.ts";

export const PROJECTOR_SETTINGS = defineSettings({
  ...NATS_SETTINGS,
  ...POSTGRES_SETTINGS,
  ...OUTGOING_SETTINGS,
  ...AUTHORITY_SETTINGS,
  masterKey: {
    variable: "MILLRACE_MASTER_KEY",
    schema: Text,
    describe:
      "The key that wraps all data keys: 32 bytes in base 64. Without it nothing is sent to webhooks and channels.",
    example: "…",
    optional: true,
    secret: true,
  },
  outboxRequests: {
    variable: "MILLRACE_OUTBOX_REQUESTS",
    schema: IntegerBetween(4, 10_000),
    describe: "Requests to webhooks and channels at the same moment, in all; 256 unless set.",
    example: "256",
    optional: true,
  },
  outboxTimeoutMs: {
    variable: "MILLRACE_OUTBOX_TIMEOUT_MS",
    schema: IntegerBetween(100, 30_000),
    describe: "Milliseconds that a receiver has for its answer; 20000 unless set.",
    example: "20000",
    optional: true,
  },
  outboxRetryPermille: {
    variable: "MILLRACE_OUTBOX_RETRY_PERMILLE",
    schema: IntegerBetween(0, 1_000),
    describe: "Thousandths of the times of the retry table, for tests; 1000 unless set.",
    example: "1000",
    optional: true,
  },
});

export type ProjectorConfig = ConfigOf<typeof PROJECTOR_SETTINGS>;
