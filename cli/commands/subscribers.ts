/** Subscribers: credentials with which programs read the feed over NATS. */
import { type Command, command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";
import { FILTER } from "./webhooks.ts";

const subscribers = () => import("../actions/subscribers.ts");

const ONE = { subscriber: { summary: "Name or id of the subscriber", names: { collection: "subscribers" } } } as const;
const ABOUT = {
  description: { type: "string", value: "TEXT", summary: "What it is for, in one line" },
  expires: { type: "string", value: "WHEN", summary: "Good until then: a time, or e.g. 90d" },
} as const;

export const subscriberCommands: readonly Command[] = [
  listing({
    path: "subscribers list",
    operation: "listSubscribers",
    collection: "subscribers",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "user", value: (row) => row.id },
      { title: "until", value: (row) => row.spec.expiresAt ?? "" },
      { title: "password", value: (row) => `…${row.status.last8}` },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no subscriber. `mill subscribers create` makes one",
    examples: [{ line: "mill subscribers list", says: "All of them" }],
  }),
  showing({
    path: "subscribers show",
    operation: "getSubscriber",
    collection: "subscribers",
    argument: "subscriber",
    people: async (one) => (await subscribers()).subscriberText(one),
    examples: [{ line: "mill subscribers show warehouse", says: "What it reads, and until when" }],
  }),
  command({
    path: "subscribers create",
    summary: "Make credentials for NATS; the password is shown this once",
    description: "They read by your token's rights, as they are at each moment. `-o name` prints the password alone.",
    arguments: { name: { summary: "Unique name" } },
    flags: { ...FILTER, ...ABOUT },
    examples: [
      { line: "mill subscribers create warehouse --in work --type ItemOpened", says: "Items as they are opened" },
    ],
    impact: "write",
    run: async (call) => (await subscribers()).create(call),
  }),
  command({
    path: "subscribers change",
    summary: "Change what a subscriber reads, or until when",
    description:
      "With any filter the whole filter is replaced; `--all` takes it away. It reads by your rights from then on.",
    arguments: ONE,
    flags: {
      ...FILTER,
      ...ABOUT,
      all: { type: "boolean", summary: "All events" },
      forever: { type: "boolean", summary: "Without an end" },
      ...SEEN,
    },
    examples: [{ line: "mill subscribers change warehouse --in applications", says: "Deployments instead" }],
    impact: "write",
    run: async (call) => (await subscribers()).change(call),
  }),
  command({
    path: "subscribers connections",
    summary: "Show how a subscriber connects, what it may hear, and who is connected",
    arguments: ONE,
    examples: [{ line: "mill subscribers connections warehouse", says: "Subjects, inbox prefix, open connections" }],
    impact: "read",
    run: async (call) => (await subscribers()).connections(call),
  }),
  command({
    path: "subscribers rotate-secret",
    summary: "Give a subscriber another password; for a time both let in",
    description:
      "`-o name` prints the password alone. With `--overlap 0` whoever is connected by the old one is cut off.",
    arguments: ONE,
    flags: {
      overlap: {
        type: "integer",
        value: "HOURS",
        range: [0, 168],
        summary: "How long the old one lets in, too (default 24)",
      },
    },
    examples: [{ line: "mill subscribers rotate-secret warehouse --overlap 0", says: "The old one has leaked" }],
    impact: "write",
    run: async (call) => (await subscribers()).rotate(call),
  }),
  command({
    path: "subscribers revoke",
    aliases: ["rm"],
    summary: "Revoke a subscriber: its connections are ended",
    arguments: ONE,
    flags: SEEN,
    examples: [{ line: "mill subscribers revoke warehouse --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await subscribers()).revoke(call),
  }),
];
