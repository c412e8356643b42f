import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { atLeast, cacheFolder, findNatsServer, parseVersion } from "./binaries.ts";
import { mirrorCandidates } from "./debian.ts";

const test = suite("binaries");

/** A folder with a program in it that says this of itself. */
function program({ defer }: TestContext, says: string, place = ""): { folder: string; path: string } {
  const folder = mkdtempSync(join(tmpdir(), "millrace-programs-"));
  defer(() => rmSync(folder, { recursive: true }));
  const path = join(folder, place, "nats-server");
  mkdirSync(join(folder, place), { recursive: true });
  writeFileSync(path, `#!/bin/sh\necho "${says}"\n`);
  chmodSync(path, 0o755);
  return { folder, path };
}

test("reads versions as programs write them", () => {
  assert.is(parseVersion("nats-server: v2.15.1\n"), "2.15.1");
  assert.is(parseVersion("2.11.4"), "2.11.4");
  assert.is(parseVersion("v2.8.4 h1:q3pe0wpBj1OcHFZ3n/1nl4V4bxBrYoSoab7rL9BMYNk="), "2.8.4");
  assert.is(parseVersion("nonsense"), undefined);
});

test("compares versions by number", () => {
  assert.ok(atLeast("2.12.0", "2.12.0"));
  assert.ok(atLeast("2.12", "2.12.0"));
  assert.ok(atLeast("2.100.0", "2.12.0"));
  assert.ok(atLeast("3.0", "2.12.0"));
  assert.not.ok(atLeast("2.9.25", "2.12.0"));
});

test("what was set wins, or is refused, never replaced", async (context) => {
  const good = program(context, "nats-server: v2.13.0");
  const old = program(context, "nats-server: v2.10.29");
  const env = { PATH: good.folder };
  assert.equal(await findNatsServer({ bring: false, env: { ...env, MILLRACE_NATS_SERVER: good.path } }), {
    path: good.path,
    version: "2.13.0",
    from: "setting",
  });
  const refused = await findNatsServer({ bring: true, env: { ...env, MILLRACE_NATS_SERVER: old.path } });
  assert.is(refused.path, undefined);
  assert.match("why" in refused ? refused.why : "", "is 2.10.29, needed is 2.12.0 or later");
  const absent = await findNatsServer({ bring: true, env: { ...env, MILLRACE_NATS_SERVER: "/there/is/none" } });
  assert.match("why" in absent ? absent.why : "", "does not run");
});

test("then the path, passing over what is too old, then what was brought before", async (context) => {
  const good = program(context, "nats-server: v2.13.0");
  const old = program(context, "nats-server: v2.10.29");
  const cached = program(context, "nats-server: v2.15.1", "debian/nats-server/usr/sbin");
  const env = { PATH: `${old.folder}:/bin:/usr/bin`, MILLRACE_CACHE: cached.folder };
  assert.is(
    (await findNatsServer({ bring: false, env: { ...env, PATH: `${old.folder}:${good.folder}` } })).path,
    good.path,
  );
  const found = await findNatsServer({ bring: false, env });
  assert.equal(found, { path: cached.path, version: "2.15.1", from: "cache" });
});

test("what is missing is named, with how to get it", async (context) => {
  const old = program(context, "nats-server: v2.10.29");
  const missing = await findNatsServer({ bring: false, env: { PATH: old.folder, MILLRACE_CACHE: "/there/is/none" } });
  assert.is(missing.path, undefined);
  if (missing.path !== undefined) return;
  assert.match(missing.why, `NATS server 2.12.0 or later is not there (${old.path} is 2.10.29)`);
  assert.match(missing.install, "nats-server");
});

test("the cache folder", () => {
  assert.is(cacheFolder({ MILLRACE_CACHE: "/a", XDG_CACHE_HOME: "/b", HOME: "/" }), "/a");
  assert.is(cacheFolder({ XDG_CACHE_HOME: "/b", HOME: "/" }), "/b/millrace");
  assert.is(cacheFolder({ HOME: tmpdir() }), join(tmpdir(), ".cache", "millrace"));
  assert.match(cacheFolder({ HOME: "/there/is/none" }), /millrace-cache-\d+$/);
});

test("mirrors from both forms of apt's sources; no security archive, and Debian's own at last", () => {
  const sources = `# deb http://commented.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian/ bookworm main contrib
deb-src http://mirror.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main

Types: deb
# http://commented.example/archive
URIs: https://snapshot.example/archive/debian/20250520T000000Z
Suites: bookworm bookworm-updates
Components: main
`;
  assert.equal(mirrorCandidates(sources), [
    "http://mirror.example/debian",
    "https://snapshot.example/archive/debian/20250520T000000Z",
    "https://snapshot.example/debian",
    "http://deb.debian.org/debian",
  ]);
});

test("on another distribution the same host is asked for Debian", () => {
  assert.equal(mirrorCandidates("Types: deb\nURIs: http://mirror.example/ubuntu\nSuites: noble\nComponents: main\n"), [
    "http://mirror.example/debian",
    "http://deb.debian.org/debian",
  ]);
  assert.equal(mirrorCandidates(""), ["http://deb.debian.org/debian"]);
});

test.run();
