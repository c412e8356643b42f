/** Processes: what they note, decide on and settle; and the one that lets changes follow deployments. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { given, sentenceOf, type Told, timeOf } from "../testing.ts";
import { changeFollowsDeployment } from "./change-follows-deployment.ts";
import { nextOfProcess, process, processKind } from "./process.ts";
import type { ProcessType, Settled } from "./process-type.ts";

const test = suite("processes");

/** Adds numbers up; at ten it comments, and waits a second before it does so again. */
const adder: ProcessType<{ sum: number; due: number | null }, number> = {
  name: "adder",
  summary: "Adds up",
  hears: { work: { item: ["ItemOpened"] } },
  from: "now",
  correlate: ({ organisation }) => [{ key: organisation, note: 1 }],
  initial: { sum: 0, due: null },
  note: ({ sum, due }, note, at) => ({ sum: sum + note, due: due ?? at + 1_000 }),
  next: ({ sum, due }, now) => {
    if (sum < 10 || due === null) return undefined;
    return due > now
      ? { waitUntil: due }
      : { step: "say", action: "work.writeComment", on: "itm", body: { text: `${sum}` } };
  },
  settled: (memory, _step, outcome, at) =>
    "refused" in outcome ? { ...memory, due: at + 5_000 } : { sum: 0, due: null },
};
const types = { adder };
const kind = processKind(types);
const next = nextOfProcess(types);

const note = { type: "adder", key: "k", context: "work", atMs: 1_000, late: false, events: ["ItemOpened"] } as const;
const cause = { correlation: "c", causation: "d", hops: 0 };
const { type: _, key: __, ...heardData } = note;
const began: Told = ["ProcessBegan", { type: "adder", key: "k" }];
const heard = (seq: number, notes: number[], late = false): Told => [
  "EventHeard",
  { ...heardData, seq, notes, late, ...cause },
];
const id = "prc_01kajzq4v0e8r9t2m5x7c3d6fg";

test("an event is noted once, however often it is told; also one that comes late", () => {
  given(kind, [])
    .when({ do: "note", ...note, ...cause, seq: 5, notes: [3] })
    .happens(began, heard(5, [3]));
  given(kind, [began, heard(5, [3])])
    .when({ do: "note", ...note, ...cause, seq: 5, notes: [3] })
    .happens();
  given(kind, [began, heard(5, [3])])
    .when({ do: "note", ...note, ...cause, seq: 4, notes: [3] })
    .happens();
  given(kind, [began, heard(5, [3])])
    .when({ do: "note", ...note, ...cause, context: "applications", seq: 4, notes: [3] })
    .leads((state) => assert.deepEqual([state.memory.sum, state.noted], [6, { work: 5, applications: 4 }]));
  given(kind, [began, heard(5, [3])])
    .when({ do: "note", ...note, ...cause, seq: 4, late: true, notes: [3] })
    .happens(heard(4, [3], true));
  given(kind, [began, heard(5, [3]), heard(4, [3], true)])
    .when({ do: "note", ...note, ...cause, seq: 4, late: true, notes: [3] })
    .happens();
  given(kind, [])
    .when({ do: "note", ...note, ...cause, type: "other", seq: 5, notes: [3] })
    .isRefused({ rule: "unknown-type" });
});

test("what is decided has an id made of the version, is issued until it is settled, and only then comes the next", () => {
  const full = [began, heard(5, [10])];
  const { state } = given(kind, full);
  assert.deepEqual(next(state, 1_500), { waitUntil: 2_000 });
  const step = { step: "say", action: "work.writeComment", on: "itm", body: { text: "10" } } as const;
  assert.deepEqual(next(state, 2_000), { do: { decide: step, version: 2 } });
  const decided: Told = ["CommandDecided", { ...step, command: `${id}.3` }];
  given(kind, full)
    .when({ do: "decide", version: 2, ...step })
    .happens(decided);
  given(kind, full)
    .when({ do: "decide", version: 1, ...step })
    .isRefused({ rule: "overtaken" });
  const pending = given(kind, [...full, decided, heard(6, [1])]).state;
  assert.deepEqual(next(pending, 0), {
    do: { issue: { ...step, command: `${id}.3`, ...cause, since: timeOf(2) } },
  });
  given(kind, [...full, decided])
    .when({ do: "decide", version: 3, ...step })
    .isRefused({ rule: "overtaken" });
  const subject = { context: "work", kind: "item", id: "itm" };
  const done: Told = ["CommandDone", { step: "say", command: `${id}.3`, subject }];
  given(kind, [...full, decided])
    .when({ do: "settle", command: `${id}.3`, outcome: { done: subject } })
    .happens(done);
  given(kind, [...full, decided, done])
    .when({ do: "settle", command: `${id}.3`, outcome: { done: subject } })
    .isRefused({ rule: "overtaken" });
  assert.equal(next(given(kind, [...full, decided, done]).state, 9_000_000), undefined);
});

test("a refusal is noted, and the type says what then", () => {
  const step = { step: "say", action: "work.writeComment", on: "itm" } as const;
  const decided: Told = ["CommandDecided", { ...step, command: `${id}.3` }];
  const outcome: Settled = { refused: "not-found", reason: "There is no such item." };
  given(kind, [began, heard(5, [10]), decided])
    .when({ do: "settle", command: `${id}.3`, outcome })
    .happens(["CommandRefused", { step: "say", command: `${id}.3`, ...outcome }]);
  given(kind, [began, heard(5, [10]), decided])
    .when({ do: "settle", command: `${id}.3`, outcome })
    .leads((after) => assert.deepEqual(next(after, 0), { waitUntil: Date.parse(timeOf(3)) + 5_000 }));
});

test("a process of a type that this release does not know is left as it is", () => {
  const other = nextOfProcess({});
  assert.equal(other(given(kind, [began, heard(5, [10])]).state, 9_000_000), undefined);
});

test("each event as a person reads it", () => {
  const said = Object.entries(process.events).map(([type, { examples }]) => sentenceOf(process, type, examples[1]));
  assert.deepEqual(said, [
    "began the process change-follows-deployment for app_01kajzq4v0e8r9t2m5x7c3d6fg",
    "heard DeploymentSucceeded of applications",
    "decided on work.changeLine of itm_01kajzq4v0e8r9t2m5x7c3d6fg",
    "did it to itm_01kajzq4v0e8r9t2m5x7c3d6fg",
    "was refused: There is no such item.",
  ]);
});

const { note: tell, next: then, settled, initial } = changeFollowsDeployment;
type Memory = typeof initial;
const told = (...notes: ReadonlyArray<readonly [note: any, at: number]>): Memory =>
  notes.reduce((memory, [one, at]) => tell(memory, one, at), initial);
const ended = (deployment: string, commit: string | null, failed = false) => ({
  outcome: {
    deployment,
    application: "app",
    name: "site",
    seq: 3,
    commit,
    problem: failed ? { phase: "BUILDING", code: "BUILD_FAILED", message: "No.", fix: "Look." } : null,
  },
});
const steps = (memory: Memory): string[] => memory.steps.map(({ step }: { step: string }) => step);

test("a verified deployment ticks the changes that wait for its commit, and no others", () => {
  const memory = told(
    [{ item: "a", commit: "8f1b2c3" }, 1],
    [{ item: "b", commit: null }, 2],
    [{ item: "c", commit: "999" }, 3],
    [{ item: "d", commit: null }, 4],
    [{ item: "d" }, 5],
    [ended("dep", "8f1b2c3d4e"), 6],
  );
  assert.deepEqual(steps(memory), ["tick a dep", "tick b dep"]);
  assert.deepEqual(then(memory, 0), {
    step: "tick a dep",
    action: "work.changeLine",
    on: "a",
    body: { line: "deployed", done: true },
  });
  const after = settled(memory, "tick a dep", { refused: "not-found", reason: "" }, 7);
  assert.deepEqual(steps(after), ["tick b dep"]);
});

test("a failed one opens one incident for all that wait, and none where nobody does", () => {
  assert.deepEqual(steps(told([ended("dep", "8f1", true), 1])), []);
  const memory = told(
    [{ item: "a", commit: "8f1b2c3" }, 1],
    [{ item: "b", commit: null }, 1],
    [ended("dep", "8f1b2c3d4e5f60", true), 2],
  );
  assert.deepEqual(steps(memory), ["incident dep"]);
  const { body, action } = then(memory, 0) as { body: any; action: string };
  assert.deepEqual(
    [action, body.type, body.title, body.links.map(({ id }: { id: string }) => id)],
    ["work.openItem", "incident", "Deployment 3 of site failed", ["dep", "app", "a", "b"]],
  );
  assert.match(body.description, /of commit 8f1b2c3d4e5f failed in BUILDING: No\./);
});

test("contexts are heard in no order: a link that is told after the deployment it waited for counts", () => {
  assert.deepEqual(steps(told([ended("dep", "8f1"), 5], [{ item: "a", commit: null }, 4])), ["tick a dep"]);
  assert.deepEqual(steps(told([ended("dep", "8f1"), 5], [{ item: "a", commit: null }, 6])), []);
  assert.deepEqual(steps(told([ended("dep", "8f1"), 5], [{ item: "a", commit: "8f1" }, 6])), ["tick a dep"]);
  const late = told(
    [{ item: "a", commit: null }, 1],
    [ended("dep", "8f1", true), 5],
    [{ item: "b", commit: null }, 4],
    [{ item: "b", commit: null }, 6],
  );
  assert.deepEqual(steps(late), ["incident dep"]);
});

test.run();
