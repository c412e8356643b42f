/** What a projector has to do for one projection, from the builds there are and the version it has: a pure function. */
import type { Checkpoint } from "./projection-checkpoint.ts";

export interface Code {
  readonly version: number;
  readonly stateVersion: number;
}

export interface Plan {
  /** Builds to work on. */
  readonly run: ReadonlyArray<number>;
  /** Builds under way that an older release began, or that were left behind. */
  readonly discard: ReadonlyArray<number>;
  /** Begin a new build of this release's version. */
  readonly create: boolean;
  /** A newer release is at work: nothing to do here. */
  readonly superseded: boolean;
}

/** Negative when `a` is older. */
export const compareCode = (a: Code, b: Code): number => a.version - b.version || a.stateVersion - b.stateVersion;

/**
 * - Shown in this version: keep it up, and finish a rebuild that was asked for.
 * - Shown in an older version, or not at all: build this version beside it.
 * - Shown in a newer version: leave it to the newer release as long as one is alive (a rolling upgrade); when none has been for
 *   `takeoverMs` (the upgrade was taken back), build this version and switch back to it.
 */
export function plan(rows: ReadonlyArray<Checkpoint>, code: Code, takeoverMs: number): Plan {
  const shown = rows.find((row) => row.shown);
  const building = rows.find((row) => !row.shown && row.state !== "retired");
  const run: number[] = [];
  const discard: number[] = [];
  let create = false;
  const newerAlive = [shown, building].some(
    (row) => row !== undefined && compareCode(row, code) > 0 && row.silentMs < takeoverMs,
  );
  const current = shown !== undefined && compareCode(shown, code) === 0;
  if (current) run.push(shown.build);
  if (newerAlive) return { run, discard, create, superseded: true };
  if (building !== undefined && compareCode(building, code) === 0) run.push(building.build);
  else {
    if (building !== undefined) discard.push(building.build);
    create = !current;
  }
  return { run, discard, create, superseded: false };
}
