/**
 * What an application serves: `route` names a folder with the twelve addresses (or the release's files) and the
 * deployment's id, so that one rename changes all of it at once and Caddy is never told. Every switch runs in a child
 * process under flock(1) and refuses a generation lower than the highest that ever switched, so that a worker which was
 * stopped for a while neither holds the lock nor undoes what came after it.
 */
import type { AppDisk } from "./disk.ts";
import type { Outcome } from "./failure.ts";

export interface Chosen {
  readonly from: string | null;
  readonly to: string;
  readonly adopted: boolean;
}

export type RouteTarget =
  | { readonly release: string }
  /** `ip:port` of each instance: 1, 2, 3, 4, 6 or 12 of them, so that they share the twelve slots evenly. */
  | { readonly addresses: readonly string[] };

export interface Switched {
  /** The generation that was served before; null: none. */
  readonly from: number | null;
  readonly to: number | null;
  readonly adopted: boolean;
}

export interface Switching {
  readonly signal?: AbortSignal;
  /** Longest wait for another switch of the same application. Default 10 000. */
  readonly timeoutMs?: number;
}

/** Points `current` to the release. Nothing is served by it: that is `switchRoute`. */
export declare function chooseRelease(
  app: AppDisk,
  choice: { readonly generation: number; readonly release: string | null },
  options?: Switching,
): Promise<Outcome<Chosen>>;

/** Serves the target from the next request on, under the deployment's id. */
export declare function switchRoute(
  app: AppDisk,
  route: { readonly generation: number; readonly deployment: string; readonly target: RouteTarget },
  options?: Switching,
): Promise<Outcome<Switched>>;

/** Serves again what an older generation served (null: nothing), when `generation` is what is served; else refused. */
export declare function revertRoute(
  app: AppDisk,
  revert: { readonly generation: number; readonly to: number | null },
  options?: Switching,
): Promise<Outcome<Switched>>;

export interface RouteState {
  /** The highest that ever switched; 0: none. */
  readonly generation: number;
  /** The release that `current` names. */
  readonly current: string | null;
  readonly route: {
    readonly generation: number;
    readonly deployment: string;
    readonly release: string | null;
    /** As given to `switchRoute`; empty for a static site. */
    readonly addresses: readonly string[];
  } | null;
  /** What is there but is not as it was written: one sentence each. */
  readonly problems: readonly string[];
}

/** Reads back what stands on the disk. Never fails: what cannot be read is a problem. */
export declare function readRoutes(app: AppDisk): Promise<RouteState>;
