/** What the world sees of work items and their types. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";

export const ItemOpened = Schema.Struct({ type: Schema.String, title: Schema.String });
export const ItemDeleted = Schema.Struct({ title: Schema.String });

export const itemEvents = {
  ItemOpened: { version: 1, data: ItemOpened, description: "A work item was opened." },
  ItemDeleted: { version: 1, data: ItemDeleted, description: "A work item was deleted." },
} satisfies PublicEvents;
