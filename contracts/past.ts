/** What every entity can be asked of its past, the same for all. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import { Differences, diffQuery, entityParams, HistoryPage, historyQuery, queryHeaders } from "./http.ts";

type Path = `/${string}`;

/** Its events, as people read them. @param one path of the entity */
export const historyOf = <const Name extends string, const One extends Path>(name: Name, one: One) =>
  HttpApiEndpoint.get(name, `${one}/history` as const, {
    params: entityParams,
    headers: queryHeaders,
    query: historyQuery,
    success: HistoryPage,
  });

/** What differs between two moments of it. @param one path of the entity */
export const diffOf = <const Name extends string, const One extends Path>(name: Name, one: One) =>
  HttpApiEndpoint.get(name, `${one}/diff` as const, { params: entityParams, query: diffQuery, success: Differences });
