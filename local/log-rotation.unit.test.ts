import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { testFolder } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { LogRotation } from "./log-rotation.ts";

const test = suite("log rotation");

test("a log that grows too large is moved on, and written on by who holds it open", async ({ defer }) => {
  const file = join(testFolder("logs"), "a.log");
  const writer = spawn("sh", ["-c", `exec >>'${file}'; while :; do echo 0123456789; sleep 0.01; done`]);
  defer(() => writer.kill());
  const rotation = new LogRotation(200, 50);
  defer(() => rotation.stop());
  rotation.watch(file);
  const deadline = Date.now() + 20_000;
  while (!existsSync(`${file}.3`) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(existsSync(`${file}.3`));
  assert.match(readFileSync(`${file}.1`, "utf8"), /^(0123456789\n)+$/);
});

test.run();
