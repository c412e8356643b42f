/** Answers that routes of several contexts give alike. */
import type { Kind } from "@millrace/domain/kind.ts";
import type { Loaded } from "@millrace/eventlog/aggregate.ts";
import type { HttpServerResponse } from "effect/http/HttpServerResponse";
import { json, pathOf } from "./command.ts";
import type { ListQuery } from "./queries.ts";

/** To what goes on after it. */
export const accepted = <S>(kind: Kind<S>, loaded: Loaded<S>, headers: Record<string, string>): HttpServerResponse =>
  json(kind.represent(loaded.state), {
    status: 202,
    headers: {
      ...headers,
      etag: `"${kind.generation(loaded.state)}"`,
      location: pathOf(kind, loaded.organisation!, loaded.id),
    },
  });

/** The generation seen, as commands take it. */
export const seenOf = (seen: number | undefined) => (seen === undefined ? {} : { seen });

/** A list's query in its view's words: `state` is a column of every view. */
export const inWords = ({ state, ...query }: ListQuery): ListQuery =>
  state === undefined ? query : { ...query, stateName: state };
