/**
 * Sources from Git: a reference is resolved once, its commit fetched into a mirror that all applications of the node
 * share, and written out as a plain folder. Nothing here knows of deployments; each act may be repeated after any crash.
 */
import type { AppDisk, NodeDisk } from "./disk.ts";
import type { Outcome } from "./failure.ts";

export type Source =
  | { readonly kind: "git"; readonly url: string }
  /** A repository (or bare repository) on this machine, below one of the local roots. */
  | { readonly kind: "path"; readonly path: string };

/** Opened by the caller. Reach git by environment or a file of mode 0600, never a command line, URL or configuration. */
export type Credentials =
  | { readonly kind: "token"; readonly token: string; readonly user?: string }
  | { readonly kind: "ssh-key"; readonly key: string; readonly user?: string };

export interface GitLimits {
  /** For a whole call. Default 600 000. */
  readonly deadlineMs: number;
  /** What one mirror may grow by. Default 2 GiB. */
  readonly fetchBytes: number;
  /** Of the tree, submodules included. Default 100 000. */
  readonly files: number;
  /** Of the tree, submodules included. Default 2 GiB. */
  readonly bytes: number;
}

export interface GitWork {
  readonly disk: NodeDisk;
  /** Absolute; sources of kind "path" (and submodules on this machine) must lie below one. Empty: none are allowed. */
  readonly localSources: readonly string[];
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
  /** Lines for the deployment's log. Hold no secret. */
  readonly onLine?: (line: string) => void;
  readonly limits?: Partial<GitLimits>;
}

export interface Resolved {
  /** 40 or 64 hexadecimal digits. */
  readonly commit: string;
  /** `refs/heads/main`, `refs/tags/v1`, or the commit itself. */
  readonly ref: string;
}

export interface Pulled {
  readonly commit: string;
  readonly tree: string;
  /** Absolute: `src/<commit>`. */
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
  /** Files that are only pointers into Git LFS: their content was not fetched. */
  readonly lfsPointers: number;
  readonly submodules: number;
  /** It was there already. */
  readonly adopted: boolean;
}

/** Asks the repository what a branch, tag or commit is now. A branch wins over a tag of the same name. */
export declare function resolveRef(source: Source, ref: string, work: GitWork): Promise<Outcome<Resolved>>;

/** Makes sure that the commit's files stand in `src/<commit>`. */
export declare function pullSource(
  app: AppDisk,
  source: Source,
  resolved: Resolved,
  work: GitWork,
): Promise<Outcome<Pulled>>;

/** What stands in `src/<commit>`, whole; undefined when it does not. */
export declare function findSource(app: AppDisk, commit: string): Promise<Pulled | undefined>;
