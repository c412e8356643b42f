/**
 * Asks: what only the worker that holds a resource can tell, as typed request and reply over NATS, declared in
 * `contracts/<context>/asks.ts`. An ask changes nothing.
 */
import type * as Schema from "effect/Schema";

export interface AskDeclaration<Q = any, A = any> {
  readonly context: string;
  /** One lower-case word or several with hyphens: `container-state`. */
  readonly name: string;
  readonly request: Schema.Codec<Q, any, never, never>;
  readonly answer: Schema.Codec<A, any, never, never>;
  /** How long the asker waits. Default 5,000. */
  readonly timeoutMs?: number;
  /** Of an answer; the server's limit is a megabyte. Default 256 KiB. */
  readonly maxBytes?: number;
}

/** Infers the types. */
export const declareAsk = <Q, A>(declaration: AskDeclaration<Q, A>): AskDeclaration<Q, A> => declaration;
