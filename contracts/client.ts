/**
 * The typed client, over fetch: every endpoint of the API as a function, made from the contracts.
 *
 *     const mill = await connect({ url: "http://127.0.0.1:7400", token });
 *     const me = await mill.run(mill.api.identity.whoami());
 *     const [item, response] = await mill.run(mill.api.work.openItem({
 *       params: { org: "home" }, headers: {}, payload: { type: "task", title: "Renew the certificate" },
 *       responseMode: "decoded-and-response",
 *     }));
 *
 * - What fails is rejected with the problem itself: `InvalidInput`, `NotFound`, … with `fix` (problems.ts).
 * - Every command has an Idempotency-Key, of its own if none is given, so it is repeated safely when the network or a
 *   part of the server is away for a moment.
 * - Reads show at least what this client's own commands did: it keeps the newest `Millrace-Position` and sends it along.
 */
import * as Effect from "effect/Effect";
import * as FetchHttpClient from "effect/http/FetchHttpClient";
import * as HttpClient from "effect/http/HttpClient";
import * as HttpClientRequest from "effect/http/HttpClientRequest";
import * as HttpApiClient from "effect/http-api/HttpApiClient";
import * as Schedule from "effect/Schedule";
import { Api } from "./api.ts";
import { decodePosition, encodePosition, mergePositions, type Position } from "./position.ts";

export interface ClientOptions {
  /** Of the gateway, without a path. */
  readonly url: string;
  readonly token: string;
  /** Default: the runtime's own. */
  readonly fetch?: typeof fetch;
  /** How often what failed for a moment is tried again. Default 4, over about three seconds. */
  readonly retries?: number;
  /** A position to begin with, as another client's `position` gave it. */
  readonly position?: string;
}

export type Endpoints = HttpApiClient.ForApi<typeof Api>;

export interface Client {
  /** The endpoints, by group: `api.work.openItem({…})`. Nothing is sent before `run`. */
  readonly api: Endpoints;
  /** Sends it. Rejects with a problem of problems.ts, or with an error of the connection. */
  readonly run: <A, E>(request: Effect.Effect<A, E>) => Promise<A>;
  /** Everything up to here is shown by what this client reads; "" before its first command. */
  readonly position: string;
}

export async function connect(options: ClientOptions): Promise<Client> {
  let position: Position = decodePosition(options.position ?? "") ?? {};
  const remember = (token: string | undefined) => {
    const seen = token === undefined ? undefined : decodePosition(token);
    if (seen !== undefined) position = mergePositions(position, seen);
  };
  const prepare = (request: HttpClientRequest.HttpClientRequest): HttpClientRequest.HttpClientRequest => {
    const { headers, method } = request;
    const added: Record<string, string> = { authorization: `Bearer ${options.token}` };
    if (method === "GET" && Object.keys(position).length > 0 && headers["millrace-position"] === undefined) {
      added["millrace-position"] = encodePosition(position);
    }
    if (method !== "GET" && headers["idempotency-key"] === undefined) added["idempotency-key"] = crypto.randomUUID();
    return HttpClientRequest.setHeaders(request, added);
  };
  const make = HttpApiClient.make(Api, {
    baseUrl: options.url,
    transformClient: (client) =>
      client.pipe(
        // Innermost first: what is repeated is the same request, with the same key.
        HttpClient.retryTransient({ schedule: Schedule.exponential("200 millis"), times: options.retries ?? 4 }),
        HttpClient.mapRequest(prepare),
        HttpClient.tap((response) => Effect.sync(() => remember(response.headers["millrace-position"]))),
      ),
  });
  const provide = Effect.provide(FetchHttpClient.layer);
  const withFetch = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    options.fetch === undefined ? effect : Effect.provideService(effect, FetchHttpClient.Fetch, options.fetch);
  const api = await Effect.runPromise(withFetch(make).pipe(provide));
  return {
    api,
    run: (request) => Effect.runPromise(withFetch(request)),
    get position() {
      return Object.keys(position).length === 0 ? "" : encodePosition(position);
    },
  };
}
