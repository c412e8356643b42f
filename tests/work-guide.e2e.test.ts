/** The guide to work: its commands run as they stand, by `mill`, against a gateway. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { startProjector } from "@millrace/projector/start.ts";
import { ask, testGateway } from "./harness/gateway.ts";
import { testFolder } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("the guide to work", { timeoutMs: 240_000 });
const root = resolve(import.meta.dirname, "..");

/** Runs a script in bash, stopping at its first failing command. */
function run(script: string, folder: string, env: Record<string, string>) {
  return new Promise<{ code: number; out: string }>((done) => {
    execFile(
      "bash",
      ["-euo", "pipefail", "-c", script],
      { cwd: folder, env: { ...process.env, ...env }, timeout: 220_000, maxBuffer: 4 * 1024 * 1024 },
      (error, stdout, stderr) => done({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    );
  });
}

test("every command of docs/guides/work.md does what the text says", async () => {
  const { url, owner, config } = await testGateway();
  const projector = await startProjector(config, makeLogger({ service: "projector", level: "error" }));
  deferToEndOfFile(() => projector.stop());
  const deadline = Date.now() + 30_000;
  const list = () => ask(url, "GET", "/v1/organisations/home/work-items", { token: owner });
  while ((await list()).status === 503 && Date.now() < deadline) await new Promise((later) => setTimeout(later, 50));

  const text = readFileSync(join(root, "docs/guides/work.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.ok(blocks.length >= 6, "the guide has its commands in blocks of `sh`");
  const folder = testFolder("work-guide");
  const { code, out } = await run(blocks.join("\n"), folder, {
    PATH: `${join(root, "cli")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: folder,
    MILLRACE_URL: url,
    MILLRACE_TOKEN: owner,
    MILLRACE_ORG: "home",
  });
  assert.equal(code, 0, out);

  const items = (await list()).body.items as { spec: { title: string; type: string }; status: { state: string } }[];
  const states = Object.fromEntries(items.map(({ spec, status }) => [spec.title, `${spec.type} ${status.state}`]));
  assert.deepEqual(states, {
    "Renew the certificate of the build server": "task done",
    "Move the printer": "task in-progress",
    "Sweep the yard": "chore todo",
  });
});

test.run();
