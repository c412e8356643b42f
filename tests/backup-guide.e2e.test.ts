/** The guide to backups: its commands run as they stand, and what they restored is what there was. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
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

  // The same once more, cut off: nothing starts on what is half there, and the restore begins anew.
  const again = join(folder, "again");
  const secrets = join(again, "secrets");
  mkdirSync(secrets, { recursive: true, mode: 0o700 });
  for (const name of ["backup.key", "master.key"]) {
    writeFileSync(join(secrets, name), readFileSync(join(folder, `kept-${name}`)), { mode: 0o600 });
  }
  const restoring = ["backup", "restore", "--data", again];
  const dying = testMill(context, { MILLRACE_BACKUP_TARGET: target, MILLRACE_DIE_AT: "restore.fed:2" });
  assert.match((await dying.run(restoring)).err, /broke off/);
  const refused = await mill.run(["up", "--data", again]);
  assert.notEqual(refused.code, 0, "it must not start on half a log");
  assert.match(refused.out + refused.err, /was cut off: run the same mill backup restore again/);
  assert.equal((await mill.run(restoring)).code, 0);

  const restored = testMill(context, { ...ONE_PROCESS, MILLRACE_CADDY: "/nowhere", MILLRACE_DATA: again });
  await restored.up();
  assert.deepEqual(await seen(restored), before);
});

test.run();
