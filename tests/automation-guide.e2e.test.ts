/** The guide to schedules and rules: its commands run as they stand, by `mill`, against a gateway and an orchestrator. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { ACTIONS } from "@millrace/contracts/automation/actions.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the guide to automation", { timeoutMs: 240_000 });
const root = resolve(import.meta.dirname, "..");
const text = readFileSync(join(root, "docs/guides/automation.md"), "utf8");

test("every command of docs/guides/automation.md does what the text says", async () => {
  const nats = await testNats();
  const started = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
  await testProjector(started.config);
  const grounds = await openGrounds({ nats, caddy: false });
  await (await grounds.start()).ready();
  const { expect, listed } = callerOf(started);
  await listed("/schedules", await expect(201, "POST", "/work-items", { body: { type: "task", title: "first" } }));

  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.ok(blocks.length >= 4, "the guide has its commands in blocks of `sh`");
  const folder = testFolder("automation-guide");
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
    execFile("bash", script, { cwd: folder, env, timeout: 220_000 }, (error, stdout, stderr) =>
      done({ failed: error !== null, out: stdout + stderr }),
    );
  });
  assert.equal(said.failed, false, said.out);
  assert.match(said.out, /ItemOpened itm_\w+ +work\.labelItem/, "the dry run tells of the bug before");
  assert.match(said.out, /there is no such application/);
  const schedules = await expect(200, "GET", "/schedules");
  assert.deepEqual(
    schedules.body.items.map(({ spec, status }: any) => [spec.name, status.firings]),
    [["monday-check", 1]],
  );
});

test("every action stands on the page", () => {
  const missing = Object.keys(ACTIONS).filter(
    (name) => !text.includes(`\`${name}\``) && !text.includes(`\`${name.split(".")[1]}\``),
  );
  assert.deepEqual(missing, []);
});

test.run();
