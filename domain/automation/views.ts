/** What can be asked about what happens by itself. */
import type { View } from "../view.ts";
import { type AlertState, alert } from "./alert.ts";
import { type ProcessState, process } from "./process.ts";
import { type RuleState, rule } from "./rule.ts";
import { type ScheduleState, schedule } from "./schedule.ts";
import { nextDueAt, stateName } from "./schedule-state.ts";

export const schedulesView: View<ScheduleState> = {
  name: "schedules",
  version: 1,
  kind: schedule,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    /** Every view has a column `state` of its own: the route asks for this one when it is asked for `state`. */
    stateName: { type: "text", value: stateName, filter: true },
    maker: { type: "text", value: (state) => state.maker.token, filter: true },
    nextDueAt: {
      type: "timestamptz",
      value: (state) => {
        const at = nextDueAt(state);
        return at === undefined ? null : new Date(at).toISOString();
      },
      sort: true,
    },
  },
  search: ({ name, title, commands }) => ({
    title: title ?? name,
    text: [name, ...commands.map(({ action, on }) => `${action} ${on ?? ""}`)].join("\n"),
  }),
};

export const processesView: View<ProcessState> = {
  name: "processes",
  version: 1,
  kind: process,
  columns: {
    type: { type: "text", value: (state) => state.type, filter: true },
    key: { type: "text", value: (state) => state.key, filter: true },
    acting: { type: "boolean", value: (state) => state.pending !== null, filter: true },
  },
};

export const rulesView: View<RuleState> = {
  name: "rules",
  version: 1,
  kind: rule,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    enabled: { type: "boolean", value: (state) => state.enabled, filter: true },
    context: {
      type: "text",
      value: ({ when }) => (when?.kind === "event" ? when.context : null),
      filter: true,
    },
    maker: { type: "text", value: (state) => state.maker.token, filter: true },
  },
  search: ({ name, title, condition, commands }) => ({
    title: title ?? name,
    text: [name, condition ?? "", ...commands.map(({ action, on }) => `${action} ${on ?? ""}`)].join("\n"),
  }),
};

export const alertsView: View<AlertState> = {
  name: "alerts",
  version: 1,
  kind: alert,
  columns: {
    name: { type: "text", value: ({ spec }) => spec?.name ?? "", filter: true, sort: true },
    stateName: { type: "text", value: ({ firing }) => (firing === null ? "ok" : "firing"), filter: true },
    on: { type: "text", value: ({ spec }) => spec?.on.id ?? "", filter: true },
    metric: { type: "text", value: ({ spec }) => spec?.metric ?? "", filter: true },
  },
  search: ({ spec }) => ({ title: spec?.title ?? spec?.name ?? "", text: [spec?.name, spec?.metric].join("\n") }),
};

export const automationViews: ReadonlyArray<View> = [schedulesView, rulesView, processesView, alertsView];
