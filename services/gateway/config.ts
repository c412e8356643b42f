/** Configuration of the gateway, from the environment. */
import { hostFault } from "@millrace/contracts/applications/git.ts";
import { Name } from "@millrace/contracts/ids.ts";
import {
  type ConfigOf,
  defineSettings,
  NATS_SETTINGS,
  OUTGOING_SETTINGS,
  POSTGRES_SETTINGS,
  Port,
  Text,
} from "@millrace/eventlog/settings.ts";
import * as Schema from "effect/Schema";

export const GATEWAY_SETTINGS = defineSettings({
  ...NATS_SETTINGS,
  ...POSTGRES_SETTINGS,
  ...OUTGOING_SETTINGS,
  host: {
    variable: "MILLRACE_HOST",
    schema: Text,
    describe: "Address that the gateway listens on.",
    example: "127.0.0.1",
    fallback: "127.0.0.1",
  },
  port: {
    variable: "MILLRACE_PORT",
    schema: Port,
    describe: "Port of API, console and subscriptions; 0 is any free one.",
    example: "7400",
    fallback: 7400,
  },
  masterKey: {
    variable: "MILLRACE_MASTER_KEY",
    schema: Text,
    describe: "The key that wraps all data keys: 32 bytes in base 64.",
    example: "…",
    secret: true,
  },
  ownerToken: {
    variable: "MILLRACE_OWNER_TOKEN",
    schema: Text,
    describe: "The owner's first token (`mrp_…`): registered at start, may do everything.",
    example: "…",
    optional: true,
    secret: true,
  },
  organisation: {
    variable: "MILLRACE_ORGANISATION",
    schema: Name,
    describe: "Name of the first organisation, created at start where there is none.",
    example: "home",
    fallback: "home",
  },
  appsDomain: {
    variable: "MILLRACE_APPS_DOMAIN",
    schema: Text.check(Schema.makeFilter((domain) => hostFault(domain) ?? true)),
    describe:
      "Domain below which every application has a host: `<application>.<organisation>.<domain>`; apps.localhost unless set.",
    example: "apps.example.org",
    optional: true,
  },
});

export type GatewayConfig = ConfigOf<typeof GATEWAY_SETTINGS>;
