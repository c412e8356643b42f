/** The guide to workers: its code is taken from the page, has the types it should, prints, and survives being killed everywhere. */
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute } from "@millrace/eventlog/execute.ts";
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { follow } from "./harness/mill.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("the guide to workers", { timeoutMs: 120_000 });
const root = fileURLToPath(new URL("..", import.meta.url));
// Within the workspace, so that the page's imports mean what they say.
const folder = mkdtempSync(join(root, "tests", ".guide-"));
deferToEndOfFile(() => rmSync(folder, { recursive: true, force: true }));

for (const [, name, code] of readFileSync(join(root, "docs/guides/writing-a-worker.md"), "utf8").matchAll(
  /```ts\n\/\/ (\S+\.ts)\n([\s\S]*?)```/g,
)) {
  writeFileSync(join(folder, name!), code!);
}

test("its code has no errors of type", async () => {
  assert.equal(readdirSync(folder).sort(), ["permit.ts", "printer.ts"]);
  const config = { extends: "../../tsconfig.json", include: ["*.ts"], exclude: [] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const compiler = join(root, "node_modules/.bin/tsc");
  const { stdout } = await promisify(execFile)(compiler, ["-p", folder]).catch((error) => error as { stdout: string });
  assert.is(stdout, "");
});

test("it prints each permit once, wherever it is killed", async ({ defer }) => {
  const { url, user, pass: password } = await testNats();
  const { permit } = await import(join(folder, "permit.ts"));
  const log = await EventLog.open({ url, user, password, name: "guide" }, ["parking"]);
  defer(() => log.close());
  const tray = testFolder("tray");
  const start = (dieAt?: string) => {
    const env = {
      ...process.env,
      MILLRACE_NATS_URL: url,
      MILLRACE_NATS_USER: user,
      MILLRACE_NATS_PASSWORD: password,
      PRINTER_TRAY: tray,
      ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }),
    };
    const running = follow(
      spawn(process.execPath, [join(folder, "printer.ts")], { env, stdio: ["ignore", "pipe", "pipe"] }),
    );
    defer(() => running.child.kill("SIGKILL"));
    return running;
  };
  const issue = (id: string) =>
    execute(
      log,
      { kind: permit, id, command: { do: "issue", plate: `AB ${id}`, node: "home" } },
      {
        organisation: "org_1",
        actor: { kind: "system", id: "t", name: "t" },
        commandId: `cmd_${id}`,
        digest: "",
        correlation: id,
        causation: id,
        now: new Date().toISOString(),
      },
    );
  const ids: string[] = [];
  for (const point of ["print.before", "print.after", "print.recorded", "worker.leased", "worker.acked"]) {
    const id = `prm_${point.replace(".", "-")}`;
    ids.push(id);
    const doomed = start(point);
    await issue(id);
    assert.is((await doomed.ended).signal, "SIGKILL", `${point}: ${doomed.err()}`);
  }
  const last = start();
  const types = async (id: string) => {
    const found: string[] = [];
    for await (const { events } of readCommits(log.nats, permit, id)) found.push(...events.map(({ type }) => type));
    return found;
  };
  for (const id of ids) {
    await eventually(
      async () => (await types(id)).includes("PermitPrinted") || undefined,
      `${id}: ${last.err()}`,
      30_000,
    );
    assert.is((await types(id)).filter((type) => type === "PermitPrinted").length, 1);
    assert.is(readFileSync(join(tray, `${id}.txt`), "utf8"), `Permit for AB ${id}\n`);
  }
  assert.is(readdirSync(tray).length, ids.length);
  last.child.kill("SIGTERM");
  assert.is((await last.ended).code, 0, last.err());
});

test.run();
