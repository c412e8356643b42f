/** Settings of `mill up` for publishing, and for building what is published. */
import { file, path, text, url, whole } from "./setting-values.ts";
import type { Declaration } from "./settings.ts";

export const publishingDeclarations = {
  // For whatever clones: the orchestrator and the agent are told as well.
  knownHosts: {
    env: "MILLRACE_KNOWN_HOSTS",
    key: "git.known_hosts",
    read: file,
    fallback: undefined,
    meaning:
      "file with the keys of Git servers (known_hosts of OpenSSH); unless set, the first that each shows is kept",
  },
  repositoriesUrl: {
    env: "MILLRACE_REPOSITORIES_URL",
    key: "publishing.url",
    read: url("http", "https"),
    fallback: undefined,
    meaning:
      "the address that clients of repositories are given (https://flatpak.example.org); unless set, that of applications",
  },
  flatManagerConfigFile: {
    env: "MILLRACE_FLAT_MANAGER_CONFIG_FILE",
    key: "publishing.flat_manager_config_file",
    read: file,
    fallback: undefined,
    meaning: "configuration of a flat-manager whose clients push here, as it is; its tokens are taken",
  },
  publisherListen: {
    env: "MILLRACE_PUBLISHER_LISTEN",
    key: "publishing.listen",
    read: text,
    fallback: undefined,
    meaning: "where gateways bring what is uploaded to builds (10.0.0.7:7491); a free port of this machine unless set",
  },
  repositoriesAtOnce: {
    env: "MILLRACE_REPOSITORIES_AT_ONCE",
    key: "publishing.repositories_at_once",
    read: whole(1, 64),
    fallback: "2",
    meaning: "repositories that are worked on at the same moment",
  },
  buildsAtOnce: {
    env: "MILLRACE_BUILDS_AT_ONCE",
    key: "publishing.builds_at_once",
    read: whole(1, 64),
    fallback: "4",
    meaning: "builds that are committed or published at the same moment",
  },
  buildDays: {
    env: "MILLRACE_BUILD_DAYS",
    key: "publishing.build_days",
    read: whole(1, 3_650),
    fallback: "30",
    meaning: "days after which a build's files go of which nobody asked anything; what it published stays",
  },
  deltasAtOnce: {
    env: "MILLRACE_DELTAS_AT_ONCE",
    key: "publishing.deltas_at_once",
    read: whole(1, 16),
    fallback: "1",
    meaning: "builds whose static deltas are made at the same moment",
  },
  deltaDepth: {
    env: "MILLRACE_DELTA_DEPTH",
    key: "publishing.delta_depth",
    read: whole(0, 20),
    fallback: "2",
    meaning: "static deltas to each commit: 0 none, 1 from nothing, 2 from the commit before it as well, and so on",
  },
  pruneYoungSeconds: {
    env: "MILLRACE_PRUNE_YOUNG_SECONDS",
    key: "publishing.prune_young_seconds",
    read: whole(0, 2_592_000),
    fallback: "3600",
    meaning: "seconds: objects that are younger are not pruned",
  },
  scrubMib: {
    env: "MILLRACE_SCRUB_MIB_PER_SECOND",
    key: "publishing.scrub_mib_per_second",
    read: whole(0, 10_000),
    fallback: "4",
    meaning: "MiB a second by which repositories are read through, to find what a disk has lost; 0: not at all",
  },
  mirrorsAtOnce: {
    env: "MILLRACE_MIRRORS_AT_ONCE",
    key: "publishing.mirrors_at_once",
    read: whole(1, 16),
    fallback: undefined,
    meaning: "builds that fetch from repositories that are followed, at the same moment; 2 unless set",
  },
  mirrorGib: {
    env: "MILLRACE_MIRROR_GIB",
    key: "publishing.mirror_gib",
    read: whole(1, 1_024),
    fallback: undefined,
    meaning: "GiB that one build fetches at the most from a repository that is followed; 20 unless set",
  },
  manifestsAtOnce: {
    env: "MILLRACE_MANIFESTS_AT_ONCE",
    key: "building.at_once",
    read: whole(1, 16),
    fallback: "1",
    meaning: "builds from manifests that run at the same moment",
  },
  buildMinutes: {
    env: "MILLRACE_BUILD_MINUTES",
    key: "building.minutes",
    read: whole(1, 1_440),
    fallback: "60",
    meaning: "minutes that flatpak-builder may take for one architecture",
  },
  buildMemoryMib: {
    env: "MILLRACE_BUILD_MEMORY_MIB",
    key: "building.memory_mib",
    read: whole(64, 1_048_576),
    fallback: "4096",
    meaning: "MiB of memory of a build's processes, together and each by itself",
  },
  buildDiskMib: {
    env: "MILLRACE_BUILD_DISK_MIB",
    key: "building.disk_mib",
    read: whole(16, 16_777_216),
    fallback: "20480",
    meaning: "MiB that a build may write to the disk",
  },
  buildJobs: {
    env: "MILLRACE_BUILD_JOBS",
    key: "building.jobs",
    read: whole(1, 256),
    fallback: "2",
    meaning: "jobs that the modules of a build may run beside each other (make -j)",
  },
  buildArtefactMib: {
    env: "MILLRACE_BUILD_ARTEFACT_MIB",
    key: "building.artefact_mib",
    read: whole(0, 65_536),
    fallback: "256",
    meaning: "MiB that are kept of one architecture of a build that failed, to be looked at; 0: nothing",
  },
  flatpakInstallation: {
    env: "MILLRACE_FLATPAK_INSTALLATION",
    key: "building.installation",
    read: path,
    fallback: undefined,
    meaning: "a flatpak installation of this machine with runtimes that may be built with (/var/lib/flatpak)",
  },
} as const satisfies Record<string, Declaration<unknown>>;
