/** What a disk has lost is found: at once by validating, bit by bit by reading through, over restarts; settings and links, as files. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { servedPlaces } from "@millrace/eventlog/served.ts";
import {
  type MadeObject,
  makeCommit,
  makeDirMeta,
  makeDirTree,
  makeFile,
} from "../../../tests/harness/ostree-objects.ts";
import { testFolder } from "../../../tests/harness/servers.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { withSettings } from "../adapters/ostree/settings.ts";
import { linkRepository, publicBy, unlinkRepository } from "./links.ts";
import { scrubRepository } from "./scrub.ts";
import { validate } from "./validate.ts";
import { offered } from "./web.ts";

const test = suite("content of repositories");

interface Made {
  readonly repository: Repository;
  readonly files: ReadonlyArray<MadeObject>;
}

function makeRepository(): Made {
  const repository = new Repository(testFolder("repository"));
  const put = (object: MadeObject) => {
    mkdirSync(dirname(repository.path(object.name)), { recursive: true });
    writeFileSync(repository.path(object.name), object.bytes);
    return object;
  };
  const files = Array.from({ length: 20 }, (_, n) => put(makeFile(`content ${n}`)));
  const meta = put(makeDirMeta());
  const tree = put(
    makeDirTree(
      files.map(({ checksum }, n) => [`f${`${n}`.padStart(2, "0")}`, checksum]),
      [],
    ),
  );
  const commit = put(makeCommit(tree.checksum, meta.checksum));
  const ref = join(repository.root, "refs/heads/app/org.test.App/x86_64/stable");
  mkdirSync(dirname(ref), { recursive: true });
  writeFileSync(ref, `${commit.checksum}\n`);
  return { repository, files };
}

test("validating names what is changed, what is missing, and what a reference lacks", async () => {
  const { repository, files } = makeRepository();
  assert.deepEqual(await validate(repository), {
    objects: 23,
    bytes: (await validate(repository)).bytes,
    refs: 1,
    found: 0,
    findings: [],
  });
  const [changed, gone] = files;
  writeFileSync(repository.path(changed!.name), makeFile("another").bytes);
  rmSync(repository.path(gone!.name));
  const { found, findings } = await validate(repository);
  assert.equal(found, 2);
  assert.deepEqual(
    findings.map(({ what, name }) => [what, name]),
    [
      ["object", changed!.name],
      ["missing", "app/org.test.App/x86_64/stable"],
    ],
  );
  assert.match(findings[1]!.reason, new RegExp(gone!.name));
});

test("reading through goes on where it was cut off, tells the first finding at once and all at the end, then rests", async () => {
  const { repository, files } = makeRepository();
  writeFileSync(repository.path(files[3]!.name), "x");
  const told: [number, number][] = [];
  let cut = new AbortController();
  const scrub = { bytesPerSecond: 1e9, everyMs: 60_000 };
  const tell = async ({ objects, found }: { objects: number; found: number }) => {
    told.push([objects, found]);
    cut.abort();
  };
  await scrubRepository(repository, { ...scrub, tell }, cut.signal);
  assert.deepEqual(
    told.map(([, found]) => found),
    [1],
  );
  const state = () => JSON.parse(readFileSync(join(repository.root, ".millrace/scrub.json"), "utf8"));
  assert.ok(state().next < 256 && state().endedAt === null);
  cut = new AbortController();
  await scrubRepository(repository, { ...scrub, tell }, cut.signal);
  assert.deepEqual([told.length, told[1]], [2, [23, 1]]);
  await scrubRepository(repository, { ...scrub, tell }, new AbortController().signal);
  assert.equal(told.length, 2);
});

test("settings are flatpak's own keys, all else in the file stays", () => {
  const config =
    "[core]\nrepo_version=1\nmode=archive-z2\n\n[flatpak]\ntitle=Old\nsummary-arches=x86_64\n\n[more]\na=b\n";
  const after = withSettings(config, { title: "New", description: "a\nb\\c", keys: Buffer.from("key") });
  assert.equal(
    after,
    "[core]\nrepo_version=1\nmode=archive-z2\n\n[more]\na=b\n\n[flatpak]\nsummary-arches=x86_64\ntitle=New\ndescription=a\\nb\\\\c\ngpg-keys=a2V5\n",
  );
  assert.equal(withSettings(after, { title: "New", description: "a\nb\\c", keys: Buffer.from("key") }), after);
  assert.equal(withSettings("[core]\nmode=archive-z2\n", {}), "[core]\nmode=archive-z2\n");
});

test("a name belongs to who had it first; what becomes private is no longer public", async () => {
  const data = testFolder("links");
  const places = servedPlaces(data, "n1");
  const place = (id: string) => join(places.folder, "../repositories", id);
  const old = { id: "rep_01kajzq4v0e8r9t2m5x7c3d6fz", name: "stable", isPrivate: false };
  const young = { id: "rep_01kajzq4v0e8r9t2m5x7c3d6fb", name: "stable", isPrivate: false };
  assert.equal(await linkRepository(places, place(old.id), old), "stable");
  assert.equal(await linkRepository(places, place(young.id), young), young.id);
  assert.equal(await linkRepository(places, place(old.id), old), "stable");
  assert.equal(readlinkSync(join(places.public, "stable")), `../../repositories/${old.id}`);
  assert.equal(await linkRepository(places, place(old.id), { ...old, isPrivate: true }), "stable");
  assert.deepEqual(readdirSync(places.public), [young.id]);
  assert.deepEqual(readdirSync(places.private), [old.id]);
  // Pulls of a moment ago are still told by the name alone.
  assert.deepEqual(await publicBy(places, "stable"), [old.id]);
  assert.equal(await linkRepository(places, place(young.id), young), "stable");
  assert.deepEqual(await publicBy(places, "stable"), [young.id, old.id]);
  assert.deepEqual(await publicBy(places, "other"), []);
  await unlinkRepository(places, old.id);
  assert.ok(!existsSync(join(places.private, old.id)));
  assert.deepEqual(await publicBy(places, "stable"), [young.id]);
});

test("one reference of each application is offered", () => {
  const refs = [
    "app/org.test.App/x86_64/beta",
    "app/org.test.App/x86_64/stable",
    "app/org.test.Other/aarch64/beta",
    "runtime/org.test.App.Locale/x86_64/stable",
    "appstream2/x86_64",
  ];
  assert.deepEqual(
    [...offered(refs)],
    [
      ["org.test.App", "app/org.test.App/x86_64/stable"],
      ["org.test.Other", "app/org.test.Other/aarch64/beta"],
    ],
  );
  assert.equal(offered(refs, "beta").get("org.test.App"), "app/org.test.App/x86_64/beta");
});

test.run();
