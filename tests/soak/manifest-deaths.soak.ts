/** A manifest built by publishers that die at every step of it, one after another: what comes out is what would have come out. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { pullLocal } from "@millrace/publisher/adapters/ostree/tools.ts";
import { assertOnce, Publishers } from "../faults/deaths-of-builds.ts";
import { eventually } from "../harness/eventually.ts";
import { HERE, RUNTIME, testRuntime } from "../harness/flatpak-runtime.ts";
import { callerOf, testGateway } from "../harness/gateway.ts";
import { testPublishing } from "../harness/publishing.ts";
import { isLive, untilBuild } from "../harness/pushes.ts";
import { testFolder, testNats } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("builds of manifests under deaths", { timeoutMs: 1_800_000 });
const PATIENCE_MS = 600_000;
/** A step is given up at its tenth attempt. */
const STEPS: ReadonlyArray<readonly string[]> = [
  ["build.build.begun", "build.source.pulled", "builder.install.before", "builder.install.made", "builder.run.before"],
  ["builder.run.during", "builder.run.made", "build.built.taken", "build.build.made", "builder.removed"],
  ["build.build.recorded"],
];

/** It leaves something to look at. */
const BROKEN = {
  id: "org.test.Broken",
  runtime: RUNTIME.platform,
  "runtime-version": RUNTIME.branch,
  sdk: RUNTIME.sdk,
  command: "x",
  branch: "stable",
  modules: [{ name: "m", buildsystem: "simple", "build-commands": ["echo kept > kept.log", "exit 7"] }],
};

test("killed at every step, one after another", async (context) => {
  const publishing = await testPublishing(context);
  const runtime = await testRuntime(context, publishing);
  const nats = await testNats();
  const gateway = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
  const caller = callerOf(gateway);
  const { expect } = caller;
  const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "soak", replicas: 1 } as const;
  const log = await EventLog.open(connection, ["publishing"]);
  context.defer(() => log.close());
  const sources = testFolder("sources");
  const folder = join(sources, "hello");
  cpSync(fileURLToPath(new URL("../../examples/flatpak-hello", import.meta.url)), folder, { recursive: true });
  writeFileSync(join(folder, "broken.json"), JSON.stringify(BROKEN));
  for (const args of [
    ["init", "-q", "-b", "main"],
    ["add", "-A"],
    ["commit", "-qm", "one"],
  ]) {
    execFileSync("git", ["-C", folder, "-c", "user.name=T", "-c", "user.email=t@x", ...args], { stdio: "pipe" });
  }
  const data = testFolder("publisher");
  const world = { gateway, caller, log, data, publishing, env: { MILLRACE_LOCAL_SOURCES: sources } };
  const { id } = (await expect(201, "POST", "/repositories", { body: { name: "stable" } })).body;
  const shown = async () => (await expect(200, "GET", "/repositories/stable")).body.status;
  const first = new Publishers(world, []);
  first.start();
  await eventually(async () => ((await shown()).settled ? true : undefined), first.said(), PATIENCE_MS);
  const main = await Repository.open(join(data, "publisher/local/repositories", id, "repo"));
  const refs = (await publishing.tools.run("ostree", [`--repo=${runtime.root}`, "refs"])).toString().trim().split("\n");
  const runtimes = refs.filter((ref) => ref.startsWith("runtime/"));
  await pullLocal(publishing.tools, runtime.root, main.root, runtimes);
  await expect(200, "PATCH", "/repositories/stable", { body: { title: "Ours" }, headers: { "if-match": "*" } });
  await eventually(async () => ((await shown()).settled ? true : undefined), first.said(), PATIENCE_MS);
  await first.stop();

  for (const [index, points] of STEPS.entries()) {
    const publishers = new Publishers(world, points);
    publishers.start();
    const source = { type: "manifest", manifest: "org.test.Hello.yml", git: { url: folder, ref: "main" } };
    const body = { repository: "stable", source: { ...source, subsets: [`subset${index}`] } };
    const { id: build, organisation, status } = (await expect(201, "POST", "/builds", { body })).body;
    const ready = ({ state, failure }: any) => {
      assert.notEqual(state, "failed", `${JSON.stringify(failure)} ${publishers.said()}`);
      return state === "ready" && publishers.died.length === points.length;
    };
    await untilBuild({ caller }, status.number, ready, publishers.said, PATIENCE_MS);
    assert.deepEqual(publishers.died, points);
    await expect(202, "POST", `/builds/${status.number}/publish`, { body: {} });
    const over = (now: any) => isLive(now) && now.deltas !== undefined;
    const { status: end } = await untilBuild({ caller }, status.number, over, publishers.said, PATIENCE_MS);
    const once = ["BuildBuilt", "BuildCommitted", "BuildRefsPublished", "BuildPublished", "BuildReleased"];
    await assertOnce(log, build, once);
    const { ref, published: commit } = end.refs[0];
    assert.equal((await published(main))?.get(ref), commit);
    assert.equal(await publishing.fsck(main), undefined);
    const { refs: all } = (await expect(200, "GET", "/repositories/stable/contents")).body;
    assert.deepEqual(all.find((each: any) => each.ref === ref).subsets, [`subset${index}`]);
    const apps = join(data, "publisher/local/builder", organisation, "apps/org.test.Hello", HERE);
    const left = existsSync(apps) ? readdirSync(apps).filter((name) => name.startsWith("bld_")) : [];
    assert.deepEqual(left, []);
    await publishers.stop();
  }

  const points = ["builder.artefacts.before", "builder.artefacts.made"];
  const publishers = new Publishers(world, points);
  publishers.start();
  const source = { type: "manifest", manifest: "broken.json", git: { url: folder, ref: "main" } };
  const { id: broken, status } = (await expect(201, "POST", "/builds", { body: { repository: "stable", source } }))
    .body;
  const failed = ({ state }: any) => state === "failed";
  const { status: end } = await untilBuild({ caller }, status.number, failed, publishers.said, PATIENCE_MS);
  assert.deepEqual([publishers.died, end.failure.step], [points, "build"]);
  await assertOnce(log, broken, ["BuildFailed"]);
  assert.deepEqual(
    end.failure.artefacts.map(({ arch }: any) => arch),
    [HERE],
  );
  await publishers.stop();
});

test.run();
