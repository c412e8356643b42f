/** Times and days as clients give them: RFC 3339, and only those that a calendar has. */
import * as Schema from "effect/Schema";

// Filters stand before patterns: the document has the last check's words, and no words for a filter.

const isDay = (text: string): boolean => {
  const ms = Date.parse(`${text}T00:00:00Z`);
  // Where a month is too short, `Date` goes on into the next one.
  return text >= "0001" && !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text);
};

export const isMoment = (text: string): boolean => isDay(text.slice(0, 10)) && !Number.isNaN(Date.parse(text));

export const Moment = Schema.String.check(
  Schema.makeFilter((text: string) => isMoment(text) || "a moment that exists"),
  Schema.isPattern(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/u),
).annotate({ description: "RFC 3339", examples: ["2026-11-21T08:00:00Z"] });

export const Day = Schema.String.check(
  Schema.makeFilter((text: string) => isDay(text) || "a day that exists"),
  Schema.isPattern(/^\d{4}-\d{2}-\d{2}$/u),
).annotate({ examples: ["2026-11-21"] });
