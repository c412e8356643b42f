/** Signed tokens: what is forged, changed, over or another kind of token is none; what claims cover; the configuration file. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { gzipSync } from "node:zlib";
import {
  NOT_TAKEN_OVER,
  readFlatManagerConfig,
  repositoryNameOf,
} from "@millrace/contracts/publishing/flat-manager.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { FlatRefused } from "./answers.ts";
import { bytesOf } from "./body.ts";
import { type Claims, coversApp, coversRepo, coversSubject, subsetOf } from "./claims.ts";
import { readJwt, signJwt } from "./jwt.ts";

const test = suite("signed tokens of flat-manager");

const SECRET = { bytes: Buffer.from("c2VjcmV0", "base64"), from: "file" };
const OTHER = { bytes: Buffer.from("another"), from: "own" };
const NOW = 1_800_000_000;
const ALL: Claims = {
  sub: "build",
  exp: NOW + 1_000,
  name: "default",
  scope: ["build", "upload", "download", "publish", "jobs"],
  prefixes: [""],
  apps: [],
  repos: [""],
};
const b64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const signed = (header: unknown, claims: unknown, key: Uint8Array = SECRET.bytes, hash = "sha256"): string => {
  const text = `${b64(header)}.${b64(claims)}`;
  return `${text}.${createHmac(hash, key).update(text).digest("base64url")}`;
};

test("signed by one of the secrets, and in time", () => {
  const good = signJwt(SECRET.bytes, ALL);
  assert.ok(good.startsWith("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."), "the header that its clients know");
  assert.deepEqual(readJwt([OTHER, SECRET], good, NOW), { claims: ALL, key: SECRET });
  assert.equal(readJwt([OTHER], good, NOW), "forged");
  assert.equal(readJwt([], good, NOW), "forged");
  assert.ok(typeof readJwt([SECRET], good, NOW + 1_000) === "object", "its last second is one of it");
  assert.equal(readJwt([SECRET], good, NOW + 1_001), "expired");
});

test("what it says of its own algorithm opens no door; every changed byte closes it", () => {
  const header = { typ: "JWT", alg: "HS256" };
  const [head, body, signature] = signJwt(SECRET.bytes, ALL).split(".");
  const none = b64({ typ: "JWT", alg: "none" });
  for (const text of [`${none}.${body}.`, `${none}.${body}.${signature}`, signed({ alg: "none" }, ALL)]) {
    assert.equal(readJwt([SECRET], text, NOW), "malformed");
  }
  assert.equal(readJwt([SECRET], signed({ alg: "HS512" }, ALL, SECRET.bytes, "sha512"), NOW), "malformed");
  assert.equal(readJwt([SECRET], signed({ ...header, crit: ["exp"] }, ALL), NOW), "malformed");
  const more = b64({ ...ALL, scope: ["tokenmanagement"] });
  assert.equal(readJwt([SECRET], `${head}.${more}.${signature}`, NOW), "forged");
  const good = `${head}.${body}.${signature}`;
  for (let at = 0; at < good.length; at++) {
    const other = good[at] === "A" ? "B" : "A";
    const found = readJwt([SECRET], good.slice(0, at) + other + good.slice(at + 1), NOW);
    assert.equal(typeof found, "string", `the byte ${at} counts`);
  }
  for (const text of ["", "a", "a.b", "a.b.c.d", `${good}.`, `${good}=`, ` ${good}`, "x".repeat(20_000)]) {
    assert.equal(readJwt([SECRET], text, NOW), "malformed");
  }
});

test("claims that are none", () => {
  const header = { typ: "JWT", alg: "HS256" };
  const wrong: unknown[] = [
    {},
    { sub: "build" },
    { exp: NOW },
    { ...ALL, exp: "never" },
    { ...ALL, sub: 7 },
    { ...ALL, scope: "build" },
    { ...ALL, prefixes: [1] },
    { ...ALL, jti: {} },
    [],
    "text",
    null,
  ];
  for (const claims of wrong) assert.equal(readJwt([SECRET], signed(header, claims), NOW), "malformed");
  const least = readJwt([SECRET], signed(header, { sub: "", exp: NOW, unknown: 1, scope: ["later", "build"] }), NOW);
  assert.ok(typeof least === "object");
  assert.deepEqual(least.claims, { sub: "", exp: NOW, scope: ["later", "build"], prefixes: [], apps: [], repos: [] });
});

test("what claims cover", () => {
  const subjects: [string, string, boolean][] = [
    ["build", "build", true],
    ["build", "build/7", true],
    ["build/7", "build/7", true],
    ["build/7", "build/70", false],
    ["build/7", "build", false],
    ["", "build", false],
    ["", "", true],
    ["build", "", false],
    ["buil", "build", false],
  ];
  for (const [claimed, required, covers] of subjects) {
    assert.equal(coversSubject(claimed, required), covers, `${claimed} of ${required}`);
  }
  const app = (prefixes: string[], id: string, apps: string[] = []) => coversApp({ prefixes, apps }, id);
  assert.ok(
    app([], "org.foo") && app([""], "org.foo") && app(["org.foo"], "org.foo") && app(["org.foo"], "org.foo.Bar"),
  );
  assert.ok(!app(["org.foo"], "org.foobar") && !app(["org.foo"], "org") && app(["x"], "org.foo", ["org.foo"]));
  assert.ok(!app(["x"], "org.foo.Bar", ["org.foo"]));
  assert.ok(coversRepo({ repos: [""] }, "stable") && coversRepo({ repos: ["stable"] }, "stable"));
  assert.ok(!coversRepo({ repos: [] }, "stable") && !coversRepo({ repos: ["stable"] }, "beta"));
});

test("a part of a token: never more than the token", () => {
  const own: Claims = {
    ...ALL,
    jti: "x",
    prefixes: ["org.foo"],
    apps: ["net.one"],
    repos: ["stable"],
    token_type: "app",
  };
  const asked = { name: "upload", sub: "build/7", scope: ["upload"], duration: 60 };
  assert.deepEqual(subsetOf(own, { ...asked, prefixes: ["org.foo.Bar"] }, NOW), {
    ...own,
    sub: "build/7",
    exp: NOW + 60,
    name: "default/upload",
    scope: ["upload"],
    prefixes: ["org.foo.Bar"],
  });
  const beyond: object[] = [
    { duration: 1_001 },
    { sub: "" },
    { sub: "delta" },
    { scope: ["upload", "tokenmanagement"] },
    { prefixes: [] },
    { prefixes: [""] },
    { prefixes: ["org"] },
    { prefixes: ["net.one"] },
    { apps: ["net.one.More"] },
    { repos: [""] },
    { repos: ["stable", "beta"] },
  ];
  for (const more of beyond) assert.ok("beyond" in subsetOf(own, { ...asked, ...more }, NOW), JSON.stringify(more));
  assert.ok("sub" in subsetOf(own, { ...asked, apps: ["net.one", "org.foo.X"], repos: [] }, NOW));
});

const REPO = { path: "repo", subsets: {} };
const CONFIG = { secret: "c2VjcmV0", repos: { stable: REPO } };
const faults = (config: unknown): string[] => {
  const read = readFlatManagerConfig(typeof config === "string" ? config : JSON.stringify(config));
  return "faults" in read ? read.faults.map(({ pointer, detail }) => `${pointer} ${detail}`) : [];
};

test("its configuration file, read as it is; what is wrong is told by its place, and no value with it", () => {
  const whole = {
    ...CONFIG,
    "database-url": "postgres://…",
    host: "127.0.0.1",
    port: 8080,
    "base-url": "https://dl.example.org",
    "gpg-homedir": "gpg",
    "repo-secret": "c2VjcmV0",
    "token-prefix": "fm_",
    "build-repo-base": "builds",
    "build-gpg-key": null,
    "delay-update-secs": 10,
    "local-delta-threads": 1,
    workers: null,
    "storefront-info-endpoint": null,
    repos: {
      stable: {
        ...REPO,
        "suggested-repo-name": "flathub",
        "collection-id": "org.flathub.Stable",
        "deploy-collection-id": true,
        "gpg-key": ["A", "B"],
        "base-url": null,
        "runtime-repo-url": "https://dl.example.org/x.flatpakrepo",
        subsets: { verified: { "collection-id": "org.flathub.Verified", "base-url": null } },
        "post-publish-script": null,
        hooks: { publish: ["true"], checks: { lint: { command: ["lint"], reviewable: true } } },
        deltas: [{ id: ["*"], arch: ["x86_64"], depth: 2 }],
        "appstream-delta-depth": 5,
        "default-token-type": 0,
        "require-auth-for-token-types": [1],
      },
    },
  };
  assert.deepEqual(faults(whole), []);
  for (const key of Object.keys(NOT_TAKEN_OVER)) {
    const [first = "", second] = key.split(".");
    assert.ok(second === undefined ? first in whole : second in whole.repos.stable, key);
  }
  assert.deepEqual(faults("{"), [" is no JSON"]);
  assert.deepEqual(faults([]), [" is no object"]);
  assert.deepEqual(faults({ secret: "hush hush", repos: { stable: REPO } }), ["/secret is not what belongs there"]);
  assert.deepEqual(faults({ ...CONFIG, secert: "x", repos: { stable: { ...REPO, paht: "" } } }), [
    "/secert is no key of flat-manager",
    "/repos/stable/paht is no key of flat-manager",
  ]);
  assert.deepEqual(faults({ repos: { stable: { path: 7 } } }), [
    "/secret is missing",
    "/repos/stable/path is not what belongs there",
    "/repos/stable/subsets is missing",
  ]);
  assert.deepEqual(faults({ ...CONFIG, repos: { a_b: REPO, "a-b": REPO, "…": REPO } }), [
    "/repos/a-b would be called a-b, as another is",
    "/repos/… no name of a repository can be made of it",
  ]);
  assert.equal(repositoryNameOf("Stable_x"), "stable-x");
});

async function* piecewise(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const fails = async (work: Promise<unknown>, status: number) =>
  assert.rejects(work, (error) => error instanceof FlatRefused && error.error.status === status);

test("bodies: packed or not, and never more than allowed", async () => {
  const text = Buffer.from('{"wanted":[]}');
  const packed = gzipSync(text);
  assert.deepEqual(await bytesOf(piecewise(text, 3), undefined, 100), text);
  for (let size = 1; size <= packed.length; size++) {
    assert.deepEqual(await bytesOf(piecewise(packed, size), "gzip", 100), text);
  }
  await fails(bytesOf(piecewise(packed.subarray(0, -1), 7), "gzip", 100), 400);
  await fails(bytesOf(piecewise(text, 7), "gzip", 100), 400);
  await fails(bytesOf(piecewise(text, 7), "br", 100), 400);
  await fails(bytesOf(piecewise(text, 7), undefined, 12), 413);
  const bomb = gzipSync(Buffer.alloc(32 * 1024 * 1024));
  await fails(bytesOf(piecewise(bomb, 4_096), "gzip", 1024 * 1024), 413);
});

test.run();
