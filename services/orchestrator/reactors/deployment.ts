/** The reactor of deployments: what `next` asks for is begun in the log, looked for in the world, done where it is not there, and recorded. */
import type { Phase } from "@millrace/contracts/applications/values.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import type { DeploymentCommand } from "@millrace/domain/applications/deployment-command.ts";
import type { DeploymentState } from "@millrace/domain/applications/deployment-state.ts";
import {
  type DeploymentStep,
  finishing,
  interruptsDeployment,
  isHomeOfDeployment,
  nextOfDeployment,
} from "@millrace/domain/applications/next.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { type Journal, openJournal } from "@millrace/eventlog/journal.ts";
import type { Failed, Failure, Outcome } from "@millrace/eventlog/outcome.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { asOutcome, type OrchestratorNode } from "../node.ts";
import { COMPENSATE } from "./compensations.ts";
import { type Deploying, type Done, MakesWay, PERFORM } from "./phases.ts";

type DeploymentWork = Work<DeploymentState, DeploymentCommand>;
type Step<K extends DeploymentStep["kind"]> = Extract<DeploymentStep, { kind: K }>;

/** Long enough for what it makes way for to have its turn. */
const MADE_WAY_MS = 1_000;
const AGAIN: Verdict = { again: true };

export const deploymentReactor = (
  node: OrchestratorNode,
): Reactor<DeploymentState, DeploymentCommand, DeploymentStep> => ({
  kind: deployment,
  // The application's own reactor works on the same unit: at one thing of an application at a time.
  unit: (state) => state.application,
  mine: (state) => isHomeOfDeployment(state, node.name),
  next: nextOfDeployment,
  interrupts: interruptsDeployment,
  perform: (step, work) => {
    switch (step.kind) {
      case "phase":
        return performPhase(node, step, work);
      case "compensate":
        return compensate(node, step, work);
      case "abandon":
        return record(work, { do: "abandonCompensation", step: step.step, worker: work.worker });
      case "expire":
        return record(work, { do: "expire", reason: step.reason, phase: step.phase, worker: work.worker });
      case "finish":
        return finish(step, work);
    }
  },
});

async function record(work: DeploymentWork, command: DeploymentCommand): Promise<Verdict> {
  await work.record(command);
  return AGAIN;
}

/** Lines of a deployment are its application's. */
const journalOf = (node: OrchestratorNode, { id: group, organisation }: DeploymentWork, application: string) =>
  openJournal(
    node,
    { organisation, context: "applications", kind: "application", id: application, source: "build", group },
    { deployment: group },
  );

async function performPhase(node: OrchestratorNode, step: Step<"phase">, work: DeploymentWork): Promise<Verdict> {
  const { phase, attempt, deadlineAt } = step;
  const { worker } = work;
  // The intent stands in the log before the world is touched.
  const { state } = await work.record({ do: "beginPhase", phase, attempt, worker, node: node.name });
  const point = (when: string) => faultPoint(`deployment.${phase}.${when}`);
  point("before");
  const began = performance.now();
  // The health check minds its deadline itself, and says what it met last.
  const minds = deadlineAt === null || phase === "HEALTH_CHECK";
  const late = minds ? undefined : AbortSignal.timeout(Math.max(1, deadlineAt - Date.now()));
  const signal = late === undefined ? work.signal : AbortSignal.any([work.signal, late]);
  const journal = await journalOf(node, work, state.application);
  let outcome: Outcome<Done<Phase>>;
  try {
    const deploying = await deployingOf(node, work, state, {
      signal,
      journal,
      deadlineAt,
      during: () => point("during"),
    });
    journal.say(`${phase}: attempt ${attempt}`);
    outcome = await asOutcome<Done<Phase>>(() => PERFORM[phase](deploying));
    journal.say("failed" in outcome ? `${phase}: ${outcome.failed.message}` : `${phase}: done`);
  } catch (error) {
    if (error instanceof MakesWay) return { retryAfterMs: MADE_WAY_MS, reason: error.message };
    throw error;
  } finally {
    await journal.close();
  }
  if ("failed" in outcome) {
    if (work.signal.aborted) throw work.signal.reason;
    // Its deadline has passed: `next` says so, from the log.
    if (late?.aborted === true && outcome.failed.class !== "timeout") return AGAIN;
    const { failed } = outcome;
    const kind = failureClass(failed, attempt > 1 || node.hadEngine() || state.from?.kind === "dockerfile");
    return record(work, { do: "failPhase", phase, attempt, worker, ...failed, class: kind });
  }
  point("after");
  const durationMs = Math.round(performance.now() - began);
  await work.record({ do: "completePhase", phase, attempt, worker, durationMs, ...outcome } as DeploymentCommand);
  point("recorded");
  return AGAIN;
}

/** What was not interrupted by anybody who told so is tried again; and an engine that was there is waited for. */
const failureClass = ({ class: kind, code }: Failure, hadEngine: boolean): Failure["class"] =>
  kind === "cancelled" || (code === "DOCKER_MISSING" && hadEngine) ? "transient" : kind;

async function compensate(node: OrchestratorNode, step: Step<"compensate">, work: DeploymentWork): Promise<Verdict> {
  const { attempt } = step;
  const { worker, signal } = work;
  const { state } = await work.record({ do: "beginCompensation", step: step.step, attempt, worker });
  const point = (when: string) => faultPoint(`deployment.${step.step}.${when}`);
  point("before");
  const journal = await journalOf(node, work, state.application);
  let outcome: object | Failed;
  try {
    const deploying = await deployingOf(node, work, state, {
      signal,
      journal,
      deadlineAt: null,
      during: () => point("during"),
    });
    journal.say(step.step);
    outcome = await asOutcome<object>(() => COMPENSATE[step.step](deploying));
    if ("failed" in outcome) journal.say(`${step.step}: ${(outcome as Failed).failed.message}`);
  } finally {
    await journal.close();
  }
  if ("failed" in outcome) {
    if (work.signal.aborted) throw work.signal.reason;
    const { code, message } = (outcome as Failed).failed;
    return record(work, { do: "failCompensation", step: step.step, attempt, worker, code, message });
  }
  point("during");
  point("after");
  await work.record({ do: "compensated", step: step.step, attempt, worker });
  point("recorded");
  return AGAIN;
}

async function finish(step: Step<"finish">, work: DeploymentWork): Promise<Verdict> {
  faultPoint("deployment.finish.before");
  const parts = finishing(work.loaded.state, step, new Date().toISOString());
  await work.record(parts.deployment.command, [{ kind: application, ...parts.application }]);
  faultPoint("deployment.finish.recorded");
  return AGAIN;
}

async function deployingOf(
  node: OrchestratorNode,
  work: DeploymentWork,
  state: DeploymentState,
  given: {
    readonly signal: AbortSignal;
    readonly journal: Journal;
    readonly deadlineAt: number | null;
    readonly during: () => void;
  },
): Promise<Deploying> {
  if (state.requested === null) throw new Error(`${state.id} was never asked for`);
  const { state: owner } = await node.log.aggregates.load(application, state.application);
  const { signal, journal, deadlineAt, during } = given;
  return {
    node,
    organisation: work.organisation,
    application: state.application,
    requested: state.requested,
    state,
    owner,
    deadlineAt,
    aside: (wait) => work.aside(wait),
    signal,
    say: journal.say,
    redact: journal.redact,
    during,
  };
}
