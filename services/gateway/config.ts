/** Configuration of the gateway, from the environment. */
import { hostFault } from "@millrace/contracts/applications/git.ts";
import { Name } from "@millrace/contracts/ids.ts";
import {
  type ConfigOf,
  defineSettings,
  Flag,
  IntegerBetween,
  NATS_SETTINGS,
  OUTGOING_SETTINGS,
  POSTGRES_SETTINGS,
  Port,
  Text,
} from "@millrace/eventlog/settings.ts";
import * as Schema from "effect/Schema";
import { CONNECTIONS_USUAL, listOf, USUAL_LIMITS } from "./limits.ts";
import { seedFault } from "./subscribers/issuer.ts";

const limit = (name: string, describe: string, usual: number) =>
  ({
    variable: `MILLRACE_LIMIT_${name}`,
    schema: IntegerBetween(1, 1_000_000_000),
    describe: `${describe}; ${usual} unless set.`,
    example: String(usual),
    optional: true,
  }) as const;

function faultOf(networks: string): string | undefined {
  try {
    listOf(listed(networks));
    return undefined;
  } catch {
    return "is no list of addresses and networks";
  }
}

export const GATEWAY_SETTINGS = defineSettings({
  ...NATS_SETTINGS,
  ...POSTGRES_SETTINGS,
  ...OUTGOING_SETTINGS,
  natsIssuerSeed: {
    variable: "MILLRACE_NATS_ISSUER_SEED",
    schema: Text.check(Schema.makeFilter((seed) => seedFault(seed) ?? true)),
    describe: "Seed (SA…) of the account key that NATS trusts in its auth callout; without it no subscriber is let in.",
    example: "…",
    optional: true,
    secret: true,
  },
  natsDoorPassword: {
    variable: "MILLRACE_NATS_DOOR_PASSWORD",
    schema: Text,
    describe:
      "Password of the users millrace-door (account of subscribers) and millrace-warden (system account) of NATS.",
    example: "…",
    optional: true,
    secret: true,
  },
  natsSubscribersAccount: {
    variable: "MILLRACE_NATS_SUBSCRIBERS_ACCOUNT",
    schema: Text.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,64}$/u)),
    describe: "Account of NATS that subscribers are let into; SUBSCRIBERS unless set.",
    example: "SUBSCRIBERS",
    optional: true,
  },
  natsSubscribersTls: {
    variable: "MILLRACE_NATS_SUBSCRIBERS_TLS",
    schema: Flag,
    describe: "Whether subscribers are let into NATS over TLS only.",
    example: "1",
    optional: true,
  },
  natsPublicUrl: {
    variable: "MILLRACE_NATS_PUBLIC_URL",
    schema: Text,
    describe: "Where subscribers reach NATS; several, separated by commas; MILLRACE_NATS_URL unless set.",
    example: "nats://nats.example.org:4222",
    optional: true,
  },
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
  attachmentGib: {
    variable: "MILLRACE_ATTACHMENT_GIB",
    schema: IntegerBetween(1, 1_000_000),
    describe: "GiB of attachments that each organisation may have; 10 unless set.",
    example: "10",
    optional: true,
  },
  flatManagerConfig: {
    variable: "MILLRACE_FLAT_MANAGER_CONFIG",
    schema: Schema.String.check(Schema.isMaxLength(1_000_000)),
    describe:
      "Configuration of a flat-manager whose clients push here, as it is (JSON); its tokens are taken. `mill repos import-flat-manager` tells what of it counts.",
    example: '{"secret":"…","repos":{"stable":{"path":"repo","subsets":{}}}}',
    optional: true,
    secret: true,
  },
  flatManagerOrganisation: {
    variable: "MILLRACE_FLAT_MANAGER_ORGANISATION",
    schema: Name,
    describe:
      "Name of the organisation that the repositories of that configuration belong to; MILLRACE_ORGANISATION unless set.",
    example: "home",
    optional: true,
  },
  publicUrl: {
    variable: "MILLRACE_GATEWAY_URL",
    schema: Text.check(Schema.isPattern(/^https?:\/\/[^\s?#]{1,1000}$/u)),
    describe: "Where clients reach this gateway; unless set, what they ask for.",
    example: "https://flatpak.example.org",
    optional: true,
  },
  limitRead: limit("READ", "Requests a minute that one token may read with", USUAL_LIMITS.read),
  limitWrite: limit("WRITE", "Requests a minute that one token may change something with", USUAL_LIMITS.write),
  limitExpensive: limit(
    "EXPENSIVE",
    "Requests a minute of one token for what is expensive (search, logs, rebuilding)",
    USUAL_LIMITS.expensive,
  ),
  limitAddress: limit("ADDRESS", "Requests a minute from one address", USUAL_LIMITS.address),
  limitTries: limit("TRIES", "Tries a minute from one address that let nobody in", USUAL_LIMITS.tries),
  limitStreams: limit("STREAMS", "Subscriptions that one token may hold at once", 200),
  limitConnections: limit("CONNECTIONS", "Connections that are open at once", CONNECTIONS_USUAL),
  trustedProxies: {
    variable: "MILLRACE_TRUSTED_PROXIES",
    schema: Text.check(Schema.makeFilter((text) => faultOf(text) ?? true)),
    describe: "Addresses and networks, separated by commas, whose X-Forwarded-For and -Proto are believed.",
    example: "127.0.0.1,10.0.0.0/8",
    optional: true,
  },
  origins: {
    variable: "MILLRACE_ORIGINS",
    schema: Text,
    describe: "Origins, separated by commas, beside its own from whose pages a browser may change things.",
    example: "https://console.example.org",
    optional: true,
  },
});

/** A list, separated by commas. */
export const listed = (text: string | undefined): string[] =>
  (text ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");

export type GatewayConfig = ConfigOf<typeof GATEWAY_SETTINGS>;
