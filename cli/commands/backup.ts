/** Backups: made by the installation, looked at and taken back on its machine. */
import { command } from "../table.ts";

const actions = () => import("../actions/backup.ts");

const DATA = {
  data: { type: "string", value: "FOLDER", summary: "The folder with all state (MILLRACE_DATA; default .millrace)" },
} as const;
const MOMENT = {
  at: {
    type: "string",
    value: "TIME",
    summary: "As everything was at this time (RFC 3339), not later than the backup",
  },
  position: { type: "string", value: "POSITION", summary: "As it was at this position, as a command was answered it" },
} as const;

export const backupCommands = [
  command({
    path: "backup run",
    summary: "Have a backup made now",
    description: "Only what is new is moved and stored. Needs the installation's owner, and MILLRACE_BACKUP_TARGET.",
    flags: { wait: { type: "boolean", summary: "Wait until it is made, bounded by --timeout (default 600)" } },
    examples: [{ line: "mill backup run --wait", says: "And wait for it" }],
    impact: "write",
    run: async (call) => (await actions()).runNow(call),
  }),
  command({
    path: "backup status",
    summary: "Show how the last backup went, and when the next is due",
    examples: [{ line: "mill backup status", says: "Needs the installation's owner" }],
    impact: "read",
    run: async (call) => (await actions()).status(call),
  }),
  command({
    path: "backup list",
    aliases: ["ls"],
    summary: "List the backups at the target, newest first",
    flags: DATA,
    examples: [{ line: "mill backup list", says: "On the machine that has the backup key" }],
    impact: "read",
    run: async (call) => (await actions()).list(call),
  }),
  command({
    path: "backup verify",
    summary: "Fetch a backup and compare every part of it with its hash",
    arguments: { id: { summary: "Of the backup; default the newest", optional: true } },
    flags: DATA,
    examples: [{ line: "mill backup verify", says: "Exit code 1 when something is damaged or missing" }],
    impact: "read",
    run: async (call) => (await actions()).verify(call),
  }),
  command({
    path: "backup restore",
    summary: "Take a backup back into an empty data folder",
    description:
      "Puts log, data keys and files there; everything else is made anew at the next `mill up`. The folder must have no log yet. " +
      "Put secrets/master.key there first, or secrets cannot be read. What was restored to a moment goes on from there. " +
      "Where MILLRACE_NATS_URL names servers of yours, the log goes into those: they must have nothing yet, and --leaf says where one of " +
      "them takes leaf connections (as MILLRACE_LEAF_USER with MILLRACE_LEAF_PASSWORD; default the user of NATS).",
    arguments: { id: { summary: "Of the backup; default the newest", optional: true } },
    flags: {
      ...DATA,
      ...MOMENT,
      leaf: {
        type: "string",
        value: "HOST:PORT",
        summary: "Of NATS servers of yours: where leaf connections are taken",
      },
      replicas: { type: "integer", value: "N", range: [1, 3], summary: "Of NATS servers of yours: 3 in a cluster" },
    },
    examples: [
      { line: "mill backup restore --data ~/restored", says: "The newest, into a new folder" },
      { line: "mill backup restore --data ~/restored --at 2026-11-21T08:00:00Z", says: "As it was then" },
      { line: "mill backup restore --leaf nats-1:7422 --replicas 3", says: "Into three servers (MILLRACE_NATS_URL)" },
    ],
    impact: "write",
    run: async (call) => (await actions()).restore(call),
  }),
  command({
    path: "backup drill",
    summary: "Try a restore: into a temporary folder, compared message by message, used, and taken away again",
    description:
      "Loads every entity, opens every data key, builds every view in a PostgreSQL of its own. Nothing is deployed, sent or told. " +
      "Exit code 1 when anything differs or cannot be used.",
    arguments: { id: { summary: "Of the backup; default the newest", optional: true } },
    flags: { ...DATA, ...MOMENT },
    examples: [{ line: "mill backup drill", says: "Before it is needed" }],
    impact: "read",
    run: async (call) => (await actions()).drill(call),
  }),
  command({
    path: "backup prune",
    summary: "Let go of backups that are older than is kept, and of what only they needed",
    description: "In two phases: what nothing needs any more is marked now, and removed by a prune a day later.",
    flags: DATA,
    examples: [{ line: "mill backup prune", says: "The schedule does it after each backup" }],
    impact: "write",
    run: async (call) => (await actions()).prune(call),
  }),
  command({
    path: "backup key",
    summary: "Show the key that encrypts the backups, to be kept somewhere else",
    description: "Without it no backup can be read. It opens no secret: for that the master key is needed too.",
    flags: DATA,
    examples: [{ line: "mill backup key", says: "Into a password manager" }],
    impact: "read",
    run: async (call) => (await actions()).key(call),
  }),
];
