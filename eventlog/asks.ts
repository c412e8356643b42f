/**
 * Asking the worker that holds a resource, and answering: bounded in time and size, 503 with `what` when nobody holds it. By plain NATS
 * request and reply on `ask.<context>.<name>.<holder>`; several processes of a holder share the questions. An ask changes nothing.
 */
import type { AskDeclaration } from "@millrace/contracts/asks.ts";
import { PROBLEMS, type Problem } from "@millrace/contracts/problems.ts";
import { errors, type Msg } from "@nats-io/transport-node";
import * as Data from "effect/Data";
import * as Schema from "effect/Schema";
import type { Nats } from "./connection.ts";
import { ATTRIBUTES, metrics, SPANS } from "./telemetry.ts";
import { withSpan } from "./tracing.ts";

/** Nobody who could answer did. */
export class AskUnavailable extends Data.TaggedError("AskUnavailable")<{
  /** What is not there, for a person: `The node attic`. */
  readonly what: string;
  readonly reason: "no-holder" | "late" | "too-large" | "broken";
}> {
  override get message(): string {
    return `${this.what}: ${this.reason}`;
  }
}

/** The holder answered with a problem of its own. */
export class AskRefused extends Data.TaggedError("AskRefused")<{ readonly problem: Problem }> {}

const TIMEOUT_MS = 5_000;
const MOST_BYTES = 256 * 1024;
const QUESTION_BYTES = 64 * 1024;
/** Questions that one declaration's answerer works on at the same moment; more are answered as late. */
const AT_ONCE = 32;
const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;
const AnyProblem = Schema.Union([...PROBLEMS]);

const subjectOf = ({ context, name }: AskDeclaration, holder: string): string => {
  for (const token of [context, name, holder]) {
    if (!TOKEN.test(token))
      throw new TypeError(`not a name for an ask or its holder: ${JSON.stringify(token.slice(0, 64))}`);
  }
  return `ask.${context}.${name}.${holder}`;
};

type Envelope =
  | { readonly answer: unknown }
  | { readonly problem: unknown }
  | { readonly broken: AskUnavailable["reason"] };

/**
 * @param holder a node's name, or whatever else the holders are told apart by
 * @param what what is not there when nobody answers, for a person; default `The node <holder>`
 * @throws AskUnavailable, AskRefused
 */
export async function ask<Q, A>(
  nats: Nats,
  declaration: AskDeclaration<Q, A>,
  holder: string,
  request: Q,
  what = `The node ${holder}`,
): Promise<A> {
  const { context } = declaration;
  const began = performance.now();
  const subject = subjectOf(declaration, holder);
  let outcome = "answered";
  try {
    return await withSpan(
      SPANS.ask(context),
      {
        [ATTRIBUTES.messagingSystem]: "nats",
        [ATTRIBUTES.messagingDestination]: `ask.${context}.${declaration.name}.{holder}`,
      },
      () => put(nats, declaration, subject, request, what),
      { kind: "CLIENT" },
    );
  } catch (error) {
    outcome = error instanceof AskUnavailable ? error.reason : error instanceof AskRefused ? "refused" : "broken";
    throw error;
  } finally {
    metrics.asks.inc({ context, outcome });
    metrics.askDuration.observe({ context }, (performance.now() - began) / 1_000);
  }
}

async function put<Q, A>(
  { nc }: Nats,
  declaration: AskDeclaration<Q, A>,
  subject: string,
  request: Q,
  what: string,
): Promise<A> {
  const body = JSON.stringify(Schema.encodeSync(declaration.request)(request));
  if (Buffer.byteLength(body) > QUESTION_BYTES) throw new AskUnavailable({ what, reason: "too-large" });
  let reply: Msg;
  try {
    reply = await nc.request(subject, body, { timeout: declaration.timeoutMs ?? TIMEOUT_MS });
  } catch (error) {
    const cause = (error as Error).cause;
    const nobody = error instanceof errors.NoRespondersError || cause instanceof errors.NoRespondersError;
    throw new AskUnavailable({ what, reason: nobody ? "no-holder" : "late" });
  }
  if (reply.data.length > bytesOf(declaration) + 1_024) throw new AskUnavailable({ what, reason: "too-large" });
  try {
    const envelope = JSON.parse(reply.string()) as Envelope;
    if ("broken" in envelope) throw new AskUnavailable({ what, reason: envelope.broken });
    if ("problem" in envelope)
      throw new AskRefused({ problem: Schema.decodeUnknownSync(AnyProblem)(envelope.problem) });
    return Schema.decodeUnknownSync(declaration.answer)(envelope.answer);
  } catch (error) {
    if (error instanceof AskUnavailable || error instanceof AskRefused) throw error;
    throw new AskUnavailable({ what, reason: "broken" });
  }
}

const bytesOf = ({ maxBytes }: AskDeclaration) => Math.min(maxBytes ?? MOST_BYTES, 900_000);

/**
 * Answers what is asked of this holder. A handler that throws AskRefused answers with its problem; its signal is aborted when the
 * asker has stopped waiting, or this is stopped.
 * @returns stops it
 */
export function answerAsk<Q, A>(
  nats: Nats,
  declaration: AskDeclaration<Q, A>,
  holder: string,
  handler: (request: Q, signal: AbortSignal) => Promise<A>,
  onError?: (error: unknown) => void,
): () => void {
  const stopping = new AbortController();
  let underWay = 0;
  const answer = async (message: Msg): Promise<Envelope> => {
    if (underWay >= AT_ONCE) return { broken: "late" };
    underWay++;
    const late = AbortSignal.timeout(declaration.timeoutMs ?? TIMEOUT_MS);
    try {
      const request = Schema.decodeUnknownSync(declaration.request)(JSON.parse(message.string()));
      const answered = await handler(request, AbortSignal.any([late, stopping.signal]));
      return { answer: Schema.encodeSync(declaration.answer)(answered) };
    } catch (error) {
      if (error instanceof AskRefused) return { problem: Schema.encodeSync(AnyProblem)(error.problem) };
      if (late.aborted) return { broken: "late" };
      onError?.(error);
      return { broken: "broken" };
    } finally {
      underWay--;
    }
  };
  const subscription = nats.nc.subscribe(subjectOf(declaration, holder), {
    queue: "holders",
    callback: (error, message) => {
      if (error !== null) return;
      void answer(message).then((envelope) => {
        let body = JSON.stringify(envelope);
        if (Buffer.byteLength(body) > bytesOf(declaration)) body = JSON.stringify({ broken: "too-large" });
        if (!nats.nc.isClosed()) message.respond(body);
      });
    },
  });
  return () => {
    stopping.abort();
    subscription.unsubscribe();
  };
}
