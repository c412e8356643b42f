/** The guide to metrics and alerts: its commands as they stand, its code, and alerts of an application that survive a dying orchestrator. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { ensureTelemetry, type Sample, SeriesWriter } from "@millrace/eventlog/series.ts";
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { testFolder } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("the guide to metrics and alerts", { timeoutMs: 240_000 });
const root = fileURLToPath(new URL("..", import.meta.url));
const page = readFileSync(join(root, "docs/guides/metrics-and-alerts.md"), "utf8");

const gateway = await testGateway();
await testProjector(gateway.config);
const { natsUrl: url, natsUser: user, natsPassword: password } = gateway.config;
const { expect } = callerOf({ url: gateway.url, owner: gateway.owner });
const nats = await connectNats({ url, user: user!, password: password!, name: "metrics" });
deferToEndOfFile(() => nats.close());
await ensureTelemetry(nats);
const grounds = await openGrounds({
  node: "local",
  caddy: false,
  env: { MILLRACE_MASTER_KEY: gateway.config.masterKey, MILLRACE_SAMPLE_SECONDS: "1" },
});

test("its code has no errors of type, and does what it says", async ({ defer }) => {
  const folder = mkdtempSync(join(root, "tests", ".guide-"));
  defer(() => rmSync(folder, { recursive: true, force: true }));
  const [, name, code] = /```ts\n\/\/ (\S+\.ts)\n([\s\S]*?)```/.exec(page)!;
  writeFileSync(join(folder, name!), code!);
  const config = { extends: "../../tsconfig.json", include: ["*.ts"], exclude: [] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const compiler = join(root, "node_modules/.bin/tsc");
  const { stdout } = await promisify(execFile)(compiler, ["-p", folder]).catch((error) => error as { stdout: string });
  assert.is(stdout, "");
  const { countVisitors } = await import(join(folder, name!));
  const [series] = await countVisitors(nats, "org_a", "door_1", 7);
  assert.equal(
    [series.metric, series.labels, series.points[0].slice(1)],
    ["visitors", { side: "north" }, [7, 7, 7, 1]],
  );
});

test("an alert of an application fires once, though whoever looks dies, and is over when the series is back", async () => {
  const made = await expect(201, "POST", "/applications", {
    body: { name: "shop", source: { kind: "path", path: "/nowhere" }, build: { kind: "static" } },
  });
  const { id, organisation } = made.body;
  const owner = { organisation, context: "applications", kind: "application", id };
  const write = async (value: number, minutes: ReadonlyArray<number>) => {
    const writer = new SeriesWriter(nats);
    const sample = (ago: number, instance: string): Sample => ({
      metric: "memory_bytes",
      value: instance === "0" ? 1 : value,
      labels: { instance },
      time: Date.now() - ago * 60_000,
    });
    for (const ago of minutes) writer.add(owner, [sample(ago, "0"), sample(ago, "1")]);
    assert.is(await writer.flush(), 0);
  };
  await write(500, [4, 3, 2, 1, 0]);
  const seen = (await expect(200, "GET", "/applications/shop/metrics?metric=memory_bytes")).body;
  assert.equal([seen.step, seen.series.length, seen.series[1].points[0].mean], [60, 2, 500]);
  await expect(400, "GET", "/applications/shop/metrics?from=2026-01-01T00:00:00Z&step=60");
  await expect(404, "GET", "/applications/none/metrics");

  const body = {
    name: "shop-memory",
    on: { kind: "application", id: "shop" },
    metric: "memory_bytes",
    condition: { is: "above", value: 400, back: 300 },
    forMs: 180_000,
  };
  const alert = (await expect(201, "POST", "/alerts", { body })).body;
  assert.equal([alert.spec.on.id, alert.status.state], [id, "ok"]);
  for (const point of ["alert.report.before", "alert.report.after"]) await (await grounds.start(point)).died(90_000);
  const last = await grounds.start();
  const state = async () => (await expect(200, "GET", "/alerts/shop-memory")).body.status;
  const firing = await eventually(
    async () => ((await state()).state === "firing" ? state() : undefined),
    "it fires",
    60_000,
  );
  assert.is(firing.value, 500);
  await last.process.stop();
  // What is written now is the newest minute; enough of it outweighs what that minute had before.
  for (let n = 0; n < 20; n++) await write(1, [0]);
  await write(1, [-1]);
  await grounds.start();
  await eventually(async () => ((await state()).state === "ok" ? true : undefined), "it is over", 120_000);
  const { items } = (await expect(200, "GET", "/alerts/shop-memory/history")).body;
  assert.equal(items.map(({ type }: { type: string }) => type).sort(), ["AlertCreated", "AlertFired", "AlertResolved"]);
});

test("its commands do what the text says", async () => {
  await eventually(
    async () => ((await expect(200, "GET", "/nodes/local/metrics")).body.series.length > 5 ? true : undefined),
    "the node is sampled",
    60_000,
  );
  const script = [...page.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!).join("\n");
  const env = {
    ...process.env,
    PATH: `${join(root, "cli")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: testFolder("metrics-guide"),
    MILLRACE_URL: gateway.url,
    MILLRACE_TOKEN: gateway.owner,
    MILLRACE_ORG: "home",
  };
  const ran = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", script], { env, timeout: 200_000 }).catch(
    (error) => error as { stdout: string; stderr: string; code?: number },
  );
  assert.is("code" in ran ? ran.code : undefined, undefined, `${ran.stdout}\n${ran.stderr}`);
});

test.run();
