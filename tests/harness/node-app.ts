/** A small application in a container, for deployments: answers what it is told to, and ends in order. */
import type { ApplicationInput } from "@millrace/domain/applications/application-command.ts";
import { openDocker } from "@millrace/orchestrator/adapters/docker.ts";
import { testDocker } from "./docker.ts";
import { type Grounds, openGrounds } from "./orchestrator.ts";
import type { TestContext } from "./suite.ts";

/** Grounds with a scope of their own in the run's engine. */
export async function openDockerGrounds(
  context: Pick<TestContext, "skip">,
  node = "local",
  env: Readonly<Record<string, string>> = {},
) {
  const docker = await testDocker(context);
  const { endpoint } = docker;
  const scope = docker.scope();
  const own = { MILLRACE_DOCKER_HOST: endpoint, MILLRACE_DOCKER_SCOPE: scope, ...env };
  const grounds = await openGrounds({ node, env: own });
  return { grounds, scope, endpoint, image: await docker.node(), engine: openDocker({ scope, endpoint }) };
}

/** Answers its text at every path; `/env/NAME` one of its variables; and what it does wrong, when it is to do something wrong. */
const SERVER = `
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
const text = readFileSync(new URL("text", import.meta.url), "utf8");
const wrong = process.env.WRONG ?? "";
let ending = false;
console.log("begins with " + text.trim());
const server = createServer((request, response) => {
  if (ending) response.setHeader("connection", "close");
  if (wrong === "500") response.statusCode = 500;
  const name = /^\\/env\\/([A-Z_]+)$/.exec(request.url)?.[1];
  response.end(name === undefined ? text : (process.env[name] ?? ""));
});
if (wrong !== "silent") server.listen(3000, "0.0.0.0", () => console.log("listening"));
else setInterval(() => {}, 1000);
if (wrong === "exits") process.exit(3);
if (wrong.startsWith("later:")) setTimeout(() => { console.log("crashing now"); process.exit(4); }, Number(wrong.slice(6)));
process.on("SIGTERM", () => {
  ending = true;
  server.close(() => process.exit(0));
  setTimeout(() => process.exit(0), 1000);
});
`;

/** Files of its repository. @param image with node at /bin/node */
export const nodeApp = (image: string, text: string): Record<string, string> => ({
  Dockerfile: `FROM ${image}\nCOPY . /app\nUSER app\nCMD ["node", "/app/server.mjs"]\n`,
  "server.mjs": SERVER,
  text,
});

/** An application of it. */
export const container = (grounds: Grounds, name: string, path: string, more: Partial<ApplicationInput> = {}) =>
  grounds.create({
    name,
    source: { kind: "path", path },
    build: { kind: "dockerfile" },
    runtime: { port: 3000, memoryBytes: 128 * 1024 * 1024, cpus: 1, stopTimeoutMs: 3_000 },
    health: { successes: 1, timeoutMs: 2_000 },
    policy: { minHealthyTimeMs: 0, healthyDeadlineMs: 60_000, progressDeadlineMs: 600_000 },
    ...more,
  });
