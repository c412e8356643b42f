/** Repositories that the real tools make, read, verified, received; agreement with `ostree fsck`. */
import assert from "node:assert/strict";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { type TestPublishing, testPublishing } from "../../../../tests/harness/publishing.ts";
import { suite } from "../../../../tests/harness/suite.ts";
import { closure, reachable, statistics } from "./closure.ts";
import { receiveObject, receiveUpload } from "./intake.ts";
import { Refusal } from "./refusal.ts";
import { Repository } from "./repository.ts";
import { verifyFile } from "./verify.ts";

const test = suite("repositories", { timeoutMs: 180_000 });

type Entry = { readonly link: string } | { readonly content: string; readonly mode: number };
interface Tree {
  readonly [name: string]: Entry | Tree;
}

const { tree } = fc.letrec<{ tree: Tree; node: Entry | Tree }>((tie) => ({
  tree: fc.dictionary(
    fc.oneof(
      fc.stringMatching(/^[a-zA-Z0-9 _.+-]{1,12}$/).filter((name) => name !== "." && name !== ".."),
      fc.constantFrom("ü", "n".repeat(255), "a", "b"),
    ),
    tie("node"),
    { minKeys: 3, maxKeys: 7, depthIdentifier: "tree" },
  ) as fc.Arbitrary<Tree>,
  node: fc.oneof(
    { depthIdentifier: "tree", maxDepth: 4, depthSize: "large" },
    fc.record({
      content: fc.oneof(
        fc.constant(""),
        fc.string(),
        fc.nat(200_000).map((length) => "long ".repeat(length / 5)),
      ),
      mode: fc.constantFrom(0o644, 0o755, 0o600, 0o4755, 0o400),
    }),
    fc.record({
      link: fc.oneof(
        fc.constantFrom("a", "../..", "/etc/passwd"),
        fc.nat(3000).map((n) => "l".repeat(n + 1)),
      ),
    }),
    tie("tree"),
  ),
}));

const isEntry = (node: Entry | Tree): node is Entry =>
  typeof (node as { link?: unknown }).link === "string" || typeof (node as { content?: unknown }).content === "string";

function write(folder: string, made: Tree): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, node] of Object.entries(made)) {
    const path = join(folder, name);
    if (!isEntry(node)) write(path, node);
    else if ("link" in node) symlinkSync(node.link, path);
    else writeFileSync(path, node.content, { mode: node.mode });
  }
}

/** What grows and is not in its place. */
const growing = (repository: Repository): string[] => {
  const folder = join(repository.root, ".millrace/growing");
  return existsSync(folder) ? readdirSync(folder) : [];
};

async function namesOf(repository: Repository): Promise<string[]> {
  return (await Array.fromAsync(repository.objects())).flat().sort();
}

/** Commits of random trees, some sharing much, one of several parents. */
async function filled(publishing: TestPublishing, count: number, seed: number): Promise<Repository> {
  const repository = await publishing.repository();
  for (const [index, made] of fc.sample(tree, { numRuns: count, seed }).entries()) {
    const folder = join(repository.root, "..", `tree-${index}`);
    write(folder, made);
    await publishing.commit(repository, folder, `app/org.test.A${index % 3}/x86_64/stable`);
  }
  return repository;
}

test("random trees: every object is taken, closures are whole, as `ostree fsck` says", async (context) => {
  const publishing = await testPublishing(context);
  const repository = await filled(publishing, 6, 5);
  const names = await namesOf(repository);
  assert.ok(names.length > 40, `${names.length} objects are too few`);
  for (const name of names) await verifyFile(name, repository.path(name));
  assert.equal(await publishing.fsck(repository), undefined);
  const refs = await repository.refs();
  assert.equal(refs.size, 3);
  for (const commit of refs.values()) await closure(repository, commit);
  assert.deepEqual([...(await reachable(repository))].sort(), names);
  const { refs: sizes, bytes } = await statistics(repository);
  assert.ok(sizes.every((each) => each.ownBytes <= each.bytes && each.bytes <= bytes));
});

test("changed bytes: what is taken here, `ostree fsck` takes too", async (context) => {
  const publishing = await testPublishing(context);
  const repository = await filled(publishing, 3, 11);
  const names = (await namesOf(repository)).filter((name) => !name.endsWith(".commitmeta"));
  let refused = 0;
  for (const [index, name] of names.slice(0, 10).entries()) {
    const path = repository.path(name);
    const bytes = readFileSync(path);
    const changed = Buffer.from(bytes);
    changed[(index * 37 + 9) % bytes.length]! ^= 1 << (index % 8);
    writeFileSync(path, changed);
    const ours = await verifyFile(name, path).then(
      () => undefined,
      (error: Error) => error,
    );
    if (ours === undefined) assert.equal(await publishing.fsck(repository), undefined, name);
    else {
      assert.ok(ours instanceof Refusal && ours.subject === name, `${ours.stack}`);
      refused++;
    }
    writeFileSync(path, bytes);
  }
  assert.ok(refused >= 8, `only ${refused} were refused`);
  assert.equal(await publishing.fsck(repository), undefined);
});

test("received object by object: the same repository, and each is verified", async (context) => {
  const publishing = await testPublishing(context);
  const from = await filled(publishing, 4, 23);
  const to = await publishing.repository();
  const names = (await namesOf(from)).filter((name) => !name.endsWith(".commitmeta"));
  const commits = await from.refs();
  assert.deepEqual(to.missing(names), names);
  await assert.rejects(
    closure(to, [...commits.values()][0]!),
    (error) => error instanceof Refusal && error.code === "missing-objects",
  );
  for (const name of names) await receiveObject(to, name, createReadStream(from.path(name)) as AsyncIterable<Buffer>);
  assert.deepEqual(to.missing(names), []);
  for (const [ref, commit] of commits) {
    await closure(to, commit);
    await to.writeRef(ref, commit, { expected: undefined });
  }
  assert.equal(await publishing.fsck(to), undefined);
  assert.deepEqual(await to.refs(), commits);
  assert.deepEqual(growing(to), []);
});

test("a refused part leaves nothing; those before it stay; sizes come in order", async (context) => {
  const publishing = await testPublishing(context);
  const from = await filled(publishing, 2, 31);
  const to = await publishing.repository();
  const names = (await namesOf(from)).filter((name) => name.endsWith(".filez") || name.endsWith(".dirtree"));
  const part = (name: string, bytes: Buffer) => [
    Buffer.from(`--b\r\nContent-Disposition: attachment; filename="${name}"\r\n\r\n`),
    bytes,
    Buffer.from("\r\n"),
  ];
  const whole = names.map((name) => ({ name, bytes: readFileSync(from.path(name)) }));
  const body = (parts: typeof whole) =>
    Buffer.concat([...parts.flatMap(({ name, bytes }) => part(name, bytes)), Buffer.from("--b--\r\n")]);
  const pieces = async function* (bytes: Buffer) {
    for (let at = 0; at < bytes.length; at += 5000) yield bytes.subarray(at, at + 5000);
  };
  const type = "multipart/mixed; boundary=b";
  const [first, ...rest] = whole;
  const wrong = { name: rest[0]!.name, bytes: Buffer.concat([first!.bytes, Buffer.from("x")]) };
  await assert.rejects(receiveUpload(to, pieces(body([first!, wrong])), type), Refusal);
  assert.deepEqual(
    to.missing(names),
    rest.map(({ name }) => name),
  );
  assert.deepEqual(growing(to), []);
  // Cut off in the middle of a part: nothing of it.
  await assert.rejects(receiveUpload(to, pieces(body(rest).subarray(0, 700)), type), Refusal);
  const sizes = await receiveUpload(to, pieces(body(whole)), type);
  assert.deepEqual(
    sizes,
    whole.map(({ bytes }) => bytes.length),
  );
  assert.deepEqual(to.missing(names), []);
});

test("made twice, half made, of another mode", async (context) => {
  const publishing = await testPublishing(context);
  const root = join(publishing.folder, "again");
  const made = await Repository.init(publishing.tools, root, { collectionId: "org.test.Stable" });
  const config = readFileSync(join(root, "config"), "utf8");
  assert.match(config, /collection-id=org\.test\.Stable/);
  await Repository.init(publishing.tools, root, { collectionId: "org.test.Stable" });
  assert.equal(readFileSync(join(root, "config"), "utf8"), config);
  assert.equal((await Repository.open(made.root)).root, root);
  const bare = join(publishing.folder, "bare");
  mkdirSync(bare);
  await publishing.tools.run("ostree", [`--repo=${bare}`, "init", "--mode=bare-user"]);
  await assert.rejects(Repository.open(bare), Refusal);
  await assert.rejects(Repository.open(join(publishing.folder, "nowhere")), Refusal);
});

test("references: the old or the new, and only where they were expected", async (context) => {
  const publishing = await testPublishing(context);
  const repository = await filled(publishing, 2, 41);
  const [first, second] = [...(await repository.refs()).values()] as [string, string];
  const ref = "app/org.test.New/x86_64/stable";
  await repository.writeRef(ref, first, { expected: undefined });
  await assert.rejects(repository.writeRef(ref, second, { expected: undefined }), /expected was nothing/);
  await repository.writeRef(ref, second, { expected: first });
  await assert.rejects(repository.writeRef(ref, "ab".repeat(32)), /no such commit/);
  await assert.rejects(repository.writeRef(`${ref}/deeper`, first), /another reference begins/);
  await assert.rejects(repository.writeRef("app/org.test.New", first), /another reference begins/);
  for (const wrong of ["../x", "/etc/x", "a//b", ".x", "a/..", "a/.b", ""])
    await assert.rejects(repository.writeRef(wrong, first), Refusal, wrong);
  assert.equal(await repository.ref(ref), second);
  await assert.rejects(repository.removeRef(ref, { expected: first }), /expected was/);
  await repository.removeRef(ref, { expected: second });
  assert.equal(await repository.ref(ref), undefined);
  assert.ok(!readdirSync(join(repository.root, "refs/heads/app")).includes("org.test.New"), "empty folders stay");
});

test.run();
