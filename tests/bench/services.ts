/** The product's services and the peers as processes of their own, for benchmarks. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { makeToken } from "@millrace/contracts/token.ts";
import type { RunningNats } from "@millrace/local/nats.ts";
import { freePort } from "@millrace/local/ports.ts";
import type { Bench } from "./servers.ts";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

function start(
  bench: Bench,
  script: string,
  args: ReadonlyArray<string>,
  env: Record<string, string> = {},
): ChildProcess {
  const child = spawn(process.execPath, [path(script), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, MILLRACE_LOG_LEVEL: "error", ...env },
  });
  bench.defer(
    () =>
      new Promise((resolve) => {
        child.once("exit", resolve);
        child.kill("SIGKILL");
      }),
  );
  return child;
}

/** A peer that prints its port. */
export async function startPeer(bench: Bench, script: string, args: ReadonlyArray<string>): Promise<number> {
  const child = start(bench, script, args);
  for await (const chunk of child.stdout!) return Number(String(chunk).trim());
  throw new Error(`${script} ended`);
}

export interface Product {
  readonly url: string;
  readonly token: string;
  readonly pids: Readonly<Record<string, number>>;
  readonly env: Readonly<Record<string, string>>;
}

export async function startProduct(bench: Bench, nats: RunningNats, postgresUrl: string): Promise<Product> {
  const token = makeToken("mrp", randomBytes);
  const [port, health] = [await freePort(), await freePort()];
  const env = {
    MILLRACE_NATS_URL: nats.url,
    MILLRACE_NATS_USER: nats.user,
    MILLRACE_NATS_PASSWORD: nats.password,
    MILLRACE_POSTGRES_URL: postgresUrl,
    MILLRACE_MASTER_KEY: randomBytes(32).toString("base64"),
    MILLRACE_OWNER_TOKEN: token,
    MILLRACE_PORT: String(port),
    MILLRACE_HEALTH_PORT: String(health),
    // Counted like everywhere, and never used up.
    ...Object.fromEntries(["READ", "WRITE", "ADDRESS"].map((name) => [`MILLRACE_LIMIT_${name}`, "1000000000"])),
  };
  const projector = start(bench, "../../services/projector/main.ts", [], env);
  const gateway = start(bench, "../../services/gateway/main.ts", [], env);
  for (const child of [projector, gateway]) child.stdout!.resume();
  for (const at of [port, health]) {
    const deadline = Date.now() + 120_000;
    while (
      !(await fetch(`http://127.0.0.1:${at}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      ))
    ) {
      if (Date.now() > deadline) throw new Error("the product does not become ready");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  return { url: `http://127.0.0.1:${port}`, token, pids: { gateway: gateway.pid!, projector: projector.pid! }, env };
}

/** A node beside the product, without containers. @returns its pid */
export async function startOrchestratorOf(bench: Bench, { env }: Product, data: string): Promise<number> {
  const child = start(bench, "../../services/orchestrator/main.ts", [], {
    ...env,
    MILLRACE_DATA: data,
    MILLRACE_HEALTH_PORT: String(await freePort()),
    MILLRACE_DOCKER_HOST: "unix:///nonexistent/docker.sock",
  });
  child.stdout!.resume();
  return child.pid!;
}

/** A publisher beside the product, with these tools. @returns its pid */
export async function startPublisherOf(
  bench: Bench,
  { env }: Product,
  data: string,
  tools: Readonly<Record<string, string>>,
): Promise<number> {
  const child = start(bench, "../../services/publisher/main.ts", [], {
    ...env,
    MILLRACE_DATA: data,
    MILLRACE_HEALTH_PORT: String(await freePort()),
    MILLRACE_PUBLISHING_TOOLS: JSON.stringify(tools),
    // Deltas come after publication and are no part of what is measured.
    MILLRACE_DELTA_DEPTH: "0",
  });
  child.stdout!.resume();
  return child.pid!;
}
