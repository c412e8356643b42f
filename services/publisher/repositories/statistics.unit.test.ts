/** Pulls counted from a log that is turned over, torn, and read by a process that dies: each once. */
import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testFolder } from "../../../tests/harness/servers.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { count, pullOf, readBook } from "./statistics.ts";

const test = suite("statistics of pulls");
const REPOSITORY = "rep_01kajzq4v0e8r9t2m5x7c3d6fg";
const COMMIT = "2ea53b3aa3a6bd8aeb1b1ec3cd4b9ee4f4b7b5ad0c0b26e5eec6ac0ba2ab5d1c";
const NAME = Buffer.from(COMMIT, "hex").toString("base64").replace(/=+$/, "").replaceAll("/", "_");
const PATH = `/repo/stable/delta-indexes/${NAME.slice(0, 2)}/${NAME.slice(2)}.index`;
const REF = "app/org.test.App/x86_64/stable";

interface Told {
  readonly day?: string;
  readonly uri?: string;
  readonly from?: string;
  readonly status?: number;
  readonly ref?: string;
}
const line = ({ day = "2026-11-21", uri = PATH, from, status = 404, ref = REF }: Told = {}): string => {
  const headers = { "Flatpak-Ref": [ref], ...(from === undefined ? {} : { "Flatpak-Upgrade-From": [from] }) };
  return `${JSON.stringify({ ts: Date.parse(`${day}T08:00:00Z`) / 1_000, status, request: { method: "GET", uri, headers } })}\n`;
};

test("a pull is told by one kind of request alone", () => {
  assert.deepEqual(pullOf(line({ from: "aa" })), {
    reference: "stable",
    repository: undefined,
    day: "2026-11-21",
    ref: REF,
    commit: COMMIT,
    isUpdate: true,
  });
  const encoded = PATH.replace("/stable/", "/stable%4020261121t080000z/").replace("+", "%2B");
  assert.equal(pullOf(line({ uri: encoded }))?.commit, COMMIT);
  const others = [
    line({ uri: "/repo/stable/summary.idx" }),
    line({ status: 500 }),
    line({ ref: "appstream2/x86_64" }),
    line({ ref: "app/../../etc/x/y/z" }),
    line().slice(0, 80),
    "null /delta-indexes/",
  ];
  assert.deepEqual(
    others.map((each) => pullOf(each)),
    others.map(() => undefined),
  );
});

test("counted once each: over restarts, torn ends, turned over logs, and a book whose last line was cut off", async () => {
  const folder = testFolder("statistics");
  mkdirSync(folder, { recursive: true });
  const [log, book] = [join(folder, "access.log"), join(folder, "book.jsonl")];
  const counting = { log, book, of: async ({ ref }: { ref: string }) => (ref === REF ? REPOSITORY : undefined) };
  const told = async () =>
    [...(await readBook(book)).rows.values()].map(({ day, installs, updates }) => [day, installs, updates]);
  assert.equal(await count(counting), 0);

  writeFileSync(
    log,
    line() + line({ from: "aa" }) + line({ ref: "app/org.none.App/x86_64/stable" }) + line().slice(0, 50),
  );
  assert.equal(await count(counting), 2);
  assert.equal(await count(counting), 0);
  appendFileSync(log, line().slice(50));
  assert.equal(await count(counting), 1);
  assert.deepEqual(await told(), [["2026-11-21", 2, 1]]);

  // Turned over twice before anybody looked: the rest of the old one, all of the next, and of today's.
  appendFileSync(log, line());
  renameSync(log, join(folder, "access-2026-11-21T09-00-00.000.log"));
  writeFileSync(log, line({ day: "2026-11-22" }));
  renameSync(log, join(folder, "access-2026-11-22T09-00-00.000.log"));
  writeFileSync(log, line({ day: "2026-11-23" }));
  assert.equal(await count(counting), 3);
  assert.equal(await count(counting), 0);
  const three = [
    ["2026-11-21", 3, 1],
    ["2026-11-22", 1, 0],
    ["2026-11-23", 1, 0],
  ];
  assert.deepEqual(await told(), three);

  // It died while it wrote down the last of them.
  const text = readFileSync(book, "utf8");
  writeFileSync(book, text.slice(0, -20));
  assert.equal(await count(counting), 1);
  assert.deepEqual(await told(), three);
});

test.run();
