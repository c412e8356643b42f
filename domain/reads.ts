/**
 * What plans may read. A plan says which commands a request comes to, from states that the edge loads for it: so the gateway, for
 * people, and the orchestrator, for schedules, rules and processes, ask for the same thing in the same way.
 */
import type { Refusal } from "./decider.ts";
import type { Kind } from "./kind.ts";

export interface Reads {
  /** As the log has it now; of one of which nothing has happened the organisation is undefined. */
  load<S>(kind: Kind<S>, id: string): Promise<{ readonly state: S; readonly organisation: string | undefined }>;
  /** Id of who holds a unique name of this kind, or null. */
  holderOf(kind: Kind, organisation: string, name: string): Promise<string | null>;
}

/** One aggregate's part of what is carried out together. */
export interface PlannedPart {
  readonly kind: Kind;
  readonly id: string;
  readonly command: unknown;
}

/** All of one context, all or nothing, the first of them remembers the command; or why it cannot be asked for. */
export type Plan = ReadonlyArray<PlannedPart> | Refusal;

export const isPlanned = (plan: Plan): plan is ReadonlyArray<PlannedPart> => Array.isArray(plan);
