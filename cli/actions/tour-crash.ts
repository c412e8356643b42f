/** The crash of `mill tour`: visitors all the while, a worker killed at the right moment, and what the log says of it. */
import { readdirSync } from "node:fs";
import { Agent, request } from "node:http";
import type { RunState } from "@millrace/local/run-state.ts";
import { Failure } from "../failure.ts";
import { EXIT } from "../table.ts";
import type { Answer } from "../typed.ts";
import { type Deployment, duration } from "./applications-text.ts";

export interface Visited {
  readonly status: number;
  readonly text: string;
  /** Which deployment answered. */
  readonly deployment: string | undefined;
}

const VISIT_MS = 10_000;
/** Between two visits. */
const PAUSE_MS = 25;

/** One request through the public door. @throws Error when there is no answer */
export function visit(publicUrl: string, host: string, path: string, agent?: Agent): Promise<Visited> {
  const { hostname, port } = new URL(publicUrl);
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host: hostname.replace(/^\[|\]$/g, ""),
        port,
        path,
        headers: { host },
        signal: AbortSignal.timeout(VISIT_MS),
        ...(agent === undefined ? { agent: false as const } : { agent }),
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => void chunks.push(chunk));
        answer.once("error", reject);
        answer.once("end", () => {
          const from = answer.headers["x-millrace-deployment"];
          const deployment = Array.isArray(from) ? from[0] : from;
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8"), deployment });
        });
      },
    );
    asked.once("error", reject);
    asked.end();
  });
}

/** One visitor after the other, from now until `stop`. */
export class Visitors {
  all = 0;
  failed = 0;
  /** Answers by the deployment that gave them, in the order of the first of each. */
  readonly by = new Map<string, number>();
  #going = true;
  readonly #done: Promise<void>;

  constructor(publicUrl: string, host: string) {
    this.#done = this.#go(publicUrl, host);
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  async #go(publicUrl: string, host: string): Promise<void> {
    const agent = new Agent({ keepAlive: true });
    while (this.#going) {
      this.all++;
      try {
        const { status, deployment = "nobody" } = await visit(publicUrl, host, "/", agent);
        if (status === 200) this.by.set(deployment, (this.by.get(deployment) ?? 0) + 1);
        else this.failed++;
      } catch {
        this.failed++;
      }
      await new Promise((later) => setTimeout(later, PAUSE_MS));
    }
    agent.destroy();
  }
}

export interface Killed {
  readonly pid: number;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** Names of whole releases: what is being written has a name that begins with a dot. */
function releasesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => !name.startsWith("."));
  } catch {
    return []; // not made yet
  }
}

/**
 * Kills the orchestrator when a release appears that was not there. It looks without a pause: between the release's appearance and
 * the event that tells of it lie a few milliseconds.
 * @throws Failure when there is no process to be killed, or it is not this user's
 */
export async function killWhen(
  supervised: () => RunState,
  releases: string,
  stop: AbortSignal,
  onKill: (pid: number) => Promise<void>,
): Promise<Killed | undefined> {
  const pid = supervised().services.find(({ name }) => name === "orchestrator")?.pid;
  if (pid === undefined) throw new Failure("not-running", EXIT.failure, "The orchestrator does not run at the moment");
  const before = new Set(releasesIn(releases));
  while (!stop.aborted) {
    if (releasesIn(releases).some((name) => !before.has(name))) {
      process.kill(pid, "SIGKILL");
      const killed = { pid, at: Date.now() };
      await onKill(pid);
      return killed;
    }
    await new Promise((next) => setImmediate(next));
  }
  return undefined;
}

interface Crash {
  readonly killed: Killed | undefined;
  readonly deployment: Deployment;
  readonly history: Answer<"historyOfDeployment">["items"];
  readonly restarted: RunState;
  readonly visitors: Pick<Visitors, "all" | "failed" | "by">;
}

const list = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

/** What happened, from what is written down; a paragraph each. */
export function crashText({ killed, deployment, history, restarted, visitors }: Crash): string[] {
  const paragraphs: string[] = [];
  const { phases } = deployment.status;
  if (killed === undefined) paragraphs.push("Nothing was killed: the deployment needed no new release.");
  else {
    const now = restarted.services.find(({ name }) => name === "orchestrator");
    const again = phases.find(({ attempt }) => attempt > 1);
    const waited =
      again === undefined ? "" : `; ${duration(Date.parse(again.attemptedAt) - killed.at)} after the kill it took over`;
    paragraphs.push(`Process ${killed.pid} was killed. Its successor is process ${now?.pid ?? "(starting)"}${waited}.`);
    const before = phases.filter((one) => one.completedAt !== undefined && Date.parse(one.completedAt) <= killed.at);
    const adopted = phases.filter(({ attempt, adopted: found }) => attempt > 1 && found === true);
    const anew = phases.filter(({ attempt, adopted: found }) => attempt > 1 && found !== true);
    if (before.length > 0) {
      paragraphs.push(`Not done again, since the log has them: ${list(before.map(({ phase }) => phase))}.`);
    }
    if (adopted.length > 0) {
      paragraphs.push(
        `Adopted, since it was found done and whole, though the log did not know: ${list(adopted.map(({ phase }) => phase))}.`,
      );
    }
    if (anew.length > 0)
      paragraphs.push(`Cut off, and done by the successor: ${list(anew.map(({ phase }) => phase))}.`);
  }
  const done = history.filter(({ type }) => type === "PhaseCompleted" || type === "DeploymentSucceeded");
  const outcomes = new Set(done.map(({ type, data }) => `${type} ${(data as { phase?: string }).phase ?? ""}`));
  paragraphs.push(
    done.length === outcomes.size
      ? `Outcomes in the log: ${done.length}, each of them once.`
      : `Outcomes in the log: ${done.length}, of which ${done.length - outcomes.size} stand there twice.`,
  );
  const shares = [...visitors.by].map(([from, count]) => `${count} by ${from}`);
  paragraphs.push(
    `Visitors meanwhile: ${visitors.all}; without an answer: ${visitors.failed}. Answered ${list(shares)}.`,
  );
  return paragraphs;
}
