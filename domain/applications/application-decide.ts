/** The rules of applications. */
import type { LiveRelease } from "@millrace/contracts/applications/entities.ts";
import { hostFault, refFault } from "@millrace/contracts/applications/git.ts";
import { LIMITS } from "@millrace/contracts/applications/values.ts";
import { type Circumstances, type Decision, type Refusal, rule } from "../decider.ts";
import { Faults } from "../faults.ts";
import { applicationNames, hostClaim, removal } from "./application-claims.ts";
import type {
  ApplicationCommand,
  ChangeApplication,
  CreateApplication,
  Deploy,
  PersonsApplicationCommand,
} from "./application-command.ts";
import { decideWorkers, OVERTAKEN } from "./application-report.ts";
import type { ApplicationEvent, ApplicationState } from "./application-state.ts";
import { changedSpec, checkInstances, checkSpec, withDefaults } from "./spec.ts";

type Answer = Decision<ApplicationEvent>;

const notThere: Refusal = { refused: "not-found", reason: "There is no such application." };

export function decide(command: ApplicationCommand, state: ApplicationState, circumstances: Circumstances): Answer {
  if (command.do === "create") return create(command, state, circumstances);
  if (!state.exists || state.spec === null) return notThere;
  if ("seen" in command && command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  switch (command.do) {
    case "change":
    case "deploy":
    case "start":
    case "stop":
    case "scale":
    case "dequeue":
    case "delete":
      return decidePersons(command, state, circumstances.organisation);
    default:
      return decideWorkers(command, state, circumstances);
  }
}

function decidePersons(
  command: Exclude<PersonsApplicationCommand, CreateApplication>,
  state: ApplicationState,
  organisation: string,
): Answer {
  if (command.do === "delete") return remove(command, state, organisation);
  if (command.do === "dequeue") {
    if (!state.queue.includes(command.deployment)) return OVERTAKEN;
    return { events: [{ type: "DeploymentDequeued", data: { deployment: command.deployment } }] };
  }
  if (state.removalRequestedAt !== null) {
    return rule("application-removing", "The application is being removed.", "Create it anew when it is gone.");
  }
  switch (command.do) {
    case "change":
      return change(command, state);
    case "deploy":
      return deploy(command, state);
    case "start":
      return { events: state.spec!.wanted === "running" ? [] : [{ type: "ApplicationStartRequested", data: {} }] };
    case "stop":
      return { events: state.spec!.wanted === "stopped" ? [] : [{ type: "ApplicationStopRequested", data: {} }] };
    case "scale":
      return scale(command.instances, state);
  }
}

function create({ spec: input, host }: CreateApplication, state: ApplicationState, around: Circumstances): Answer {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This application exists already.", fix: "Use another Idempotency-Key." };
  }
  const spec = withDefaults(input);
  const refusal = checkSpec(spec) ?? new Faults().check("/name", hostFault, host).refusal();
  if (refusal !== undefined) return refusal;
  const hosts = new Set([host, ...spec.domains]);
  return {
    events: [
      {
        type: "ApplicationCreated",
        data: { spec: { ...spec, domains: spec.domains.filter((domain) => domain !== host) }, host },
      },
    ],
    claims: [
      applicationNames.claim(around.organisation, spec.name, true),
      ...[...hosts].map((one) => hostClaim(one, true)),
    ],
  };
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

/** With members in one order, so that what was only written otherwise is the same. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

function change(command: ChangeApplication, state: ApplicationState): Answer {
  const before = state.spec!;
  const after = changedSpec(before, command);
  const spec = { ...after, domains: after.domains.filter((domain) => domain !== state.host) };
  if (spec.build.kind !== before.build.kind) {
    return rule(
      "build-kind-fixed",
      `The application is built as ${before.build.kind}: that does not change.`,
      "Create another application, and move the domains to it.",
    );
  }
  const refusal = checkSpec(spec);
  if (refusal !== undefined) return refusal;
  if (spec.node !== undefined && spec.node !== before.node && state.node !== null && state.node !== spec.node) {
    return rule(
      "already-placed",
      `The application lives on the node "${state.node}".`,
      "Create it anew on the other node, and move the domains to it.",
    );
  }
  const events: ApplicationEvent[] = [];
  if (spec.title !== before.title) events.push({ type: "ApplicationRetitled", data: { title: spec.title ?? null } });
  if (!same(spec.source, before.source)) events.push({ type: "SourceChanged", data: { source: spec.source } });
  if (!same(spec.build, before.build)) events.push({ type: "BuildChanged", data: { build: spec.build } });
  events.push(...runtimeChanges(before.runtime, spec.runtime));
  if (!same(spec.health, before.health)) events.push({ type: "HealthChanged", data: { health: spec.health } });
  if (!same(spec.policy, before.policy)) events.push({ type: "PolicyChanged", data: { policy: spec.policy } });
  if (spec.node !== before.node) events.push({ type: "HomeChosen", data: { node: spec.node ?? null } });
  const added = spec.domains.filter((host) => !before.domains.includes(host));
  const removed = before.domains.filter((host) => !spec.domains.includes(host));
  if (!same(spec.domains, before.domains)) {
    events.push({ type: "DomainsChanged", data: { domains: spec.domains, added, removed } });
  }
  const claims = [...added.map((host) => hostClaim(host, true)), ...removed.map((host) => hostClaim(host, false))];
  return { events, claims };
}

/** The number of instances is changed at once, everything else with the next deployment. */
function runtimeChanges(
  before: NonNullable<ApplicationState["spec"]>["runtime"],
  after: NonNullable<ApplicationState["spec"]>["runtime"],
): ApplicationEvent[] {
  if (before === undefined || after === undefined || same(before, after)) return [];
  const events: ApplicationEvent[] = [];
  const { instances } = after;
  if (!same({ ...before, instances }, after)) {
    events.push({ type: "RuntimeChanged", data: { runtime: { ...after, instances: before.instances } } });
  }
  if (instances !== before.instances) {
    events.push({ type: "ApplicationScaled", data: { from: before.instances, to: instances } });
  }
  return events;
}

function scale(instances: number, { spec }: ApplicationState): Answer {
  if (spec!.runtime === undefined) {
    return rule("nothing-to-scale", "A static site has no instances.", "It is served to everybody as it is.");
  }
  const refusal = checkInstances(new Faults(), "/instances", instances).refusal();
  if (refusal !== undefined) return refusal;
  const from = spec!.runtime.instances;
  return { events: from === instances ? [] : [{ type: "ApplicationScaled", data: { from, to: instances } }] };
}

function deploy(command: Deploy, state: ApplicationState): Answer {
  const { deployment, trigger, ref, seq, superseded, release } = command;
  if (state.spec!.wanted === "stopped" && trigger !== "reconcile") {
    return rule("application-stopped", "The application is stopped.", "Start it first.");
  }
  const fault = refFault(ref);
  if (fault !== undefined) return new Faults().add("/ref", fault).refusal()!;
  const current =
    seq === state.nextSeq &&
    command.specGeneration === state.generation &&
    command.active === state.active &&
    superseded.length === state.queue.length &&
    superseded.every((one, i) => one === state.queue[i]);
  if (!current || superseded.includes(deployment)) return OVERTAKEN;
  if ((trigger === "rollback" || trigger === "restart") && release === undefined) return nothingLive;
  if (release !== undefined && !isKept(state.releases, release.deployment)) return notKept(state, release.deployment);
  return { events: [{ type: "DeploymentQueued", data: { deployment, seq, trigger, ref, superseded } }] };
}

const isKept = (releases: ReadonlyArray<LiveRelease>, deployment: string): boolean =>
  releases.some((release) => release.deployment === deployment);

export const nothingLive: Refusal = rule(
  "nothing-live",
  "No deployment of this application has succeeded yet.",
  "Deploy it first.",
);

/** Why one cannot go back to a deployment. */
export function notKept({ releases, live, spec }: ApplicationState, deployment: string): Refusal {
  const others = releases.filter((release) => release.deployment !== live?.deployment);
  const kept = others.map((release) => `${release.deployment} (number ${release.seq})`).join(", ");
  return rule(
    "release-not-kept",
    `There is no release of ${deployment} to go back to: it did not succeed, or was tidied away (${spec?.policy.keepReleases ?? 0} are kept).`,
    kept === ""
      ? "There is no earlier release. Deploy the commit anew."
      : `Kept are ${kept}. Or deploy the commit anew.`,
  );
}

function remove(
  command: Extract<PersonsApplicationCommand, { do: "delete" }>,
  state: ApplicationState,
  organisation: string,
): Answer {
  if (state.removalRequestedAt !== null) return { events: [] };
  const { queue, active } = command;
  const current =
    active === state.active &&
    queue.length === state.queue.length &&
    queue.every((one, i) => one === state.queue[i]) &&
    queue.length <= LIMITS.queue;
  if (!current) return OVERTAKEN;
  const events: ApplicationEvent[] = [
    ...queue.map((deployment) => ({ type: "DeploymentDequeued", data: { deployment } }) as const),
    { type: "ApplicationRemovalRequested", data: {} },
  ];
  // No worker has ever taken it: there is nothing of it in the world.
  if (state.node !== null) return { events };
  const gone = removal(state, organisation);
  return { events: [...events, ...gone.events], claims: gone.claims };
}
