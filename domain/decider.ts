/**
 * The shape of every rule in the product: plain functions over plain data, no I/O, no clock, no randomness.
 * `decide(command, state) → events | refusal`, `evolve(state, event) → state`.
 */
import type { FieldError } from "@millrace/contracts/problems.ts";

/** An event as the rules see it: of the current version, upcast if it is older. */
export interface DomainEvent {
  readonly type: string;
  readonly data: unknown;
}

export interface Actor {
  readonly kind: "token" | "service" | "system";
  readonly id: string;
  readonly name: string;
}

/** What the edge gives to a decision: who, when, and a source of ids made there. */
export interface Circumstances {
  readonly organisation: string;
  readonly actor: Actor;
  /** RFC 3339, UTC, milliseconds. */
  readonly now: string;
}

/** What the log adds to an event when it is folded. */
export interface EventMeta {
  readonly organisation: string;
  readonly actor: Actor;
  /** RFC 3339: when it was decided. The log's own time, a moment later, is what `?at=` and the views' columns go by. */
  readonly time: string;
}

/** Takes or gives up a unique value within a context: a second holder is refused in the same atomic append. */
export interface Claim {
  /** What is unique, e.g. `type-name`. */
  readonly what: string;
  /** Any text; only its hash is stored. Include the organisation when unique per organisation. */
  readonly value: string;
  readonly hold: boolean;
  /** Shown when somebody else holds it. */
  readonly taken: Refusal;
}

export type Refusal =
  /** 422: a rule said no. */
  | { readonly refused: "rule"; readonly rule: string; readonly reason: string; readonly fix: string }
  /** 404 */
  | { readonly refused: "not-found"; readonly reason: string }
  /** 409 */
  | { readonly refused: "conflict"; readonly reason: string; readonly fix: string }
  /** 412 */
  | { readonly refused: "precondition"; readonly expected: number; readonly actual: number }
  /** 400 */
  | { readonly refused: "invalid"; readonly errors: ReadonlyArray<FieldError>; readonly fix?: string };

export interface Accepted<E extends DomainEvent> {
  readonly events: ReadonlyArray<E>;
  readonly claims?: ReadonlyArray<Claim>;
}

/** No events means: it is already so; the command succeeds and nothing is appended. */
export type Decision<E extends DomainEvent> = Accepted<E> | Refusal;

export const isRefusal = (decision: object): decision is Refusal => "refused" in decision;

export const rule = (name: string, reason: string, fix: string): Refusal => ({
  refused: "rule",
  rule: name,
  reason,
  fix,
});
export const invalid = (pointer: string, detail: string, fix?: string): Refusal =>
  fix === undefined
    ? { refused: "invalid", errors: [{ pointer, detail }] }
    : { refused: "invalid", errors: [{ pointer, detail }], fix };

export interface Decider<S, C, E extends DomainEvent> {
  /** The state of an aggregate of which nothing has happened. */
  readonly initial: (id: string) => S;
  readonly evolve: (state: S, event: E, meta: EventMeta) => S;
  readonly decide: (command: C, state: S, circumstances: Circumstances) => Decision<E>;
}
