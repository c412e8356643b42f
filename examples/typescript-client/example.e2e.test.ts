/** The example runs as it stands, against a real gateway and projector. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as assert from "uvu/assert";
import { ask, testGateway, testProjector } from "../../tests/harness/gateway.ts";
import { suite } from "../../tests/harness/suite.ts";

const test = suite("the example of the typed client");

test("runs, and says what it did", { timeoutMs: 180_000 }, async () => {
  const { url, owner, config } = await testGateway();
  await testProjector(config);
  for (const deadline = Date.now() + 90_000; Date.now() < deadline; ) {
    const answers = await Promise.all(
      ["work-items", "history"].map((rest) => ask(url, "GET", `/v1/organisations/home/${rest}`, { token: owner })),
    );
    if (answers.every(({ status }) => status === 200)) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(new URL("main.ts", import.meta.url))], {
    env: { ...process.env, MILLRACE_URL: url, MILLRACE_TOKEN: owner },
  });
  const lines = stdout.trim().split("\n");
  assert.match(lines[0]!, /^I am owner-\w{6} of Home\.$/);
  assert.match(lines[1]!, /^Opened itm_\w{26}, /);
  assert.match(lines[2]!, /^Too late: It is at generation 2, you saw 1\./);
  assert.is(lines[3], "Found it among 1.");
  assert.match(lines[4]!, /owner-\w{6} opened the task "Renew the certificate"/);
  assert.match(lines.at(-1)!, /^\/body\/expiresAt lies in the past$/);
});

test.run();
