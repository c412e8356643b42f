/** The guide to access: its commands run as they stand, by `mill`, against a gateway. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { ask, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { testFolder } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the guide to access", { timeoutMs: 240_000 });
const root = resolve(import.meta.dirname, "..");

test("every command of docs/guides/access.md does what the text says", async () => {
  const { url, owner, config } = await testGateway();
  await testProjector(config);
  for (const list of ["members", "invitations", "applications"]) {
    await eventually(async () => {
      const { status } = await ask(url, "GET", `/v1/organisations/home/${list}`, { token: owner });
      return status === 200 ? true : undefined;
    }, list);
  }
  const text = readFileSync(join(root, "docs/guides/access.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.ok(blocks.length >= 6, "the guide has its commands in blocks of `sh`");
  const folder = testFolder("access-guide");
  const env = {
    ...process.env,
    PATH: `${join(root, "cli")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: folder,
    MILLRACE_URL: url,
    MILLRACE_TOKEN: owner,
    MILLRACE_ORG: "home",
    NO_COLOR: "1",
  };
  const { code, out } = await new Promise<{ code: number; out: string }>((done) => {
    const options = { cwd: folder, env, timeout: 220_000, maxBuffer: 4 * 1024 * 1024 };
    execFile("bash", ["-euo", "pipefail", "-c", blocks.join("\n")], options, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    );
  });
  assert.equal(code, 0, out);
  assert.match(out, /member ada may applications:logs for org_/);
  assert.match(out, /The member ada has the role watcher, which grants applications:logs\./);
  assert.match(out, /member ada may not work:comment for itm_/);
  assert.match(out, /roles that hold it: owner, admin, operator, developer/);
  assert.match(out, /was removed/);
  const left = await ask(url, "GET", "/v1/organisations/home/members/ada", { token: owner });
  assert.equal(left.status, 404);
});

test.run();
