/** A gateway of the file's own, in this process, over the file's NATS account and a fresh database; ended with the file. */
import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { makeToken } from "@millrace/contracts/token.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import type { GatewayConfig } from "@millrace/gateway/config.ts";
import { type RunningGateway, startGateway } from "@millrace/gateway/start.ts";
import type { ProjectorConfig } from "@millrace/projector/config.ts";
import { startProjector } from "@millrace/projector/start.ts";
import * as assert from "uvu/assert";
import { testNats, testPostgres } from "./servers.ts";
import { deferToEndOfFile } from "./suite.ts";

export interface TestGateway {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  /** The owner's token, which may do everything. */
  readonly owner: string;
  readonly config: GatewayConfig;
  readonly gateway: RunningGateway;
}

/** A projector over the same log and database. @returns ends it; the end of the file does so, too */
export async function testProjector(
  config: GatewayConfig,
  overrides: Partial<ProjectorConfig> = {},
): Promise<() => Promise<void>> {
  const { natsUrl, natsUser, natsPassword, replicas, postgresUrl, masterKey, webhookAllow } = config;
  const settings = { natsUrl, natsUser, natsPassword, replicas, postgresUrl, masterKey, webhookAllow, ...overrides };
  const log = makeLogger({ service: "projector", level: "error" });
  const running = await startProjector(settings, log);
  let ended: Promise<void> | undefined;
  const end = () => (ended ??= running.stop());
  deferToEndOfFile(end);
  return end;
}

/** Limits that no test comes near, unless it is about them. */
export const UNLIMITED = {
  limitRead: 1e9,
  limitWrite: 1e9,
  limitExpensive: 1e9,
  limitAddress: 1e9,
  limitTries: 1e9,
} as const satisfies Partial<GatewayConfig>;

/** @param overrides e.g. the configuration of another one, to start a second gateway beside it */
export async function testGateway(overrides: Partial<GatewayConfig> = {}): Promise<TestGateway> {
  const nats = overrides.natsUrl === undefined ? await testNats() : undefined;
  const owner = overrides.ownerToken ?? makeToken("mrp", randomBytes);
  const config: GatewayConfig = {
    natsUrl: nats?.url ?? "",
    natsUser: nats?.user,
    natsPassword: nats?.pass,
    replicas: 1,
    postgresUrl: overrides.postgresUrl ?? (await testPostgres()),
    host: "127.0.0.1",
    masterKey: randomBytes(32).toString("base64"),
    ownerToken: owner,
    organisation: "home",
    ...UNLIMITED,
    ...overrides,
    port: 0,
  };
  const gateway = await startGateway(config);
  deferToEndOfFile(() => gateway.stop());
  return { url: gateway.url, owner, config, gateway };
}

const PROCESS = fileURLToPath(new URL("../fuzz/gateway-process.ts", import.meta.url));

/** Another one in a process of its own, which may be killed. @param dieAt a fault point */
export async function forkGateway(
  config: GatewayConfig,
  dieAt?: string,
): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const env = { ...process.env, ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }) };
  const child = fork(PROCESS, { env, execArgv: ["--expose-gc"] });
  deferToEndOfFile(() => child.kill("SIGKILL"));
  child.send({ start: config });
  const [{ url }] = (await once(child, "message")) as [{ url: string }];
  return { url, child };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Parsed, when it is JSON. */
  readonly body: any;
}

/** One request as a client makes it; objects are sent as JSON. */
export async function ask(
  base: string,
  method: string,
  path: string,
  options: {
    readonly token?: string | undefined;
    readonly body?: unknown;
    readonly headers?: Record<string, string>;
  } = {},
): Promise<Answer> {
  const raw = typeof options.body === "string" || options.body instanceof Uint8Array;
  const response = await fetch(base + path, {
    method,
    headers: {
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(options.body === undefined ? {} : { "content-type": "application/json" }),
      ...options.headers,
    },
    ...(options.body === undefined ? {} : { body: raw ? (options.body as string) : JSON.stringify(options.body) }),
  });
  const text = await response.text();
  const isJson = (response.headers.get("content-type") ?? "").includes("json");
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isJson && text !== "" ? JSON.parse(text) : undefined,
  };
}

/** A problem of this status and name, with the id of its request. */
export function assertProblem({ status, headers, body }: Answer, expected: number, name: string): void {
  assert.is(status, expected, JSON.stringify(body));
  assert.is(headers.get("content-type"), "application/problem+json");
  assert.is(body.type, `/problems/${name}`);
  assert.is(body.status, expected);
  assert.is(body.requestId, headers.get("x-request-id"));
  assert.ok(body.title);
}

export { eventually } from "./eventually.ts";

export interface CallOptions {
  readonly body?: unknown;
  /** Left out: the owner's. */
  readonly token?: string | undefined;
  readonly headers?: Record<string, string>;
}

/** The shorthand in which tests call the API of one organisation. */
export function callerOf({ url, owner }: Pick<TestGateway, "url" | "owner">, organisation = "home") {
  const call = (method: string, path: string, options: CallOptions = {}): Promise<Answer> =>
    ask(url, method, `/v1/organisations/${organisation}${path}`, { token: owner, ...options });

  /** Calls, and says the answer's text when the status is another. */
  const expect = async (status: number, method: string, path: string, options: CallOptions = {}): Promise<Answer> => {
    const answer = await call(method, path, options);
    assert.is(answer.status, status, `${method} ${path}: ${answer.text}`);
    return answer;
  };

  /** A list as of an answer's position; while a view is built for the first time it is asked again. */
  const listed = async (path: string, after: Answer): Promise<Answer> => {
    const headers = { "millrace-position": after.headers.get("millrace-position")! };
    for (const deadline = Date.now() + 30_000; ; ) {
      const answer = await call("GET", path, { headers });
      if (answer.status !== 503 || Date.now() > deadline) {
        assert.is(answer.status, 200, answer.text);
        return answer;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  return { call, expect, listed };
}
