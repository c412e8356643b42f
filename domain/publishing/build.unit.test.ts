/** The rules of builds: uploaded, committed, published, seen; one publisher at a time; every event as a person reads it. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { given, ORGANISATION, sentenceOf, type Told, timeOf } from "../testing.ts";
import { build, expiryOfBuild, holdClaim, nextOfBuild, numberClaim, reviewClaim, uploadOfBuild } from "./build.ts";
import { publishing } from "./context.ts";

const test = suite("builds' rules");
const worker = "attic:1:a";
const REF = "app/org.example.Hello/x86_64/stable";
const COMMIT = "a".repeat(64);
const OURS = "b".repeat(64);
const LIVE = "c".repeat(64);
const repository = "rep_01kajzq4v0e8r9t2m5x7c3d6fg";
const asked = { number: 7, repository, source: { type: "upload" }, publicDownload: true, priority: 0 } as const;
const FAILURE = { code: "TOOL_FAILED", reason: "flatpak: no", fix: "Look." };

const created: Told = ["BuildCreated", asked];
const refs: Told = ["BuildRefsDeclared", { refs: [{ ref: REF, commit: COMMIT }] }];
const wantedAtOnce: Told = ["BuildCommitRequested", { publish: true }];
const wanted: Told = ["BuildCommitRequested", {}];
const begun = (step: string, attempt = 1, more = {}): Told => [
  "BuildStepBegun",
  { step, attempt, worker, node: "local", ...more },
];
const committed: Told = ["BuildCommitted", { refs: [{ ref: REF, commit: OURS }] }];
const READY = [created, refs, wanted, begun("commit"), committed];
const PUBLISHING: Told[] = [...READY, ["BuildPublishRequested", {}]];
const AT = "2026-11-21T08:30:00.000Z";
const LIVE_REFS: Told = ["BuildRefsPublished", { refs: [{ ref: REF, commit: LIVE }] }];
const PUBLISHED: Told[] = [...PUBLISHING, begun("publish", 1, { at: AT }), LIVE_REFS, ["BuildPublished", {}]];

test("begun with a number that nobody else has, or ever had", () => {
  const made = given(build, []).when({ do: "create", ...asked });
  made.happens(created);
  const own = { what: "build-own-number", value: `${ORGANISATION}/7`, hold: true };
  made.claims({ ...numberClaim(7), hold: true }, own);
  given(build, [created])
    .when({ do: "create", ...asked })
    .isRefused({ refused: "conflict" });
  const wrong = { ...asked, appId: "hello", logUrl: "ftp://x", priority: 101 };
  given(build, [])
    .when({ do: "create", ...wrong })
    .isRefused({ refused: "invalid", pointers: ["/body/appId", "/body/logUrl", "/body/priority"] });
  given(build, []).when({ do: "publish" }).isRefused({ refused: "not-found" });
});

test("references are named, once each, while it is open", () => {
  const { when } = given(build, [created]);
  when({
    do: "declareRefs",
    refs: [
      { ref: REF, commit: OURS },
      { ref: REF, commit: COMMIT },
    ],
  }).happens(refs);
  when({ do: "declareRefs", refs: [{ ref: "heads/x", commit: "1" }] }).isRefused({
    pointers: ["/body/refs/0/ref", "/body/refs/0/commit"],
  });
  given(build, [created, refs])
    .when({ do: "declareRefs", refs: [{ ref: REF, commit: COMMIT }] })
    .happens();
  given(build, READY)
    .when({ do: "declareRefs", refs: [{ ref: REF, commit: COMMIT }] })
    .isRefused({ rule: "not-uploading" });
  const many = Array.from({ length: 1_001 }, (_, i) => ({
    ref: `app/org.example.A${i}/x86_64/stable`,
    commit: COMMIT,
  }));
  when({ do: "declareRefs", refs: many }).isRefused({ pointers: ["/body/refs"] });
  when({ do: "addExtraIds", ids: ["org.example.B", "org.example.B"] }).happens([
    "BuildIdsAdded",
    { ids: ["org.example.B"] },
  ]);
});

test("committed, and published at once where that was asked for", () => {
  given(build, [created, refs, wantedAtOnce, begun("commit")])
    .when({ do: "committed", attempt: 1, worker, refs: [{ ref: REF, commit: COMMIT }] })
    .happens(["BuildCommitted", { refs: [{ ref: REF, commit: COMMIT }] }], ["BuildPublishRequested", {}]);
});

test("committed, at the time it was asked for; what is missing opens it again", () => {
  given(build, [created]).when({ do: "commit" }).isRefused({ rule: "no-refs" });
  const { state, when } = given(build, [created, refs, wanted]);
  assert.deepEqual([state.state, state.commitAt], ["committing", timeOf(2)]);
  assert.deepEqual(nextOfBuild(state), { do: { kind: "commit", attempt: 1 } });
  when({ do: "begin", step: "commit", attempt: 1, worker, node: "local" }).happens(begun("commit"));
  when({ do: "begin", step: "publish", attempt: 1, worker, node: "local" }).isRefused({ rule: "overtaken" });
  const under = given(build, [created, refs, wanted, begun("commit")]);
  under.when({ do: "begin", step: "commit", attempt: 2, worker, node: "attic" }).isRefused({ rule: "overtaken" });
  under.when({ do: "committed", attempt: 1, worker: "b", refs: [] }).isRefused({ rule: "overtaken" });
  under.when({ do: "committed", attempt: 1, worker, refs: [{ ref: REF, commit: OURS }] }).happens(committed);
  const missing = [`${COMMIT}.commit`];
  const again = under.when({ do: "incomplete", attempt: 1, worker, count: 1, missing });
  again.leads((after) => {
    assert.deepEqual([after.state, after.missing], ["uploading", { count: 1, names: missing }]);
    assert.equal(nextOfBuild(after), undefined);
  });
});

test("published in steps: intent with its time, references, seen, deltas after", () => {
  given(build, [created, refs]).when({ do: "publish" }).isRefused({ rule: "not-ready" });
  given(build, READY).when({ do: "publish" }).happens(["BuildPublishRequested", {}]);
  given(build, PUBLISHING).when({ do: "publish" }).isRefused({ rule: "not-ready" });
  const begin = { do: "begin", step: "publish", attempt: 1, worker, node: "local", at: AT } as const;
  given(build, PUBLISHING)
    .when(begin)
    .happens(begun("publish", 1, { at: AT }));
  // Another try has the time of the first: it makes the same commits.
  given(build, [...PUBLISHING, begun("publish", 1, { at: AT })])
    .when({ ...begin, attempt: 2, at: "2026-11-21T09:00:00.000Z" })
    .happens(begun("publish", 2, { at: AT }));
  const { state, when } = given(build, PUBLISHED);
  assert.deepEqual(
    [state.published, state.refs[0]],
    ["published", { ref: REF, commit: COMMIT, logUrl: null, committed: OURS, published: LIVE }],
  );
  assert.deepEqual(nextOfBuild(state), { do: { kind: "release", attempt: 1 } });
  const freed = given(build, [...PUBLISHED, ["BuildReleased", {}]]).state;
  assert.deepEqual(nextOfBuild(freed), { do: { kind: "deltas", attempt: 1 } });
  when({ do: "cancel" }).isRefused({ rule: "too-late" });
  const done = given(build, [...PUBLISHED, begun("deltas"), ["BuildDeltasMade", { made: 2 }]]);
  assert.equal(nextOfBuild(done.state), undefined);
  done.when({ do: "purge" }).happens(["BuildPurgeRequested", { why: "asked" }]);
});

test("what fails is tried again from where it stopped; what ends its publishers is given up", () => {
  const failed: Told = ["BuildFailed", { step: "publish", ...FAILURE }];
  given(build, [...PUBLISHING, begun("publish", 1, { at: AT })])
    .when({ do: "fail", step: "publish", attempt: 1, worker, failure: FAILURE })
    .happens(failed);
  const after = given(build, [...PUBLISHING, begun("publish", 1, { at: AT }), failed, ["BuildRetried", {}]]).state;
  assert.deepEqual(
    [after.published, after.publishAt, nextOfBuild(after)],
    ["publishing", AT, { do: { kind: "publish", attempt: 1 } }],
  );
  // Its time stays, unless another was published to the same reference since.
  const again = given(build, [...PUBLISHING, begun("publish", 1, { at: AT })]);
  const next = { do: "begin", step: "publish", attempt: 2, worker, node: "local" } as const;
  again.when(next).happens(begun("publish", 2, { at: AT }));
  const LATER = "2026-11-21T09:00:00.000Z";
  again.when({ ...next, at: LATER, anew: true }).happens(begun("publish", 2, { at: LATER }));
  const worn = given(build, [created, refs, wanted, begun("commit", 10)]).state;
  assert.deepEqual(nextOfBuild(worn), { do: { kind: "giveUp", step: "commit", attempt: 10 } });
  const { worker: by } = worn;
  given(build, [created, refs, wanted, begun("commit", 10)])
    .when({ do: "fail", step: "commit", attempt: 10, worker: by, failure: FAILURE })
    .happens(["BuildFailed", { step: "commit", ...FAILURE }]);
  given(build, READY).when({ do: "retry" }).isRefused({ rule: "not-failed" });
});

test("cancelled and purged: its files go; never while they are in use", () => {
  for (const story of [[created], [created, refs, wanted, begun("commit")], READY]) {
    given(build, story).when({ do: "cancel" }).happens(["BuildCancelled", {}]);
  }
  const cancelled: Told[] = [created, ["BuildCancelled", {}]];
  assert.deepEqual(nextOfBuild(given(build, cancelled).state), { do: { kind: "release", attempt: 1 } });
  assert.equal(nextOfBuild(given(build, [...cancelled, ["BuildReleased", {}]]).state), undefined);
  given(build, [created, refs, wanted]).when({ do: "purge" }).isRefused({ rule: "in-use" });
  given(build, PUBLISHING).when({ do: "purge" }).isRefused({ rule: "in-use" });
  const purging: Told[] = [...cancelled, ["BuildPurgeRequested", { why: "asked" }]];
  given(build, purging).when({ do: "purge" }).happens();
  assert.deepEqual(nextOfBuild(given(build, purging).state), { do: { kind: "purge", attempt: 1 } });
  given(build, purging).when({ do: "purged" }).happens(["BuildPurged", {}]);
  given(build, [...purging, ["BuildPurged", {}]])
    .when({ do: "cancel" })
    .isRefused({ rule: "too-late" });
});

test("kept for a time, then it goes by itself; never while something is done for it", () => {
  const day = 86_400_000;
  const { state } = given(build, [created]);
  const made = Date.parse(timeOf(0));
  assert.deepEqual(expiryOfBuild(state, made, 30 * day), { waitUntil: made + 30 * day });
  assert.deepEqual(expiryOfBuild(state, made + 30 * day, 30 * day), { do: { kind: "expire", attempt: 1 } });
  given(build, [created])
    .when({ do: "expire" })
    .happens(["BuildPurgeRequested", { why: "expired" }]);
  for (const story of [[created, refs, wanted], PUBLISHING, PUBLISHED]) {
    assert.equal(expiryOfBuild(given(build, story).state, made + 99 * day, day), undefined);
  }
});

test("its priority: what was seen counts, a publisher's work does not", () => {
  const { when } = given(build, PUBLISHED);
  when({ do: "change", priority: 10, seen: 1 }).happens(["BuildChanged", { priority: 10 }]);
  when({ do: "change", priority: 10, seen: 2 }).isRefused({ refused: "precondition" });
  when({ do: "change", priority: 0, logUrl: null }).happens();
});

test("what another build published: again, elsewhere, or taken away, at once; held while asked for", () => {
  const of = {
    ...asked,
    source: { type: "rollback", build: "bld_x" },
    refs: [{ ref: REF, commit: LIVE }],
    hold: "Why",
  } as const;
  const made = given(build, []).when({ do: "create", ...of });
  made.happens(["BuildCreated", of], ["BuildPublishRequested", {}]);
  const claim = holdClaim(repository, REF);
  assert.ok(
    "claims" in made.decision &&
      made.decision.claims!.some(({ what, value }) => what === claim.what && value === claim.value),
  );
  const story: Told[] = [
    ["BuildCreated", of],
    ["BuildPublishRequested", {}],
  ];
  const { state, when } = given(build, story);
  assert.deepEqual([state.state, state.published, state.isHeld], ["ready", "publishing", false]);
  assert.deepEqual(nextOfBuild(state), { do: { kind: "publish", attempt: 1 } });
  const released = when({ do: "releaseHold" });
  released.happens(["BuildHoldReleased", {}]);
  released.claims({ ...claim, hold: false });
  given(build, [...story, ["BuildHoldReleased", {}]])
    .when({ do: "releaseHold" })
    .happens();
  given(build, [])
    .when({ do: "create", ...of, refs: [] })
    .isRefused({ rule: "nothing-published" });
  given(build, [...story, begun("publish", 1, { at: AT })])
    .when({ do: "refsRemoved", attempt: 1, worker, refs: [REF] })
    .happens(["BuildRefsRemoved", { refs: [REF] }]);
});

test("somebody decides before it is published; what was decided is held by the build, and may be decided anew", () => {
  const change = { ref: REF, application: "org.example.Hello", set: "s1", added: ["filesystems=home"], removed: [] };
  const question = { why: "permissions", changes: [change] } as const;
  given(build, READY).when({ do: "approve", take: [] }).isRefused({ rule: "no-review" });
  given(build, READY)
    .when({ do: "askReview", ...question })
    .isRefused({ rule: "overtaken" });
  const ask = given(build, PUBLISHING).when({ do: "askReview", ...question });
  const reviewing: Told[] = [...PUBLISHING, ["BuildReviewAsked", question]];
  ask.happens(["BuildReviewAsked", question]);
  const { state, when } = given(build, reviewing);
  assert.deepEqual([state.published, nextOfBuild(state)], ["reviewing", undefined]);
  when({ do: "publish" }).isRefused({ rule: "not-ready" });
  when({ do: "cancel" }).happens(["BuildCancelled", {}]);
  when({ do: "approve", take: [], comment: "two\nlines" }).isRefused({ pointers: ["/body/comment"] });
  const approve = when({ do: "approve", take: ["s1"], comment: "Fine" });
  approve.happens(["BuildApproved", { comment: "Fine", sets: ["s1"] }]);
  approve.claims({ ...reviewClaim(repository, "s1"), hold: true });
  const approved = given(build, [...reviewing, ["BuildApproved", { comment: "Fine", sets: ["s1"] }]]);
  assert.deepEqual(nextOfBuild(approved.state), { do: { kind: "publish", attempt: 1 } });
  assert.equal(approved.state.publishAt, null, "its time is that of the decision, or later");
  approved.when({ do: "approve", take: [] }).happens();
  approved.when({ do: "reject", take: [] }).isRefused({ rule: "too-late" });
  // Rejected, and then all the same: it is published.
  when({ do: "reject", take: ["s1"] }).leads((after) => {
    assert.deepEqual([after.published, nextOfBuild(after)], ["rejected", undefined]);
  });
  const rejected = given(build, [...reviewing, ["BuildRejected", { sets: ["s1"] }]]);
  rejected.when({ do: "retry" }).isRefused({ rule: "not-failed" });
  rejected.when({ do: "publish" }).isRefused({ rule: "not-ready" });
  const after = rejected.when({ do: "approve", take: [] });
  after.happens(["BuildApproved", { sets: ["s1"] }]);
  after.leads(({ published }) => assert.equal(published, "publishing"));
  // Published long ago: what is remembered changes, and nothing else.
  const live = given(build, [
    ...PUBLISHED.slice(0, 6),
    ["BuildReviewAsked", question],
    ["BuildApproved", { sets: ["s1"] }],
  ]);
  assert.equal(live.state.published, "publishing");
  const late: Told[] = [...reviewing, ["BuildApproved", { sets: ["s1"] }], ...PUBLISHED.slice(6)];
  given(build, late)
    .when({ do: "reject", take: [] })
    .leads((now) => assert.deepEqual([now.published, now.review!.decision!.approved], ["published", false]));
  const recalled = { approved: false, build: "bld_x", changes: [change] };
  given(build, PUBLISHING)
    .when({ do: "recallReview", ...recalled })
    .leads((now) => assert.deepEqual([now.published, now.review!.decision!.remembered], ["rejected", "bld_x"]));
  given(build, PUBLISHING)
    .when({ do: "recallReview", ...recalled, approved: true })
    .leads((now) => assert.deepEqual(nextOfBuild(now), { do: { kind: "publish", attempt: 1 } }));
});

const SENTENCES: Readonly<Record<string, string>> = {
  BuildCreated: "began build 7 of org.example.Hello",
  BuildChanged: "gave it the priority 10",
  BuildRefsDeclared: `named ${REF}`,
  BuildIdsAdded: "named the id org.example.Hello.Extra",
  BuildCommitRequested: "asked for it to be committed",
  BuildStepBegun: "began to commit it",
  BuildFetched: "fetched 43 objects",
  BuildIncomplete: "found one object missing",
  BuildCommitted: `committed ${REF}`,
  BuildPublishRequested: "asked for it to be published",
  BuildReviewAsked: `asks somebody to decide: the permissions of ${REF} change`,
  BuildApproved: "approved of it: It opens documents now",
  BuildRejected: "rejected it: Why all files?",
  BuildReviewRecalled: "goes on: the same was approved with bld_01kajzq4v0e8r9t2m5x7c3d6fg",
  BuildRefsPublished: `put ${REF} into the repository`,
  BuildRefsRemoved: `took ${REF} out of the repository`,
  BuildHoldReleased: "lets others publish to its references again",
  BuildPublished: "published it",
  BuildDeltasMade: "made 2 static deltas",
  BuildFailed: "could not commit it (TOOLS_MISSING): flatpak is not installed.",
  BuildRetried: "asked for another try",
  BuildBuilt: "built app/org.example.Hello/x86_64/stable from 8f4b1c1f5f0c",
  BuildCancelled: "cancelled it",
  BuildPurgeRequested: "asked for its files to go",
  BuildReleased: "removed what it kept on the disk",
  BuildPurged: "purged it",
};

test("every event, as a person reads it", () => {
  const kind = publishing.kinds.build!;
  const told = Object.fromEntries(
    Object.entries(kind.events).map(([type, { examples }]) => [type, sentenceOf(kind, type, examples[1])]),
  );
  assert.deepEqual(told, SENTENCES);
});

test("of a manifest: queued, built by one publisher, committed from what came out; tried again from the start", () => {
  const source = {
    type: "manifest",
    manifest: "app.yml",
    git: { url: "https://example.org/x.git", ref: "main" },
  } as const;
  const start: Told = ["BuildCreated", { ...asked, source }];
  const begin: Told = ["BuildStepBegun", { step: "build", attempt: 1, worker: "w", node: "n" }];
  const { state } = given(build, [start]);
  assert.deepEqual([state.state, nextOfBuild(state)], ["queued", { do: { kind: "build", attempt: 1 } }]);
  const under = given(build, [start, begin]);
  assert.equal(under.state.state, "building");
  under.when({ do: "commit" }).isRefused({ rule: "not-uploading" });
  const facts = {
    ...{ source: "c", appId: "org.example.Hello", findings: [], permissions: [], used: [] },
    ...{
      ms: 1,
      memoryBytes: 1,
      diskBytes: 1,
      refs: [{ ref: "app/org.example.Hello/x86_64/stable", commit: "a".repeat(64) }],
    },
  };
  under.when({ do: "built", attempt: 1, worker: "other", ...facts }).isRefused({ rule: "overtaken" });
  under.when({ do: "built", attempt: 1, worker: "w", ...facts }).happens(["BuildBuilt", facts]);
  const made = given(build, [start, begin, ["BuildBuilt", facts]]).state;
  assert.deepEqual(
    [made.state, made.refs.length, nextOfBuild(made)],
    ["committing", 1, { do: { kind: "commit", attempt: 1 } }],
  );
  const failure = { step: "build", code: "BUILD_FAILED", reason: "r", fix: "f" };
  assert.equal(given(build, [start, begin, ["BuildFailed", failure], ["BuildRetried", {}]]).state.state, "queued");
  const upload = { id: "upl_01kajzq4v0e8r9t2m5x7c3d6fg", sha256: "d".repeat(64), node: "n" };
  const uploaded: Told = ["BuildCreated", { ...asked, source: { type: "manifest", manifest: "app.yml", upload } }];
  const needed = [[uploaded], [uploaded, begin], [uploaded, begin, ["BuildFailed", failure] as Told]];
  for (const told of needed) assert.deepEqual(uploadOfBuild(given(build, told).state), upload);
  for (const told of [[uploaded, begin, ["BuildBuilt", facts] as Told], [start], [created]]) {
    assert.equal(uploadOfBuild(given(build, told).state), undefined);
  }
  const { git } = source;
  const credentials = { secret: "sec_01kajzq4v0e8r9t2m5x7c3d6fg", kind: "token" };
  const create = (more: object) =>
    ({ do: "create", ...asked, source: { ...source, git: { ...git, ...more } } }) as never;
  given(build, [])
    .when(create({ credentials }))
    .happens(["BuildCreated", { ...asked, source: { ...source, git: { ...git, credentials } } }]);
  given(build, [])
    .when(create({ credentials, url: "http://h/x" }))
    .isRefused({ rule: "credentials-in-clear" });
  for (const wrong of [
    { git: { ...git, url: "https://u:secret@example.org/x.git" } },
    { git: { ...git, credentials: { ...credentials, kind: "ssh-key" } } },
    { git: { ...git, credentials: { ...credentials, secret: "x" } } },
    { manifest: "/app.yml" },
    { git: undefined },
    { arches: ["x86_64", "x86_64"] },
    { needs: ["7"] },
  ]) {
    const command = { do: "create", ...asked, source: { ...source, ...wrong } } as never;
    given(build, []).when(command).isRefused({ refused: "invalid" });
  }
});

test.run();
