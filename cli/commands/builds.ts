/** Builds on their way into repositories. */
import { type Command, command, SEEN } from "../table.ts";
import { type Listing, listing, showing } from "./entity.ts";

const builds = () => import("../actions/builds.ts");

const BUILD = { build: { summary: "Number or id of the build", names: { collection: "builds" } } } as const;
const HOLD = {
  hold: { type: "string", value: "WHY", summary: "Nothing else is published to its references until it is released" },
} as const;
const PRIORITY_ALONE = {
  priority: { type: "integer", value: "N", range: [-100, 100], summary: "Higher ones first (default 0)" },
} as const;
const PRIORITY = {
  ...PRIORITY_ALONE,
  log: { type: "string", value: "URL", summary: "Where its log can be read" },
} as const;
export const SUBSET = {
  type: "string",
  value: "NAMES",
  summary: "Subsets of the repository that it belongs to: verified,free",
} as const;
const SHOWN: Listing["shown"] = [
  { title: "number", value: (row) => row.status.number },
  { title: "app", value: (row) => row.spec.appId },
  { title: "state", value: (row) => row.status.state },
  { title: "published", value: (row) => row.status.published },
  { title: "step", value: (row) => row.status.step && `${row.status.step.name} (${row.status.step.attempt})` },
  { title: "priority", value: (row) => row.spec.priority },
  { title: "references", value: (row) => row.status.refs.length },
  { title: "begun", value: (row) => row.createdAt },
];
const common: Pick<Listing, "operation" | "collection" | "shown" | "nameOf"> = {
  operation: "listBuilds",
  collection: "builds",
  shown: SHOWN,
  nameOf: (row) => `${row.status.number}`,
};

const VERBS = {
  publish: "publishBuild",
  cancel: "cancelBuild",
  purge: "purgeBuild",
  retry: "retryBuild",
  "release-hold": "releaseHold",
} as const;
const act = (verb: keyof typeof VERBS, summary: string, example: string): Command =>
  command({
    path: `builds ${verb}`,
    summary,
    arguments: BUILD,
    examples: [{ line: `mill builds ${verb} 7`, says: example }],
    impact: "write",
    run: async (call) => (await builds()).steerBuild(VERBS[verb])(call),
  });

const DECISIONS = { approve: "approveBuild", reject: "rejectBuild" } as const;
const decision = (verb: keyof typeof DECISIONS, summary: string, line: string, says: string): Command =>
  command({
    path: `builds ${verb}`,
    summary,
    description:
      "Where a build changes what an application may do this is remembered: nobody is asked about the same permissions of that application again. A later decision takes its place.",
    arguments: BUILD,
    flags: { comment: { type: "string", value: "TEXT", summary: "Why" } },
    examples: [{ line, says }],
    impact: "write",
    run: async (call) => (await builds()).decideBuild(DECISIONS[verb])(call),
  });

export const buildCommands: readonly Command[] = [
  listing({
    ...common,
    path: "builds list",
    nothing: "There is no build",
    examples: [
      { line: "mill builds list --sort -publishMs", says: "Those that took longest to publish first" },
      { line: "mill builds list --state failed", says: "What could not go on" },
      { line: "mill builds list --published reviewing", says: "What waits for somebody to decide" },
    ],
  }),
  listing({
    ...common,
    path: "builds queue",
    summary: "What is done for builds now, and what waits for its turn",
    usual: { waiting: "true", sort: "-priority" },
    description:
      "What is committed, published or given static deltas now, and what waits for its turn: highest priority first. `mill builds change --priority` gives a build another place.",
    nothing: "Nothing is under way, and nothing waits",
    examples: [{ line: "mill builds queue", says: "What waits, and what is under way" }],
  }),
  showing({
    path: "builds show",
    operation: "getBuild",
    collection: "builds",
    argument: "build",
    people: async (build) => (await builds()).buildText(build),
    examples: [{ line: "mill builds show 7", says: "By its number" }],
  }),
  command({
    path: "builds statistics",
    summary: "How builds went: rates and durations",
    flags: {
      from: { type: "string", value: "DAY", summary: "First day; a month ago unless said" },
      to: { type: "string", value: "DAY", summary: "Last day; today unless said" },
      app: { type: "string", value: "ID", summary: "Only those of this application" },
    },
    examples: [{ line: "mill builds statistics --from 2026-11-01", says: "Since then" }],
    impact: "read",
    run: async (call) => (await builds()).buildStatistics(call),
  }),
  command({
    path: "builds retention",
    summary: "Which builds' files go by themselves, and when",
    description: "What was published stays. Whatever is asked of a build, even another priority, keeps it longer.",
    examples: [{ line: "mill builds retention", says: "The first to go first" }],
    impact: "read",
    run: async (call) => (await builds()).buildRetention(call),
  }),
  command({
    path: "builds create",
    summary: "Begin a build for a repository",
    arguments: { repository: { summary: "Id or name of the repository", names: { collection: "repositories" } } },
    flags: {
      app: { type: "string", value: "ID", summary: "Id of the application" },
      private: { type: "boolean", summary: "Nobody installs from it before it is published, but by token" },
      ...PRIORITY,
    },
    examples: [{ line: "mill builds create stable --app org.example.Hello", says: "Its number is told" }],
    impact: "write",
    run: async (call) => (await builds()).createBuild(call),
  }),
  command({
    path: "builds change",
    summary: "Change a build's priority, or where its log is",
    arguments: BUILD,
    flags: { ...PRIORITY, ...SEEN },
    examples: [{ line: "mill builds change 7 --priority 50", says: "Before all others that wait" }],
    impact: "write",
    run: async (call) => (await builds()).changeBuild(call),
  }),
  command({
    path: "builds refs",
    summary: "Name references of a build and their commits",
    arguments: { ...BUILD, refs: { summary: "<reference>=<commit>", many: true } },
    examples: [
      {
        line: "mill builds refs 7 app/org.example.Hello/x86_64/stable=2ea53b3aa3a6bd8aeb1b1ec3cd4b9ee4f4b7b5ad0c0b26e5eec6ac0ba2ab5d1c",
        says: "As they were uploaded",
      },
    ],
    impact: "write",
    run: async (call) => (await builds()).declareRefs(call),
  }),
  command({
    path: "builds ids",
    summary: "Name further ids that belong to a build",
    arguments: { ...BUILD, ids: { summary: "Ids of applications", many: true } },
    examples: [{ line: "mill builds ids 7 org.example.Hello.Extra", says: "Beside that of the build" }],
    impact: "write",
    run: async (call) => (await builds()).addExtraIds(call),
  }),
  command({
    path: "builds commit",
    summary: "Commit what was uploaded to a build",
    arguments: BUILD,
    flags: {
      "end-of-life": { type: "string", value: "TEXT", summary: "Why it is no longer kept up; clients show it" },
      rebase: { type: "string", value: "ID", summary: "Id of what takes its place" },
      "token-type": { type: "integer", value: "N", range: [0, 2_147_483_647], summary: "What token clients need" },
      subset: SUBSET,
    },
    examples: [{ line: "mill builds commit 7", says: "Refused, with the names, while objects are missing" }],
    impact: "write",
    run: async (call) => (await builds()).commitBuild(call),
  }),
  command({
    path: "builds push",
    summary: "Upload a repository's references to a build: what is missing of it",
    description:
      "Reads a repository in archive mode, such as flatpak-builder makes. What was uploaded stays when it breaks off: the same command goes on.",
    arguments: { ...BUILD, folder: { summary: "The repository's folder" } },
    flags: {
      ref: { type: "string", value: "REF", summary: "Only this reference" },
    },
    examples: [{ line: "mill builds push 7 ./repo", says: "All its references, named for the build as well" }],
    impact: "write",
    run: async (call) => (await import("../actions/build-push.ts")).pushBuild(call),
  }),
  command({
    path: "builds review",
    summary: "What a build changes for those who have what is published",
    arguments: BUILD,
    examples: [{ line: "mill builds review 7", says: "Permissions, sizes, files, and what clients load" }],
    impact: "read",
    run: async (call) => (await builds()).reviewBuild(call),
  }),
  decision(
    "approve",
    "Decide that a build may be published",
    'mill builds approve 7 --comment "It opens documents now"',
    "It goes on at once",
  ),
  decision(
    "reject",
    "Decide that a build is not to be published",
    'mill builds reject 7 --comment "Why all files?"',
    "And none with the same permissions",
  ),
  command({
    path: "builds roll-back",
    summary: "Publish again what a build published",
    arguments: BUILD,
    flags: { ...HOLD, ...PRIORITY_ALONE },
    examples: [
      {
        line: 'mill builds roll-back 6 --hold "7 loses documents"',
        says: "And nothing else until the hold is released",
      },
    ],
    impact: "write",
    run: async (call) => (await builds()).followBuild("rollBackToBuild")(call),
  }),
  command({
    path: "builds promote",
    summary: "Publish the same commits in another repository",
    arguments: {
      ...BUILD,
      repository: { summary: "Id or name of the repository", names: { collection: "repositories" } },
    },
    flags: PRIORITY_ALONE,
    examples: [{ line: "mill builds promote 7 stable", says: "What was tried in beta" }],
    impact: "write",
    run: async (call) => (await builds()).promoteBuild(call),
  }),
  command({
    path: "builds unpublish",
    summary: "Take a build's references out of its repository",
    arguments: BUILD,
    flags: { ...HOLD, ...PRIORITY_ALONE },
    examples: [{ line: "mill builds unpublish 7", says: "Its objects stay until the repository is pruned" }],
    impact: "write",
    run: async (call) => (await builds()).followBuild("unpublishBuild")(call),
  }),
  act("release-hold", "Let others publish to a build's references again", "What was rolled back is mended"),
  act("publish", "Publish a build that is ready", "Clients see it with the repository's next summary"),
  act("cancel", "Cancel a build; what was uploaded goes", "Before it is published"),
  act("purge", "Remove a build's files; what was published stays", "What nobody needs any more"),
  act("retry", "Try again what failed, from where it stopped", "After what it lacked was mended"),
];
