/** The guide to backups: its commands run as they stand, and what they restored is what there was. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { CHECKOUT, type Mill, ONE_PROCESS, testMill } from "./harness/mill.ts";
import { testFolder } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the guide to backups", { timeoutMs: 420_000 });

function bash(script: string, folder: string, env: NodeJS.ProcessEnv) {
  return new Promise<{ code: number; out: string }>((done) => {
    execFile(
      "bash",
      ["-euo", "pipefail", "-c", script],
      { cwd: folder, env, timeout: 300_000, maxBuffer: 4 * 1024 * 1024 },
      (error, stdout, stderr) => done({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    );
  });
}

/** What people see of it, with places, times and versions. */
async function seen(mill: Mill): Promise<unknown> {
  const json = async (...args: string[]) => JSON.parse(await mill.out([...args, "-o", "json"])) as unknown;
  return { items: await json("work", "list"), secrets: await json("secrets", "list") };
}

test("every command of docs/guides/backup.md does what the text says", async (context) => {
  const target = testFolder("backups");
  const mill = testMill(context, { MILLRACE_BACKUP_TARGET: target, MILLRACE_CADDY: "/nowhere", ...ONE_PROCESS });
  const up = await mill.up();
  for (let i = 0; i < 5; i++) await mill.out(["work", "open", `Item ${i}`]);
  await mill.out(["secrets", "set", "database"], "hunter2");
  const before = await seen(mill);

  const text = readFileSync(join(CHECKOUT, "docs/guides/backup.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.ok(blocks.length >= 4, "the guide has its commands in blocks of `sh`");
  const folder = testFolder("backup-guide");
  const env = { ...mill.env, PATH: `${join(CHECKOUT, "cli")}${delimiter}${process.env.PATH}` };
  const { code, out } = await bash(blocks.join("\n"), folder, env);
  assert.equal(code, 0, out);
  assert.match(out, /wrong +nothing/);
  assert.match(out, /faults +none/);
  await up.ended;

  const data = join(folder, "restored");
  const restored = testMill(context, { ...ONE_PROCESS, MILLRACE_CADDY: "/nowhere", MILLRACE_DATA: data });
  await restored.up();
  assert.deepEqual(await seen(restored), before);
});

test.run();
