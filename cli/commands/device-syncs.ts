/** Configurations of devices in Git. */
import { type Command, command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const syncs = () => import("../actions/device-syncs.ts");

const SYNC = { sync: { summary: "Id or name of the sync", names: { collection: "device-syncs" } } } as const;
const HOW = {
  title: { type: "string", value: "TEXT", summary: "Its title" },
  branch: { type: "string", value: "BRANCH", summary: "Which branch; `main` if left out" },
  folder: { type: "string", value: "PATH", summary: "Folder of the files; `devices` if left out" },
  site: { type: "string", value: "SITE", summary: "Whose agent does it; `home` if left out" },
  where: { type: "strings", value: "FIELD=VALUE", summary: "Only devices of which this holds; again for more" },
  direction: { type: "string", value: "WAY", choices: ["out", "in", "both"], summary: "Which way; `out` if left out" },
  apply: {
    type: "string",
    value: "HOW",
    choices: ["plan", "apply"],
    summary: "Whether what comes in waits for approval, or is wanted at once; `plan` if left out",
  },
  token: { type: "string", value: "SECRET", summary: "Id of a secret with a token, for https" },
  key: { type: "string", value: "SECRET", summary: "Id of a secret with a private key, for ssh" },
} as const;

export const deviceSyncCommands: readonly Command[] = [
  listing({
    path: "devices syncs list",
    operation: "listSyncs",
    collection: "device-syncs",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "way", value: (row) => row.spec.direction },
      { title: "commit", value: (row) => row.status.commit?.slice(0, 12) },
      { title: "repository", value: (row) => Object.values(row.spec.repository).join("") },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "No configuration is kept in Git. `mill devices syncs create` begins with it",
    examples: [{ line: "mill devices syncs list --state waiting", says: "Those whose plan is to be approved" }],
  }),
  showing({
    path: "devices syncs show",
    operation: "getSync",
    collection: "device-syncs",
    argument: "sync",
    people: async (sync) => (await syncs()).syncText(sync),
    examples: [{ line: "mill devices syncs show fleet", says: "Its last run, its plan, and what is wrong with files" }],
  }),
  command({
    path: "devices syncs create",
    summary: "Keep configurations of devices in a Git repository",
    description: "A TOML file for each device, without state and secrets. Nothing is done before it is run.",
    arguments: { name: { summary: "Its name" }, repository: { summary: "URL, or a path on the agent's machine" } },
    flags: HOW,
    examples: [
      {
        line: "mill devices syncs create fleet https://git.example.org/home/fleet.git --direction both",
        says: "Out and in, each change that comes in to be approved",
      },
    ],
    impact: "write",
    run: async (call) => (await syncs()).createSync(call),
  }),
  command({
    path: "devices syncs change",
    summary: "Change how configurations are kept in a repository",
    arguments: SYNC,
    flags: { ...HOW, ...SEEN },
    examples: [{ line: "mill devices syncs change fleet --apply apply", says: "What comes in is wanted at once" }],
    impact: "write",
    run: async (call) => (await syncs()).changeSync(call),
  }),
  command({
    path: "devices syncs delete",
    summary: "Keep configurations in that repository no more; the repository stays",
    arguments: SYNC,
    flags: SEEN,
    examples: [{ line: "mill devices syncs delete fleet --yes", says: "Without a question" }],
    impact: "write",
    run: async (call) => (await syncs()).deleteSync(call),
  }),
  command({
    path: "devices syncs run",
    summary: "Bring repository and fleet together now",
    description: "Waits until the run has ended.",
    arguments: SYNC,
    flags: {},
    examples: [{ line: "mill devices syncs run fleet", says: "Shows what was written, or what is to be approved" }],
    impact: "write",
    run: async (call) => (await syncs()).runSync(call),
  }),
  command({
    path: "devices syncs approve",
    summary: "Want of devices what a planned commit says",
    description: "Waits until the run has ended. Nothing is written to a device by it: `mill devices apply` does that.",
    arguments: { ...SYNC, commit: { summary: "The whole commit, as the plan shows it" } },
    flags: {},
    examples: [
      {
        line: "mill devices syncs approve fleet 5f0c1d8e9a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d",
        says: "As `mill devices syncs show fleet` shows it",
      },
    ],
    impact: "write",
    run: async (call) => (await syncs()).approveSync(call),
  }),
];
