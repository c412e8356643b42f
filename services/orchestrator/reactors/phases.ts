/**
 * The six phases of a deployment and its tidying up: each looks whether the world has its outcome already, and brings it about
 * where it has not. Every effect bears a name made from the log, so a phase may be done again after any crash, by anybody.
 */
import type { Outputs } from "@millrace/contracts/applications/entities.ts";
import type { Phase } from "@millrace/contracts/applications/values.ts";
import { application as applicationKind } from "@millrace/domain/applications/application.ts";
import { type ApplicationState, hostsOf } from "@millrace/domain/applications/application-state.ts";
import type { DeploymentState } from "@millrace/domain/applications/deployment-state.ts";
import { fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { collect } from "../adapters/collect.ts";
import { imageTag, type RunningContainer } from "../adapters/docker.ts";
import { DockerFailed } from "../adapters/docker-failures.ts";
import { probeReady, probeThrough } from "../adapters/probe.ts";
import { findRelease } from "../adapters/releases.ts";
import { chooseRelease, type RouteTarget, setStopped, switchRoute } from "../adapters/routes.ts";
import { amid, build, containerSpecs, diskOf, fenceOf, type Making, materialise, pullRef } from "./making.ts";

/** A deployment under work. */
export interface Deploying extends Making {
  readonly state: DeploymentState;
  readonly owner: ApplicationState;
  /** Milliseconds since 1970. */
  readonly deadlineAt: number | null;
  /** Waits, while other applications are worked on. */
  readonly aside: <T>(wait: () => Promise<T>) => Promise<T>;
}

export interface Done<P extends Phase> {
  readonly adopted: boolean;
  readonly output: Outputs[P];
}

type Perform<P extends Phase> = (deploying: Deploying) => Promise<Outcome<Done<P>>>;

export const PERFORM: { readonly [P in Phase]: Perform<P> } = {
  PULLING_SOURCE: async (deploying) => {
    const pulled = await pullRef(deploying, deploying.state.ref);
    if ("failed" in pulled) return pulled;
    const { commit, tree, ref, adopted, files, bytes, lfsPointers } = pulled;
    deploying.say(`${files} files, ${bytes} bytes${adopted ? ", there already" : ""}`);
    if (lfsPointers > 0) deploying.say(`${lfsPointers} files are pointers of Git LFS: their content is not fetched`);
    return { adopted, output: { commit, tree, ref } };
  },

  BUILDING: async (deploying) => {
    const { state, deadlineAt } = deploying;
    const built = await build(deploying, state.id, outputOf(state, "PULLING_SOURCE"), deadlineAt);
    if ("failed" in built) return built;
    const { adopted, inputHash, image } = built;
    return { adopted, output: { inputHash, ...(image === undefined ? {} : { image }) } };
  },

  COPYING_FILES: async (deploying) => {
    const made = await amid(deploying.during, releaseOf(deploying));
    if ("failed" in made) return made;
    const { release, files, bytes, adopted } = made;
    return { adopted, output: { release, files, bytes } };
  },

  CREATING_SYMLINKS: async (deploying) => {
    const { state } = deploying;
    const { release } = outputOf(state, "COPYING_FILES");
    const there = await ensureRelease(deploying);
    if ("failed" in there) return there;
    const choice = { generation: fenceOf(state), release };
    const chosen = await amid(deploying.during, chooseRelease(diskOf(deploying), choice, withSignal(deploying)));
    if ("failed" in chosen) return chosen;
    return { adopted: chosen.adopted, output: { from: state.from?.release ?? null, to: release } };
  },

  UPDATING_ROUTES: async (deploying) => {
    const { state, owner, requested } = deploying;
    const { release } = outputOf(state, "COPYING_FILES");
    const there = await ensureRelease(deploying);
    if ("failed" in there) return there;
    const { build: how } = requested;
    let target: RouteTarget;
    let containers: ReadonlyArray<RunningContainer> = [];
    if (how.kind === "static") {
      target = { release, index: how.index, spa: how.spa, ...(how.notFound ? { notFound: how.notFound } : {}) };
    } else {
      const started = await startCandidates(deploying);
      if ("failed" in started) return started;
      containers = started.containers;
      target = { addresses: containers.map(({ address }) => address) };
    }
    // From here on requests may reach the new release.
    const route = { generation: state.seq, deployment: state.id, target, asOf: fenceOf(state) };
    const switched = await amid(deploying.during, switchRoute(diskOf(deploying), route, withSignal(deploying)));
    if ("failed" in switched) return switched;
    const served = await setStopped(diskOf(deploying), false);
    if ("failed" in served) return served;
    return {
      adopted: switched.adopted,
      output: {
        generation: state.seq,
        from: state.from?.generation ?? null,
        hosts: [...hostsOf(owner)],
        containers: containers.map(({ slot, id, address }) => ({ slot, id, address })),
      },
    };
  },

  HEALTH_CHECK: (deploying) => deploying.aside(() => checkHealth(deploying)),

  CLEANUP: async (deploying) => {
    const { node, application, owner, requested, during } = deploying;
    let containers: number | "next" = 0;
    let images = 0;
    if (requested.build.kind === "dockerfile") {
      containers = await endFormer(deploying);
      images = await node.docker.pruneImages(application, keptTags(owner));
    }
    during();
    // Also what crashes left: nobody else works on this application now, and who was stopped finds that it is overtaken.
    const removed = await collect(diskOf(deploying), { ...keptOnDisk(owner), olderThanMs: 0 });
    if ("failed" in removed) return removed;
    if (containers === "next") throw new MakesWay("the next deployment of the application does not wait for its end");
    return { adopted: false, output: { containers, images, releases: removed.releases } };
  },
};

/** How often an application is asked that has just been switched to, at the least. */
const AGAIN_MS = 1_000;

async function checkHealth(deploying: Deploying): Promise<Outcome<Done<"HEALTH_CHECK">>> {
  const { state, owner, requested, signal, node } = deploying;
  const { path, successes, timeoutMs, intervalMs, retries } = requested.health;
  const deadlineAt = deploying.deadlineAt ?? Date.now() + requested.policy.healthyDeadlineMs;
  const target = { host: owner.host, path, deployment: state.id };
  const giveUp = () => anyEnded(deploying);
  const schedule = { successes, timeoutMs, deadlineAt, signal, giveUp };
  const { probes, firstMs } = await probeThrough(node.publicUrl, target, schedule);
  deploying.during();
  // It must not only answer, it must go on doing so.
  const since = Date.now();
  let more = 0;
  let failures = 0;
  while (Date.now() - since < requested.policy.minHealthyTimeMs) {
    const left = requested.policy.minHealthyTimeMs - (Date.now() - since);
    await pause(Math.min(intervalMs, AGAIN_MS, left), signal);
    more++;
    try {
      const once = { successes: 1, timeoutMs, deadlineAt: Date.now() + timeoutMs, signal, giveUp };
      await probeThrough(node.publicUrl, target, once);
      failures = 0;
    } catch (error) {
      const ended = error instanceof DockerFailed && error.code === "CONTAINER_EXITED";
      if (signal.aborted || ended || ++failures >= retries || Date.now() >= deadlineAt) throw error;
    }
  }
  return { adopted: false, output: { probes: probes + more, firstMs } };
}

/** The step is left for later: something of the same application is wanted more. It is begun again when that is done. */
export class MakesWay extends Error {}

/**
 * Ends what served before. The next deployment does not wait for that: a container may take as long to stop as it was given, and what
 * is removed here is no part of anything that could still be gone back to without being started anew.
 * @returns how many were removed; `next` when the next deployment came meanwhile (what was begun ends by itself)
 */
async function endFormer(deploying: Deploying): Promise<number | "next"> {
  const { node, application, during, signal } = deploying;
  const there = await node.docker.listContainers({ application });
  // Loaded after the list, so that whose containers are on it is known, however long this process stood still.
  const { state: owner } = await node.log.aggregates.load(applicationKind, application);
  const former = there.filter(({ deployment }) => deployment !== owner.live?.deployment && deployment !== owner.active);
  if (former.length === 0) return 0;
  const end = async (): Promise<number> => {
    // Requests that were under way when the route was switched still come to their end.
    await pause(SETTLE_MS, signal);
    signal.throwIfAborted();
    const removed = await Promise.all(
      former.map(async ({ id }) => {
        const was = await node.docker.removeContainer(id, () => node.drained(id));
        during();
        return was;
      }),
    );
    return removed.filter(Boolean).length;
  };
  const wanted = new AbortController();
  const forget = node.index.onChange((_kind, id, entry) => {
    if (id === application && (entry?.state as ApplicationState | undefined)?.queue.length) wanted.abort();
  });
  if (owner.queue.length > 0) wanted.abort();
  const ending = end();
  const next = new Promise<"next">((resolve) => {
    if (wanted.signal.aborted) resolve("next");
    wanted.signal.addEventListener("abort", () => resolve("next"));
  });
  try {
    const first = await deploying.aside(() => Promise.race([ending, next]));
    if (first === "next") {
      ending.catch((err: unknown) => node.logger.warn({ err, application }, "a former container could not be removed"));
    }
    return first;
  } finally {
    forget();
  }
}

/** Between the switch and the end of what served before, in milliseconds. */
export const SETTLE_MS = 250;

const withSignal = ({ signal }: Deploying) => ({ signal });

/** @throws Error when that phase is not done: `next` asks for a phase only when those before it are */
export function outputOf<P extends Phase>(state: DeploymentState, phase: P): Outputs[P] {
  const output = state.phases[phase]?.output;
  if (output === undefined) throw new Error(`${state.id} has no outcome of ${phase}`);
  return output as Outputs[P];
}

function releaseOf(deploying: Deploying) {
  const { state } = deploying;
  const { inputHash, image } = outputOf(state, "BUILDING");
  return materialise(deploying, {
    source: outputOf(state, "PULLING_SOURCE"),
    inputHash,
    ...(image === undefined ? {} : { image }),
    ...(state.from === null ? {} : { previous: state.from.release }),
  });
}

/** What COPYING_FILES made is there still: a disk may lose between two phases what the log has. */
async function ensureRelease(deploying: Deploying): Promise<Outcome<{ readonly release: string }>> {
  const { release } = outputOf(deploying.state, "COPYING_FILES");
  const found = await findRelease(diskOf(deploying), release);
  if (found !== undefined && !("failed" in found)) return found;
  deploying.say(`the release ${release} is gone, and made again`);
  const again = await releaseOf(deploying);
  if ("failed" in again || again.release === release) return again;
  const fix = "Deploy again: what its source holds has changed.";
  return fail("permanent", "RELEASE_LOST", `The release ${release} is not there and cannot be made again.`, fix);
}

/** Creates and starts what is to serve, and waits until each answers by itself; the route is still the former one's. */
async function startCandidates(
  deploying: Deploying,
): Promise<Outcome<{ readonly containers: ReadonlyArray<RunningContainer> }>> {
  const { state, node, application, requested, signal, owner } = deploying;
  const image = await imageOf(deploying);
  if ("failed" in image) return image;
  const instances = owner.spec?.runtime?.instances ?? requested.runtime?.instances ?? 1;
  const slots = Array.from({ length: instances }, (_, slot) => slot);
  const asked = await containerSpecs(deploying, state.id, image.id, slots);
  if ("failed" in asked) return asked;
  await node.docker.ensureNetwork(application);
  const containers: RunningContainer[] = [];
  for (const spec of asked.specs) {
    containers.push(await node.docker.startContainer(spec));
    deploying.during();
  }
  const began = Date.parse(state.phases.UPDATING_ROUTES?.startedAt ?? new Date().toISOString());
  const patience = began + requested.policy.healthyDeadlineMs;
  const deadlineAt = Math.min(deploying.deadlineAt ?? patience, patience);
  const { path, successes, timeoutMs } = requested.health;
  const untilReady = ({ id, address }: RunningContainer) =>
    probeReady(address, path, { successes, timeoutMs, deadlineAt, signal, giveUp: () => ended(deploying, id) }).catch(
      async (error: unknown) => {
        if (!(error instanceof DockerFailed) || error.code !== "NOT_READY") throw error;
        // Waited for in vain: that it has ended meanwhile, even once, says more than that it did not answer.
        throw (await ended(deploying, id, 1)) ?? error;
      },
    );
  await deploying.aside(() => Promise.all(containers.map(untilReady)));
  return { containers };
}

/** The image of BUILDING; gone from the engine meanwhile, it is built again from the same commit. */
async function imageOf(deploying: Deploying): Promise<Outcome<{ readonly id: string }>> {
  const { state, node, application, deadlineAt } = deploying;
  const { inputHash, image } = outputOf(state, "BUILDING");
  const found = image === undefined ? undefined : await node.docker.findImage(image.tag, inputHash);
  if (found !== undefined) return found;
  deploying.say("the image is gone, and built again");
  const again = await build(deploying, state.id, outputOf(state, "PULLING_SOURCE"), deadlineAt);
  if ("failed" in again) return again;
  return (
    again.image ?? fail("permanent", "IMAGE_MISSING", `${imageTag(application, state.id)} is gone.`, "Deploy again.")
  );
}

const CRASHES_MOST = 3;

/** Why waiting for a container is in vain: it has ended, or does so again and again. */
export async function ended({ node }: Making, id: string, most = CRASHES_MOST): Promise<DockerFailed | undefined> {
  const found = await node.docker.inspectContainer(id);
  const fix = "Look at the application's log: what it said last stands there.";
  const gone = (reason: string) => new DockerFailed({ class: "permanent", code: "CONTAINER_EXITED", reason, fix });
  if (found === undefined) return gone("The container was removed while it was waited for.");
  if (found.oomKilled) return gone("The container ran out of memory.");
  if (found.state === "exited" || found.state === "dead")
    return gone(`The container ended with code ${found.exitCode}.`);
  if (found.restarts >= most)
    return gone(`The container has ended ${found.restarts} times, last with code ${found.exitCode}.`);
  return undefined;
}

async function anyEnded(deploying: Deploying): Promise<DockerFailed | undefined> {
  for (const { id } of outputOf(deploying.state, "UPDATING_ROUTES").containers) {
    const why = await ended(deploying, id);
    if (why !== undefined) return why;
  }
  return undefined;
}

/** Images that must stay: of all that can be gone back to, and of what is under way. */
export function keptTags(owner: ApplicationState): string[] {
  const kept = owner.releases.flatMap(({ image }) => (image === undefined ? [] : [image.tag]));
  return [...kept, ...[owner.active, ...owner.queue].flatMap((id) => (id === null ? [] : [imageTag(owner.id, id)]))];
}

export function keptOnDisk(owner: ApplicationState) {
  return {
    releases: owner.releases.map(({ release }) => release),
    sources: owner.releases.map(({ commit }) => commit),
    generations: [owner.live, owner.previous].flatMap((one) => (one === null ? [] : [one.generation])),
  };
}
