/** A whole installation with a repository, backed up and restored elsewhere by `mill`: clients go on, and what was ready is published there. */
import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { eventually } from "../harness/eventually.ts";
import { type Mill, ONE_PROCESS, testMill } from "../harness/mill.ts";
import { type Developed, develop } from "../harness/publisher.ts";
import { testPublishing } from "../harness/publishing.ts";
import { testFolder } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("repositories restored", { timeoutMs: 600_000 });

const wait = (mill: Mill, what: string, name: string, state: string) =>
  mill.out([what, "show", name, "--wait", state, "--timeout", "180"]);

async function ready(mill: Mill, { from }: Developed): Promise<string> {
  const build = (await mill.out(["builds", "create", "stable", "-o", "name"])).trim();
  await mill.out(["builds", "push", build, from.root]);
  await mill.out(["builds", "commit", build]);
  await wait(mill, "builds", build, "state=ready");
  return build;
}

async function publish(mill: Mill, build: string): Promise<void> {
  await mill.out(["builds", "publish", build]);
  await wait(mill, "builds", build, "published=published");
}

test("backed up with a build that is ready, restored to another folder, published there", async (context) => {
  const publishing = await testPublishing(context);
  const target = testFolder("backups");
  const mill = testMill(context, { MILLRACE_BACKUP_TARGET: target, ...ONE_PROCESS });
  const up = await mill.up();
  await mill.out(["repos", "create", "stable"]);
  await wait(mill, "repos", "stable", "state=ready");
  const one = await develop(publishing, "one");
  await publish(mill, await ready(mill, one));
  const two = await develop(publishing, "two", { app: "org.test.Two" });
  const next = await ready(mill, two);
  const { id } = JSON.parse(await mill.out(["repos", "show", "stable", "-o", "json"]));
  await mill.out(["backup", "run", "--wait"]);
  assert.match(await mill.out(["backup", "verify"]), /faults +none/);
  const key = await mill.out(["backup", "key"]);
  up.child.kill("SIGINT");
  await up.ended;

  const data = join(testFolder("restored"), "data");
  mkdirSync(join(data, "secrets"), { recursive: true, mode: 0o700 });
  writeFileSync(join(data, "secrets/backup.key"), key, { mode: 0o600 });
  copyFileSync(join(mill.data, "secrets/master.key"), join(data, "secrets/master.key"));
  await mill.out(["backup", "restore", "--data", data]);
  const restored = testMill(context, { MILLRACE_BACKUP_TARGET: target, ...ONE_PROCESS, MILLRACE_DATA: data });
  await restored.up();
  const link = join(data, "publisher/local/served/public", id);
  await eventually(async () => existsSync(link) || undefined, "Caddy finds it", 120_000);
  await publish(restored, next);
  const repository = await Repository.open(join(data, "publisher/local/repositories", id, "repo"));
  assert.equal(await publishing.fsck(repository), undefined);
  assert.deepEqual(
    [...(await published(repository))!.keys()].filter((ref) => ref.startsWith("app/")).sort(),
    [one.ref, two.ref].sort(),
  );
  const { status } = JSON.parse(await restored.out(["repos", "show", "stable", "-o", "json"]));
  const client = await publishing.repository("client");
  const pulls = (...args: string[]) => publishing.tools.run("ostree", [`--repo=${client.root}`, ...args]);
  await pulls("remote", "add", "--no-gpg-verify", "it", status.url);
  await pulls("pull", "--mirror", "it", one.ref, two.ref);
  assert.equal(await publishing.fsck(client), undefined);
});

test.run();
