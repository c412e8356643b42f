/** The guide to uploads: its commands run as they stand, by `mill`, against the product as `mill up` runs it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { CHECKOUT, follow, ONE_PROCESS, testMill } from "./harness/mill.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the guide to uploads", { timeoutMs: 240_000 });

test("every command of docs/guides/bytes.md does what the text says", async ({ defer }) => {
  const mill = testMill({ defer }, { ...ONE_PROCESS, MILLRACE_DOCKER_HOST: "unix:///nonexistent/docker.sock" });
  await mill.up();
  const text = readFileSync(join(CHECKOUT, "docs/guides/bytes.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.equal(blocks.length, 3, "the guide has its commands in blocks of `sh`");
  const env = { ...mill.env, PATH: `${join(CHECKOUT, "cli")}${delimiter}${process.env.PATH}` };
  const running = follow(spawn("bash", ["-euo", "pipefail", "-c", blocks.join("\n")], { cwd: CHECKOUT, env }));
  const { code, out: said, err } = await running.ended;
  const out = said + err;
  assert.equal(code, 0, out);
  assert.match(out, /Packed 1 files of /, "what is to be left out is left out");
  assert.match(out, /asked for deployment 2 of |deployment 2 of site/);
  assert.match(out, /deployment 3 of site, rollback/);
  assert.match(out, /Deleted site; /);
});

test.run();
