/** Declarations of the events that every kind of destination has, and their sentences. */
import * as shape from "@millrace/contracts/integrations/events.ts";
import type { EventDeclaration } from "../kind.ts";
import { excerpt, first } from "../sentences.ts";

export const SEALED = {
  v: 1,
  key: "k1",
  subject: "whk_01kajzq4v0e8r9t2m5x7c3d6fg",
  iv: "AAAAAAAAAAAAAAAA",
  data: "AAAA",
} as const;

/** `context work, type ItemOpened`; or `all events`. */
export const filterText = (events: Readonly<Record<string, ReadonlyArray<string> | undefined>>): string =>
  Object.entries(events)
    .flatMap(([name, values]) => (values === undefined ? [] : [`${name} ${values.join(" or ")}`]))
    .join(", ") || "all events";

/** @param word `webhook` */
export const sharedDeclarations = (noun: string, word: string): Readonly<Record<string, EventDeclaration>> => ({
  [`${noun}Paused`]: first(shape.Paused, {}, () => `paused the ${word}`),
  [`${noun}Resumed`]: first(
    shape.Resumed,
    { from: "parked", skip: false },
    ({ from, skip }) => `resumed the ${word}, which was ${from}${skip ? "; what had failed is passed over" : ""}`,
  ),
  [`${noun}ReplayRequested`]: first(
    shape.ReplayRequested,
    { time: "2026-11-21T08:00:00.000Z" },
    ({ position, time }) =>
      `had everything sent again from ${time ?? (position === undefined ? "the beginning" : "a position")} on`,
  ),
  [`${noun}TestRequested`]: first(shape.TestRequested, { test: 1 }, () => "sent a test"),
  [`${noun}Disabled`]: first(
    shape.Disabled,
    { reason: "410 Gone" },
    ({ reason }) => `disabled the ${word}: ${excerpt(reason)}`,
  ),
  [`${noun}Parked`]: first(
    shape.Parked,
    { reason: "500 Internal Server Error" },
    ({ reason }) => `parked the ${word} after the last retry: ${excerpt(reason)}`,
  ),
  [`${noun}EntityParked`]: first(
    shape.EntityParked,
    {
      entity: { context: "work", kind: "item", id: "itm_01kajzq4v0e8r9t2m5x7c3d6fg" },
      event: "12.0",
      reason: "500 Internal Server Error",
    },
    ({ entity, reason }) => `parked what happens to ${entity.id} after the last retry: ${excerpt(reason)}`,
  ),
  [`${noun}GapMet`]: first(
    shape.GapMet,
    { context: "work", resumedAt: "12.0" },
    ({ context }) => `missed events of ${context} that were no longer in the feed`,
  ),
  [`${noun}Deleted`]: first(shape.Deleted, { name: "chat" }, ({ name }) => `deleted the ${word} "${name}"`),
});
