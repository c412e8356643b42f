/**
 * What has to be done so that the world is as the log says: a pure function from what is wanted and what is there to acts.
 * Done as planned and planned again, it gives none. Used for healing, for starting, stopping and scaling alike.
 */
import type { ApplicationState } from "@millrace/domain/applications/application-state.ts";
import type { Container } from "./adapters/docker.ts";
import type { RouteState } from "./adapters/routes.ts";

export interface Desired {
  readonly deployment: string;
  readonly generation: number;
  readonly release: string;
  readonly kind: "static" | "dockerfile";
  /** Of the containers, when there are any. */
  readonly imageId: string | undefined;
  /** Containers that are to run: 0 of a static site, and when it is stopped. */
  readonly instances: number;
  readonly stopped: boolean;
}

export interface Actual {
  /** The folder of the live release is there. */
  readonly release: boolean;
  readonly routes: RouteState;
  /** Of this application; undefined: the engine does not answer, so nothing is known of them. */
  readonly containers:
    | ReadonlyArray<
        Pick<Container, "id" | "deployment" | "slot" | "imageId" | "state" | "health" | "address" | "endedWith">
      >
    | undefined;
}

/** `resource` names what is not as it should be, in events and for the count of repairs. */
interface Found {
  readonly resource: string;
  readonly expected: string;
  readonly actual: string;
}

export type Action = Found &
  (
    | { readonly do: "make-release" }
    | { readonly do: "choose-release" }
    | { readonly do: "start-container"; readonly slot: number; readonly unhealthy: string | undefined }
    | { readonly do: "switch-route" }
    | { readonly do: "set-stopped"; readonly stopped: boolean }
    | { readonly do: "remove-container"; readonly id: string }
  );

/** What is wanted of it; undefined: nothing is live, or a deployment or a removal has its turn. */
export function desiredOf(
  state: ApplicationState,
  settled: ApplicationState["settled"] = state.settled,
): Desired | undefined {
  const { live } = state;
  if (!state.exists || live === null || state.active !== null || state.removalRequestedAt !== null) return undefined;
  const stopped = settled.wanted === "stopped";
  return {
    deployment: live.deployment,
    generation: live.generation,
    release: live.release,
    kind: live.kind,
    imageId: live.image?.id,
    instances: live.kind === "static" || stopped ? 0 : settled.instances,
    stopped,
  };
}

export function plan(desired: Desired, actual: Actual): Action[] {
  const { routes } = actual;
  const actions: Action[] = [];
  if (!actual.release) {
    actions.push({ do: "make-release", resource: "release", expected: desired.release, actual: "nothing" });
  }
  const linked = routes.problems.find((problem) => problem.startsWith("current "));
  if (routes.current !== desired.release || linked !== undefined) {
    const is = linked ?? routes.current ?? "nothing";
    actions.push({ do: "choose-release", resource: "symlink", expected: desired.release, actual: is });
  }
  const stop = { do: "set-stopped", stopped: desired.stopped, resource: "stopped" } as const;
  const answers = (stopped: boolean) => (stopped ? "stopped" : "serving");
  const toStop = { ...stop, expected: answers(desired.stopped), actual: answers(routes.stopped) };
  // First nobody is sent there any more, then it is ended; and the other way round it is there before it is asked.
  if (desired.stopped && !routes.stopped) actions.push(toStop);
  const starts = startsOf(desired, actual);
  actions.push(...starts);
  const wrong = routeFault(desired, actual, starts.length > 0 && desired.instances > 0);
  if (wrong !== undefined) {
    const expected = `generation ${desired.generation} of ${desired.deployment}`;
    actions.push({ do: "switch-route", resource: "route", expected, actual: wrong });
  }
  if (!desired.stopped && routes.stopped) actions.push(toStop);
  actions.push(...removalsOf(desired, actual));
  return actions;
}

function startsOf(desired: Desired, { containers }: Actual): Action[] {
  if (containers === undefined) return [];
  const actions: Action[] = [];
  for (let slot = 0; slot < desired.instances; slot++) {
    const there = containers.find((one) => one.deployment === desired.deployment && one.slot === slot);
    const wrong = containerFault(desired, there);
    if (wrong === undefined) continue;
    actions.push({
      do: "start-container",
      slot,
      unhealthy: there?.health === "unhealthy" && there.state === "running" ? there.id : undefined,
      resource: `container:${slot}`,
      expected: "running",
      actual: wrong,
    });
  }
  return actions;
}

type Known = NonNullable<Actual["containers"]>[number];

/** Why it ended, as far as its code tells; 137 is SIGKILL, which is also what comes at the limit of memory. */
function afterCode({ endedWith }: Known): string {
  if (endedWith === undefined) return "";
  return ` after code ${endedWith}${endedWith === 137 ? " (killed: out of memory, or by hand)" : ""}`;
}

function containerFault({ imageId }: Desired, there: Known | undefined): string | undefined {
  if (there === undefined) return "nothing";
  if (imageId !== undefined && there.imageId !== imageId) return `another image, ${there.imageId}`;
  // One that the engine starts again and again is in that state for ever longer: seen, told, and after a while left alone.
  if (there.state !== "running") return `${there.state}${afterCode(there)}`;
  return there.health === "unhealthy" ? "unhealthy" : undefined;
}

/** What is wrong with what is served; undefined: nothing. @param moved containers are started, whose addresses may be others */
function routeFault(desired: Desired, { routes, containers }: Actual, moved: boolean): string | undefined {
  const broken = routes.problems.find((problem) => !problem.startsWith("current "));
  if (broken !== undefined) return broken;
  const { route } = routes;
  // What is stopped has no addresses: its route is what it was, and made anew when it starts.
  if (desired.stopped && desired.kind === "dockerfile") return undefined;
  if (route === null) return "nothing";
  if (route.deployment !== desired.deployment) return `${route.deployment}`;
  if (desired.kind === "static") return route.release === desired.release ? undefined : `release ${route.release}`;
  if (containers === undefined) return undefined;
  const addresses = addressesOf(desired, containers);
  // One that was started a moment ago may have no address yet: judged when it has.
  if (addresses.length < desired.instances && !moved) return undefined;
  const same = addresses.length === route.addresses.length && addresses.every((one) => route.addresses.includes(one));
  return same && !moved ? undefined : `addresses ${route.addresses.join(" ") || "none"}`;
}

/** Where its containers listen, by slot. */
export function addressesOf(desired: Desired, containers: NonNullable<Actual["containers"]>): string[] {
  return containers
    .filter(({ deployment, slot }) => deployment === desired.deployment && slot < desired.instances)
    .sort((a, b) => a.slot - b.slot)
    .flatMap(({ address }) => (address === undefined ? [] : [address]));
}

/** What runs and is not wanted; last, when nobody is sent there any more. */
function removalsOf(desired: Desired, { containers = [] }: Actual): Action[] {
  return containers
    .filter(({ deployment, slot }) => deployment !== desired.deployment || slot >= desired.instances)
    .map(({ id, deployment, slot }) => ({
      do: "remove-container" as const,
      id,
      resource: deployment === desired.deployment ? `container:${slot}` : "orphan",
      expected: "nothing",
      actual: `container ${slot} of ${deployment}`,
    }));
}
