/** What is judged of a request for a private repository: the path as Caddy serves it, and the commit that it is about. */
import assert from "node:assert/strict";
import { suite } from "../../../tests/harness/suite.ts";
import { commitOf, pathOf } from "./access.ts";

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

test("commits, signatures, deltas and their indexes are about a commit, all else is not", () => {
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
    assert.equal(commitOf(path), COMMIT, path);
  }
  for (const path of [`${object}.filez`, `${object}.dirtree`, "/summary.idx", "/config", ""]) {
    assert.equal(commitOf(path), undefined, path);
  }
});

test.run();
