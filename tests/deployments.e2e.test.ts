/** Applications deployed for real: static sites from Git repositories, through Caddy, with workers that die on the way. */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { ask, testGateway, testProjector } from "./harness/gateway.ts";
import { type Grounds, openGrounds } from "./harness/orchestrator.ts";
import { suite, type TestContext } from "./harness/suite.ts";

const test = suite("deployments", { timeoutMs: 120_000 });

let opened: Promise<Grounds> | undefined;
/** One node for all tests whose worker lives. */
const shared = (): Promise<Grounds> =>
  (opened ??= openGrounds({ node: "shared", env: { MILLRACE_RECONCILE_SECONDS: "1" } }).then(async (grounds) => {
    await grounds.start();
    return grounds;
  }));

test("a site from a repository is deployed and answers; a worker that is killed in the middle is gone on for", async () => {
  const grounds = await openGrounds();
  const first = await grounds.start("deployment.COPYING_FILES.after");
  const path = grounds.repository({ "index.html": "one" });
  const { id, host } = await grounds.site("shop", path);
  const made = await grounds.deploy(id);
  assert.is(await first.died(), "SIGKILL");
  const second = await grounds.start();
  const state = await grounds.succeeds(made);
  const served = await grounds.get(host);
  assert.equal([served.status, served.text, served.deployment], [200, "one", made]);
  await second.process.stop();
  assert.is(state.phases.COPYING_FILES?.attempt, 2);
  assert.is(state.phases.COPYING_FILES?.adopted, true, "what the killed worker had made is used");
  const types = (await grounds.events(deployment, made)).map(({ type }) => type);
  assert.is(types.filter((type) => type === "DeploymentSucceeded").length, 1);
});

/** A repository whose server takes the connection and never says a word. */
async function silentRepository(context: TestContext): Promise<string> {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.defer(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/shop.git`;
}

const isPulling = (grounds: Grounds, id: string) => async () =>
  (await grounds.deployment(id)).phases.PULLING_SOURCE?.state === "running" ? true : undefined;

test("through the gateway: asked for, waited for, served", async () => {
  const gateway = await testGateway();
  await testProjector(gateway.config);
  const grounds = await shared();
  const path = grounds.repository({ "public/index.html": "hello" });
  const all = "/v1/organisations/home/applications";
  const call = (method: string, at: string, body?: unknown) =>
    ask(gateway.url, method, at, { token: gateway.owner, ...(body === undefined ? {} : { body }) });
  const made = await call("POST", all, {
    name: "shop",
    source: { kind: "path", path },
    build: { kind: "static", folder: "public" },
    policy: { minHealthyTimeMs: 0 },
    node: grounds.node,
  });
  assert.is(made.status, 201, made.text);
  const asked = await call("POST", `${all}/shop/deploy`, {});
  assert.is(asked.status, 202, asked.text);
  const one = `/v1/organisations/home/deployments/${asked.body.id}`;
  const over = await eventually(
    async () => {
      const { body } = await call("GET", one);
      return body.status.finishedAt === undefined ? undefined : body;
    },
    "it is over",
    60_000,
  );
  assert.is(over.status.state, "succeeded", JSON.stringify(over.status));
  const { host } = made.body.status;
  const served = await grounds.get(host);
  assert.equal([served.status, served.text, served.deployment], [200, "hello", asked.body.id]);
});

test("a newer deployment takes the place of one that runs; one that waits is superseded at once", async (context) => {
  const grounds = await shared();
  const path = grounds.repository({ "index.html": "good" });
  const { id, host } = await grounds.site("newer", path, {
    source: { kind: "git", url: await silentRepository(context) },
  });
  const first = await grounds.deploy(id);
  await eventually(isPulling(grounds, first), "it pulls", 30_000);
  await grounds.change(id, { do: "change", source: { kind: "path", path } });
  const second = await grounds.deploy(id);
  const third = await grounds.deploy(id);
  assert.is((await grounds.ended(first)).state, "superseded");
  assert.is((await grounds.ended(second)).state, "superseded");
  await grounds.succeeds(third);
  assert.is((await grounds.get(host)).deployment, third);
});

test("cancelled while it hangs, and before it began; the former release serves on", async (context) => {
  const grounds = await shared();
  const path = grounds.repository({ "index.html": "one" });
  const { id, host } = await grounds.site("cancels", path);
  const one = await grounds.deploy(id);
  await grounds.succeeds(one);
  await grounds.change(id, { do: "change", source: { kind: "git", url: await silentRepository(context) } });
  const hanging = await grounds.deploy(id);
  await eventually(isPulling(grounds, hanging), "it pulls", 30_000);
  await grounds.cancel(hanging);
  assert.is((await grounds.ended(hanging)).state, "cancelled");
  assert.is((await grounds.get(host)).deployment, one);
});

test("rolled back and restarted, without anything pulled or built again", async () => {
  const grounds = await shared();
  const path = grounds.repository({ "index.html": "one" });
  const { id, host } = await grounds.site("back", path);
  await grounds.succeeds(await grounds.deploy(id));
  grounds.commit(path, { "index.html": "two" });
  await grounds.succeeds(await grounds.deploy(id));
  assert.is((await grounds.get(host)).text, "two");
  rmSync(path, { recursive: true });
  const back = await grounds.deploy(id, { trigger: "rollback" });
  const state = await grounds.succeeds(back);
  assert.equal([(await grounds.get(host)).text, (await grounds.get(host)).deployment], ["one", back]);
  assert.equal([state.phases.PULLING_SOURCE?.attempt, state.phases.COPYING_FILES?.adopted], [0, true]);
  const restarted = await grounds.deploy(id, { trigger: "restart" });
  await grounds.succeeds(restarted);
  assert.equal([(await grounds.get(host)).text, (await grounds.get(host)).deployment], ["one", restarted]);
});

test("another host is served as soon as it is asked for, and no more when it is given up", async () => {
  const grounds = await shared();
  const { id, host } = await grounds.site("hosts", grounds.repository({ "index.html": "one" }));
  await grounds.succeeds(await grounds.deploy(id));
  // Another list of hosts is another configuration: a connection that opens in that moment may be closed.
  const status = (name: string) =>
    grounds.get(name).then(
      (answer) => answer.status,
      () => undefined,
    );
  const serves = (name: string, expected: number) =>
    eventually(async () => ((await status(name)) === expected ? true : undefined), `${name}: ${expected}`);
  await grounds.change(id, { do: "change", domains: ["hosts.example.org"] });
  await serves("hosts.example.org", 200);
  await grounds.change(id, { do: "change", domains: [] });
  await serves("hosts.example.org", 404);
  await serves(host, 200);
});

test("a full disk: the deployment says so, and the former release serves", async (context) => {
  const grounds = await openGrounds({ node: "full" });
  mkdirSync(grounds.data, { recursive: true });
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", grounds.data]);
  if (mounted.status !== 0) context.skip("a small disk can only be made by root");
  context.defer(() => spawnSync("umount", ["-l", grounds.data]));
  const worker = await grounds.start();
  const path = grounds.repository({ "index.html": "one" });
  const { id, host } = await grounds.site("full", path);
  const one = await grounds.deploy(id);
  await grounds.succeeds(one);
  grounds.commit(path, { "large.bin": randomBytes(4 * 1024 * 1024).toString("latin1") });
  await grounds.change(id, { do: "change", policy: { progressDeadlineMs: 6_000 } });
  const { state, failure } = await grounds.ended(await grounds.deploy(id));
  assert.is(state, "failed");
  assert.match(`${failure?.code} ${failure?.message}`, /DISK_FULL|disk is full/);
  assert.equal([(await grounds.get(host)).text, (await grounds.get(host)).deployment], ["one", one]);
  await worker.process.stop();
});

test("what was changed by hand is put right, and told; nothing is told when nothing is wrong", async () => {
  const grounds = await shared();
  const path = grounds.repository({ "index.html": "one" });
  const { id, host } = await grounds.site("drift", path);
  await grounds.succeeds(await grounds.deploy(id));
  const root = join(grounds.data, "orchestrator", grounds.node, "apps", id);
  const release = (await grounds.application(id)).live!.release;
  const harms: ReadonlyArray<readonly [string, () => void]> = [
    ["symlink", () => rmSync(join(root, "current"))],
    ["route", () => rmSync(join(root, "route"))],
    ["route", () => writeFileSync(join(root, "route", "deployment"), "dep_somebody_else")],
    ["release", () => rmSync(join(root, "releases", release), { recursive: true })],
  ];
  for (const [resource, harm] of harms) {
    const before = await repairs(grounds, id, resource);
    harm();
    await eventually(
      async () => ((await repairs(grounds, id, resource)) > before ? true : undefined),
      `the ${resource} is put right`,
      30_000,
    );
    await eventually(async () => ((await grounds.get(host)).text === "one" ? true : undefined), "it serves");
  }
  const isWell = async () => Object.values((await grounds.application(id)).drift).every(({ open }) => !open);
  await eventually(async () => ((await isWell()) ? true : undefined), "all of it is said to be put right");
  // What the last repair brought with it may still be put right; then come several rounds in which nothing is wrong.
  const written = async () => {
    const before = await grounds.events(application, id);
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    return (await grounds.events(application, id)).length - before.length;
  };
  await eventually(async () => ((await written()) === 0 ? true : undefined), "nothing is written", 20_000);
});

const repairs = async (grounds: Grounds, id: string, resource: string): Promise<number> =>
  (await grounds.events(application, id)).filter(
    ({ type, data }) => type === "DriftRepaired" && (data as { resource: string }).resource === resource,
  ).length;

test("a resource that drifts again and again is left alone for a while", async () => {
  const grounds = await shared();
  const path = grounds.repository({ "index.html": "one" });
  const { id } = await grounds.site("again", path);
  await grounds.succeeds(await grounds.deploy(id));
  const current = join(grounds.data, "orchestrator", grounds.node, "apps", id, "current");
  await eventually(
    async () => {
      rmSync(current, { force: true });
      return (await grounds.application(id)).drift.symlink?.suspendedUntil ?? undefined;
    },
    "repairs of it pause",
    60_000,
  );
  const count = await repairs(grounds, id, "symlink");
  assert.ok(count >= 4 && count <= 6, `${count} repairs`);
});

test("what cannot be had ends with a reason and a next step, and the former release serves", async () => {
  const grounds = await shared();
  const path = grounds.repository({ "index.html": "one" });
  const { id, host } = await grounds.site("bad", path);
  const one = await grounds.deploy(id);
  await grounds.succeeds(one);
  const fails = async (code: string, phase: string) => {
    const { state, failure } = await grounds.ended(await grounds.deploy(id));
    assert.ok(state === "failed" || state === "rolledBack", state);
    assert.equal([failure?.code, failure?.phase], [code, phase]);
    assert.ok(failure!.fix.length > 10 && failure!.message.length > 10);
    const served = await grounds.get(host);
    assert.equal([served.status, served.text, served.deployment], [200, "one", one]);
  };
  await grounds.change(id, { do: "change", source: { kind: "path", path: "/nonexistent/shop" } });
  await fails("PATH_REFUSED", "PULLING_SOURCE");
  await grounds.change(id, { do: "change", source: { kind: "path", path, ref: "nowhere" } });
  await fails("REF_NOT_FOUND", "PULLING_SOURCE");
  await grounds.change(id, { do: "change", source: { kind: "path", path }, build: { kind: "static", folder: "gone" } });
  await fails("SITE_FOLDER", "COPYING_FILES");
  await grounds.change(id, {
    do: "change",
    build: { kind: "static", folder: "." },
    health: { path: "/not-there" },
    policy: { healthyDeadlineMs: 1_500 },
  });
  await fails("NOT_READY", "HEALTH_CHECK");
});

test.run();
