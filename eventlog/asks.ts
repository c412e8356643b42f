/** Asking the worker that holds a resource, and answering: bounded in time and size, 503 with `what` when nobody holds it. */
import type { AskDeclaration } from "@millrace/contracts/asks.ts";
import type { Problem } from "@millrace/contracts/problems.ts";
import * as Data from "effect/Data";
import type { Nats } from "./connection.ts";

/** Nobody who could answer did. */
export class AskUnavailable extends Data.TaggedError("AskUnavailable")<{
  /** What is not there, for a person: `The node attic`. */
  readonly what: string;
  readonly reason: "no-holder" | "late" | "too-large" | "broken";
}> {}

/** The holder answered with a problem of its own. */
export class AskRefused extends Data.TaggedError("AskRefused")<{ readonly problem: Problem }> {}

/**
 * @param holder a node's name, or whatever else the holders are told apart by
 * @throws AskUnavailable, AskRefused
 */
export declare function ask<Q, A>(
  nats: Nats,
  declaration: AskDeclaration<Q, A>,
  holder: string,
  request: Q,
): Promise<A>;

/** Answers what is asked of this holder. A handler that throws AskRefused answers with its problem. @returns stops it */
export declare function answerAsk<Q, A>(
  nats: Nats,
  declaration: AskDeclaration<Q, A>,
  holder: string,
  handler: (request: Q, signal: AbortSignal) => Promise<A>,
): () => void;
