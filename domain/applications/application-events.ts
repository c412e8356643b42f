/** Events of an application in the log: today's version, an example of each, and how a person would say it. */
import * as shape from "@millrace/contracts/applications/events.ts";
import type { EventDeclaration } from "../kind.ts";
import { excerpt, first, listed } from "../sentences.ts";
import type { ApplicationEventType } from "./application-state.ts";
import { placeOf, refOf, withDefaults } from "./spec.ts";

const deployment = "dep_01kajzq4v0e8r9t2m5x7c3d6fg";
const earlier = "dep_01kajzq4v0e8r9t2m5x7c3d6ff";
const TRIGGERED = { manual: "", rollback: ", a rollback", restart: ", a restart", reconcile: ", to heal it" };

const spec = withDefaults({
  name: "shop",
  title: "The shop",
  source: { kind: "git", url: "https://git.example.org/shop.git", ref: "main" },
  build: { kind: "dockerfile" },
  runtime: { port: 3000, instances: 2, env: { MODE: "production", KEY: { secret: "sec_01kajzq4v0e8r9t2m5x7c3d6fg" } } },
  domains: ["shop.example.org"],
});

/** A release as an example. */
export const exampleLive = {
  deployment,
  seq: 4,
  commit: "8f1b2c3d4e5f60718293a4b5c6d7e8f901234567",
  tree: "0123456789abcdef0123456789abcdef01234567",
  ref: "main",
  release: "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
  inputHash: "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730",
  image: { id: "sha256:2c26b46b68ffc68ff99b453c1d304134", tag: `millrace/app:${deployment}` },
  generation: 4,
  kind: "dockerfile",
  trigger: "manual",
  specGeneration: 2,
  instances: 2,
  at: "2026-11-21T08:00:00.000Z",
  verified: true,
} as const;

export const exampleSpec = spec;

const timed = (at: string): string => at.slice(0, 16).replace("T", " ");

export const applicationEventDeclarations: Readonly<Record<ApplicationEventType, EventDeclaration>> = {
  ApplicationCreated: first(
    shape.ApplicationCreated,
    { spec, host: "shop.home.apps.localhost" },
    (data) => `created the application "${data.spec.name}" from ${placeOf(data.spec.source)}`,
  ),
  ApplicationRetitled: first(shape.ApplicationRetitled, { title: "Our shop" }, ({ title }) =>
    title === null ? "took its title off" : `titled it "${title}"`,
  ),
  SourceChanged: first(shape.SourceChanged, { source: spec.source }, ({ source }) =>
    source.kind === "upload"
      ? `took it from ${placeOf(source)}`
      : `took it from ${placeOf(source)} at ${refOf(source)}`,
  ),
  BuildChanged: first(shape.BuildChanged, { build: spec.build }, ({ build }) =>
    build.kind === "static"
      ? `has the folder ${build.folder} served`
      : `has it built from ${build.dockerfile} in ${build.context}`,
  ),
  RuntimeChanged: first(shape.RuntimeChanged, { runtime: spec.runtime! }, ({ runtime }) => {
    const count = Object.keys(runtime.env).length;
    return `changed how it runs: port ${runtime.port}, ${count} ${count === 1 ? "variable" : "variables"}`;
  }),
  HealthChanged: first(
    shape.HealthChanged,
    { health: spec.health },
    ({ health }) => `changed its health check: ${health.path}`,
  ),
  DomainsChanged: first(
    shape.DomainsChanged,
    { domains: ["shop.example.org"], added: ["shop.example.org"], removed: [] },
    ({ added, removed, domains }) =>
      [
        ...(added.length === 0 ? [] : [`added the ${hosts(added)}`]),
        ...(removed.length === 0 ? [] : [`took off the ${hosts(removed)}`]),
        ...(added.length + removed.length === 0 ? [`put its hosts in another order: ${listed(domains)}`] : []),
      ].join(" and "),
  ),
  PolicyChanged: first(
    shape.PolicyChanged,
    { policy: spec.policy },
    ({ policy }) => `changed the policy of its deployments: ${policy.keepReleases} releases kept`,
  ),
  HomeChosen: first(shape.HomeChosen, { node: "local" }, ({ node }) =>
    node === null ? "left it open on which node it lives" : `chose the node ${node} for it`,
  ),
  ApplicationScaled: first(
    shape.ApplicationScaled,
    { from: 1, to: 2 },
    ({ from, to }) => `scaled it from ${from} to ${to} ${to === 1 ? "instance" : "instances"}`,
  ),
  ApplicationStartRequested: first(shape.ApplicationStartRequested, {}, () => "asked for it to be started"),
  ApplicationStopRequested: first(shape.ApplicationStopRequested, {}, () => "asked for it to be stopped"),
  ApplicationPlaced: first(shape.ApplicationPlaced, { node: "local" }, ({ node }) => `placed it on the node ${node}`),
  DeploymentQueued: first(
    shape.DeploymentQueued,
    { deployment, seq: 4, trigger: "manual", ref: "main", superseded: [earlier] },
    ({ seq, trigger, ref, superseded }) =>
      `asked for deployment ${seq} of ${ref}${TRIGGERED[trigger]}${superseded.length === 0 ? "" : ", in place of the one that waited"}`,
  ),
  DeploymentDequeued: first(shape.DeploymentDequeued, { deployment }, () => "cancelled the deployment that waited"),
  DeploymentActivated: first(shape.DeploymentActivated, { deployment }, () => "began the deployment that waited"),
  DeploymentEnded: first(
    shape.DeploymentEnded,
    { deployment, outcome: "succeeded", live: exampleLive },
    ({ outcome, live, problem }) => {
      const end =
        outcome === "rolledBack"
          ? "was rolled back"
          : outcome === "succeeded" || outcome === "failed"
            ? outcome
            : `was ${outcome}`;
      if (problem !== undefined)
        return `saw the deployment end: it ${end} (${problem.code}: ${excerpt(problem.message)})`;
      return `saw the deployment end: it ${end}${live === undefined ? "" : `; ${live.commit.slice(0, 12)} is live`}`;
    },
  ),
  ApplicationSettled: first(shape.ApplicationSettled, { wanted: "stopped", instances: 0 }, ({ wanted, instances }) =>
    wanted === "stopped"
      ? "stopped it"
      : `has it running${instances === 0 ? "" : ` with ${instances} ${instances === 1 ? "instance" : "instances"}`}`,
  ),
  DriftDetected: first(
    shape.DriftDetected,
    { resource: "container:0", expected: "running", actual: "missing" },
    ({ resource, expected, actual }) => `found ${resource} drifted: ${excerpt(actual)} instead of ${excerpt(expected)}`,
  ),
  DriftRepaired: first(
    shape.DriftRepaired,
    { resource: "container:0", action: "started anew" },
    ({ resource, action }) => `repaired ${resource}: ${excerpt(action)}`,
  ),
  DriftRepairFailed: first(
    shape.DriftRepairFailed,
    { resource: "container:0", message: "the image is gone" },
    ({ resource, message }) => `could not repair ${resource}: ${excerpt(message)}`,
  ),
  DriftRepairSuspended: first(
    shape.DriftRepairSuspended,
    { resource: "container:0", count: 5, until: "2026-11-21T08:10:00.000Z" },
    ({ resource, count, until }) =>
      `leaves ${resource} alone until ${timed(until)} after ${count} repairs within ten minutes`,
  ),
  ApplicationRemovalRequested: first(shape.ApplicationRemovalRequested, {}, () => "asked for it to be removed"),
  ApplicationRemoved: first(
    shape.ApplicationRemoved,
    { name: "shop", hosts: ["shop.home.apps.localhost", "shop.example.org"] },
    ({ name }) => `removed the application "${name}"`,
  ),
};

const hosts = (all: ReadonlyArray<string>): string => `${all.length === 1 ? "host" : "hosts"} ${listed(all)}`;
