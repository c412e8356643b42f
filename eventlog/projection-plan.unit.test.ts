/** What a projector does about the builds it finds. */
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import type { Checkpoint } from "./projection-checkpoint.ts";
import { type Plan, plan } from "./projection-plan.ts";

const test = suite("the plan of a projector");
const ALIVE = 100;
const DEAD = 100_000;
const TAKEOVER = 60_000;

const row = (
  build: number,
  version: number,
  state: Checkpoint["state"],
  silentMs = ALIVE,
  stateVersion = 1,
): Checkpoint => ({
  name: "accounts",
  context: "ledger",
  build,
  version,
  stateVersion,
  state,
  shown: state === "active",
  seq: 0,
  headSeen: 0,
  stoppedReason: null,
  updatedAt: new Date(),
  table: `accounts_v${version}_b${build}`,
  shape: { columns: [], hideGone: true, showContext: false, searchKind: null, stem: "accounts" },
  epoch: 0,
  owner: null,
  free: true,
  silentMs,
});

const nothing: Plan = { run: [], discard: [], create: false, superseded: false };

const cases: ReadonlyArray<readonly [what: string, rows: ReadonlyArray<Checkpoint>, expected: Partial<Plan>]> = [
  ["nothing there: build", [], { create: true }],
  ["a build under way: go on with it", [row(1, 2, "building")], { run: [1] }],
  ["shown: keep it up", [row(1, 2, "active")], { run: [1] }],
  ["shown, and a rebuild: both", [row(1, 2, "active"), row(2, 2, "building")], { run: [1, 2] }],
  ["shown in an older version: build beside, leave the old one", [row(1, 1, "active")], { create: true }],
  ["beside an older one: go on with ours", [row(1, 1, "active"), row(2, 2, "building")], { run: [2] }],
  [
    "an older rebuild under way: ours instead",
    [row(1, 1, "active"), row(2, 1, "building")],
    { discard: [2], create: true },
  ],
  ["an older rebuild beside ours", [row(1, 2, "active"), row(2, 1, "building")], { run: [1], discard: [2] }],
  ["a newer release is at work", [row(1, 3, "active")], { superseded: true }],
  ["a newer release is silent: back to ours", [row(1, 3, "active", DEAD)], { create: true }],
  ["on the way back", [row(1, 3, "active", DEAD), row(2, 2, "building")], { run: [2] }],
  ["the newer one is back", [row(1, 3, "active"), row(2, 2, "building")], { superseded: true }],
  [
    "a newer release builds beside ours: keep ours up",
    [row(1, 2, "active"), row(2, 3, "building")],
    { run: [1], superseded: true },
  ],
  ["its build was left behind", [row(1, 2, "active"), row(2, 3, "building", DEAD)], { run: [1], discard: [2] }],
  ["another shape of the state is another version", [row(1, 2, "active", ALIVE, 0)], { create: true }],
  ["a newer shape of the state is newer", [row(1, 2, "active", ALIVE, 2)], { superseded: true }],
  ["retired ones do not count", [row(1, 3, "retired"), row(2, 2, "retired")], { create: true }],
  ["stopped is tried, too", [{ ...row(1, 2, "stopped"), shown: true }], { run: [1] }],
];

for (const [what, rows, expected] of cases) {
  test(what, () => {
    assert.equal(plan(rows, { version: 2, stateVersion: 1 }, TAKEOVER), { ...nothing, ...expected });
  });
}

test.run();
