import { chmodSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { testFolder } from "../tests/harness/servers.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { examine } from "./doctor.ts";
import { freePort } from "./ports.ts";
import { readSettings, type Settings } from "./settings.ts";

const test = suite("doctor");

function settings(port: number): Settings {
  const folder = testFolder("doctor");
  return readSettings({ folder, env: {}, flags: { port: `${port}`, data: "data" } }).values;
}

/** Only these programs are on the path, each saying what is given of itself. */
function onlyPrograms({ defer }: TestContext, programs: Readonly<Record<string, string>>): void {
  const folder = testFolder("path");
  for (const [name, says] of Object.entries(programs)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${says}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  const { PATH, MILLRACE_CACHE } = process.env;
  process.env.PATH = folder;
  process.env.MILLRACE_CACHE = join(folder, "cache");
  defer(() => {
    process.env.PATH = PATH;
    if (MILLRACE_CACHE === undefined) delete process.env.MILLRACE_CACHE;
    else process.env.MILLRACE_CACHE = MILLRACE_CACHE;
  });
}

test("what is there is named with its version, what is not with one command", async (context) => {
  onlyPrograms(context, {
    git: "echo git version 2.39.5",
    ostree: "echo libostree:; echo \" Version: '2019.1'\"",
    dockerd: "exit 1",
  });
  const { DOCKER_HOST } = process.env;
  process.env.DOCKER_HOST = "unix:///nonexistent/docker.sock";
  context.defer(() => {
    if (DOCKER_HOST === undefined) delete process.env.DOCKER_HOST;
    else process.env.DOCKER_HOST = DOCKER_HOST;
  });
  const findings = await examine(settings(await freePort()));
  const of = (need: string) => findings.find((finding) => finding.need === need)!;
  assert.is(of("git").found, "2.39.5");
  assert.is(of("git").missing, undefined);
  assert.is(of("ostree").found, "2019.1");
  assert.match(of("ostree").missing!.why, "2020.8 or later is needed");
  assert.is(of("flatpak").found, null);
  assert.is(of("flatpak").missing!.install, "apt-get install -y flatpak");
  assert.match(of("Docker engine").missing!.why, "does not answer");
  assert.is(of("NATS server").found, null);
  assert.is(of("NATS server").missing!.install, "npm run mill -- setup");
  assert.match(of("PostgreSQL").found ?? "", /^18\./);
  assert.match(of("open files")?.found ?? "1", /^\d+$/);
  for (const { need, missing } of findings) if (missing) assert.ok(missing.why && missing.install, need);
});

test("the machine: space, fsync, clock, and a port that is taken", async ({ defer }) => {
  const port = await freePort();
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(port, "127.0.0.1", resolve));
  defer(() => other.close());
  const machine = (await examine(settings(port))).filter(({ context }) => context === "machine");
  const of = (need: string) => machine.find((finding) => finding.need === need)!;
  assert.match(of("free disk space").found!, /^\d+\.\d GiB$/);
  assert.match(of("fsync").found!, /^p50 [\d.]+ ms, p99 [\d.]+ ms$/);
  assert.is(of("clock").missing, undefined);
  assert.match(of(`port ${port}`).missing!.why, "another program");
});

test.run();
