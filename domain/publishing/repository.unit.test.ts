/** The rules of repositories: one key, one publisher at a time, and every event as a person reads it. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { given, sentenceOf, type Told } from "../testing.ts";
import { publishing } from "./context.ts";
import { nextOfRepository, repository } from "./repository.ts";

const test = suite("repositories");
const worker = "attic:1:a";
const SEALED = { v: 1, key: "k", subject: "rep_01kajzq4v0e8r9t2m5x7c3d6fg", iv: "AA", data: "AA" } as const;
const KEY = { fingerprint: "9F3C1A2B4D5E6F708192A3B4C5D6E7F801234567", user: "Ours", publicKey: "AA", sealed: SEALED };
const FAILURE = { code: "TOOLS_MISSING", reason: "ostree is not installed.", fix: "Run mill setup." };

const created: Told = ["RepositoryCreated", { name: "stable" }];
const begun = (attempt = 1): Told => ["RepositoryBegun", { node: "local", attempt, worker }];
const keyed: Told = ["RepositoryKeyMade", KEY];
const made: Told = ["RepositoryMade", { attempt: 1 }];
const failed: Told = ["RepositoryFailed", FAILURE];

test("asked for, once, with a name and an id that are some", () => {
  const { when } = given(repository, []);
  when({ do: "create", name: "stable", collectionId: "org.example.Stable" }).happens([
    "RepositoryCreated",
    { name: "stable", collectionId: "org.example.Stable" },
  ]);
  when({ do: "create", name: "stable", title: " x", collectionId: "example" }).isRefused({
    refused: "invalid",
    pointers: ["/body/title", "/body/collectionId"],
  });
  given(repository, [created]).when({ do: "create", name: "stable" }).isRefused({ refused: "conflict" });
  when({ do: "retry" }).isRefused({ refused: "not-found" });
});

test("made by one publisher: begun, its key kept, finished", () => {
  given(repository, [created]).when({ do: "begin", attempt: 1, worker, node: "local" }).happens(begun());
  given(repository, [created, begun()]).when({ do: "keepKey", attempt: 1, worker, key: KEY }).happens(keyed);
  given(repository, [created, begun(), keyed]).when({ do: "finish", attempt: 1, worker }).happens(made);
});

test("another's attempt, a second key, an end without one: overtaken", () => {
  const is = { rule: "overtaken" };
  given(repository, [created, begun()]).when({ do: "begin", attempt: 1, worker, node: "local" }).isRefused(is);
  given(repository, [created, begun()]).when({ do: "begin", attempt: 2, worker, node: "attic" }).isRefused(is);
  given(repository, [created, begun(2)])
    .when({ do: "keepKey", attempt: 1, worker, key: KEY })
    .isRefused(is);
  given(repository, [created, begun()]).when({ do: "finish", attempt: 1, worker: "attic:2:b" }).isRefused(is);
  given(repository, [created, begun(), keyed]).when({ do: "keepKey", attempt: 1, worker, key: KEY }).isRefused(is);
  given(repository, [created, begun()]).when({ do: "finish", attempt: 1, worker }).isRefused(is);
  given(repository, [created, begun(), keyed, made])
    .when({ do: "begin", attempt: 2, worker, node: "local" })
    .isRefused(is);
});

test("one that failed is tried again, with the key that it has", () => {
  const { state, when } = given(repository, [created, begun(), keyed, failed]);
  assert.equal(nextOfRepository(state), undefined);
  when({ do: "retry" }).happens(["RepositoryRetried", {}]);
  const again = given(repository, [created, begun(), keyed, failed, ["RepositoryRetried", {}]]).state;
  assert.deepEqual([again.key, again.attempt, again.failure], [KEY, 0, null]);
  assert.deepEqual(nextOfRepository(again), { do: { kind: "begin", attempt: 1 } });
  given(repository, [created, begun(), keyed, made]).when({ do: "retry" }).isRefused({ rule: "not-failed" });
});

test("what breaks off again and again is given up, and says so", () => {
  const { state, when } = given(repository, [created, begun(10)]);
  assert.deepEqual(nextOfRepository(state), { do: { kind: "giveUp", attempt: 10 } });
  when({ do: "fail", attempt: 10, worker, failure: FAILURE }).happens(failed);
});

test("its title: what was seen counts, a publisher's work does not", () => {
  const { when } = given(repository, [created, begun(), keyed, made]);
  when({ do: "change", title: "Ours", seen: 1 }).happens(["RepositoryRetitled", { title: "Ours" }]);
  when({ do: "change", title: "Ours", seen: 2 }).isRefused({ refused: "precondition" });
  when({ do: "change", title: null }).happens();
  when({ do: "change", title: "" }).isRefused({ refused: "invalid", pointers: ["/body/title"] });
});

test("what is shown holds no secret", () => {
  const { state } = given(repository, [created, begun(), keyed, made]);
  const shown = JSON.stringify(repository.represent(state));
  assert.match(shown, /"fingerprint":"9F3C/);
  assert.doesNotMatch(shown, /sealed|"iv"/);
  assert.doesNotMatch(JSON.stringify(repository.events.RepositoryKeyMade!.toPublic!(KEY)), /sealed/);
});

const SENTENCES: Readonly<Record<string, string>> = {
  RepositoryCreated: 'asked for the repository "stable"',
  RepositoryRetitled: 'titled it "Ours"',
  RepositoryBegun: "began to make it on the node local",
  RepositoryKeyMade: `made its key ${KEY.fingerprint.slice(-16)}`,
  RepositoryMade: "made it",
  RepositoryFailed: "could not make it (TOOLS_MISSING): ostree is not installed.",
  RepositoryRetried: "asked for another try",
};

test("every event, as a person reads it", () => {
  const { repository: kind } = publishing.kinds;
  const told = Object.fromEntries(
    Object.entries(kind!.events).map(([type, { examples }]) => [type, sentenceOf(kind!, type, examples[1])]),
  );
  assert.deepEqual(told, SENTENCES);
});

test.run();
