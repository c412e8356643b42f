/** Manifests: what is read, what is refused and where, what comes out to be built; and what an application may do once it is installed. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { checkManifest } from "./manifest.ts";
import { MANIFEST_LIMITS, readManifestText, Unreadable } from "./manifest-text.ts";
import { metadataFacts } from "./metadata.ts";
import { parseFinishArguments, riskOf } from "./permissions.ts";

const test = suite("manifests");

const BASIS = { id: "org.test.Hello", runtime: "org.test.Platform", "runtime-version": "1", sdk: "org.test.Sdk" };
const SIMPLE = { name: "hello", buildsystem: "simple", "build-commands": ["true"] };

/** Checks one file, or several. */
function check(files: unknown, path = "app.json") {
  const all = typeof files === "string" ? { [path]: files } : (files as Record<string, unknown>);
  const text = (name: string) => {
    const file = Object.hasOwn(all, name) ? all[name] : undefined;
    return file === undefined || typeof file === "string" ? file : JSON.stringify(file);
  };
  return checkManifest(path, text);
}
const app = (more: object, files: object = {}) => check({ "app.json": { ...BASIS, command: "x", ...more }, ...files });
const withSource = (source: unknown, files: object = {}) => app({ modules: [{ ...SIMPLE, sources: [source] }] }, files);
const codes = ({ findings }: ReturnType<typeof check>) =>
  findings.map(({ severity, code, path }) => `${severity} ${code} ${path}`);

const YAML = `
app-id: org.test.Hello      # an older word for id
runtime: org.test.Platform
runtime-version: 1.10
sdk: org.test.Sdk
sdk-extensions: [org.test.Sdk.Extension.rust]
command: hello.sh
branch: 23.08
x-checker: {any: thing}
finish-args: &arguments
  - --share=network
  - --filesystem=home:ro
  - --talk-name=org.freedesktop.Notifications
tags: [yes, ~, 1.50]
modules:
  - shared/lib.yml
  - name: hello
    buildsystem: simple
    build-commands:
      - install -D hello.sh /app/bin/hello.sh
    sources:
      - type: file
        path: hello.sh
      - {type: dir, path: data, dest: share/data}
`;
const LIBRARY =
  "name: lib\nbuildsystem: cmake\nsources:\n  - type: archive\n    path: ../vendor/lib.tar\n  - sums.json\n";

test("YAML with a file taken in, and one from that: what is built is made of what was checked", () => {
  const sums = [{ type: "inline", contents: "a", "dest-filename": "a" }];
  const { manifest, findings } = check(
    { "app.yml": YAML, "shared/lib.yml": LIBRARY, "shared/sums.json": sums },
    "app.yml",
  );
  assert.deepEqual(
    findings.map(({ code, message }) => [code, message]),
    [["PERMISSION_WIDE", "filesystems=home:ro: it reads all files of the user."]],
  );
  assert.deepEqual(
    [manifest!.id, manifest!.kind, manifest!.branch, manifest!.runtimeVersion],
    ["org.test.Hello", "app", "23.08", "1.10"],
  );
  assert.deepEqual(manifest!.files, ["data", "hello.sh", "vendor/lib.tar"]);
  assert.deepEqual(manifest!.modules, [
    { name: "lib", buildsystem: "cmake", sources: ["archive", "inline"] },
    { name: "hello", buildsystem: "simple", sources: ["file", "dir"] },
  ]);
  assert.deepEqual(
    manifest!.needs.map(({ kind, id, branch }) => `${kind}/${id}/${branch}`),
    ["runtime/org.test.Platform/1.10", "runtime/org.test.Sdk/1.10", "runtime/org.test.Sdk.Extension.rust/1.10"],
  );
  const { build } = manifest!;
  assert.deepEqual([build.id, build["x-checker"], build.tags], ["org.test.Hello", undefined, ["yes", "~", "1.50"]]);
  assert.deepEqual((build.modules as { sources: unknown }[])[0]!.sources, [
    { type: "archive", path: "source/vendor/lib.tar" },
    sums[0],
  ]);
  assert.deepEqual(
    manifest!.permissions.map(({ permission, level }) => [permission, level]),
    [
      ["Session Bus Policy: org.freedesktop.Notifications=talk", undefined],
      ["filesystems=home:ro", "wide"],
      ["shared=network", "note"],
    ],
  );
});

test("JSON with comments, and where it is wrong", () => {
  const text = `// ours\n{ "id": "org.test.Hello", /* "id": "x", */ "runtime": "org.test.Platform", "runtime-version": 1.10,
    "sdk": "org.test.Sdk", "command": "a // b", "modules": [] }`;
  const { manifest } = check(text);
  assert.deepEqual([manifest!.runtimeVersion, manifest!.command], ["1.10", "a // b"]);
  const [finding] = check('{\n  "id": "a.b.c",\n  "tags": [1,]\n}').findings;
  assert.equal(finding!.code, "NOT_JSON");
  assert.match(finding!.message, /"tags": \[1,\]/);
  assert.match(check('{"id":"a.b.c","modules":[],"id":"a.b.d"}').findings[0]!.message, /"id" is there twice/);
});

test("whatever leaves the sandbox, the source, or needs a network: refused at its place", () => {
  const refused: [ReturnType<typeof check>, string][] = [
    [app({ "build-options": { "build-args": ["--share=network"] } }), "BUILD_ARGS /build-options/build-args"],
    [
      app({ modules: [{ ...SIMPLE, "build-options": { arch: { x86_64: { "test-args": ["--filesystem=/"] } } } }] }),
      "BUILD_ARGS /modules/0/build-options/arch/x86_64/test-args",
    ],
    [app({ modules: [{ ...SIMPLE, "secret-env": ["TOKEN"] }] }), "SECRETS /modules/0/secret-env"],
    [withSource({ type: "dir", path: "/etc" }), "SOURCE_OUTSIDE /modules/0/sources/0/path"],
    [withSource({ type: "dir", path: ".." }), "SOURCE_OUTSIDE /modules/0/sources/0/path"],
    [withSource({ type: "file", path: "a/../../b" }), "SOURCE_OUTSIDE /modules/0/sources/0/path"],
    [withSource({ type: "file", path: "a", "dest-filename": "../b" }), "LEADS_OUT /modules/0/sources/0/dest-filename"],
    [withSource({ type: "dir", path: "a", dest: "/b" }), "LEADS_OUT /modules/0/sources/0/dest"],
    [withSource({ type: "file", url: "https://example.org/x" }), "FETCHED /modules/0/sources/0/url"],
    [withSource({ type: "file", url: "file:///etc/shadow" }), "FETCHED /modules/0/sources/0/url"],
    [withSource({ type: "git", url: "https://example.org/x.git" }), "FETCHED /modules/0/sources/0"],
    [
      withSource({ type: "patch", path: "a", options: ["--directory=/", "-l"] }),
      "PATCH_OPTION /modules/0/sources/0/options/0",
    ],
    [withSource({ type: "__proto__" }), "SOURCE_TYPE /modules/0/sources/0/type"],
    [withSource("../x.json"), "SOURCE_OUTSIDE /modules/0/sources/0"],
    [app({ modules: ["/etc/passwd"] }), "SOURCE_OUTSIDE /modules/0"],
    [app({ modules: ["none.json"] }), "FILE_MISSING /modules/0"],
    [app({ metadata: "../../metadata" }), "SOURCE_OUTSIDE /metadata"],
    [app({ modules: [{ ...SIMPLE, subdir: "../.." }] }), "LEADS_OUT /modules/0/subdir"],
    [app({ modules: [{ ...SIMPLE, name: "../x" }] }), "LEADS_OUT /modules/0/name"],
  ];
  for (const [checked, expected] of refused) {
    assert.equal(checked.manifest, undefined, expected);
    assert.ok(codes(checked).includes(`error ${expected}`), `${expected}: ${codes(checked)}`);
    assert.ok(checked.findings.every(({ fix }) => fix !== ""));
  }
});

test("its structure: what is missing, of another kind, unknown", () => {
  assert.deepEqual(codes(check({ "app.json": {} })), [
    "error KEY_MISSING /id",
    "error KEY_MISSING /runtime",
    "error KEY_MISSING /sdk",
    "warning NO_MODULES /modules",
    "warning NO_COMMAND /command",
  ]);
  assert.deepEqual(codes(check("[1]")), ["error NOT_A_MANIFEST "]);
  assert.deepEqual(codes(check({})), ["error NO_MANIFEST "]);
  const { findings } = app({
    id: "hello",
    separateLocales: true,
    "separate-locales": "yes",
    "token-type": 1.5,
    modules: [{ name: "a", buildsystem: "make", "build-commands": [1, {}] }, 7],
    "finish-args": ["--socket=x12", "--fly", "--socket=x11"],
  });
  assert.deepEqual(
    findings.map(({ code, path }) => `${code} ${path}`).sort(),
    [
      "BUILD_SYSTEM /modules/0/buildsystem",
      "FINISH_ARGUMENT /finish-args/0",
      "FINISH_ARGUMENT /finish-args/1",
      "ID /id",
      "PERMISSION_WIDE /finish-args",
      "UNKNOWN_KEY /separateLocales",
      "WRONG_TYPE /modules/0/build-commands/1",
      "WRONG_TYPE /modules/1",
      "WRONG_TYPE /separate-locales",
      "WRONG_TYPE /token-type",
    ].sort(),
  );
  assert.match(findings.find(({ code }) => code === "UNKNOWN_KEY")!.fix, /"separate-locales" may be meant/);
  // In a file that is taken in: by its name there.
  const inside = app({ modules: ["m/lib.json"] }, { "m/lib.json": { name: "lib", sources: [{ type: "dir" }] } });
  assert.deepEqual(
    inside.findings.map(({ file, path, code }) => [file, path, code]),
    [["m/lib.json", "/sources/0", "KEY_MISSING"]],
  );
});

test("hostile texts end soon, with a reason", () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\n${[..."bcdefghij"].map((name, at) => `${name}: &${name} [${Array(10).fill(`*${"abcdefghij"[at]}`)}]`).join("\n")}`;
  const cases: [string, string, string][] = [
    [bomb, "a.yml", "TOO_MANY"],
    ["a: &a [*a]", "a.yml", "TOO_DEEP"],
    ["[".repeat(100_000), "a.yml", "TOO_DEEP"],
    ["[\n".repeat(50_000), "a.yaml", "TOO_DEEP"],
    ["- ".repeat(50_000), "a.yml", "TOO_DEEP"],
    [`${"- ".repeat(100)}a`, "a.yml", "TOO_DEEP"],
    ["[".repeat(1_000_000), "a.json", "TOO_DEEP"],
    [`[${"1,".repeat(300_000)}1]`, "a.json", "TOO_MANY"],
    [" ".repeat(MANIFEST_LIMITS.jsonBytes + 1), "a.json", "TOO_LARGE"],
    [" ".repeat(MANIFEST_LIMITS.yamlBytes + 1), "a.yml", "TOO_LARGE"],
    ["a: 1\na: 2", "a.yml", "KEY_TWICE"],
    ["a: 1\n---\na: 2", "a.yml", "TWO_DOCUMENTS"],
    ["a: *none", "a.yml", "NOT_YAML|YAML_ALIAS"],
    ["a: !run 'x'", "a.yml", "NOT_YAML|YAML_TAG"],
    ["? [a]\n: b", "a.yml", "YAML_KEY"],
    ['{"a":"\\ufffd \ufffd"}', "a.json", "NOT_TEXT"],
    ['{"a":', "a.json", "NOT_JSON"],
    ["/*", "a.json", "NOT_JSON"],
  ];
  for (const [text, name, code] of cases) {
    assert.throws(
      () => readManifestText(text, name),
      (error) => error instanceof Unreadable && code.split("|").includes(error.finding.code),
      `${text.slice(0, 30)} is ${code}`,
    );
  }
  // Files that take in each other.
  const round = check({ "app.json": { ...BASIS, modules: ["app.json"] } });
  assert.equal(round.manifest, undefined);
  const many = check({ "app.json": { ...BASIS, modules: Array(5_000).fill("m.json") }, "m.json": SIMPLE });
  assert.ok(codes(many).includes("error TOO_MANY /modules/49"));
  assert.ok(many.findings.length <= MANIFEST_LIMITS.findings);
  assert.deepEqual(readManifestText('{"__proto__":{"x":1}}', "a.json"), JSON.parse('{"__proto__":{"x":1}}'));
});

test("what an application may do, in the words of its metadata; and what of that is dangerous", () => {
  const parsed = parseFinishArguments([
    "--share=ipc",
    "--unshare=network",
    "--socket=wayland",
    "--nosocket=x11",
    "--device=dri",
    "--filesystem=xdg-download:ro",
    "--nofilesystem=host",
    "--own-name=org.test.*",
    "--system-talk-name=org.freedesktop.UPower",
    "--env=A=b=c",
    "--persist=.hello",
    "--metadata=Context=devices=all;",
    "--require-version=1.0.0",
  ]);
  assert.deepEqual(parsed.faults, []);
  assert.deepEqual(parsed.permissions, [
    "Session Bus Policy: org.test.*=own",
    "System Bus Policy: org.freedesktop.UPower=talk",
    "devices=all",
    "devices=dri",
    "environment A=b=c",
    "filesystems=!host",
    "filesystems=xdg-download:ro",
    "persistent=.hello",
    "shared=!network",
    "shared=ipc",
    "sockets=!x11",
    "sockets=wayland",
  ]);
  const bad = [
    "network",
    "--share",
    "--filesystem=etc",
    "--talk-name=a b",
    "--env=A",
    "--talk-name=a\n",
    "--constructor=x",
  ];
  assert.equal(parseFinishArguments(bad).faults.length, bad.length);
  const levels = {
    escape: [
      "filesystems=host",
      "filesystems=home:rw",
      "filesystems=~/.ssh",
      "sockets=session-bus",
      "Session Bus Policy: org.freedesktop.Flatpak=talk",
      "Session Bus Policy: *=talk",
    ],
    wide: ["filesystems=host:ro", "devices=all", "sockets=x11", "environment LD_PRELOAD=/app/x.so", "filesystems=/etc"],
    note: ["shared=network", "sockets=pulseaudio"],
  };
  for (const [level, permissions] of Object.entries(levels)) {
    for (const permission of permissions) assert.equal(riskOf(permission)?.level, level, permission);
  }
  for (const none of ["shared=!network", "filesystems=!host", "sockets=wayland", "filesystems=xdg-download:ro"]) {
    assert.equal(riskOf(none), undefined, none);
  }
  const facts = metadataFacts(
    "[Application]\nname=org.test.Hello\nruntime=org.test.Platform/x86_64/1\ncommand=hello\n\n[Context]\nshared=network;ipc;\n\n[Extension org.test.Hello.Locale]\ndirectory=share\n",
  );
  assert.deepEqual(
    [facts!.kind, facts!.id, facts!.command, facts!.permissions, facts!.extensions],
    ["app", "org.test.Hello", "hello", ["shared=ipc", "shared=network"], ["org.test.Hello.Locale"]],
  );
  assert.equal(metadataFacts("[Other]\nname=x"), undefined);
});

test.run();
