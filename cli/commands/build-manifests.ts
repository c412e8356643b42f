/** Builds from manifests: begun, and read while they run. */
import { type Command, command } from "../table.ts";
import { SUBSET } from "./builds.ts";

const builds = () => import("../actions/build-manifests.ts");

export const manifestCommands: readonly Command[] = [
  command({
    path: "builds run",
    summary: "Build a manifest of flatpak-builder for a repository, in a sandbox without a network",
    description:
      "The source is a Git repository, or a folder or archive of this machine, which is uploaded. Files that the manifest names lie in it: " +
      "nothing is fetched. `mill builds logs` shows how it goes; when it is ready, `mill builds publish`.",
    arguments: { repository: { summary: "Id or name of the repository", names: { collection: "repositories" } } },
    flags: {
      manifest: { type: "string", value: "PATH", summary: "The manifest, from the root of the source" },
      git: { type: "string", value: "URL", summary: "The Git repository" },
      ref: { type: "string", value: "REF", summary: "Branch, tag or commit (default HEAD)" },
      "token-secret": { type: "string", value: "ID", summary: "The secret with the token for a private repository" },
      "key-secret": { type: "string", value: "ID", summary: "The secret with the ssh key for a private repository" },
      upload: { type: "string", value: "PATH", summary: "A folder or an archive of this machine" },
      arch: { type: "string", value: "LIST", summary: "Architectures, with commas between (default: the node's)" },
      branch: { type: "string", value: "BRANCH", summary: "Where the manifest names none" },
      needs: { type: "string", value: "IDS", summary: "Ids of builds that are published first, with commas between" },
      twice: { type: "boolean", summary: "Build a second time, from nothing, and compare" },
      subset: SUBSET,
      app: { type: "string", value: "ID", summary: "Id of the application, which the manifest must build" },
      priority: { type: "integer", value: "N", range: [-100, 100], summary: "Higher ones first (default 0)" },
    },
    examples: [
      {
        line: "mill builds run stable --manifest org.test.Hello.yml --upload examples/flatpak-hello",
        says: "From a folder",
      },
      {
        line: "mill builds run stable --manifest build/app.json --git https://example.org/app.git --ref v1.2 --twice",
        says: "A tag, and whether it gives the same again",
      },
    ],
    impact: "write",
    run: async (call) => (await builds()).runBuild(call),
  }),
  command({
    path: "builds logs",
    summary: "Show what a build from a manifest has written, and go on with --follow",
    arguments: { build: { summary: "Number or id of the build", names: { collection: "builds" } } },
    flags: {
      follow: { type: "boolean", short: "f", summary: "Go on as lines come, until Ctrl-C" },
      grep: { type: "string", value: "TEXT", summary: "Lines with this text; in any case, unless it has capitals" },
      limit: { type: "integer", value: "N", range: [1, 1_000_000], summary: "At most so many lines (default 200)" },
    },
    examples: [{ line: "mill builds logs 7 --follow", says: "As it is built" }],
    impact: "read",
    run: async (call) => (await builds()).buildLogs(call),
  }),
  command({
    path: "builds artefacts",
    summary: "Fetch what is kept of a build that failed: folders of modules with their logs, as an archive",
    description:
      "Logs and small files come first; how many there was no room for (MILLRACE_BUILD_ARTEFACT_MIB) stands in the build. They go with the build's files, and the oldest when those of the organisation become too many.",
    arguments: { build: { summary: "Number or id of the build", names: { collection: "builds" } } },
    flags: {
      arch: { type: "string", value: "ARCH", summary: "Of which architecture, where several failed" },
      to: { type: "string", value: "FILE", summary: "Where to write it (default build-7-x86_64.tar.gz)" },
    },
    examples: [{ line: "mill builds artefacts 7 --to failed.tar.gz", says: "Of the one architecture that failed" }],
    impact: "read",
    run: async (call) => (await builds()).artefacts(call),
  }),
];
