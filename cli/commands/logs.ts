/** What applications and their builds have written. */
import { command } from "../table.ts";

const logs = () => import("../actions/logs.ts");
const shares = () => import("../actions/logs-share.ts");

const APPS = {
  apps: {
    summary: "Applications, by name or id; or one build of a manifest, by number or id",
    many: true,
    names: { collection: "applications" },
  },
} as const;

const CHOOSING = {
  since: { type: "string", value: "TIME", summary: "From then on: RFC 3339, or how long ago: 90s, 15m, 2h, 7d" },
  until: { type: "string", value: "TIME", summary: "Up to then, in the same form" },
  level: {
    type: "string",
    value: "LEVEL",
    choices: ["trace", "debug", "info", "warn", "error", "fatal"],
    summary: "Of this level or a graver one",
  },
  grep: { type: "string", value: "TEXT", summary: "Lines with this text; in any case, unless it has capitals" },
  regex: { type: "string", value: "PATTERN", summary: "Lines that a regular expression matches" },
  deployment: { type: "string", value: "ID", summary: "Only of this deployment" },
  instance: { type: "string", value: "N", summary: "Only of this container" },
  build: { type: "boolean", summary: "Only what builds have written" },
} as const;

export const logsCommands = [
  command({
    path: "logs",
    summary: "Show what applications and their builds have written, and go on with --follow",
    description:
      "The last lines, oldest first; of several applications merged by time. With --follow a lost connection is taken up again where " +
      "it was, without hole or double. Lines that are no longer kept are told as a gap. --regex is in the syntax of RE2.",
    arguments: APPS,
    flags: {
      follow: { type: "boolean", short: "f", summary: "Go on as lines come, until Ctrl-C" },
      ...CHOOSING,
      limit: {
        type: "integer",
        value: "N",
        range: [1, 1_000_000],
        summary: "At most so many lines of the past (default 200)",
      },
    },
    examples: [
      { line: "mill logs shop --follow", says: "The last lines, and what comes" },
      { line: "mill logs shop api --since 15m --level warn", says: "Warnings and worse of two, merged" },
      { line: "mill logs shop --build --deployment dep_01kajzq4v0e8r9t2m5x7c3d6fg", says: "How that build went" },
      { line: "mill logs 7 --follow", says: "Build 7 of a manifest, as it is built" },
      { line: "mill logs shop --since 2h --regex 'status=5\\d\\d' -o jsonl", says: "For a program" },
    ],
    impact: "read",
    run: async (call) => (await logs()).logs(call),
  }),
  command({
    path: "logs share",
    summary: "Make a link that shows log lines to people without a token",
    description:
      "The link shows these lines and no others. It is good until it expires, or until the token that made it is revoked, expires " +
      "or may no longer read them. Without --until lines that come later are shown, too. An application of the name `share` is " +
      "named by its id in `mill logs`.",
    arguments: APPS,
    flags: {
      ...CHOOSING,
      expires: { type: "string", value: "TIME", summary: "How long it is good, at most 7d: 30m, 12h, 7d (default 1d)" },
    },
    examples: [
      { line: "mill logs share shop --since 2h --level error --expires 12h", says: "The errors of two hours" },
      { line: "mill logs share shop api --grep checkout -o name", says: "The bare link" },
    ],
    impact: "write",
    run: async (call) => (await shares()).share(call),
  }),
];
