/** What the declarations of events are made with: a first version, and sentences as a person would say them. */
import type * as Schema from "effect/Schema";
import type { EventDeclaration } from "./kind.ts";

const QUOTE_MOST = 80;

/** The beginning of a text, as one line: sentences are headings, the whole text is in the event. */
export const excerpt = (text: string): string => {
  const line = text.replaceAll(/\s+/g, " ").trim();
  const points = [...line];
  return points.length <= QUOTE_MOST ? line : `${points.slice(0, QUOTE_MOST - 1).join("")}…`;
};

export const listed = (words: ReadonlyArray<string>): string =>
  words.length < 2 ? (words[0] ?? "nobody") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;

/** An event whose log form is its public form, in its first version. */
export const first = <T>(
  data: Schema.Codec<T, unknown, never, never>,
  example: T,
  sentence: (data: T) => string,
): EventDeclaration => ({ version: 1, data, examples: { 1: example }, sentence });
