/** Repositories of Flatpaks. */
import { type Command, command, type Flags, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const repositories = () => import("../actions/repositories.ts");

const REPOSITORY = {
  repository: { summary: "Id or name of the repository", names: { collection: "repositories" } },
} as const;
const text = (value: string, summary: string) => ({ type: "string", value, summary }) as const;
const number = (summary: string, range: readonly [number, number]) =>
  ({ type: "integer", value: "N", range, summary }) as const;
const SETTINGS = {
  title: text("TEXT", "What clients show"),
  comment: text("TEXT", "One line about it"),
  description: text("TEXT", "A paragraph about it"),
  homepage: text("URL", "Where more is told of it"),
  icon: text("URL", "Its icon"),
  "default-branch": text("BRANCH", "What clients install unless told"),
  redirect: text("URL", "Where clients are sent from now on"),
  visibility: {
    type: "string",
    value: "WHO",
    choices: ["public", "private"],
    summary: "Who may install: everybody, or who has a token that holds publishing:download",
  },
  mirror: text("URL", "Another repository, which this one follows"),
  "mirror-key": {
    type: "strings",
    value: "FILE",
    summary: "A public key of the other one, armored or binary, or its .flatpakrepo; one must have signed",
  },
  "mirror-unsigned": { type: "boolean", summary: "Without a key: believe whoever answers there" },
  "mirror-ref": {
    type: "strings",
    value: "PATTERN",
    summary: "Which references of the other one; * is anything within a part (default: all)",
  },
  "mirror-follow": {
    type: "string",
    value: "WHICH",
    choices: ["all", "asked"],
    summary: "All of these references, or those that somebody asks for",
  },
  "mirror-minutes": number("How often the other one is looked at (default 60)", [5, 10_080]),
  review: {
    type: "string",
    value: "WHEN",
    choices: ["none", "permissions", "always"],
    summary: "When somebody decides before a build is published: where permissions change, or about each",
  },
  "keep-depth": number("Earlier commits of each reference that stay; -1: all", [-1, 1_000]),
  "keep-snapshots": number("Earlier publications that stay installable", [0, 1_000]),
  "prune-hours": number("How often it is pruned by itself", [1, 8_760]),
  "grace-hours": number("How long what was pruned is still served", [0, 8_760]),
} as const satisfies Flags;
const KEY = { key: text("FILE", "A secret GPG key without a passphrase, armored; one is made unless given") } as const;

const steering = (verb: "retry" | "validate" | "prune", summary: string, says: string): Command =>
  command({
    path: `repos ${verb}`,
    summary,
    arguments: REPOSITORY,
    examples: [{ line: `mill repos ${verb} stable`, says }],
    impact: "write",
    run: async (call) => (await repositories()).steerRepository(`${verb}Repository`)(call),
  });

export const repositoryCommands: readonly Command[] = [
  listing({
    path: "repos list",
    operation: "listRepositories",
    collection: "repositories",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "visibility", value: (row) => row.spec.visibility ?? "public" },
      { title: "url", value: (row) => row.status.url },
      { title: "key", value: (row) => row.status.key?.fingerprint.slice(-16) },
      { title: "title", value: (row) => row.spec.title },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no repository",
    examples: [{ line: "mill repos list", says: "All of them" }],
  }),
  showing({
    path: "repos show",
    operation: "getRepository",
    collection: "repositories",
    argument: "repository",
    people: async (repository) => (await repositories()).repositoryText(repository),
    examples: [{ line: "mill repos show stable", says: "With its key, and what was found in it" }],
  }),
  command({
    path: "repos create",
    summary: "Create a repository for Flatpaks",
    arguments: { name: { summary: "Its name" } },
    flags: {
      ...SETTINGS,
      ...KEY,
      collection: text("ID", "Its collection id, by a domain of yours; it stays"),
    },
    examples: [
      {
        line: 'mill repos create stable --title "Our applications" --collection org.example.Stable',
        says: "Made by the publisher, with a key of its own",
      },
      { line: "mill repos create inside --visibility private --key key.asc", says: "With a key that you have" },
    ],
    impact: "write",
    run: async (call) => (await repositories()).createRepository(call),
  }),
  command({
    path: "repos import-flat-manager",
    summary: "Create the repositories that a flat-manager's configuration names, and tell what of it counts here",
    arguments: { file: { summary: "Its configuration file, as it is" } },
    examples: [
      { line: "mill repos import-flat-manager config.json", says: "Again: what is there already stays as it is" },
    ],
    impact: "write",
    run: async (call) => (await import("../actions/flat-manager.ts")).importFlatManager(call),
  }),
  command({
    path: "repos change",
    summary: "Change what clients are told of a repository, who may read it, what is kept",
    description: "An empty text takes a setting off.",
    arguments: REPOSITORY,
    flags: {
      ...SETTINGS,
      reader: {
        type: "strings",
        value: "TOKEN=APPS",
        summary: "A token that is for these applications alone; all of them are said anew",
      },
      "no-mirror": { type: "boolean", summary: "Follow no other repository any more; what was taken stays" },
      "no-retention": { type: "boolean", summary: "Prune it no more by itself" },
      ...SEEN,
    },
    examples: [
      { line: 'mill repos change stable --title "Ours" --homepage ""', says: "Clients see it in a moment" },
      { line: "mill repos change stable --keep-depth 3 --keep-snapshots 20", says: "Pruned once a day from now on" },
    ],
    impact: "write",
    run: async (call) => (await repositories()).changeRepository(call),
  }),
  command({
    path: "repos delete",
    aliases: ["rm"],
    summary: "Delete a repository, with all that was published in it",
    arguments: REPOSITORY,
    flags: SEEN,
    examples: [{ line: "mill repos delete stable --yes", says: "Its files and keys are destroyed" }],
    impact: "write",
    run: async (call) => (await repositories()).deleteRepository(call),
  }),
  steering("retry", "Try again to make a repository that could not be made", "After what it lacked was installed"),
  steering("validate", "Read all of a repository and check it", "Then: mill repos show stable"),
  steering(
    "prune",
    "Move what nothing leads to into quarantine, and delete what was there for long",
    "By its retention",
  ),
  command({
    path: "repos mirror",
    summary: "Look at the repository that this one follows, now",
    description:
      "What is new there is taken by builds of their own. References that are named are followed from now on, with what they need.",
    arguments: { ...REPOSITORY, refs: { summary: "References to follow from now on", many: true, optional: true } },
    examples: [
      { line: "mill repos mirror hub", says: "Then: mill repos show hub" },
      { line: "mill repos mirror hub app/org.example.Hello/x86_64/stable", says: "Fetched, and followed" },
    ],
    impact: "write",
    run: async (call) => (await repositories()).mirrorRepository(call),
  }),
  command({
    path: "repos prune-preview",
    summary: "What pruning would do at this moment",
    arguments: REPOSITORY,
    examples: [{ line: "mill repos prune-preview stable", says: "Nothing is changed by it" }],
    impact: "read",
    run: async (call) => (await repositories()).previewPrune(call),
  }),
  command({
    path: "repos rotate-key",
    summary: "Sign with another key; today's signs, too, for a time",
    arguments: REPOSITORY,
    flags: { ...KEY, overlap: number("Days for which both sign (default 90)", [0, 3_650]), ...SEEN },
    examples: [{ line: "mill repos rotate-key stable --overlap 180", says: "Clients that ask meanwhile learn it" }],
    impact: "write",
    run: async (call) => (await repositories()).rotateKey(call),
  }),
  command({
    path: "repos key",
    summary: "The public keys of a repository, in base 64",
    arguments: REPOSITORY,
    examples: [{ line: "mill repos key stable | base64 -d > key.gpg", says: "For flatpak remote-add --gpg-import" }],
    impact: "read",
    run: async (call) => (await repositories()).showKey(call),
  }),
  command({
    path: "repos remote",
    summary: "How clients install from a repository",
    arguments: REPOSITORY,
    examples: [{ line: "mill repos remote stable", says: "The command that adds it" }],
    impact: "read",
    run: async (call) => (await repositories()).showRemote(call),
  }),
  command({
    path: "repos refs",
    summary: "References of a repository, with their commits",
    arguments: REPOSITORY,
    examples: [{ line: "mill repos refs stable", says: "What can be installed" }],
    impact: "read",
    run: async (call) => (await repositories()).showContents(call),
  }),
  command({
    path: "repos snapshots",
    summary: "Earlier publications, each a remote of its own",
    arguments: REPOSITORY,
    examples: [{ line: "mill repos snapshots stable", says: "Newest first" }],
    impact: "read",
    run: async (call) => (await repositories()).showSnapshots(call),
  }),
  command({
    path: "repos statistics",
    aliases: ["stats"],
    summary: "Installs and updates by day, reference and version",
    arguments: REPOSITORY,
    flags: {
      from: text("DAY", "First day (default: a month ago)"),
      to: text("DAY", "Last day (default: today)"),
      ref: text("REF", "Only this reference"),
    },
    examples: [{ line: "mill repos statistics stable --from 2026-11-01", says: "Who installed what" }],
    impact: "read",
    run: async (call) => (await repositories()).showStatistics(call),
  }),
];
