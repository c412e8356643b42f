/** The rules of applications, told as tables: what may be asked for, what belongs to whom, what drifts. */
import assert from "node:assert/strict";
import { hostFault, refFault, repositoryFault, repositoryPathFault } from "@millrace/contracts/applications/git.ts";
import { LIMITS } from "@millrace/contracts/applications/values.ts";
import { suite } from "../../tests/harness/suite.ts";
import { isRefusal } from "../decider.ts";
import { given, ORGANISATION, type Told, timeOf } from "../testing.ts";
import { application } from "./application.ts";
import type { ApplicationInput, ChangeApplication } from "./application-command.ts";
import { exampleLive } from "./application-events.ts";
import { repairableAt } from "./application-report.ts";
import { hostsOf, instancesOf, isChanged } from "./application-state.ts";
import { SHOP, SITE } from "./fixtures/world.ts";
import { refOf, withDefaults } from "./spec.ts";

const test = suite("applications");

const host = "shop.home.apps.localhost";
const shop: Told = ["ApplicationCreated", { spec: withDefaults({ ...SHOP, domains: ["shop.example.org"] }), host }];
const site: Told = ["ApplicationCreated", { spec: withDefaults(SITE), host: "site.home.apps.localhost" }];
const placed: Told = ["ApplicationPlaced", { node: "local" }];
const { deployment } = exampleLive;
const wentLive: ReadonlyArray<Told> = [
  shop,
  placed,
  ["DeploymentQueued", { deployment, seq: 1, trigger: "manual", ref: "main", superseded: [] }],
  ["DeploymentActivated", { deployment }],
  ["DeploymentEnded", { deployment, outcome: "succeeded", live: { ...exampleLive, specGeneration: 1 } }],
];

const create = (more: Partial<ApplicationInput> = {}, spec = SHOP) =>
  given(application, []).when({ do: "create", spec: { ...spec, ...more }, host });
const change = (more: Omit<ChangeApplication, "do">, story: ReadonlyArray<Told> = [shop]) =>
  given(application, story).when({ do: "change", ...more });

test("creating fills up what was left out, and takes name and hosts", () => {
  const made = create({ domains: ["shop.example.org", "shop.example.org", host] });
  made.leads((state) => {
    assert.deepEqual(hostsOf(state), [host, "shop.example.org"]);
    assert.deepEqual([state.spec && refOf(state.spec.source), state.spec?.runtime?.memoryBytes], ["main", 536_870_912]);
    assert.deepEqual([state.spec?.policy.keepReleases, instancesOf(state), state.generation], [5, 2, 1]);
    assert.equal(isChanged(state), true);
  });
  made.claims(
    { what: "application-name", value: `${ORGANISATION}/shop`, hold: true },
    { what: "host", value: host, hold: true },
    { what: "host", value: "shop.example.org", hold: true },
  );
  given(application, [shop]).when({ do: "create", spec: SHOP, host }).isRefused({ refused: "conflict" });
});

test("addresses that are none, or carry a secret, or would be taken for an option", () => {
  const good = [
    ...["https://git.example.org/a/b.git", "http://127.0.0.1:8080/x", "ssh://git@host:2222/x.git", "git://h/x"],
    ...["git@github.com:o/r.git", "me@host:~/r", "HTTPS://Example.ORG/x.git", "ssh://host/x", "https://[::1]:80/x"],
  ];
  for (const url of good) assert.equal(repositoryFault(url), undefined, url);
  const bad = [
    ...["", "x", "/srv/git", "file:///srv/git", "ext::sh -c id", "ftp://h/x", "https://", "https://h", "https://h/"],
    ...[
      "https://user@h/x",
      "https://u:p@h/x",
      "https://:p@h/x",
      "ssh://u:p@h/x",
      "https://h/x?token=1",
      "https://h/x#1",
    ],
    ...["-oProxyCommand=x", "ssh://-oProxyCommand=x/y", "git@-o:x", "-u@h:x", "u@h:-x", "https://h/-x", "u@h:"],
    ...["https://h/a b", "https://h/\u0000", "https://h/ü", "git@h:x\n", `https://h/${"x".repeat(2_048)}`],
  ];
  for (const url of bad) assert.notEqual(repositoryFault(url), undefined, url);
  assert.match(repositoryFault("https://token@h/x") ?? "", /secret/);
  create({ source: { kind: "git", url: "https://u:p@h/x" } }).isRefused({
    refused: "invalid",
    pointers: ["/body/source/url"],
  });
});

test("refs by the rules of Git", () => {
  for (const ref of ["main", "feature/a-b", "v1.0.0", "refs/heads/x", "8f1b2c3d", "a@b", "ü"]) {
    assert.equal(refFault(ref), undefined, ref);
  }
  const bad = [
    ...[
      "",
      "-x",
      "a..b",
      "a b",
      "a~1",
      "a^",
      "a:b",
      "a?",
      "a*",
      "a[",
      "a\\b",
      "@",
      "@{1}",
      "a@{1}",
      "/a",
      "a/",
      "a//b",
    ],
    ...["a.", ".a", "a/.b", "a.lock", "a.lock/b", "a\u007f", "a\n", "\ud800", "x".repeat(251)],
  ];
  for (const ref of bad) assert.notEqual(refFault(ref), undefined, ref);
});

test("paths stay inside the repository, hosts are names", () => {
  for (const path of [".", "a", "a/b.c", "ü/x y"]) assert.equal(repositoryPathFault(path), undefined, path);
  const out = ["", "/a", "..", "a/../b", "a//b", "./a", "a/", "-a", "a\\b", "a\u0000", ".git", "a/.GIT/b"];
  for (const path of out) assert.notEqual(repositoryPathFault(path), undefined, path);
  for (const name of ["a", "a.b", "xn--bcher-kva.example", "1.example"]) assert.equal(hostFault(name), undefined, name);
  for (const name of ["", "A.b", "a..b", "-a", "a-.b", "a_b", "127.0.0.1", "a b", "*.a", "x".repeat(64), "a."]) {
    assert.notEqual(hostFault(name), undefined, name);
  }
});

test("what is out of bounds is refused, each place named", () => {
  const many = Object.fromEntries(Array.from({ length: 201 }, (_, i) => [`V${i}`, "x"]));
  const runtime = (more: object) => ({ runtime: { port: 3_000, ...more } });
  const rows: ReadonlyArray<readonly [Partial<ApplicationInput>, string]> = [
    [runtime({ instances: 5 }), "/runtime/instances"],
    [runtime({ port: 0 }), "/runtime/port"],
    [runtime({ memoryBytes: 1 }), "/runtime/memoryBytes"],
    [runtime({ cpus: Number.NaN }), "/runtime/cpus"],
    [runtime({ processes: 1.5 }), "/runtime/processes"],
    [runtime({ user: "root;id" }), "/runtime/user"],
    [runtime({ env: { "1A": "x" } }), "/runtime/env/1A"],
    [runtime({ env: { A: "\u0000" } }), "/runtime/env/A"],
    [runtime({ env: { A: "x".repeat(LIMITS.valueBytes + 1) } }), "/runtime/env/A"],
    [runtime({ env: { A: { secret: "sec_1" } } }), "/runtime/env/A/secret"],
    [runtime({ env: many }), "/runtime/env"],
    [{ runtime: {} }, "/runtime/port"],
    [{ health: { path: "no" } }, "/health/path"],
    [{ health: { retries: 0 } }, "/health/retries"],
    [{ policy: { keepReleases: 0 } }, "/policy/keepReleases"],
    [{ domains: ["A"] }, "/domains/0"],
    [{ name: "-x" }, "/name"],
    [{ title: " x" }, "/title"],
    [{ node: "A" }, "/node"],
    [{ build: { kind: "dockerfile", dockerfile: "../x" } }, "/build/dockerfile"],
    [{ build: { kind: "dockerfile", context: "/" } }, "/build/context"],
    [{ source: { kind: "path", path: "srv" } }, "/source/path"],
    [{ source: { kind: "path", path: "/srv/../etc" } }, "/source/path"],
  ];
  for (const [more, pointer] of rows) create(more).isRefused({ refused: "invalid", pointers: [`/body${pointer}`] });
  create({ runtime: { port: 1 } }, SITE).isRefused({ refused: "invalid", pointers: ["/body/runtime"] });
  create({ build: { kind: "static", index: "." } }, SITE).isRefused({ pointers: ["/body/build/index"] });
  const big = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`V${i}`, "x".repeat(8_000)]));
  create(runtime({ env: big })).isRefused({ pointers: ["/body/runtime/env"] });
});

test("what contradicts itself is refused by a rule", () => {
  create({ policy: { minHealthyTimeMs: 5_000, healthyDeadlineMs: 5_000 } }).isRefused({
    rule: "policy-contradicts-itself",
  });
  const credentials = { secret: "sec_01kajzq4v0e8r9t2m5x7c3d6fg", kind: "token" } as const;
  create({ source: { kind: "git", url: "http://h/x", credentials } }).isRefused({ rule: "credentials-in-clear" });
  create({ source: { kind: "git", url: "git@h:x", credentials } }).isRefused({
    pointers: ["/body/source/credentials/kind"],
  });
  create({ source: { kind: "git", url: "https://h/x", credentials } }).leads(({ spec }) =>
    assert.deepEqual(spec?.source.kind === "git" && spec.source.credentials, credentials),
  );
});

test("a change says what has changed, and only what a deployment brings makes it changed", () => {
  change({ title: "The shop", policy: { keepReleases: 3 } }, wentLive).leads((state) => {
    assert.deepEqual([isChanged(state), state.generation], [false, 3]);
  });
  change({ runtime: { env: { MODE: "production" } } }, wentLive).leads((state) => {
    assert.equal(isChanged(state), true);
    assert.equal(state.spec?.runtime?.port, 3_000);
  });
  change({ runtime: { instances: 4 } }, wentLive).happens(["ApplicationScaled", { from: 2, to: 4 }]);
  change({ title: null }).happens();
  change({ source: { kind: "git", url: "https://git.example.org/shop.git" } }).happens();
  const other = { source: { kind: "path", path: "/srv/x" } } as const;
  change(other).happens(["SourceChanged", { source: { ref: "main", ...other.source } }]);
  change({ seen: 2, title: "x" }).isRefused({ refused: "precondition" });
});

test("hosts are taken and given back with the change", () => {
  const moved = change({ domains: ["www.example.org", host] });
  moved.happens([
    "DomainsChanged",
    { domains: ["www.example.org"], added: ["www.example.org"], removed: ["shop.example.org"] },
  ]);
  moved.claims(
    { what: "host", value: "www.example.org", hold: true },
    { what: "host", value: "shop.example.org", hold: false },
  );
});

test("what it is built as does not change, nor where it lives", () => {
  change({ build: { kind: "static" } }).isRefused({ rule: "build-kind-fixed" });
  change({ node: "other" }, [shop, placed]).isRefused({ rule: "already-placed" });
  change({ node: "other" }).happens(["HomeChosen", { node: "other" }]);
  change({ node: "local" }, [shop, placed]).happens(["HomeChosen", { node: "local" }]);
});

test("start, stop and scale say what was not so already", () => {
  const running = given(application, [shop]);
  running.when({ do: "start" }).happens();
  running.when({ do: "stop" }).happens(["ApplicationStopRequested", {}]);
  running.when({ do: "scale", instances: 2 }).happens();
  running.when({ do: "scale", instances: 7 }).isRefused({ refused: "invalid", pointers: ["/body/instances"] });
  given(application, [site]).when({ do: "scale", instances: 2 }).isRefused({ rule: "nothing-to-scale" });
  given(application, []).when({ do: "start" }).isRefused({ refused: "not-found" });
});

test("a deployment is asked for of what is there now", () => {
  const asks = {
    do: "deploy",
    deployment,
    trigger: "manual",
    ref: "main",
    seq: 1,
    specGeneration: 1,
    superseded: [],
    active: null,
  } as const;
  const fresh = given(application, [shop]);
  fresh
    .when(asks)
    .happens(["DeploymentQueued", { deployment, seq: 1, trigger: "manual", ref: "main", superseded: [] }]);
  for (const stale of [{ seq: 2 }, { specGeneration: 2 }, { superseded: [deployment] }, { active: deployment }]) {
    fresh.when({ ...asks, ...stale }).isRefused({ refused: "conflict" });
  }
  fresh.when({ ...asks, ref: "-x" }).isRefused({ pointers: ["/body/ref"] });
  fresh.when({ ...asks, trigger: "rollback" }).isRefused({ rule: "nothing-live" });
});

test("a node takes it once", () => {
  given(application, [shop]).when({ do: "place", node: "local" }).happens(placed);
  given(application, [shop, placed]).when({ do: "place", node: "local" }).happens();
  given(application, [shop, placed]).when({ do: "place", node: "other" }).isRefused({ rule: "overtaken" });
  const chosen: Told = ["HomeChosen", { node: "other" }];
  given(application, [shop, chosen]).when({ do: "place", node: "local" }).isRefused({ rule: "overtaken" });
});

test("drift is said once; five repairs in ten minutes, and it is left alone", () => {
  const resource = "container:0";
  const drifted: Told = ["DriftDetected", { resource, expected: "running", actual: "missing" }];
  const repaired: Told = ["DriftRepaired", { resource, action: "started anew" }];
  const found = { do: "recordDrift", resource, expected: "running", actual: "missing" } as const;
  const repair = { do: "recordRepair", resource, action: "started anew" } as const;
  given(application, [shop]).when(found).happens(drifted);
  given(application, [shop, drifted]).when(found).happens();
  given(application, [shop]).when(repair).isRefused({ rule: "overtaken" });
  given(application, [shop])
    .when({ ...found, resource: "a b" })
    .isRefused({ refused: "invalid" });

  // A minute apart each: the fourth repair is the seventh event.
  const often = [shop, ...Array.from({ length: 4 }, () => [drifted, repaired]).flat(), drifted];
  const until = new Date(Date.parse(timeOf(often.length)) + 600_000).toISOString();
  const fifth = given(application, often).when(repair);
  fifth.happens(repaired, ["DriftRepairSuspended", { resource, count: 5, until }]);
  fifth.leads((state) => {
    assert.equal(repairableAt(state, resource), Date.parse(until));
    assert.equal(repairableAt(state, "route"), 0);
  });
  const failing = { do: "recordRepairFailure", resource, message: "the image is gone" } as const;
  given(application, often)
    .when(failing)
    .happens(
      ["DriftRepairFailed", { resource, message: "the image is gone" }],
      ["DriftRepairSuspended", { resource, count: 5, until }],
    );
  const later = { now: timeOf(often.length + 30) };
  given(application, often).when(repair, later).happens(repaired);
});

test("a worker's report makes nobody's copy stale", () => {
  const { state } = given(application, wentLive);
  assert.equal(state.generation, 1);
});

test("any event on any state is folded without a fault", () => {
  const examples = Object.entries(application.events).map(([type, { examples: all, version }]) => [type, all[version]]);
  for (const [first] of examples) {
    const { decider } = application;
    const meta = {
      organisation: ORGANISATION,
      actor: { kind: "system", id: "x", name: "x" },
      time: timeOf(0),
    } as const;
    let state = decider.initial("app_1");
    for (const [type, data] of [...examples.filter(([type]) => type === first), ...examples]) {
      state = decider.evolve(state, { type, data } as never, meta);
      assert.ok(!isRefusal(state));
    }
  }
});

test.run();
