/**
 * The closed set of errors, each an RFC 9457 problem (`application/problem+json`) with a stable relative `type`, served
 * as a page at that address. `fix` says what the reader can do next; `retry` says whether the same request may succeed later.
 */

import * as HttpApiError from "effect/http-api/HttpApiError";
import * as Schema from "effect/Schema";

/** What is wrong with one place of the input; `pointer` is a JSON pointer with the slot first, e.g. `/body/title`. */
export const FieldError = Schema.Struct({ pointer: Schema.String, detail: Schema.String });
export type FieldError = typeof FieldError.Type;

const common = { fix: Schema.optionalKey(Schema.String), requestId: Schema.optionalKey(Schema.String) };

export class InvalidInput extends HttpApiError.Problem<InvalidInput>()(
  "InvalidInput",
  { type: "/problems/invalid-input", status: 400, title: "The input is not valid" },
  { ...common, errors: Schema.optionalKey(Schema.Array(FieldError)) },
) {}

export class Unauthenticated extends HttpApiError.Problem<Unauthenticated>()(
  "Unauthenticated",
  { type: "/problems/unauthenticated", status: 401, title: "A valid token is needed" },
  common,
) {}

export class Forbidden extends HttpApiError.Problem<Forbidden>()(
  "Forbidden",
  { type: "/problems/forbidden", status: 403, title: "The token does not allow this" },
  { ...common, permission: Schema.optionalKey(Schema.String) },
) {}

export class NotFound extends HttpApiError.Problem<NotFound>()(
  "NotFound",
  { type: "/problems/not-found", status: 404, title: "There is no such thing here" },
  common,
) {}

export class Conflict extends HttpApiError.Problem<Conflict>()(
  "Conflict",
  { type: "/problems/conflict", status: 409, title: "It conflicts with what is there" },
  common,
) {}

export class PreconditionFailed extends HttpApiError.Problem<PreconditionFailed>()(
  "PreconditionFailed",
  { type: "/problems/precondition-failed", status: 412, title: "It was changed meanwhile" },
  { ...common, expected: Schema.optionalKey(Schema.String), actual: Schema.optionalKey(Schema.String) },
) {}

export class TooLarge extends HttpApiError.Problem<TooLarge>()(
  "TooLarge",
  { type: "/problems/too-large", status: 413, title: "The request is too large" },
  { ...common, limitBytes: Schema.optionalKey(Schema.Int) },
) {}

export class UnsupportedType extends HttpApiError.Problem<UnsupportedType>()(
  "UnsupportedType",
  { type: "/problems/unsupported-type", status: 415, title: "This content type or encoding is not understood" },
  common,
) {}

/** A rule of the domain said no: `rule` names it, `reason` says why, `fix` what would make it pass. */
export class Refused extends HttpApiError.Problem<Refused>()(
  "Refused",
  { type: "/problems/refused", status: 422, title: "A rule does not allow this" },
  { ...common, rule: Schema.String, reason: Schema.String },
) {}

export class PreconditionRequired extends HttpApiError.Problem<PreconditionRequired>()(
  "PreconditionRequired",
  { type: "/problems/precondition-required", status: 428, title: "Say which state you saw" },
  common,
) {}

export class RateLimited extends HttpApiError.Problem<RateLimited>()(
  "RateLimited",
  { type: "/problems/rate-limited", status: 429, title: "Too many requests" },
  { ...common, retryAfterSeconds: Schema.optionalKey(Schema.Int) },
) {}

export class Unavailable extends HttpApiError.Problem<Unavailable>()(
  "Unavailable",
  { type: "/problems/unavailable", status: 503, title: "Something this needs is not there at the moment" },
  { ...common, what: Schema.String, retryAfterSeconds: Schema.optionalKey(Schema.Int) },
) {}

/** Every problem the API can answer with, in order of status. */
export const PROBLEMS = [
  InvalidInput,
  Unauthenticated,
  Forbidden,
  NotFound,
  Conflict,
  PreconditionFailed,
  TooLarge,
  UnsupportedType,
  Refused,
  PreconditionRequired,
  RateLimited,
  Unavailable,
] as const;

export type Problem = InstanceType<(typeof PROBLEMS)[number]>;
