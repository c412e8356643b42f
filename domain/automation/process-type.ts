/**
 * What a type of process declares: which events of other contexts wake it, what it keeps of them, and what it does then. Pure data and
 * functions; docs/guides/processes.md shows how one is written.
 */
import type { ActionName } from "@millrace/contracts/automation/actions.ts";
import type { Actor, DomainEvent } from "../decider.ts";

/** An event of another context, as a correlation sees it. */
export interface Heard<S = any> extends DomainEvent {
  readonly context: string;
  readonly kind: string;
  readonly id: string;
  readonly organisation: string;
  readonly actor: Actor;
  /** The aggregate as it was after the commit of this event. */
  readonly source: S;
  /** The log's own time, milliseconds since 1970. */
  readonly at: number;
}

/** To be noted in the process that a key names, within the organisation of what was heard. */
export interface Note<N> {
  readonly key: string;
  readonly note: N;
}

/** A command that is to be issued. */
export interface Step {
  /** Names it within the process: what `settled` is told. */
  readonly step: string;
  readonly action: ActionName;
  /** Id of what it is done to; left out where it makes something. */
  readonly on?: string;
  readonly body?: unknown;
}

export type ProcessNext = undefined | Step | { readonly waitUntil: number };

/** What came of a step. */
export type Settled =
  | { readonly done: { readonly context: string; readonly kind: string; readonly id: string }; readonly made?: string }
  | { readonly refused: string; readonly rule?: string; readonly reason: string };

/**
 * @template M what the process knows: plain JSON, at most 64 kB
 * @template N what it takes of an event: plain JSON
 */
export interface ProcessType<M = any, N = any> {
  /** Lower-case, with hyphens; frozen, as ids are made of it. */
  readonly name: string;
  /** What it does, in one sentence. */
  readonly summary: string;
  /** Types of events that wake it, by context and kind. */
  readonly hears: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<string>>>>>;
  /** Where it begins to listen when it is new: with all that ever happened, or with what comes. */
  readonly from: "beginning" | "now";
  /** Which processes an event is for, and what each keeps of it. The same event answers the same for ever. */
  readonly correlate: (heard: Heard) => ReadonlyArray<Note<N>>;
  readonly initial: M;
  /** @param atMs when it happened, by the log of its context, milliseconds since 1970. Contexts are heard beside each other: in no order. */
  readonly note: (memory: M, note: N, atMs: number) => M;
  /** What is to be done now. A step that is under way is gone on with before this is asked again. */
  readonly next: (memory: M, nowMs: number) => ProcessNext;
  /** A step was carried out or refused: it must not be asked for by `next` again, unless it is to be done again. @param atMs as it was decided */
  readonly settled: (memory: M, step: string, outcome: Settled, atMs: number) => M;
}

export type ProcessTypes = Readonly<Record<string, ProcessType>>;
