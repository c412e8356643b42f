/** Webhooks: where events are sent over HTTP. */
import { type Command, command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const webhooks = () => import("../actions/webhooks.ts");

const HOOK = { webhook: { summary: "Name or id of the webhook", names: { collection: "webhooks" } } } as const;

/** Which events: the same for whatever they are sent to. */
export const FILTER = {
  in: { type: "strings", value: "CONTEXT", summary: "Only events of this context" },
  kind: { type: "strings", value: "KIND", summary: "Only of this kind, e.g. item" },
  type: { type: "strings", value: "TYPE", summary: "Only of this type, e.g. ItemOpened" },
  id: { type: "strings", value: "ID", summary: "Only of the entity with this id" },
} as const;
/** Of a log of deliveries. */
export const DELIVERIES = {
  limit: { type: "integer", value: "N", range: [1, 200], summary: "At most so many (default 50)" },
  message: { type: "string", value: "ID", summary: "Tries of this one alone, by its webhook-id" },
} as const;
const DESCRIPTION = { description: { type: "string", value: "TEXT", summary: "What it is for, in one line" } } as const;

const entityCommands: readonly Command[] = [
  listing({
    path: "webhooks list",
    operation: "listWebhooks",
    collection: "webhooks",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "url", value: (row) => row.spec.url },
      { title: "parked", value: ({ status }) => (status.parked.length === 0 ? "" : status.parked.length) },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no webhook. `mill webhooks create` makes one",
    examples: [{ line: "mill webhooks list --state parked", says: "Those that wait to be resumed" }],
  }),
  showing({
    path: "webhooks show",
    operation: "getWebhook",
    collection: "webhooks",
    argument: "webhook",
    people: async (hook) => (await webhooks()).webhookText(hook),
    examples: [{ line: "mill webhooks show ci", says: "Its state, and what is parked" }],
  }),
  command({
    path: "webhooks create",
    summary: "Create a webhook; its secret is shown this once",
    description: "Deliveries follow Standard Webhooks. `-o name` prints the secret alone.",
    arguments: { name: { summary: "Unique name" }, address: { summary: "https://…, where it is sent" } },
    flags: {
      ...FILTER,
      ...DESCRIPTION,
      from: { type: "string", value: "WHEN", summary: "A time, a position, or `beginning` (default: now)" },
    },
    examples: [
      {
        line: "mill webhooks create ci https://ci.example.com/hooks --in work --type ItemOpened",
        says: "Work items as they are opened",
      },
    ],
    impact: "write",
    run: async (call) => (await webhooks()).create(call),
  }),
  command({
    path: "webhooks change",
    summary: "Change where a webhook leads, or which events are sent",
    description: "With any filter the whole filter is replaced; `--all` takes it away. It goes on where it is.",
    arguments: HOOK,
    flags: {
      address: { type: "string", value: "URL", summary: "Where it is sent" },
      ...FILTER,
      ...DESCRIPTION,
      all: { type: "boolean", summary: "All events" },
      ...SEEN,
    },
    examples: [{ line: "mill webhooks change ci --in applications", says: "Deployments instead" }],
    impact: "write",
    run: async (call) => (await webhooks()).change(call),
  }),
  command({
    path: "webhooks delete",
    aliases: ["rm"],
    summary: "Delete a webhook; its secrets are destroyed",
    arguments: HOOK,
    flags: SEEN,
    examples: [{ line: "mill webhooks delete ci --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await webhooks()).remove(call),
  }),
];

export const webhookCommands: readonly Command[] = [
  ...entityCommands,
  command({
    path: "webhooks pause",
    summary: "Pause a webhook; what happens meanwhile is sent when it is resumed",
    arguments: HOOK,
    examples: [{ line: "mill webhooks pause ci", says: "While the receiver is rebuilt" }],
    impact: "write",
    run: async (call) => (await webhooks()).pause(call),
  }),
  command({
    path: "webhooks resume",
    summary: "Resume a webhook that was paused, parked or disabled; what had failed is tried at once",
    arguments: HOOK,
    flags: { skip: { type: "boolean", summary: "Pass over the events that failed to the last" } },
    examples: [{ line: "mill webhooks resume ci", says: "The receiver is back" }],
    impact: "write",
    run: async (call) => (await webhooks()).resume(call),
  }),
  command({
    path: "webhooks rotate-secret",
    summary: "Give a webhook another secret; for a time both sign",
    description: "`-o name` prints the secret alone.",
    arguments: HOOK,
    flags: {
      overlap: {
        type: "integer",
        value: "HOURS",
        range: [0, 168],
        summary: "How long the old one signs, too (default 24)",
      },
    },
    examples: [{ line: "mill webhooks rotate-secret ci --overlap 48", says: "Two days to change the receiver" }],
    impact: "write",
    run: async (call) => (await webhooks()).rotate(call),
  }),
  command({
    path: "webhooks test",
    summary: "Send a test to a webhook, and say what it answered",
    arguments: HOOK,
    examples: [{ line: "mill webhooks test ci", says: "Exit code 1 when it was not taken" }],
    impact: "write",
    run: async (call) => (await webhooks()).sendTest(call),
  }),
  command({
    path: "webhooks replay",
    summary: "Send everything again from a time or position on; messages keep their ids",
    arguments: { ...HOOK, from: { summary: "A time (RFC 3339), a position, or `beginning`" } },
    examples: [{ line: "mill webhooks replay ci 2026-11-21T08:00:00Z", says: "From this morning on" }],
    impact: "write",
    run: async (call) => (await webhooks()).replay(call),
  }),
  command({
    path: "webhooks deliveries",
    summary: "Show what was sent to a webhook, and what it answered",
    arguments: HOOK,
    flags: DELIVERIES,
    examples: [{ line: "mill webhooks deliveries ci --limit 5", says: "The last five" }],
    impact: "read",
    run: async (call) => (await webhooks()).deliveries(call),
  }),
];
