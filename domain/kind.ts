/** What a context declares of each kind of aggregate; everything generic in the product is driven by it. */
import type { PublicEvents } from "@millrace/contracts/events.ts";
import type * as Schema from "effect/Schema";
import type { Decider, DomainEvent, EventMeta } from "./decider.ts";

/** One type of event in the log: its schema of today and the way there from every older version. */
export interface EventDeclaration {
  /** Version written today, from 1. */
  readonly version: number;
  readonly data: Schema.Codec<any, any, never, never>;
  /** `upcasts[n]` turns data of version n into version n + 1; one for every version below today's. */
  readonly upcasts?: Readonly<Record<number, (data: any) => unknown>>;
  /** One example a version: upcast and decoded by a test and at start. */
  readonly examples: Readonly<Record<number, unknown>>;
  /** What happened, as a person would say it, without the actor: `moved it to "In progress"`. */
  readonly sentence: (data: any) => string;
  /** The public form's data; left out: the same as in the log. `null`: not public. */
  readonly toPublic?: ((data: any) => unknown) | null;
}

export interface Kind<S = any, C = any, E extends DomainEvent = any> {
  readonly context: string;
  readonly kind: string;
  /** Prefix of its ids. */
  readonly prefix: string;
  /** Collection in the API's paths, e.g. `work-items`. */
  readonly collection: string;
  readonly decider: Decider<S, C, E>;
  readonly events: Readonly<Record<string, EventDeclaration>>;
  readonly publicEvents: PublicEvents;
  /** Counts changes of spec: the entity's ETag. */
  readonly generation: (state: S) => number;
  /** Whether it exists and was not deleted. */
  readonly exists: (state: S) => boolean;
  /** The entity as the API shows it: `{id, organisation, spec, status, generation, …}`. */
  readonly represent: (state: S) => unknown;
  /** Where a unique name leads to its holder: the claim that a name of this kind makes. Left out: entities have no name. */
  readonly nameClaim?: (organisation: string, name: string) => { readonly what: string; readonly value: string };
  /** Whether its work has come to an end, whichever: what `?wait=terminal` waits for. Left out: it never does. */
  readonly over?: (state: S) => boolean;
  /** Ids of what it belongs to, within the context: a grant for one of them holds for it, too. */
  readonly parents?: (state: S) => ReadonlyArray<string>;
  /** Bump when the shape of the state changes: snapshots of another version are ignored. */
  readonly stateVersion: number;
}

export interface ContextDeclaration {
  readonly name: string;
  readonly kinds: Readonly<Record<string, Kind>>;
}

export type { DomainEvent, EventMeta };
