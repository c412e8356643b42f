/** The work item: something that somebody has decided to do. */
import { itemEvents } from "@millrace/contracts/work/events.ts";
import type { Kind } from "../kind.ts";
import type { ItemCommand } from "./item-command.ts";
import { decide } from "./item-decide.ts";
import { itemEventDeclarations } from "./item-events.ts";
import { evolve, type ItemEvent, type ItemState, initial, represent } from "./item-state.ts";

export const item: Kind<ItemState, ItemCommand, ItemEvent> = {
  context: "work",
  kind: "item",
  prefix: "itm",
  collection: "work-items",
  decider: { initial, evolve, decide },
  events: itemEventDeclarations,
  publicEvents: itemEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent,
  stateVersion: 3,
};

export type { ItemCommand, ItemEvent, ItemState };
