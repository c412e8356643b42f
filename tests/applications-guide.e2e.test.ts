/** The guide to applications: its commands run as they stand, by `mill`, against the product as `mill up` runs it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { CHECKOUT, ONE_PROCESS, testMill } from "./harness/mill.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the guide to applications", { timeoutMs: 240_000 });

/** Runs a script in bash, stopping at its first failing command. */
function run(script: string, env: NodeJS.ProcessEnv) {
  return new Promise<{ code: number; out: string }>((done) => {
    execFile(
      "bash",
      ["-euo", "pipefail", "-c", script],
      { cwd: CHECKOUT, env, timeout: 200_000, maxBuffer: 4 * 1024 * 1024 },
      (error, stdout, stderr) => done({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    );
  });
}

test("every command of docs/guides/applications.md does what the text says", async ({ defer }) => {
  const mill = testMill({ defer }, { ...ONE_PROCESS, MILLRACE_DOCKER_HOST: "unix:///nonexistent/docker.sock" });
  await mill.up();
  const text = readFileSync(join(CHECKOUT, "docs/guides/applications.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.ok(blocks.length >= 6, "the guide has its commands in blocks of `sh`");
  const { code, out } = await run(blocks.join("\n"), {
    ...mill.env,
    PATH: `${join(CHECKOUT, "cli")}${delimiter}${process.env.PATH}`,
    GIT_AUTHOR_NAME: "Ada",
    GIT_AUTHOR_EMAIL: "ada@example.org",
    GIT_COMMITTER_NAME: "Ada",
    GIT_COMMITTER_EMAIL: "ada@example.org",
  });
  assert.equal(code, 0, out);
  assert.match(out, /^ {2}HEALTH_CHECK +[\d.]+ s {2}\d+ probes/m);
  assert.match(out, /^ {2}PULLING_SOURCE +0\.00 s {2}kept from before/m, "a rollback fetches nothing");
  assert.match(out, /asked for deployment 3 of .*, a rollback/);
  assert.match(out, /Deleted site; /);
  assert.equal(await mill.out(["apps", "list", "-o", "name"]), "");
});

test.run();
