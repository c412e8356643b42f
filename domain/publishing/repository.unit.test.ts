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

const NOW = Date.parse("2026-11-21T08:00:00.000Z");
const DAY_MS = 86_400_000;

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
  assert.equal(nextOfRepository(state, NOW), undefined);
  when({ do: "retry" }).happens(["RepositoryRetried", {}]);
  const again = given(repository, [created, begun(), keyed, failed, ["RepositoryRetried", {}]]).state;
  assert.deepEqual([again.keys, again.attempt, again.failure], [[KEY], 0, null]);
  assert.deepEqual(nextOfRepository(again, NOW), { do: { kind: "begin", attempt: 1 } });
  given(repository, [created, begun(), keyed, made]).when({ do: "retry" }).isRefused({ rule: "not-failed" });
});

test("what breaks off again and again is given up, and says so", () => {
  const { state, when } = given(repository, [created, begun(10)]);
  assert.deepEqual(nextOfRepository(state, NOW), { do: { kind: "giveUp", attempt: 10 } });
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

const ready = [created, begun(), keyed, made];
const settled: Told = ["RepositoryConfigured", { revision: 2 }];
const asked: Told = ["RepositoryKeyAsked", { imported: false, overlapDays: 30 }];
const OTHER = { ...KEY, fingerprint: "A".repeat(40) };
const kindOf = (next: ReturnType<typeof nextOfRepository>) =>
  next !== undefined && "do" in next ? next.do.kind : next;

test("what clients are to see is carried out again until it is what was asked last", () => {
  const { state, when } = given(repository, ready);
  assert.deepEqual(nextOfRepository(state, NOW), { do: { kind: "configure", revision: 2 } });
  when({ do: "configured", revision: 2 }).happens(settled);
  assert.equal(nextOfRepository(given(repository, [...ready, settled]).state, NOW), undefined);
  const changed: Told = ["RepositoryChanged", { comment: "Ours", homepage: "https://example.org/" }];
  const again = given(repository, [...ready, settled, changed]);
  assert.deepEqual(nextOfRepository(again.state, NOW), { do: { kind: "configure", revision: 3 } });
  again.when({ do: "configured", revision: 2 }).isRefused({ rule: "overtaken" });
  again.when({ do: "change", comment: "Ours" }).happens();
  // The same at another address.
  given(repository, [...ready, settled])
    .when({ do: "configured", revision: 2, url: "http://x/repo/stable/" })
    .happens(["RepositoryConfigured", { revision: 2, url: "http://x/repo/stable/" }]);
  given(repository, [...ready, settled])
    .when({ do: "configured", revision: 2 })
    .isRefused({ rule: "overtaken" });
  again
    .when({ do: "change", homepage: null, visibility: "private" })
    .happens(["RepositoryChanged", { homepage: null, visibility: "private" }]);
  again.when({ do: "change", homepage: "ftp://x", defaultBranch: "a/b" }).isRefused({
    refused: "invalid",
    pointers: ["/body/homepage", "/body/defaultBranch"],
  });
  const token = "tok_01kajzq4v0e8r9t2m5x7c3d6fg";
  const readers = [
    { token, applications: ["org.test.App"] },
    { token, applications: ["nothing"] },
  ];
  again.when({ do: "change", readers }).isRefused({
    refused: "invalid",
    pointers: ["/body/readers/1/applications/0", "/body/readers/1/token"],
  });
});

test("another key: both sign for a time, then the old one ends", () => {
  const { when } = given(repository, [...ready, settled]);
  when({ do: "rotateKey", overlapDays: 30 }).happens(asked);
  const rotating = given(repository, [...ready, settled, asked]);
  assert.equal(kindOf(nextOfRepository(rotating.state, NOW)), "rotate");
  rotating.when({ do: "rotateKey", overlapDays: 30 }).isRefused({ rule: "rotating" });
  rotating.when({ do: "refuseKey", failure: FAILURE }).happens(["RepositoryKeyRefused", FAILURE]);
  const until = new Date(NOW + 30 * DAY_MS).toISOString();
  const rotated: Told = ["RepositoryKeyMade", { ...OTHER, until }];
  const both = given(repository, [...ready, settled, asked, rotated]);
  assert.deepEqual(
    both.state.keys.map(({ fingerprint, until: end }) => [fingerprint, end]),
    [
      [OTHER.fingerprint, undefined],
      [KEY.fingerprint, until],
    ],
  );
  assert.equal(kindOf(nextOfRepository(both.state, NOW)), "configure");
  both.when({ do: "rotated", key: OTHER }).isRefused({ rule: "overtaken" });
  const quiet = given(repository, [...ready, asked, rotated, ["RepositoryConfigured", { revision: 3 }]]);
  assert.deepEqual(nextOfRepository(quiet.state, NOW), { waitUntil: NOW + 30 * DAY_MS });
  assert.equal(kindOf(nextOfRepository(quiet.state, NOW + 30 * DAY_MS)), "retireKey");
  const retired: Told = ["RepositoryKeyRetired", { fingerprint: KEY.fingerprint }];
  const one = given(repository, [...ready, asked, rotated, retired]).state;
  assert.deepEqual([one.keys.length, kindOf(nextOfRepository(one, NOW))], [1, "configure"]);
});

const LOOKED = { objects: 1, bytes: 2, refs: 0, found: 0, findings: [], by: "command" } as const;
const PRUNED = {
  quarantined: 0,
  quarantinedBytes: 0,
  deltas: 0,
  restored: 0,
  deleted: 0,
  deletedBytes: 0,
  snapshots: 0,
};

test("looked through and pruned when asked, and by its retention", () => {
  const wanted: Told = ["RepositoryValidationAsked", {}];
  const { state, when } = given(repository, [...ready, settled, wanted]);
  assert.deepEqual(nextOfRepository(state, NOW), { do: { kind: "validate", request: 1 } });
  when({ do: "validate" }).happens();
  const validated: Told = ["RepositoryValidated", { ...LOOKED, request: 1 }];
  when({ do: "validated", ...LOOKED, request: 1 }).happens(validated);
  // Asked again while it was under way: once more.
  const story = [...ready, settled, wanted, ["RepositoryValidationAsked", {}] as Told, validated];
  assert.equal(kindOf(nextOfRepository(given(repository, story).state, NOW)), "validate");
  const retention = { depth: 1, snapshots: 2, everyHours: 24, graceHours: 1 };
  const kept = [
    ...ready,
    ["RepositoryChanged", { retention }] as Told,
    ["RepositoryConfigured", { revision: 3 }] as Told,
  ];
  const by = given(repository, kept).state;
  const due = Date.parse(by.readyAt!) + DAY_MS;
  assert.deepEqual(nextOfRepository(by, due - 1), { waitUntil: due });
  assert.deepEqual(nextOfRepository(by, due), { do: { kind: "prune", request: 0, by: "retention" } });
  const pruned: Told = ["RepositoryPruned", { ...PRUNED, by: "retention", request: 0 }];
  const after = given(repository, [...kept, pruned]).state;
  assert.deepEqual(nextOfRepository(after, due), { waitUntil: Date.parse(after.pruning.last!.at) + DAY_MS });
});

test("deleted: gone for everybody at once, its files and keys after it", () => {
  const gone: Told = ["RepositoryDeleted", { name: "stable" }];
  given(repository, [...ready, settled])
    .when({ do: "delete", seen: 1 })
    .happens(gone);
  given(repository, [...ready, settled])
    .when({ do: "delete", seen: 4 })
    .isRefused({ refused: "precondition" });
  const { state, when } = given(repository, [...ready, settled, gone]);
  assert.deepEqual([repository.exists(state), kindOf(nextOfRepository(state, NOW))], [false, "remove"]);
  when({ do: "validate" }).isRefused({ refused: "not-found" });
  when({ do: "configured", revision: 2 }).isRefused({ refused: "not-found" });
  when({ do: "removed" }).happens(["RepositoryRemoved", {}]);
  const over = given(repository, [...ready, settled, gone, ["RepositoryRemoved", {}]]);
  assert.deepEqual([over.state.keys, nextOfRepository(over.state, NOW)], [[], undefined]);
  over.when({ do: "removed" }).isRefused({ rule: "overtaken" });
  assert.equal(nextOfRepository(given(repository, [created, gone]).state, NOW), undefined);
});

const SENTENCES: Readonly<Record<string, string>> = {
  RepositoryCreated: 'asked for the repository "stable"',
  RepositoryRetitled: 'titled it "Ours"',
  RepositoryChanged: "changed its comment and homepage",
  RepositoryBegun: "began to make it on the node local",
  RepositoryKeyAsked: "gave it another key",
  RepositoryKeyMade: `made its key ${KEY.fingerprint.slice(-16)}`,
  RepositoryKeyRefused: "did not take the key (NO_KEY): There is no secret key in it.",
  RepositoryKeyRetired: `ended its key ${KEY.fingerprint.slice(-16)}`,
  RepositoryMade: "made it",
  RepositoryConfigured: "let clients see it as asked at https://flatpak.example.org/repo/stable/",
  RepositoryFailed: "could not make it (TOOLS_MISSING): ostree is not installed.",
  RepositoryRetried: "asked for another try",
  RepositoryValidationAsked: "asked to have all of it checked",
  RepositoryValidated: "checked 43000 objects: all well",
  RepositoryPruneAsked: "asked to prune it",
  RepositoryMirrorAsked: "asked to follow app/org.example.Hello/x86_64/stable",
  RepositoryMirrored: "looked at the repository that it follows: 1 of 12 references are new",
  RepositoryPruned: "pruned it: 12 objects into quarantine, 0 deleted",
  RepositoryDeleted: 'deleted the repository "stable"',
  RepositoryRemoved: "destroyed its files and keys",
};

test("every event, as a person reads it", () => {
  const { repository: kind } = publishing.kinds;
  const told = Object.fromEntries(
    Object.entries(kind!.events).map(([type, { examples }]) => [type, sentenceOf(kind!, type, examples[1])]),
  );
  assert.deepEqual(told, SENTENCES);
});

test.run();
