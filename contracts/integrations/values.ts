/** What webhooks and channels are made of: limits, addresses, filters, and where a delivery begins. */
import * as Schema from "effect/Schema";
import { LIMITS as FEED_LIMITS, PARAMETERS } from "../feed.ts";
import { Moment } from "../moments.ts";

const { optionalKey } = Schema;

export const LIMITS = {
  urlCharacters: 2_000,
  descriptionCharacters: 500,
  /** Values of one filter. */
  filterValues: FEED_LIMITS.values,
  /** Entities of one destination that are parked by themselves; one more parks the destination. */
  parkedEntities: 50,
  /** Hours that a replaced secret goes on signing, at the most and usually. */
  overlapHours: { most: 168, usual: 24 },
} as const;

/** When an event is tried again after each failure, in milliseconds from that failure; Standard Webhooks' own table. */
export const RETRY_MS: ReadonlyArray<number> = [
  5_000,
  5 * 60_000,
  30 * 60_000,
  2 * 3_600_000,
  5 * 3_600_000,
  10 * 3_600_000,
  14 * 3_600_000,
  20 * 3_600_000,
  24 * 3_600_000,
];

/** Ports above 1023 that browsers refuse, too: what listens there takes lines of text, and would take ours. */
const BAD_PORTS = new Set([
  1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
]);

/** Whether something may be sent to the port: 80, 443, and what stands above 1023 and speaks no other protocol. */
export const isPortAllowed = (port: number): boolean =>
  port === 80 || port === 443 || (port > 1_023 && port < 65_536 && !BAD_PORTS.has(port));

/** @returns what is wrong with an address that requests are to be sent to, or undefined */
export function urlFault(text: string): string | undefined {
  if (text.length > LIMITS.urlCharacters) return `at most ${LIMITS.urlCharacters} characters`;
  if (!/^https?:\/\/[\x21-\x7e]+$/u.test(text)) return "an address that begins with https:// or http://";
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return "an address as https://example.com/hook";
  }
  if (url.username !== "" || url.password !== "") return "an address without user and password";
  if (url.hash !== "") return "an address without a fragment (#)";
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  if (!isPortAllowed(port)) return `an address on port 80, 443, or one above 1023 that is free for HTTP, not ${port}`;
  return undefined;
}

export const Url = Schema.String.check(
  Schema.isMaxLength(LIMITS.urlCharacters),
  Schema.isPattern(/^https?:\/\/[\x21-\x7e]+$/u),
).annotate({
  description:
    "`https://…` or `http://…`, without user, password and fragment; port 80, 443, or above 1023. It must not lead to a private address unless the installation allows that",
  examples: ["https://example.com/hooks/millrace"],
});

/** One line for people. */
export const Description = Schema.String.check(
  Schema.isMaxLength(LIMITS.descriptionCharacters),
  Schema.isPattern(/^\P{Cc}*$/u),
).annotate({ description: "What it is for, in one line" });

const values = (name: "context" | "kind" | "id" | "type") =>
  optionalKey(
    Schema.Array(Schema.String.check(Schema.isPattern(new RegExp(PARAMETERS[name].pattern.source, "u"))))
      .check(Schema.isMinLength(1), Schema.isMaxLength(PARAMETERS[name].most))
      .annotate({ description: PARAMETERS[name].description }),
  );

/** Which events are sent: as subscriptions have it. A list that is left out means all; different lists must all match. */
export const EventsFilter = Schema.Struct({
  context: values("context"),
  kind: values("kind"),
  id: values("id"),
  type: values("type"),
}).annotate({
  identifier: "EventsFilter",
  description: "Which events: a list that is left out means all; different lists must all match",
  examples: [{ context: ["work"], type: ["ItemOpened"] }],
});
export type EventsFilter = typeof EventsFilter.Type;

export const STATES = ["active", "paused", "parked", "disabled"] as const;
export const StateName = Schema.Literals(STATES).annotate({
  description:
    "`active`; `paused` by somebody; `parked` after the last retry failed; `disabled` by the receiver (410). All but the first wait for `resume`",
});

const Position = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,1024}$/u)).annotate({
  description: "A position, as events, answers and subscriptions have it: what came after it is sent",
});

/** Where a delivery begins; exactly one of them. */
export const From = Schema.Struct({
  position: optionalKey(Position),
  time: optionalKey(
    Moment.annotate({ description: "A time (RFC 3339, the log's own): what happened then and after it is sent" }),
  ),
}).annotate({ identifier: "DeliveryFrom", description: "Exactly one of them; an empty object: the oldest there is" });
export type From = typeof From.Type;
