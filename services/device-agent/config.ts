/** Configuration of the device agent, from the environment. */

import type { ConfigOf } from "@millrace/eventlog/settings.ts";
import { defineSettings, IntegerBetween, NATS_SETTINGS, Text } from "@millrace/eventlog/settings.ts";
import * as Schema from "effect/Schema";

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/u;
const LISTEN = /^[A-Za-z0-9.:[\]-]*:[0-9]{1,5}$/u;

export const AGENT_SETTINGS = defineSettings({
  ...NATS_SETTINGS,
  node: {
    variable: "MILLRACE_NODE",
    schema: Text.check(Schema.isPattern(NAME)),
    describe: "Name of the node.",
    example: "local",
    fallback: "local",
  },
  site: {
    variable: "MILLRACE_SITE",
    schema: Text.check(Schema.isPattern(NAME)),
    describe: "The network in which this agent stands: it talks to the devices of this site alone.",
    example: "home",
    fallback: "home",
  },
  data: {
    variable: "MILLRACE_DATA",
    schema: Text,
    describe: "The folder with all state.",
    example: ".millrace",
    fallback: ".millrace",
  },
  masterKey: {
    variable: "MILLRACE_MASTER_KEY",
    schema: Text,
    describe:
      "The key that wraps all data keys: 32 bytes in base 64. Without it no device with a login can be talked to.",
    example: "…",
    optional: true,
    secret: true,
  },
  dialInListen: {
    variable: "MILLRACE_DEVICES_LISTEN",
    schema: Text.check(Schema.isPattern(LISTEN)),
    describe: "Where devices of the second generation and later dial in (outbound WebSocket); nowhere unless set.",
    example: "0.0.0.0:7481",
    optional: true,
  },
  coiotListen: {
    variable: "MILLRACE_COIOT_LISTEN",
    schema: Text.check(Schema.isPattern(LISTEN)),
    describe: "Where CoIoT of devices of the first generation is heard; nowhere unless set.",
    example: "0.0.0.0:5683",
    optional: true,
  },
  pollSeconds: {
    variable: "MILLRACE_DEVICES_POLL_SECONDS",
    schema: IntegerBetween(5, 86_400),
    describe: "Seconds between two looks at a device that sets none of its own.",
    example: "60",
    fallback: 60,
  },
  lostSeconds: {
    variable: "MILLRACE_DEVICES_LOST_SECONDS",
    schema: IntegerBetween(1, 86_400),
    describe:
      "Seconds of silence after which a device is lost; a device's own interval, two and a half times, where that is longer.",
    example: "120",
    fallback: 120,
  },
  sampleSeconds: {
    variable: "MILLRACE_DEVICES_SAMPLE_SECONDS",
    schema: IntegerBetween(1, 3_600),
    describe: "Seconds between two writings of what devices measured.",
    example: "60",
    fallback: 60,
  },
  readHours: {
    variable: "MILLRACE_DEVICES_READ_HOURS",
    schema: IntegerBetween(1, 720),
    describe: "Hours after which a configuration is read again although the device told of no change.",
    example: "24",
    fallback: 24,
  },
  leaseSeconds: {
    variable: "MILLRACE_LEASE_SECONDS",
    schema: IntegerBetween(1, 600),
    describe: "Seconds until the devices of a process that has gone silent are another's.",
    example: "10",
    fallback: 10,
  },
});

export type AgentConfig = ConfigOf<typeof AGENT_SETTINGS>;

/** `0.0.0.0:7481` @returns host and port */
export function listenOf(text: string): { readonly host: string; readonly port: number } {
  const at = text.lastIndexOf(":");
  const host = text.slice(0, at).replace(/^\[|\]$/g, "");
  return { host: host === "" ? "0.0.0.0" : host, port: Number(text.slice(at + 1)) };
}
