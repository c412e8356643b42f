/** The guide to devices: its commands run as they stand, by `mill`, against a gateway; no agent is there, and none is needed. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { testFolder } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the guide to devices", { timeoutMs: 300_000 });
const root = resolve(import.meta.dirname, "..");

test("every command of docs/guides/devices.md does what the text says", async () => {
  const text = readFileSync(join(root, "docs/guides/devices.md"), "utf8");
  const started = await testGateway();
  await testProjector(started.config);
  const { expect, listed } = callerOf(started);
  const made = await expect(201, "POST", "/devices", { body: { mac: "C4D8D5517C6A", expected: false } });
  for (const path of ["/devices", "/device-tasks", "/device-scans", "/device-bulks"]) await listed(path, made);

  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.ok(blocks.length >= 7, "the guide has its commands in blocks of `sh`");
  const folder = testFolder("devices-guide");
  const env = {
    ...process.env,
    PATH: `${join(root, "cli")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: folder,
    MILLRACE_URL: started.url,
    MILLRACE_TOKEN: started.owner,
    MILLRACE_ORG: "home",
  };
  const said = await new Promise<{ failed: boolean; out: string }>((done) => {
    const script = ["-euo", "pipefail", "-c", blocks.join("\n")];
    execFile("bash", script, { cwd: folder, env, timeout: 280_000 }, (error, stdout, stderr) =>
      done({ failed: error !== null, out: stdout + stderr }),
    );
  });
  assert.equal(said.failed, false, said.out);
  const lamp = await expect(200, "GET", "/devices/hall-lamp");
  assert.deepEqual(lamp.body.spec.configuration, { "switch:0": { auto_off: true, auto_off_delay: 300 } });
  assert.equal(lamp.body.status.queue.length, 2);
  assert.match(said.out, /asked "hall-lamp"|added the device "hall-lamp"/);
  assert.equal((await expect(200, "GET", "/firmware-rollouts/autumn")).body.status.state, "paused");
});

test.run();
