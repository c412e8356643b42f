/** Metrics, and alerts on them. */
import { type Command, command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const actions = () => import("../actions/metrics.ts");

const ALERT = { alert: { summary: "Name or id of the alert", names: { collection: "alerts" } } } as const;

const metrics = command({
  path: "metrics",
  summary: "Show what an application takes, or what a node has left",
  description:
    "Each series by its last value, and least, mean and most of the time asked for. `-o json` has every point.",
  arguments: {
    application: { summary: "Name or id of the application", names: { collection: "applications" }, optional: true },
  },
  flags: {
    node: { type: "string", value: "NODE", summary: "A node instead of an application" },
    metric: { type: "string", value: "METRIC", summary: "Only this one" },
    hours: { type: "integer", value: "N", range: [1, 9_600], summary: "So far back (default 1)" },
  },
  examples: [
    { line: "mill metrics site", says: "Of the last hour" },
    { line: "mill metrics --node local --metric disk_free_bytes --hours 24", says: "Of a day" },
  ],
  impact: "read",
  run: async (call) => (await actions()).metrics(call),
});

const alerts: readonly Command[] = [
  listing({
    path: "alerts list",
    operation: "listAlerts",
    collection: "alerts",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "on", value: (row) => row.spec.on.id },
      { title: "metric", value: (row) => row.spec.metric },
      { title: "condition", value: ({ spec }) => `${spec.condition.is} ${spec.condition.value}` },
      { title: "for", value: ({ spec }) => `${Math.round(spec.forMs / 1_000)} s` },
      { title: "since", value: (row) => row.status.since },
      { title: "silenced until", value: (row) => row.status.silence?.until },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no such alert. `mill alerts create` makes one",
    examples: [
      { line: "mill alerts list --state firing", says: "What is wrong now" },
      { line: "mill alerts list --watch", says: "And what changes from now on" },
    ],
  }),
  showing({
    path: "alerts show",
    operation: "getAlert",
    collection: "alerts",
    argument: "alert",
    people: async (alert) => (await actions()).alertText(alert),
    examples: [{ line: "mill alerts show site-memory", says: "State, value, silence" }],
  }),
  command({
    path: "alerts create",
    summary: "Create an alert: a metric above or below a threshold, for a time",
    arguments: { name: { summary: "Its name" } },
    flags: {
      application: { type: "string", value: "APP", names: { collection: "applications" }, summary: "What it is about" },
      node: { type: "string", value: "NODE", summary: "A node instead" },
      metric: { type: "string", value: "METRIC", summary: "As `mill metrics` shows it" },
      above: { type: "string", value: "VALUE", summary: "It fires above this" },
      below: { type: "string", value: "VALUE", summary: "It fires below this" },
      back: {
        type: "string",
        value: "VALUE",
        summary: "It is over when the metric is back here (default the threshold)",
      },
      for: {
        type: "integer",
        value: "SECONDS",
        range: [0, 86_400],
        summary: "After so long without a break (default 0)",
      },
    },
    examples: [
      {
        line: "mill alerts create disk --node local --metric disk_free_bytes --below 5e9 --back 8e9 --for 300",
        says: "Less than 5 GB for five minutes; over at 8 GB",
      },
    ],
    impact: "write",
    run: async (call) => (await actions()).createAlert(call),
  }),
  command({
    path: "alerts change",
    summary: "Change what an alert waits for; one that fires begins anew",
    arguments: ALERT,
    flags: {
      above: { type: "string", value: "VALUE", summary: "It fires above this" },
      below: { type: "string", value: "VALUE", summary: "It fires below this" },
      back: { type: "string", value: "VALUE", summary: "It is over when the metric is back here" },
      for: { type: "integer", value: "SECONDS", range: [0, 86_400], summary: "After so long without a break" },
      ...SEEN,
    },
    examples: [{ line: "mill alerts change disk --below 4e9 --for 600", says: "Less than 4 GB for ten minutes" }],
    impact: "write",
    run: async (call) => (await actions()).changeAlert(call),
  }),
  command({
    path: "alerts acknowledge",
    aliases: ["ack"],
    summary: "Say that somebody looks after a firing alert",
    arguments: ALERT,
    flags: SEEN,
    examples: [{ line: "mill alerts acknowledge disk", says: "Others see who" }],
    impact: "write",
    run: async (call) => (await actions()).acknowledgeAlert(call),
  }),
  command({
    path: "alerts silence",
    summary: "Have nobody told of an alert for a while, or end that",
    arguments: ALERT,
    flags: {
      minutes: { type: "integer", value: "N", range: [1, 525_600], summary: "For so long (default 60)" },
      reason: { type: "string", value: "TEXT", summary: "Why, in one line" },
      end: { type: "boolean", summary: "Tell of it again" },
      ...SEEN,
    },
    examples: [{ line: 'mill alerts silence disk --minutes 120 --reason "The backup runs"', says: "Two hours" }],
    impact: "write",
    run: async (call) => (await actions()).silenceAlert(call),
  }),
  command({
    path: "alerts delete",
    aliases: ["rm"],
    summary: "Delete an alert",
    arguments: ALERT,
    flags: SEEN,
    examples: [{ line: "mill alerts delete disk --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await actions()).deleteAlert(call),
  }),
];

export const metricsCommands: readonly Command[] = [metrics, ...alerts];
