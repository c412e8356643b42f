/**
 * Grounds on which applications are really deployed: a log, a node's folder, Caddy, Git repositories, and orchestrators as
 * processes of their own that may be killed. Commands go through the rules as the gateway's do, without a gateway between.
 */
import { execFileSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeId } from "@millrace/contracts/ids.ts";
import { type ApplicationState, application } from "@millrace/domain/applications/application.ts";
import type { ApplicationCommand, ApplicationInput } from "@millrace/domain/applications/application-command.ts";
import { type DeploymentState, deployment } from "@millrace/domain/applications/deployment.ts";
import { isOver } from "@millrace/domain/applications/deployment-state.ts";
import { nextOfApplication, nextOfDeployment } from "@millrace/domain/applications/next.ts";
import {
  cancelDeployment,
  deleteApplication,
  requestDeployment,
  targetOf,
} from "@millrace/domain/applications/request.ts";
import { secret } from "@millrace/domain/identity/secret.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type Change, type CommandContext, executeAll } from "@millrace/eventlog/execute.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { type RunningCaddy, startCaddy } from "@millrace/local/caddy.ts";
import { freePort } from "@millrace/local/ports.ts";
import { type BoundProcess, startBound } from "@millrace/local/process.ts";
import { eventually } from "./eventually.ts";
import { type TestNats, testFolder, testNats } from "./servers.ts";
import { deferToEndOfFile } from "./suite.ts";

const MAIN = fileURLToPath(new URL("../../services/orchestrator/main.ts", import.meta.url));
export const ORGANISATION = "org_00000000000000000000000000";

export interface GroundsOptions {
  readonly nats?: TestNats;
  /** Name of the node; default `local`. */
  readonly node?: string;
  /** Further environment of every orchestrator. */
  readonly env?: Readonly<Record<string, string>>;
  /** False: nothing serves. */
  readonly caddy?: boolean;
}

export interface OrchestratorProcess {
  readonly process: BoundProcess;
  readonly pid: number;
  readonly healthPort: number;
  ready(): Promise<void>;
  /** Until it has ended by SIGKILL; fails when it does not. */
  died(ms?: number): Promise<string>;
}

export async function openGrounds(options: GroundsOptions = {}): Promise<Grounds> {
  const nats = options.nats ?? (await testNats());
  const log = await EventLog.open({ url: nats.url, user: nats.user, password: nats.pass, name: "grounds" }, [
    "applications",
    "identity",
  ]);
  deferToEndOfFile(() => log.close());
  const folder = testFolder("apps");
  let caddy: RunningCaddy | undefined;
  if (options.caddy !== false) {
    // A socket's path may have 107 characters, and the run's folder is long.
    const place = mkdtempSync(join("/tmp", "mill-caddy-"));
    caddy = await startCaddy({ dataDir: place });
    deferToEndOfFile(async () => {
      await caddy?.kill();
      rmSync(place, { recursive: true, force: true });
    });
  }
  return new Grounds(options, nats, log, folder, caddy);
}

export class Grounds {
  readonly node: string;
  readonly data: string;
  readonly repositories: string;
  readonly log: EventLog;
  readonly caddy: RunningCaddy | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly #folder: string;
  #started = 0;

  constructor(options: GroundsOptions, nats: TestNats, log: EventLog, folder: string, caddy: RunningCaddy | undefined) {
    this.node = options.node ?? "local";
    this.#folder = folder;
    this.data = join(folder, "data");
    this.repositories = join(folder, "git");
    this.log = log;
    this.caddy = caddy;
    mkdirSync(this.repositories, { recursive: true });
    const { DOCKER_HOST: _, ...own } = process.env;
    this.environment = {
      ...own,
      MILLRACE_NATS_URL: nats.url,
      MILLRACE_NATS_USER: nats.user,
      MILLRACE_NATS_PASSWORD: nats.pass,
      MILLRACE_NODE: this.node,
      MILLRACE_DATA: this.data,
      MILLRACE_LOCAL_SOURCES: this.repositories,
      MILLRACE_LEASE_SECONDS: "2",
      MILLRACE_RECONCILE_SECONDS: "2",
      MILLRACE_LOG_LEVEL: "info",
      // No engine, unless a test gives one: never the machine's own.
      MILLRACE_DOCKER_HOST: "unix:///nonexistent/docker.sock",
      ...(caddy === undefined ? {} : { MILLRACE_CADDY_ADMIN: caddy.admin, MILLRACE_PUBLIC_LISTEN: caddy.address }),
      ...options.env,
    };
  }

  get logFile(): string {
    return join(this.#folder, "orchestrator.log");
  }

  /** The end of what the orchestrators said. */
  said(lines = 30): string {
    const text = existsSync(this.logFile) ? readFileSync(this.logFile, "utf8") : "";
    return text.split("\n").slice(-lines).join("\n");
  }

  /** @param dieAt a fault point: it ends there as by a power cut */
  async start(dieAt?: string, env: Readonly<Record<string, string>> = {}): Promise<OrchestratorProcess> {
    const healthPort = await freePort();
    const name = `orchestrator-${++this.#started}`;
    const started = await startBound({
      name,
      command: process.execPath,
      args: [MAIN],
      inputPipe: true,
      env: {
        ...this.environment,
        MILLRACE_PARENT_PIPE: "1",
        MILLRACE_HEALTH_PORT: `${healthPort}`,
        ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }),
        ...env,
      },
      logFile: this.logFile,
    });
    deferToEndOfFile(() => started.kill());
    return {
      process: started,
      pid: started.pid,
      healthPort,
      ready: async () => {
        await eventually(
          async () => {
            if (started.exit() !== undefined) throw new Error(`${name} has ended:\n${this.said()}`);
            const answer = await fetch(`http://127.0.0.1:${healthPort}/readyz`).catch(() => undefined);
            return answer?.status === 200 ? true : undefined;
          },
          `${name} is ready`,
          60_000,
        );
      },
      died: async (ms = 60_000) => {
        const exit = await eventually(async () => started.exit(), `${name} dies at ${dieAt}`, ms);
        if (exit.signal !== "SIGKILL") throw new Error(`${name} ended with ${exit.code}:\n${this.said()}`);
        return exit.signal;
      },
    };
  }

  /** A Git repository with one commit on `main`. @returns its path */
  repository(files: Readonly<Record<string, string>>): string {
    return makeRepository(this.repositories, files);
  }

  /** Another commit. @returns its hash */
  commit(path: string, files: Readonly<Record<string, string>>): string {
    return makeCommit(path, files);
  }

  async execute(changes: ReadonlyArray<Change>): Promise<void> {
    const outcome = await executeAll(this.log, changes, context());
    if ("refusal" in outcome) throw new Error(JSON.stringify(outcome.refusal));
  }

  /** @returns id and host */
  async create(spec: ApplicationInput): Promise<{ readonly id: string; readonly host: string }> {
    const id = makeId("app", Date.now(), randomBytes(10));
    const host = `${spec.name}.test.localhost`;
    // Orchestrators of other nodes may be about.
    const command: ApplicationCommand = { do: "create", spec: { node: this.node, ...spec }, host };
    await this.execute([{ kind: application, id, command }]);
    return { id, host };
  }

  /** A static site from a repository of this machine. */
  site(name: string, path: string, more: Partial<ApplicationInput> = {}) {
    return this.create({
      name,
      source: { kind: "path", path },
      build: { kind: "static" },
      health: { successes: 1 },
      policy: { minHealthyTimeMs: 0, healthyDeadlineMs: 60_000, progressDeadlineMs: 600_000 },
      ...more,
    });
  }

  /** A sealed secret of the organisation. @returns its id */
  async secret(name: string, value: string, masterKey: string): Promise<string> {
    const id = makeId("sec", Date.now(), randomBytes(10));
    const sealing = await Sealing.open({ nats: this.log.nats, masterKeys: parseMasterKeys(masterKey) });
    const sealed = await sealing.seal({ organisation: ORGANISATION, subject: id }, value);
    sealing.close();
    await this.execute([{ kind: secret, id, command: { type: "StoreSecret", name, sealed } }]);
    return id;
  }

  change(id: string, command: ApplicationCommand): Promise<void> {
    return this.execute([{ kind: application, id, command }]);
  }

  /** @returns the new deployment's id */
  async deploy(
    id: string,
    ask: { readonly ref?: string; readonly trigger?: "manual" | "rollback" | "restart"; readonly to?: string } = {},
  ): Promise<string> {
    for (let attempt = 0; ; attempt++) {
      const state = await this.application(id);
      const { trigger = "manual", ref } = ask;
      const target = targetOf(state, trigger, ask.to);
      const made = makeId("dep", Date.now(), randomBytes(10));
      const parts = requestDeployment(
        state,
        state.active === null ? undefined : await this.deployment(state.active),
        target === undefined ? undefined : await this.deployment(target),
        { deployment: made, trigger, ...(ref === undefined ? {} : { ref }) },
      );
      try {
        await this.execute(parts);
        return made;
      } catch (error) {
        if (attempt >= 20) throw error; // what it was made from has changed in this very moment
      }
    }
  }

  async cancel(id: string): Promise<void> {
    await this.execute(cancelDeployment(await this.deployment(id)));
  }

  async remove(id: string): Promise<void> {
    const state = await this.application(id);
    const active = state.active === null ? undefined : await this.deployment(state.active);
    await this.execute(deleteApplication(state, active));
  }

  async application(id: string): Promise<ApplicationState> {
    return (await this.log.aggregates.load(application, id)).state;
  }

  async deployment(id: string): Promise<DeploymentState> {
    return (await this.log.aggregates.load(deployment, id)).state;
  }

  /** Until it is over and tidied up. @returns how it ended */
  async ended(id: string, ms = 60_000): Promise<DeploymentState> {
    return eventually(
      async () => {
        const state = await this.deployment(id);
        return isOver(state) && nextOfDeployment(state, Date.now()) === undefined ? state : undefined;
      },
      `the deployment ${id} ends`,
      ms,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(await this.deployment(id), null, 1)}\n${this.said()}`);
    });
  }

  async succeeds(id: string, ms?: number): Promise<DeploymentState> {
    const state = await this.ended(id, ms);
    if (state.state !== "succeeded") throw new Error(`${id} ended ${state.state}: ${JSON.stringify(state.failure)}`);
    return state;
  }

  /** Until nothing of the application is to be done. */
  async settled(id: string, ms = 30_000): Promise<ApplicationState> {
    return eventually(
      async () => {
        const state = await this.application(id);
        return nextOfApplication(state, Date.now()) === undefined && state.active === null ? state : undefined;
      },
      `the application ${id} is at rest`,
      ms,
    );
  }

  events(kind: Kind, id: string): ReturnType<typeof eventsOf> {
    return eventsOf(this.log, kind, id);
  }

  /** One request through Caddy. */
  get(host: string, path = "/"): Promise<Served> {
    return get(this.caddy!.port, host, path);
  }
}

/** All events of an aggregate, in order. */
export async function eventsOf(
  log: EventLog,
  kind: Kind,
  id: string,
): Promise<ReadonlyArray<{ readonly type: string; readonly data: unknown }>> {
  const found: { type: string; data: unknown }[] = [];
  for await (const commit of readCommits(log.nats, kind, id)) found.push(...commit.events);
  return found;
}

export interface Served {
  readonly status: number;
  readonly text: string;
  /** Which deployment answered. */
  readonly deployment: string | undefined;
}

/** One request to what listens on a port of this machine, on a connection of its own. */
export function get(port: number, host: string, path = "/"): Promise<Served> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: "127.0.0.1", port, path, agent: false, headers: { host }, signal: AbortSignal.timeout(15_000) },
      (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (piece: string) => {
          text += piece;
        });
        answer.once("end", () => {
          const from = answer.headers["x-millrace-deployment"];
          resolve({ status: answer.statusCode ?? 0, text, deployment: Array.isArray(from) ? from[0] : from });
        });
        answer.once("error", reject);
      },
    );
    sent.once("error", reject);
    sent.end();
  });
}

function context(): CommandContext {
  const id = `cmd_${randomUUID()}`;
  return {
    organisation: ORGANISATION,
    actor: { kind: "token", id: "tok_test", name: "test" },
    commandId: id,
    digest: "",
    correlation: id,
    causation: id,
    now: new Date().toISOString(),
  };
}

/** A Git repository with one commit on `main`. @returns its path */
export function makeRepository(folder: string, files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(folder, "repo-"));
  git(path, "init", "-q", "-b", "main");
  makeCommit(path, files);
  return path;
}

/** Another commit. @returns its hash */
export function makeCommit(path: string, files: Readonly<Record<string, string>>): string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), content);
  }
  git(path, "add", "-A");
  git(path, "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "--allow-empty", "-m", "more");
  return git(path, "rev-parse", "HEAD").trim();
}

const git = (path: string, ...args: string[]): string =>
  execFileSync("git", ["-C", path, ...args], { encoding: "utf8", env: { PATH: process.env.PATH, HOME: path } });
