/** What can be asked about work. */
import { PRIORITIES, type Priority } from "@millrace/contracts/work/values.ts";
import type { View } from "../view.ts";
import { type ItemState, item } from "./item.ts";
import { type TypeState, type } from "./type.ts";

/** From none to urgent, so that `-priority` begins with what is most urgent. */
export const rankOf = (priority: Priority | null): number =>
  priority === null ? 0 : PRIORITIES.length - PRIORITIES.indexOf(priority);

export const workItems: View<ItemState> = {
  name: "work_items",
  version: 3,
  kind: item,
  columns: {
    /** Every view has a column `state` of its own: the route asks for this one when it is asked for `state`. */
    stateName: { type: "text", value: (state) => state.state, filter: true },
    group: { type: "text", value: (state) => state.group, filter: true, index: true },
    type: { type: "text", value: (state) => state.type, filter: true },
    assignee: { type: "text[]", value: (state) => state.assignees, filter: true, index: true },
    label: { type: "text[]", value: (state) => state.labels, filter: true },
    link: { type: "text[]", value: (state) => state.links.map(({ id }) => id), filter: true },
    createdBy: { type: "text", value: (state) => state.createdBy?.id ?? null, filter: true },
    priority: { type: "bigint", value: (state) => rankOf(state.priority), filter: true, sort: true },
    title: { type: "text", value: (state) => state.title, sort: true },
    dueOn: { type: "text", value: (state) => state.dueOn, sort: true },
  },
  search: ({ title, description, notes, comments }) => ({
    title,
    text: [description, notes, ...comments.map(({ text }) => text)].filter((text) => text !== "").join("\n"),
  }),
};

export const workTypes: View<TypeState> = {
  name: "work_types",
  version: 1,
  kind: type,
  columns: {
    name: { type: "text", value: (state) => state.spec?.name ?? "", filter: true, sort: true },
    title: { type: "text", value: (state) => state.spec?.title ?? "", sort: true },
  },
  search: ({ spec }) => ({ title: spec?.title ?? "", text: [spec?.name, spec?.description].join("\n") }),
};

export const workViews: ReadonlyArray<View> = [workItems, workTypes];
