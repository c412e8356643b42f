/** A work item. */
import { ItemDeleted, ItemOpened, itemEvents } from "@millrace/contracts/work/events.ts";
import type { Decision } from "../decider.ts";
import type { Kind } from "../kind.ts";

export interface ItemState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly type: string;
  readonly title: string;
  readonly createdAt: string;
  readonly updatedAt: string;
}
export type ItemEvent =
  | { readonly type: "ItemOpened"; readonly data: typeof ItemOpened.Type }
  | { readonly type: "ItemDeleted"; readonly data: typeof ItemDeleted.Type };
export type ItemCommand =
  | { readonly do: "open"; readonly type: string; readonly title: string }
  | { readonly do: "delete" };

function decide(command: ItemCommand, state: ItemState): Decision<ItemEvent> {
  if (command.do === "open") {
    if (state.exists)
      return { refused: "conflict", reason: "This work item exists.", fix: "Open one with another id." };
    return { events: [{ type: "ItemOpened", data: { type: command.type, title: command.title } }] };
  }
  if (!state.exists) return { refused: "not-found", reason: "There is no such work item." };
  return { events: [{ type: "ItemDeleted", data: { title: state.title } }] };
}

export const item: Kind<ItemState, ItemCommand, ItemEvent> = {
  context: "work",
  kind: "item",
  prefix: "itm",
  collection: "work-items",
  decider: {
    initial: (id) => ({
      id,
      exists: false,
      organisation: "",
      generation: 0,
      type: "",
      title: "",
      createdAt: "",
      updatedAt: "",
    }),
    evolve: (state, event, meta) =>
      event.type === "ItemOpened"
        ? {
            id: state.id,
            exists: true,
            organisation: meta.organisation,
            generation: 1,
            ...event.data,
            createdAt: meta.time,
            updatedAt: meta.time,
          }
        : { ...state, exists: false, updatedAt: meta.time },
    decide,
  },
  events: {
    ItemOpened: {
      version: 1,
      data: ItemOpened,
      examples: { 1: { type: "task", title: "Renew the certificate" } },
      sentence: (data: typeof ItemOpened.Type) => `opened "${data.title}"`,
    },
    ItemDeleted: {
      version: 1,
      data: ItemDeleted,
      examples: { 1: { title: "Renew the certificate" } },
      sentence: (data: typeof ItemDeleted.Type) => `deleted "${data.title}"`,
    },
  },
  publicEvents: itemEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent: ({ id, organisation, generation, type, title, createdAt, updatedAt }) => ({
    id,
    organisation,
    generation,
    spec: { type, title },
    createdAt,
    updatedAt,
  }),
  stateVersion: 1,
};
