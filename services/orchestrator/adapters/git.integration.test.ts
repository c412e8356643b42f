/** Sources from real repositories over real transports, and from every kind of bad one. */
import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Failure, Outcome } from "@millrace/eventlog/outcome.ts";
import {
  findSource,
  type GitWork,
  type Pulled,
  pullSource,
  resolveRef,
  type Source,
} from "@millrace/eventlog/sources/git.ts";
import * as assert from "uvu/assert";
import { testFolder } from "../../../tests/harness/servers.ts";
import { sshKey, startSshd } from "../../../tests/harness/sshd.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { collect, collectMirrors } from "./collect.ts";
import { type AppDisk, appDisk, type NodeDisk, nodeDisk } from "./disk.ts";
import { dumb, repository, serve, smart } from "./fixtures/git-world.ts";

const test = suite("git", { timeoutMs: 60_000 });
const appId = "app_01kajzq4v0e8r9t2m5x7c3d6fg";

interface World {
  readonly root: string;
  readonly repos: string;
  readonly disk: NodeDisk;
  readonly app: AppDisk;
  readonly lines: string[];
  readonly work: GitWork;
}

function world(): World {
  const root = testFolder("git");
  const repos = join(root, "repos");
  mkdirSync(repos);
  const disk = nodeDisk(join(root, "data"), "n1");
  const lines: string[] = [];
  const work = {
    disk,
    localSources: [repos],
    onLine: (line: string) => void lines.push(line),
    limits: { stallMs: 20_000 },
  };
  return { root, repos, disk, app: appDisk(disk, appId), lines, work };
}

function good<T extends object>(outcome: Outcome<T>): T {
  if ("failed" in outcome) throw new Error(JSON.stringify(outcome.failed));
  return outcome;
}

function bad(outcome: Outcome<object>, code: string, kind: Failure["class"] = "permanent"): Failure {
  if (!("failed" in outcome)) throw new Error(`no failure: ${JSON.stringify(outcome)}`);
  assert.equal([outcome.failed.code, outcome.failed.class], [code, kind], outcome.failed.message);
  assert.ok(outcome.failed.message.length > 10 && outcome.failed.fix.length > 5);
  return outcome.failed;
}

async function pull(world: World, source: Source, ref = "main", more: Partial<GitWork> = {}): Promise<Outcome<Pulled>> {
  const work = { ...world.work, ...more };
  const resolved = await resolveRef(source, ref, work);
  return "failed" in resolved ? resolved : pullSource(world.app, source, resolved, work);
}

/** All text below a folder. */
function textBelow(folder: string): string {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"))
    .join("\n");
}

test("a branch, tags of both kinds, a commit whole and short, deep in the history; each once", async () => {
  const here = world();
  const repo = repository(join(here.repos, "site"));
  const first = repo.commit({ "public/index.html": "one", ".gitattributes": "public export-ignore\n" });
  repo.git("tag", "light");
  const second = repo.commit({ "public/index.html": "two" });
  repo.git("tag", "-a", "-m", "x", "heavy");
  repo.git("branch", "heavy", first);
  const source: Source = { kind: "path", path: repo.path };
  const commitOf = async (ref: string) => good(await resolveRef(source, ref, here.work));
  assert.equal(await commitOf("main"), { commit: second, ref: "refs/heads/main" });
  assert.equal(await commitOf("light"), { commit: first, ref: "refs/tags/light" });
  assert.equal(await commitOf("heavy"), { commit: first, ref: "refs/heads/heavy" });
  assert.equal(await commitOf("refs/tags/heavy"), { commit: second, ref: "refs/tags/heavy" });
  assert.equal(await commitOf("HEAD"), { commit: second, ref: "HEAD" });
  const old = good(await pullSource(here.app, source, await commitOf(first), here.work));
  assert.is(readFileSync(join(old.folder, "public/index.html"), "utf8"), "one");
  assert.equal([old.adopted, old.files, old.lfsPointers, old.submodules], [false, 2, 0, 0]);
  assert.equal(await commitOf(first.slice(0, 9)), { commit: first, ref: first });
  assert.equal(good(await pull(here, source, first)), { ...old, adopted: true });
  assert.equal(await findSource(here.app, first), { ...old, adopted: true });
  assert.is(await findSource(here.app, "0".repeat(40)), undefined);
  assert.not.ok(existsSync(join(old.folder, ".git")));
  bad(await resolveRef(source, "nope", here.work), "REF_NOT_FOUND");
  bad(await resolveRef(source, "deadbee", here.work), "REF_NOT_FOUND");
  bad(await resolveRef(source, "--upload-pack=x", here.work), "REF_NOT_FOUND");
  bad(await pull(here, source, "d".repeat(40)), "COMMIT_NOT_FOUND");
  repository(join(here.repos, "empty"));
  bad(await pull(here, { kind: "path", path: join(here.repos, "empty") }), "REPOSITORY_EMPTY");
});

test("several at once share one mirror; what is kept stays, the rest is collected", async () => {
  const here = world();
  const repo = repository(join(here.repos, "site"));
  const commits = [1, 2, 3].map((number) => repo.commit({ "index.html": `${number}` }));
  const source: Source = { kind: "path", path: repo.path };
  const other = appDisk(here.disk, "app_01kajzq4v0e8r9t2m5x7c3d6fh");
  const all = await Promise.all(
    [...commits, ...commits].map((commit, index) =>
      pullSource(index < 3 ? here.app : other, source, { commit, ref: commit }, here.work),
    ),
  );
  const twice = await Promise.all(
    [1, 2].map(() => pullSource(other, source, { commit: commits[0]!, ref: "x" }, here.work)),
  );
  for (const one of [...all, ...twice]) good(one);
  assert.is(readdirSync(here.disk.mirrors).filter((name) => name.endsWith(".git")).length, 1);
  assert.equal(
    good(await collect(here.app, { releases: [], sources: [commits[2]!], generations: [], olderThanMs: 0 })).sources,
    2,
  );
  assert.equal(readdirSync(here.app.sources).sort(), [commits[2]!, `${commits[2]}.complete`]);
  assert.equal(await collectMirrors(here.disk, [`file://${repo.path}`], 0), { mirrors: 0 });
  assert.equal(await collectMirrors(here.disk, [], 0), { mirrors: 1 });
  good(await pullSource(here.app, source, { commit: commits[0]!, ref: "x" }, here.work));
});

test("a private repository over HTTP: without, with a wrong, and with the right token, which is nowhere afterwards", async ({
  defer,
}) => {
  const here = world();
  const commit = repository(join(here.repos, "private")).commit({ "index.html": "secret page" });
  const token = "tok-3f9a1c-SECRET";
  const server = await serve(smart(here.repos, token));
  defer(server.close);
  const source: Source = { kind: "git", url: `${server.url}/private/.git` };
  bad(await pull(here, source), "CREDENTIALS_NEEDED");
  const wrong = bad(
    await pull(here, source, "main", { credentials: { kind: "token", token: "tok-wrong-SECRET" } }),
    "CREDENTIALS_REFUSED",
  );
  assert.not.match(wrong.message, "SECRET");
  const pulling = pull(here, source, "main", { credentials: { kind: "token", token } });
  let over = false;
  const watched: string[] = [];
  const watch = (async () => {
    while (!over) {
      for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
        try {
          watched.push(readFileSync(`/proc/${pid}/cmdline`, "latin1"));
        } catch {
          // it has ended
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  const pulled = good(await pulling);
  over = true;
  await watch;
  assert.is(pulled.commit, commit);
  assert.ok(
    watched.some((line) => line.includes("git-remote-http") || line.includes("ls-remote")),
    "git was seen",
  );
  assert.not.ok(
    watched.some((line) => line.includes(token)),
    "in the process list",
  );
  assert.not.match(textBelow(here.disk.root), token);
  assert.not.match(here.lines.join("\n"), token);
});

test("a redirect to another host takes no token there", async ({ defer }) => {
  const here = world();
  repository(join(here.repos, "r")).commit({ "index.html": "x" });
  const thief = await serve(smart(here.repos, "another"));
  defer(thief.close);
  const front = await serve(
    (asked, answer) => void answer.writeHead(302, { location: `${thief.url}${asked.url}` }).end(),
  );
  defer(front.close);
  const credentials = { kind: "token", token: "tok-3f9a1c-SECRET" } as const;
  const outcome = await pull(here, { kind: "git", url: `${front.url}/r/.git` }, "main", { credentials });
  assert.ok("failed" in outcome);
  assert.equal(thief.authorizations, []);
});

test("a server with nothing but files is read too, whole", async ({ defer }) => {
  const here = world();
  const repo = repository(join(here.repos, "plain"));
  const first = repo.commit({ "index.html": "x" });
  repo.commit({ "index.html": "y" });
  repo.git("update-server-info");
  const server = await serve(dumb(here.repos));
  defer(server.close);
  const source: Source = { kind: "git", url: `${server.url}/plain/.git` };
  assert.is(readFileSync(join(good(await pull(here, source)).folder, "index.html"), "utf8"), "y");
  assert.is(good(await pull(here, source, first)).commit, first);
});

test("over SSH: the key is a file of mode 0600 as long as ssh runs; hosts' keys are the node's own", async ({
  defer,
}) => {
  const here = world();
  const commit = repository(join(here.repos, "app")).commit({ "index.html": "x" });
  // No server of SSH is needed to see how ssh is called: this one runs the remote command here.
  const bin = join(here.root, "bin");
  mkdirSync(bin);
  const told = join(here.root, "told");
  const script = `#!/bin/sh
for word; do echo "arg $word"; last=$word; case $before in -i) stat -c 'mode %a' "$word"; sed 's/^/key /' "$word";; esac; before=$word; done >> ${told}
exec sh -c "$last"
`;
  writeFileSync(join(bin, "ssh"), script);
  chmodSync(join(bin, "ssh"), 0o755);
  const { PATH } = process.env;
  process.env.PATH = `${bin}:${PATH}`;
  defer(() => {
    process.env.PATH = PATH;
  });
  const key = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA-SECRET\n-----END OPENSSH PRIVATE KEY-----";
  const source: Source = { kind: "git", url: `git@git.example.org:${here.repos}/app/.git` };
  const pulled = good(await pull(here, source, "main", { credentials: { kind: "ssh-key", key } }));
  assert.is(pulled.commit, commit);
  const said = readFileSync(told, "utf8");
  assert.match(said, "mode 600\nkey -----BEGIN OPENSSH PRIVATE KEY-----\nkey AAAA-SECRET");
  for (const option of [
    "StrictHostKeyChecking=accept-new",
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    `UserKnownHostsFile="${here.disk.knownHosts}"`,
  ]) {
    assert.match(said, `arg ${option}`);
  }
  assert.match(said, "arg git@git.example.org");
  assert.not.match(textBelow(here.disk.root), "SECRET");
  assert.equal(readdirSync(here.disk.tmp), []);
});

test("by SSH a server whose key was given is talked to; one of no key, or of another, is not", async ({ skip }) => {
  const here = world();
  const folder = join(here.root, "ssh");
  mkdirSync(folder);
  const [host, other, own] = ["host", "other", "own"].map((name) => sshKey(join(folder, name)));
  const sshd = await startSshd(folder, host!, [`${own}.pub`]);
  if (typeof sshd === "string") return skip(sshd);
  const commit = repository(join(here.repos, "app")).commit({ "a.txt": "a" });
  const source: Source = {
    kind: "git",
    url: `ssh://${sshd.user}@127.0.0.1:${sshd.port}${join(here.repos, "app")}/.git`,
  };
  const given = join(folder, "given hosts");
  const credentials = { kind: "ssh-key", key: readFileSync(own!, "utf8") } as const;
  const disk = nodeDisk(join(here.root, "data"), "n1", given);
  const giving = (key: string | undefined) => {
    const line = key === undefined ? "" : `[127.0.0.1]:${sshd.port} ${readFileSync(`${key}.pub`, "utf8")}`;
    writeFileSync(given, line);
    return pull(here, source, "main", { disk, credentials });
  };
  assert.match(bad(await giving(undefined), "HOST_KEY_UNKNOWN").fix, /ssh-keyscan/);
  bad(await giving(other), "HOST_KEY_CHANGED");
  assert.not.match(sshd.said(), /Accepted publickey/);
  assert.is(good(await giving(host)).commit, commit);
  assert.not.ok(existsSync(disk.knownHosts), "nothing is believed that a server shows");
});

test("ssh's own words are understood", async ({ defer }) => {
  const here = world();
  const bin = join(here.root, "bin");
  mkdirSync(bin);
  const { PATH } = process.env;
  process.env.PATH = `${bin}:${PATH}`;
  defer(() => {
    process.env.PATH = PATH;
  });
  const says = async (words: string, code: string, kind: Failure["class"] = "permanent") => {
    writeFileSync(join(bin, "ssh"), `#!/bin/sh\necho "${words}" >&2; exit 255\n`);
    chmodSync(join(bin, "ssh"), 0o755);
    bad(await resolveRef({ kind: "git", url: "ssh://git@h.example.org/x" }, "main", here.work), code, kind);
  };
  await says("git@h.example.org: Permission denied (publickey).", "CREDENTIALS_REFUSED");
  await says('Load key "/x/key": invalid format\ngit@h: Permission denied (publickey).', "SSH_KEY_INVALID");
  await says("Host key verification failed.", "HOST_KEY_CHANGED");
  await says("ssh: Could not resolve hostname h.example.org: Name or service not known", "HOST_UNKNOWN", "transient");
  await says("ssh: connect to host h.example.org port 22: Connection refused", "REMOTE_UNREACHABLE", "transient");
  await says("ssh: connect to host h.example.org port 22: Connection timed out", "REMOTE_TIMEOUT", "timeout");
  await says("kex_exchange_identification: Connection closed by remote host", "REMOTE_BROKE", "transient");
});

test("what is no repository, no host, no server, no form of a URL", async ({ defer }) => {
  const here = world();
  const server = await serve((_, answer) => void answer.writeHead(404).end("nothing"));
  defer(server.close);
  const page = await serve(
    (_, answer) =>
      void answer
        .writeHead(200, { "content-type": "text/html" })
        .end("<!doctype html>\n<html>\n<p>Hello</p>\n</html>\n"),
  );
  defer(page.close);
  const broken = await serve((asked) => void asked.socket.destroy());
  defer(broken.close);
  const at = (url: string) => resolveRef({ kind: "git", url }, "main", here.work);
  bad(await at(`${server.url}/x.git`), "NOT_A_REPOSITORY");
  bad(await at(`${page.url}/x.git`), "NOT_A_REPOSITORY");
  bad(await at(`${broken.url}/x.git`), "REMOTE_BROKE", "transient");
  bad(await at("http://127.0.0.1:1/x.git"), "REMOTE_UNREACHABLE", "transient");
  bad(await at("http://no-such-host.invalid/x.git"), "HOST_UNKNOWN", "transient");
  for (const url of [
    "ext::sh -c touch% /tmp/x",
    "ext::x",
    "file:///etc",
    "/etc",
    "-oProxyCommand=x",
    "ssh://-oProxyCommand=x/y",
    "host:-x",
    "fd::3",
    "http://",
    "https://a b/c",
  ]) {
    bad(await at(url), "URL_REFUSED");
  }
  const shown = bad(await at("https://user:p4ss@example.org/x.git"), "CREDENTIALS_IN_URL");
  assert.not.match(JSON.stringify(shown), "p4ss");
});

test("a path only below the folders for local sources, links followed", async () => {
  const here = world();
  const outside = repository(join(here.root, "outside"));
  outside.commit({ x: "x" });
  symlinkSync(outside.path, join(here.repos, "link"));
  mkdirSync(join(here.repos, "plain"));
  const at = (path: string) => resolveRef({ kind: "path", path }, "main", here.work);
  bad(await at(outside.path), "PATH_REFUSED");
  bad(await at(join(here.repos, "link")), "PATH_REFUSED");
  bad(await at(`${here.repos}/../outside`), "PATH_REFUSED");
  bad(await at("repos/x"), "PATH_REFUSED");
  bad(await at(join(here.repos, "gone")), "NOT_A_REPOSITORY");
  bad(await at(join(here.repos, "plain")), "NOT_A_REPOSITORY");
  bad(await resolveRef({ kind: "path", path: here.repos }, "main", { ...here.work, localSources: [] }), "PATH_REFUSED");
});

test("a server that hangs runs into the time it has, and cancelling ends it at once", async ({ defer }) => {
  const here = world();
  const server = await serve(() => {});
  defer(server.close);
  const source: Source = { kind: "git", url: `${server.url}/x.git` };
  bad(await resolveRef(source, "main", { ...here.work, limits: { stallMs: 800 } }), "REMOTE_TIMEOUT", "timeout");
  const stalled = await pullSource(
    here.app,
    source,
    { commit: "a".repeat(40), ref: "x" },
    { ...here.work, limits: { stallMs: 800 } },
  );
  bad(stalled, "REMOTE_TIMEOUT", "timeout");
  const abort = new AbortController();
  const pulling = pullSource(
    here.app,
    source,
    { commit: "a".repeat(40), ref: "x" },
    { ...here.work, signal: abort.signal },
  );
  setTimeout(() => abort.abort(), 500);
  bad(await pulling, "CANCELLED", "cancelled");
  bad(await pull(here, source, "main", { signal: abort.signal }), "CANCELLED", "cancelled");
});

test("what is too large: by bytes fetched, by files, by bytes of the tree", async () => {
  const here = world();
  const repo = repository(join(here.repos, "big"));
  const noise = Array.from({ length: 400_000 }, () => Math.random().toString(36).slice(2)).join("");
  repo.commit({ a: noise, b: `${noise}b`, c: "c" });
  const source: Source = { kind: "path", path: repo.path };
  bad(await pull(here, source, "main", { limits: { files: 2 } }), "REPOSITORY_TOO_LARGE");
  bad(await pull(here, source, "main", { limits: { bytes: 1_000_000 } }), "REPOSITORY_TOO_LARGE");
  assert.equal(readdirSync(here.app.sources), []);
  good(await pull(here, source));
});

test("links that lead out are refused, alone or together; those that stay are kept; pointers into LFS are told", async () => {
  const here = world();
  const attempt = async (name: string, links: Readonly<Record<string, string>>) => {
    const repo = repository(join(here.repos, name));
    repo.commit({ "p/q/file": "x" });
    for (const [path, target] of Object.entries(links)) symlinkSync(target, join(repo.path, path));
    repo.commit({});
    return pull(here, { kind: "path", path: repo.path });
  };
  bad(await attempt("absolute", { l: "/etc/passwd" }), "LINK_OUTSIDE");
  bad(await attempt("up", { l: "../x" }), "LINK_OUTSIDE");
  bad(await attempt("deep", { "p/q/l": "../../../x" }), "LINK_OUTSIDE");
  bad(await attempt("together", { "p/q/up": "..", l: "p/q/up/../../x" }), "LINK_OUTSIDE");
  const kept = good(await attempt("kept", { "p/q/up": "..", l: "p/q/up/q/file", loop: "loop", dangling: "p/none" }));
  assert.ok(lstatSync(join(kept.folder, "l")).isSymbolicLink());
  assert.is(readFileSync(join(kept.folder, "l"), "utf8"), "x");
  const repo = repository(join(here.repos, "lfs"));
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${"a".repeat(64)}\nsize 12345\n`;
  repo.commit({ "movie.mp4": pointer, ".gitattributes": "*.mp4 filter=lfs\n" });
  assert.is(good(await pull(here, { kind: "path", path: repo.path })).lfsPointers, 1);
  assert.ok(here.lines.some((line) => line.includes("pointers into Git LFS")));
});

test("submodules come along, from addresses of an allowed form; nothing of the repository is run", async ({
  defer,
}) => {
  const here = world();
  const inner = repository(join(here.repos, "inner"));
  inner.commit({ "deep.txt": "deep" });
  const lib = repository(join(here.repos, "lib"));
  lib.commit({ "lib.txt": "lib" });
  const submodule = (repo: ReturnType<typeof repository>, url: string, path: string, of: string) => {
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", of, path);
    repo.git("config", "--file", ".gitmodules", `submodule.${path}.url`, url);
    repo.commit({});
  };
  submodule(lib, "../inner", "in", inner.path);
  const repo = repository(join(here.repos, "top"));
  repo.commit({ "index.html": "x" });
  const ran = join(here.root, "ran");
  for (const hook of ["post-checkout", "post-merge", "reference-transaction"]) {
    writeFileSync(join(repo.path, ".git/hooks", hook), `#!/bin/sh\ntouch ${ran}\n`, { mode: 0o755 });
  }
  submodule(repo, "../lib", "vendor/lib", lib.path);
  rmSync(ran);
  const pulled = good(await pull(here, { kind: "path", path: repo.path }));
  assert.not.ok(existsSync(ran), "a hook ran");
  assert.is(pulled.submodules, 2);
  assert.is(readFileSync(join(pulled.folder, "vendor/lib/in/deep.txt"), "utf8"), "deep");

  const server = await serve(smart(here.repos));
  defer(server.close);
  const fresh = appDisk(here.disk, "app_01kajzq4v0e8r9t2m5x7c3d6fh");
  for (const path of ["top", "lib"]) repository(join(here.repos, path));
  repo.git("config", "--file", ".gitmodules", "submodule.vendor/lib.url", "../../lib/.git");
  lib.git("config", "--file", ".gitmodules", "submodule.in.url", "../../inner/.git");
  const libCommit = lib.commit({});
  repo.git("update-index", "--cacheinfo", `160000,${libCommit},vendor/lib`);
  repo.git("add", ".gitmodules");
  repo.git("commit", "-qm", "by url");
  const overHttp = { ...here, app: fresh };
  assert.is(good(await pull(overHttp, { kind: "git", url: `${server.url}/top/.git` })).submodules, 2);

  for (const url of ["ext::sh -c 'touch x'", "/etc", "file:///etc"]) {
    repo.git("config", "--file", ".gitmodules", "submodule.vendor/lib.url", url);
    repo.git("add", ".gitmodules");
    repo.git("commit", "-qm", "bad");
    const outcome = await pull(overHttp, { kind: "git", url: `${server.url}/top/.git` });
    assert.ok("failed" in outcome && outcome.failed.class === "permanent", url);
    assert.match((outcome as { failed: Failure }).failed.message, url.startsWith("ext") ? /./ : "vendor/lib");
  }
  repo.git("rm", "-q", "--cached", ".gitmodules");
  repo.git("commit", "-qm", "no addresses");
  assert.is(good(await pull(overHttp, { kind: "git", url: `${server.url}/top/.git` })).submodules, 0);
});

test("killed in the middle: the next one goes on, and what was left is swept", async ({ defer }) => {
  const here = world();
  const repo = repository(join(here.repos, "site"));
  for (let number = 0; number < 5; number++) repo.commit({ [`f${number}`]: `${Math.random()}`.repeat(20_000) });
  const script = `
    const { nodeDisk, appDisk } = await import(${JSON.stringify(new URL("./disk.ts", import.meta.url).href)});
    const { pullSource } = await import(${JSON.stringify(new URL("../../../eventlog/sources/git.ts", import.meta.url).href)});
    const disk = nodeDisk(${JSON.stringify(join(here.root, "data"))}, "n1");
    console.log("go");
    await pullSource(appDisk(disk, "${appId}"), { kind: "path", path: ${JSON.stringify(repo.path)} }, { commit: "${repo.git("rev-parse", "HEAD")}", ref: "x" },
      { disk, localSources: [${JSON.stringify(here.repos)}] });
    console.log("done");
  `;
  for (const delay of [0, 15, 30, 60, 90]) {
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    defer(() => child.kill("SIGKILL"));
    await new Promise((resolve) => child.stdout.once("data", resolve));
    await new Promise((resolve) => setTimeout(resolve, delay));
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    const there = await findSource(here.app, repo.git("rev-parse", "HEAD"));
    if (there) assert.is(readdirSync(there.folder).length, 5);
  }
  const pulled = good(await pull(here, { kind: "path", path: repo.path }));
  assert.is(readdirSync(pulled.folder).length, 5);
  good(await collect(here.app, { releases: [], sources: [pulled.commit], generations: [], olderThanMs: 0 }));
  assert.equal(readdirSync(here.app.sources).sort(), [pulled.commit, `${pulled.commit}.complete`]);
});

test.run();
