/** What can be asked about work. */
import type { View } from "../view.ts";
import { type ItemState, item } from "./item.ts";

const workItems: View<ItemState> = {
  name: "work_items",
  version: 1,
  kind: item,
  columns: {
    type: { type: "text", value: (state) => state.type, filter: true, index: true },
    title: { type: "text", value: (state) => state.title, sort: true },
  },
  search: (state) => ({ title: state.title, text: "" }),
};

export const workViews: ReadonlyArray<View> = [workItems];
