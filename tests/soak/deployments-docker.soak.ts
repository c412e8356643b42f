/** Containers that are ended by hand come back; an engine that goes away in the middle is waited for. */
import { randomBytes } from "node:crypto";
import { openLogs } from "@millrace/eventlog/logs.ts";
import { askDocker } from "@millrace/local/docker.ts";
import type { DockerEngine } from "@millrace/orchestrator/adapters/docker.ts";
import * as assert from "uvu/assert";
import { startOwnDocker } from "../harness/docker.ts";
import { eventually } from "../harness/eventually.ts";
import { container, nodeApp, openDockerGrounds } from "../harness/node-app.ts";
import { type Grounds, ORGANISATION, openGrounds } from "../harness/orchestrator.ts";
import { suite } from "../harness/suite.ts";

const test = suite("containers ended by hand, an engine that goes", { timeoutMs: 240_000 });

const runningOf = async (engine: DockerEngine, application: string) =>
  (await engine.listContainers({ application })).filter(({ state }) => state === "running");

async function answers(grounds: Grounds, host: string): Promise<[string, string | undefined]> {
  const { text, deployment: from } = await grounds.get(host);
  return [text, from];
}

test("what is ended or removed by hand comes back; its variables may be secrets; what it says is kept", async (context) => {
  const key = randomBytes(32).toString("base64");
  const { grounds, image, engine, endpoint } = await openDockerGrounds(context, "heals", { MILLRACE_MASTER_KEY: key });
  context.defer(() => engine.close());
  await grounds.start();
  const secret = await grounds.secret("password", "hunter2-and-more", key);
  const path = grounds.repository(nodeApp(image, "one"));
  const runtime = { port: 3000, instances: 2, env: { PASSWORD: { secret } } };
  const { id, host } = await container(grounds, "heals", path, { runtime });
  const made = await grounds.deploy(id);
  await grounds.succeeds(made, 120_000);
  assert.is((await grounds.get(host, "/env/PASSWORD")).text, "hunter2-and-more");

  const before = await runningOf(engine, id);
  await askDocker(endpoint, "DELETE", `/containers/${before[0]!.id}?force=1`);
  await eventually(
    async () =>
      (await grounds.application(id)).drift[`container:${before[0]!.slot}`]?.repairs.length ? true : undefined,
    "the container is started again",
    60_000,
  );
  await eventually(async () => ((await runningOf(engine, id)).length === 2 ? true : undefined), "both run");
  for (let i = 0; i < 6; i++) assert.equal(await answers(grounds, host), ["one", made]);

  const logs = await openLogs(grounds.log.nats);
  const of = [{ organisation: ORGANISATION, context: "applications", kind: "application", id }];
  await eventually(
    async () => {
      const { lines } = await logs.read({ of, order: "oldest", limit: 500 });
      const run = lines.filter(({ from }) => from.source === "run").map(({ text }) => text);
      const build = lines.filter(({ from }) => from.source === "build").map(({ text }) => text);
      return run.includes("listening") && build.some((text) => text.includes("COPY . /app")) ? true : undefined;
    },
    "its lines and those of its build are kept",
    20_000,
  );
});

test("the engine is gone in the middle: it is waited for, and the deployment goes on", async (context) => {
  const docker = await startOwnDocker(context);
  const grounds = await openGrounds({
    node: "gone",
    env: {
      MILLRACE_DOCKER_HOST: docker.endpoint,
      MILLRACE_DOCKER_SCOPE: docker.scope(),
      MILLRACE_DOCKER_PORTS: "24000-25999",
    },
  });
  await grounds.start();
  // The small image: an engine of its own has to be given it.
  const image = await docker.busybox();
  const path = grounds.repository({
    "index.html": "one",
    Dockerfile: `FROM ${image}\nRUN sleep 3\nCOPY . /app\nUSER app\nCMD ["busybox", "httpd", "-f", "-p", "3000", "-h", "/app"]\n`,
  });
  const { id, host } = await container(grounds, "gone", path);
  const made = await grounds.deploy(id);
  await eventually(
    async () => ((await grounds.deployment(made)).phases.BUILDING?.state === "running" ? true : undefined),
    "it builds",
    60_000,
  );
  await docker.kill();
  await eventually(
    async () => ((await grounds.deployment(made)).phases.BUILDING?.error?.class === "transient" ? true : undefined),
    "it says that the engine is gone",
    60_000,
  );
  await docker.start();
  const state = await grounds.succeeds(made, 120_000);
  assert.ok(state.phases.BUILDING!.attempt > 1);
  assert.equal(await answers(grounds, host), ["one", made]);
});

test.run();
