/** Configuration of the publisher, from the environment. */
import {
  AUTHORITY_SETTINGS,
  type ConfigOf,
  defineSettings,
  GIT_SETTINGS,
  IntegerBetween,
  NATS_SETTINGS,
  OUTGOING_SETTINGS,
  Text,
} from "@millrace/eventlog/settings.ts";
import * as Schema from "effect/Schema";

/** What the tools' environment holds beside their homes. */
const ToolsEnvironment = Schema.fromJsonString(Schema.Record(Schema.String, Schema.String));

export const PUBLISHER_SETTINGS = defineSettings({
  ...NATS_SETTINGS,
  ...GIT_SETTINGS,
  ...OUTGOING_SETTINGS,
  ...AUTHORITY_SETTINGS,
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
  buildsAtOnce: {
    variable: "MILLRACE_BUILDS_AT_ONCE",
    schema: IntegerBetween(1, 64),
    describe: "Builds that are committed or published at the same moment; the others wait by priority and age.",
    example: "4",
    fallback: 4,
  },
  manifestsAtOnce: {
    variable: "MILLRACE_MANIFESTS_AT_ONCE",
    schema: IntegerBetween(1, 16),
    describe: "Builds from manifests that run at the same moment; the others wait by priority and age.",
    example: "1",
    fallback: 1,
  },
  buildMinutes: {
    variable: "MILLRACE_BUILD_MINUTES",
    schema: IntegerBetween(1, 1_440),
    describe: "How long flatpak-builder may take for one architecture.",
    example: "60",
    fallback: 60,
  },
  buildMemoryMib: {
    variable: "MILLRACE_BUILD_MEMORY_MIB",
    schema: IntegerBetween(64, 1_048_576),
    describe: "Memory of a build's processes, together and each by itself.",
    example: "4096",
    fallback: 4_096,
  },
  buildDiskMib: {
    variable: "MILLRACE_BUILD_DISK_MIB",
    schema: IntegerBetween(16, 16_777_216),
    describe: "What a build may write to the disk.",
    example: "20480",
    fallback: 20_480,
  },
  buildJobs: {
    variable: "MILLRACE_BUILD_JOBS",
    schema: IntegerBetween(1, 256),
    describe: "Jobs that the modules of a build may run beside each other (make -j).",
    example: "2",
    fallback: 2,
  },
  buildArtefactMib: {
    variable: "MILLRACE_BUILD_ARTEFACT_MIB",
    schema: IntegerBetween(0, 65_536),
    describe:
      "What is kept of one architecture of a build that failed, before it is packed; eight times that, packed, of an organisation. 0: nothing.",
    example: "256",
    fallback: 256,
  },
  installation: {
    variable: "MILLRACE_FLATPAK_INSTALLATION",
    schema: Text,
    describe:
      "A flatpak installation of this machine with runtimes that every organisation may build with; it is only read.",
    example: "/var/lib/flatpak",
    optional: true,
  },
  localSources: {
    variable: "MILLRACE_LOCAL_SOURCES",
    schema: Text,
    describe:
      "Folders below which Git repositories on this machine may be built from, absolute, with colons between; none unless set.",
    example: "/srv/git",
    optional: true,
  },
  deltasAtOnce: {
    variable: "MILLRACE_DELTAS_AT_ONCE",
    schema: IntegerBetween(1, 16),
    describe: "Builds whose static deltas are made at the same moment, after they were published.",
    example: "1",
    fallback: 1,
  },
  deltaDepth: {
    variable: "MILLRACE_DELTA_DEPTH",
    schema: IntegerBetween(0, 20),
    describe: "Static deltas to each commit: 0 none, 1 from nothing, 2 from the commit before it as well, and so on.",
    example: "2",
    fallback: 2,
  },
  mirrorsAtOnce: {
    variable: "MILLRACE_MIRRORS_AT_ONCE",
    schema: IntegerBetween(1, 16),
    describe:
      "Builds that are fetched from other repositories at the same moment; the others wait by priority and age.",
    example: "2",
    fallback: 2,
  },
  mirrorGib: {
    variable: "MILLRACE_MIRROR_GIB",
    schema: IntegerBetween(1, 1_024),
    describe: "GiB that one build may fetch from another repository.",
    example: "20",
    fallback: 20,
  },
  buildDays: {
    variable: "MILLRACE_BUILD_DAYS",
    schema: IntegerBetween(1, 3_650),
    describe: "Days after which a build goes that nobody asked anything of: its files, not what it published.",
    example: "30",
    fallback: 30,
  },
  bytesListen: {
    variable: "MILLRACE_PUBLISHER_LISTEN",
    schema: Text.check(Schema.isPattern(/^[A-Za-z0-9.:[\]-]*:[0-9]{1,5}$/u)),
    describe: "Where gateways bring what is uploaded to builds, within the installation; port 0 is any free one.",
    example: "10.0.0.7:7491",
    fallback: "127.0.0.1:0",
  },
});

export type PublisherConfig = ConfigOf<typeof PUBLISHER_SETTINGS>;
