/** Archives as people pack them, and as nobody does by accident: unpacked, or refused by name, with nothing left behind. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { unpackSource } from "@millrace/eventlog/sources/archive.ts";
import type { ArchiveLimits } from "@millrace/eventlog/sources/archive-tree.ts";
import * as assert from "uvu/assert";
import { testFolder } from "../../../tests/harness/servers.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { appDisk, nodeDisk } from "./disk.ts";
import { type Entry, tar, zip } from "./fixtures/archives.ts";

const test = suite("archives", { timeoutMs: 60_000 });

const folder = testFolder("archives");
let made = 0;

async function unpack(archive: Buffer, limits: Partial<ArchiveLimits> = {}) {
  const disk = nodeDisk(join(folder, `${++made}`), "local");
  const app = appDisk(disk, "app_00000000000000000000000000");
  mkdirSync(app.root, { recursive: true });
  const path = join(app.root, "..", "archive");
  writeFileSync(path, archive);
  const sha256 = createHash("sha256").update(archive).digest("hex");
  const work = { path, sha256, limits, signal: new AbortController().signal, onLine: () => {} };
  const outcome = await unpackSource(app, work);
  return { outcome, app, again: () => unpackSource(app, work) };
}

async function refused(archive: Buffer, code: string, limits: Partial<ArchiveLimits> = {}): Promise<string> {
  const { outcome, app } = await unpack(archive, limits);
  assert.ok("failed" in outcome, `unpacked, and should be refused with ${code}`);
  assert.is(outcome.failed.code, code, outcome.failed.message);
  assert.is(outcome.failed.class, "permanent");
  assert.ok(outcome.failed.fix !== "");
  assert.equal(existsSync(app.sources) ? readdirSync(app.sources) : [], [], "something was left behind");
  return outcome.failed.message;
}

const SITE: ReadonlyArray<Entry> = [
  { name: "public/", type: "directory" },
  { name: "public/index.html", content: "<h1>Hello</h1>\n" },
  { name: "run.sh", mode: 0o755, content: "#!/bin/sh\n" },
  { name: "latest", type: "symlink", linkname: "public/index.html" },
  { name: ".git/config", content: "secret" },
];

test("a folder comes out of every kind of archive as the same tree", async () => {
  const plain = await tar(SITE);
  const zipped = zip([
    { name: "public/", mode: 0o040755 },
    { name: "public/index.html", content: "<h1>Hello</h1>\n" },
    { name: "run.sh", mode: 0o100755, content: "#!/bin/sh\n" },
    { name: "latest", mode: 0o120777, content: "public/index.html" },
    { name: ".git/config", content: "secret" },
  ]);
  const trees = new Set<string>();
  for (const archive of [plain, gzipSync(plain), zstdCompressSync(plain), zipped]) {
    const { outcome, again } = await unpack(archive);
    assert.not("failed" in outcome, JSON.stringify(outcome));
    if ("failed" in outcome) return;
    trees.add(outcome.tree);
    const at = (name: string) => join(outcome.folder, name);
    assert.is(readFileSync(at("public/index.html"), "utf8"), "<h1>Hello</h1>\n");
    assert.is(readlinkSync(at("latest")), "public/index.html");
    assert.is(statSync(at("run.sh")).mode & 0o777, 0o755);
    assert.is(statSync(at("public/index.html")).mode & 0o7777, 0o644);
    assert.not(existsSync(at(".git")));
    assert.equal([outcome.files, outcome.bytes, outcome.adopted], [2, 25, false]);
    const second = await again();
    assert.ok("adopted" in second && second.adopted, "unpacked twice");
  }
  assert.is(trees.size, 1, "the same files have the same hash");
});

test("names that lead out, are absolute, or are no names", async () => {
  for (const name of ["../evil", "a/../../evil", "/etc/passwd", "a\\..\\evil", "C:/evil", "a\nb"]) {
    await refused(await tar([{ name, content: "x" }]), "ARCHIVE_NAME");
    await refused(zip([{ name, content: "x" }]), "ARCHIVE_NAME");
  }
  await refused(await tar([{ name: `${"a/".repeat(70)}x`, content: "x" }]), "ARCHIVE_NAME");
  await refused(await tar([{ name: "n".repeat(300), content: "x" }]), "ARCHIVE_NAME");
  await refused(await tar([{ name: `${"long/".repeat(300)}x`, content: "x" }]), "ARCHIVE_NAME");
  await refused(zip([{ name: `${"x".repeat(255)}/`.repeat(20), content: "" }]), "ARCHIVE_NAME");
});

test("a header that never ends is not kept in memory", async () => {
  const header = Buffer.alloc(512);
  header.write("././@LongLink", 0);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write("77777777777\0", 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write("L", 156);
  header.write("ustar  \0", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const archive = gzipSync(Buffer.concat([header, Buffer.alloc(8 * 1024 * 1024, 97)]));
  await refused(archive, "ARCHIVE_BROKEN", { ratio: 10_000 });
  await refused(gzipSync(Buffer.alloc(17 * 1024 * 1024)), "ARCHIVE_BOMB");
  const padded = Buffer.concat([await tar(SITE), Buffer.alloc(17 * 1024 * 1024)]);
  await refused(gzipSync(padded), "ARCHIVE_BOMB");
});

test("links out, hard links, devices", async () => {
  const link = (linkname: string): Entry => ({ name: "link", type: "symlink", linkname });
  for (const target of ["/etc/passwd", "..", "../../x", "a/../../x"])
    await refused(await tar([link(target)]), "LINK_OUTSIDE");
  await refused(zip([{ name: "link", mode: 0o120777, content: "../../etc" }]), "LINK_OUTSIDE");
  // What lies below a link would be written where that leads.
  await refused(
    await tar([
      { name: "d", type: "symlink", linkname: "." },
      { name: "d/file", content: "x" },
    ]),
    "ARCHIVE_DUPLICATE",
  );
  for (const type of ["link", "character-device", "block-device", "fifo"] as const) {
    await refused(
      await tar([
        { name: "a", content: "x" },
        { name: "b", type, linkname: "a" },
      ]),
      "ARCHIVE_ENTRY",
    );
  }
  await refused(zip([{ name: "device", mode: 0o020644, content: "" }]), "ARCHIVE_ENTRY");
});

test("names that are there twice, or are the same to some file systems", async () => {
  const twice = (a: string, b: string) => [
    { name: a, content: "x" },
    { name: b, content: "y" },
  ];
  for (const [a, b] of [
    ["a", "a"],
    ["Readme", "README"],
    ["a", "a/b"],
    ["a/b", "A/c"],
    ["\u00e9", "e\u0301"],
  ] as const) {
    await refused(await tar(twice(a, b)), "ARCHIVE_DUPLICATE");
    await refused(zip(twice(a, b)), "ARCHIVE_DUPLICATE");
  }
});

test("bombs: by ratio, by size, by sizes that lie, by number", async () => {
  const zeros = Buffer.alloc(17 * 1024 * 1024);
  assert.match(await refused(gzipSync(await tar([{ name: "z", content: zeros }])), "ARCHIVE_BOMB"), "times as large");
  await refused(zip([{ name: "z", content: zeros }]), "ARCHIVE_BOMB");
  await refused(zstdCompressSync(await tar([{ name: "z", content: zeros }])), "ARCHIVE_BOMB");
  const limits = { bytes: 1_000 };
  await refused(
    await tar([
      { name: "a", content: "x".repeat(600) },
      { name: "b", content: "x".repeat(600) },
    ]),
    "ARCHIVE_TOO_LARGE",
    limits,
  );
  await refused(
    zip([
      { name: "a", content: "x".repeat(600) },
      { name: "b", content: "x".repeat(600) },
    ]),
    "ARCHIVE_TOO_LARGE",
    limits,
  );
  await refused(zip([{ name: "a", content: "x".repeat(600), lie: 10 }]), "ARCHIVE_BROKEN");
  await refused(zip([{ name: "a", content: "x".repeat(600), lie: 900 }]), "ARCHIVE_BROKEN");
  const many = Array.from({ length: 60_000 }, (_, i) => ({ name: `f${i}` }));
  await refused(zip(many), "ARCHIVE_TOO_MANY");
  await refused(gzipSync(await tar(many.slice(0, 600))), "ARCHIVE_TOO_MANY", { entries: 500 });
});

test("what is no archive, cut off, encrypted, or not what was uploaded", async () => {
  await refused(Buffer.from("hello"), "ARCHIVE_KIND");
  await refused(Buffer.alloc(0), "ARCHIVE_KIND");
  const good = gzipSync(await tar(SITE));
  await refused(good.subarray(0, good.length - 40), "ARCHIVE_BROKEN");
  await refused((await tar(SITE)).subarray(0, 700), "ARCHIVE_BROKEN");
  const zipped = zip([{ name: "a", content: "x" }]);
  await refused(zipped.subarray(0, zipped.length - 10), "ARCHIVE_BROKEN");
  await refused(zip([{ name: "a", content: "x", flags: 1 }]), "ARCHIVE_ENCRYPTED");
  await refused(zip([]), "ARCHIVE_EMPTY");
  await refused(await tar([{ name: "a/", type: "directory" }]), "ARCHIVE_EMPTY");
  const disk = nodeDisk(join(folder, "other"), "local");
  const app = appDisk(disk, "app_00000000000000000000000000");
  mkdirSync(app.root, { recursive: true });
  const path = join(app.root, "archive");
  const work = { path, sha256: "0".repeat(64), signal: new AbortController().signal, onLine: () => {} };
  const gone = await unpackSource(app, work);
  writeFileSync(path, good);
  const other = await unpackSource(app, work);
  for (const outcome of [gone, other]) assert.is("failed" in outcome && outcome.failed.code, "UPLOAD_LOST");
});

test.run();
