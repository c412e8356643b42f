/** What goes and what stays: as `ostree prune` says, with what builds hold, and when the process dies in the middle. */
import assert from "node:assert/strict";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pause } from "@millrace/eventlog/pause.ts";
import { type TestPublishing, testPublishing } from "../../../../tests/harness/publishing.ts";
import { suite } from "../../../../tests/harness/suite.ts";
import { closure, reachable } from "./closure.ts";
import { dies } from "./fixtures/dies.ts";
import { receiveObject } from "./intake.ts";
import { Leases } from "./leases.ts";
import { parseCommit } from "./objects.ts";
import { planPrune, prune } from "./prune.ts";
import { Refusal } from "./refusal.ts";
import type { Repository } from "./repository.ts";

const test = suite("pruning", { timeoutMs: 240_000 });

const ref = (name: string) => `app/org.test.${name}/x86_64/stable`;
const all = { depth: -1, youngMs: 0, graceMs: 3_600_000 };

/** Three applications of several commits each, sharing files; the last one's reference is gone. */
async function story(publishing: TestPublishing): Promise<{ repository: Repository; gone: string; kept: string }> {
  const repository = await publishing.repository();
  const commits: string[] = [];
  for (const [index, name] of ["A", "A", "A", "B", "C"].entries()) {
    const tree = join(publishing.folder, `tree-${index}`);
    mkdirSync(join(tree, "files/deep"), { recursive: true });
    writeFileSync(join(tree, "files/shared"), "of all");
    writeFileSync(join(tree, "files/own"), `of ${index}`);
    writeFileSync(join(tree, `files/deep/${index}`), `deep ${index}`);
    symlinkSync(`../${index}`, join(tree, "files/link"));
    commits.push(await publishing.commit(repository, tree, ref(name)));
  }
  await repository.removeRef(ref("C"));
  return { repository, gone: commits[4]!, kept: commits[2]! };
}

/** What `ostree prune` would delete. */
async function tool(publishing: TestPublishing, repository: Repository, depth: number): Promise<[number, number]> {
  const args = [`--repo=${repository.root}`, "prune", "--refs-only", "--no-prune", `--depth=${depth}`];
  const said = (await publishing.tools.run("ostree", args)).toString("utf8");
  const total = Number(/Total objects: (\d+)/.exec(said)?.[1]);
  const unreachable = /No unreachable objects/.test(said) ? 0 : Number(/Would delete: (\d+) objects/.exec(said)?.[1]);
  return [total, unreachable];
}

const unreached = async (repository: Repository, depth: number): Promise<[number, number]> => {
  const leases = await Leases.open(repository);
  const { objects, unreachable } = await planPrune(repository, leases, { ...all, depth });
  return [objects, unreachable.length];
};

test("what is unreachable, as `ostree prune` says, with and without history", async (context) => {
  const publishing = await testPublishing(context);
  const { repository } = await story(publishing);
  for (const depth of [-1, 0, 1, 2]) {
    assert.deepEqual(await unreached(repository, depth), await tool(publishing, repository, depth), `depth ${depth}`);
  }
  const [, gone] = await unreached(repository, 0);
  assert.ok(gone > 5, `${gone}`);
});

test("in two steps, with everything still there until the time of grace is over", async (context) => {
  const publishing = await testPublishing(context);
  const { repository, gone } = await story(publishing);
  const leases = await Leases.open(repository);
  const names = await closure(repository, gone);
  const young = await planPrune(repository, leases, { ...all, youngMs: 3_600_000 });
  assert.deepEqual([young.unreachable.length, young.young > 4], [0, true]);
  const first = await prune(repository, leases, all);
  assert.ok(first.quarantined > 4 && first.deleted === 0);
  assert.equal(await publishing.fsck(repository), undefined);
  assert.deepEqual(await prune(repository, leases, all), { ...first, quarantined: 0, quarantinedBytes: 0 });
  // Looked at where it is, it stays there.
  assert.ok(repository.read(`${gone}.commit`) !== undefined && repository.placed(`${gone}.commit`) === undefined);
  assert.equal(await publishing.fsck(repository), undefined);
  // Needed again: back in place, all of it.
  assert.deepEqual(await closure(repository, gone), names);
  assert.deepEqual(
    [...names].filter((name) => repository.placed(name) === undefined),
    [],
  );
  await repository.writeRef(ref("C"), gone);
  assert.equal(await publishing.fsck(repository), undefined);
  await repository.removeRef(ref("C"));
  await prune(repository, leases, all);
  const last = await prune(repository, leases, { ...all, graceMs: 0 });
  assert.equal(last.deleted, first.quarantined);
  await assert.rejects(
    closure(repository, gone),
    (error) => error instanceof Refusal && error.code === "missing-objects",
  );
  assert.equal(await publishing.fsck(repository), undefined);
  assert.deepEqual(await tool(publishing, repository, -1), [(await reachable(repository)).size, 0]);
});

test("what a build was told is present stays until it ends, over restarts and a torn file", async (context) => {
  const publishing = await testPublishing(context);
  const { repository, gone } = await story(publishing);
  const names = [...(await closure(repository, gone))];
  const absent = `${"ab".repeat(32)}.filez`;
  let leases = await Leases.open(repository);
  assert.deepEqual(await leases.pin("b-1", [absent, ...names, absent]), [absent, absent]);
  assert.deepEqual(await leases.pin("b-1", names), []);
  const file = join(repository.root, ".millrace/leases/b-1");
  assert.equal(statSync(file).size, names.length * 33);
  appendFileSync(file, Buffer.alloc(20, 1));
  leases = await Leases.open(repository);
  assert.deepEqual([...leases.builds().get("b-1")!].sort(), [...names].sort());
  assert.equal(statSync(file).size, names.length * 33);
  const harmless = { ...all, graceMs: 0 };
  await prune(repository, leases, harmless);
  await prune(repository, leases, harmless);
  assert.deepEqual(repository.missing(names), []);
  await leases.release("b-1");
  await leases.release("b-1");
  assert.deepEqual((await Leases.open(repository)).builds().size, 0);
  // In quarantine, asked for by another build: back, and held.
  await prune(repository, leases, all);
  assert.ok(
    names.some((name) => !readdirSync(join(repository.root, "objects", name.slice(0, 2))).includes(name.slice(2))),
  );
  // But for the commit, which would be there without what leads to nothing held: a client has it at hand.
  assert.deepEqual(await leases.pin("b-2", names), [`${gone}.commit`]);
  await prune(repository, leases, harmless);
  assert.deepEqual(repository.missing(names), [`${gone}.commit`]);
  assert.equal(await publishing.fsck(repository), undefined);
  await assert.rejects(async () => leases.pin("../b", names), Refusal);
  await assert.rejects(async () => leases.pin("b", ["x"]), Refusal);
});

test("killed while a reference is written or removed: it is the old or the new one", async (context) => {
  const publishing = await testPublishing(context);
  const { repository, kept, gone } = await story(publishing);
  for (const at of ["ostree.ref.before", "ostree.ref.renamed"]) {
    await repository.writeRef(ref("A"), kept);
    assert.ok(await dies(repository, at, "ref", [ref("A"), gone]));
    assert.equal(await repository.ref(ref("A")), at === "ostree.ref.before" ? kept : gone);
    assert.equal(await publishing.fsck(repository), undefined);
  }
  assert.ok(await dies(repository, "ostree.ref.removed", "unref", [ref("B")]));
  assert.equal(await repository.ref(ref("B")), undefined);
  await repository.removeRef(ref("B"));
  assert.deepEqual([...(await repository.refs()).keys()], [ref("A")]);
});

test("killed while objects arrive: whole or not there, and the next try goes on", async (context) => {
  const publishing = await testPublishing(context);
  const { repository: from, kept } = await story(publishing);
  // As clients send them: what is needed before what needs it.
  const needed = [...(await closure(from, kept))].reverse();
  const paths = needed.map((name) => from.path(name));
  for (const at of ["ostree.intake.during:3", "ostree.intake.before:2", "ostree.intake.placed:2"]) {
    const to = await publishing.repository();
    assert.ok(await dies(to, at, "receive", paths), at);
    assert.equal(await publishing.fsck(to), undefined, at);
    for (const name of needed) await receiveObject(to, name, [readFileSync(from.path(name))]);
    await closure(to, kept);
    await to.writeRef(ref("A"), kept);
    assert.equal(await publishing.fsck(to), undefined, at);
  }
});

test("killed while it prunes or pins: nothing that is needed is gone", async (context) => {
  const publishing = await testPublishing(context);
  const { repository, gone, kept } = await story(publishing);
  const needed = [...(await closure(repository, kept))];
  const names = [...(await closure(repository, gone))];
  assert.ok(await dies(repository, "ostree.lease.during", "pin", names));
  assert.ok(await dies(repository, "ostree.lease.written", "pin", names));
  await (await Leases.open(repository)).release("build");
  assert.ok(await dies(repository, "ostree.prune.moved:2", "prune", ["3600000"]));
  assert.deepEqual(repository.missing(needed), []);
  await prune(repository, await Leases.open(repository), all);
  assert.equal(await publishing.fsck(repository), undefined);
  assert.ok(await dies(repository, "ostree.prune.deleted:2", "prune", ["0"]));
  await prune(repository, await Leases.open(repository), { ...all, graceMs: 0 });
  assert.equal(await publishing.fsck(repository), undefined);
  assert.deepEqual(await tool(publishing, repository, -1), [(await reachable(repository)).size, 0]);
  assert.deepEqual(repository.missing(needed), []);
  // What it brings back, for it keeps more than the last time.
  const history = [...(await reachable(repository))];
  await prune(repository, await Leases.open(repository), { ...all, depth: 0 });
  assert.ok(history.some((name) => repository.placed(name) === undefined));
  assert.ok(await dies(repository, "ostree.prune.restored:2", "prune", ["3600000"]));
  assert.equal(await publishing.fsck(repository), undefined);
  await prune(repository, await Leases.open(repository), all);
  assert.ok(history.every((name) => repository.placed(name) !== undefined));
  assert.equal(await publishing.fsck(repository), undefined);
});

test("what a tool had staged when it was killed does not come into place after what it counted on is gone", async (context) => {
  const publishing = await testPublishing(context);
  const { repository, gone } = await story(publishing);
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const staging = join(repository.root, "tmp", `staging-${boot}-AbCdEf`);
  const stage = () => {
    mkdirSync(join(staging, gone.slice(0, 2)), { recursive: true });
    renameSync(repository.path(`${gone}.commit`), join(staging, gone.slice(0, 2), `${gone.slice(2)}.commit`));
    writeFileSync(`${staging}-lock`, "");
  };
  const tree = join(publishing.folder, "tree-0");
  // So the tools do: whoever comes next ends what another began.
  stage();
  await publishing.commit(repository, tree, ref("D"));
  assert.ok(repository.placed(`${gone}.commit`) !== undefined);
  stage();
  assert.ok(await dies(repository, "ostree.staged.dropped", "prune", ["0"]));
  const leases = await Leases.open(repository);
  for (let round = 0; round < 2; round++) await prune(repository, leases, { ...all, graceMs: 0 });
  await publishing.commit(repository, tree, ref("E"));
  assert.equal(repository.find(`${gone}.commit`), undefined);
  assert.equal(await publishing.fsck(repository), undefined);
});

test("what is brought back of a commit is all of it, or nothing", async (context) => {
  const publishing = await testPublishing(context);
  const { repository, gone } = await story(publishing);
  const leases = await Leases.open(repository);
  await prune(repository, leases, all);
  assert.ok(await dies(repository, "ostree.closure.restored:3", "closure", [gone]));
  assert.equal(repository.placed(`${gone}.commit`), undefined);
  assert.equal(await publishing.fsck(repository), undefined, "what came back is led to by nothing yet");
  const names = [...(await closure(repository, gone))];
  assert.ok(names.every((name) => repository.placed(name) !== undefined));
  assert.equal(await publishing.fsck(repository), undefined);
  await prune(repository, leases, all);
  const { tree } = parseCommit(repository.read(`${gone}.commit`)!, gone);
  rmSync(repository.quarantined(`${tree}.dirtree`));
  await assert.rejects(closure(repository, gone), Refusal);
  await assert.rejects(repository.writeRef(ref("C"), gone), Refusal);
  assert.equal(repository.placed(`${gone}.commit`), undefined);
  assert.equal(await publishing.fsck(repository), undefined);
});

test("a young commit keeps what it leads to, however old that is", async (context) => {
  const publishing = await testPublishing(context);
  const { repository, gone } = await story(publishing);
  await pause(3_000);
  // As a rollback does: old content, a new commit; which something newer replaces at once.
  const args = [`--repo=${repository.root}`, "commit", `--branch=${ref("C")}`, `--tree=ref=${gone}`];
  const back = (await publishing.tools.run("ostree", args)).toString("ascii").trim();
  await repository.removeRef(ref("C"));
  const names = await closure(repository, back);
  const leases = await Leases.open(repository);
  const { ctimeMs } = statSync(repository.path(`${back}.commit`));
  const youngMs = Date.now() - ctimeMs + 2_000;
  const { quarantined } = await prune(repository, leases, { ...all, youngMs });
  assert.equal(quarantined, 1, "the commit of before alone");
  assert.deepEqual(
    [...names].filter((name) => repository.placed(name) === undefined),
    [],
  );
  assert.equal(await publishing.fsck(repository), undefined);
});

test.run();
