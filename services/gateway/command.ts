/**
 * From a request to a change and its answer, alike for every kind of entity. A route file says which command a request is,
 * and nothing else:
 *
 *     export const workRoutes = (gateway: Gateway) =>
 *       HttpApiBuilder.group(Api, "work", (handlers) => {
 *         const items = commands(gateway, item);
 *         const seen = reads(gateway, item);                       // past.ts and queries.ts
 *         return handlers.handleAll({
 *           openItem: items.create(({ payload }) => ({ do: "open", ...payload })),
 *           changeItem: items.change(({ payload }, seen) => ({ do: "change", seen, ...payload })),
 *           moveItem: items.act(({ payload }, seen) => ({ do: "move", seen, ...payload })),
 *           deleteItem: items.remove((_, seen) => ({ do: "delete", seen })),
 *           getItem: seen.get, listItems: seen.list, historyOfItem: seen.history, diffItem: seen.diff,
 *         });
 *       });
 *
 * - `create`: 201 and `Location`; a new id, derived from the Idempotency-Key where there is one
 * - `change`: 200; without `If-Match` 428; `seen` is the generation of `If-Match`, undefined for `*`
 * - `act`: 200 (or 202 and `Location` by option); `If-Match` if the client likes
 * - `remove`: 204; without `If-Match` 428
 *
 * All of them answer with `ETag`, `Millrace-Position` and the entity, and a repeat with the first answer and
 * `Idempotent-Replayed: true`. What a handler throws is answered as failures.ts says: `fail(new NotFound(…))`.
 */
import { createHash, createHmac, type KeyObject, randomBytes } from "node:crypto";
import { makeId } from "@millrace/contracts/ids.ts";
import { encodePosition, WHOLE_COMMIT } from "@millrace/contracts/position.ts";
import { Conflict, InvalidInput, PreconditionRequired, type Problem } from "@millrace/contracts/problems.ts";
import type { Refusal } from "@millrace/domain/decider.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { Loaded } from "@millrace/eventlog/aggregate.ts";
import { type Change, type CommandContext, execute, executeAll } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { PASSING } from "@millrace/eventlog/remembered.ts";
import * as Effect from "effect/Effect";
import type { HttpServerRequest } from "effect/http/HttpServerRequest";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import { type Asked, askedOf } from "./asked.ts";
import { answerDefect, answerProblem, fail, problemOf, problemOfRefusal } from "./failures.ts";
import { type Gateway, resolve } from "./gateway.ts";

/** What every handler is called with, as far as this file looks at it. */
export interface Request {
  readonly request: HttpServerRequest;
  readonly params?: unknown;
  readonly headers?: unknown;
  readonly query?: unknown;
  readonly payload?: unknown;
}

export type Handle<R> = (request: R) => Effect.Effect<HttpServerResponse.HttpServerResponse, Problem>;

/** A handler made of a promise; what it throws becomes a problem, or a logged defect. */
export const handle =
  <R extends Request>(
    gateway: Gateway,
    answer: (request: R, asked: Asked) => Promise<HttpServerResponse.HttpServerResponse>,
  ): Handle<R> =>
  (request) =>
    Effect.callback((resume) => {
      const asked = askedOf(request.request);
      answer(request, asked).then(
        (response) => resume(Effect.succeed(response)),
        (error: unknown) => {
          const problem = problemOf(error);
          if (problem === undefined) gateway.logger.error({ err: error, requestId: asked.requestId }, "a defect");
          resume(Effect.succeed(problem === undefined ? answerDefect(asked) : answerProblem(problem, asked)));
        },
      );
    });

/** The answer with a JSON body. */
export const json = (
  body: unknown,
  options: { readonly status?: number; readonly headers?: Record<string, string> } = {},
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(JSON.stringify(body), {
    status: options.status ?? 200,
    contentType: "application/json",
    headers: options.headers ?? {},
  });

/** `Millrace-Position` of everything in a context up to a sequence. */
export const positionOf = (context: string, seq: number): string =>
  encodePosition({ [context]: { seq, index: WHOLE_COMMIT } });

/** How a command is told from others, and how it is told that it is the same. */
export interface CommandOptions<S> {
  /** 202 where the work goes on after the answer. */
  readonly status?: 200 | 202;
  /** What is shown instead of the entity; `first` is false when it is the answer to a repeat. */
  readonly show?: (
    entity: Readonly<Record<string, unknown>>,
    about: { readonly first: boolean; readonly asked: Asked; readonly state: S },
  ) => unknown;
  /** Done after the change is in the log and before it is answered; done again for a repeat. */
  readonly after?: (asked: Asked, id: string) => Promise<void>;
  /** What counts as the input when a repeat is compared with the first try; left out: all of the payload. */
  readonly input?: (payload: unknown) => unknown;
}

export function commands<S, C>(gateway: Gateway, kind: Kind<S, C>) {
  /** The id in the path, as `{id}`; organisations are named by `{org}`. */
  const idOf = (request: Request, asked: Asked): Promise<string> | string => {
    const { org, id } = request.params as { org?: string; id?: string };
    if (id === undefined && org !== undefined && kind.kind === "organisation") return asked.organisation!.id;
    return resolve(gateway, kind, asked.organisation!.id, id!);
  };

  return {
    create: <R extends Request>(
      command: (request: R, asked: Asked, id: string) => C | Promise<C>,
      options: CommandOptions<S> = {},
    ): Handle<R> =>
      handle(gateway, async (request, asked) => {
        const identity = identify(gateway, request, asked, request.request.url, options);
        const id = makeId(kind.prefix, identity.time, identity.entropy);
        const organisation = kind.kind === "organisation" ? id : asked.organisation!.id;
        const change: Change<S, C> = { kind, id, command: await command(request, asked, id) };
        const createOnly = (request.headers as Record<string, string> | undefined)?.["if-none-match"] === "*";
        return once(identity, () =>
          carryOut(gateway, change, organisation, identity, asked, { ...options, create: true, createOnly }),
        );
      }),

    change: <R extends Request>(
      command: (request: R, seen: number | undefined, asked: Asked, id: string) => C | Promise<C>,
      options: CommandOptions<S> = {},
    ): Handle<R> => touch(command, options, true),

    act: <R extends Request>(
      command: (request: R, seen: number | undefined, asked: Asked, id: string) => C | Promise<C>,
      options: CommandOptions<S> = {},
    ): Handle<R> => touch(command, options, false),

    remove: <R extends Request>(
      command: (request: R, seen: number | undefined, asked: Asked, id: string) => C | Promise<C>,
      options: CommandOptions<S> = {},
    ): Handle<R> => touch(command, options, true, true),
  };

  function touch<R extends Request>(
    command: (request: R, seen: number | undefined, asked: Asked, id: string) => C | Promise<C>,
    options: CommandOptions<S>,
    mustSee: boolean,
    empty = false,
  ): Handle<R> {
    return handle(gateway, async (request, asked) => {
      const seen = generationSeen(request, mustSee);
      const id = await idOf(request, asked);
      const identity = identify(gateway, request, asked, `${asked.route} ${id}`, options);
      const change: Change<S, C> = { kind, id, command: await command(request, seen, asked, id) };
      return once(identity, () =>
        carryOut(gateway, change, asked.organisation!.id, identity, asked, { ...options, empty }),
      );
    });
  }
}

interface Identity {
  readonly commandId: string;
  readonly digest: string;
  readonly olderDigests?: ReadonlyArray<string>;
  /** The client gave an Idempotency-Key. */
  readonly keyed: boolean;
  readonly time: number;
  readonly entropy: Uint8Array;
}

/** What the command is called in the log: derived from the Idempotency-Key, or new. */
function identify(
  gateway: Gateway,
  request: Request,
  asked: Asked,
  target: string,
  options: { readonly input?: (payload: unknown) => unknown },
): Identity {
  const given = (request.headers as Record<string, string> | undefined)?.["idempotency-key"];
  if (given === undefined) {
    const entropy = randomBytes(24);
    return {
      commandId: `${PASSING}${entropy.toString("base64url")}`,
      digest: "",
      keyed: false,
      time: Date.now(),
      entropy,
    };
  }
  const key = given.startsWith('"') ? given.slice(1, -1) : given;
  const scope = [asked.organisation?.id ?? "", asked.token!.id, request.request.method, target, key].join("\n");
  const entropy = createHash("sha256").update(scope).digest();
  const { "if-match": ifMatch } = request.headers as Record<string, string | undefined>;
  const input = canonical({ payload: (options.input ?? same)(request.payload ?? null), ifMatch: ifMatch ?? null });
  const digestBy = (key: KeyObject) => createHmac("sha256", key).update(input).digest("base64url").slice(0, 27);
  const [digestKey, ...olderKeys] = gateway.digestKeys;
  return {
    commandId: `key_${entropy.toString("base64url")}`,
    digest: digestBy(digestKey),
    olderDigests: olderKeys.map(digestBy),
    keyed: true,
    // Nothing of the first try is known here, so the id of what it made does not tell its time.
    time: entropy.readUIntBE(24, 6),
    entropy,
  };
}

const same = (value: unknown): unknown => value;

/** JSON with sorted keys: equal inputs are equal texts. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, inner]) => `${JSON.stringify(name)}:${canonical(inner)}`)
    .join(",")}}`;
}

/** Commands with an Idempotency-Key that run in this process. Another process meets the log's own expectation. */
const running = new Set<string>();

async function once<A>({ keyed, commandId }: Identity, work: () => Promise<A>): Promise<A> {
  if (!keyed) return work();
  if (running.has(commandId)) {
    fail(
      new Conflict({
        detail: "The request with this Idempotency-Key is still running.",
        fix: "Wait for its answer, or repeat it in a moment to read that.",
      }),
    );
  }
  running.add(commandId);
  try {
    return await work();
  } finally {
    running.delete(commandId);
  }
}

/** The generation in `If-Match`; undefined for `*`, and where it was left out and may be. @throws Failed (428) */
export function generationSeen(request: Request, must: boolean): number | undefined {
  const tag = (request.headers as Record<string, string> | undefined)?.["if-match"];
  if (tag === undefined && must) {
    fail(
      new PreconditionRequired({
        detail: "A change says which state it was made for.",
        fix: "Send `If-Match` with the ETag you saw, or `If-Match: *` to change whatever is there.",
      }),
    );
  }
  return tag === undefined || tag === "*" ? undefined : Number(tag.slice(1, -1));
}

export const contextOf = (
  identity: Pick<Identity, "commandId" | "digest" | "olderDigests">,
  organisation: string,
  asked: Asked,
): CommandContext => ({
  organisation,
  actor: { kind: "token", id: asked.token!.id, name: asked.token!.name },
  commandId: identity.commandId,
  digest: identity.digest,
  ...(identity.olderDigests === undefined ? {} : { olderDigests: identity.olderDigests }),
  correlation: asked.requestId,
  causation: asked.requestId,
  now: new Date().toISOString(),
  trace: asked.span.traceparent,
});

interface Answering<S> extends CommandOptions<S> {
  readonly create?: boolean;
  readonly createOnly?: boolean;
  readonly empty?: boolean;
}

async function carryOut<S, C>(
  gateway: Gateway,
  change: Change<S, C>,
  organisation: string,
  identity: Identity,
  asked: Asked,
  answering: Answering<S>,
): Promise<HttpServerResponse.HttpServerResponse> {
  const outcome = await execute(gateway.log, change, contextOf(identity, organisation, asked));
  faultPoint("gateway.answer.before");
  if ("refusal" in outcome) return fail(problemOfRefusal(outcome.refusal, answering.createOnly));
  const { loaded, seq, repeated } = outcome.ok;
  // Authorisation goes by what is in memory: the next request shall find what this one did.
  if (change.kind.context === "identity") await gateway.identity.waitFor(seq);
  await answering.after?.(asked, change.id);
  return answerEntity(change.kind, loaded, seq, { first: !repeated, asked, state: loaded.state }, answering);
}

function answerEntity<S>(
  kind: Kind<S>,
  loaded: Loaded<S>,
  seq: number,
  about: { readonly first: boolean; readonly asked: Asked; readonly state: S },
  answering: Answering<S>,
): HttpServerResponse.HttpServerResponse {
  const headers: Record<string, string> = { "millrace-position": positionOf(kind.context, seq) };
  if (!about.first) headers["idempotent-replayed"] = "true";
  if (answering.empty === true) return HttpServerResponse.empty({ status: 204, headers });
  headers.etag = `"${kind.generation(loaded.state)}"`;
  if (answering.create === true || answering.status === 202)
    headers.location = pathOf(kind, loaded.organisation!, loaded.id);
  const entity = kind.represent(loaded.state) as Readonly<Record<string, unknown>>;
  const body = answering.show === undefined ? entity : answering.show(entity, about);
  return json(body, { status: answering.status ?? (answering.create === true ? 201 : 200), headers });
}

export const pathOf = (kind: Kind, organisation: string, id: string): string =>
  kind.kind === "organisation"
    ? `/v1/organisations/${id}`
    : `/v1/organisations/${organisation}/${kind.collection}/${id}`;

/** How several aggregates are changed together. */
export interface Together {
  /** What tells the same command from another, beside the key: the route and the id it is about. */
  readonly target: string;
  /**
   * Made from what is loaded now, and made anew when that has changed. The first change is the one that remembers the command: when
   * `isRepeat` says so of its aggregate, the commands are not looked at, only which aggregates there are.
   */
  readonly plan: (first: {
    readonly makeId: (prefix: string) => string;
    readonly isRepeat: (loaded: Loaded<unknown>) => boolean;
  }) => Promise<ReadonlyArray<Change>>;
  /** Whether a refusal only says that the plan was made from what is no more. */
  readonly isOvertaken: (refusal: Refusal) => boolean;
}

const PLANS_MOST = 8;

/**
 * Several aggregates of one context, all or nothing, for routes that change more than one.
 * @returns what became of each, and the headers of the answer
 * @throws Failed, and what `executeAll` throws
 */
export async function carryOutAll(
  gateway: Gateway,
  request: Request,
  asked: Asked,
  { target, plan, isOvertaken }: Together,
): Promise<{ readonly loaded: ReadonlyArray<Loaded<any>>; readonly headers: Record<string, string> }> {
  const identity = identify(gateway, request, asked, target, {});
  const context = contextOf(identity, asked.organisation!.id, asked);
  const first = {
    makeId: (prefix: string) => makeId(prefix, identity.time, identity.entropy),
    isRepeat: (loaded: Loaded<unknown>) => loaded.commands.get(identity.commandId) !== undefined,
  };
  return once(identity, async () => {
    for (let attempt = 1; ; attempt++) {
      const changes = await plan(first);
      const outcome = await executeAll(gateway.log, changes, context);
      if ("refusal" in outcome) {
        if (!isOvertaken(outcome.refusal)) return fail(problemOfRefusal(outcome.refusal));
        if (attempt === PLANS_MOST) return fail(problemOfRefusal(IN_MOTION));
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 4 * 2 ** attempt));
        continue;
      }
      faultPoint("gateway.answer.before");
      const seq = Math.max(...outcome.ok.map((one) => one.seq));
      if (changes[0]!.kind.context === "identity") await gateway.identity.waitFor(seq);
      const headers: Record<string, string> = { "millrace-position": positionOf(changes[0]!.kind.context, seq) };
      if (outcome.ok[0]!.repeated) headers["idempotent-replayed"] = "true";
      return { loaded: outcome.ok.map((one) => one.loaded), headers };
    }
  });
}

const IN_MOTION: Refusal = {
  refused: "conflict",
  reason: "What this is about changes all the time.",
  fix: "Send it again in a moment.",
};

/** For a place of the input that the schema could not refuse. @param pointer e.g. `/query/sort` */
export const invalidInput = (pointer: string, detail: string, fix?: string): InvalidInput =>
  new InvalidInput({
    detail: `${pointer} ${detail}`,
    errors: [{ pointer, detail }],
    ...(fix === undefined ? {} : { fix }),
  });
