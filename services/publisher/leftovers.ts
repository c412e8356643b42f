/**
 * What builds keep on the disk: when it goes by itself, and what of it nobody will ask for again. A build's files go with the build; what was
 * left by a build that the log does not know (restored from a backup), or that ended while this disk was away, goes here. So do
 * caches of applications that are built no more.
 */
import { readdir, rm, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type BuildState, build, expiryOfBuild } from "@millrace/domain/publishing/build.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";
import { bytesBelow } from "./adapters/builder/watch.ts";
import { artefactsFolder } from "./artefacts.ts";
import type { Builder } from "./manifests.ts";
import type { PublisherNode } from "./places.ts";
import type { Store } from "./store.ts";

export interface Keeping {
  readonly place: PublisherNode;
  readonly store: Store;
  readonly builder: Builder;
  readonly log: EventLog;
  /** How long builds are kept of which nobody asks anything, milliseconds. */
  readonly keepMs: number;
}

/** Younger folders of builds that the log does not know are left: they may be told in a moment. */
const UNKNOWN_MS = 86_400_000;
const IS_BUILD = /^bld_[0-9a-hjkmnp-tv-z]{26}$/;

interface Held {
  readonly build: string;
  readonly folder: string;
  /** Undefined: of a build from a manifest, below the organisation. */
  readonly repository: string | undefined;
  readonly organisation: string | undefined;
}

const names = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

/** Folders of builds: on their way into repositories, and of those that failed. */
async function* held({ place, builder }: Pick<Keeping, "place" | "builder">): AsyncGenerator<Held> {
  for (const repository of await names(place.folder)) {
    const root = join(place.folder, repository, "builds");
    for (const id of await names(root)) {
      if (IS_BUILD.test(id)) yield { build: id, folder: join(root, id), repository, organisation: undefined };
    }
  }
  for (const organisation of await names(builder.folder)) {
    for (const id of await names(join(builder.folder, organisation, "failed"))) {
      const folder = artefactsFolder(builder.folder, organisation, id);
      if (IS_BUILD.test(id)) yield { build: id, folder, repository: undefined, organisation };
    }
  }
}

export interface Expiring {
  readonly build: string;
  readonly number: number;
  readonly repository: string;
  readonly state: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly bytes: number;
}

/** Files of builds that go by themselves, the first to go first. Changes nothing. @param most how many are told */
export async function expiring(keeping: Keeping, organisation: string, most: number): Promise<Expiring[]> {
  const { log, keepMs } = keeping;
  const found = new Map<string, { readonly state: BuildState; readonly at: number; readonly folders: string[] }>();
  for await (const { build: id, folder } of held(keeping)) {
    const known = found.get(id);
    if (known !== undefined) {
      known.folders.push(folder);
      continue;
    }
    const { state } = await log.aggregates.load(build, id);
    // Of what goes, and of what is left alone: when is asked as of a time before it.
    const next = state.organisation === organisation ? expiryOfBuild(state, 0, keepMs) : undefined;
    if (next === undefined || !("waitUntil" in next)) continue;
    found.set(id, { state, at: next.waitUntil, folders: [folder] });
  }
  const first = [...found.values()].sort((a, b) => a.at - b.at).slice(0, most);
  const told: Expiring[] = [];
  for (const { state, at, folders } of first) {
    let bytes = 0;
    for (const folder of folders) bytes += await bytesBelow(folder);
    const { id, number, repository } = state;
    told.push({ build: id, number, repository, state: state.state!, at, bytes });
  }
  return told;
}

/** Removes what nobody will ask for again. May be ended anywhere. @returns how many folders have gone */
export async function sweepLeftovers(keeping: Keeping, nowMs: number, signal: AbortSignal): Promise<number> {
  const { log, store, builder, keepMs } = keeping;
  let gone = 0;
  for await (const { build: id, folder, repository, organisation } of held(keeping)) {
    signal.throwIfAborted();
    const { state } = await log.aggregates.load(build, id);
    const { mtimeMs } = await stat(folder).catch(() => ({ mtimeMs: nowMs }));
    const isUnknown = state.state === null && nowMs - mtimeMs > UNKNOWN_MS;
    const isOver = state.state !== null && (repository === undefined ? isPast(state) : !state.isHeld);
    if (!isUnknown && !isOver) continue;
    faultPoint("publisher.leftovers.before");
    if (repository !== undefined) await store.end(repository, id);
    else await builder.remove(organisation!, id);
    gone++;
  }
  gone += await sweepCaches(builder.folder, nowMs - keepMs, signal);
  return gone;
}

/** Nothing is kept of a build that did not fail, or was purged. */
const isPast = ({ state, isHeld }: BuildState): boolean => state === "purged" || (state !== "failed" && !isHeld);

/** Of applications, with their architectures, that nobody has built since. They come again when somebody does. */
async function sweepCaches(root: string, before: number, signal: AbortSignal): Promise<number> {
  let gone = 0;
  for (const organisation of await names(root)) {
    const apps = join(root, organisation, "apps");
    for (const app of await names(apps)) {
      for (const arch of await names(join(apps, app))) {
        signal.throwIfAborted();
        const folder = join(apps, app, arch);
        const isBusy = (await names(folder)).some((name) => IS_BUILD.test(name.replace(/-again$/, "")));
        const { mtimeMs } = await stat(folder).catch(() => ({ mtimeMs: Date.now() }));
        if (isBusy || mtimeMs > before) continue;
        await rm(folder, { recursive: true, force: true });
        gone++;
      }
      // Its last architecture has gone; one that has others stays.
      await rmdir(join(apps, app)).catch(() => {});
    }
  }
  const mirrors = join(root, "mirrors");
  for (const name of await names(mirrors)) {
    if (!name.endsWith(".git")) continue;
    const { mtimeMs } = await stat(join(mirrors, name)).catch(() => ({ mtimeMs: Date.now() }));
    if (mtimeMs > before) continue;
    // Not one that is being fetched into.
    const args = ["--nonblock", `${join(mirrors, name)}.lock`, "rm", "-rf", "--", join(mirrors, name)];
    const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" };
    const removed = await runCommand({ program: "flock", args, env, timeoutMs: 60_000, signal });
    if (removed.code === 0) gone++;
  }
  return gone;
}
