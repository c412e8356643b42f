/**
 * Requests to a gateway. Every write carries an Idempotency-Key made here, so it can be sent again when the connection is
 * lost; every read carries the position of the writes before it, so it shows them.
 */
import { createHash, randomUUID } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { decodePosition, encodePosition, mergePositions } from "@millrace/contracts/position.ts";
import { readRunState } from "@millrace/local/run-state.ts";
import { writePrivate } from "./contexts.ts";
import { Failure, failureOfAnswer, interrupted, timedOut } from "./failure.ts";
import { type Io, oneLine } from "./io.ts";
import { OPERATIONS } from "./operations.ts";
import { type AnyCall, EXIT } from "./table.ts";
import { type Target, targetOfCall } from "./target.ts";
import type { Answer, OperationName, RequestOf } from "./typed.ts";

/** A single request, retries included, in seconds, where --timeout does not say otherwise. */
export const REQUEST_SECONDS = 30;
/** How often a gateway elsewhere is tried that does not answer, over about three seconds, where no --timeout is given. */
const ATTEMPTS = 6;
const LONGEST_PAUSE_MS = 2_000;
const ANSWER_BYTES = 64 << 20;
/** How long a write in one process is waited for by reads in the next, in milliseconds. */
const REMEMBER_MS = 3_600_000;

export interface RawRequest {
  readonly method: string;
  /** From the root, with its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is; JSON, unless the headers say otherwise. */
  readonly body?: string | Uint8Array | Blob;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** What came, where it was asked for by `raw`. */
  readonly bytes?: Uint8Array;
  readonly text: string;
}

export interface Gateway {
  readonly target: Target;
  /** Calls an operation of the API. @throws Failure for every answer that is not success */
  call<N extends OperationName>(name: N, request: RequestOf<N>): Promise<Answer<N>>;
  /** The same for an operation that is known only by its name when the program runs. */
  callAny(name: OperationName, request: AnyRequest): Promise<unknown>;
  /** One request, with key, retries and position; any answer is returned. */
  raw(request: RawRequest): Promise<RawAnswer>;
  /** The organisation to ask in: named, of the context, or the token's own. */
  org(): Promise<string>;
  /** Everything this process has written. */
  position(): string | undefined;
}

export interface AnyRequest {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly payload?: unknown;
  /** Generation it must still have; left out: whatever is there. */
  readonly seen?: number | undefined;
}

export function gatewayOf(call: AnyCall): Gateway {
  const { timeout, verbose } = call.flags;
  return connect(targetOfCall(call), call.io, {
    seconds: timeout ?? REQUEST_SECONDS,
    isPatient: timeout !== undefined,
    verbose,
  });
}

export interface ConnectOptions {
  /** Of one request, retries included. */
  readonly seconds: number;
  readonly verbose: boolean;
  /** Tries for all of that time, whatever is in the way. */
  readonly isPatient?: boolean;
}

export function connect(target: Target, io: Io, options: ConnectOptions): Gateway {
  const memory = positionMemory(io, target.url);
  let org = target.org;
  const say = (line: string) => options.verbose && io.err(`${line}\n`);
  const raw = (request: RawRequest) => send(request, { ...options, target, io, memory, say });

  const callAny = async (name: OperationName, request: AnyRequest): Promise<unknown> => {
    const operation = OPERATIONS[name];
    const params: Record<string, string> = { ...request.params };
    if (operation.path.includes(":org") && params.org === undefined) params.org = await gateway.org();
    const headers: Record<string, string> = {};
    if (operation.ifMatch) headers["if-match"] = request.seen === undefined ? "*" : `"${request.seen}"`;
    const answer = await raw({
      method: operation.method,
      path: pathOf(operation.path, params, request.query),
      headers,
      ...(request.payload === undefined ? {} : { body: JSON.stringify(request.payload) }),
    });
    return bodyOf(answer);
  };
  const gateway: Gateway = {
    target,
    raw,
    callAny,
    call: (name, request) => callAny(name, request as AnyRequest) as never,
    position: () => memory.get(),
    async org() {
      if (org === undefined) {
        const whoami = (await callAny("whoami", {})) as Answer<"whoami">;
        org = whoami.organisation.id;
      }
      return org;
    },
  };
  return gateway;
}

/** A path with its parameters and query filled in. */
export function pathOf(
  template: string,
  params: Readonly<Record<string, string>>,
  query: AnyRequest["query"] = {},
): string {
  const path = template.replace(/:([a-zA-Z]+)/g, (_, name: string) => encodeURIComponent(params[name] ?? ""));
  const asked = Object.entries(query).flatMap(([key, value]): [string, string][] =>
    value === undefined ? [] : [[key, `${value}`]],
  );
  return asked.length === 0 ? path : `${path}?${new URLSearchParams(asked)}`;
}

/** The parsed answer. @throws Failure when it is not success */
export function bodyOf({ status, headers, text }: RawAnswer): unknown {
  let body: unknown;
  try {
    body = text === "" ? undefined : JSON.parse(text);
  } catch {
    // a stranger's page; told by its status, or below
  }
  const requestId = headers.get("x-request-id") ?? undefined;
  if (status < 200 || status > 299) throw failureOfAnswer(status, body, requestId);
  if (body === undefined && text !== "") {
    throw new Failure("no-gateway", EXIT.failure, "The answer is no JSON", {
      why: `it begins: ${oneLine(text.slice(0, 80))}`,
      fix: "Look whether the address is that of a gateway: `mill context list`",
      requestId,
    });
  }
  return body;
}

interface Sending extends ConnectOptions {
  readonly target: Target;
  readonly io: Io;
  readonly memory: PositionMemory;
  readonly say: (line: string) => unknown;
}

const isRead = (method: string): boolean => method === "GET" || method === "HEAD";

/** Sends until there is an answer worth returning: the same key each time, a little later each time. */
async function send(request: RawRequest, sending: Sending): Promise<RawAnswer> {
  const { target, io, memory, say, seconds } = sending;
  const headers: Record<string, string> = { accept: "application/json, application/problem+json" };
  if (target.token !== undefined) headers.authorization = `Bearer ${target.token}`;
  if (request.body !== undefined) headers["content-type"] = "application/json";
  if (!isRead(request.method)) headers["idempotency-key"] = randomUUID();
  const position = memory.get();
  if (isRead(request.method) && position !== undefined) headers["millrace-position"] = position;
  Object.assign(headers, request.headers);
  const until = performance.now() + seconds * 1000;
  const key = headers["idempotency-key"];
  say(`> ${request.method} ${request.path}${key === undefined ? "" : `  Idempotency-Key: ${key}`}`);
  let isSent = false;
  for (let attempt = 1; ; attempt++) {
    const left = until - performance.now();
    if (left <= 0) throw timedOut(`${request.method} ${request.path}`, seconds);
    const outcome = await once(target.url + request.path, { ...request, headers }, io.interrupted, left);
    if ("answer" in outcome) {
      const { answer } = outcome;
      say(`< ${answer.status}${told(answer.headers, "millrace-position")}${told(answer.headers, "x-request-id")}`);
      if (!isRead(request.method) && answer.status < 300) memory.add(answer.headers.get("millrace-position"));
      // 409 to a repeat: the first try of the same key is still running there.
      const again = answer.status === 503 || answer.status === 429 || (answer.status === 409 && attempt > 1);
      if (!again || (attempt >= ATTEMPTS && !sending.isPatient)) return answer;
    } else {
      if (io.interrupted.aborted) throw interrupted();
      if (outcome.late) throw timedOut(`${request.method} ${request.path}`, seconds);
      say(`< no answer: ${outcome.why}`);
      isSent ||= outcome.why !== "ECONNREFUSED";
      if (!mayComeBack(sending, attempt)) throw unreachable(sending, outcome.why, isSent ? key : undefined);
    }
    const asked = "answer" in outcome ? Number(outcome.answer.headers.get("retry-after") ?? 0) * 1000 : 0;
    const pause = Math.max(asked, Math.min(LONGEST_PAUSE_MS, 50 * 2 ** attempt) * (0.5 + Math.random() / 2));
    if (performance.now() + pause > until) {
      if ("answer" in outcome) return outcome.answer;
      throw unreachable(sending, outcome.why, isSent ? key : undefined);
    }
    say(`  again in ${Math.round(pause)} ms, with the same key`);
    await sleep(pause, io.interrupted);
  }
}

const told = (headers: Headers, name: string): string => (headers.has(name) ? `  ${name}: ${headers.get(name)}` : "");

/** Of one on this machine it is known: its supervisor starts it again, or is gone. Else a few tries tell. */
function mayComeBack({ target, isPatient }: Sending, attempt: number): boolean {
  if (isPatient) return true;
  if (target.data !== undefined) return readRunState(target.data) !== undefined;
  return attempt < ATTEMPTS;
}

/** @param key of a write that may have got there: whether it was done is not known */
function unreachable({ target }: Sending, why: string, key: string | undefined): Failure {
  const look =
    target.data === undefined
      ? "Look at the address: `mill context list`"
      : `Start it: \`mill up --data ${target.data}\`. Or look what runs: \`mill status\``;
  const doubt = key === undefined ? "" : `. It may have been done: look before you repeat it (its key was ${key})`;
  return new Failure("unreachable", EXIT.failure, `The gateway at ${target.url} does not answer`, {
    why,
    fix: `${look}${doubt}`,
  });
}

type Outcome = { readonly answer: RawAnswer } | { readonly why: string; readonly late: boolean };

async function once(url: string, request: RawRequest, interruption: AbortSignal, leftMs: number): Promise<Outcome> {
  const timeout = AbortSignal.timeout(Math.ceil(leftMs));
  try {
    const response = await fetch(url, {
      method: request.method,
      headers: { ...request.headers },
      redirect: "manual",
      signal: AbortSignal.any([interruption, timeout]),
      ...(request.body === undefined ? {} : { body: request.body }),
    });
    const bytes = await bytesOf(response);
    const { status, headers } = response;
    return {
      answer: {
        status,
        headers,
        bytes,
        get text() {
          return bytes.toString("utf8");
        },
      },
    };
  } catch (error) {
    if (error instanceof Failure) throw error;
    const cause = (error as Error).cause as NodeJS.ErrnoException | undefined;
    return { why: cause?.code ?? cause?.message ?? (error as Error).message, late: timeout.aborted };
  }
}

async function bytesOf(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > ANSWER_BYTES) {
      throw new Failure("too-large", EXIT.failure, `The answer is larger than ${ANSWER_BYTES >> 20} MiB`, {
        fix: "Ask for less: --limit, or a filter",
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** @throws Failure when it is interrupted meanwhile */
export function sleep(milliseconds: number, interruption: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = () => {
      clearTimeout(timer);
      reject(interrupted());
    };
    if (interruption.aborted) return reject(interrupted());
    const timer = setTimeout(() => {
      interruption.removeEventListener("abort", over);
      resolve();
    }, milliseconds);
    interruption.addEventListener("abort", over, { once: true });
  });
}

interface PositionMemory {
  get(): string | undefined;
  add(position: string | null): void;
}

/**
 * The position of the last write, kept for an hour under the XDG state folder: `mill work open …; mill work list` shows
 * what was opened, though these are two processes.
 */
function positionMemory(io: Io, url: string): PositionMemory {
  const base = io.env.XDG_STATE_HOME;
  const folder = join(base?.startsWith("/") ? base : join(io.env.HOME ?? homedir(), ".local", "state"), "millrace");
  const file = join(folder, "positions", createHash("sha256").update(url).digest("hex").slice(0, 16));
  let position: string | undefined;
  try {
    if (Date.now() - statSync(file).mtimeMs < REMEMBER_MS) position = readFileSync(file, "utf8").trim();
  } catch {
    // nothing was written lately
  }
  if (position !== undefined && decodePosition(position) === undefined) position = undefined;
  return {
    get: () => position,
    add(seen) {
      const read = seen === null ? undefined : decodePosition(seen);
      if (read === undefined) return;
      position = encodePosition(mergePositions((position && decodePosition(position)) || {}, read));
      try {
        writePrivate(file, position);
      } catch {
        // A home that cannot be written: reads of the next process may miss this write for a moment, no more.
      }
    },
  };
}
