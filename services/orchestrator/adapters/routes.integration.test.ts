/** Releases and routes on a real disk, with rivals, with stopped ones, and with a disk that is full. */
import { execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Failure, Outcome } from "@millrace/eventlog/outcome.ts";
import { pullSource } from "@millrace/eventlog/sources/git.ts";
import * as assert from "uvu/assert";
import { testFolder } from "../../../tests/harness/servers.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { collect, listApps, removeApp } from "./collect.ts";
import { type AppDisk, appDisk, nodeDisk, releaseFolder } from "./disk.ts";
import { repository } from "./fixtures/git-world.ts";
import { findRelease, materialiseImage, materialiseStatic, readDescription } from "./releases.ts";
import { chooseRelease, readRoutes, revertRoute, setStopped, switchRoute } from "./routes.ts";

const test = suite("routes", { timeoutMs: 60_000 });
const appId = "app_01kajzq4v0e8r9t2m5x7c3d6fg";
const dep = (number: number) => `dep_01kajzq4v0e8r9t2m5x7c3d6${`${number}`.padStart(2, "0")}`;

interface World {
  readonly data: string;
  readonly app: AppDisk;
  /** Makes a source with these files; answers its folder. */
  source(files: Readonly<Record<string, string>>): string;
}

function world(data = join(testFolder("routes"), "data")): World {
  const app = appDisk(nodeDisk(data, "n1"), appId);
  const source = (files: Readonly<Record<string, string>>) => {
    const folder = testFolder("source");
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(join(folder, name, ".."), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    return folder;
  };
  return { data, app, source };
}

function good<T extends object>(outcome: Outcome<T> | undefined): T {
  if (outcome === undefined || "failed" in outcome) throw new Error(JSON.stringify(outcome));
  return outcome;
}

function bad(outcome: Outcome<object> | undefined, code: string): Failure {
  if (outcome === undefined || !("failed" in outcome)) throw new Error(`no failure: ${JSON.stringify(outcome)}`);
  assert.is(outcome.failed.code, code, outcome.failed.message);
  return outcome.failed;
}

test("ids, commits, hashes and generations are the only words of a path", () => {
  const disk = nodeDisk("/x", "n1");
  for (const id of [
    "",
    "..",
    "app_",
    `${appId}/..`,
    `${appId}\n`,
    "dep_01kajzq4v0e8r9t2m5x7c3d6fg",
    appId.toUpperCase(),
  ]) {
    assert.throws(() => appDisk(disk, id), /is no id/);
  }
  for (const node of ["..", "a/b", "", "-a"]) assert.throws(() => nodeDisk("/x", node), /is no name/);
  assert.throws(() => nodeDisk("/x/{env.HOME}", "n1"), /must not hold/);
  assert.throws(() => releaseFolder(appDisk(disk, appId), "../../x"), /is no hash/);
  const other = appDisk(disk, "app_01kajzq4v0e8r9t2m5x7c3d6fh");
  assert.is.not(appDisk(disk, appId).root, other.root);
});

test("a site is a release by its content: made once, adopted, made good where it is broken", async () => {
  const { app, source } = world();
  const files = {
    "web/index.html": "x",
    "web/a/b.css": "y",
    "web/.env": "secret",
    "web/.well-known/z": "z",
    "web/[id].html": "i",
  };
  const folder = source({ ...files, "other/c": "c" });
  symlinkSync("../other", join(folder, "web/linked"));
  symlinkSync("nothing", join(folder, "web/dangling"));
  const first = good(await materialiseStatic(app, { source: folder, folder: "web" }));
  assert.equal([first.kind, first.files, first.bytes, first.adopted], ["static", 5, 5, false]);
  const root = join(app.releases, first.release, "files");
  assert.equal(readdirSync(root).sort(), [".well-known", "[id].html", "a", "index.html", "linked"]);
  assert.is(readFileSync(join(root, "linked/c"), "utf8"), "c");
  assert.ok(!statSync(join(root, "linked")).isSymbolicLink() && readdirSync(app.releases).length === 1);
  assert.equal(good(await materialiseStatic(app, { source: folder, folder: "web" })), { ...first, adopted: true });
  assert.equal(good(await findRelease(app, first.release, { verify: true })), { ...first, adopted: true });

  writeFileSync(join(root, "a/b.css"), "Y");
  assert.match(bad(await findRelease(app, first.release, { verify: true }), "RELEASE_BROKEN").message, "a/b.css");
  rmSync(join(root, "index.html"));
  writeFileSync(join(root, "intruder"), "i");
  const healed = good(await materialiseStatic(app, { source: folder, folder: "web" }));
  assert.equal([healed.release, healed.adopted], [first.release, false]);
  good(await findRelease(app, first.release, { verify: true }));
  truncateSync(join(app.releases, first.release, "manifest.json"), 10);
  bad(await findRelease(app, first.release), "RELEASE_BROKEN");
  good(await materialiseStatic(app, { source: folder, folder: "web" }));
  good(await findRelease(app, first.release, { verify: true }));

  // Caddy's ETag is time and size: the same content keeps it, another of the same size has another.
  writeFileSync(join(folder, "web/index.html"), "q");
  const second = good(await materialiseStatic(app, { source: folder, folder: "web", previous: first.release }));
  const time = (release: string, path: string) => statSync(join(app.releases, release, "files", path)).mtimeMs;
  assert.is(time(second.release, "[id].html"), time(first.release, "[id].html"));
  assert.is.not(time(second.release, "index.html"), time(first.release, "index.html"));
});

test("what cannot be a site says why", async () => {
  const { app, source } = world();
  const folder = source({ "web/index.html": "x", "empty/.hidden": "x" });
  symlinkSync("/etc", join(folder, "out"));
  symlinkSync(".", join(folder, "web/up"));
  mkdirSync(join(folder, "leads"));
  symlinkSync("/etc/passwd", join(folder, "leads/out"));
  const attempt = (name: string, limits?: object) =>
    materialiseStatic(app, { source: folder, folder: name, ...(limits ? { limits } : {}) });
  assert.match(bad(await attempt("dist"), "SITE_FOLDER").fix, "., empty, leads, web.");
  for (const name of ["../..", "out", "/etc", "web/index.html"]) bad(await attempt(name), "SITE_FOLDER");
  bad(await attempt("empty"), "SITE_EMPTY");
  bad(await attempt("leads"), "LINK_OUTSIDE");
  bad(await attempt("web"), "LINK_LOOP");
  rmSync(join(folder, "web/up"));
  bad(await attempt("web", { bytes: 0 }), "SITE_TOO_LARGE");
  const abort = AbortSignal.abort();
  bad(await materialiseStatic(app, { source: folder, folder: "web", signal: abort }), "CANCELLED");
  assert.not.ok(existsSync(app.releases) && readdirSync(app.releases).length > 0);
});

test("what runs in containers is a release by its description, in whatever order its fields stand", async () => {
  const { app } = world();
  const description = { image: "sha256:1", env: { B: "2", A: "1" }, port: 80 };
  const one = good(await materialiseImage(app, description));
  const same = good(await materialiseImage(app, { port: 80, env: { A: "1", B: "2" }, image: "sha256:1" }));
  assert.equal(same, { ...one, adopted: true });
  assert.equal(await readDescription(app, one.release), description);
  assert.is.not(good(await materialiseImage(app, { ...description, port: 81 })).release, one.release);
});

test("switching, repeating, reading back, taking back; a lower generation is refused", async () => {
  const { app } = world();
  const route = (generation: number, ...addresses: string[]) =>
    switchRoute(app, { generation, deployment: dep(generation), target: { addresses } });
  assert.equal(good(await route(1, "127.0.0.1:1001")), { from: null, to: 1, adopted: false });
  assert.equal(good(await route(1, "127.0.0.1:1001")), { from: 1, to: 1, adopted: true });
  assert.equal(good(await route(3, "127.0.0.1:3001", "127.0.0.1:3002")), { from: 1, to: 3, adopted: false });
  assert.match(bad(await route(2, "127.0.0.1:2001"), "OVERTAKEN").message, /Generation 2 is older than 3/);
  const state = await readRoutes(app);
  assert.equal(state.route, {
    generation: 3,
    deployment: dep(3),
    release: null,
    addresses: ["127.0.0.1:3001", "127.0.0.1:3002"],
  });
  assert.equal([state.generation, state.current, state.stopped, state.problems], [3, null, false, []]);
  // Within a generation: a container came back with another port.
  good(await route(3, "127.0.0.1:3009"));
  assert.equal(good(await revertRoute(app, { generation: 3, to: 1 })), { from: 3, to: 1, adopted: false });
  assert.equal((await readRoutes(app)).route?.addresses, ["127.0.0.1:1001"]);
  assert.is((await readRoutes(app)).generation, 3);
  bad(await route(1, "127.0.0.1:1002"), "OVERTAKEN");
  const repaired = { generation: 1, deployment: dep(1), target: { addresses: ["127.0.0.1:1002"] }, asOf: 3 };
  assert.equal(good(await switchRoute(app, repaired)), { from: 1, to: 1, adopted: false });
  bad(await revertRoute(app, { generation: 2, to: null }), "OVERTAKEN");
  assert.equal(good(await revertRoute(app, { generation: 3, to: null })), { from: 1, to: null, adopted: false });
  assert.is((await readRoutes(app)).route, null);
  bad(await revertRoute(app, { generation: 4, to: 2 }), "ROUTE_MISSING");
  for (const addresses of [
    [],
    ["a:1"],
    ["127.0.0.1:1", "127.0.0.1:1"],
    ["127.0.0.1"],
    Array.from({ length: 5 }, (_, n) => `10.0.0.${n}:1`),
  ]) {
    bad(await route(9, ...addresses), "BAD_ADDRESSES");
  }
});

test("a site's route carries how it is served; what is chosen serves nothing; what was tampered with is seen and healed", async () => {
  const { app, source } = world();
  const { release } = good(await materialiseStatic(app, { source: source({ "index.html": "x" }), folder: "." }));
  assert.equal(good(await chooseRelease(app, { generation: 1, release })), { from: null, to: release, adopted: false });
  assert.equal(good(await chooseRelease(app, { generation: 1, release })), {
    from: release,
    to: release,
    adopted: true,
  });
  assert.is((await readRoutes(app)).route, null);
  bad(await chooseRelease(app, { generation: 2, release: "a".repeat(64) }), "RELEASE_MISSING");
  bad(
    await switchRoute(app, { generation: 2, deployment: dep(2), target: { release: "a".repeat(64) } }),
    "RELEASE_MISSING",
  );
  for (const site of [{ index: "../x" }, { index: "{env.HOME}" }, { notFound: "../../x" }, { index: "a/b" }]) {
    bad(await switchRoute(app, { generation: 2, deployment: dep(2), target: { release, ...site } }), "BAD_SITE");
  }
  const switched = () => switchRoute(app, { generation: 2, deployment: dep(2), target: { release, spa: true } });
  good(await switched());
  const folder = join(app.root, readlinkSync(app.route));
  assert.is(readFileSync(join(folder, "fallback"), "utf8"), "/index.html");
  assert.equal((await readRoutes(app)).problems, []);
  writeFileSync(join(folder, "deployment"), "dep_x");
  rmSync(app.current);
  symlinkSync("/etc", app.current);
  assert.is((await readRoutes(app)).problems.length, 2);
  good(await switched());
  good(await chooseRelease(app, { generation: 2, release }));
  assert.equal((await readRoutes(app)).problems, []);
  rmSync(app.route);
  mkdirSync(app.route);
  assert.is((await readRoutes(app)).problems.length, 1);
  good(await switched());
  assert.equal((await readRoutes(app)).problems, []);
  assert.equal(good(await setStopped(app, true)), { adopted: false });
  assert.equal(good(await setStopped(app, true)), { adopted: true });
  assert.is((await readRoutes(app)).stopped, true);
  good(await setStopped(app, false));
  assert.is((await readRoutes(app)).stopped, false);
});

test("many at once: the highest wins, the lower ones that come later are refused, and nothing is half", async () => {
  const { app } = world();
  const order = Array.from({ length: 24 }, (_, index) => index + 1).sort(() => Math.random() - 0.5);
  const outcomes = await Promise.all(
    order.map((generation) =>
      switchRoute(app, {
        generation,
        deployment: dep(generation),
        target: { addresses: [`127.0.0.1:${1000 + generation}`] },
      }),
    ),
  );
  const state = await readRoutes(app);
  assert.equal(
    [state.generation, state.route?.generation, state.route?.deployment, state.problems],
    [24, 24, dep(24), []],
  );
  for (const outcome of outcomes) if ("failed" in outcome) assert.is(outcome.failed.code, "OVERTAKEN");
  assert.equal(
    readdirSync(app.root).filter((name) => name.startsWith(".")),
    [],
  );
});

test("a worker that was stopped before its switch is refused when it goes on", async ({ defer }) => {
  const { app, data } = world();
  const script = fileURLToPath(new URL("./fixtures/switcher.ts", import.meta.url));
  const child = spawn(process.execPath, [script, data, appId, "1", "127.0.0.1:1"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  defer(() => child.kill("SIGKILL"));
  let said = "";
  child.stdout.on("data", (chunk) => {
    said += chunk;
  });
  const until = async (state: string) => {
    for (
      const deadline = Date.now() + 10_000;
      Date.now() < deadline;
      await new Promise((resolve) => setTimeout(resolve, 10))
    ) {
      const stat = readFileSync(`/proc/${child.pid}/stat`, "latin1");
      if (stat.slice(stat.lastIndexOf(")") + 2).startsWith(state)) return;
    }
    throw new Error(`never ${state}`);
  };
  await until("T");
  good(await switchRoute(app, { generation: 2, deployment: dep(2), target: { addresses: ["127.0.0.1:2"] } }));
  const ended = new Promise((resolve) => child.once("close", resolve));
  child.kill("SIGCONT");
  await ended;
  assert.match(said, "OVERTAKEN");
  assert.is((await readRoutes(app)).route?.generation, 2);
});

test("a switch that is stopped in the middle keeps the lock, others are told by whom, and it ends as it began", async ({
  defer,
}) => {
  const { app } = world();
  const route = (generation: number) => ({
    generation,
    deployment: dep(generation),
    target: { addresses: [`127.0.0.1:${generation}`] },
  });
  good(await switchRoute(app, route(1)));
  // Reading the generation waits for a writer: there it is stopped.
  rmSync(app.generation);
  execFileSync("mkfifo", [app.generation]);
  const middle = switchRoute(app, route(2), { timeoutMs: 30_000 });
  const holders = () =>
    readdirSync("/proc").filter((pid) => {
      try {
        return (
          /^\d+$/.test(pid) &&
          readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith("sh\0-c") &&
          readlinkSync(`/proc/${pid}/cwd`) === app.root
        );
      } catch {
        return false;
      }
    });
  for (const deadline = Date.now() + 10_000; holders().length === 0 && Date.now() < deadline; )
    await new Promise((resolve) => setTimeout(resolve, 10));
  const [holder] = holders().map(Number);
  assert.ok(holder, "it never began");
  process.kill(holder!, "SIGSTOP");
  defer(() => {
    try {
      process.kill(holder!, "SIGKILL");
    } catch {
      // it has ended
    }
  });
  const refused = bad(await switchRoute(app, route(3), { timeoutMs: 300 }), "ROUTE_LOCKED");
  assert.is(refused.class, "transient");
  assert.match(refused.message, /process \d+/);
  const late = new AbortController();
  const waiting = switchRoute(app, route(3), { signal: late.signal });
  late.abort();
  bad(await waiting, "CANCELLED");
  process.kill(holder!, "SIGCONT");
  writeFileSync(app.generation, "1");
  good(await middle);
  assert.equal([(await readRoutes(app)).route?.generation, (await readRoutes(app)).generation], [2, 2]);
  good(await switchRoute(app, route(3)));
  bad(await switchRoute(app, route(2)), "OVERTAKEN");
});

test("what is old goes, what is served, chosen or kept stays", async () => {
  const { app, source, data } = world();
  const releases: string[] = [];
  for (let generation = 1; generation <= 4; generation++) {
    const { release } = good(
      await materialiseStatic(app, { source: source({ "index.html": `${generation}` }), folder: "." }),
    );
    releases.push(release);
    good(await chooseRelease(app, { generation, release }));
    good(await switchRoute(app, { generation, deployment: dep(generation), target: { release } }));
  }
  mkdirSync(join(app.releases, ".new-dead"));
  const keep = { releases: [releases[2]!], sources: [], generations: [3] };
  assert.equal(good(await collect(app, keep)), { releases: 0, sources: 0, routes: 0 });
  assert.equal(good(await collect(app, { ...keep, olderThanMs: 0 })), { releases: 2, sources: 0, routes: 2 });
  assert.equal(readdirSync(app.releases).sort(), [releases[2]!, releases[3]!].sort());
  assert.equal((await readRoutes(app)).problems, []);
  good(await revertRoute(app, { generation: 4, to: 3 }));
  const disk = nodeDisk(data, "n1");
  assert.equal(await listApps(disk), [appId]);
  assert.equal(good(await removeApp(app)), { removed: true });
  assert.equal(good(await removeApp(app)), { removed: false });
  assert.equal(readdirSync(disk.apps), []);
});

test("a full disk: each act says so, nothing is half there, what is served is served on", async ({ skip, defer }) => {
  const mount = testFolder("full");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", mount], { stdio: "ignore" });
  } catch {
    skip("only root may mount a small disk");
  }
  defer(() => execFileSync("umount", ["-l", mount]));
  const { app, source } = world(join(mount, "data"));
  const { release } = good(await materialiseStatic(app, { source: source({ "index.html": "live" }), folder: "." }));
  good(await switchRoute(app, { generation: 1, deployment: dep(1), target: { release } }));
  const large = source({ "index.html": "new", big: "x".repeat(4_000_000) });
  assert.is(bad(await materialiseStatic(app, { source: large, folder: "." }), "DISK_FULL").class, "permanent");
  assert.equal(readdirSync(app.releases), [release]);
  const repos = testFolder("repos");
  const repo = repository(join(repos, "r"));
  const commit = repo.commit({ big: Array.from({ length: 300_000 }, () => Math.random().toString(36)).join("") });
  const small = repository(join(repos, "zeros"));
  const zeros = small.commit({ big: "0".repeat(6_000_000) });
  const work = { disk: nodeDisk(join(mount, "data"), "n1"), localSources: [repos] };
  bad(await pullSource(app, { kind: "path", path: repo.path }, { commit, ref: commit }, work), "DISK_FULL");
  bad(await pullSource(app, { kind: "path", path: small.path }, { commit: zeros, ref: zeros }, work), "DISK_FULL");
  assert.equal(readdirSync(app.sources), []);
  assert.throws(() => writeFileSync(join(mount, "filler"), "x".repeat(4_000_000)), /ENOSPC/);
  bad(
    await switchRoute(app, { generation: 2, deployment: dep(2), target: { addresses: ["127.0.0.1:1"] } }),
    "DISK_FULL",
  );
  const state = await readRoutes(app);
  assert.equal([state.route?.generation, state.route?.release, state.problems], [1, release, []]);
  good(await findRelease(app, release, { verify: true }));
  rmSync(join(mount, "filler"));
  good(await switchRoute(app, { generation: 2, deployment: dep(2), target: { addresses: ["127.0.0.1:1"] } }));
});

test.run();
