/** Channels: where people are told of what happens. */
import { type Command, command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";
import { DELIVERIES, FILTER } from "./webhooks.ts";

const channels = () => import("../actions/channels.ts");

const CHANNEL = { channel: { summary: "Name or id of the channel", names: { collection: "channels" } } } as const;
const SAID = {
  ...FILTER,
  description: { type: "string", value: "TEXT", summary: "What it is for, in one line" },
  template: {
    type: "strings",
    value: "TYPE=TEXT",
    summary: "What is said of a type of event: ItemOpened={{actor}} opened {{data.title}}",
  },
  "quiet-hours": {
    type: "string",
    value: "FROM-TO@ZONE",
    summary: "Hold what comes from then to then, and tell it together: 22:00-07:00@Europe/Berlin",
  },
  digest: {
    type: "integer",
    value: "MINUTES",
    range: [1, 1_440],
    summary: "Gather for so long, and tell it as one message",
  },
  flood: {
    type: "string",
    value: "MESSAGES/MINUTES",
    summary: "So many messages in so many minutes at the most; the rest is summed up in one: 10/5",
  },
} as const;

export const channelCommands: readonly Command[] = [
  listing({
    path: "channels list",
    operation: "listChannels",
    collection: "channels",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "address", value: (row) => row.spec.address },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no channel. `mill channels create` makes one",
    examples: [{ line: "mill channels list", says: "Where people are told" }],
  }),
  showing({
    path: "channels show",
    operation: "getChannel",
    collection: "channels",
    argument: "channel",
    people: async (one) => (await channels()).channelText(one),
    examples: [{ line: "mill channels show team", says: "Its filter, templates and state" }],
  }),
  command({
    path: "channels create",
    summary: "Create a channel, where people are told of what happens",
    description:
      "Mail, Slack, Discord, ntfy, Gotify, Telegram, Matrix, or any address that takes JSON. The URL holds secrets: it is read from standard input with `-`, sealed, and never shown again.",
    arguments: { name: { summary: "Unique name" }, address: { summary: "Its URL; `-` reads it from standard input" } },
    flags: SAID,
    examples: [
      { line: "mill channels create phone ntfy://my-topic --type DeploymentFailed", says: "On the telephone" },
      { line: "mill channels create team - --in work < slack.url", says: "Secrets stay out of the shell's history" },
      {
        line: "mill channels create night ntfy://my-topic --quiet-hours 22:00-07:00@Europe/Berlin --flood 10/5",
        says: "Silent at night, and ten messages in five minutes at the most",
      },
    ],
    impact: "write",
    run: async (call) => (await channels()).create(call),
  }),
  command({
    path: "channels change",
    summary: "Change where a channel leads, what is sent, or what is said",
    description:
      "With any filter the whole filter is replaced, and so are the templates, and so are quiet hours, digest and flood cap; `--all` takes the filter away, `--at-once` the latter three.",
    arguments: CHANNEL,
    flags: {
      address: { type: "string", value: "URL", summary: "Its URL; `-` reads it from standard input" },
      ...SAID,
      all: { type: "boolean", summary: "All events" },
      "at-once": { type: "boolean", summary: "Tell each event at once: no quiet hours, no digest, no flood cap" },
      ...SEEN,
    },
    examples: [{ line: "mill channels change team --in applications", says: "Deployments instead" }],
    impact: "write",
    run: async (call) => (await channels()).change(call),
  }),
  command({
    path: "channels delete",
    aliases: ["rm"],
    summary: "Delete a channel; its secrets are destroyed",
    arguments: CHANNEL,
    flags: SEEN,
    examples: [{ line: "mill channels delete team --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await channels()).remove(call),
  }),
  command({
    path: "channels pause",
    summary: "Pause a channel; what happens meanwhile is told when it is resumed",
    arguments: CHANNEL,
    examples: [{ line: "mill channels pause team", says: "Over the holidays" }],
    impact: "write",
    run: async (call) => (await channels()).pause(call),
  }),
  command({
    path: "channels resume",
    summary: "Resume a channel that was paused, parked or disabled",
    arguments: CHANNEL,
    flags: { skip: { type: "boolean", summary: "Pass over the events that failed to the last" } },
    examples: [{ line: "mill channels resume team", says: "It goes on where it stopped" }],
    impact: "write",
    run: async (call) => (await channels()).resume(call),
  }),
  command({
    path: "channels test",
    summary: "Send a test to a channel, and say what came of it",
    arguments: CHANNEL,
    examples: [{ line: "mill channels test team", says: "Exit code 1 when it was not taken" }],
    impact: "write",
    run: async (call) => (await channels()).sendTest(call),
  }),
  command({
    path: "channels replay",
    summary: "Tell everything again from a time or position on",
    arguments: { ...CHANNEL, from: { summary: "A time (RFC 3339), a position, or `beginning`" } },
    examples: [{ line: "mill channels replay team 2026-11-21T08:00:00Z", says: "From this morning on" }],
    impact: "write",
    run: async (call) => (await channels()).replay(call),
  }),
  command({
    path: "channels deliveries",
    summary: "Show what was sent to a channel, and what it answered",
    arguments: CHANNEL,
    flags: DELIVERIES,
    examples: [{ line: "mill channels deliveries team --limit 5", says: "The last five" }],
    impact: "read",
    run: async (call) => (await channels()).deliveries(call),
  }),
];
