/** A rollout in stages: who is next, and when it stops. Pure: time comes in. */

export type Result = "running" | "succeeded" | "failed" | "skipped";

export interface Rollout {
  /** In the order in which they come; the first are the canaries. */
  readonly devices: ReadonlyArray<string>;
  /** So many devices, or so many of a hundred, counted from the first; the last stage is everybody. Default: 1, 5 %, 25 %, all. */
  readonly stages: ReadonlyArray<{ readonly count: number } | { readonly percent: number }>;
  /** So many at once. */
  readonly atOnce: number;
  /** It halts when more than this have failed: of a hundred of those that are through, and so many at least. */
  readonly haltOn: { readonly percent: number; readonly failures: number };
  /** A stage that is through is watched for so long before the next begins. */
  readonly watchMs: number;
}

export interface Progress {
  readonly results: Readonly<Record<string, Result>>;
  /** When the last of each was told; milliseconds of the epoch. */
  readonly lastResultAt: number;
  /** Failures up to here were seen by a person who let it go on. */
  readonly forgiven?: number;
}

export interface Next {
  readonly state: "running" | "watching" | "halted" | "done";
  /** Begin with these now. */
  readonly start: ReadonlyArray<string>;
  /** From 0. */
  readonly stage: number;
  /** Watching: when to look again; milliseconds of the epoch. */
  readonly until?: number;
  /** Halted: why. */
  readonly reason?: string;
}

export const STAGES: Rollout["stages"] = [{ count: 1 }, { percent: 5 }, { percent: 25 }, { percent: 100 }];

/** How many devices are in each stage and those before it; each has more than the one before. */
export function boundsOf({ devices, stages }: Pick<Rollout, "devices" | "stages">): ReadonlyArray<number> {
  const all = devices.length;
  const bounds = stages.map((stage) =>
    Math.min(all, "count" in stage ? stage.count : Math.ceil((all * stage.percent) / 100)),
  );
  const rising = bounds.filter((bound, index) => bound > Math.max(0, ...bounds.slice(0, index)));
  return all === 0 || rising.at(-1) === all ? rising : [...rising, all];
}

export function nextOf(rollout: Rollout, { results, lastResultAt, forgiven = 0 }: Progress, now: number): Next {
  const { devices, atOnce, haltOn, watchMs } = rollout;
  const bounds = boundsOf(rollout);
  const of = (wanted: Result) => devices.filter((device) => results[device] === wanted).length;
  const [failed, running] = [of("failed"), of("running")];
  const through = failed + of("succeeded");
  const open = bounds.findIndex((bound) => devices.slice(0, bound).some((device) => !isThrough(results[device])));
  const stage = open < 0 ? Math.max(0, bounds.length - 1) : open;
  const fresh = failed - forgiven;
  if (fresh > 0 && fresh >= haltOn.failures && (fresh / through) * 100 > haltOn.percent) {
    return { state: "halted", start: [], stage, reason: `${failed} of ${through} have failed` };
  }
  if (open < 0) return { state: "done", start: [], stage };
  const begun = devices
    .slice(stage === 0 ? 0 : bounds[stage - 1], bounds[stage])
    .some((device) => results[device] !== undefined);
  if (stage > 0 && !begun && now < lastResultAt + watchMs) {
    return { state: "watching", start: [], stage, until: lastResultAt + watchMs };
  }
  const waiting = devices.slice(0, bounds[stage]).filter((device) => results[device] === undefined);
  return { state: "running", start: waiting.slice(0, Math.max(0, atOnce - running)), stage };
}

const isThrough = (result: Result | undefined): boolean => result !== undefined && result !== "running";
