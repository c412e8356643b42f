/** The endpoints that most entities have, the same for all: a way to say them in a line. Permission and summary are said beside, by `says`. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import type * as Schema from "effect/Schema";
import {
  changeHeaders,
  commandHeaders,
  created,
  entityParams,
  listQuery,
  organisationParams,
  page,
  queryHeaders,
  readQuery,
} from "./http.ts";

type Path = `/${string}`;

/** @param all path of the collection */
export const createOf = <
  const Name extends string,
  const All extends Path,
  Payload extends Schema.Top,
  One extends Schema.Top,
>(
  name: Name,
  all: All,
  payload: Payload,
  one: One,
) =>
  HttpApiEndpoint.post(name, all, {
    params: organisationParams,
    headers: commandHeaders,
    payload,
    success: created(one),
  });

/** @param filters a query parameter for each field that is filtered by */
export const listOf = <
  const Name extends string,
  const All extends Path,
  One extends Schema.Top,
  const Filters extends Schema.Struct.Fields,
>(
  name: Name,
  all: All,
  one: One,
  filters: Filters,
) =>
  HttpApiEndpoint.get(name, all, {
    params: organisationParams,
    headers: queryHeaders,
    query: listQuery(filters),
    success: page(one),
  });

/** As it is, or as it was. @param path of the entity */
export const getOf = <const Name extends string, const At extends Path, One extends Schema.Top>(
  name: Name,
  path: At,
  one: One,
) => HttpApiEndpoint.get(name, path, { params: entityParams, query: readQuery, success: one });

export const changeOf = <
  const Name extends string,
  const At extends Path,
  Payload extends Schema.Top,
  One extends Schema.Top,
>(
  name: Name,
  path: At,
  payload: Payload,
  one: One,
) => HttpApiEndpoint.patch(name, path, { params: entityParams, headers: changeHeaders, payload, success: one });

export const deleteOf = <const Name extends string, const At extends Path>(name: Name, path: At) =>
  HttpApiEndpoint.delete(name, path, {
    params: entityParams,
    headers: changeHeaders,
    success: HttpApiSchema.NoContent,
  });
