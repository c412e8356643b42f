/** A restore by `mill` that is cut off: nothing starts on what is half there, and the same command makes it whole. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ONE_PROCESS, testMill } from "../harness/mill.ts";
import { testFolder } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("a restore that is cut off", { timeoutMs: 420_000 });

test("it is refused to start, and begun anew", async (context) => {
  const target = testFolder("backups");
  const bare = { ...ONE_PROCESS, MILLRACE_BACKUP_TARGET: target, MILLRACE_CADDY: "/nowhere" };
  const mill = testMill(context, bare);
  const up = await mill.up();
  for (let i = 0; i < 5; i++) await mill.out(["work", "open", `Item ${i}`]);
  await mill.out(["backup", "run", "--wait"]);
  const before = JSON.parse(await mill.out(["work", "list", "-o", "json"]));
  await mill.run(["down"]);
  await up.ended;

  const data = join(testFolder("restored"), "data");
  mkdirSync(join(data, "secrets"), { recursive: true, mode: 0o700 });
  for (const name of ["backup.key", "master.key"]) {
    writeFileSync(join(data, "secrets", name), readFileSync(join(mill.data, "secrets", name)), { mode: 0o600 });
  }
  const restoring = ["backup", "restore", "--data", data];
  const dying = testMill(context, { MILLRACE_BACKUP_TARGET: target, MILLRACE_DIE_AT: "restore.fed:2" });
  assert.match((await dying.run(restoring)).err, /broke off/);
  const refused = await mill.run(["up", "--data", data]);
  assert.notEqual(refused.code, 0, "it must not start on half a log");
  assert.match(refused.out + refused.err, /was cut off: run the same mill backup restore again/);
  assert.equal((await mill.run(restoring)).code, 0);

  const restored = testMill(context, { ...bare, MILLRACE_DATA: data });
  await restored.up();
  assert.deepEqual(JSON.parse(await restored.out(["work", "list", "-o", "json"])), before);
});

test.run();
