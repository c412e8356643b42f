/** Builds from upload to what clients see: by the real tools, done twice, and killed at every step. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestPublishing, testPublishing } from "../../../../tests/harness/publishing.ts";
import { suite } from "../../../../tests/harness/suite.ts";
import {
  announce,
  type BuildPlace,
  checkUploadedRef,
  commitBuild,
  endBuild,
  ensureDelta,
  openUpload,
  publishBuild,
  rollBack,
} from "./builds.ts";
import { closure, isWhole } from "./closure.ts";
import { dies } from "./fixtures/dies.ts";
import { receiveObject } from "./intake.ts";
import { type GpgKey, generateKey, sweepGpgHomes, withSigner } from "./keys.ts";
import { Leases } from "./leases.ts";
import { parseCommit } from "./objects.ts";
import { prune } from "./prune.ts";
import { Refusal } from "./refusal.ts";
import type { Repository } from "./repository.ts";
import { published } from "./summary.ts";

const test = suite("builds", { timeoutMs: 240_000 });
const ref = "app/org.test.Hello/x86_64/stable";
const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second));

/** What a developer has: a repository with a commit. */
async function developed(publishing: TestPublishing, version: string): Promise<{ from: Repository; commit: string }> {
  const from = await publishing.repository(`dev-${version}`);
  const tree = join(publishing.folder, `app-${version}`);
  mkdirSync(join(tree, "files"), { recursive: true });
  mkdirSync(join(tree, "export"), { recursive: true });
  writeFileSync(join(tree, "metadata"), "[Application]\nname=org.test.Hello\nruntime=org.test.Platform/x86_64/1\n");
  writeFileSync(join(tree, "files/version"), version);
  writeFileSync(join(tree, "files/data"), "the same of all");
  return { from, commit: await publishing.commit(from, tree, ref) };
}

/** Sends what is missing, as a client does. @returns how many objects that were */
async function push(
  place: BuildPlace,
  upload: Repository,
  leases: Leases,
  build: string,
  dev: { from: Repository; commit: string },
): Promise<number> {
  const names = [...(await closure(dev.from, dev.commit))].reverse();
  const absent = await leases.pin(build, names);
  const missing = upload.missing(absent);
  for (const name of missing) await receiveObject(upload, name, [readFileSync(dev.from.path(name))]);
  assert.ok(existsSync(place.folder));
  return missing.length;
}

const signed = <T>(publishing: TestPublishing, key: GpgKey, use: Parameters<typeof withSigner<T>>[2]) =>
  withSigner(publishing.tools, [key], use);

test("pushed, committed, published, seen; again the same; then an update, a delta, a way back", async (context) => {
  const publishing = await testPublishing(context);
  const { tools, folder } = publishing;
  const key = await generateKey(tools, "Test <test@test.invalid>");
  const main = await publishing.repository("main");
  const leases = await Leases.open(main);
  const commits: string[] = [];
  const sent: number[] = [];
  for (const [index, version] of ["one", "two"].entries()) {
    const place: BuildPlace = { main, folder: join(folder, "builds", version) };
    const upload = await openUpload(tools, place);
    const dev = await developed(publishing, version);
    await assert.rejects(
      checkUploadedRef(upload, { ref, commit: dev.commit }),
      (error) => error instanceof Refusal && error.missing?.[0] === `${dev.commit}.commit`,
    );
    sent.push(await push(place, upload, leases, version, dev));
    assert.ok((await checkUploadedRef(upload, { ref, commit: dev.commit })) > 5);
    // Somebody prunes in between, without mercy.
    await prune(main, leases, { depth: 0, youngMs: 0, graceMs: 0 });
    await prune(main, leases, { depth: 0, youngMs: 0, graceMs: 0 });
    await signed(publishing, key, async (signer) => {
      const terms = { timestamp: at(index), signer };
      // One reference the first time, two the second: those go in one run of the tool.
      const refs = [ref, ...(index === 0 ? [] : [ref.replace(/[^/]+$/, "beta")])];
      const asked = refs.map((each) => ({ ref: each, commit: dev.commit }));
      const adopted = (all: ReadonlyArray<object>) => all.map((each) => ({ ...each, adopted: true }));
      const made = await commitBuild(tools, place, asked, terms);
      assert.deepEqual(
        made.map((each) => [each.ref, each.adopted]),
        refs.map((each) => [each, false]),
      );
      assert.deepEqual(await commitBuild(tools, place, asked, terms), adopted(made));
      const live = await publishBuild(tools, place, made, terms);
      assert.deepEqual(await publishBuild(tools, place, made, terms), adopted(live));
      for (const { ref: each, commit } of live) assert.equal(await main.ref(each), commit);
      assert.deepEqual(await announce(tools, main, { signer }), []);
      commits.push(live[0]!.commit);
    });
    await endBuild(place, version, leases);
    await endBuild(place, version, leases);
    assert.ok(!existsSync(place.folder));
    assert.equal((await published(main))?.get(ref), commits.at(-1));
  }
  assert.ok(sent[1]! < sent[0]!, "what is there was sent again");
  const [one, two] = commits as [string, string];
  // Killed between publishing and telling so, while another came after it: found behind that one.
  const again = await signed(publishing, key, (signer) =>
    rollBack(tools, main, { ref, commit: one }, { timestamp: at(5), signer }),
  );
  const back = parseCommit(main.read(`${again.commit}.commit`)!, "");
  assert.deepEqual([back.parent, back.tree], [two, parseCommit(main.read(`${one}.commit`)!, "").tree]);
  const found = await signed(publishing, key, (signer) =>
    rollBack(tools, main, { ref, commit: two }, { timestamp: at(1), signer }),
  );
  assert.deepEqual(found, { ref, commit: two, adopted: true });
  await assert.rejects(
    rollBack(tools, main, { ref, commit: one }, { timestamp: at(3) }),
    (error) => error instanceof Refusal && error.code === "ref-moved",
  );
  // What was pruned, as long as it lies in quarantine.
  await prune(main, leases, { depth: 0, youngMs: 0, graceMs: 3_600_000 });
  assert.equal(main.placed(`${two}.commit`), undefined);
  const forth = await signed(publishing, key, (signer) =>
    rollBack(tools, main, { ref, commit: two }, { timestamp: at(9), signer }),
  );
  assert.equal(await main.ref(ref), forth.commit);
  assert.equal(await publishing.fsck(main), undefined);
  assert.ok((await isWhole(main, one)) && (await isWhole(main, two)));
  assert.equal(await ensureDelta(tools, main, { from: one, to: two }), false);
  assert.equal(await ensureDelta(tools, main, { from: one, to: two }), true);
  assert.equal(await publishing.fsck(main), undefined);
});

test("killed at every step: the reference is the old or the new one, and the next try ends where it would have", async (context) => {
  const publishing = await testPublishing(context);
  const { tools, folder, programs } = publishing;
  const key = await generateKey(tools, "Test <test@test.invalid>");
  const dev = await developed(publishing, "one");
  const ends = new Set<string | undefined>();
  for (const step of [
    "publish.commit.made",
    "publish.commit.before:2",
    "publish.commit.made:2",
    "publish.summary.made",
    "publish.end.removed",
  ]) {
    const main = await publishing.repository();
    const place: BuildPlace = { main, folder: join(folder, `build-${step}`) };
    await push(place, await openUpload(tools, place), await Leases.open(main), "build", dev);
    const words = [
      JSON.stringify(programs.env),
      join(folder, "home"),
      place.folder,
      ref,
      dev.commit,
      at(7).toISOString(),
      key.secretKey.toString("base64"),
      key.fingerprint,
    ];
    assert.ok(await dies(main, step, "build", words), step);
    const between = await main.ref(ref);
    assert.equal(await publishing.fsck(main), undefined, step);
    sweepGpgHomes();
    if (existsSync(join(place.folder, "upload"))) {
      await signed(publishing, key, async (signer) => {
        const terms = { timestamp: at(7), signer };
        const made = await commitBuild(tools, place, [{ ref, commit: dev.commit }], terms);
        await publishBuild(tools, place, made, terms);
        assert.deepEqual(await announce(tools, main, { signer }), [], step);
      });
    }
    await endBuild(place, "build", await Leases.open(main));
    const end = await main.ref(ref);
    assert.ok(between === undefined || between === end, step);
    assert.equal(parseCommit(main.read(`${end}.commit`)!, "").parent, undefined, step);
    ends.add(end);
    assert.equal(await publishing.fsck(main), undefined, step);
  }
  assert.equal(ends.size, 1, "a second try made another commit");
});

test.run();
