/** The rules of what workers report of an application. */
import { bytesOf, PATTERNS, REPAIRS } from "@millrace/contracts/applications/values.ts";
import { type Circumstances, type Decision, invalid, type Refusal, rule } from "../decider.ts";
import { removal } from "./application-claims.ts";
import type { WorkersApplicationCommand } from "./application-command.ts";
import type { ApplicationEvent, ApplicationState } from "./application-state.ts";

/** It was made from a state that is no more: whoever made it makes it anew. */
export const OVERTAKEN: Refusal = {
  refused: "conflict",
  reason: "The application, or what is under way with it, has changed in this very moment.",
  fix: "Send it again.",
};

/** Whether a refusal only says that somebody else has gone on meanwhile. */
export const isOvertaken = (refusal: Refusal): boolean =>
  refusal === OVERTAKEN || (refusal.refused === "rule" && refusal.rule === "overtaken");

type Answer = Decision<ApplicationEvent>;

/** Somebody else has gone on meanwhile: the worker drops its work. */
export const overtaken = (reason: string): Refusal => rule("overtaken", reason, "Load it again, and see what is next.");

export function decideWorkers(
  command: WorkersApplicationCommand,
  state: ApplicationState,
  { organisation, now }: Circumstances,
): Answer {
  switch (command.do) {
    case "place":
      return place(command.node, state);
    case "activate":
      return activate(command, state);
    case "finish":
      return finish(command, state);
    case "settle": {
      const { wanted, instances } = command;
      if (wanted === state.settled.wanted && instances === state.settled.instances) return { events: [] };
      if (state.active !== null) return overtaken("A deployment is under way: it settles what runs.");
      return { events: [{ type: "ApplicationSettled", data: { wanted, instances } }] };
    }
    case "recordDrift":
    case "recordRepair":
    case "recordRepairFailure":
      return drift(command, state, now);
    case "remove": {
      if (state.removalRequestedAt === null) return overtaken("Nobody has asked for its removal.");
      if (state.active !== null || state.queue.length > 0) return overtaken("A deployment is not over yet.");
      return removal(state, organisation);
    }
  }
}

function place(node: string, state: ApplicationState): Answer {
  if (!PATTERNS.node.test(node)) return invalid("/body/node", "is no name of a node");
  if (state.node === node) return { events: [] };
  if (state.node !== null) return overtaken(`It lives on the node "${state.node}".`);
  const home = state.spec?.node;
  if (home !== undefined && home !== node) return overtaken(`It is to live on the node "${home}".`);
  if (state.removalRequestedAt !== null) return overtaken("It is being removed.");
  return { events: [{ type: "ApplicationPlaced", data: { node } }] };
}

function activate(
  { deployment, live }: Extract<WorkersApplicationCommand, { do: "activate" }>,
  state: ApplicationState,
): Answer {
  if (state.active !== null) return overtaken(`The deployment ${state.active} has its turn.`);
  if (state.queue[0] !== deployment) return overtaken("It is not this deployment's turn.");
  if (state.node === null) return overtaken("It has no node yet.");
  // What it goes back to is read from the application: it must be what is live now.
  if ((state.live?.deployment ?? null) !== live) return overtaken("What is live has changed.");
  return { events: [{ type: "DeploymentActivated", data: { deployment } }] };
}

function finish(
  { deployment, outcome, live, problem }: Extract<WorkersApplicationCommand, { do: "finish" }>,
  state: ApplicationState,
): Answer {
  if (state.active !== deployment) return overtaken("Another deployment has its turn.");
  if (live !== undefined && (live.deployment !== deployment || (outcome !== "succeeded" && outcome !== "failed"))) {
    return overtaken("Only what this deployment itself has brought about can be live with it.");
  }
  return {
    events: [
      {
        type: "DeploymentEnded",
        data: {
          deployment,
          outcome,
          ...(live === undefined ? {} : { live }),
          ...(problem === undefined ? {} : { problem: bounded(problem) }),
        },
      },
    ],
  };
}

/** Longest text of the world's in an event, in code points. */
export const TEXT_MOST = 2_000;

/** What the world says has no limit, an event has. The whole of it is in the log lines. */
export const excerptOf = (text: string, most: number = TEXT_MOST): string => {
  const clean = text.toWellFormed().replaceAll("\u0000", "");
  if (clean.length <= most) return clean;
  return `${[...clean.slice(0, most * 2)].slice(0, most - 1).join("")}…`;
};

const bounded = <T extends { readonly message: string; readonly fix?: string }>(problem: T): T => ({
  ...problem,
  message: excerptOf(problem.message),
  ...(problem.fix === undefined ? {} : { fix: excerptOf(problem.fix) }),
});

function drift(
  command: Extract<WorkersApplicationCommand, { do: "recordDrift" | "recordRepair" | "recordRepairFailure" }>,
  state: ApplicationState,
  now: string,
): Answer {
  const { resource } = command;
  if (!PATTERNS.resource.test(resource) || bytesOf(resource) > 132) {
    return invalid("/body/resource", "a word, or a word and a name behind a colon");
  }
  const known = state.drift[resource];
  if (command.do === "recordDrift") {
    const expected = excerptOf(command.expected, 500);
    const actual = excerptOf(command.actual, 500);
    if (known?.open === true && known.expected === expected && known.actual === actual) return { events: [] };
    return { events: [{ type: "DriftDetected", data: { resource, expected, actual } }] };
  }
  if (known === undefined || !known.open) return overtaken("Nothing of it has drifted.");
  const event: ApplicationEvent =
    command.do === "recordRepair"
      ? { type: "DriftRepaired", data: { resource, action: excerptOf(command.action, 500) } }
      : { type: "DriftRepairFailed", data: { resource, message: excerptOf(command.message, 500) } };
  const nowMs = Date.parse(now);
  const count = known.repairs.filter((at) => at > nowMs - REPAIRS.withinMs).length + 1;
  const pausing = known.suspendedUntil !== null && Date.parse(known.suspendedUntil) > nowMs;
  if (count < REPAIRS.most || pausing) return { events: [event] };
  const until = new Date(nowMs + REPAIRS.pauseMs).toISOString();
  return { events: [event, { type: "DriftRepairSuspended", data: { resource, count, until } }] };
}

/** When a drifted resource may be repaired: milliseconds since 1970; 0: at once. For whoever reconciles. */
export const repairableAt = ({ drift: known }: ApplicationState, resource: string): number => {
  const until = known[resource]?.suspendedUntil ?? null;
  return until === null ? 0 : Date.parse(until);
};
