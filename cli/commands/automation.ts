/** What happens by itself: schedules and rules. */
import { oneLine } from "../io.ts";
import { type Command, command, SEEN, WAIT } from "../table.ts";
import { listing, showing } from "./entity.ts";

const actions = () => import("../actions/automation.ts");

const SCHEDULE = { schedule: { summary: "Id or name of the schedule", names: { collection: "schedules" } } } as const;
const RULE = { rule: { summary: "Id or name of the rule", names: { collection: "rules" } } } as const;
const FILE = {
  file: {
    type: "string",
    value: "FILE",
    summary: "JSON: its definition, or the whole as it is shown; `-` reads standard input",
  },
} as const;
const TIMES = {
  cron: { type: "string", value: "EXPR", summary: 'Five fields: "30 3 * * 1-5"' },
  zone: { type: "string", value: "ZONE", summary: "Time zone of --cron (default UTC)" },
  at: { type: "string", value: "TIME", summary: "Once, at this time (RFC 3339)" },
  every: {
    type: "integer",
    value: "SECONDS",
    range: [10, 31_622_400],
    summary: "Again and again, so many seconds apart",
  },
} as const;
const DOES = {
  do: {
    type: "string",
    value: "ACTION",
    summary: "What it does: the name of an operation, applications.restartApplication",
  },
  on: { type: "string", value: "WHAT", summary: "To what, by id or name" },
  body: { type: "string", value: "JSON", summary: "The operation's body" },
} as const;

const said = (row: { readonly action: string; readonly on?: string }) =>
  row.on === undefined ? row.action : `${row.action} ${row.on}`;

const scheduleCommands: readonly Command[] = [
  listing({
    path: "schedules list",
    operation: "listSchedules",
    collection: "schedules",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "next", value: (row) => row.status.nextDueAt },
      { title: "does", value: (row) => oneLine(row.spec.commands.map(said).join(", ")) },
      { title: "failures", value: (row) => row.status.failures },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no schedule. `mill schedules create` makes one",
    examples: [{ line: "mill schedules list --sort nextDueAt", says: "What is due next comes first" }],
  }),
  showing({
    path: "schedules show",
    operation: "getSchedule",
    collection: "schedules",
    argument: "schedule",
    people: async (schedule) => (await actions()).scheduleText(schedule),
    examples: [{ line: "mill schedules show nightly-restart", says: "With what its last firing did" }],
  }),
  command({
    path: "schedules next",
    summary: "When a schedule is due next",
    arguments: SCHEDULE,
    flags: { limit: { type: "integer", value: "N", range: [1, 100], summary: "So many times (default 10)" } },
    examples: [{ line: "mill schedules next nightly-restart --limit 3", says: "The next three times" }],
    impact: "read",
    run: async (call) => (await actions()).next(call),
  }),
  command({
    path: "schedules create",
    summary: "Create a schedule",
    description: "By flags one command at certain times; by --file everything that a schedule can be.",
    arguments: { name: { summary: "Its name; left out with --file", optional: true } },
    flags: { ...TIMES, ...DOES, ...FILE },
    examples: [
      {
        line: 'mill schedules create nightly --cron "30 3 * * *" --zone Europe/Berlin --do applications.restartApplication --on shop',
        says: "Every night",
      },
      { line: "mill schedules create --file sunset.json", says: "Whatever the file says" },
    ],
    impact: "write",
    run: async (call) => (await actions()).createSchedule(call),
  }),
  command({
    path: "schedules change",
    summary: "Change a schedule",
    arguments: SCHEDULE,
    flags: { ...TIMES, ...DOES, ...FILE, ...SEEN },
    examples: [{ line: "mill schedules change nightly --every 3600", says: "What is left out stays" }],
    impact: "write",
    run: async (call) => (await actions()).changeSchedule(call),
  }),
  ...(["pause", "resume", "run"] as const).map((verb) =>
    command({
      path: `schedules ${verb}`,
      summary: { pause: "Pause a schedule", resume: "Let a schedule go on", run: "Do what a schedule does now" }[verb],
      arguments: SCHEDULE,
      flags: { ...SEEN, ...WAIT },
      examples: [
        { line: `mill schedules ${verb} nightly`, says: verb === "run" ? "Once, whatever is due" : "At once" },
      ],
      impact: "write",
      run: async (call) => (await actions()).act(call, verb),
    }),
  ),
  command({
    path: "schedules delete",
    summary: "Delete a schedule",
    arguments: SCHEDULE,
    flags: SEEN,
    examples: [{ line: "mill schedules delete nightly --yes", says: "Its past can still be read" }],
    impact: "write",
    run: async (call) => (await actions()).removeSchedule(call),
  }),
];

const ruleCommands: readonly Command[] = [
  listing({
    path: "rules list",
    operation: "listRules",
    collection: "rules",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "waits for", value: ({ spec: { when } }) => (when.kind === "event" ? when.types : when.kind) },
      { title: "does", value: (row) => oneLine(row.spec.commands.map(said).join(", ")) },
      { title: "done", value: (row) => row.status.triggers },
      { title: "failures", value: (row) => row.status.failures },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no rule. `mill rules create --file` makes one",
    examples: [{ line: "mill rules list --in applications", says: "Those that wait for events of applications" }],
  }),
  showing({
    path: "rules show",
    operation: "getRule",
    collection: "rules",
    argument: "rule",
    people: async (rule) => (await actions()).ruleText(rule),
    examples: [{ line: "mill rules show tell-of-failures", says: "With its last ten runs" }],
  }),
  command({
    path: "rules create",
    summary: "Create a rule from a file of JSON",
    flags: FILE,
    examples: [{ line: "mill rules create --file tell.json", says: "Name, when, condition, commands" }],
    impact: "write",
    run: async (call) => (await actions()).createRule(call),
  }),
  command({
    path: "rules change",
    summary: "Change a rule by a file of JSON",
    arguments: RULE,
    flags: { ...FILE, ...SEEN },
    examples: [{ line: "mill rules change tell-of-failures --file tell.json", says: "What is left out stays" }],
    impact: "write",
    run: async (call) => (await actions()).changeRule(call),
  }),
  ...(["enable", "disable"] as const).map((verb) =>
    command({
      path: `rules ${verb}`,
      summary: verb === "enable" ? "Enable a rule" : "Disable a rule; what is under way ends first",
      arguments: RULE,
      flags: SEEN,
      examples: [{ line: `mill rules ${verb} tell-of-failures`, says: "At once" }],
      impact: "write",
      run: async (call) => (await actions()).switchRule(call, verb),
    }),
  ),
  command({
    path: "rules dry-run",
    summary: "What a rule would have done",
    description: "By the events of the past, those of the last seven days if nothing else is said. Nothing is done.",
    arguments: RULE,
    flags: {
      from: { type: "string", value: "TIME", summary: "The first moment (RFC 3339)" },
      to: { type: "string", value: "TIME", summary: "The last moment (default now)" },
      limit: { type: "integer", value: "N", range: [1, 10_000], summary: "At most so many (default 50)" },
    },
    examples: [{ line: "mill rules dry-run tell-of-failures", says: "Had it been there for a week" }],
    impact: "read",
    run: async (call) => (await actions()).dryRun(call),
  }),
  command({
    path: "rules delete",
    summary: "Delete a rule",
    arguments: RULE,
    flags: SEEN,
    examples: [{ line: "mill rules delete tell-of-failures --yes", says: "Its past can still be read" }],
    impact: "write",
    run: async (call) => (await actions()).removeRule(call),
  }),
];

export const automationCommands: readonly Command[] = [...scheduleCommands, ...ruleCommands];
