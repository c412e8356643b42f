/** Three ways: what is wanted, what was applied last, and what is there. Who brought a field out of step follows from it. */

import { own } from "../../own.ts";
import { aligned, isListName } from "./collections.ts";
import { type Configuration, isSecretReference, isWhole } from "./configuration.ts";
import { type Difference, differences, same } from "./difference.ts";
import { at, fieldOf, leaves, listOf } from "./json.ts";
import type { Json } from "./report.ts";

/** `device`: it was changed there. `here`: the wish was changed, and is not applied yet. `both`. */
export type Cause = "device" | "here" | "both";

export interface Drifted extends Difference {
  readonly applied: Json | undefined;
  readonly cause: Cause;
  /** Who changed it on the device and when, where an observation told. */
  readonly by?: Change;
}

/** A change of which the device told: `{component: "switch:0", at: "2026-11-21T12:00:00.000Z", source: "http"}`. */
export interface Change {
  readonly component: string;
  readonly at: string;
  readonly source: string;
}

export function causeOf(desired: Json | undefined, applied: Json | undefined, observed: Json | undefined): Cause {
  if (same(applied, desired)) return "device";
  return applied === undefined || same(applied, observed) ? "here" : "both";
}

/** The applied value of a field; of an entry of a list that of its counterpart. */
function appliedAt(difference: Difference, desired: Configuration, applied: Configuration): Json | undefined {
  const { component, path } = difference;
  const before = own(applied, component);
  if (!isListName(component)) return at(before, path);
  const [place, ...field] = path;
  const entries = listOf(before);
  if (place!.startsWith("+")) return entries.find((entry) => same(entry, difference.observed));
  const found = aligned(component, listOf(desired[component]), entries).counterpart[Number(place)];
  return found === undefined ? undefined : at(entries[found], field);
}

/** Secrets that were changed here: no device tells them, so only what was applied says whether it has them. */
function secretsChanged(desired: Configuration, applied: Configuration): Drifted[] {
  return Object.entries(desired).flatMap(([component, wanted]) =>
    leaves(wanted, isWhole).flatMap(({ path, value }): Drifted[] => {
      if (!isSecretReference(value)) return [];
      const before = at(fieldOf(applied, component), path);
      if (same(value, before)) return [];
      return [{ component, path, desired: value, applied: before, observed: undefined, cause: "here" }];
    }),
  );
}

/**
 * What is not as wanted; empty: in sync. A field that is no longer wanted is nobody's business.
 * @param applied what was wanted when it was last verified; null: nothing was ever applied
 * @param changes what devices told of changes, oldest first
 */
export function driftOf(
  desired: Configuration,
  applied: Configuration | null,
  observed: Configuration,
  changes: ReadonlyArray<Change> = [],
): ReadonlyArray<Drifted> {
  const before = applied ?? {};
  const seen = differences(desired, observed).map((difference): Drifted => {
    const was = appliedAt(difference, desired, before);
    const cause = causeOf(difference.desired, was, difference.observed);
    const by = cause === "here" ? undefined : changes.findLast(({ component }) => component === difference.component);
    return { ...difference, applied: was, cause, ...(by === undefined ? {} : { by }) };
  });
  return [...seen, ...secretsChanged(desired, before)];
}
