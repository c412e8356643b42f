/** The one middleware of the API: who asks, whether they may, what they send; and every failure as a problem. */

import { type Reach, within } from "@millrace/contracts/access.ts";
import { Api } from "@millrace/contracts/api.ts";
import { Authorization } from "@millrace/contracts/http.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { Expensive, Partly, type Permission, Requires } from "@millrace/contracts/permissions.ts";
import { InvalidInput, NotFound, PROBLEMS, type Problem } from "@millrace/contracts/problems.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import * as Context from "effect/Context";
import * as Effect from "effect/Effect";
import * as Fiber from "effect/Fiber";
import * as HttpRouter from "effect/http/HttpRouter";
import { HttpServerRequest } from "effect/http/HttpServerRequest";
import type { HttpServerResponse } from "effect/http/HttpServerResponse";
import * as HttpApi from "effect/http-api/HttpApi";
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import { HttpApiSchemaError } from "effect/http-api/HttpApiError";
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as Layer from "effect/Layer";
import * as Redacted from "effect/Redacted";
import { admit, counted, forbidden, tried } from "./access.ts";
import { type Asked, askedOf } from "./asked.ts";
import { checkAnnounced, checkStream, receive, withText } from "./body.ts";
import { answerProblem, problemOf, problemOfSchema } from "./failures.ts";
import { type Gateway, lineageOf, resolve } from "./gateway.ts";

/** What the middleware needs of an endpoint, worked out once. */
interface Rule {
  readonly permission: Permission | "public" | "authenticated";
  readonly changes: boolean;
  /** Its body is a stream, which nothing here reads. */
  readonly streams: boolean;
  readonly class: "read" | "write" | "expensive";
  /** For metrics and traces: `/v1/organisations/{org}/work-items/{id}` */
  readonly route: string;
  /** Kind of what `{id}` names, for grants on single resources. */
  readonly kind: Kind | undefined;
  /** Names no single resource, and its handler may answer about those that the caller reaches. */
  readonly partly: boolean;
}

const KINDS = new Map(
  Object.values(CONTEXTS)
    .flatMap((context) => Object.values(context.kinds))
    .map((kind) => [kind.collection, kind] as const),
);

/** @throws Error for an endpoint that does not say who may call it */
function ruleOf(endpoint: HttpApiEndpoint.Top, group: HttpApiGroup.Top): Rule {
  const permission = Context.getOrUndefined(Context.merge(group.annotations, endpoint.annotations), Requires);
  if (permission === undefined) throw new Error(`the endpoint ${endpoint.identifier} does not say who may call it`);
  const collection = /\/([a-z-]+)\/:id(\/|$)/.exec(endpoint.path)?.[1];
  const costs = Context.getOrUndefined(endpoint.annotations, Expensive) === true;
  return {
    permission,
    class: costs ? "expensive" : endpoint.method === "GET" ? "read" : "write",
    changes: !["GET", "HEAD", "OPTIONS"].includes(endpoint.method),
    streams: endpoint.payload.size > 0 && !endpoint.payload.has("application/json"),
    route: endpoint.path.replaceAll(/:([a-z]+)/gi, "{$1}"),
    kind: collection === undefined ? undefined : KINDS.get(collection),
    partly:
      !endpoint.path.includes("/:id") &&
      (endpoint.method === "GET" || Context.getOrUndefined(endpoint.annotations, Partly) === true),
  };
}

/** By path and method. @throws Error at start, for an endpoint that does not say who may call it */
function rulesOfAll(): ReadonlyMap<string, Rule> {
  const rules = new Map<string, Rule>();
  HttpApi.reflect(Api as never, {
    onGroup: () => {},
    onEndpoint: ({ endpoint, group }) => {
      rules.set(endpoint.path + endpoint.method, ruleOf(endpoint as never, group as never));
    },
  });
  return rules;
}

export const authorization = (gateway: Gateway): Layer.Layer<Authorization> => {
  const rules = rulesOfAll();
  return Layer.succeed(Authorization, {
    bearer: (handler, { credential, endpoint }) => {
      const rule = rules.get(endpoint.path + endpoint.method)!;
      const { context } = Fiber.getCurrent()!;
      const request = Context.getUnsafe(context, HttpServerRequest);
      const { params } = Context.getUnsafe(context, HttpRouter.RouteContext);
      const asked = askedOf(request);
      asked.route = rule.route;

      if (/%00/.test(request.url)) return Effect.succeed(answerProblem(NOTHING, asked));
      const by = { address: asked.address, class: rule.class, response: asked.response };
      if (rule.permission !== "public") {
        const access = admit(gateway.identity, gateway.uses, Redacted.value(credential as Redacted.Redacted<string>), {
          permission: rule.permission,
          organisation: params.org,
          changes: rule.changes,
        });
        if (!("token" in access)) return Effect.succeed(answerProblem(tried(gateway.limits, access, by), asked));
        asked.token = access.token;
        asked.powers = access.powers;
        asked.reach = access.reach;
        if (access.organisation !== undefined) asked.organisation = access.organisation;
      }

      const tooMuch = counted(gateway.limits, asked.token?.id, by);
      if (tooMuch !== undefined) return Effect.succeed(answerProblem(tooMuch, asked));
      if (endpoint.query === undefined && /\?./.test(request.url)) {
        return Effect.succeed(answerProblem(NO_QUERY, asked));
      }
      const inside = Effect.catch(handler, (error) => answerFailure(error, asked));
      if (rule.streams) asked.streams = true;
      const announced = rule.streams ? checkStream(request, endpoint) : checkAnnounced(request, endpoint);
      if (announced !== undefined) return Effect.succeed(answerProblem(announced, asked));
      const checked = rule.streams ? inside : bodyFirst(request, endpoint, inside, asked);
      const { reach = [] } = asked;
      if (reach.length === 0) return checked;
      return rule.partly ? partOnly(rule, asked, checked) : resourceFirst(gateway, rule, params.id, asked, checked);
    },
  });
};

const NOTHING = new NotFound({ detail: "There is no such thing here." });
/** What is not declared is not decoded either, so it would be taken without a word. */
const NO_QUERY = new InvalidInput({
  detail: "No query is taken here.",
  errors: [{ pointer: "/query", detail: "is not taken here" }],
  fix: "Leave out what follows the `?`.",
});

function bodyFirst<E, R>(
  request: HttpServerRequest,
  endpoint: HttpApiEndpoint.Top,
  inside: Effect.Effect<HttpServerResponse, E, R>,
  asked: Asked,
): Effect.Effect<HttpServerResponse, E, R> {
  const received = receive(request, endpoint);
  if (received === undefined) return inside;
  return Effect.flatMap(received, (text) =>
    typeof text === "string"
      ? Effect.provideService(inside, HttpServerRequest, withText(request, text))
      : Effect.succeed(answerProblem(text, asked)),
  );
}

/** Of many resources the caller reaches some: the handler answers for those, by `reachOf`. One that has not asked for it is not heard. */
const partOnly = <E, R>(
  rule: Rule,
  asked: Asked,
  inside: Effect.Effect<HttpServerResponse, E, R>,
): Effect.Effect<HttpServerResponse, E, R> =>
  Effect.map(inside, (answer) =>
    asked.isReachKnown === true || answer.status >= 400 ? answer : answerProblem(forbidden(rule.permission), asked),
  );

/** Who holds the permission for single resources only: the path must name one of them. */
function resourceFirst<E, R>(
  gateway: Gateway,
  rule: Rule,
  reference: string | undefined,
  asked: Asked,
  inside: Effect.Effect<HttpServerResponse, E, R>,
): Effect.Effect<HttpServerResponse, E, R> {
  const permits = (...lineage: string[]) => within(asked.reach as Reach, lineage);
  const { kind } = rule;
  const refuse = Effect.sync(() => answerProblem(forbidden(rule.permission), asked));
  if (reference === undefined || kind === undefined || asked.organisation === undefined) return refuse;
  if (isId(kind.prefix, reference) && (kind.parents === undefined || permits(reference))) {
    return permits(reference) ? inside : refuse;
  }
  const { id: organisation } = asked.organisation;
  const permitted = async (): Promise<boolean> => {
    const id = await resolve(gateway, kind, organisation, reference);
    return (
      permits(id) || (kind.parents !== undefined && permits(...(await lineageOf(gateway, kind, id, organisation))))
    );
  };
  return Effect.matchEffect(
    Effect.tryPromise({
      try: permitted,
      catch: (error) => problemOf(error) ?? forbidden(rule.permission),
    }),
    {
      onSuccess: (may) => (may ? inside : refuse),
      // A name that leads nowhere and one that leads to what is not allowed look alike.
      onFailure: (problem) => (problem.status === 404 ? refuse : Effect.succeed(answerProblem(problem, asked))),
    },
  );
}

/** HttpApi wraps what comes from behind a security middleware, to tell it from the middleware's own failures. */
const WRAPPED = "~effect/http-api/HttpApiBuilder/HandlerError";

const unwrapped = (error: unknown): unknown =>
  typeof error === "object" && error !== null && WRAPPED in error ? (error as { error?: unknown }).error : error;

function answerFailure(wrapped: unknown, asked: Asked): Effect.Effect<HttpServerResponse> {
  const error = unwrapped(wrapped);
  if (HttpApiSchemaError.is(error)) {
    const problem = problemOfSchema(error);
    return problem === undefined ? Effect.die(error) : Effect.succeed(answerProblem(problem, asked));
  }
  const problem = PROBLEMS.some((type) => error instanceof type) ? (error as Problem) : problemOf(error);
  return problem === undefined ? Effect.die(error) : Effect.succeed(answerProblem(problem, asked));
}
