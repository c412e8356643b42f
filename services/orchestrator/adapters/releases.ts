/** Releases: content-addressed folders that are whole or not there. A release is made once and never changed. */
import type { AppDisk, NodeDisk } from "./disk.ts";
import type { Outcome } from "./failure.ts";

export interface Release {
  /** The hash of its content: its name. */
  readonly release: string;
  readonly kind: "static" | "image";
  readonly files: number;
  readonly bytes: number;
  /** It was there already. */
  readonly adopted: boolean;
}

export interface StaticRequest {
  /** Absolute: where the source stands (`Pulled.folder`). */
  readonly source: string;
  /** In the source: what is served. "." is all of it. */
  readonly folder: string;
  /** The live release: files that it has too keep their ETag. */
  readonly previous?: string;
  /** Default 100 000 files, 2 GiB. */
  readonly limits?: { readonly files?: number; readonly bytes?: number };
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}

/** Makes sure that the folder's content is a release. */
export declare function materialiseStatic(app: AppDisk, request: StaticRequest): Promise<Outcome<Release>>;

/** Makes sure that a description of what runs (image id, run-time settings, references of secrets) is a release. */
export declare function materialiseImage(
  app: AppDisk,
  description: Readonly<Record<string, unknown>>,
  signal?: AbortSignal,
): Promise<Outcome<Release>>;

/** Undefined when it is not there; with `verify`, RELEASE_BROKEN when a file is not what the manifest says. */
export declare function findRelease(
  app: AppDisk,
  release: string,
  options?: { readonly verify?: boolean; readonly signal?: AbortSignal },
): Promise<Outcome<Release> | undefined>;

/** What `materialiseImage` was given; undefined when it is not there. */
export declare function readDescription(
  app: AppDisk,
  release: string,
): Promise<Readonly<Record<string, unknown>> | undefined>;

export interface Keep {
  readonly releases: readonly string[];
  readonly sources: readonly string[];
  readonly generations: readonly number[];
  /** What is younger is left: somebody may be about to use it. Default 600 000. */
  readonly olderThanMs?: number;
}

/** Removes what is not kept, and what crashes left. What `current` and `route` name is kept in any case. */
export declare function collect(
  app: AppDisk,
  keep: Keep,
): Promise<Outcome<{ readonly releases: number; readonly sources: number; readonly routes: number }>>;

/** Removes the mirrors of other URLs. */
export declare function collectMirrors(
  disk: NodeDisk,
  keepUrls: readonly string[],
  olderThanMs?: number,
): Promise<Outcome<{ readonly mirrors: number }>>;

/** Removes all that the application has on this disk. */
export declare function removeApp(app: AppDisk): Promise<Outcome<{ readonly removed: boolean }>>;
