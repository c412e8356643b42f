/** The fleet: devices, what is wanted of them, and their tasks. */
import { type Command, command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const actions = () => import("../actions/devices.ts");

export const DEVICE = { device: { summary: "Id or name of the device", names: { collection: "devices" } } } as const;

const ABOUT = {
  title: { type: "string", value: "TEXT", summary: "Its title" },
  site: { type: "string", value: "SITE", summary: "The network in which it stands" },
  tag: { type: "strings", value: "TAG", summary: "A tag; again for more, in place of those it has" },
  group: { type: "strings", value: "GROUP", summary: "A group to put it into; again for more, in place of its others" },
  poll: { type: "integer", value: "SECONDS", range: [5, 86_400], summary: "Seconds between polls" },
} as const;
export const FILE = {
  file: { type: "string", value: "FILE", summary: "JSON by component; `-` reads standard input" },
} as const;

export const deviceCommands: readonly Command[] = [
  listing({
    path: "devices list",
    operation: "listDevices",
    collection: "devices",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "model", value: (row) => row.status.identity?.app ?? row.status.identity?.model },
      { title: "firmware", value: (row) => row.status.firmware?.version },
      { title: "address", value: (row) => row.status.address?.host },
      { title: "drift", value: (row) => row.status.drift?.count },
      { title: "tags", value: (row) => row.spec.tags },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no device. `mill devices add` takes one in, `mill devices scan` looks for them",
    examples: [
      { line: "mill devices list --drifted true", says: "Those that are not as wanted" },
      { line: "mill devices list --tag floor/1 --watch", says: "Those of a floor, and whatever changes" },
    ],
  }),
  showing({
    path: "devices show",
    operation: "getDevice",
    collection: "devices",
    argument: "device",
    people: async (device) => (await actions()).deviceText(device),
    examples: [
      { line: "mill devices show hall-lamp", says: "How it is, and where it is not as wanted" },
      { line: "mill devices show hall-lamp --at 2026-11-21T08:00:00Z", says: "As it was then, with its drift" },
    ],
  }),
  command({
    path: "devices add",
    summary: "Take a device into the fleet",
    description: "It is known by its MAC, as it stands on its label. An agent of its site finds it and reads it.",
    arguments: {
      mac: { summary: "Twelve hexadecimal digits, with or without separators" },
      name: { summary: "Its name; left out: shelly- and its MAC", optional: true },
    },
    flags: {
      ...ABOUT,
      host: { type: "string", value: "HOST", summary: "Where it is looked for first; `host:port` for another port" },
    },
    examples: [
      { line: "mill devices add C4:D8:D5:51:7C:68 hall-lamp --host 192.168.1.40 --tag floor/1", says: "One lamp" },
    ],
    impact: "write",
    run: async (call) => (await actions()).addDevice(call),
  }),
  command({
    path: "devices change",
    summary: "Change a device's name, place, tags or groups",
    arguments: DEVICE,
    flags: {
      name: { type: "string", value: "NAME", summary: "Another name" },
      ...ABOUT,
      expected: { type: "string", value: "YES|NO", choices: ["yes", "no"], summary: "Whether it should answer" },
      ...SEEN,
    },
    examples: [{ line: "mill devices change hall-lamp --tag floor/2 --expected no", says: "It lies in a drawer" }],
    impact: "write",
    run: async (call) => (await actions()).changeDevice(call),
  }),
  command({
    path: "devices configure",
    summary: "Say what is wanted of a device",
    description:
      'Nothing is written to it before `mill devices apply`. --set changes single fields of its own settings; --file replaces all of them. A password stands in it as {"$secret": "<id of a secret>"}.',
    arguments: DEVICE,
    flags: {
      set: { type: "strings", value: "PLACE=VALUE", summary: "One field: switch:0/auto_off=true; again for more" },
      unset: { type: "strings", value: "PLACE", summary: "Want nothing of this field or component; again for more" },
      ...FILE,
      clear: { type: "boolean", summary: "Take its own settings off" },
      profile: {
        type: "strings",
        value: "PROFILE",
        summary: "Its profiles, in place of those it has; a later one wins",
      },
      "no-profiles": { type: "boolean", summary: "Take its profiles off" },
      value: { type: "strings", value: "NAME=VALUE", summary: "A custom value that profiles use; again for more" },
      ...SEEN,
    },
    examples: [
      {
        line: "mill devices configure hall-lamp --set switch:0/auto_off=true --set switch:0/auto_off_delay=300",
        says: "Two fields",
      },
      {
        line: "mill devices configure hall-lamp --profile eco --value room=Hall",
        says: "A profile, and what it needs",
      },
    ],
    impact: "write",
    run: async (call) => (await actions()).configure(call),
  }),
  command({
    path: "devices adopt",
    summary: "Want of a device what it was last read to have",
    arguments: DEVICE,
    flags: { component: { type: "strings", value: "COMPONENT", summary: "Only this one; again for more" }, ...SEEN },
    examples: [{ line: "mill devices adopt hall-lamp --component switch:0", says: "One component; left out: all" }],
    impact: "write",
    run: async (call) => (await actions()).adopt(call),
  }),
  command({
    path: "devices drift",
    summary: "Where a device is not as wanted, and who brought it out of step",
    arguments: DEVICE,
    flags: {
      at: { type: "string", value: "MOMENT", summary: "As it was then: a time (RFC 3339), or v and its version" },
    },
    examples: [{ line: "mill devices drift hall-lamp", says: "Field by field; exit code 1 where there is any" }],
    impact: "read",
    run: async (call) => (await actions()).drift(call),
  }),
  command({
    path: "devices plan",
    summary: "What an apply would write now: the device is read, nothing is written",
    arguments: DEVICE,
    examples: [{ line: "mill devices plan hall-lamp", says: "The differences, and the calls in their order" }],
    impact: "read",
    run: async (call) => (await actions()).plan(call),
  }),
  command({
    path: "devices live",
    summary: "How a device stands at this moment, asked of itself",
    arguments: DEVICE,
    examples: [{ line: "mill devices live hall-lamp", says: "In its own words, as JSON" }],
    impact: "read",
    run: async (call) => (await actions()).live(call),
  }),
  command({
    path: "devices capabilities",
    summary: "What a device can, by what it says of itself",
    arguments: DEVICE,
    examples: [{ line: "mill devices capabilities hall-lamp", says: "By component, with what it can be told to do" }],
    impact: "read",
    run: async (call) => (await actions()).capabilities(call),
  }),
  command({
    path: "devices password",
    summary: "Store a device's password, which it has already",
    description:
      "Read from standard input, never from the command line. What is kept is sealed; of Gen2 and later only a hash.",
    arguments: DEVICE,
    flags: {
      forget: { type: "boolean", summary: "Have it forgotten" },
      realm: { type: "string", value: "ID", summary: "The device's own id, where nobody has talked to it yet" },
      gen: { type: "integer", value: "N", range: [1, 4], summary: "Its generation, where nobody has talked to it yet" },
      ...SEEN,
    },
    examples: [{ line: "mill devices password hall-lamp", says: "Typed unseen, or from standard input" }],
    impact: "write",
    run: async (call) => (await actions()).storePassword(call),
  }),
  command({
    path: "devices trust",
    summary: "Trust the next certificate that a device shows",
    arguments: DEVICE,
    flags: SEEN,
    examples: [{ line: "mill devices trust hall-lamp", says: "After its certificate was changed on purpose" }],
    impact: "write",
    run: async (call) => (await actions()).trust(call),
  }),
  command({
    path: "devices remove",
    summary: "Take a device out of the fleet; it is left as it is",
    arguments: DEVICE,
    flags: SEEN,
    examples: [{ line: "mill devices remove hall-lamp --yes", says: "Its past can still be read" }],
    impact: "write",
    run: async (call) => (await actions()).removeDevice(call),
  }),
];
