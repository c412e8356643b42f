/** Where a device is not as wanted, and who brought it out of step: wanted, last applied and observed, held against each other. */
import type { DriftField } from "@millrace/contracts/devices/device-parts.ts";
import { type Cause, LIMITS } from "@millrace/contracts/devices/values.ts";
import { type Configuration, expanded, isSecretReference, isTree } from "./configuration.ts";

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

const member = (tree: unknown, key: string): unknown =>
  isTree(tree) && Object.hasOwn(tree, key) ? tree[key] : undefined;

function causeOf(desired: unknown, applied: unknown, observed: unknown): Cause {
  if (sameJson(applied, desired)) return "device";
  return applied === undefined || sameJson(applied, observed) ? "here" : "both";
}

function* differing(
  desired: unknown,
  applied: unknown,
  observed: unknown,
  path: string,
): Generator<Omit<DriftField, "component">> {
  // What no device tells cannot be seen to differ.
  if (isSecretReference(desired) || sameJson(desired, observed)) return;
  if (isTree(desired) && (isTree(observed) || observed === undefined) && Object.keys(desired).length > 0) {
    for (const [key, inner] of Object.entries(desired)) {
      const place = `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
      yield* differing(inner, member(applied, key), member(observed, key), place);
    }
    return;
  }
  const shown = { desired: cut(desired), applied: cut(applied), observed: cut(observed) };
  yield {
    path,
    cause: causeOf(desired, applied, observed),
    ...Object.fromEntries(
      Object.entries(shown).filter(([name]) => ({ desired, applied, observed })[name] !== undefined),
    ),
  };
}

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
  const components = Object.keys(observed);
  const before = applied === null ? {} : expanded(applied, components);
  const fields = Object.entries(expanded(desired, components)).flatMap(([component, wanted]) =>
    [...differing(wanted, before[component], observed[component], "")].map((field) => ({ component, ...field })),
  );
  return { fields: fields.slice(0, LIMITS.fields), more: Math.max(0, fields.length - LIMITS.fields) };
}
