/** The crash of `mill tour`: visitors all the while, a worker killed at the right moment, and what the log says of it. */
import { readdirSync, readlinkSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
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
  /** The phase whose effect was there. */
  readonly phase: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** A phase whose effect can be seen from outside: what it looks at is another than before when it is there. */
interface Moment {
  readonly phase: "COPYING_FILES" | "CREATING_SYMLINKS" | "UPDATING_ROUTES";
  readonly look: () => string;
}

/** Whole releases; what is being written has a name that begins with a dot. */
const releasesIn = (folder: string): string =>
  readdirSync(folder)
    .filter((name) => !name.startsWith("."))
    .sort()
    .join();

/** The effects of a site's phases in its application's folder. */
const momentsIn = (folder: string): Moment[] => [
  { phase: "COPYING_FILES", look: () => releasesIn(join(folder, "releases")) },
  { phase: "CREATING_SYMLINKS", look: () => readlinkSync(join(folder, "current")) },
  { phase: "UPDATING_ROUTES", look: () => readlinkSync(join(folder, "route")) },
];

export interface Killing {
  /** The application's folder on its node. */
  readonly folder: string;
  /** Process id of the orchestrator as it runs now; undefined while it does not. */
  readonly pid: () => number | undefined;
  /** Whether the log knows of the phase's outcome. */
  readonly isRecorded: (phase: Moment["phase"]) => Promise<boolean>;
  readonly onKill: (killed: Killed) => Promise<void>;
  readonly stop: AbortSignal;
}

/** How long after a kill what the dead process had sent may still arrive in the log, in milliseconds. */
const LATE_MS = 300;

/**
 * Kills the orchestrator between an effect and the event that tells of it: a few milliseconds. It looks without a pause; where it
 * came too late nevertheless, it kills the successor in the next phase.
 * @returns every kill; the last one came in time unless the deployment was over before
 */
export async function killBetween({ folder, pid, isRecorded, onKill, stop }: Killing): Promise<Killed[]> {
  const kills: Killed[] = [];
  const moments = momentsIn(folder).map((moment) => ({ ...moment, before: moment.look() }));
  for (const { phase, look, before } of moments) {
    const victim = await runningNow(pid, kills.at(-1)?.pid, stop);
    if (victim === undefined) break;
    if (look() !== before) continue; // the process that was killed last came to this one, too
    while (!stop.aborted && look() === before) await new Promise((next) => setImmediate(next));
    if (stop.aborted) break;
    process.kill(victim, "SIGKILL");
    const killed = { pid: victim, phase, at: Date.now() };
    kills.push(killed);
    await onKill(killed);
    await new Promise((later) => setTimeout(later, LATE_MS));
    if (await isCutOff(moments, isRecorded)) break;
  }
  return kills;
}

/** Whether an effect is there that the log does not know of. */
async function isCutOff(
  moments: ReadonlyArray<Moment & { readonly before: string }>,
  isRecorded: Killing["isRecorded"],
): Promise<boolean> {
  for (const { phase, look, before } of moments) {
    if (look() !== before && !(await isRecorded(phase))) return true;
  }
  return false;
}

/** The process, when it runs and is another than that which was killed. */
async function runningNow(
  pid: Killing["pid"],
  dead: number | undefined,
  stop: AbortSignal,
): Promise<number | undefined> {
  while (!stop.aborted) {
    const now = pid();
    if (now !== undefined && now !== dead) return now;
    await new Promise((later) => setTimeout(later, 50));
  }
  return undefined;
}

interface Crash {
  readonly kills: readonly Killed[];
  readonly deployment: Deployment;
  readonly history: Answer<"historyOfDeployment">["items"];
  /** The process that runs now. */
  readonly pid: number | undefined;
  readonly visitors: Pick<Visitors, "all" | "failed" | "by">;
}

const list = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

/** What happened, from what is written down; a paragraph each. */
export function crashText({ kills, deployment, history, pid, visitors }: Crash): string[] {
  const paragraphs: string[] = [];
  const { phases } = deployment.status;
  const last = kills.at(-1);
  if (last === undefined) paragraphs.push("Nothing was killed: the deployment was over before.");
  else {
    for (const early of kills.slice(0, -1)) {
      paragraphs.push(
        `Process ${early.pid} was killed a moment late: the log knew of ${early.phase} already. So once more.`,
      );
    }
    const taken = phases.find(({ attemptedAt }) => Date.parse(attemptedAt) > last.at);
    const waited =
      taken === undefined ? "" : `; ${duration(Date.parse(taken.attemptedAt) - last.at)} after the kill it went on`;
    paragraphs.push(`Process ${last.pid} was killed. Its successor is process ${pid ?? "(starting)"}${waited}.`);
    const before = phases.filter((one) => one.completedAt !== undefined && Date.parse(one.completedAt) <= last.at);
    const again = phases.filter(({ attempt }) => attempt > 1);
    const adopted = again.filter(({ adopted: found }) => found === true);
    const anew = again.filter(({ adopted: found }) => found !== true);
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
  // Tidying up may or may not be over by now; it is no part of the verdict.
  const done = history.filter(
    ({ type, data }) =>
      type === "DeploymentSucceeded" || (type === "PhaseCompleted" && (data as { phase?: string }).phase !== "CLEANUP"),
  );
  const outcomes = new Set(done.map(({ type, data }) => `${type} ${(data as { phase?: string }).phase ?? ""}`));
  paragraphs.push(
    done.length === outcomes.size
      ? `Outcomes in the log, of the phases and of the whole: ${done.length}, each of them once.`
      : `Outcomes in the log, of the phases and of the whole: ${done.length}, of which ${done.length - outcomes.size} stand there twice.`,
  );
  const shares = [...visitors.by].map(([from, count]) => `${count} by ${from}`);
  paragraphs.push(
    `Visitors meanwhile: ${visitors.all}; without an answer: ${visitors.failed}. Answered ${list(shares)}.`,
  );
  return paragraphs;
}
