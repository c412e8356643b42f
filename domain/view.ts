/**
 * A view of one kind of aggregate, declared: table, fold and version in one place. The projector makes the table and keeps it
 * by folding with the kind's own `evolve`; the gateway reads it by the same declaration. Pure data and functions.
 */
import type { EventMeta } from "./decider.ts";
import type { Kind } from "./kind.ts";

export interface Column<S = any> {
  readonly type: "text" | "text[]" | "timestamptz" | "bigint" | "boolean" | "jsonb";
  readonly value: (state: S) => unknown;
  /** May be asked for by a query parameter of the same name; on `text[]`: contains. */
  readonly filter?: boolean;
  readonly sort?: boolean;
  /** An index for it, after organisation. Each costs on every write: only where lists need it. */
  readonly index?: boolean;
}

export interface View<S = any> {
  /** Table name without its version, e.g. `work_items`. */
  readonly name: string;
  /** Raise it when columns, fold or state change: the new one is built beside the old and switched when caught up. */
  readonly version: number;
  readonly kind: Kind<S>;
  /** Beyond `organisation, id, seq, version, created_at, updated_at, state`, which every view has. Rows of what no longer exists go. */
  readonly columns: Readonly<Record<string, Column<S>>>;
  /** Columns that hold the ids of what an entity belongs to (`parents` of the kind): a grant for one of them shows it, too. */
  readonly parents?: ReadonlyArray<string>;
  /** What the one search over everything finds it by. */
  readonly search?: (state: S) => { readonly title: string; readonly text: string };
}

export type { EventMeta };
