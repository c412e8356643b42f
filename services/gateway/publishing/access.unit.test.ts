/** What is judged of a request for a private repository: the path as Caddy serves it, and the commit that it is about. */
import assert from "node:assert/strict";
import { suite } from "../../../tests/harness/suite.ts";
import { pathOf } from "./access.ts";
import { subjectOf } from "./reading.ts";

const test = suite("access to private repositories");
const COMMIT = "2ea53b3aa3a6bd8aeb1b1ec3cd4b9ee4f4b7b5ad0c0b26e5eec6ac0ba2ab5d1c";
const NAME = Buffer.from(COMMIT, "hex").toString("base64").replace(/=+$/, "").replaceAll("/", "_");

test("a path is what Caddy would serve, or none", () => {
  assert.equal(pathOf("/repo/stable/summary.idx?x=/../y"), "/repo/stable/summary.idx");
  assert.equal(pathOf("/repo/stable%4020261121t080000z/config"), "/repo/stable@20261121t080000z/config");
  assert.equal(pathOf("/repo/stable/"), "/repo/stable/");
  for (const wrong of [
    "/repo/stable/x/../objects/aa/b.commit",
    "/repo/stable//objects/aa/b.commit",
    "/repo/stable/./objects/aa/b.commit",
    "/repo/stable/x%2f..%2fobjects/aa/b.commit",
    "/repo/stable/%2e%2e/objects",
    "/repo/stable/..",
    "/repo/stable/%zz",
    "/repo/stable/x%5c..",
  ]) {
    assert.equal(pathOf(wrong), "", wrong);
  }
});

test("commits, signatures, deltas and their indexes are about a commit, files about an object, references about an application", () => {
  const object = `/objects/${COMMIT.slice(0, 2)}/${COMMIT.slice(2)}`;
  const delta = `${NAME.slice(0, 2)}/${NAME.slice(2)}`;
  const from = `${"A".repeat(2)}/${"A".repeat(41)}-${NAME}`;
  for (const path of [
    `${object}.commit`,
    `${object}.commitmeta`,
    `/deltas/${delta}/superblock`,
    `/deltas/${delta}/0`,
    `/deltas/${from}/superblock`,
    `/delta-indexes/${delta}.index`,
  ]) {
    assert.deepEqual(subjectOf(path), { of: "commit", commit: COMMIT }, path);
  }
  for (const kind of ["filez", "dirtree", "dirmeta"]) {
    assert.deepEqual(subjectOf(`${object}.${kind}`), { of: "object", object: COMMIT });
  }
  for (const path of [
    "/refs/heads/app/org.test.App/x86_64/stable",
    "/refs/heads/runtime/org.test.App/x86_64/1",
    "/org.test.App.flatpakref",
    "/appstream/org.test.App.flatpakref",
  ]) {
    assert.deepEqual(subjectOf(path), { of: "application", id: "org.test.App" }, path);
  }
  for (const path of ["/refs/heads/appstream2/x86_64", "/appstream/x86_64/appstream.xml.gz"]) {
    assert.deepEqual(subjectOf(path), { of: "catalogue" }, path);
  }
  for (const path of ["/summary.idx", "/summaries/aa.gz", "/config", "/stable.flatpakrepo", "/index.html", ""]) {
    assert.deepEqual(subjectOf(path), { of: "all" }, path);
  }
});

test.run();
