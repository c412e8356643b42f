/** The real tools: keys, signed commits that a second try makes again, summaries, deltas, what a commit changes; and how tools fail. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestPublishing, testPublishing } from "../../../../tests/harness/publishing.ts";
import { suite } from "../../../../tests/harness/suite.ts";
import { costOf, verifyDelta } from "./delta.ts";
import { diffCommits } from "./diff.ts";
import { armored, generateKey, importKey, withSigner } from "./keys.ts";
import { deltaFolder } from "./names.ts";
import { parseCommit, parseCommitMeta } from "./objects.ts";
import { Refusal } from "./refusal.ts";
import { published } from "./summary.ts";
import { buildCommitFrom, buildUpdateRepo, generateDelta, pullLocal, ToolFailed } from "./tools.ts";

const test = suite("the tools of publishing", { timeoutMs: 240_000 });
const ref = "app/org.test.Hello/x86_64/stable";
const timestamp = new Date("2026-01-02T03:04:05Z");

const homes = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`mr-gpg-${process.pid}-`));

function application(publishing: TestPublishing, name: string, version: string, permissions: string): string {
  const tree = join(publishing.folder, name);
  mkdirSync(join(tree, "files/bin"), { recursive: true });
  mkdirSync(join(tree, "export"), { recursive: true });
  const runtime = "runtime=org.test.Platform/x86_64/1\nsdk=org.test.Sdk/x86_64/1";
  writeFileSync(
    join(tree, "metadata"),
    `[Application]\nname=org.test.Hello\n${runtime}\n\n[Context]\n${permissions}\n`,
  );
  writeFileSync(join(tree, "files/bin/hello"), `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
  writeFileSync(join(tree, "files/data"), "the same ".repeat(20_000));
  writeFileSync(join(tree, `files/only-${version}`), version.repeat(100));
  return tree;
}

test("keys: made, taken, exported; nothing of them stays", async (context) => {
  const { tools } = await testPublishing(context);
  const key = await generateKey(tools, "Test <test@test.invalid>");
  assert.match(key.fingerprint, /^[0-9A-F]{40}$/);
  assert.equal(key.user, "Test <test@test.invalid>");
  assert.deepEqual(homes(), []);
  const taken = await importKey(tools, key.secretKey);
  assert.deepEqual([taken.fingerprint, taken.publicKey], [key.fingerprint, key.publicKey]);
  await assert.rejects(importKey(tools, key.publicKey), (error) => error instanceof Refusal && error.subject === "key");
  await assert.rejects(importKey(tools, Buffer.from("no key")), Refusal);
  await assert.rejects(generateKey(tools, ""), Refusal);
  await assert.rejects(generateKey(tools, "a\nb <x@y>"), Refusal);
  const text = await tools.withFolder("gpg", (home) =>
    tools.run("gpg", ["--batch", "--with-colons", "--show-keys"], { gpgHome: home, input: armored(key.publicKey) }),
  );
  assert.match(text.toString(), new RegExp(`fpr:+${key.fingerprint}:`));
  assert.deepEqual(homes(), []);
});

test("a commit with the time of its event is the same commit at a second try, elsewhere too; signed", async (context) => {
  const publishing = await testPublishing(context);
  const { tools } = publishing;
  const build = await publishing.repository("build");
  const source = await publishing.commit(build, application(publishing, "one", "one", "shared=ipc;"), ref);
  const key = await generateKey(tools, "Test <test@test.invalid>");
  const commits: (string | undefined)[] = [];
  for (const name of ["main", "other"]) {
    const to = await publishing.repository(name);
    const make = () =>
      withSigner(tools, [key], (signer) =>
        buildCommitFrom(tools, { from: build.root, to: to.root, sourceRef: source, refs: [ref], timestamp, signer }),
      );
    await make();
    commits.push(await to.ref(ref));
    await make();
    commits.push(await to.ref(ref));
    const commit = commits[0]!;
    assert.equal(parseCommit(to.read(`${commit}.commit`)!, commit).timestamp * 1000, timestamp.getTime());
    const signatures = parseCommitMeta(to.read(`${commit}.commitmeta`)!, commit);
    assert.ok("ostree.gpgsigs" in signatures);
    assert.equal(await publishing.fsck(to), undefined);
  }
  assert.deepEqual([...new Set(commits)].length, 1);
  assert.deepEqual(homes(), []);
});

test("an update: summary, delta, and what it changes", async (context) => {
  const publishing = await testPublishing(context);
  const { tools } = publishing;
  const main = await publishing.repository("main");
  const key = await generateKey(tools, "Test <test@test.invalid>");
  const commits: string[] = [];
  for (const [version, permissions] of [
    ["one", "shared=ipc;\nsockets=x11;"],
    ["two", "shared=ipc;network;\nfilesystems=home;"],
  ] as const) {
    const build = await publishing.repository(`build-${version}`);
    const source = await publishing.commit(build, application(publishing, version, version, permissions), ref);
    await withSigner(tools, [key], async (signer) => {
      const what = { from: build.root, to: main.root, sourceRef: source, refs: [ref], signer };
      await buildCommitFrom(tools, { ...what, timestamp: new Date(timestamp.getTime() + commits.length * 1000) });
      await buildUpdateRepo(tools, main.root, { signer, title: "Test" });
    });
    commits.push((await main.ref(ref))!);
    const seen = await published(main);
    assert.equal(seen?.get(ref), commits.at(-1));
  }
  const [before, after] = commits as [string, string];
  assert.equal(parseCommit(main.read(`${after}.commit`)!, after).parent, before);
  const delta = { from: before, to: after };
  await generateDelta(tools, main.root, delta);
  const superblock = await verifyDelta(main, delta);
  const parts = superblock.parts.reduce((sum, { size }) => sum + size, 0);
  const files = readdirSync(join(main.root, deltaFolder(delta))).filter((name) => /^\d+$/.test(name));
  assert.equal(files.length, superblock.parts.length);
  assert.equal(
    parts,
    files.reduce((sum, name) => sum + readFileSync(join(main.root, deltaFolder(delta), name)).length, 0),
  );

  const diff = await diffCommits(main, before, after);
  assert.deepEqual(diff.refs, [ref]);
  assert.deepEqual(diff.permissions, { added: ["filesystems=home", "shared=network"], removed: ["sockets=x11"] });
  assert.deepEqual(
    diff.files.map(({ path }) => path),
    ["/metadata", "/files/only-one", "/files/only-two", "/files/bin/hello"],
  );
  assert.deepEqual([diff.added, diff.removed, diff.changed], [1, 1, 2]);
  assert.deepEqual(diff.runtime, { before: "org.test.Platform/x86_64/1", after: "org.test.Platform/x86_64/1" });
  assert.equal(diff.download.deltaBytes, costOf(main, delta, superblock));
  assert.ok(diff.download.objects > 4 && diff.download.bytes < 20_000);
  const whole = await diffCommits(main, undefined, after);
  assert.deepEqual([whole.added, whole.removed, whole.permissions.added.length], [4, 0, 3]);
  assert.deepEqual((await diffCommits(main, after, after)).files, []);

  // A part that is another's.
  const part = join(main.root, deltaFolder(delta), "0");
  if (existsSync(part)) {
    writeFileSync(part, "other");
    await assert.rejects(
      verifyDelta(main, delta),
      (error) => error instanceof Refusal && error.code === "hash-mismatch",
    );
    rmSync(part);
    await assert.rejects(verifyDelta(main, delta), (error) => error instanceof Refusal && error.missing?.length === 1);
  }
  const promoted = await publishing.repository("promoted");
  await pullLocal(tools, main.root, promoted.root, [ref]);
  assert.equal(await promoted.ref(ref), after);
  assert.ok(promoted.has(`${after}.commitmeta`));
});

test("tools that are missing, say no, take too long, or are called off", async (context) => {
  const publishing = await testPublishing(context);
  const { tools } = publishing;
  const fails = async (work: Promise<unknown>, how: ToolFailed["how"], words = /./) => {
    await assert.rejects(work, (error) => {
      assert.ok(error instanceof ToolFailed, `${error}`);
      assert.equal(error.how, how, error.message);
      assert.match(error.message, words);
      return true;
    });
  };
  await fails(tools.run("ostree", ["--repo=/nonexistent", "refs"]), "failed", /nonexistent/);
  const repository = await publishing.repository();
  // Waits for its input, which never comes: it is a pipe that nobody writes to.
  const fifo = join(publishing.folder, "fifo");
  spawnSync("mkfifo", [fifo]);
  const waits = [`--repo=${repository.root}`, "commit", "--branch=x", `--tree=tar=${fifo}`];
  await fails(tools.run("ostree", waits, { timeoutMs: 300 }), "timeout");
  await fails(tools.run("ostree", waits, { signal: AbortSignal.timeout(300) }), "cancelled");
  assert.equal(await publishing.fsck(repository), undefined);
});

test.run();
