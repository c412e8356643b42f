/** The rules of mirrors: what one may be asked, when it looks, what it takes, what becomes of it. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { given, type Told, timeOf } from "../testing.ts";
import { build, nextOfBuild } from "./build.ts";
import { type BuildFate, matches, roundOf } from "./mirror.ts";
import { nextOfRepository, repository } from "./repository.ts";

const test = suite("mirrors' rules");
const worker = "attic:1:a";
const PUBLIC = "mDMEZ".padEnd(48, "A");
const mirror = { url: "https://example.org/repo/", gpgKeys: [PUBLIC] } as const;
const HELLO = "app/org.example.Hello/x86_64/stable";
const LOCALE = "runtime/org.example.Hello.Locale/x86_64/stable";
const OTHER = "app/org.other.App/x86_64/stable";
const [ONE, TWO] = ["1".repeat(64), "2".repeat(64)];
const SEALED = { v: 1, key: "k", subject: "rep_01kajzq4v0e8r9t2m5x7c3d6fg", iv: "AA", data: "AA" } as const;
const made = (spec: object): Told[] => [
  ["RepositoryCreated", { name: "hub", mirror: { ...mirror, ...spec } }],
  ["RepositoryBegun", { node: "local", attempt: 1, worker }],
  ["RepositoryKeyMade", { fingerprint: "9F3C", user: "Ours", publicKey: "AA", sealed: SEALED }],
  ["RepositoryMade", { attempt: 1 }],
  ["RepositoryConfigured", { revision: 2 }],
];
const looked = (more = {}): Told => [
  "RepositoryMirrored",
  {
    ...{ by: "schedule", request: 0, refs: 1, waiting: 0, more: 0, found: 0, findings: [], over: [], related: [] },
    taken: [{ ref: HELLO, commit: ONE, at: 100, build: "bld_a" }],
    ...more,
  },
];

test("keys, or said to be unsigned; never a secret one; addresses and patterns that are some", () => {
  const { when } = given(repository, []);
  const refused = (spec: object, ...pointers: string[]) =>
    when({ do: "create", name: "hub", mirror: { url: mirror.url, ...spec } as never }).isRefused({ pointers });
  refused({}, "/body/mirror/gpgKeys");
  refused({ gpgKeys: [PUBLIC], allowUnsigned: true }, "/body/mirror/allowUnsigned");
  refused({ gpgKeys: ["lFgEZ".padEnd(48, "A")] }, "/body/mirror/gpgKeys/0");
  refused({ gpgKeys: ["-----BEGIN PGP PRIVATE KEY BLOCK-----\nlFgEZAAAAAAA"] }, "/body/mirror/gpgKeys/0");
  refused({ url: "https://user:secret@example.org/", allowUnsigned: true }, "/body/mirror/url");
  refused(
    { allowUnsigned: true, refs: ["app/x"], everyMinutes: 1 },
    "/body/mirror/refs/0",
    "/body/mirror/everyMinutes",
  );
  when({ do: "create", name: "hub", mirror }).happens(["RepositoryCreated", { name: "hub", mirror }]);
});

test("looked at at once, then by its time, or when somebody asks; the rest half a minute later", () => {
  const due = (story: Told[], at: number) => nextOfRepository(given(repository, story).state, Date.parse(timeOf(at)));
  const look = { do: { kind: "mirror", request: 0, by: "schedule" } };
  assert.deepEqual(due(made({}), 4), look);
  assert.deepEqual(due([...made({}), looked()], 6), { waitUntil: Date.parse(timeOf(65)) });
  assert.deepEqual(due([...made({ everyMinutes: 5 }), looked()], 10), look);
  assert.deepEqual(due([...made({}), looked({ more: 3 })], 5), { waitUntil: Date.parse(timeOf(5)) + 30_000 });
  const asked: Told[] = [...made({}), looked(), ["RepositoryMirrorAsked", { refs: [] }]];
  assert.deepEqual(due(asked, 6), { do: { kind: "mirror", request: 1, by: "command" } });
  given(repository, asked).when({ do: "mirror" }).happens();
  given(repository, made({}))
    .when({ do: "mirror", refs: [HELLO, HELLO] })
    .happens(["RepositoryMirrorAsked", { refs: [HELLO] }]);
  given(repository, made({ refs: ["app/org.other.*/x86_64/*"] }))
    .when({ do: "mirror", refs: [OTHER, HELLO] })
    .isRefused({ pointers: ["/body/refs/1"] });
  given(repository, [["RepositoryCreated", { name: "a" }], ...made({}).slice(1)])
    .when({ do: "mirror" })
    .isRefused({ rule: "no-mirror" });
  // Another address: at once; what was taken stays known.
  const moved: Told[] = [
    ...made({}),
    looked(),
    ["RepositoryChanged", { mirror: { ...mirror, url: "https://b.org/" } }],
    ["RepositoryConfigured", { revision: 3 }],
  ];
  assert.deepEqual(due(moved, 8), look);
  assert.deepEqual(Object.keys(given(repository, moved).state.mirroring.taken), [HELLO]);
});

test("patterns: a star is anything within its part, in no time", () => {
  assert.ok(matches("app/org.*/x86_64/*", HELLO));
  assert.ok(matches("*/*.Hello*/*/st*le", LOCALE));
  assert.ok(!matches("app/*/x86_64/beta", HELLO));
  assert.ok(!matches("app/*/stable", HELLO));
  assert.ok(!matches(`app/${"a*".repeat(100)}b/x86_64/stable`, `app/${"a".repeat(250)}/x86_64/stable`));
});

test("what is new, by application; while one is under way it waits; what failed is tried again or replaced", () => {
  const offered = new Map([HELLO, LOCALE, OTHER].map((ref) => [ref, ONE]));
  const round = (taken: object, fates: Record<string, BuildFate> = {}, spec = {}, wanted: string[] = []) =>
    roundOf({ ...mirror, ...spec }, { taken: taken as never, wanted }, offered, new Map(Object.entries(fates)));
  const one = (ref: string) => ({ ref, commit: ONE });
  const hello = { application: "org.example.Hello", refs: [one(HELLO), one(LOCALE)] };
  const other = { application: "org.other.App", refs: [one(OTHER)] };
  assert.deepEqual(round({}).groups, [hello, other]);
  const all = (commit: string) =>
    Object.fromEntries([HELLO, LOCALE, OTHER].map((ref) => [ref, { commit, at: 1, build: ref === OTHER ? "o" : "h" }]));
  assert.deepEqual(round(all(ONE)).groups, []);
  assert.deepEqual(round(all(TWO)).groups, [hello, other]);
  const waiting = round(all(TWO), { h: "open" });
  assert.deepEqual([waiting.groups, waiting.waiting], [[other], 1]);
  const failed = round(all(ONE), { h: "failed" });
  assert.deepEqual([failed.groups, failed.retried, failed.replaced], [[], ["h"], []]);
  const newer = round(all(TWO), { h: "failed" });
  assert.deepEqual([newer.groups, newer.retried, newer.replaced], [[hello, other], [], ["h"]]);
  assert.deepEqual(round(all(ONE), { o: "lost" }).groups, [other]);
  const asked = round({}, {}, { follow: "asked" }, [OTHER, "app/org.none.None/x86_64/stable"]);
  assert.deepEqual([asked.groups, asked.missing], [[other], ["app/org.none.None/x86_64/stable"]]);
  const lost = round({ "app/org.was.There/x86_64/stable": { commit: ONE, at: 1, build: "w" } });
  assert.deepEqual(lost.gone, ["app/org.was.There/x86_64/stable"]);
});

test("a build of a mirror: fetched by one publisher, committed at that time, published by itself", () => {
  const asked = {
    ...{ number: 7, repository: "rep_x", publicDownload: false, priority: -10 },
    source: { type: "mirror", url: mirror.url },
    refs: [{ ref: HELLO, commit: ONE }],
  } as const;
  const created: Told = ["BuildCreated", asked];
  given(build, [])
    .when({ do: "create", ...asked })
    .happens(created);
  given(build, [])
    .when({ do: "create", ...asked, refs: [{ ref: "x", commit: "y" }] })
    .isRefused({ pointers: ["/body/refs/0/ref", "/body/refs/0/commit"] });
  const { state, when } = given(build, [created]);
  assert.deepEqual([state.state, nextOfBuild(state)], ["queued", { do: { kind: "fetch", attempt: 1 } }]);
  when({ do: "declareRefs", refs: [] }).isRefused({ rule: "not-uploading" });
  const begun: Told = ["BuildStepBegun", { step: "fetch", attempt: 1, worker, node: "local" }];
  when({ do: "begin", step: "fetch", attempt: 1, worker, node: "local" }).happens(begun);
  const under = given(build, [created, begun]);
  under.when({ do: "fetched", attempt: 1, worker: "b", objects: 1, bytes: 1 }).isRefused({ rule: "overtaken" });
  under
    .when({ do: "fetched", attempt: 1, worker, objects: 3, bytes: 9 })
    .happens(["BuildFetched", { objects: 3, bytes: 9 }]);
  const fetched: Told[] = [created, begun, ["BuildFetched", { objects: 3, bytes: 9 }]];
  const after = given(build, fetched).state;
  assert.deepEqual([after.state, after.commitAt, nextOfBuild(after)?.do.kind], ["committing", timeOf(2), "commit"]);
  given(build, [...fetched, ["BuildStepBegun", { step: "commit", attempt: 1, worker, node: "local" }]])
    .when({ do: "committed", attempt: 1, worker, refs: [{ ref: HELLO, commit: TWO }] })
    .happens(["BuildCommitted", { refs: [{ ref: HELLO, commit: TWO }] }], ["BuildPublishRequested", {}]);
  const failure = { code: "UPSTREAM_AWAY", reason: "r", fix: "f" };
  const failed: Told = ["BuildFailed", { step: "fetch", ...failure }];
  under.when({ do: "fail", step: "fetch", attempt: 1, worker, failure }).happens(failed);
  const again = given(build, [created, begun, failed, ["BuildRetried", {}]]).state;
  assert.deepEqual(nextOfBuild(again), { do: { kind: "fetch", attempt: 1 } });
});

test.run();
