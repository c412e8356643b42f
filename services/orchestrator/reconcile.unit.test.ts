import fc from "fast-check";
import * as assert from "uvu/assert";
import { suite } from "../../tests/harness/suite.ts";
import { type Action, type Actual, addressesOf, type Desired, plan } from "./reconcile.ts";

const test = suite("what has to be done");

const RELEASE = "a".repeat(64);
const OTHER = "b".repeat(64);

const site: Desired = {
  deployment: "dep_live",
  generation: 3,
  release: RELEASE,
  kind: "static",
  imageId: undefined,
  instances: 0,
  stopped: false,
};
const served: Actual = {
  release: true,
  routes: {
    generation: 7,
    current: RELEASE,
    stopped: false,
    route: { generation: 3, deployment: "dep_live", release: RELEASE, addresses: [] },
    problems: [],
  },
  containers: [],
};
type Running = NonNullable<Actual["containers"]>[number];
const running = (slot: number, more: Partial<Running> = {}): Running => ({
  id: `c${slot}`,
  deployment: "dep_live",
  slot,
  imageId: "sha256:one",
  state: "running",
  health: "healthy",
  address: `127.0.0.1:${20_000 + slot}`,
  ...more,
});
const app: Desired = { ...site, kind: "dockerfile", imageId: "sha256:one", instances: 2 };
const up: Actual = {
  ...served,
  routes: {
    ...served.routes,
    route: { generation: 3, deployment: "dep_live", release: null, addresses: ["127.0.0.1:20000", "127.0.0.1:20001"] },
  },
  containers: [running(0), running(1)],
};
const route = (actual: Actual, change: Partial<NonNullable<Actual["routes"]["route"]>> | null): Actual => ({
  ...actual,
  routes: { ...actual.routes, route: change === null ? null : { ...actual.routes.route!, ...change } },
});

const table: ReadonlyArray<readonly [string, Desired, Actual, ReadonlyArray<string>]> = [
  ["a site as it should be", site, served, []],
  ["containers as they should be", app, up, []],
  ["the release is gone", site, { ...served, release: false }, ["make-release release"]],
  ["the symlink is gone", site, { ...served, routes: { ...served.routes, current: null } }, ["choose-release symlink"]],
  [
    "the symlink names another",
    site,
    { ...served, routes: { ...served.routes, current: OTHER } },
    ["choose-release symlink"],
  ],
  [
    "something else stands where the symlink was",
    site,
    { ...served, routes: { ...served.routes, problems: ["current is no symbolic link."] } },
    ["choose-release symlink"],
  ],
  ["nothing is served", site, route(served, null), ["switch-route route"]],
  ["another deployment is served", site, route(served, { deployment: "dep_old" }), ["switch-route route"]],
  ["another release is served", site, route(served, { release: OTHER }), ["switch-route route"]],
  [
    "the route was written to by hand",
    site,
    { ...served, routes: { ...served.routes, problems: ["routes/3-x does not hold what was written into it."] } },
    ["switch-route route"],
  ],
  ["it should be stopped", { ...site, stopped: true }, served, ["set-stopped stopped"]],
  [
    "it should not be stopped",
    site,
    { ...served, routes: { ...served.routes, stopped: true } },
    ["set-stopped stopped"],
  ],
  [
    "a container is gone",
    app,
    { ...up, containers: [running(0)] },
    ["start-container container:1", "switch-route route"],
  ],
  [
    "a container has ended",
    app,
    { ...up, containers: [running(0), running(1, { state: "exited", address: undefined })] },
    ["start-container container:1", "switch-route route"],
  ],
  [
    "a container is ill",
    app,
    { ...up, containers: [running(0), running(1, { health: "unhealthy" })] },
    ["start-container container:1", "switch-route route"],
  ],
  [
    "a container has another image",
    app,
    { ...up, containers: [running(0), running(1, { imageId: "sha256:two" })] },
    ["start-container container:1", "switch-route route"],
  ],
  [
    "the engine starts it again and again",
    app,
    { ...up, containers: [running(0), running(1, { state: "restarting", address: undefined })] },
    ["start-container container:1", "switch-route route"],
  ],
  [
    "one has no address at this moment",
    app,
    { ...up, containers: [running(0), running(1, { address: undefined })] },
    [],
  ],
  [
    "addresses have changed",
    app,
    { ...up, containers: [running(0), running(1, { address: "127.0.0.1:29999" })] },
    ["switch-route route"],
  ],
  ["scaled down", { ...app, instances: 1 }, up, ["switch-route route", "remove-container container:1"]],
  [
    "one of another deployment is left",
    app,
    { ...up, containers: [running(0), running(1), running(0, { id: "old", deployment: "dep_old" })] },
    ["remove-container orphan"],
  ],
  [
    "stopped: first nobody is sent there, then they end",
    { ...app, instances: 0, stopped: true },
    up,
    ["set-stopped stopped", "remove-container container:0", "remove-container container:1"],
  ],
  [
    "started: first they run, then they are asked",
    app,
    { ...up, containers: [], routes: { ...up.routes, stopped: true } },
    ["start-container container:0", "start-container container:1", "switch-route route", "set-stopped stopped"],
  ],
  ["the engine is away: nothing is known of containers", app, { ...up, containers: undefined }, []],
];

for (const [name, desired, actual, expected] of table) {
  test(name, () => {
    assert.equal(
      plan(desired, actual).map((action) => `${action.do} ${action.resource}`),
      expected,
    );
  });
}

let fresh = 0;

/** What an act brings about, in the model. */
function done(desired: Desired, actual: Actual, action: Action): Actual {
  const { routes, containers = [] } = actual;
  switch (action.do) {
    case "make-release":
      return { ...actual, release: true };
    case "choose-release":
      return {
        ...actual,
        routes: {
          ...routes,
          current: desired.release,
          problems: routes.problems.filter((problem) => !problem.startsWith("current ")),
        },
      };
    case "start-container": {
      const others = containers.filter(
        ({ deployment, slot }) => deployment !== desired.deployment || slot !== action.slot,
      );
      const started = running(action.slot, { id: `new${++fresh}`, address: `127.0.0.1:${30_000 + (fresh % 30_000)}` });
      return { ...actual, containers: [...others, { ...started, imageId: desired.imageId ?? "" }] };
    }
    case "switch-route": {
      const isSite = desired.kind === "static";
      return {
        ...actual,
        routes: {
          ...routes,
          problems: routes.problems.filter((problem) => problem.startsWith("current ")),
          route: {
            generation: desired.generation,
            deployment: desired.deployment,
            release: isSite ? desired.release : null,
            addresses: isSite ? [] : addressesOf(desired, containers),
          },
        },
      };
    }
    case "set-stopped":
      return { ...actual, routes: { ...routes, stopped: action.stopped } };
    case "remove-container":
      return { ...actual, containers: containers.filter(({ id }) => id !== action.id) };
  }
}

const world = fc.record({
  stopped: fc.boolean(),
  isSite: fc.boolean(),
  instances: fc.constantFrom(1, 2, 3, 4, 6, 12),
  release: fc.boolean(),
  routes: fc.record({
    generation: fc.nat(9),
    current: fc.constantFrom(null, RELEASE, OTHER),
    stopped: fc.boolean(),
    route: fc.option(
      fc.record({
        generation: fc.nat(9),
        deployment: fc.constantFrom("dep_live", "dep_old", ""),
        release: fc.constantFrom(null, RELEASE, OTHER),
        addresses: fc.subarray(["127.0.0.1:20000", "127.0.0.1:20001", "127.0.0.1:20002"]),
      }),
      { nil: null },
    ),
    problems: fc.subarray(["current is no symbolic link.", "route is no symbolic link."]),
  }),
  containers: fc.uniqueArray(
    fc.record({
      deployment: fc.constantFrom("dep_live", "dep_old"),
      slot: fc.nat(11),
      imageId: fc.constantFrom("sha256:one", "sha256:two"),
      state: fc.constantFrom("created", "running", "paused", "restarting", "exited", "dead"),
      health: fc.constantFrom("starting", "healthy", "unhealthy", "none"),
      address: fc.option(fc.constantFrom("127.0.0.1:20000", "127.0.0.1:20001"), { nil: undefined }),
    }),
    { maxLength: 14, selector: ({ deployment, slot }) => `${deployment}/${slot}` },
  ),
});

test("done as planned, and planned again, there is nothing left to do", () => {
  fc.assert(
    fc.property(world, ({ stopped, isSite, instances, release, routes, containers }) => {
      const kind = isSite ? ("static" as const) : ("dockerfile" as const);
      const desired: Desired = { ...app, kind, stopped, instances: isSite || stopped ? 0 : instances };
      const known = containers.map((one) => ({ ...one, id: `${one.deployment}-${one.slot}` }));
      let actual = { release, routes, containers: isSite ? [] : known } as unknown as Actual;
      for (const action of plan(desired, actual)) actual = done(desired, actual, action);
      assert.equal(plan(desired, actual), []);
    }),
    { numRuns: 2_000 },
  );
});

test("nobody is sent to what does not run yet, and nothing that serves is ended before the route is changed", () => {
  fc.assert(
    fc.property(world, ({ routes, containers, instances }) => {
      const desired: Desired = { ...app, instances };
      const acts = plan(desired, { release: true, routes, containers } as unknown as Actual).map((action) => action.do);
      const route = acts.indexOf("switch-route");
      if (route === -1) return;
      assert.ok(acts.lastIndexOf("start-container") < route);
      const removal = acts.indexOf("remove-container");
      assert.ok(removal === -1 || removal > route);
    }),
  );
});

test("a drift says with which code a container ended, and what that means", () => {
  const wrong = (more: Partial<Running>) =>
    plan(app, { ...up, containers: [running(0), running(1, { address: undefined, ...more })] })[0]?.actual;
  assert.is(wrong({ state: "restarting", endedWith: 1 }), "restarting after code 1");
  assert.is(wrong({ state: "exited", endedWith: 137 }), "exited after code 137 (killed: out of memory, or by hand)");
  assert.is(wrong({ state: "created" }), "created");
});

test.run();
