/** The types of the API's operations, taken from the contracts. Types alone: nothing of it is loaded when mill runs. */
import type { Api } from "@millrace/contracts/api.ts";
import type * as HttpApi from "effect/http-api/HttpApi";
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import type { OPERATIONS } from "./operations.ts";
import type { None } from "./table.ts";

type Groups = typeof Api extends HttpApi.HttpApi<infer _Id, infer G> ? G : never;
type Endpoints = HttpApiGroup.Endpoints<Groups>;

export type OperationName = keyof typeof OPERATIONS;
/** Looked up by name: to go through all of them for each would be too deep for the compiler. */
type ByName = { readonly [E in Endpoints as E["identifier"]]: E };
type Endpoint<N extends OperationName> = ByName[N & keyof ByName];

// The schemas of the API are plain JSON on both sides, so their types are what goes over the wire.
type Wire<S> = S extends { readonly Type: infer T } ? T : never;

/** What is sent: parameters of the path but `org` (filled in), query, payload; `seen` becomes If-Match. */
export type RequestOf<N extends OperationName> = {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Partial<Wire<HttpApiEndpoint.Query<Endpoint<N>>>>;
  readonly seen?: number | undefined;
} & ([HttpApiEndpoint.Payload<Endpoint<N>>] extends [never]
  ? None
  : { readonly payload: Wire<HttpApiEndpoint.Payload<Endpoint<N>>> });

/** What is answered, as JSON. */
export type Answer<N extends OperationName> = Wire<HttpApiEndpoint.Success<Endpoint<N>>>;
