/** Lanes: so many at once, by priority and age, one for each repository; summaries that serve all who waited. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { Coalesced, Gate, Lanes } from "./lanes.ts";

const test = suite("lanes");
const never = new AbortController().signal;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Enters one after another and notes who goes; `leave` ends one. */
function racing(lanes: Lanes) {
  const going = new Map<string, () => void>();
  const order: string[] = [];
  return {
    order,
    enter: (id: string, priority: number, since: number, key?: string, signal = never) =>
      lanes.enter({ id, priority, since, ...(key === undefined ? {} : { key }) }, signal).then((leave) => {
        order.push(id);
        going.set(id, leave);
      }),
    leave: async (id: string) => {
      going.get(id)!();
      await turn();
    },
  };
}

test("so many at once; then by priority, then by age; a priority changes while it waits", async () => {
  const lanes = new Lanes(1);
  const { order, enter, leave } = racing(lanes);
  for (const [id, priority, since] of [
    ["first", 0, 5],
    ["young", 0, 9],
    ["old", 0, 1],
    ["high", 9, 9],
    ["late", 0, 20],
  ] as const) {
    void enter(id, priority, since);
  }
  await turn();
  assert.deepEqual(order, ["first"]);
  lanes.prioritise("late", 100);
  for (const id of ["first", "late", "high", "old"]) await leave(id);
  assert.deepEqual(order, ["first", "late", "high", "old", "young"]);
  // Given back twice is given back once.
  await leave("young");
  await leave("young");
  for (const id of ["a", "b"]) void enter(id, 0, 0);
  await turn();
  assert.deepEqual(order.slice(5), ["a"]);
});

test("of one key one alone, and nobody else waits for it", async () => {
  const { order, enter, leave } = racing(new Lanes(2));
  void enter("one", 0, 1, "stable");
  void enter("two", 9, 2, "stable");
  void enter("other", 0, 3, "beta");
  await turn();
  assert.deepEqual(order, ["one", "other"]);
  await leave("other");
  assert.equal(order.length, 2);
  await leave("one");
  assert.deepEqual(order, ["one", "other", "two"]);
});

test("who gives up waiting leaves its place", async () => {
  const { order, enter, leave } = racing(new Lanes(1));
  const giving = new AbortController();
  await enter("one", 0, 1);
  const gone = enter("gone", 9, 2, undefined, giving.signal);
  void enter("two", 0, 3);
  giving.abort(new Error("cancelled"));
  await assert.rejects(gone, /cancelled/);
  await leave("one");
  assert.deepEqual(order, ["one", "two"]);
  await assert.rejects(enter("late", 0, 0, undefined, giving.signal), /cancelled/);
});

test("a summary serves all who asked before it began, and only those; one that fails fails for its own", async () => {
  const summaries = new Coalesced();
  const begun: Array<{ readonly end: (error?: Error) => void }> = [];
  const run = () =>
    summaries.run(
      "stable",
      () =>
        new Promise<void>((resolve, reject) => {
          begun.push({ end: (error) => (error === undefined ? resolve() : reject(error)) });
        }),
    );
  const first = run();
  const [second, third] = [run(), run()];
  assert.equal(begun.length, 1);
  begun[0]!.end(new Error("no disk"));
  await assert.rejects(first, /no disk/);
  await turn();
  assert.equal(begun.length, 2);
  const fourth = run();
  begun[1]!.end();
  await Promise.all([second, third]);
  await turn();
  assert.equal(begun.length, 3);
  begun[2]!.end();
  await fourth;
});

test("what yields is broken off by who is in a hurry, and ends with that one; nobody waits for what yields", async () => {
  const summaries = new Coalesced();
  const begun: Array<{ readonly end: () => void; readonly signal: AbortSignal | undefined }> = [];
  const act = (signal?: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      begun.push({ end: resolve, signal });
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  const ended: string[] = [];
  const run = (name: string, yields: boolean) =>
    summaries.run("stable", act, { yields }).then(() => {
      ended.push(name);
    });
  const patient = run("patient", true);
  const hasty = run("hasty", false);
  await turn();
  assert.deepEqual([begun.length, begun[0]!.signal?.aborted, begun[1]!.signal, ended], [2, true, undefined, []]);
  // One that yields breaks off nobody; and when somebody joins it before it has begun, it yields no longer.
  const late = run("late", true);
  const joined = run("joined", false);
  const other = run("other", true);
  begun[1]!.end();
  await turn();
  assert.deepEqual(ended.sort(), ["hasty", "patient"]);
  assert.deepEqual([begun.length, begun[2]!.signal], [3, undefined]);
  begun[2]!.end();
  await Promise.all([patient, hasty, late, joined, other]);
  assert.equal(begun.length, 3);
});

test("what is waited for before: others join meanwhile, and it is waited for no longer than it takes", async () => {
  const lanes = new Lanes(2);
  const [signal, coalesced] = [new AbortController().signal, new Coalesced()];
  let did = 0;
  const leave = await lanes.enter({ id: "a", priority: 0, since: 1, key: "r" }, signal);
  const waiting = lanes.enter({ id: "b", priority: 0, since: 2, key: "r" }, signal);
  await lanes.quiet("other", 1e6);
  const run = () => coalesced.run("r", async () => void did++, { ready: () => lanes.quiet("r", 1e6) });
  const all = [run(), run()];
  leave();
  const leaveToo = await waiting;
  all.push(run());
  await turn();
  assert.equal(did, 0);
  leaveToo();
  await Promise.all(all);
  assert.equal(did, 1);
  await run();
  assert.equal(did, 2);
  const last = await lanes.enter({ id: "c", priority: 0, since: 3, key: "r" }, signal);
  await lanes.quiet("r", 1);
  last();
});

test("together or alone, in the order of coming", async () => {
  const gate = new Gate();
  const did: string[] = [];
  const ends: (() => void)[] = [];
  const act = (name: string) => () =>
    new Promise<void>((end) => {
      did.push(name);
      ends.push(end);
    });
  const [a, b] = [gate.together(act("a")), gate.together(act("b"))];
  const c = gate.alone(act("c"));
  const [d, e] = [gate.together(act("d")), gate.together(() => Promise.reject(new Error("no")))];
  await turn();
  assert.deepEqual(did, ["a", "b"]);
  ends[0]!();
  await turn();
  assert.deepEqual(did, ["a", "b"]);
  ends[1]!();
  await Promise.all([a, b, turn()]);
  assert.deepEqual(did, ["a", "b", "c"]);
  ends[2]!();
  await c;
  await assert.rejects(e, /no/);
  assert.deepEqual(did, ["a", "b", "c", "d"]);
  ends[3]!();
  await d;
  assert.equal(await gate.alone(async () => 7), 7);
});

test.run();
