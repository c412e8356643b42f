/** Containers, networks and probes on a real engine. */
import { createServer } from "node:net";
import * as assert from "uvu/assert";
import { leftIn, type TestDocker, testDocker } from "../../../tests/harness/docker.ts";
import { suite, type TestContext } from "../../../tests/harness/suite.ts";
import { type ContainerSpec, containerName, type DockerEngine, networkName, openDocker } from "./docker.ts";
import { DockerFailed } from "./docker-failures.ts";
import { contextOf, failureOf, freshId, requestFor, specFor, until } from "./fixtures/docker.ts";
import { probeReady } from "./probe.ts";

const test = suite("docker containers", { timeoutMs: 60_000 });

interface Place {
  readonly docker: TestDocker;
  readonly engine: DockerEngine;
  readonly scope: string;
}

async function place(context: TestContext): Promise<Place> {
  const docker = await testDocker(context);
  const scope = docker.scope();
  const engine = openDocker({ endpoint: docker.endpoint, scope });
  context.defer(() => engine.close());
  return { docker, engine, scope };
}

/** An image that serves /site by busybox's httpd on 8080, with a script at /cgi-bin/see that shows what is inside. */
async function site({ docker, engine }: Place, more = ""): Promise<{ id: string; application: string }> {
  const base = await docker.busybox();
  const folder = contextOf({
    Dockerfile: `FROM ${base}\nCOPY site /site\nRUN chmod 755 /site/cgi-bin/see\n${more}\nCMD ["httpd","-f","-p","8080","-h","/site"]\n`,
    "site/index.html": "hello",
    "site/cgi-bin/see":
      "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'; id; grep -E '^(Cap|NoNewPrivs)' /proc/self/status; cat /proc/self/mounts; env; touch /probe 2>&1; for f in memory/memory.limit_in_bytes memory.max pids/pids.max pids.max cpu/cpu.cfs_quota_us cpu.max; do [ -f /sys/fs/cgroup/$f ] && echo $f=$(cat /sys/fs/cgroup/$f); done; true\n",
  });
  const request = requestFor(folder);
  const { id } = await engine.build(request);
  return { id, application: request.application };
}

function ready(engine: DockerEngine, container: { id: string; address: string }, path = "/"): Promise<unknown> {
  return probeReady(container.address, path, {
    successes: 2,
    timeoutMs: 1_000,
    deadlineAt: Date.now() + 20_000,
    signal: new AbortController().signal,
    giveUp: async () => {
      const there = await engine.inspectContainer(container.id);
      if (there?.state !== "exited") return undefined;
      return new DockerFailed({ class: "permanent", code: "CONTAINER_EXITED", reason: "it exited", fix: "-" });
    },
  });
}

const text = async (address: string, path: string) => (await fetch(`http://${address}${path}`)).text();

test("created, started, answering, listed, removed; every act twice", async (context) => {
  const here = await place(context);
  const { engine, scope, docker } = here;
  const { id: imageId } = await site(here);
  const spec = specFor(imageId);
  const first = await engine.ensureContainer(spec);
  assert.is(first.created, true);
  assert.is(first.name, containerName(spec.application, spec.deployment, 0));
  assert.equal(await engine.ensureContainer(spec), { ...first, created: false });
  const running = await engine.startContainer(spec);
  assert.is(running.id, first.id);
  assert.equal(await engine.startContainer(spec), running);
  await ready(engine, running);
  assert.is(await text(running.address, "/"), "hello");
  const [listed, ...others] = await engine.listContainers({ application: spec.application });
  assert.is(others.length, 0);
  assert.is(listed!.id, running.id);
  assert.is(listed!.address, running.address);
  assert.is(listed!.state, "running");
  assert.is(listed!.slot, 0);
  assert.is(listed!.imageId, imageId);
  assert.is(listed!.configHash, engine.configHash(spec));
  assert.equal(await engine.listContainers({ deployment: freshId("dep") }), []);
  const failed = await failureOf(engine.removeNetwork(spec.application));
  assert.is(failed.class, "transient");
  assert.is(await engine.stopContainer(running.id), true);
  assert.is(await engine.stopContainer(running.id), false);
  let drained = false;
  const drain = async () => {
    drained = true;
  };
  assert.is(await engine.removeContainer(running.id, drain), true);
  assert.ok(drained);
  assert.is(await engine.removeContainer(running.id), false);
  assert.is(await engine.inspectContainer(running.id), undefined);
  assert.is(await engine.removeNetwork(spec.application), true);
  assert.is(await engine.removeNetwork(spec.application), false);
  const left = (await leftIn(docker.endpoint, scope)).filter((path) => !path.startsWith("/images/"));
  assert.equal(left, []);
});

test("two at once create one container and one network", async (context) => {
  const here = await place(context);
  const { engine } = here;
  const { id: imageId } = await site(here);
  const spec = specFor(imageId);
  const all = await Promise.all(Array.from({ length: 6 }, () => engine.startContainer(spec)));
  assert.is(new Set(all.map(({ id }) => id)).size, 1);
  assert.is((await engine.listContainers({ application: spec.application })).length, 1);
  await ready(engine, all[0]!);
});

test("another config or image under the same name is replaced; a foreign one is left alone", async (context) => {
  const here = await place(context);
  const { engine, docker } = here;
  const { id: imageId } = await site(here);
  const spec = specFor(imageId, { env: { GREETING: "one" } });
  const one = await engine.startContainer(spec);
  const changed: ContainerSpec = { ...spec, env: { GREETING: "two" } };
  assert.is.not(engine.configHash(changed), engine.configHash(spec));
  const two = await engine.startContainer(changed);
  assert.is.not(two.id, one.id);
  await ready(engine, two);
  assert.match(await text(two.address, "/cgi-bin/see"), "GREETING=two");
  assert.is((await engine.listContainers({ application: spec.application })).length, 1);
  // Another node on the same engine: sees nothing of it, and touches nothing.
  const other = openDocker({ endpoint: docker.endpoint, scope: docker.scope() });
  context.defer(() => other.close());
  assert.equal(await other.listContainers(), []);
  assert.is(await other.inspectContainer(two.id), undefined);
  assert.is(await other.stopContainer(two.id), false);
  assert.is(await other.removeContainer(two.id), false);
  assert.is((await failureOf(other.startContainer(spec))).code, "NAME_TAKEN");
  assert.is((await failureOf(other.removeNetwork(spec.application))).code, "NAME_TAKEN");
  assert.is((await engine.inspectContainer(two.id))?.state, "running");
});

test("no more than asked: limits, capabilities, user, no mounts, a read-only root", async (context) => {
  const here = await place(context);
  const { engine } = here;
  const { id: imageId } = await site(here);
  const spec = specFor(imageId, { user: "1000:1000", readOnly: true, processes: 24, env: { SECRET: "a=b c" } });
  const running = await engine.startContainer(spec);
  await ready(engine, running);
  const seen = await text(running.address, "/cgi-bin/see");
  assert.match(seen, /uid=1000/);
  assert.match(seen, /CapEff:\s+0{16}\n/);
  assert.match(seen, /CapBnd:\s+0{16}\n/);
  assert.match(seen, /NoNewPrivs:\s+1/);
  assert.match(seen, /memory\.(limit_in_bytes|max)=67108864/);
  assert.match(seen, /pids\.max=24/);
  assert.match(seen, /cfs_quota_us=50000|cpu\.max=50000 100000/);
  assert.match(seen, "SECRET=a=b c");
  assert.match(seen, "Read-only file system");
  assert.match(seen, /tmpfs \/tmp tmpfs \S*noexec/);
  // The engine's own three files and the kernel's file systems, nothing of the host's.
  const mounts = seen.split("\n").filter((line) => /^\/dev\/|^\S+ \S+ (ext4|xfs|btrfs) /.test(line));
  assert.equal(mounts.map((line) => line.split(" ")[1]).sort(), ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);
  const plain = await engine.startContainer(specFor(imageId));
  await ready(engine, plain);
  // CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID: bits 0, 1, 3, 5, 6, 7
  assert.match(await text(plain.address, "/cgi-bin/see"), /CapBnd:\s+0{14}eb\n/);
});

test("memory that is not its own kills it, and it says so", async (context) => {
  const here = await place(context);
  const { engine } = here;
  const { id: imageId } = await site(here);
  const greedy = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
  const spec = specFor(imageId, { command: greedy, memoryBytes: 16 << 20 });
  const { id } = await engine.startContainer(spec);
  await until("killed for memory", async () => {
    const there = await engine.inspectContainer(id);
    return there!.restarts > 0 || there!.oomKilled;
  });
});

test("a crash and restart by the engine keeps the address", async (context) => {
  const here = await place(context);
  const { engine } = here;
  const { id: imageId } = await site(here);
  const spec = specFor(imageId, { command: ["sh", "-c", "httpd -p 8080 -h /site; sleep 1; exit 3"] });
  const running = await engine.startContainer(spec);
  await until("restarted twice", async () => ((await engine.inspectContainer(running.id))?.restarts ?? 0) >= 2);
  await ready(engine, running);
  const there = await engine.inspectContainer(running.id);
  if (there?.state === "running") assert.is(there.address, running.address);
});

test("a port that somebody took meanwhile is changed for another", async (context) => {
  const here = await place(context);
  const { engine, docker, scope } = here;
  const { id: imageId } = await site(here);
  const spec = specFor(imageId);
  const before = await engine.startContainer(spec);
  await engine.stopContainer(before.id);
  const squatter = createServer();
  const port = Number(before.address.split(":")[1]);
  await new Promise<void>((resolve) => squatter.listen(port, "127.0.0.1", resolve));
  context.defer(() => squatter.close());
  const after = await engine.startContainer(spec);
  assert.is.not(after.address, before.address);
  await ready(engine, after);
  const narrow = openDocker({ endpoint: docker.endpoint, scope, ports: { from: port, to: port } });
  context.defer(() => narrow.close());
  assert.is((await failureOf(narrow.startContainer(specFor(imageId)))).code, "NO_PORT");
});

test("what cannot start is said at once: no command, no user, no image", async (context) => {
  const here = await place(context);
  const { engine } = here;
  const { id: imageId } = await site(here);
  for (const more of [{ command: ["/no/such/thing"] }, { user: "nobody-here" }]) {
    const failed = await failureOf(engine.startContainer(specFor(imageId, more)));
    assert.is(failed.code, "CONTAINER_UNSTARTABLE");
    assert.is(failed.class, "permanent");
  }
  const gone = await failureOf(engine.startContainer(specFor(`sha256:${"0".repeat(64)}`)));
  assert.is(gone.code, "IMAGE_MISSING");
});

test("checked by a tool of the image, by the image's own check, or by nothing; and honestly", async (context) => {
  const here = await place(context);
  const { engine } = here;
  const wget = await engine.startContainer(specFor((await site(here)).id));
  await until("healthy", async () => (await engine.inspectContainer(wget.id))?.health === "healthy");
  assert.is((await engine.inspectContainer(wget.id))?.checkedBy, "wget");
  const [listed] = await engine.listContainers();
  assert.is(listed!.health, "healthy");
  const { id: imageId } = await site(here);
  const sick = { path: "/absent", intervalMs: 300, timeoutMs: 20_000, retries: 2, startPeriodMs: 0 };
  const broken = await engine.startContainer(specFor(imageId, { health: sick }));
  await until("unhealthy", async () => (await engine.inspectContainer(broken.id))?.health === "unhealthy");
  assert.match((await engine.inspectContainer(broken.id))!.lastCheck!, "404");
  const bare = await site(here, "RUN busybox rm /bin/wget");
  const without = await engine.startContainer(specFor(bare.id));
  const detail = await engine.inspectContainer(without.id);
  assert.is(detail!.checkedBy, "none");
  assert.is(detail!.health, "none");
  await ready(engine, without);
  const own = await site(here, "RUN busybox rm /bin/wget\nHEALTHCHECK CMD true");
  const declared = await engine.startContainer(specFor(own.id));
  await until("healthy by its own", async () => (await engine.inspectContainer(declared.id))?.health === "healthy");
  assert.is((await engine.inspectContainer(declared.id))?.checkedBy, "image");
});

test("each application has a network of its own, far more than the engine's pools hold", async (context) => {
  const { engine, docker } = await place(context);
  const applications = Array.from({ length: 40 }, () => freshId("app"));
  for (const application of applications) {
    assert.is(await engine.ensureNetwork(application), networkName(application));
    assert.is(await engine.ensureNetwork(application), networkName(application));
  }
  // Eight subnets in this range: other candidates are tried until one is free, and then it says that none is.
  const small = openDocker({
    endpoint: docker.endpoint,
    scope: docker.scope(),
    subnets: { range: "10.217.3.0/26", prefix: 29 },
  });
  context.defer(() => small.close());
  const few = Array.from({ length: 8 }, () => freshId("app"));
  for (const application of few) await small.ensureNetwork(application);
  assert.is((await failureOf(small.ensureNetwork(freshId("app")))).code, "NO_SUBNET");
  for (const application of few) assert.is(await small.removeNetwork(application), true);
  for (const application of applications) assert.is(await engine.removeNetwork(application), true);
});

test("a container that is paused, or being removed, is not in the way", async (context) => {
  const here = await place(context);
  const { engine } = here;
  const { id: imageId } = await site(here);
  const spec = specFor(imageId, { stopTimeoutMs: 0 });
  const running = await engine.startContainer(spec);
  const [removed, again] = await Promise.all([engine.removeContainer(running.id), engine.removeContainer(running.id)]);
  assert.ok(removed || again);
  const anew = await engine.startContainer(spec);
  assert.is.not(anew.id, running.id);
  await ready(engine, anew);
});

test.run();
