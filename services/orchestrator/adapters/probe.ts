/** Probing an application over HTTP: before its route is switched (by address), and after it (through the public proxy). */
import { type IncomingMessage, request } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { cancelledOr, DockerFailed } from "./docker-failures.ts";

export interface ProbeSchedule {
  /** Answers in a row that count as ready. */
  readonly successes: number;
  /** Longest wait for one answer. */
  readonly timeoutMs: number;
  /** Epoch milliseconds. */
  readonly deadlineAt: number;
  readonly signal: AbortSignal;
  /** Asked between probes: why waiting is pointless (the container exited), as a failure; undefined to go on. */
  readonly giveUp?: () => Promise<DockerFailed | undefined>;
}

export interface ProbeResult {
  /** How many probes were sent. */
  readonly probes: number;
  /** From the start of probing to the first of the answers in a row. */
  readonly firstMs: number;
}

/** Header by which an answer through the public proxy says which deployment gave it. */
export const deploymentHeader = "x-millrace-deployment";

/**
 * Asks `GET path` at an address (`host:port`) until it answers 2xx or 3xx so many times in a row.
 * @throws DockerFailed NOT_READY (its reason says what came instead), CANCELLED, or what `giveUp` gave.
 */
export function probeReady(address: string, path: string, schedule: ProbeSchedule): Promise<ProbeResult> {
  const once = async (signal: AbortSignal) => {
    const answer = await ask(`http://${address}`, path, {}, schedule.timeoutMs, signal);
    return answer.status >= 200 && answer.status < 400 ? undefined : `it answered ${answer.status}`;
  };
  return probe(once, `GET ${path} on ${address}`, schedule);
}

/**
 * Asks `GET path` through the public proxy under an application's host until 2xx or 3xx answers bear that deployment so
 * many times in a row.
 * @param proxy such as `http://127.0.0.1:8080`
 * @throws as probeReady
 */
export function probeThrough(
  proxy: string,
  target: { readonly host: string; readonly path: string; readonly deployment: string },
  schedule: ProbeSchedule,
): Promise<ProbeResult> {
  const once = async (signal: AbortSignal) => {
    const answer = await ask(proxy, target.path, { host: target.host }, schedule.timeoutMs, signal);
    const from = answer.headers[deploymentHeader];
    if (from !== target.deployment) return `it answered ${answer.status} as ${from ?? "no deployment"}`;
    return answer.status >= 200 && answer.status < 400 ? undefined : `it answered ${answer.status}`;
  };
  return probe(once, `GET ${target.path} for ${target.host} through the proxy`, schedule);
}

async function probe(
  once: (signal: AbortSignal) => Promise<string | undefined>,
  what: string,
  schedule: ProbeSchedule,
): Promise<ProbeResult> {
  const started = Date.now();
  let probes = 0;
  let inRow = 0;
  let firstMs = 0;
  let last = "nothing answered";
  let waitMs = 50;
  while (true) {
    if (schedule.signal.aborted) throw cancelledOr(schedule.signal, undefined);
    if (Date.now() >= schedule.deadlineAt) throw notReady(what, last, probes, Date.now() - started);
    probes++;
    const wrong = await once(schedule.signal).catch((error: unknown) => describe(error));
    if (schedule.signal.aborted) throw cancelledOr(schedule.signal, undefined);
    if (wrong === undefined) {
      if (inRow++ === 0) firstMs = Date.now() - started;
      if (inRow >= schedule.successes) return { probes, firstMs };
      waitMs = 50;
    } else {
      last = wrong;
      inRow = 0;
      const given = await schedule.giveUp?.();
      if (given) throw given;
      waitMs = Math.min(2_000, waitMs * 1.6);
    }
    // Many applications begin at once after a restart of the machine: spread their probes.
    const jittered = waitMs * (0.8 + 0.4 * Math.random());
    const left = Math.max(0, schedule.deadlineAt - Date.now());
    await pause(Math.min(jittered, left), undefined, { signal: schedule.signal }).catch(() => {});
  }
}

function notReady(what: string, last: string, probes: number, milliseconds: number): DockerFailed {
  return new DockerFailed({
    class: "timeout",
    code: "NOT_READY",
    reason: `${what}: not ready after ${(milliseconds / 1000).toFixed(1)} s and ${probes} probes; the last time, ${last}.`,
    fix: "Look at the application's log; check the port it listens on, its health path, and the healthy deadline of its policy.",
  });
}

function describe(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  if (code === "ECONNREFUSED") return "nothing listened";
  // Docker's own proxy takes every connection to a published port, and cuts it when nobody listens inside.
  if (code === "ECONNRESET")
    return "the connection was cut: does the application listen on this port, on all addresses?";
  return message ?? String(error);
}

function ask(
  base: string,
  path: string,
  headers: Record<string, string>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<{ status: number; headers: IncomingMessage["headers"] }> {
  return new Promise((resolve, reject) => {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const { hostname, port } = new URL(base);
    // A connection of its own each time: a kept one would keep asking the process that is on its way out.
    const asked = request(
      { hostname, port, path, agent: false, headers: { "user-agent": "millrace-probe", ...headers }, signal: limit },
      (answer) => {
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers });
        answer.destroy(); // the head says all
      },
    );
    asked.once("error", (error) =>
      reject(limit.aborted && !signal.aborted ? new Error(`no answer within ${timeoutMs} ms`) : error),
    );
    asked.end();
  });
}
