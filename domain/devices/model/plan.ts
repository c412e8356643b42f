/**
 * From what is wanted and what is there to the calls that make the one the other, in order: first what is harmless, then one restart if one is
 * needed, then what may cut us off (login, network, profile). What cannot be written is refused before anything is done.
 */

import { own } from "../../own.ts";
import { componentOf, isCollection } from "./collections.ts";
import { type Configuration, configurationOf, isSecretReference, isWhole } from "./configuration.ts";
import { type Difference, differences, governed, pointerOf, same } from "./difference.ts";
import { unfit } from "./fields.ts";
import { assign, at, fieldOf, isObject, leaves, nearest, type Path, withAt } from "./json.ts";
import { gen1Writes } from "./plan-gen1.ts";
import { gen2Writes } from "./plan-gen2.ts";
import type { Json, Report, Write } from "./report.ts";
import { CUTTING, type Unwritable, type Work } from "./work.ts";

export interface Plan {
  /** In order. Empty: everything is as wanted. */
  readonly writes: ReadonlyArray<Write>;
  /** What is changed, for those who look before. */
  readonly changes: ReadonlyArray<Difference>;
  readonly reboot: {
    /** `maybe`: when the answer of one of the writes before says so. */
    readonly when: Write["needsReboot"];
    /** After so many of the writes: before the first that cuts off. */
    readonly after: number;
    readonly write: Write;
  };
  /** What can be written only when these writes are done: components of another profile, code of a script that is made now. Read and plan again. */
  readonly again: ReadonlyArray<string>;
}

export interface Refused {
  readonly refused: ReadonlyArray<Unwritable>;
}

export const isRefused = (plan: Plan | Refused): plan is Refused => "refused" in plan;

const PROFILE: Path = ["device", "profile"];

/**
 * @param applied what was written and verified last: says which secrets the device has already. Left out: every secret is written
 */
export function planOf(report: Report, desired: Configuration, applied: Configuration | null = null): Plan | Refused {
  const observed = configurationOf(report);
  const wishedProfile = at(fieldOf(desired, "sys"), PROFILE);
  const profile = at(fieldOf(observed, "sys"), PROFILE);
  const moves = wishedProfile !== undefined && profile !== undefined && !same(wishedProfile, profile);
  // Another profile brings other components, and takes schedules and webhooks with it: what needs those comes after.
  const later = Object.keys(desired).filter(
    (key) =>
      moves &&
      (key === "schedules" ||
        key === "webhooks" ||
        (componentOf(key).id !== undefined && !Object.hasOwn(observed, key))),
  );
  const now = Object.fromEntries(Object.entries(desired).filter(([key]) => !later.includes(key)));
  const unwritable = Object.entries(now).flatMap(([component, wanted]) => faultsOf(component, wanted, observed));
  const changes = [...differences(now, observed), ...secretsDue(now, observed, applied)];
  const due = changes.filter(
    ({ component, path }) => !unwritable.some((one) => one.component === component && one.path === pointerOf(path)),
  );
  const work: Work = { report, desired: now, observed, changes: due };
  const made = report.generation === 1 ? gen1Writes(work) : gen2Writes(work);
  const refused = [...unwritable, ...made.refused];
  if (refused.length > 0) return { refused };
  const ranked = [...made.writes].sort((a, b) => a.rank - b.rank);
  const writes = ranked.map(({ write }) => write);
  const safe = ranked.filter(({ rank }) => rank < CUTTING.auth).length;
  return {
    writes,
    changes,
    reboot: { when: rebootWhen(writes.slice(0, safe)), after: safe, write: rebootOf(report) },
    again: [...later, ...made.again],
  };
}

function rebootWhen(writes: ReadonlyArray<Write>): Write["needsReboot"] {
  const needs = new Set(writes.map(({ needsReboot }) => needsReboot));
  return needs.has("always") ? "always" : needs.has("maybe") ? "maybe" : "never";
}

const rebootOf = ({ generation }: Report): Write => ({
  component: "sys",
  call: generation === 1 ? { path: "/reboot", query: {} } : { method: "Shelly.Reboot", params: {} },
  needsReboot: "never",
  cutsOff: true,
});

/** What the device cannot be asked for, whatever it has now. */
function faultsOf(component: string, wanted: Json, observed: Configuration): Unwritable[] {
  if (isCollection(component)) return [];
  const there = own(observed, component);
  if (there === undefined && !leaves(wanted, isWhole).every(({ value }) => isSecretReference(value))) {
    const near = nearest(component, Object.keys(observed));
    return [
      {
        component,
        path: "",
        reason: "unknown-component",
        detail: `The device has no ${component}.`,
        fix: near === undefined ? `It has ${Object.keys(observed).join(", ")}.` : `Did you mean ${near}?`,
      },
    ];
  }
  return leaves(wanted, isWhole).flatMap(({ path, value }) => unfit(component, path, value, wanted, there) ?? []);
}

/** Secrets that the device is not known to have, and those of a network that is joined anew. */
function secretsDue(desired: Configuration, observed: Configuration, applied: Configuration | null): Difference[] {
  return Object.entries(desired).flatMap(([component, wanted]) =>
    leaves(wanted, isWhole).flatMap(({ path, value }): Difference[] => {
      if (!isSecretReference(value)) return [];
      const known = applied !== null && same(at(fieldOf(applied, component), path), value);
      const ssid = [...path.slice(0, -1), "ssid"];
      const [joins, joined] = [at(wanted, ssid), at(fieldOf(observed, component), ssid)];
      const moves = component === "wifi" && joins !== undefined && !same(joins, joined);
      return known && !moves ? [] : [{ component, path, desired: value, observed: undefined }];
    }),
  );
}

/**
 * What was there before, of what a plan changes: planned against the device as it is then, it undoes as much as was done.
 * @param applied for secrets: a password that no read returns is given back by its reference, where one was applied before
 */
export function undoOf(before: Report, plan: Plan, applied: Configuration | null = null): Configuration {
  const observed = configurationOf(before);
  return plan.changes.reduce<Configuration>((all, { component, path, desired }) => {
    const was = own(observed, component);
    if (isCollection(component) && !isObject(was)) return assign(all, component, was ?? []);
    const value = isSecretReference(desired) ? at(fieldOf(applied ?? {}, component), path) : at(was, path);
    // An entry of a dictionary that was not there shall not be there again.
    if (value === undefined && !isCollection(component)) return all;
    const back = assign(all, component, withAt(all[component], path, value ?? null));
    // What Gen1 forgets while a thing is off is said again with it.
    return governed(path).reduce((rest, field) => {
      const said = at(was, field);
      return said === undefined ? rest : assign(rest, component, withAt(rest[component], field, said));
    }, back);
  }, {});
}

/** Without what another plan has to do: for one who shows a plan without its values. */
export const changesText = ({ changes }: Plan): ReadonlyArray<string> =>
  changes.map(({ component, path }) => `${component}${pointerOf(path)}`);
