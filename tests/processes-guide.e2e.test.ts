/** The guide to processes: its commands run as they stand; its code has the types it should, and works through the real mechanism. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ProcessType } from "@millrace/domain/automation/process-type.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { Leases } from "@millrace/eventlog/leases.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { startAutomation } from "@millrace/orchestrator/automation.ts";
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { testFolder } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("the guide to processes", { timeoutMs: 240_000 });
const root = fileURLToPath(new URL("..", import.meta.url));
const page = readFileSync(join(root, "docs/guides/processes.md"), "utf8");
// Within the workspace, so that the page's imports mean what they say.
const folder = mkdtempSync(join(root, "tests", ".guide-"));
deferToEndOfFile(() => rmSync(folder, { recursive: true, force: true }));

const gateway = await testGateway();
await testProjector(gateway.config);
const { natsUrl: url, natsUser: user, natsPassword: password } = gateway.config;
const { expect } = callerOf({ url: gateway.url, owner: gateway.owner });

test("its code has no errors of type, and says when nobody takes an incident", async ({ defer }) => {
  const [, name, code] = /```ts\n\/\/ (\S+\.ts)\n([\s\S]*?)```/.exec(page)!;
  writeFileSync(join(folder, name!), code!);
  const config = { extends: "../../tsconfig.json", include: [name], exclude: [] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const compiler = join(root, "node_modules/.bin/tsc");
  const { stdout } = await promisify(execFile)(compiler, ["-p", folder]).catch((error) => error as { stdout: string });
  assert.is(stdout, "");

  // A quarter of an hour is a moment here.
  writeFileSync(join(folder, "soon.ts"), code!.replace("15 * 60_000", "200"));
  const { forgottenIncident } = (await import(join(folder, "soon.ts"))) as { forgottenIncident: ProcessType };
  const log = await EventLog.open({ url, user: user!, password: password!, name: "guide" }, Object.keys(CONTEXTS));
  const leases = await Leases.open(log.nats, { node: "guide", ttlMs: 2_000 });
  const logger = makeLogger({ service: "guide", level: "error" });
  const types = { [forgottenIncident.name]: forgottenIncident };
  const running = await startAutomation({ log, leases, logger, service: "guide", replicas: 1, types });
  defer(async () => {
    await running.stop();
    await leases.close();
    await log.close();
  });
  const open = async (body: object) =>
    (await expect(201, "POST", "/work-items", { body: { type: "incident", title: "It smokes", ...body } })).body.id;
  const heard = async () => (await leases.holder("listen.process-forgotten-incident.work")) ?? undefined;
  await eventually(heard, "it listens", 30_000);
  const taken = await open({ assignees: ["ada"] });
  const left = await eventually(
    async () => {
      // The first that is opened may have been before it began to listen.
      const id = await open({});
      return eventually(
        async () => ((await expect(200, "GET", `/work-items/${id}`)).body.comments.length > 0 ? id : undefined),
        "it is said",
        20_000,
      ).catch(() => undefined);
    },
    "somebody says that nobody takes it",
    90_000,
  );
  const { comments } = (await expect(200, "GET", `/work-items/${left}`)).body;
  assert.equal(
    comments.map(({ text, author }: any) => [text, author.name]),
    [["Nobody has taken this yet.", "forgotten-incident"]],
  );
  assert.equal((await expect(200, "GET", `/work-items/${taken}`)).body.comments, []);
});

test("its commands do what the text says", async () => {
  const grounds = await openGrounds({ node: "guide", env: { MILLRACE_MASTER_KEY: gateway.config.masterKey } });
  await grounds.start();
  await expect(201, "POST", "/applications", {
    body: {
      name: "site",
      source: { kind: "path", path: grounds.repository({ "index.html": "Good evening" }) },
      build: { kind: "static" },
      policy: { minHealthyTimeMs: 0 },
      node: "guide",
    },
  });
  const script = [...page.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!).join("\n");
  const config = testFolder("processes-guide");
  const env = {
    ...process.env,
    PATH: `${join(root, "cli")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: config,
    MILLRACE_URL: gateway.url,
    MILLRACE_TOKEN: gateway.owner,
    MILLRACE_ORG: "home",
  };
  const ran = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", script], { env, timeout: 200_000 }).catch(
    (error) => error as { stdout: string; stderr: string; code?: number },
  );
  assert.is("code" in ran ? ran.code : undefined, undefined, `${ran.stdout}\n${ran.stderr}`);
  assert.match(ran.stdout, /change-follows-deployment/);
});

test.run();
