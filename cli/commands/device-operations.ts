/** Many devices at once: in bulk, firmware in stages, scans; and a simulated fleet to play with. */
import { OPERATIONS } from "../operations.ts";
import { type Command, command } from "../table.ts";
import { TASKED } from "./device-tasks.ts";
import { FILE } from "./devices.ts";
import { listing, showing } from "./entity.ts";

const actions = () => import("../actions/device-operations.ts");

const OUTCOMES = OPERATIONS.listBulkResults.query.outcome.choices;
const BULK = { bulk: { summary: "Id of the operation", names: { collection: "device-bulks" } } } as const;
const ROLLOUT = {
  rollout: { summary: "Id or name of the roll-out", names: { collection: "firmware-rollouts" } },
} as const;
const SCAN = { scan: { summary: "Id of the scan", names: { collection: "device-scans" } } } as const;
const SELECT = {
  device: { type: "strings", value: "DEVICE", summary: "This one; again for more" },
  group: { type: "string", value: "GROUP", summary: "Those of a group" },
  where: { type: "strings", value: "FIELD=VALUE", summary: "Those of which this holds: tag=floor/1; again for more" },
} as const;
const PACE = {
  "at-once": { type: "integer", value: "N", range: [1, 200], summary: "So many at once (default 10)" },
  "halt-at": {
    type: "integer",
    value: "PERCENT",
    range: [0, 100],
    summary: "Halt when more than this share failed (default 20)",
  },
  ...TASKED,
} as const;
const COUNTS = [
  // biome-ignore lint/suspicious/noExplicitAny: rows are whatever the operation answers
  { title: "done", value: (row: any) => row.status.succeeded },
  // biome-ignore lint/suspicious/noExplicitAny: rows are whatever the operation answers
  { title: "failed", value: ({ status }: any) => status.failed + status.expired + status.refused },
];

const bulkCommands: readonly Command[] = [
  command({
    path: "devices bulk",
    summary: "Do the same with each of many devices: apply, read, reboot, firmware",
    arguments: { action: { summary: "What", choices: ["apply", "read", "reboot", "firmware"] } },
    flags: {
      ...SELECT,
      "dry-run": { type: "boolean", summary: "Of apply: read and plan, and write nothing" },
      ...PACE,
    },
    examples: [
      { line: "mill devices bulk apply --where drifted=true --dry-run --wait", says: "What would be written" },
      { line: "mill devices bulk reboot --group upstairs --at-once 2", says: "Two at a time" },
    ],
    impact: "write",
    run: async (call) => (await actions()).startBulk(call),
  }),
  command({
    path: "devices bulk configure",
    summary: "Change what is wanted of each of many devices: settings, profiles, values, tags, groups",
    description:
      "Nothing is written to a device by it: `mill devices bulk apply` does that. What is said is laid over what each device has.",
    flags: {
      ...SELECT,
      set: { type: "strings", value: "PLACE=VALUE", summary: "One field: switch:0/auto_off=true; again for more" },
      unset: { type: "strings", value: "PLACE", summary: "Want nothing of this field or component; again for more" },
      ...FILE,
      "add-profile": {
        type: "strings",
        value: "PROFILE",
        summary: "A profile more, over those before; again for more",
      },
      "remove-profile": { type: "strings", value: "PROFILE", summary: "A profile less; again for more" },
      value: { type: "strings", value: "NAME=VALUE", summary: "A custom value that profiles use; again for more" },
      "add-tag": { type: "strings", value: "TAG", summary: "A tag more; again for more" },
      "remove-tag": { type: "strings", value: "TAG", summary: "A tag less; again for more" },
      "add-group": { type: "strings", value: "GROUP", summary: "Put into a group; again for more" },
      "remove-group": { type: "strings", value: "GROUP", summary: "Taken out of a group; again for more" },
      "dry-run": { type: "boolean", summary: "Say what would change, and change nothing" },
      "halt-at": PACE["halt-at"],
      wait: { type: "boolean", summary: "Wait until every device has had its turn" },
    },
    examples: [
      {
        line: "mill devices bulk configure --where tag=floor/1 --set sys/device/eco_mode=true --wait",
        says: "One field of all on a floor",
      },
      {
        line: "mill devices bulk configure --group upstairs --add-profile eco --add-tag winter --dry-run --wait",
        says: "What a profile and a tag would change",
      },
    ],
    impact: "write",
    run: async (call) => (await actions()).configureBulk(call),
  }),
  command({
    path: "devices bulks results",
    summary: "What came of a bulk operation, device by device",
    arguments: BULK,
    flags: {
      outcome: { type: "string", value: "OUTCOME", choices: OUTCOMES, summary: "Only those of which this came" },
      limit: { type: "integer", value: "N", range: [1, 5_000], summary: "At most so many (default 200)" },
    },
    examples: [
      {
        line: "mill devices bulks results blk_01kajzq4v0e8r9t2m5x7c3d6fg --outcome refused",
        says: "Those that could not be asked, and why",
      },
    ],
    impact: "read",
    run: async (call) => (await actions()).bulkResults(call),
  }),
  listing({
    path: "devices bulks list",
    operation: "listBulks",
    collection: "device-bulks",
    shown: [
      { title: "id", value: (row) => row.id },
      { title: "what", value: (row) => row.spec.asked.kind },
      { title: "state", value: (row) => row.status.state },
      { title: "devices", value: (row) => row.spec.devices },
      ...COUNTS,
    ],
    nameOf: (row) => row.id,
    nothing: "There is no bulk operation",
    examples: [{ line: "mill devices bulks list --state halted", says: "Those that wait for a decision" }],
  }),
  showing({
    path: "devices bulks show",
    operation: "getBulk",
    collection: "device-bulks",
    argument: "bulk",
    people: async (bulk) => (await actions()).bulkText(bulk),
    examples: [{ line: "mill devices bulks show blk_01kajzq4v0e8r9t2m5x7c3d6fg", says: "Counts, and what failed" }],
  }),
  ...(["pause", "resume", "cancel"] as const).map((verb) =>
    command({
      path: `devices bulks ${verb}`,
      summary: {
        pause: "Pause a bulk operation; what is under way ends first",
        resume: "Let a bulk operation go on that was paused or has halted",
        cancel: "Ask nothing more of further devices",
      }[verb],
      arguments: BULK,
      examples: [{ line: `mill devices bulks ${verb} blk_01kajzq4v0e8r9t2m5x7c3d6fg`, says: "At once" }],
      impact: "write",
      run: async (call) => (await actions()).steerBulk(call, verb),
    }),
  ),
];

const rolloutCommands: readonly Command[] = [
  command({
    path: "devices rollouts start",
    summary: "Roll firmware out in stages, which halts when too many devices fail",
    arguments: { name: { summary: "Its name" } },
    flags: {
      ...SELECT,
      stage: { type: "strings", value: "N|N%", summary: "A stage: 1, 25%; again for more (default 1, 5%, 25%)" },
      soak: { type: "integer", value: "SECONDS", range: [0, 604_800], summary: "Wait after each stage (default 600)" },
      channel: { type: "string", value: "CHANNEL", choices: ["stable", "beta"], summary: "Which; stable if left out" },
      from: { type: "string", value: "URL", summary: "An image in the devices' own network, over plain HTTP" },
      ...PACE,
    },
    examples: [
      {
        line: "mill devices rollouts start autumn --where outdated=true --stage 1 --stage 25%",
        says: "A canary, a quarter, the rest",
      },
    ],
    impact: "write",
    run: async (call) => (await actions()).startRollout(call),
  }),
  listing({
    path: "devices rollouts list",
    operation: "listRollouts",
    collection: "firmware-rollouts",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "stage", value: (row) => `${row.status.stage} of ${row.spec.stages.length}` },
      { title: "devices", value: (row) => row.spec.devices },
      ...COUNTS,
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no roll-out",
    examples: [{ line: "mill devices rollouts list", says: "All of them" }],
  }),
  showing({
    path: "devices rollouts show",
    operation: "getRollout",
    collection: "firmware-rollouts",
    argument: "rollout",
    people: async (rollout) => (await actions()).rolloutText(rollout),
    examples: [{ line: "mill devices rollouts show autumn", says: "How far it has come" }],
  }),
  ...(["pause", "resume", "cancel"] as const).map((verb) =>
    command({
      path: `devices rollouts ${verb}`,
      summary: {
        pause: "Pause a roll-out; the stage that is under way ends first",
        resume: "Let a roll-out go on with its next stage",
        cancel: "End a roll-out; the stage that is under way ends first",
      }[verb],
      arguments: ROLLOUT,
      examples: [{ line: `mill devices rollouts ${verb} autumn`, says: "At once" }],
      impact: "write",
      run: async (call) => (await actions()).steerRollout(call, verb),
    }),
  ),
];

const scanCommands: readonly Command[] = [
  command({
    path: "devices scan",
    summary: "Have an agent look for devices, by mDNS or in ranges of addresses",
    arguments: {
      ranges: {
        summary: "192.168.1.0/24, 10.0.0.1-10.0.0.9, with :port for another; left out: mDNS",
        many: true,
        optional: true,
      },
    },
    flags: {
      site: { type: "string", value: "SITE", summary: "Where (default home)" },
      mdns: { type: "boolean", summary: "By mDNS as well" },
      adopt: { type: "boolean", summary: "Take what is found into the fleet at once" },
      tag: { type: "strings", value: "TAG", summary: "A tag for what is taken in; again for more" },
      wait: { type: "boolean", summary: "Wait until it has looked everywhere" },
    },
    examples: [{ line: "mill devices scan 192.168.1.0/24 --wait", says: "What answers in a network" }],
    impact: "write",
    run: async (call) => (await actions()).startScan(call),
  }),
  listing({
    path: "devices scans list",
    operation: "listScans",
    collection: "device-scans",
    shown: [
      { title: "id", value: (row) => row.id },
      { title: "site", value: (row) => row.spec.site },
      { title: "state", value: (row) => row.status.state },
      { title: "found", value: (row) => row.status.found },
      { title: "asked", value: (row) => row.createdAt },
    ],
    nameOf: (row) => row.id,
    nothing: "Nobody has looked for devices",
    examples: [{ line: "mill devices scans list", says: "All of them" }],
  }),
  showing({
    path: "devices scans show",
    operation: "getScan",
    collection: "device-scans",
    argument: "scan",
    people: async (scan) => (await actions()).scanText(scan),
    examples: [{ line: "mill devices scans show scn_01kajzq4v0e8r9t2m5x7c3d6fg", says: "What it found" }],
  }),
  command({
    path: "devices scans import",
    summary: "Take what a scan found into the fleet",
    arguments: { ...SCAN, macs: { summary: "Which of them; left out: all", many: true, optional: true } },
    flags: { tag: { type: "strings", value: "TAG", summary: "A tag for each; again for more" } },
    examples: [
      {
        line: "mill devices scans import scn_01kajzq4v0e8r9t2m5x7c3d6fg --tag new",
        says: "What is known already stays as it is",
      },
    ],
    impact: "write",
    run: async (call) => (await actions()).importFindings(call),
  }),
  command({
    path: "devices scans cancel",
    summary: "Cancel a scan; what was found stays",
    arguments: SCAN,
    examples: [{ line: "mill devices scans cancel scn_01kajzq4v0e8r9t2m5x7c3d6fg", says: "At once" }],
    impact: "write",
    run: async (call) => (await actions()).cancelScan(call),
  }),
  command({
    path: "devices simulate",
    summary: "Run a fleet of simulated devices on this machine, until Ctrl-C",
    description:
      "They speak the devices' own protocols on loopback addresses. Nothing is added to the fleet by it: what to do next is said.",
    arguments: { count: { summary: "How many" } },
    flags: {
      port: { type: "integer", value: "PORT", range: [0, 65_535], summary: "On which port; 0 or left out: a free one" },
    },
    examples: [{ line: "mill devices simulate 20", says: "A fleet to play with" }],
    impact: "read",
    run: async (call) => (await actions()).simulate(call),
  }),
];

export const deviceOperationCommands: readonly Command[] = [...bulkCommands, ...rolloutCommands, ...scanCommands];
