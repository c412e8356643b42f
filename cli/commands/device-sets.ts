/** Profiles and groups of devices. */
import { type Command, command, SEEN } from "../table.ts";
import { FILE } from "./devices.ts";
import { listing, showing } from "./entity.ts";

const sets = () => import("../actions/device-sets.ts");

const PROFILE = {
  profile: { summary: "Id or name of the profile", names: { collection: "device-profiles" } },
} as const;
const GROUP = { group: { summary: "Id or name of the group", names: { collection: "device-groups" } } } as const;
const NAMED = {
  name: { summary: "Its name" },
} as const;
const TITLE = { title: { type: "string", value: "TEXT", summary: "Its title" } } as const;
const REAPPLY = {
  reapply: {
    type: "string",
    value: "YES|NO",
    choices: ["yes", "no"],
    summary: "Write it to its devices when it changes",
  },
} as const;
const GROUPED = {
  ...TITLE,
  poll: { type: "integer", value: "SECONDS", range: [5, 86_400], summary: "Seconds between polls of its devices" },
  where: { type: "strings", value: "FIELD=VALUE", summary: "Those of which this holds: tag=floor/1; again for more" },
} as const;

export const deviceSetCommands: readonly Command[] = [
  listing({
    path: "devices profiles list",
    operation: "listDeviceProfiles",
    collection: "device-profiles",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "for", value: (row) => Object.keys(row.spec.configuration) },
      { title: "reapply", value: (row) => (row.spec.reapply ? "yes" : "") },
      { title: "generation", value: (row) => row.generation },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no profile",
    examples: [{ line: "mill devices profiles list", says: "All of them" }],
  }),
  showing({
    path: "devices profiles show",
    operation: "getDeviceProfile",
    collection: "device-profiles",
    argument: "profile",
    people: async (profile) => (await sets()).profileText(profile),
    examples: [{ line: "mill devices profiles show eco", says: "With its configuration" }],
  }),
  command({
    path: "devices profiles create",
    summary: "Create a profile: a configuration for many devices",
    arguments: NAMED,
    flags: { ...TITLE, ...FILE, ...REAPPLY },
    examples: [
      {
        line: "mill devices profiles create eco --file eco.json --reapply yes",
        says: "From a file of JSON by component",
      },
    ],
    impact: "write",
    run: async (call) => (await sets()).createProfile(call),
  }),
  command({
    path: "devices profiles change",
    summary: "Change a profile; what its devices want changes with it",
    arguments: PROFILE,
    flags: { ...TITLE, ...FILE, ...REAPPLY, ...SEEN },
    examples: [{ line: "mill devices profiles change eco --file eco.json", says: "Its configuration as a whole" }],
    impact: "write",
    run: async (call) => (await sets()).changeProfile(call),
  }),
  command({
    path: "devices profiles delete",
    summary: "Delete a profile; what devices have of it stays wanted",
    arguments: PROFILE,
    flags: SEEN,
    examples: [{ line: "mill devices profiles delete eco --yes", says: "Its past can still be read" }],
    impact: "write",
    run: async (call) => (await sets()).remove(call, "deleteDeviceProfile", call.args.profile),
  }),
  listing({
    path: "devices groups list",
    operation: "listDeviceGroups",
    collection: "device-groups",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "title", value: (row) => row.spec.title },
      { title: "those", value: (row) => (row.spec.selection ? JSON.stringify(row.spec.selection) : "put into it") },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no group",
    examples: [{ line: "mill devices groups list", says: "All of them" }],
  }),
  showing({
    path: "devices groups show",
    operation: "getDeviceGroup",
    collection: "device-groups",
    argument: "group",
    people: async (group) => (await sets()).groupText(group),
    examples: [{ line: "mill devices groups show upstairs", says: "Members: mill devices list --group <id>" }],
  }),
  command({
    path: "devices groups create",
    summary: "Create a group of devices",
    arguments: NAMED,
    flags: GROUPED,
    examples: [
      { line: "mill devices groups create upstairs", says: "Devices are put into it by `mill devices change --group`" },
      { line: "mill devices groups create stale --where outdated=true", says: "Whichever have newer firmware to take" },
    ],
    impact: "write",
    run: async (call) => (await sets()).createGroup(call),
  }),
  command({
    path: "devices groups change",
    summary: "Change a group of devices",
    arguments: GROUP,
    flags: { ...GROUPED, ...SEEN },
    examples: [{ line: "mill devices groups change upstairs --poll 30", says: "What is left out stays" }],
    impact: "write",
    run: async (call) => (await sets()).changeGroup(call),
  }),
  command({
    path: "devices groups delete",
    summary: "Delete a group; its devices stay",
    arguments: GROUP,
    flags: SEEN,
    examples: [{ line: "mill devices groups delete upstairs --yes", says: "Its past can still be read" }],
    impact: "write",
    run: async (call) => (await sets()).remove(call, "deleteDeviceGroup", call.args.group),
  }),
];
