/** What goes through a gateway to the publisher that holds a build's repository, and what comes back, as it is and as problems. */
import type { IncomingMessage } from "node:http";
import {
  Conflict,
  InvalidInput,
  NotFound,
  type Problem,
  Refused,
  TooLarge,
  Unavailable,
} from "@millrace/contracts/problems.ts";
import type { BuildState } from "@millrace/domain/publishing/build.ts";
import { type RepositoryState, repository } from "@millrace/domain/publishing/repository.ts";
import type { BytesAct } from "@millrace/eventlog/bytes-ticket.ts";
import { away, type Caller, Holders, hop, problemOfFault } from "../bytes.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";

/** What a publisher says no with. */
export interface Fault {
  readonly fault: "refused" | "unknown" | "disk-full" | "unavailable" | "ticket";
  /** Of `refused`: adapters/ostree/refusal.ts of the publisher. */
  readonly code?: string;
  readonly subject?: string;
  readonly reason?: string;
  readonly fix?: string;
  /** Names of some of what is missing. */
  readonly missing?: ReadonlyArray<string>;
}

export type Answered<T> = { readonly ok: T } | { readonly node: string; readonly fault: Fault };

/** Of an answer: a size of each of two hundred thousand parts, or names of as many objects. */
const ANSWER_MOST = 16 * 1024 * 1024;

type Sent = { readonly body: IncomingMessage } | { readonly content?: Buffer; readonly encoding?: string | undefined };

export class BuildUploads {
  readonly #gateway: Gateway;
  readonly #holders: Holders;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
    this.#holders = new Holders(gateway, "publisher");
  }

  /** A body of objects. @returns bytes of each part, in their order */
  send(caller: Caller, build: BuildState, body: IncomingMessage): Promise<Answered<number[]>> {
    return this.#call(caller, build, "upload", { body });
  }

  /** @param content `{"wanted": [names]}`, packed or not */
  missing(
    caller: Caller,
    build: BuildState,
    content: Buffer,
    encoding?: string,
  ): Promise<Answered<{ readonly missing: ReadonlyArray<string> }>> {
    return this.#call(caller, build, "missing", { content, encoding });
  }

  /** What the references of a build lack; what is there is held for it. */
  check(
    caller: Caller,
    build: BuildState,
  ): Promise<Answered<{ readonly count: number; readonly missing: ReadonlyArray<string> }>> {
    return this.#call(caller, build, "check", {});
  }

  review(caller: Caller, build: BuildState): Promise<Answered<unknown>> {
    return this.#call(caller, build, "review", {});
  }

  /** @throws Failed (unavailable) while the repository is being made, and where no publisher of its node answers; refused where it is none */
  async #call<T>(
    caller: Caller,
    { id, repository: into }: BuildState,
    act: BytesAct,
    sent: Sent,
  ): Promise<Answered<T>> {
    const { state } = await this.#gateway.log.aggregates.load(repository, into);
    const holder = await this.#holders.of(nodeOf(state));
    const { node } = holder;
    const headers =
      "body" in sent ? { "content-type": sent.body.headers["content-type"] } : { "content-encoding": sent.encoding };
    const more = "body" in sent ? { body: sent.body } : sent.content === undefined ? {} : { content: sent.content };
    const answer = await hop(this.#gateway, this.#holders, holder, caller, { act, resource: id, headers, ...more });
    const body = await bodyOf(answer);
    if (answer.statusCode === 200) return { ok: body as T };
    return { node, fault: typeof body === "object" && body !== null ? (body as Fault) : { fault: "unavailable" } };
  }
}

/** On which node a repository lies. @throws Failed where it is not there */
function nodeOf({ name, state, node, failure }: RepositoryState): string {
  if (state === "ready" && node !== null) return node;
  if (state === "pending" || state === "making") {
    const detail = `The repository "${name}" is still being made.`;
    return fail(
      new Unavailable({ what: "the repository", detail, fix: "Try again in a moment.", retryAfterSeconds: 1 }),
    );
  }
  const reason = failure?.reason ?? `The repository "${name}" was deleted.`;
  const fix = failure === null ? "Begin a build for another repository." : failure.fix;
  return fail(new Refused({ rule: "repository-not-ready", reason, detail: reason, fix }));
}

async function bodyOf(answer: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > ANSWER_MOST) return undefined;
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString("utf8"));
  } catch {
    return undefined;
  }
}

/** The answer, or its fault as a problem. @throws Failed */
export const answered = <T>(answer: Answered<T>): T => ("ok" in answer ? answer.ok : fail(problemOf(answer)));

function problemOf({ node, fault }: Extract<Answered<unknown>, { fault: Fault }>): Problem {
  const { code, subject = "", reason = "It was not taken.", fix = "Look at what was sent." } = fault;
  const detail = subject === "" ? reason : `${subject}: ${reason}`;
  if (fault.fault === "unknown") return new NotFound({ detail: "There is no such build." });
  if (fault.fault !== "refused") return problemOfFault(node, { ...fault }) ?? away(node);
  switch (code) {
    case "too-large":
      return new TooLarge({ detail, fix });
    case "ref-moved":
      return new Conflict({ detail, fix });
    case "missing-objects":
    case "not-found":
      return new Refused({ rule: code === "not-found" ? "not-uploading" : code, reason: detail, detail, fix });
    default:
      return new InvalidInput({ detail, errors: [{ pointer: "/body", detail }], fix });
  }
}

/** Nothing is committed while something is missing. @throws Failed (refused) with names */
export function refuseMissing({
  count,
  missing,
}: {
  readonly count: number;
  readonly missing: ReadonlyArray<string>;
}): void {
  if (count === 0) return;
  const shown = missing.slice(0, 5).join(", ");
  const reason = `${count === 1 ? "One object is" : `${count} objects are`} missing: ${shown}${count > 5 ? " …" : ""}`;
  const fix = "Upload what is missing, then commit again; `missing-objects` tells what to send.";
  fail(new Refused({ rule: "missing-objects", reason, detail: reason, fix }));
}
