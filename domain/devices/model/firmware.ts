/** Which firmware is newer, and which update applies. Never "another than now": devices offer older ones (captured), and install them. */

import { own } from "../../own.ts";
import type { Firmware, Identity } from "./identity.ts";
import { at, fieldOf, isObject, textOf } from "./json.ts";
import type { Json } from "./report.ts";

export type Stage = "stable" | "beta";

export interface Offered {
  readonly version: string;
  /** Where the offer says it. */
  readonly build?: string;
  readonly stage: Stage;
}

export interface NoUpdate {
  readonly none: "up-to-date" | "older" | "frozen" | "unreadable";
  readonly reason: string;
}

interface Version {
  readonly numbers: ReadonlyArray<number>;
  /** Parts of what stands after the dash; none: a release. */
  readonly before: ReadonlyArray<string | number>;
}

/** `1.7.5`, `2.0.0-beta1`, `v1.14.1-rc1`. */
function versionOf(text: string): Version | undefined {
  const [, numbers, before] =
    /^v?(\d{1,6}(?:\.\d{1,6}){1,3})(?:-([0-9A-Za-z.-]{1,64}))?(?:\+.*)?$/.exec(text.trim()) ?? [];
  if (numbers === undefined) return undefined;
  const parts = (before ?? "").match(/\d+|[A-Za-z]+/g) ?? [];
  return {
    numbers: numbers.split(".").map(Number),
    before: parts.map((part) => (/^\d/.test(part) ? Number(part) : part.toLowerCase())),
  };
}

/** `20260311-095847` of `20260311-095847/1.7.5-g9979d16`: when it was built. */
export const builtAt = (build: string | undefined): string | undefined =>
  /(?:^|\D)(\d{8}-\d{6})(?:\D|$)/.exec(build ?? "")?.[1];

const order = <A extends number | string>(a: A, b: A): number => (a < b ? -1 : a > b ? 1 : 0);

function orderOfBefore(a: Version["before"], b: Version["before"]): number {
  // A release comes after everything that led to it.
  if (a.length === 0 || b.length === 0) return order(b.length === 0 ? 0 : 1, a.length === 0 ? 0 : 1);
  for (const [index, mine] of a.entries()) {
    const theirs = b[index];
    if (theirs === undefined) return 1;
    const found = typeof mine === typeof theirs ? order(mine, theirs) : typeof mine === "number" ? -1 : 1;
    if (found !== 0) return found;
  }
  return a.length === b.length ? 0 : -1;
}

/**
 * Below 0: the first is older. Gen2 and later by version, a pre-release before its release, ties by when they were built; Gen1 by when they
 * were built. @returns undefined where they cannot be compared
 */
export function compareFirmware(generation: number, a: Partial<Firmware>, b: Partial<Firmware>): number | undefined {
  const [builtA, builtB] = [builtAt(a.build ?? a.version), builtAt(b.build ?? b.version)];
  if (generation === 1) return builtA === undefined || builtB === undefined ? undefined : order(builtA, builtB);
  const [mine, theirs] = [versionOf(a.version ?? ""), versionOf(b.version ?? "")];
  if (mine === undefined || theirs === undefined) return undefined;
  for (let index = 0; index < Math.max(mine.numbers.length, theirs.numbers.length); index++) {
    const found = order(mine.numbers[index] ?? 0, theirs.numbers[index] ?? 0);
    if (found !== 0) return found;
  }
  const before = orderOfBefore(mine.before, theirs.before);
  return before !== 0 || builtA === undefined || builtB === undefined ? before : order(builtA, builtB);
}

/** The maker gives these lines nothing at or above this version (its policy; names of their firmware). */
export const FROZEN: Readonly<Record<string, string>> = Object.fromEntries(
  [
    "Plus1",
    "Plus1PM",
    "Plus2PM",
    "Mini1",
    "Mini1PM",
    "MiniPM",
    "PlusI4",
    "PlusPlugS",
    "PlusPlugUS",
    "PlusHT",
    "Plus10V",
    "BluGw",
  ].map((app) => [app, "2.0.0"]),
);

/** What the device itself offers. What stands under `alt` is another product for the same hardware, and no update. */
export function offersOf(generation: number, status: Json): ReadonlyArray<Offered> {
  if (generation === 1) {
    const update = fieldOf(status, "update");
    const [stable, beta] = [textOf(fieldOf(update, "new_version")), textOf(fieldOf(update, "beta_version"))];
    const offer = (version: string | undefined, stage: Stage): Offered[] =>
      version === undefined || version === "" ? [] : [{ version, build: version, stage }];
    return [...offer(stable, "stable"), ...offer(beta, "beta")];
  }
  const offered = at(status, ["sys", "available_updates"]);
  return (["stable", "beta"] as const).flatMap((stage): Offered[] => {
    const version = textOf(at(offered, [stage, "version"]));
    const build = textOf(at(offered, [stage, "build_id"]));
    return version === undefined || !isObject(offered)
      ? []
      : [{ version, stage, ...(build === undefined ? {} : { build }) }];
  });
}

/** @returns the newest of these offers that is newer than what runs, or why there is none */
export function updateFor(
  { generation, app, firmware }: Pick<Identity, "generation" | "app" | "firmware">,
  offers: ReadonlyArray<Offered>,
  stages: ReadonlyArray<Stage> = ["stable"],
): Offered | NoUpdate {
  const wanted = offers.filter(({ stage }) => stages.includes(stage));
  const compared = wanted.map((offer) => ({ offer, newer: compareFirmware(generation, offer, firmware) }));
  const newer = compared.filter((one) => (one.newer ?? 0) > 0).map(({ offer }) => offer);
  const limit = own(FROZEN, app);
  const allowed = newer.filter(
    (offer) =>
      limit === undefined || generation === 1 || (compareFirmware(generation, offer, { version: limit }) ?? 0) < 0,
  );
  const [best] = allowed.toSorted((a, b) => compareFirmware(generation, b, a) ?? 0);
  if (best !== undefined) return best;
  if (newer.length > 0) return { none: "frozen", reason: `${app} gets nothing from ${limit} on.` };
  if (compared.some(({ newer }) => newer === undefined))
    return { none: "unreadable", reason: "A version that is offered cannot be compared." };
  const older = compared.find((one) => (one.newer ?? 0) < 0)?.offer;
  if (older !== undefined)
    return { none: "older", reason: `${older.version} is offered, which is older than ${firmware.version}.` };
  return { none: "up-to-date", reason: `${firmware.version || firmware.build} is the newest that is offered.` };
}

export const isNoUpdate = (found: Offered | NoUpdate): found is NoUpdate => "none" in found;
