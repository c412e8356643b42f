/** Configuration of the device agent, from the environment. */

import type { ConfigOf } from "@millrace/eventlog/settings.ts";
import {
  defineSettings,
  Flag,
  GIT_SETTINGS,
  IntegerBetween,
  NATS_SETTINGS,
  Text,
} from "@millrace/eventlog/settings.ts";
import * as Schema from "effect/Schema";

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/u;
const URL_OF = /^https?:\/\/[\x21-\x7e]{1,500}$/u;
const LISTEN = /^[A-Za-z0-9.:[\]-]*:[0-9]{1,5}$/u;

export const AGENT_SETTINGS = defineSettings({
  ...NATS_SETTINGS,
  ...GIT_SETTINGS,
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
  localSources: {
    variable: "MILLRACE_LOCAL_SOURCES",
    schema: Text,
    describe:
      "Folders below which repositories on this machine may be used, absolute, with colons between; none unless set.",
    example: "/srv/git",
    optional: true,
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
  mdns: {
    variable: "MILLRACE_DEVICES_MDNS",
    schema: Flag,
    describe: "1: devices that went away are looked for by mDNS while they are missing.",
    example: "0",
    fallback: true,
  },
  mdnsInterface: {
    variable: "MILLRACE_DEVICES_MDNS_INTERFACE",
    schema: Text.check(Schema.isPattern(/^[0-9]{1,3}(\.[0-9]{1,3}){3}$/u)),
    describe: "Address of the one interface through which scans ask by mDNS; as the system chooses unless set.",
    example: "192.168.1.2",
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
  tasksAtOnce: {
    variable: "MILLRACE_DEVICES_AT_ONCE",
    schema: IntegerBetween(1, 1_000),
    describe: "Devices on which this agent carries out tasks at the same moment.",
    example: "32",
    fallback: 32,
  },
  lookMs: {
    variable: "MILLRACE_DEVICES_LOOK_MS",
    schema: IntegerBetween(20, 60_000),
    describe: "Milliseconds between two looks at a device that restarts, updates itself, or changes its network.",
    example: "2000",
    fallback: 2_000,
  },
  firmwareListen: {
    variable: "MILLRACE_FIRMWARE_LISTEN",
    schema: Text.check(Schema.isPattern(LISTEN)),
    describe:
      "Where devices fetch firmware from this agent, which fetches it from the maker; unless set they fetch it there.",
    example: "0.0.0.0:7482",
    optional: true,
  },
  firmwareHost: {
    variable: "MILLRACE_FIRMWARE_HOST",
    schema: Text,
    describe: "This agent as devices reach it for firmware; the address from which it talks to them unless set.",
    example: "192.168.1.2",
    optional: true,
  },
  firmwareIndex: {
    variable: "MILLRACE_FIRMWARE_INDEX",
    schema: Text.check(Schema.isPattern(URL_OF)),
    describe: "The maker's index of firmware for Gen2 and later; the name of the app is put behind it.",
    example: "https://updates.shelly.cloud/update",
    fallback: "https://updates.shelly.cloud/update",
  },
  firmwareIndexGen1: {
    variable: "MILLRACE_FIRMWARE_INDEX_GEN1",
    schema: Text.check(Schema.isPattern(URL_OF)),
    describe: "The maker's index of firmware for Gen1.",
    example: "https://api.shelly.cloud/files/firmware",
    fallback: "https://api.shelly.cloud/files/firmware",
  },
  firmwareCa: {
    variable: "MILLRACE_FIRMWARE_CA",
    schema: Text,
    describe:
      "File with the certificates (PEM) by which the maker's servers are known, where the system does not know them.",
    example: "/etc/millrace/firmware-ca.pem",
    optional: true,
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
