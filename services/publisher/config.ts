/** Configuration of the publisher, from the environment. */
import { type ConfigOf, defineSettings, IntegerBetween, NATS_SETTINGS, Text } from "@millrace/eventlog/settings.ts";
import * as Schema from "effect/Schema";

/** What the tools' environment holds beside their homes. */
const ToolsEnvironment = Schema.fromJsonString(Schema.Record(Schema.String, Schema.String));

export const PUBLISHER_SETTINGS = defineSettings({
  ...NATS_SETTINGS,
  node: {
    variable: "MILLRACE_NODE",
    schema: Text.check(Schema.isPattern(/^[a-z0-9][a-z0-9-]{0,62}$/u)),
    describe: "Name of the node: repositories that lie on its disk are acted on only here.",
    example: "local",
    fallback: "local",
  },
  data: {
    variable: "MILLRACE_DATA",
    schema: Text,
    describe: "The folder with all state; repositories lie below publisher/<node>.",
    example: ".millrace",
    fallback: ".millrace",
  },
  masterKey: {
    variable: "MILLRACE_MASTER_KEY",
    schema: Text,
    describe: "The key that wraps all data keys: 32 bytes in base 64. Without it no repository can be made.",
    example: "…",
    optional: true,
    secret: true,
  },
  tools: {
    variable: "MILLRACE_PUBLISHING_TOOLS",
    schema: ToolsEnvironment,
    describe: "The environment in which ostree, flatpak and gpg are found, as JSON; the path unless set.",
    example: '{"PATH":"/usr/bin"}',
    optional: true,
  },
  leaseSeconds: {
    variable: "MILLRACE_LEASE_SECONDS",
    schema: IntegerBetween(1, 300),
    describe: "After so many seconds without a sign of life another process goes on with what one was at.",
    example: "10",
    fallback: 10,
  },
  publicUrl: {
    variable: "MILLRACE_REPOSITORIES_URL",
    schema: Text.check(Schema.isPattern(/^https?:\/\/[^\s@]{1,200}$/u)),
    describe: "Where clients reach what Caddy serves: repositories are below it, at /repo/<name>/.",
    example: "https://flatpak.example.org",
    optional: true,
  },
  pruneYoungSeconds: {
    variable: "MILLRACE_PRUNE_YOUNG_SECONDS",
    schema: IntegerBetween(0, 2_592_000),
    describe: "Objects that are younger are not pruned: they may belong to a commit that is just being made.",
    example: "3600",
    fallback: 3_600,
  },
  scrubMib: {
    variable: "MILLRACE_SCRUB_MIB_PER_SECOND",
    schema: IntegerBetween(0, 10_000),
    describe: "How fast repositories are read through by themselves, to find what a disk has lost; 0: not at all.",
    example: "4",
    fallback: 4,
  },
  concurrency: {
    variable: "MILLRACE_REPOSITORIES_AT_ONCE",
    schema: IntegerBetween(1, 64),
    describe: "Repositories that this process works on at the same moment.",
    example: "2",
    fallback: 2,
  },
});

export type PublisherConfig = ConfigOf<typeof PUBLISHER_SETTINGS>;
