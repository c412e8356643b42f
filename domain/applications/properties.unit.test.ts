/** Whatever is asked, in whatever order, and whatever becomes of the workers: what must stay true of deployments. */
import assert from "node:assert/strict";
import { Application, Deployment } from "@millrace/contracts/applications/entities.ts";
import { OUTCOMES } from "@millrace/contracts/applications/values.ts";
import * as Schema from "effect/Schema";
import fc from "fast-check";
import { suite } from "../../tests/harness/suite.ts";
import { application } from "./application.ts";
import { deployment } from "./deployment.ts";
import { isOver } from "./deployment-state.ts";
import { type Fate, SHOP, SITE, World } from "./fixtures/world.ts";
import { nextOfApplication, nextOfDeployment } from "./next.ts";

const test = suite("properties of deployments", { timeoutMs: 120_000 });

const RUNS = 400;

type Act =
  | { readonly what: "work"; readonly fate: Fate }
  | { readonly what: "ask"; readonly trigger: "manual" | "rollback" | "restart"; readonly to: number }
  | { readonly what: "cancel"; readonly which: number }
  | { readonly what: "pass"; readonly ms: number }
  | { readonly what: "stop" | "start" | "remove" }
  | { readonly what: "scale"; readonly instances: number };

const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 60,
    arbitrary: fc.record({
      what: fc.constant("work" as const),
      fate: fc.oneof(
        { weight: 12, arbitrary: fc.constant<Fate>("done") },
        { weight: 4, arbitrary: fc.constantFrom<Fate>("transient", "crash", "late") },
        { weight: 2, arbitrary: fc.constantFrom<Fate>("permanent", "timeout") },
      ),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      what: fc.constant("ask" as const),
      trigger: fc.constantFrom("manual", "manual", "rollback", "restart"),
      to: fc.nat(6),
    }),
  },
  { weight: 3, arbitrary: fc.record({ what: fc.constant("cancel" as const), which: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({ what: fc.constant("pass" as const), ms: fc.constantFrom(500, 5_000, 130_000, 700_000) }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constantFrom("stop" as const, "start" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ what: fc.constant("scale" as const), instances: fc.constantFrom(1, 2, 3, 5, 12) }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant("remove" as const) }) },
);
const story = fc.record({
  container: fc.boolean(),
  autoRevert: fc.boolean(),
  acts: fc.array(act, { maxLength: 150, size: "max" }),
});

function carryOut(world: World, one: Act): void {
  switch (one.what) {
    case "work":
      world.step(one.fate);
      return;
    case "ask": {
      const all = [...world.deployments.keys()];
      world.ask(one.trigger, one.to > all.length ? undefined : all.at(-one.to));
      return;
    }
    case "cancel": {
      const id = [...world.deployments.keys()].at(-1 - one.which);
      if (id !== undefined) world.cancel(id);
      return;
    }
    case "pass":
      world.now += one.ms;
      return;
    case "stop":
    case "start":
      world.do({ do: one.what });
      return;
    case "scale":
      world.do({ do: "scale", instances: one.instances });
      return;
    case "remove":
      world.remove();
  }
}

const readApplication = Schema.decodeUnknownSync(Application, { onExcessProperty: "error" });
const readDeployment = Schema.decodeUnknownSync(Deployment, { onExcessProperty: "error" });
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test("whatever happens, everything ends, once, and one at a time", () => {
  const reached = new Map<string, number>();
  const count = (name: string) => reached.set(name, (reached.get(name) ?? 0) + 1);
  const endsWell = fc.property(story, ({ container, autoRevert, acts }) => {
    const world = new World();
    world.create(container ? SHOP : SITE, { policy: { autoRevert, keepReleases: 3 } });
    for (const one of acts) carryOut(world, one);
    world.settle();
    for (const state of world.deployments.values()) {
      assert.ok(isOver(state), `${state.id} is ${state.state}`);
      assert.equal(nextOfDeployment(state, world.now + 1e9), undefined);
      readDeployment(plain(deployment.represent(state)));
      count(state.state);
      if (Object.values(state.phases).some(({ attempt }) => attempt > 1)) count("taken over");
    }
    assert.equal(nextOfApplication(world.app), undefined);
    assert.equal(world.app.active, null);
    assert.deepEqual(world.app.queue, []);
    const { spec, settled, live, exists } = world.app;
    if (!exists) count("removed");
    else {
      readApplication(plain(application.represent(world.app)));
      if (live !== null) assert.equal(settled.wanted, spec!.wanted);
      if (live?.verified === false) count("kept unverified");
    }
  });
  const everywhere = [...OUTCOMES, "taken over", "removed", "kept unverified"];
  // Some are led to by one in a hundred: by chance a round misses them.
  for (let round = 0; round < 10 && (round === 0 || everywhere.some((name) => !reached.has(name))); round++) {
    fc.assert(endsWell, { numRuns: RUNS });
  }
  // The stories really lead everywhere.
  for (const name of everywhere) {
    assert.ok((reached.get(name) ?? 0) > 0, `only ${reached.get(name) ?? 0} stories led to "${name}"`);
  }
});

test("whatever workers do wrong, twenty attempts are the end of it", () => {
  for (const fate of ["crash", "transient", "late"] as const) {
    for (const spec of [SHOP, SITE]) {
      const world = new World();
      world.create(spec, { policy: { progressDeadlineMs: 86_400_000 } });
      const id = world.ask("manual") as string;
      for (let i = 0; i < 3; i++) world.step("done"); // Placed, begun, one phase: the rest goes wrong.
      world.settle(fate);
      const { state, failure } = world.deployment(id);
      assert.equal(state, "failed");
      // Who can mend it needs to know what it met, not how often.
      assert.equal(failure?.code, fate === "transient" ? "BROKEN" : "POISON");
    }
  }
});

test.run();
