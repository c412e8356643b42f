/** Events of a deployment in the log: today's version, an example of each, and how a person would say it. */
import * as shape from "@millrace/contracts/applications/events.ts";
import type { Compensation, Phase } from "@millrace/contracts/applications/values.ts";
import type { EventDeclaration } from "../kind.ts";
import { excerpt, first } from "../sentences.ts";
import { exampleLive, exampleSpec } from "./application-events.ts";
import type { DeploymentEventType } from "./deployment-state.ts";

const worker = "orchestrator-1";
const node = "local";
const by = "dep_01kajzq4v0e8r9t2m5x7c3d6fh";
const { deployment, seq, commit, tree, ref, release, inputHash, image } = exampleLive;

const nth = (attempt: number): string => (attempt > 1 ? `, attempt ${attempt}` : "");
const seconds = (ms: number): string => (ms < 1_000 ? `${ms} ms` : `${(ms / 1_000).toFixed(1)} s`);
const timed = (at: string): string => `${at.slice(11, 19)} UTC`;

const PHASE_WORDS = {
  PULLING_SOURCE: "the source",
  BUILDING: "the build",
  COPYING_FILES: "the files",
  CREATING_SYMLINKS: "the symlinks",
  UPDATING_ROUTES: "the routes",
  HEALTH_CHECK: "the health check",
  CLEANUP: "tidying up",
} as const;

const STEP_WORDS = {
  RESTORE_ROUTES: "putting the former routes back",
  RESTORE_SYMLINKS: "putting the former symlinks back",
  REMOVE_CONTAINERS: "removing the new containers",
  REMOVE_IMAGE: "removing the new image",
  REMOVE_RELEASE: "removing the new files",
} as const;

export const deploymentEventDeclarations: Readonly<Record<DeploymentEventType, EventDeclaration>> = {
  DeploymentRequested: first(
    shape.DeploymentRequested,
    {
      application: "app_01kajzq4v0e8r9t2m5x7c3d6fg",
      name: "shop",
      seq: 5,
      trigger: "rollback",
      ref: "main",
      requested: exampleSpec,
      specGeneration: 3,
      release: { deployment, seq, commit, tree, ref, release, inputHash, image },
    },
    (data) => {
      const what = `deployment ${data.seq} of "${data.name}"`;
      if (data.trigger === "rollback") return `asked for ${what}: back to deployment ${data.release?.seq ?? "?"}`;
      return `asked for ${what}: ${data.trigger === "restart" ? "a restart" : data.ref}`;
    },
  ),
  DeploymentWaiting: first(
    shape.DeploymentWaiting,
    { reason: "no worker of the node local is there" },
    ({ reason }) => `noted that it waits: ${excerpt(reason)}`,
  ),
  DeploymentStarted: first(
    shape.DeploymentStarted,
    { worker, node, deadlineAt: "2026-11-21T08:10:00.000Z", from: exampleLive },
    (data) => `began it on the node ${data.node}`,
  ),
  PhaseStarted: first(
    shape.PhaseStarted,
    { phase: "BUILDING", attempt: 2, worker, node, inputHash },
    ({ phase, attempt }) => `began ${PHASE_WORDS[phase as Phase]}${nth(attempt)}`,
  ),
  PhaseCompleted: first(
    shape.PhaseCompleted,
    {
      phase: "PULLING_SOURCE",
      attempt: 1,
      worker,
      adopted: false,
      durationMs: 1_480,
      output: { commit, tree, ref },
    },
    ({ phase, adopted, durationMs }) =>
      adopted
        ? `found ${PHASE_WORDS[phase as Phase]} done already`
        : `finished ${PHASE_WORDS[phase]} in ${seconds(durationMs)}`,
  ),
  PhaseFailed: first(
    shape.PhaseFailed,
    {
      phase: "BUILDING",
      attempt: 1,
      worker,
      class: "permanent",
      code: "BUILD_FAILED",
      message: "step 3 of 5 ended with 1",
      fix: "Look at the build's log.",
    },
    ({ phase, code, message, retryAt }) =>
      `failed at ${PHASE_WORDS[phase as Phase]} (${code}: ${excerpt(message)})${retryAt === undefined ? "" : `; it is tried again at ${timed(retryAt)}`}`,
  ),
  CancellationRequested: first(shape.CancellationRequested, { reason: "The wrong branch" }, ({ reason }) =>
    reason === undefined ? "asked for it to be cancelled" : `asked for it to be cancelled: ${excerpt(reason)}`,
  ),
  SupersessionRequested: first(shape.SupersessionRequested, { by }, () => "asked for a newer one, which interrupts it"),
  CompensationStarted: first(
    shape.CompensationStarted,
    { step: "RESTORE_ROUTES", attempt: 1, worker },
    ({ step, attempt }) => `began ${STEP_WORDS[step as Compensation]}${nth(attempt)}`,
  ),
  CompensationCompleted: first(
    shape.CompensationCompleted,
    { step: "RESTORE_ROUTES", attempt: 1, worker },
    ({ step }) => `finished ${STEP_WORDS[step as Compensation]}`,
  ),
  CompensationFailed: first(
    shape.CompensationFailed,
    {
      step: "REMOVE_CONTAINERS",
      attempt: 1,
      worker,
      code: "DOCKER_AWAY",
      message: "the engine does not answer",
      retryAt: "2026-11-21T08:00:01.000Z",
    },
    ({ step, message, retryAt }) =>
      `failed at ${STEP_WORDS[step as Compensation]} (${excerpt(message)})${retryAt === undefined ? ", and gave it up" : ""}`,
  ),
  DeploymentSucceeded: first(
    shape.DeploymentSucceeded,
    { commit, release },
    (data) => `finished it: ${data.commit.slice(0, 12)} is live`,
  ),
  DeploymentFailed: first(
    shape.DeploymentFailed,
    {
      phase: "BUILDING",
      code: "BUILD_FAILED",
      message: "step 3 of 5 ended with 1",
      fix: "Look at the build's log.",
    },
    ({ phase, code, message }) =>
      `ended it: it failed at ${PHASE_WORDS[phase as Phase]} (${code}: ${excerpt(message)})`,
  ),
  DeploymentCancelled: first(shape.DeploymentCancelled, {}, () => "ended it: cancelled"),
  DeploymentSuperseded: first(shape.DeploymentSuperseded, { by }, () => "ended it: a newer one has taken its place"),
  DeploymentRolledBack: first(
    shape.DeploymentRolledBack,
    { to: deployment },
    ({ to }) => `took it back: ${to} is live again`,
  ),
};
