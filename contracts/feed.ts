/**
 * Subscriptions: `GET /v1/organisations/{org}/events` over WebSocket or Server-Sent Events. What may be asked, the
 * frames that are sent, and the codes a socket is closed with. docs/reference/events.md says it in words.
 */
import * as Schema from "effect/Schema";
import { decodePosition, type Position } from "./position.ts";
import type { FieldError } from "./problems.ts";

/** The WebSocket subprotocol. A browser, which cannot set headers, offers `bearer.<token>` beside it. */
export const SUBPROTOCOL = "millrace.v1";
export const BEARER_PREFIX = "bearer.";

/** Codes a socket is closed with, beside those of the protocol itself. */
export const CLOSE = {
  /** The gateway restarts or is full: come back at once with the last position. */
  restart: 1012,
  /** Clients have nothing to say on this socket. */
  policy: 1008,
  /** The token was revoked or has expired. */
  unauthenticated: 4401,
  /** The token may no longer read this. */
  forbidden: 4403,
  /** Too slow: come back with the last position. */
  slow: 4408,
  /** What came after the position is no longer in the feed; a `gap` frame said where to go on. */
  gap: 4410,
} as const;

export const LIMITS = {
  /** Values of one filter. */
  values: 100,
  /** Milliseconds between heartbeats. */
  heartbeat: { least: 1_000, usual: 15_000, most: 60_000 },
} as const;

/** What a subscriber wants to see; a list that is left out means all. Different lists must all match. */
export interface EventFilter {
  readonly context?: ReadonlyArray<string>;
  readonly kind?: ReadonlyArray<string>;
  readonly id?: ReadonlyArray<string>;
  readonly type?: ReadonlyArray<string>;
}

export interface EventsQuery extends EventFilter {
  readonly start: { readonly after: Position } | { readonly from: "beginning" | "now" };
  readonly heartbeatMs: number;
  readonly onGap: "close" | "resume";
}

interface Parameter {
  readonly pattern: RegExp;
  /** Values it may have; more than one separated by commas or repeated. */
  readonly most: number;
  readonly description: string;
}

/** Every query parameter there is. */
export const PARAMETERS = {
  context: { pattern: /^[a-z]{1,32}$/, most: 32, description: "Contexts; left out: all that the token may read" },
  kind: { pattern: /^[a-z][a-z0-9-]{0,31}$/, most: LIMITS.values, description: "Kinds of aggregate, e.g. `item`" },
  id: { pattern: /^[A-Za-z0-9_-]{1,64}$/, most: LIMITS.values, description: "Ids of aggregates" },
  type: { pattern: /^[A-Z][A-Za-z0-9]{0,63}$/, most: LIMITS.values, description: "Types, e.g. `ItemOpened`" },
  after: { pattern: /^[A-Za-z0-9_-]{1,1024}$/, most: 1, description: "A position: only what came after it" },
  from: { pattern: /^(beginning|now)$/, most: 1, description: "Without `after`: `now` (default) or `beginning`" },
  heartbeatMs: {
    pattern: /^\d{4,5}$/,
    most: 1,
    description: `Milliseconds between heartbeats, ${LIMITS.heartbeat.least} to ${LIMITS.heartbeat.most}`,
  },
  onGap: {
    pattern: /^(close|resume)$/,
    most: 1,
    description: "What happens after a `gap`: `close` (default) or `resume`",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

type Name = keyof typeof PARAMETERS;

/**
 * Reads the query of a subscription.
 * @param contexts those that exist
 * @param lastEventId of Server-Sent Events; wins over `after`
 * @returns what is wrong, by JSON pointer, when anything is
 */
export function readEventsQuery(
  params: URLSearchParams,
  contexts: ReadonlyArray<string>,
  lastEventId?: string,
): { readonly query: EventsQuery } | { readonly errors: ReadonlyArray<FieldError> } {
  const errors: FieldError[] = [];
  const wrong = (name: string, detail: string) => void errors.push({ pointer: `/query/${name.slice(0, 64)}`, detail });
  const found: Partial<Record<Name, string[]>> = {};
  for (const name of new Set(params.keys())) {
    if (!Object.hasOwn(PARAMETERS, name)) {
      wrong(name, `is not a parameter; there are ${Object.keys(PARAMETERS).join(", ")}`);
      continue;
    }
    const { pattern, most, description }: Parameter = PARAMETERS[name as Name];
    const values = params.getAll(name).flatMap((value) => (most === 1 ? [value] : value.split(",")));
    if (values.length > most) wrong(name, `has ${values.length} values; at most ${most} are taken`);
    else if (!values.every((value) => pattern.test(value)))
      wrong(name, `does not match ${pattern.source} (${description})`);
    else found[name as Name] = [...new Set(values)];
  }
  for (const context of found.context ?? []) {
    if (!contexts.includes(context)) wrong("context", `"${context}" is no context; there are ${contexts.join(", ")}`);
  }
  const token = lastEventId ?? found.after?.[0];
  const after = token === undefined ? undefined : decodePosition(token);
  if (token !== undefined && after === undefined) wrong("after", "is not a position; take it as you were given it");
  if (found.after !== undefined && found.from !== undefined) wrong("from", "cannot be given together with `after`");
  const heartbeatMs = Number(found.heartbeatMs?.[0] ?? LIMITS.heartbeat.usual);
  if (heartbeatMs < LIMITS.heartbeat.least || heartbeatMs > LIMITS.heartbeat.most) {
    wrong("heartbeatMs", `must be ${LIMITS.heartbeat.least} to ${LIMITS.heartbeat.most}`);
  }
  if (errors.length > 0) return { errors };
  const from = found.from?.[0] === "beginning" ? "beginning" : "now";
  const { context, kind, id, type } = found;
  return {
    query: {
      ...(context === undefined ? {} : { context }),
      ...(kind === undefined ? {} : { kind }),
      ...(id === undefined ? {} : { id }),
      ...(type === undefined ? {} : { type }),
      start: after === undefined ? { from } : { after },
      heartbeatMs,
      onGap: found.onGap?.[0] === "resume" ? "resume" : "close",
    },
  };
}

const PositionToken = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,1024}$/u)).annotate({
  description: "Opaque: everything that matches has been sent up to here. Come back with it as `after`.",
});

export const HelloFrame = Schema.Struct({
  type: Schema.Literal("hello"),
  position: PositionToken.annotate({ description: "Where the subscription begins" }),
  contexts: Schema.Array(Schema.String).annotate({ description: "What it covers" }),
}).annotate({ identifier: "HelloFrame" });

export const EventFrame = Schema.Struct({
  type: Schema.Literal("event"),
  position: PositionToken,
  event: Schema.Record(Schema.String, Schema.Unknown).annotate({
    description: "The CloudEvent in structured mode; its own `position` speaks of its context alone",
  }),
}).annotate({ identifier: "EventFrame" });

export const CaughtUpFrame = Schema.Struct({
  type: Schema.Literal("caught-up"),
  position: PositionToken,
}).annotate({ identifier: "CaughtUpFrame", description: "Once: from here on events are sent as they happen." });

export const HeartbeatFrame = Schema.Struct({
  type: Schema.Literal("heartbeat"),
  position: PositionToken,
  live: Schema.Boolean.annotate({
    description:
      "The position is the feed's head: what was not sent did not happen. False while catching up or cut off",
  }),
}).annotate({ identifier: "HeartbeatFrame" });

export const GapFrame = Schema.Struct({
  type: Schema.Literal("gap"),
  context: Schema.String,
  oldest: PositionToken.annotate({ description: "Come back with this to go on with the oldest that is left" }),
  history: Schema.String.annotate({
    description: "Template of the address under which an entity's own history is kept",
  }),
  detail: Schema.String,
}).annotate({ identifier: "GapFrame", description: "Events after the position are no longer in the feed." });

export const Frame = Schema.Union([HelloFrame, EventFrame, CaughtUpFrame, HeartbeatFrame, GapFrame]);
export type Frame = typeof Frame.Type;
/** Every frame but the one that carries an event. */
export type ControlFrame = Exclude<Frame, { readonly type: "event" }>;
