/** The rules of what concerns many devices: bulk operations, roll-outs in stages, profiles that change, scans. */
import assert from "node:assert/strict";
import { LIMITS, type Outcome } from "@millrace/contracts/devices/values.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import * as fc from "fast-check";
import { suite } from "../../tests/harness/suite.ts";
import { isRefusal } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { ada, given, ORGANISATION, type Told, timeOf } from "../testing.ts";
import { type BulkState, bulk, endedOf, failedOf, nextOfBulk, resultAt } from "./bulk.ts";
import { nextOfProfile, profile } from "./profile.ts";
import { nextOfRollout, type RolloutState, rollout, stageOf, stageSizes } from "./rollout.ts";
import { inputOf, nextOfScan, rangeOf, scan } from "./scan.ts";
import { wished } from "./wish.ts";

const test = suite("operations on many devices");

const idOf = (prefix: string, n: number): string => makeId(prefix, n, new Uint8Array(10));
const devices = (count: number): string[] => Array.from({ length: count }, (_, i) => idOf("dev", i + 1));
const worker = "attic:1:a";

/** An aggregate by its commands, at a time of one's own. @returns the name of the rule that refused */
class Run<S> {
  state: S;
  now = Date.parse(timeOf(0));
  readonly #kind: Kind<S>;
  constructor(kind: Kind<S>) {
    this.#kind = kind;
    this.state = kind.decider.initial(idOf(kind.prefix, 1));
  }
  do(command: unknown): string | undefined {
    const now = new Date(this.now).toISOString();
    const decision = this.#kind.decider.decide(command, this.state, { organisation: ORGANISATION, actor: ada, now });
    if (isRefusal(decision)) return decision.refused === "rule" ? decision.rule : decision.refused;
    const meta = { organisation: ORGANISATION, actor: ada, time: now };
    for (const event of decision.events) this.state = this.#kind.decider.evolve(this.state, event, meta);
    return undefined;
  }
}

const BULK = { asked: { kind: "read" }, atOnce: 3, haltAtPercent: 20, expiresInMs: 60_000 } as const;

function started(count: number, more: object = {}): Run<BulkState> {
  const run = new Run(bulk);
  assert.equal(run.do({ do: "request", ...BULK, devices: devices(count), ...more }), undefined);
  return run;
}

/** Asks as long as it may. */
function fill(run: Run<BulkState>): void {
  for (let next = nextOfBulk(run.state); next?.do.kind === "ask"; next = nextOfBulk(run.state)) {
    const { device } = next.do;
    assert.equal(run.do({ do: "ask", device, task: idOf("tsk", run.state.cursor + 1) }), undefined);
  }
}

function settle(run: Run<BulkState>, outcome: Outcome): void {
  const [device, task] = Object.entries(run.state.running)[0]!;
  assert.equal(run.do({ do: "settle", device, task, outcome }), undefined);
}

test("at most so many at once, each device once, and an end when all have ended", () => {
  const run = started(7);
  fill(run);
  assert.deepEqual([Object.keys(run.state.running).length, run.state.cursor], [3, 3]);
  assert.equal(run.do({ do: "ask", device: devices(7)[3], task: idOf("tsk", 9) }), "overtaken");
  assert.equal(run.do({ do: "complete" }), "overtaken");
  while (endedOf(run.state.counts) < 7) {
    settle(run, "succeeded");
    fill(run);
  }
  assert.deepEqual(nextOfBulk(run.state), { do: { kind: "complete" } });
  // An end that is told twice counts once.
  assert.equal(run.do({ do: "settle", device: devices(7)[0], task: idOf("tsk", 1), outcome: "failed" }), undefined);
  assert.equal(run.do({ do: "complete" }), undefined);
  assert.deepEqual([run.state.state, run.state.counts.succeeded, nextOfBulk(run.state)], ["completed", 7, undefined]);
  assert.equal(run.do({ do: "pause" }), "bulk-over");
});

test("too many failures halt it; resumed, it counts anew", () => {
  const run = started(20);
  fill(run);
  settle(run, "failed");
  assert.equal(run.state.state, "running");
  settle(run, "expired");
  assert.equal(run.state.state, "halted");
  assert.deepEqual([nextOfBulk(run.state), run.state.failures.length], [undefined, 2]);
  run.do({ do: "resume" });
  fill(run);
  settle(run, "failed");
  assert.equal(run.state.state, "running");
  const patient = started(20, { haltAtPercent: 100 });
  for (let i = 0; i < 20; i++) {
    fill(patient);
    settle(patient, "failed");
  }
  assert.equal(patient.do({ do: "complete" }), undefined);
  assert.equal(patient.state.counts.failed, 20);
});

test("paused it asks nothing, cancelled nothing more, and what is under way ends first", () => {
  const run = started(9);
  fill(run);
  run.do({ do: "pause" });
  settle(run, "succeeded");
  assert.equal(nextOfBulk(run.state), undefined);
  run.do({ do: "resume" });
  assert.equal(run.do({ do: "refuse", device: devices(9)[3], reason: "There is no such device." }), undefined);
  run.do({ do: "cancel" });
  assert.equal(nextOfBulk(run.state), undefined);
  settle(run, "succeeded");
  settle(run, "cancelled");
  assert.equal(run.do({ do: "complete" }), undefined);
  const { counts, state } = run.state;
  assert.deepEqual([state, counts.succeeded, counts.cancelled, counts.refused], ["cancelled", 2, 1, 1]);
});

test("what a selection finds is settled when it begins; paused or cancelled before that, nothing is looked for", () => {
  const select = { where: { tag: "floor/1" } };
  const asked = given(bulk, []).when({ do: "request", ...BULK, devices: [], select });
  asked.leads((state) => assert.deepEqual(nextOfBulk(state), { do: { kind: "select" } }));
  const requested: Told = ["BulkRequested", { ...BULK, devices: [], select }];
  const [a, b] = devices(2);
  const { when } = given(bulk, [requested]);
  when({ do: "select", devices: [b!, a!, b!] }).happens(["BulkDevicesSelected", { devices: [a!, b!].sort() }]);
  const found = given(bulk, [requested, ["BulkDevicesSelected", { devices: [a!, b!] }]]);
  found.when({ do: "select", devices: [a!] }).isRefused({ rule: "overtaken" });
  assert.deepEqual(nextOfBulk(found.state), { do: { kind: "ask", device: a } });
  assert.deepEqual(nextOfBulk(given(bulk, [requested, ["BulkDevicesSelected", { devices: [] }]]).state), {
    do: { kind: "complete" },
  });
  assert.equal(nextOfBulk(given(bulk, [requested, ["BulkPaused", {}]]).state), undefined);
  assert.deepEqual(nextOfBulk(given(bulk, [requested, ["BulkCancellationRequested", {}]]).state), {
    do: { kind: "complete" },
  });
});

test("a wish for many: device by device, each with what came of it; refusals halt it", () => {
  const asked = { kind: "configure", dryRun: false, addTags: ["winter"] } as const;
  const run = started(12, { asked, haltAtPercent: 20 });
  const all = devices(12);
  const turn = () => {
    const next = nextOfBulk(run.state)?.do;
    return next?.kind === "configure" ? next.device : undefined;
  };
  assert.equal(run.do({ do: "ask", device: all[0], task: idOf("tsk", 1) }), "overtaken");
  assert.equal(run.do({ do: "configured", device: all[1], changed: true }), "overtaken");
  for (const changed of [true, false]) assert.equal(run.do({ do: "configured", device: turn(), changed }), undefined);
  run.do({ do: "pause" });
  assert.equal(turn(), undefined);
  run.do({ do: "resume" });
  for (const _ of [1, 2])
    assert.equal(run.do({ do: "refuse", device: turn(), reason: "It lacks a value." }), undefined);
  assert.deepEqual([run.state.state, turn()], ["halted", undefined]);
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((at) => resultAt(run.state, at)),
    ["succeeded", "unchanged", "refused", "refused", "waiting"],
  );
  run.do({ do: "resume" });
  run.do({ do: "configured", device: turn(), changed: true });
  run.do({ do: "cancel" });
  assert.equal(run.do({ do: "complete" }), undefined);
  assert.deepEqual([run.state.state, run.state.counts.succeeded, run.state.counts.refused], ["cancelled", 3, 2]);
  const wish = (more: object) =>
    given(bulk, []).when({
      do: "request",
      ...BULK,
      devices: all,
      asked: { kind: "configure", dryRun: false, ...more },
    });
  wish({}).isRefused({ pointers: ["/body/action"] });
  wish({ addTags: ["a"], removeTags: ["a"] }).isRefused({ pointers: ["/body/action/removeTags"] });
  wish({ configuration: { wifi: { sta: { pass: "clear" } } } }).isRefused({
    pointers: ["/body/action/configuration/wifi/sta/pass"],
  });
});

test("what a wish comes to for one device", () => {
  const had = {
    configuration: { "switch:0": { auto_off: true, name: "Lamp" }, sys: { device: { name: "x" } } },
    profiles: ["prf_1", "prf_2"],
    values: { room: "Hall", floor: 1 },
    tags: ["a"],
    groups: [],
  };
  const wish = {
    configuration: { "switch:0": { name: null }, wifi: {} },
    forget: ["switch:0/auto_off", "sys", "kvs/none"],
    addProfiles: ["prf_1", "prf_3"],
    removeProfiles: ["prf_2"],
    values: { floor: 2 },
    addTags: ["b", "a"],
  };
  assert.deepEqual(wished(had, wish), {
    configuration: { "switch:0": { name: null }, wifi: {} },
    profiles: ["prf_1", "prf_3"],
    values: { room: "Hall", floor: 2 },
    tags: ["a", "b"],
  });
  assert.deepEqual(wished({ ...had, configuration: null }, { forget: ["sys"] }), { configuration: null });
});

test("a roll-out by a selection: its stages are counted when it is settled; one that finds nothing is over", () => {
  const run = new Run(rollout);
  const spec = { name: "night", firmware: {}, soakMs: 0, haltAtPercent: 20, atOnce: 5, expiresInMs: 60_000 };
  const start = { do: "start", ...spec, devices: [], stages: [], select: { where: { outdated: true } } };
  assert.equal(run.do({ ...start, stagesAsked: [{ devices: 2 }, { percent: 50 }] }), undefined);
  assert.deepEqual(nextOfRollout(run.state, run.now), { do: { kind: "select" } });
  assert.equal(run.do({ do: "beginStage", stage: 0, bulk: idOf("blk", 1) }), "overtaken");
  run.do({ do: "pause" });
  assert.equal(nextOfRollout(run.state, run.now), undefined);
  run.do({ do: "resume" });
  assert.equal(run.do({ do: "select", devices: devices(10) }), undefined);
  assert.deepEqual([run.state.spec?.stages, run.do({ do: "select", devices: [] })], [[2, 3, 5], "overtaken"]);
  assert.deepEqual(nextOfRollout(run.state, run.now), { do: { kind: "stage", stage: 0 } });
  const none = new Run(rollout);
  none.do(start);
  none.do({ do: "select", devices: [] });
  assert.deepEqual([none.state.state, nextOfRollout(none.state, none.now)], ["completed", undefined]);
});

test("a selection of nothing, of too much, or of what is no device is refused", () => {
  const ask = (these: string[]) => given(bulk, []).when({ do: "request", ...BULK, devices: these });
  ask([]).isRefused({ rule: "nothing-selected" });
  ask(Array(LIMITS.selected + 1).fill("x")).isRefused({ pointers: ["/body/select"] });
  ask([devices(1)[0]!, devices(1)[0]!]).isRefused({ pointers: ["/body/select/ids"] });
});

test("whatever ends how, every device is counted once and the operation comes to its end", () => {
  const outcome = fc.constantFrom<Outcome | "refuse" | "pause">(
    "succeeded",
    "succeeded",
    "failed",
    "expired",
    "cancelled",
    "refuse",
    "pause",
  );
  fc.assert(
    fc.property(fc.array(outcome, { maxLength: 60 }), fc.integer({ min: 1, max: 30 }), (outcomes, count) => {
      const run = started(count);
      const left = [...outcomes];
      for (let i = 0; i < 500 && run.state.state !== "completed"; i++) {
        const next = nextOfBulk(run.state);
        const what = left.shift() ?? "succeeded";
        if (next?.do.kind === "complete") run.do({ do: "complete" });
        else if (what === "pause" && run.state.state === "running") run.do({ do: "pause" });
        else if (what === "refuse" && next !== undefined)
          run.do({ do: "refuse", device: next.do.kind === "ask" ? next.do.device : "", reason: "No" });
        else if (Object.keys(run.state.running).length > 0)
          settle(run, what === "refuse" || what === "pause" ? "failed" : what);
        else if (next === undefined) run.do({ do: "resume" });
        fill(run);
      }
      assert.equal(run.state.state, "completed");
      assert.equal(endedOf(run.state.counts), count);
    }),
    { numRuns: 200, seed: 5 },
  );
});

const SPEC = { name: "autumn", firmware: {}, soakMs: 600_000, haltAtPercent: 20, atOnce: 5, expiresInMs: 60_000 };

function rolling(count: number, stages: ReadonlyArray<number>): Run<RolloutState> {
  const run = new Run(rollout);
  assert.equal(run.do({ do: "start", ...SPEC, devices: devices(count), stages }), undefined);
  return run;
}
const NONE = { succeeded: 0, failed: 0, expired: 0, cancelled: 0, refused: 0 };

/** Begins the stage that is due, and ends it. */
function stage(run: Run<RolloutState>, counts: object): void {
  const next = nextOfRollout(run.state, run.now);
  assert.ok(next !== undefined && "do" in next && next.do.kind === "stage", JSON.stringify(next));
  const { stage: nth } = next.do;
  const made = idOf("blk", nth + 1);
  assert.equal(run.do({ do: "beginStage", stage: nth, bulk: made }), undefined);
  assert.equal(nextOfRollout(run.state, run.now), undefined);
  assert.equal(run.do({ do: "endStage", bulk: made, counts: { ...NONE, ...counts } }), undefined);
}

test("stages by number and share; what they leave out comes last", () => {
  assert.deepEqual(stageSizes(100, [{ devices: 1 }, { percent: 5 }, { percent: 25 }]), [1, 4, 20, 75]);
  assert.deepEqual(stageSizes(3, [{ devices: 1 }, { percent: 5 }, { percent: 25 }]), [1, 2]);
  assert.deepEqual(stageSizes(2, [{ devices: 9 }]), [2]);
  assert.deepEqual(stageSizes(10, [{ percent: 100 }]), [10]);
});

test("a roll-out goes on from stage to stage when one has proved itself for long enough", () => {
  const run = rolling(10, [1, 4, 5]);
  assert.deepEqual(stageOf(run.state).devices, devices(10).slice(0, 1));
  stage(run, { succeeded: 1 });
  assert.deepEqual([run.state.state, nextOfRollout(run.state, run.now)], ["soaking", { waitUntil: run.now + 600_000 }]);
  run.now += 600_000;
  assert.deepEqual(stageOf(run.state).devices, devices(10).slice(1, 5));
  stage(run, { succeeded: 4 });
  run.now += 600_000;
  stage(run, { succeeded: 4, failed: 1 });
  assert.deepEqual([run.state.state, run.state.counts.succeeded], ["completed", 9]);
  assert.equal(run.do({ do: "resume" }), "rollout-over");
});

test("a canary that fails halts it before anything else is touched; somebody may go on all the same", () => {
  const run = rolling(10, [1, 9]);
  stage(run, { failed: 1 });
  assert.deepEqual([run.state.state, nextOfRollout(run.state, run.now + 9e9)], ["halted", undefined]);
  run.do({ do: "resume" });
  run.now += 600_000;
  assert.deepEqual(nextOfRollout(run.state, run.now), { do: { kind: "stage", stage: 1 } });
  run.do({ do: "cancel" });
  assert.deepEqual([run.state.state, nextOfRollout(run.state, run.now)], ["cancelled", undefined]);
  assert.equal(failedOf(run.state.counts), 1);
});

test("a changed profile is to reach its devices, once, and a title is no reason", () => {
  const created: Told = ["ProfileCreated", { name: "eco", configuration: { sys: {} }, reapply: true }];
  const changed: Told = ["ProfileChanged", { configuration: { sys: { device: { eco_mode: true } } } }];
  assert.equal(nextOfProfile(given(profile, [created, ["ProfileChanged", { title: "Eco" }]]).state), undefined);
  const { state, when } = given(profile, [created, changed]);
  assert.deepEqual(nextOfProfile(state), { do: { kind: "reach", generation: 2 } });
  when({ do: "reached", generation: 1, devices: 3 }).isRefused({ rule: "overtaken" });
  when({ do: "reached", generation: 2, devices: 3 }).leads((after) => assert.equal(nextOfProfile(after), undefined));
  when({ do: "change", spec: { configuration: { wifi: { sta: { pass: "hunter2" } } } } }).isRefused({
    pointers: ["/body/configuration/wifi/sta/pass"],
  });
});

test("ranges of addresses, and how many of them", () => {
  const port = 80;
  assert.deepEqual(rangeOf("10.0.0.7"), { from: 0x0a000007, to: 0x0a000007, port });
  assert.deepEqual(rangeOf("10.0.0.7/30:8080"), { from: 0x0a000005, to: 0x0a000006, port: 8080 });
  assert.deepEqual(rangeOf("10.0.0.1-10.0.1.0"), { from: 0x0a000001, to: 0x0a000100, port });
  for (const bad of ["", "10.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.2-10.0.0.1", "10.0.0.1:0", "::1", "x/8"]) {
    assert.equal(rangeOf(bad), undefined, bad);
  }
  const spec = { site: "home", mdns: false, ranges: ["10.0.0.0/8", "nowhere"], adopt: false, tags: [] };
  given(scan, [])
    .when({ do: "request", spec })
    .isRefused({ pointers: ["/body/ranges/1", "/body/ranges"] });
  given(scan, [])
    .when({ do: "request", spec: { ...spec, ranges: [] } })
    .isRefused({ pointers: ["/body/ranges"] });
});

test("a scan begun again finds the same and says nothing of it; another agent's findings are overtaken", () => {
  const finding = {
    mac: "C4D8D5517C68",
    address: { host: "10.0.0.7", port: 80, scheme: "http" },
    gen: 2,
    model: "SNSW-102P16EU",
    hostname: "shellyplus2pm-c4d8d5517c68",
    firmware: { version: "1.7.5", build: "b" },
    authentication: false,
    by: "range",
  } as const;
  const spec = { site: "home", mdns: true, ranges: [], adopt: false, tags: ["new"] };
  const story: Told[] = [
    ["ScanRequested", spec],
    ["ScanStarted", { attempt: 1, worker }],
    ["DevicesFound", { findings: [finding] }],
    ["ScanStarted", { attempt: 2, worker }],
  ];
  const { state, when } = given(scan, story);
  assert.deepEqual(nextOfScan(state), { do: { kind: "scan", attempt: 3 } });
  when({ do: "found", attempt: 2, worker, findings: [finding] }).happens();
  when({ do: "found", attempt: 1, worker, findings: [finding] }).isRefused({ rule: "overtaken" });
  const moved = { ...finding, address: { ...finding.address, host: "10.0.0.8" } };
  when({ do: "found", attempt: 2, worker, findings: [moved] }).happens(["DevicesFound", { findings: [moved] }]);
  when({ do: "complete", attempt: 2, worker, probed: 9 }).happens(["ScanCompleted", { found: 1, probed: 9 }]);
  const { name, tags, found } = inputOf(state, { ...finding, hostname: "../etc", name: "a\nb" });
  assert.deepEqual([name, tags, found], ["shelly-c4d8d5517c68", ["new"], state.id]);
});

test.run();
