/**
 * What an application serves: `route` names a folder with the twelve addresses (or the release's files) and the
 * deployment's id, so that one rename changes all of it at once and Caddy is never told. Every switch runs in a child
 * process under flock(1) and is refused when its asker does not know of the latest generation, so that a worker which
 * was stopped for a while neither holds the lock nor undoes what came after it.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readlink, rename, rm, stat, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { cancelled, type Failed, fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";
import { type AppDisk, deploymentId, diskFailure, makeFolder, releaseFolder, routeFolder, writeWhole } from "./disk.ts";
import { isSitePath } from "./releases.ts";
import { digest, isFolder, type RouteFiles, SLOTS, textOf } from "./route-state.ts";

export { type RouteState, readRoutes, SLOTS } from "./route-state.ts";

export interface Chosen {
  readonly from: string | null;
  readonly to: string | null;
  readonly adopted: boolean;
}

export type RouteTarget =
  | {
      readonly release: string;
      /** The file that stands for a folder. Default `index.html`. */
      readonly index?: string;
      /** What is not there is answered with 200 by the index at the root. */
      readonly spa?: boolean;
      /** A path in the site, answered with 404 for what is not there. Default `/404.html`, when that is there. */
      readonly notFound?: string;
    }
  /** `ip:port` of each instance: 1, 2, 3, 4, 6 or 12 of them. */
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

/**
 * Points `current` to the release (null: to none). Nothing is served by it: that is `switchRoute`.
 * @param choice.generation the highest of the application that the asker knows of; a lower one than the disk's is refused
 */
export async function chooseRelease(
  app: AppDisk,
  choice: { readonly generation: number; readonly release: string | null },
  options: Switching = {},
): Promise<Outcome<Chosen>> {
  const { release } = choice;
  if (release !== null && !(await isFolder(releaseFolder(app, release)))) return releaseMissing(release);
  const done = await turn(app, "current", release === null ? "" : `releases/${release}`, choice.generation, options);
  if ("failed" in done) return done;
  const from = done.from.startsWith("releases/") ? basename(done.from) : null;
  return { from, to: release, adopted: from === release };
}

/**
 * Serves the target from the next request on, under the deployment's id.
 * @param route.asOf the highest generation that the asker knows of, when that is not `generation` (repairing or
 *   restoring an older one after a newer one failed); lower than the disk's: refused as OVERTAKEN
 */
export async function switchRoute(
  app: AppDisk,
  route: {
    readonly generation: number;
    readonly deployment: string;
    readonly target: RouteTarget;
    readonly asOf?: number;
  },
  options: Switching = {},
): Promise<Outcome<Switched>> {
  const { generation, target } = route;
  if ("release" in target && !(await isFolder(join(releaseFolder(app, target.release), "files")))) {
    return releaseMissing(target.release);
  }
  const wanted = routeFiles(target, deploymentId(route.deployment));
  if ("failed" in wanted) return wanted;
  const { files } = wanted;
  const name = `${basename(routeFolder(app, generation))}-${digest(files)}`;
  try {
    await writeRoute(app, name, files);
  } catch (error) {
    return diskFailure(error, "writing the route");
  }
  const done = await turn(app, "route", `routes/${name}`, route.asOf ?? generation, options);
  if ("failed" in done) return done;
  return { from: generationOf(done.from), to: generation, adopted: done.from === `routes/${name}` };
}

/**
 * Serves again what an older generation served last (null: nothing).
 * @param revert.generation the highest of the application that the asker knows of: the one that is taken back
 */
export async function revertRoute(
  app: AppDisk,
  revert: { readonly generation: number; readonly to: number | null },
  options: Switching = {},
): Promise<Outcome<Switched>> {
  let target = "";
  if (revert.to !== null) {
    const name = await lastServed(app, revert.to);
    if (name === undefined) {
      const fix = "Deploy again: the containers and the release of that deployment are described in the log.";
      return fail("permanent", "ROUTE_MISSING", `The route of generation ${revert.to} is not on the disk.`, fix);
    }
    target = `routes/${name}`;
  }
  const done = await turn(app, "route", target, revert.generation, options);
  if ("failed" in done) return done;
  return { from: generationOf(done.from), to: revert.to, adopted: done.from === target };
}

/** Whether the application answers 503 "stopped" whatever its route is. */
export async function setStopped(app: AppDisk, stopped: boolean): Promise<Outcome<{ readonly adopted: boolean }>> {
  const file = join(app.root, "stopped");
  try {
    const was = await stat(file).then(
      () => true,
      () => false,
    );
    if (was !== stopped) {
      if (stopped) {
        await makeFolder(app.root);
        await writeWhole(file, "");
      } else {
        await rm(file, { force: true });
      }
    }
    return { adopted: was === stopped };
  } catch (error) {
    return diskFailure(error, "stopping the route");
  }
}

/** What stands in the folder of the target's route, or why it cannot be one. */
function routeFiles(target: RouteTarget, deployment: string): Outcome<{ readonly files: RouteFiles }> {
  if ("addresses" in target) {
    const { addresses } = target;
    // Caddy takes any text for an address and answers 502 then.
    const wrong = addresses.find((address) => !/^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:]+\]):\d{1,5}$/.test(address));
    if (
      wrong !== undefined ||
      addresses.length === 0 ||
      SLOTS % addresses.length !== 0 ||
      new Set(addresses).size < addresses.length
    ) {
      const fix = "Run 1, 2, 3, 4, 6 or 12 instances, each with an address of its own (ip:port).";
      return fail("permanent", "BAD_ADDRESSES", `${JSON.stringify(addresses)} cannot share ${SLOTS} slots.`, fix);
    }
    const slots = Array.from({ length: SLOTS }, (_, slot) => [`${slot}`, addresses[slot % addresses.length]!]);
    return { files: { ...Object.fromEntries(slots), deployment } };
  }
  const index = target.index ?? "index.html";
  const notFound = `/${(target.notFound ?? "404.html").replace(/^\/+/, "")}`;
  const wrong = [index, notFound.slice(1)].find((path) => !isSitePath(path));
  if (wrong !== undefined || index.includes("/")) {
    const fix = "Name the index as a plain file name, and the page for what is not there as a path in the site.";
    return fail(
      "permanent",
      "BAD_SITE",
      `"${(wrong ?? index).slice(0, 200)}" is not the name of a file in the site.`,
      fix,
    );
  }
  const site = `../../releases/${target.release}/files`;
  return { files: { deployment, index, fallback: target.spa ? `/${index}` : "", missing: notFound, site } };
}

/** Makes the folder, whole or not at all; one that is there gets back what it lacks. */
async function writeRoute(app: AppDisk, name: string, files: RouteFiles): Promise<void> {
  await makeFolder(app.routes);
  const folder = join(app.routes, name);
  if (!(await isFolder(folder))) {
    const fresh = join(app.routes, `.new-${randomBytes(8).toString("hex")}`);
    try {
      await mkdir(fresh);
      // Together: their syncs become one or two of the disk's.
      await Promise.all(Object.entries(files).map(([entry, content]) => putEntry(fresh, entry, content)));
      await rename(fresh, folder);
      return;
    } catch (error) {
      await rm(fresh, { recursive: true, force: true }).catch(() => {});
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error; // otherwise somebody was faster
    }
  }
  for (const [entry, content] of Object.entries(files)) {
    const path = join(folder, entry);
    const there = entry === "site" ? await readlink(path).catch(() => undefined) : await textOf(path);
    if (there !== content) await putEntry(folder, entry, content);
  }
}

async function putEntry(folder: string, entry: string, content: string): Promise<void> {
  const path = join(folder, entry);
  if (entry !== "site") return writeWhole(path, content);
  const fresh = join(folder, `.site-${randomBytes(8).toString("hex")}`);
  await symlink(content, fresh);
  await rename(fresh, path);
}

/** The route of that generation that was served last; undefined when none ever was. */
async function lastServed(app: AppDisk, generation: number): Promise<string | undefined> {
  const prefix = `${basename(routeFolder(app, generation))}-`;
  let last: { readonly name: string; readonly at: number } | undefined;
  for (const name of await readdir(app.routes).catch(() => [])) {
    if (!name.startsWith(prefix)) continue;
    const at = (await stat(join(app.routes, name, ".served")).catch(() => undefined))?.mtimeMs;
    if (at !== undefined && at >= (last?.at ?? 0)) last = { name, at };
  }
  return last?.name;
}

// Exit codes of the script and of flock.
const busy = 75;
const overtaken = 76;

/**
 * Under the lock: $1 the application's folder, $2 the generation that the asker knows of, $3 the link, $4 where to
 * (empty: away). The generation is raised before the link is changed: killed in between, only the same or a newer
 * deployment can go on. Who holds the lock stands in the lock's file.
 */
const script = `
set -u
cd "$1" || exit 1
trap 'rm -f ".generation.$$" ".$3.$$"' EXIT
have=$(cat generation 2>/dev/null)
case "$have" in ''|*[!0-9]*) have=0;; esac
[ "$2" -ge "$have" ] || { echo "$have"; exit ${overtaken}; }
echo "process $$, generation $2" > lock || true
if [ "$2" -ne "$have" ]; then
  printf %s "$2" > ".generation.$$" && mv -f ".generation.$$" generation || exit 1
fi
echo "$(readlink "$3")"
if [ -d "$3" ] && [ ! -L "$3" ]; then mv "$3" ".blocked.$3.$$" || exit 1; fi
if [ -z "$4" ]; then rm -f "$3" || exit 1
else
  touch "$4/.served" 2>/dev/null
  if [ "$(readlink "$3")" != "$4" ]; then ln -sfn "$4" ".$3.$$" && mv -T -f ".$3.$$" "$3" || exit 1; fi
fi
sync . 2>/dev/null || true
`;

async function turn(
  app: AppDisk,
  link: "current" | "route",
  to: string,
  asOf: number,
  { signal, timeoutMs = 10_000 }: Switching,
): Promise<Outcome<{ readonly from: string }>> {
  if (!Number.isSafeInteger(asOf) || asOf < 1) throw new RangeError(`${asOf} is no generation`);
  try {
    await makeFolder(app.root);
  } catch (error) {
    return diskFailure(error, "making the application's folder");
  }
  // Not bound to this process: begun, it ends by itself in milliseconds whatever becomes of the worker.
  const wait = `${Math.max(0.001, timeoutMs / 1000)}`;
  const done = await runCommand({
    program: "flock",
    args: [
      "--wait",
      wait,
      "--conflict-exit-code",
      `${busy}`,
      app.lock,
      "sh",
      "-c",
      script,
      "sh",
      app.root,
      `${asOf}`,
      link,
      to,
    ],
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" },
    signal,
    timeoutMs: timeoutMs + 20_000,
    outputBytes: 64 * 1024,
  });
  const said = done.stdout.toString("utf8").trimEnd();
  if (done.why === "cancelled") return cancelled("The switch");
  if (done.notStarted) {
    const fix = "Install util-linux (apt-get install -y util-linux).";
    return fail("permanent", "FLOCK_MISSING", "The program flock is not there: switching is guarded by it.", fix);
  }
  if (done.code === 0) return { from: said };
  if (done.code === overtaken) {
    const fix = "Nothing: what is newer stays.";
    return fail("permanent", "OVERTAKEN", `Generation ${asOf} is older than ${said}, which has switched.`, fix);
  }
  if (done.code === busy || done.why === "timeout") {
    const holder = ((await textOf(app.lock)) ?? "").trim() || "an unknown process";
    const fix = "It is tried again; when that process is stopped or hangs, end it.";
    return fail("transient", "ROUTE_LOCKED", `The route has been locked for ${timeoutMs} ms by ${holder}.`, fix);
  }
  return diskFailure(new Error(done.stderr.trim() || `it ended with code ${done.code}`), "switching the route");
}

const generationOf = (served: string): number | null => {
  const digits = /^routes\/(\d+)-/.exec(served)?.[1];
  return digits === undefined ? null : Number(digits);
};

function releaseMissing(release: string): Failed {
  const fix = "Deploy again: the release is made anew from its source.";
  return fail("transient", "RELEASE_MISSING", `The release ${release} is not on the disk.`, fix);
}
