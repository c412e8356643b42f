/** The guides to webhooks and notifications: their commands run as they stand, by `mill`, against a gateway and a receiver. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { Webhook as Verifier } from "standardwebhooks";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { startReceiver } from "./harness/receiver.ts";
import { testFolder } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the guides to webhooks and notifications", { timeoutMs: 240_000 });
const root = resolve(import.meta.dirname, "..");

const { url, owner, config } = await testGateway({ webhookAllow: "127.0.0.0/8" });
await testProjector(config, { outboxRetryPermille: 0 });
const receiver = await startReceiver();
const folder = testFolder("outbox-guides");

/** Runs a guide's commands in bash, stopping at the first that fails. */
async function follow(guide: string): Promise<void> {
  const text = readFileSync(join(root, "docs/guides", guide), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.ok(blocks.length >= 1, "the guide has its commands in blocks of `sh`");
  const env = {
    ...process.env,
    PATH: `${join(root, "cli")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: folder,
    XDG_STATE_HOME: folder,
    MILLRACE_URL: url,
    MILLRACE_TOKEN: owner,
    MILLRACE_ORG: "home",
    RECEIVER: receiver.url,
    NTFY_URL: `ntfy://${new URL(receiver.url).host}/topic?scheme=http`,
  };
  const options = { cwd: folder, env, timeout: 110_000, maxBuffer: 4 * 1024 * 1024 };
  const { code, out } = await new Promise<{ code: number; out: string }>((done) => {
    execFile("bash", ["-euo", "pipefail", "-c", blocks.join("\n")], options, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    );
  });
  assert.equal(code, 0, out);
}

test("every command of docs/guides/notifications.md does what the text says", async () => {
  await follow("notifications.md");
  const said = () => receiver.at("/topic").map(({ text }) => text);
  await eventually(
    async () => said().some((text) => / asks for: Renew the certificate$/.test(text)) || undefined,
    "it is told",
  );
  assert.ok(said().includes("This is a test of the channel phone."));
});

test("every command of docs/guides/webhooks.md does what the text says", async () => {
  await follow("webhooks.md");
  const titles = () =>
    receiver
      .at("/")
      .map(({ body }) => body.data.title)
      .filter((title) => title !== undefined);
  await eventually(
    async () => titles().filter((title) => title === "Happens meanwhile").length >= 2 || undefined,
    "the replay",
  );
  assert.ok(titles().filter((title) => title === "Renew the certificate").length >= 2);
  const secret = readFileSync(join(folder, "ci.secret"), "utf8").trim();
  const { expect } = callerOf({ url, owner });
  const before = receiver.received.length;
  await expect(202, "POST", "/webhooks/ci/test");
  const tested = await eventually(
    async () => receiver.received.slice(before).find(({ message }) => message.startsWith("msg_test_")),
    "a test",
  );
  new Verifier(secret).verify(tested.text, tested.headers as Record<string, string>);
});

test.run();
