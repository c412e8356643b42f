/**
 * Where a node keeps what on its disk. Every path is made here, from checked ids only:
 *
 *     <data>/orchestrator/<node>/
 *       known_hosts  mirrors/<hash of url>.git  tmp/
 *       bytes/                                 what was uploaded (eventlog/bytes-store.ts)
 *       apps/<app>/src/<commit>/               a source, whole; <commit>.complete beside it has its facts
 *       apps/<app>/releases/<hash>/            manifest.json and files/
 *       apps/<app>/current                  -> releases/<hash>      the release that the latest deployment chose
 *       apps/<app>/routes/<generation>-<hash>/ 0 … 11 or site -> ../../releases/<release>/files, deployment, …
 *       apps/<app>/route                    -> routes/<generation>-<hash>   what is served
 *       apps/<app>/generation                  the highest that ever switched; lower ones are refused
 */
import { join, resolve } from "node:path";

export { makeFolder, syncFolder, writeWhole } from "@millrace/eventlog/durable-files.ts";
export { diskFailure } from "@millrace/eventlog/outcome.ts";
export { mirrorName, sourceFolder } from "@millrace/eventlog/sources/places.ts";

export interface NodeDisk {
  readonly root: string;
  readonly mirrors: string;
  readonly apps: string;
  readonly tmp: string;
  readonly knownHosts: string;
  /** Keys of Git servers that were given. */
  readonly givenHosts: string | undefined;
  readonly bytes: string;
}

export interface AppDisk {
  readonly root: string;
  readonly sources: string;
  readonly releases: string;
  readonly current: string;
  readonly routes: string;
  readonly route: string;
  readonly generation: string;
  readonly lock: string;
}

/**
 * @param data the data folder of the installation
 * @param node the node's name
 * @throws RangeError for a name that is none, or a folder whose path holds braces.
 */
export function nodeDisk(data: string, node: string, givenHosts?: string): NodeDisk {
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(node)) throw new RangeError(`"${node}" is no name of a node`);
  // Caddy reads braces in a path as a placeholder.
  if (/[{}]/.test(resolve(data))) throw new RangeError("the path of the data folder must not hold { or }");
  const root = join(resolve(data), "orchestrator", node);
  return {
    root,
    mirrors: join(root, "mirrors"),
    apps: join(root, "apps"),
    tmp: join(root, "tmp"),
    knownHosts: join(root, "known_hosts"),
    givenHosts,
    bytes: join(root, "bytes"),
  };
}

/** @throws RangeError for what is not the id of an application. */
export function appDisk(disk: NodeDisk, app: string): AppDisk {
  const root = join(disk.apps, checked(app, /^app_[0-9a-hjkmnp-tv-z]{26}$/, "id of an application"));
  return {
    root,
    sources: join(root, "src"),
    releases: join(root, "releases"),
    current: join(root, "current"),
    routes: join(root, "routes"),
    route: join(root, "route"),
    generation: join(root, "generation"),
    lock: join(root, "lock"),
  };
}

/** The folder of a release. @throws RangeError for what is no hash. */
export const releaseFolder = (app: AppDisk, hash: string): string =>
  join(app.releases, checked(hash, /^[0-9a-f]{64}$/, "hash of a release"));

/** What the name of each folder of a generation's route begins with, in `routes`. @throws RangeError for what is no generation. */
export function routeFolder(app: AppDisk, generation: number): string {
  if (!Number.isSafeInteger(generation) || generation < 1) throw new RangeError(`${generation} is no generation`);
  return join(app.routes, `${generation}`);
}

/** @throws RangeError for what is not the id of a deployment. */
export const deploymentId = (id: string): string => checked(id, /^dep_[0-9a-hjkmnp-tv-z]{26}$/, "id of a deployment");

function checked(value: string, pattern: RegExp, what: string): string {
  if (!pattern.test(value)) throw new RangeError(`"${value.slice(0, 100)}" is no ${what}`);
  return value;
}
