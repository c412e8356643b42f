/** Where a device is not as wanted, and who brought it out of step: wanted, last applied and observed, held against each other. */
import type { DriftField } from "@millrace/contracts/devices/device-parts.ts";
import { LIMITS } from "@millrace/contracts/devices/values.ts";
import { type Configuration, isTree } from "./configuration.ts";
import type { Configuration as Wanted } from "./model/configuration.ts";
import { pointerOf } from "./model/difference.ts";
import { driftOf as threeWays } from "./model/drift.ts";
import { fitted } from "./model/template.ts";

/** Deep equality of JSON, whatever the order of members. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((one, i) => sameJson(one, b[i]));
  if (!isTree(a) || !isTree(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]))
  );
}

const cut = (value: unknown): unknown => {
  const text = JSON.stringify(value) ?? "";
  return text.length <= LIMITS.shownValue ? value : `${text.slice(0, LIMITS.shownValue - 1)}…`.toWellFormed();
};

/**
 * @param applied what was wanted when it was last verified; null: nothing was ever applied
 * @returns at most LIMITS.fields of them, and how many more there are
 */
export function driftOf(
  desired: Configuration | null,
  applied: Configuration | null,
  observed: Configuration | null,
): { readonly fields: ReadonlyArray<DriftField>; readonly more: number } {
  if (desired === null || observed === null) return { fields: [], more: 0 };
  const seen = observed as Wanted;
  const before = applied === null ? null : fitted(applied as Wanted, seen).configuration;
  const drifted = threeWays(fitted(desired as Wanted, seen).configuration, before, seen);
  const fields = drifted.slice(0, LIMITS.fields).map((one): DriftField => {
    const { component, path, cause, desired, applied, observed } = one;
    const shown = Object.entries({ desired, applied, observed }).filter(([, value]) => value !== undefined);
    return {
      component,
      path: pointerOf(path),
      cause,
      ...Object.fromEntries(shown.map(([name, value]) => [name, cut(value)])),
    };
  });
  return { fields, more: Math.max(0, drifted.length - LIMITS.fields) };
}
