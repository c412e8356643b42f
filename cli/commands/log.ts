/** The log: what happened, what was, what differs; and the machinery that follows it. */
import { command, WAIT } from "../table.ts";
import { AT, listing } from "./entity.ts";

const past = () => import("../actions/past.ts");
const events = () => import("../actions/events.ts");
const operate = () => import("../actions/operate.ts");

const ENTITY = {
  kind: { summary: "Its kind: item, organisation, token …", names: { from: "kinds" } },
  id: { summary: "Its id, or its name where the kind has one" },
} as const;

export const logCommands = [
  command({
    path: "events tail",
    summary: "Show events as they come, or from any point of the past",
    description:
      "Without --after and --from only what comes from now on. When the connection is lost it goes on where it was, without hole " +
      "or double. At the end the position is printed on stderr: `--after` takes it. A position that is no longer kept is told " +
      "as a gap, with exit code 5.",
    flags: {
      from: { type: "string", value: "POINT", choices: ["beginning", "now"], summary: "Where to begin (default now)" },
      after: { type: "string", value: "POSITION", summary: "Begin after this position" },
      in: { type: "strings", value: "CONTEXT", summary: "Only events of this context: applications, work, identity" },
      kind: { type: "strings", value: "KIND", names: { from: "kinds" }, summary: "Only events of this kind" },
      id: { type: "strings", value: "ID", summary: "Only events of this entity" },
      type: { type: "strings", value: "TYPE", summary: "Only events of this type: ItemOpened" },
      limit: { type: "integer", value: "N", range: [1, 1_000_000_000], summary: "End after so many events" },
      "until-now": { type: "boolean", summary: "End where there is nothing more at the moment" },
    },
    examples: [
      { line: "mill events tail", says: "Everything that happens from now on" },
      { line: "mill events tail --from beginning --kind item -o jsonl", says: "All of the past, for a program" },
      { line: "mill events tail --type ItemOpened --limit 1", says: "Wait for the next one" },
    ],
    impact: "read",
    run: async (call) => (await events()).tail(call),
  }),
  command({
    path: "history",
    summary: "Tell what happened to an entity, in sentences",
    arguments: ENTITY,
    flags: { limit: { type: "integer", value: "N", range: [1, 100_000], summary: "At most so many (default 200)" } },
    examples: [{ line: "mill history item itm_01kajzq4v0e8r9t2m5x7c3d6fg", says: "Who did what, when" }],
    impact: "read",
    run: async (call) => (await past()).history(call),
  }),
  command({
    path: "show",
    summary: "Show any entity, as it is or as it was",
    arguments: ENTITY,
    flags: { ...AT, ...WAIT },
    examples: [
      { line: "mill show item itm_01kajzq4v0e8r9t2m5x7c3d6fg --at v3", says: "After its third event" },
      { line: "mill show organisation home --at 2026-11-21T08:00:00Z", says: "As it was in the morning" },
    ],
    impact: "read",
    run: async (call) => (await past()).show(call),
  }),
  command({
    path: "diff",
    summary: "Show what differs between two moments of an entity (exit code 1 when something does)",
    arguments: ENTITY,
    flags: {
      from: { type: "string", value: "MOMENT", summary: "The one moment: a time (RFC 3339), or v and a version" },
      to: { type: "string", value: "MOMENT", summary: "The other; left out: now" },
    },
    examples: [{ line: "mill diff item itm_01kajzq4v0e8r9t2m5x7c3d6fg --from v1 --to v4", says: "As a patch reads" }],
    impact: "read",
    run: async (call) => (await past()).diff(call),
  }),
  listing({
    path: "audit",
    operation: "auditLog",
    description: "Answered from the events themselves; what nobody may change afterwards.",
    shown: [
      { title: "when", value: (row) => row.at },
      { title: "who", value: (row) => row.actor.name },
      { title: "kind", value: (row) => row.kind },
      { title: "id", value: (row) => row.id },
      { title: "what", value: (row) => row.sentence },
    ],
    nameOf: (row) => row.id,
    nothing: "Nothing was done",
    examples: [{ line: "mill audit --type TokenRevoked --limit 10", says: "The last ten revoked tokens" }],
  }),
  command({
    path: "search",
    summary: "Search over everything that the token may read",
    arguments: { words: { summary: "Words, or a phrase in quotes", many: true } },
    flags: {
      in: { type: "string", value: "CONTEXT", summary: "Only in this context" },
      kind: { type: "string", value: "KIND", names: { from: "kinds" }, summary: "Only this kind of entity" },
      limit: { type: "integer", value: "N", range: [1, 100_000], summary: "At most so many (default 50)" },
    },
    examples: [{ line: "mill search certificate", says: "Best hits first" }],
    impact: "read",
    run: async (call) => (await operate()).search(call),
  }),
  listing({
    path: "dead-letters list",
    operation: "listDeadLetters",
    shown: [
      { title: "id", value: (row) => row.id },
      { title: "when", value: (row) => row.at },
      { title: "consumer", value: (row) => row.consumer },
      { title: "entity", value: (row) => `${row.kind} ${row.aggregate}` },
      { title: "attempts", value: (row) => row.attempts },
      { title: "cause", value: (row) => row.cause },
    ],
    nameOf: (row) => row.id,
    nothing: "There is no dead letter",
    examples: [{ line: "mill dead-letters list", says: "What could not be handled, and why" }],
  }),
  command({
    path: "dead-letters retry",
    summary: "Have a dead letter tried again, and say what became of it",
    arguments: { id: { summary: "Id of the dead letter", names: { collection: "dead-letters" } } },
    examples: [{ line: "mill dead-letters retry dlq_01kajzq4v0e8r9t2m5x7c3d6fg", says: "After its cause was mended" }],
    impact: "write",
    run: async (call) => (await operate()).retryDeadLetter(call),
  }),
  command({
    path: "dead-letters drop",
    aliases: ["rm"],
    summary: "Leave the entity of a dead letter out for good, with a reason that stays",
    arguments: { id: { summary: "Id of the dead letter", names: { collection: "dead-letters" } } },
    flags: { why: { type: "string", value: "TEXT", summary: "The reason" } },
    examples: [
      {
        line: 'mill dead-letters drop dlq_01kajzq4v0e8r9t2m5x7c3d6fg --why "a test of the importer"',
        says: "Asks first",
      },
    ],
    impact: "write",
    run: async (call) => (await operate()).dropDeadLetter(call),
  }),
  command({
    path: "projections list",
    aliases: ["ls"],
    summary: "Show what is kept for queries, and how far it is",
    examples: [{ line: "mill projections list", says: "Needs the installation's owner" }],
    impact: "read",
    run: async (call) => (await operate()).projections(call),
  }),
  command({
    path: "keys rotate",
    summary: "Wrap every data key by the current master key; when nothing failed, older master keys may go",
    arguments: {},
    examples: [{ line: "mill keys rotate", says: "After the new key was made the first line of the file" }],
    impact: "write",
    run: async (call) => (await operate()).rotateKeys(call),
  }),
  command({
    path: "projections rebuild",
    summary: "Build a projection anew beside the one that is shown; readers are switched when it has caught up",
    arguments: { name: { summary: "Name of the projection" } },
    flags: {
      wait: { type: "boolean", summary: "Wait until readers are switched, bounded by --timeout (default 600)" },
    },
    examples: [{ line: "mill projections rebuild work_items --wait", says: "And wait for it" }],
    impact: "write",
    run: async (call) => (await operate()).rebuild(call),
  }),
];
