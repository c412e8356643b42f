/** The rules of deployments. */
import { FAILURE_CLASSES, LIMITS, PATTERNS } from "@millrace/contracts/applications/values.ts";
import { type Circumstances, type Decision, invalid, type Refusal, rule } from "../decider.ts";
import { excerptOf, overtaken } from "./application-report.ts";
import type { DeploymentCommand, WorkersDeploymentCommand } from "./deployment-command.ts";
import { type DeploymentEvent, type DeploymentState, failureOf, isOver, mayHaveSwitched } from "./deployment-state.ts";
import { nextOfDeployment } from "./next.ts";

type Answer = Decision<DeploymentEvent>;
type Of<D extends WorkersDeploymentCommand["do"]> = Extract<WorkersDeploymentCommand, { do: D }>;

const notThere: Refusal = { refused: "not-found", reason: "There is no such deployment." };

/** Largest event data of a phase's output, in characters of JSON. */
const OUTPUT_MOST = 64 * 1024;

export function decide(command: DeploymentCommand, state: DeploymentState, around: Circumstances): Answer {
  if (command.do === "request") return request(command, state);
  if (!state.exists) return notThere;
  switch (command.do) {
    case "cancel":
      return cancel(command.reason, state);
    case "supersede":
      return supersede(command.by, state);
    case "start":
      return start(command, state, around.now);
    case "wait":
      return wait(command.reason, state);
    case "beginPhase":
    case "completePhase":
    case "failPhase":
    case "expire":
      return decidePhase(command, state, around.now);
    case "beginCompensation":
    case "compensated":
    case "failCompensation":
    case "abandonCompensation":
      return decideCompensation(command, state, around.now);
    case "finish":
      return finish(command, state, around.now);
  }
}

function request({ do: _, ...data }: Extract<DeploymentCommand, { do: "request" }>, state: DeploymentState): Answer {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This deployment exists already.", fix: "Use another Idempotency-Key." };
  }
  return { events: [{ type: "DeploymentRequested", data }] };
}

const over = ({ state, application }: DeploymentState): Refusal =>
  state === "succeeded"
    ? rule(
        "deployment-over",
        "The deployment has succeeded: there is nothing left to cancel.",
        `Roll back the application ${application} to the release that was live before.`,
      )
    : rule("deployment-over", `The deployment is over: ${state}.`, "Deploy again, if something else is wanted.");

function cancel(reason: string | undefined, state: DeploymentState): Answer {
  if (reason !== undefined && (reason.length > LIMITS.reason || !PATTERNS.title.test(reason))) {
    return invalid("/body/reason", `one line of at most ${LIMITS.reason} characters`);
  }
  const data = reason === undefined ? {} : { reason };
  if (state.state === "queued") {
    return {
      events: [
        { type: "CancellationRequested", data },
        { type: "DeploymentCancelled", data: {} },
      ],
    };
  }
  if (state.state === "cancelled" || state.cancellation !== null) return { events: [] };
  if (isOver(state)) return over(state);
  // It is on its way back already, for another reason.
  if (state.state === "compensating") return { events: [] };
  return { events: [{ type: "CancellationRequested", data }] };
}

function supersede(by: string, state: DeploymentState): Answer {
  if (state.state === "queued") return { events: [{ type: "DeploymentSuperseded", data: { by } }] };
  if (state.state === "running" && !mayHaveSwitched(state)) {
    return { events: [{ type: "SupersessionRequested", data: { by } }] };
  }
  return overtaken("It has gone too far to make way: it ends first.");
}

/** Whether a newer deployment interrupts this one; otherwise it ends first. */
export const makesWay = (state: DeploymentState): boolean => state.state === "running" && !mayHaveSwitched(state);

function start({ worker, node, live }: Of<"start">, state: DeploymentState, now: string): Answer {
  if (state.state !== "queued" || state.requested === null) return overtaken("It has been started already.");
  const deadlineAt = new Date(Date.parse(now) + state.requested.policy.progressDeadlineMs).toISOString();
  const events: DeploymentEvent[] = [{ type: "DeploymentStarted", data: { worker, node, deadlineAt, from: live } }];
  if (state.release !== null) {
    const { commit, tree, inputHash, image } = state.release;
    const used = { attempt: 0, worker, adopted: true, durationMs: 0 } as const;
    const output = { inputHash, ...(image === undefined ? {} : { image: { id: image.id, tag: image.tag } }) };
    events.push(
      { type: "PhaseCompleted", data: { phase: "PULLING_SOURCE", ...used, output: { commit, tree, ref: state.ref } } },
      { type: "PhaseCompleted", data: { phase: "BUILDING", ...used, output } },
    );
  }
  return { events };
}

function wait(reason: string, state: DeploymentState): Answer {
  if (isOver(state)) return overtaken("It is over.");
  const said = excerptOf(reason, 500);
  return { events: state.waiting?.reason === said ? [] : [{ type: "DeploymentWaiting", data: { reason: said } }] };
}

/** From half a second to half a minute, by the number of the attempt. */
export const backoffMs = (attempt: number): number => Math.min(30_000, 500 * 2 ** Math.min(attempt - 1, 6));

const retryAtOf = (attempt: number, asked: number | undefined, now: string): string => {
  const at = asked ?? Date.parse(now) + backoffMs(attempt);
  // A worker's clock or arithmetic may be off; a day is later than any deadline.
  return new Date(Math.min(Math.max(at, Date.parse(now)), Date.parse(now) + 86_400_000)).toISOString();
};

const HEAD = /^[^\p{Cc}]{1,200}$/u;
const isWorker = (worker: string): boolean => HEAD.test(worker);

function decidePhase(
  command: Of<"beginPhase" | "completePhase" | "failPhase" | "expire">,
  state: DeploymentState,
  now: string,
): Answer {
  if (!isWorker(command.worker)) return invalid("/body/worker", "one line of at most 200 characters");
  const { phase, worker } = command;
  if (command.do === "beginPhase") return beginPhase(command, state, now);
  if (command.do === "expire") return expire(command, state, now);
  const known = state.phases[phase];
  if (known?.state !== "running" || known.attempt !== command.attempt || known.worker !== worker) {
    return overtaken(`This is not the current attempt of ${phase}.`);
  }
  if (command.do === "completePhase") {
    const { attempt, adopted, durationMs, output } = command;
    if (!Number.isSafeInteger(durationMs) || durationMs < 0) return invalid("/body/durationMs", "whole milliseconds");
    if (JSON.stringify(output).length > OUTPUT_MOST) return invalid("/body/output", "64 KiB at the most");
    return { events: [{ type: "PhaseCompleted", data: { phase, attempt, worker, adopted, durationMs, output } }] };
  }
  const { attempt, class: kind } = command;
  if (!FAILURE_CLASSES.includes(kind)) return invalid("/body/class", `one of ${FAILURE_CLASSES.join(", ")}`);
  const retries = kind === "transient";
  return {
    events: [
      {
        type: "PhaseFailed",
        data: {
          phase,
          attempt,
          worker,
          class: kind,
          code: PATTERNS.code.test(command.code) ? command.code : "UNKNOWN",
          message: excerptOf(command.message),
          fix: excerptOf(command.fix),
          ...(retries ? { retryAt: retryAtOf(attempt, command.retryAtMs, now) } : {}),
        },
      },
    ],
  };
}

/** What is asked to begin must be what is next: attempts follow each other, phases too. */
function beginPhase(command: Of<"beginPhase">, state: DeploymentState, now: string): Answer {
  const { phase, attempt, worker, node, inputHash } = command;
  if (state.node !== node) return overtaken(`It is done on the node "${state.node ?? ""}".`);
  const next = nextOfDeployment(state, Date.parse(now));
  const step = next !== undefined && "do" in next ? next.do : undefined;
  if (step?.kind !== "phase" || step.phase !== phase || step.attempt !== attempt) {
    return overtaken(`${phase} is not to be begun with attempt ${attempt}.`);
  }
  const data = { phase, attempt, worker, node, ...(inputHash === undefined ? {} : { inputHash }) };
  return { events: [{ type: "PhaseStarted", data }] };
}

function expire({ reason, phase, worker }: Of<"expire">, state: DeploymentState, now: string): Answer {
  const next = nextOfDeployment(state, Date.parse(now));
  const step = next !== undefined && "do" in next ? next.do : undefined;
  if (step?.kind !== "expire" || step.phase !== phase || step.reason !== reason) return overtaken("It is not so.");
  const attempt = state.phases[phase]?.attempt ?? 0;
  const known = state.phases[phase];
  // What failed the last time, not how often it did, is what somebody can mend.
  const last = known?.state === "failed" ? known.error : undefined;
  const because = last === undefined ? "" : ` The last attempt said: ${last.message}`;
  const poison = reason === "poison";
  const code = poison ? (last?.code ?? "POISON") : reason === "progress" ? "PROGRESS_DEADLINE" : "HEALTHY_DEADLINE";
  const allowed = state.requested!.policy[reason === "healthy" ? "healthyDeadlineMs" : "progressDeadlineMs"];
  const message = poison
    ? last === undefined
      ? `${LIMITS.attempts} attempts of ${phase} have failed, or ended with their worker.`
      : `${last.message} (${LIMITS.attempts} attempts)`
    : reason === "progress"
      ? `${phase} was not done ${allowed} ms after the deployment began.${because}`
      : `It did not become healthy within ${allowed} ms.${because}`;
  const fix = poison
    ? (last?.fix ?? "Look at the log of this phase and of the workers, then deploy again.")
    : reason === "progress"
      ? "Look at the log of this phase; a longer progressDeadlineMs in the policy gives it more time."
      : "Look at the application's log and its health path; a longer healthyDeadlineMs gives it more time.";
  return {
    events: [
      {
        type: "PhaseFailed",
        data: {
          phase,
          attempt,
          worker,
          class: poison ? "permanent" : "timeout",
          code,
          message: excerptOf(message),
          fix,
        },
      },
    ],
  };
}

function decideCompensation(
  command: Of<"beginCompensation" | "compensated" | "failCompensation" | "abandonCompensation">,
  state: DeploymentState,
  now: string,
): Answer {
  const { step, worker } = command;
  if (!isWorker(worker)) return invalid("/body/worker", "one line of at most 200 characters");
  if (command.do === "beginCompensation" || command.do === "abandonCompensation") {
    return nextCompensation(command, state, now);
  }
  const known = state.compensations[step];
  if (known?.state !== "running" || known.attempt !== command.attempt || known.worker !== worker) {
    return overtaken(`This is not the current attempt of ${step}.`);
  }
  const { attempt } = command;
  if (command.do === "compensated")
    return { events: [{ type: "CompensationCompleted", data: { step, attempt, worker } }] };
  const code = PATTERNS.code.test(command.code) ? command.code : "UNKNOWN";
  const retryAt = retryAtOf(attempt, command.retryAtMs, now);
  const data = { step, attempt, worker, code, message: excerptOf(command.message), retryAt };
  return { events: [{ type: "CompensationFailed", data }] };
}

function nextCompensation(
  command: Of<"beginCompensation" | "abandonCompensation">,
  state: DeploymentState,
  now: string,
): Answer {
  const { step, worker } = command;
  const next = nextOfDeployment(state, Date.parse(now));
  const due = next !== undefined && "do" in next ? next.do : undefined;
  if (command.do === "beginCompensation") {
    const { attempt } = command;
    return due?.kind === "compensate" && due.step === step && due.attempt === attempt
      ? { events: [{ type: "CompensationStarted", data: { step, attempt, worker } }] }
      : overtaken(`${step} is not to be begun with attempt ${attempt}.`);
  }
  if (due?.kind !== "abandon" || due.step !== step) return overtaken(`${step} is not to be given up.`);
  const known = state.compensations[step]!;
  const message = known.error?.message ?? "Its workers ended while they were at it.";
  const data = { step, attempt: known.attempt, worker, code: "COMPENSATION_ABANDONED", message };
  return { events: [{ type: "CompensationFailed", data }] };
}

function finish({ outcome }: Of<"finish">, state: DeploymentState, now: string): Answer {
  const next = nextOfDeployment(state, Date.parse(now));
  const due = next !== undefined && "do" in next ? next.do : undefined;
  if (due?.kind !== "finish" || due.outcome !== outcome) return overtaken(`It does not end as ${outcome} now.`);
  return { events: [endOf(outcome, state)] };
}

function endOf(outcome: Of<"finish">["outcome"], state: DeploymentState): DeploymentEvent {
  switch (outcome) {
    case "succeeded": {
      const commit = state.phases.PULLING_SOURCE?.output?.commit ?? "";
      return {
        type: "DeploymentSucceeded",
        data: { commit, release: state.phases.COPYING_FILES?.output?.release ?? "" },
      };
    }
    case "cancelled":
      return { type: "DeploymentCancelled", data: {} };
    case "superseded":
      return { type: "DeploymentSuperseded", data: { by: state.supersededBy ?? "" } };
    case "rolledBack":
      return { type: "DeploymentRolledBack", data: { to: state.from?.deployment ?? "" } };
    case "failed": {
      const { phase, code, message, fix } = failureOf(state) ?? NO_FAILURE;
      return { type: "DeploymentFailed", data: { phase, code, message: excerptOf(message), fix: excerptOf(fix) } };
    }
  }
}

/** Only a failure leads to this end; it is here for the types. */
const NO_FAILURE = { phase: "PULLING_SOURCE", code: "UNKNOWN", message: "It failed.", fix: "Deploy again." } as const;
