/** A deployment followed to its end: each thing that happens is told once, as it happens. */
import { lastRunState } from "@millrace/local/run-state.ts";
import { Failure, timedOut } from "../failure.ts";
import { bodyOf, connect, type Gateway, pathOf, sleep } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { OPERATIONS } from "../operations.ts";
import { printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, EXIT } from "../table.ts";
import { type Target, targetOfCall } from "../target.ts";
import {
  type Application,
  courseText,
  type Deployment,
  deploymentText,
  duration,
  outputText,
  type Phase,
  shortRef,
} from "./applications-text.ts";

/** One request waits for so long at the most, in milliseconds; then it is asked again. */
const ONE_WAIT_MS = 20_000;
/** How long something is followed where --timeout does not say otherwise, in seconds. */
const FOLLOW_SECONDS = 900;
/** Between two looks at a gateway that does not say how many events it has seen, in milliseconds. */
const LOOK_MS = 200;

/** A gateway that is tried again for as long as it is followed: it may be started anew meanwhile. */
export function patientGateway(call: AnyCall): Gateway {
  const seconds = call.flags.timeout ?? FOLLOW_SECONDS;
  return connect(targetOfCall(call), call.io, { seconds, isPatient: true, verbose: call.flags.verbose });
}

/** Where an application answers; with the port of this machine's proxy where that is known. */
export function addressOf({ data }: Pick<Target, "data">, host: string): string {
  const publicUrl = data === undefined ? undefined : lastRunState(data)?.facts.publicUrl;
  return `http://${host}${publicUrl === undefined ? "" : `:${new URL(publicUrl).port || "80"}`}`;
}

type Followed = { readonly getDeployment: Deployment; readonly getApplication: Application };

/**
 * An entity whenever it has changed, until the caller has seen enough.
 * @throws Failure 124 when --timeout is over
 */
export async function* states<N extends keyof Followed>(
  call: AnyCall,
  gateway: Gateway,
  operation: N,
  id: string,
): AsyncGenerator<Followed[N]> {
  const seconds = call.flags.timeout ?? FOLLOW_SECONDS;
  const until = performance.now() + seconds * 1000;
  const params = { org: await gateway.org(), id };
  let version: number | undefined;
  for (;;) {
    const left = until - performance.now();
    if (left <= 0) throw timedOut(`Following ${id}`, seconds);
    const timeout = Math.ceil(Math.min(ONE_WAIT_MS, left));
    const query = version === undefined ? {} : { wait: `version>=${version + 1}`, timeout };
    const answer = await gateway.raw({ method: "GET", path: pathOf(OPERATIONS[operation].path, params, query) });
    const entity = bodyOf(answer) as Followed[N];
    const seen = Number(answer.headers.get("millrace-version") ?? Number.NaN);
    if (Number.isNaN(seen) || seen !== version) yield entity;
    if (Number.isNaN(seen)) await sleep(LOOK_MS, call.io.interrupted);
    else version = seen;
  }
}

const isOver = ({ status: { state } }: Deployment): boolean => !["queued", "running", "compensating"].includes(state);

const WIDTH = "CREATING_SYMLINKS".length;
const line = (phase: string, took: string, ...rest: readonly string[]): string =>
  `  ${phase.padEnd(WIDTH)}  ${took.padStart(7)}  ${rest.filter((part) => part !== "").join("; ")}`.trimEnd();

function phaseLine(phase: Phase): string | undefined {
  const { state, attempt, worker, error, retryAt } = phase;
  switch (state) {
    case "completed":
      return line(phase.phase, duration(phase.durationMs ?? 0), courseText(phase), outputText(phase));
    case "failed": {
      const then = retryAt === undefined ? "" : `again at ${retryAt}`;
      return line(phase.phase, "failed", oneLine(error?.message ?? ""), then);
    }
    case "running":
      return attempt > 1 ? line(phase.phase, "again", `attempt ${attempt}, by ${oneLine(worker)}`) : undefined;
    case "interrupted":
      return line(phase.phase, "stopped");
  }
}

/** What is new since the last time, a line each. */
export class Progress {
  readonly #told = new Set<string>();

  /** The lines that have not been told yet; `phases` are those of the verdict. */
  lines(deployment: Deployment): string[] {
    const { status } = deployment;
    const found: string[] = [];
    const tell = (key: string, text: string | undefined) => {
      if (text === undefined || this.#told.has(key)) return;
      this.#told.add(key);
      found.push(text);
    };
    if (status.waiting !== undefined && !isOver(deployment)) {
      tell(`waiting ${status.waiting.since}`, `  waits: ${oneLine(status.waiting.reason)}`);
    }
    for (const phase of status.phases) {
      tell(`${phase.phase} ${phase.state} ${phase.attempt} ${phase.retryAt ?? ""}`, phaseLine(phase));
    }
    for (const { step, state, attempt, error } of status.compensations) {
      if (state === "running") continue;
      const why = error === undefined ? "" : `: ${oneLine(error.message)}`;
      tell(`${step} ${state} ${attempt}`, `  ${state === "completed" ? "undone" : state}: ${step}${why}`);
    }
    return found;
  }
}

export const headline = ({ id, spec, requestedBy }: Deployment): string =>
  `${id}: deployment ${spec.seq} of ${oneLine(spec.name)}, ${spec.trigger}, ${shortRef(oneLine(spec.ref))}, asked for by ${oneLine(requestedBy.name)}`;

/** How it ended, in one line. */
export function verdictLine(deployment: Deployment, address: string): string {
  const { createdAt, status } = deployment;
  const took =
    status.finishedAt === undefined ? "" : ` after ${duration(Date.parse(status.finishedAt) - Date.parse(createdAt))}`;
  return `${status.state}${took}${status.state === "succeeded" ? `: ${address}` : ""}`;
}

/** The failure that a deployment ended with; undefined when it succeeded. */
export function failureOf(deployment: Deployment): Failure | undefined {
  const { spec, status, id } = deployment;
  const which = `Deployment ${spec.seq} of ${spec.name}`;
  const look = `mill deployments show ${id}`;
  const { error } = status;
  switch (status.state) {
    case "failed":
    case "rolledBack": {
      const again = status.state === "rolledBack" ? "; the former release serves again" : "";
      return new Failure(
        `deployment-${status.state === "failed" ? "failed" : "rolled-back"}`,
        EXIT.failure,
        `${which} failed${again}`,
        {
          why: error && `${error.phase}: ${error.code}: ${error.message}`,
          fix: error ? `${error.fix} (${look})` : look,
        },
      );
    }
    case "cancelled":
      return new Failure("deployment-cancelled", EXIT.failure, `${which} was cancelled`, { fix: look });
    case "superseded":
      return new Failure("deployment-superseded", EXIT.conflict, `${which} made way for a newer one`, {
        fix: `mill deployments watch ${status.supersededBy}`,
      });
    default:
      return undefined;
  }
}

/**
 * Follows it to its verdict. For people each line is the answer; for programs the deployment at its end is (with `jsonl` each
 * state of it), and the lines go to stderr.
 * @throws Failure when it does not succeed (1, superseded: 5), or --timeout is over (124)
 */
export async function followDeployment(call: AnyCall, id: string, host?: string): Promise<Deployment> {
  const gateway = patientGateway(call);
  const style = styleOf(call);
  const say = async (text: string) => (style.format === "table" ? call.io.out(`${text}\n`) : call.io.err(`${text}\n`));
  const progress = new Progress();
  let isFirst = true;
  for await (const deployment of states(call, gateway, "getDeployment", id)) {
    if (isFirst) await say(headline(deployment));
    isFirst = false;
    for (const text of progress.lines(deployment)) await say(text);
    if (style.format === "jsonl") await call.io.out(`${JSON.stringify(deployment)}\n`);
    if (!isOver(deployment)) continue;
    const at = host ?? (await hostOf(gateway, deployment));
    await say(verdictLine(deployment, addressOf(gateway.target, at)));
    if (style.format === "json" || style.format === "name") {
      await printOne(call.io, style, deployment, deploymentText, () => deployment.id);
    }
    const failure = failureOf(deployment);
    if (failure !== undefined) throw failure;
    return deployment;
  }
  throw new Error("a deployment is followed to its end");
}

/** Its own first host; that of an application that is gone meanwhile is not known any more. */
async function hostOf(gateway: Gateway, { spec }: Deployment): Promise<string> {
  try {
    return (await gateway.call("getApplication", { params: { id: spec.application } })).status.host;
  } catch (error) {
    if (error instanceof Failure && error.exit === EXIT.notFound) return spec.name;
    throw error;
  }
}

/**
 * Follows an application until it is as it was asked to be.
 * @throws Failure 124 when --timeout is over
 */
export async function followApplication(
  call: AnyCall,
  id: string,
  holds: (application: Application) => boolean,
): Promise<Application | undefined> {
  const gateway = patientGateway(call);
  try {
    for await (const application of states(call, gateway, "getApplication", id)) {
      if (holds(application)) return application;
    }
  } catch (error) {
    if (!(error instanceof Failure) || error.exit !== EXIT.notFound) throw error;
  }
  return undefined;
}
