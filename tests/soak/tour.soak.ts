/** The tour with what every run leaves out: no engine at all, and everything kept. */
import * as assert from "uvu/assert";
import { leftIn, testDocker } from "../harness/docker.ts";
import { testMill } from "../harness/mill.ts";
import { suite } from "../harness/suite.ts";

const test = suite("tour, its other ways", { timeoutMs: 600_000 });

test("without an engine the container is left out, and the rest works", async ({ defer }) => {
  const mill = testMill(
    { defer },
    { MILLRACE_LEASE_SECONDS: "2", MILLRACE_DOCKER_HOST: "unix:///nonexistent/docker.sock" },
  );
  await mill.up();
  const { code, out, err } = await mill.run(["tour"]);
  assert.is(code, 0, err + out);
  assert.match(out, /^Left out\..*Docker/m);
  assert.is(await mill.out(["apps", "list", "-o", "name"]), "");
});

test("--keep leaves all of it", async (context) => {
  const docker = await testDocker(context);
  const scope = docker.scope();
  const mill = testMill(context, {
    MILLRACE_LEASE_SECONDS: "2",
    MILLRACE_DOCKER_HOST: docker.endpoint,
    MILLRACE_DOCKER_SCOPE: scope,
  });
  await mill.up();
  const { code, out, err } = await mill.run(["tour", "--keep", "--base-image", await docker.busybox()]);
  assert.is(code, 0, err + out);
  assert.match(out, "all of it: the applications hello-site, hello-app");
  assert.is(await mill.out(["apps", "list", "--sort", "name", "-o", "name"]), "hello-app\nhello-site\n");
  for (const name of ["hello-app", "hello-site"]) await mill.out(["apps", "delete", name, "--yes", "--wait"]);
  assert.equal(await leftIn(docker.endpoint, scope), []);
});

test.run();
