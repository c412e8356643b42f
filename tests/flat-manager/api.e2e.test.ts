/** flat-manager's API by what its two clients send: pushed to the real publisher, published, seen; refused in its words. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import type { Claims } from "@millrace/gateway/flat-manager/claims.ts";
import { signJwt } from "@millrace/gateway/flat-manager/jwt.ts";
import { encodeDelta } from "@millrace/publisher/adapters/ostree/names.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { eventually } from "../harness/eventually.ts";
import { ask } from "../harness/gateway.ts";
import { develop } from "../harness/publisher.ts";
import { suite } from "../harness/suite.ts";
import { type FlatClient, FlatFailure, multipart } from "./client.ts";
import { type FlatServer, flatServer } from "./server.ts";

const test = suite("flat-manager's API", { timeoutMs: 240_000 });

const server = await flatServer();
const { started, expect, token, clientOf, now } = server;
const call = async (method: string, path: string, options: Parameters<typeof ask>[3] = {}) => {
  const answer = await ask(started.url, method, path, { token: started.owner, ...options });
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.text}`);
  return answer;
};

/** A refusal in flat-manager's form. */
async function refuses(work: Promise<unknown>, status: number, type: string, message?: RegExp | string) {
  await assert.rejects(work, (error) => {
    if (!(error instanceof FlatFailure)) return false;
    const { headers, body } = error.answer;
    assert.equal(headers["content-type"], "application/json", error.message);
    assert.deepEqual([body.status, body["error-type"]], [status, type], error.message);
    assert.equal(error.answer.status, status);
    if (typeof message === "string") assert.equal(body.message, message);
    else if (message !== undefined) assert.match(body.message, message);
    return true;
  });
}

const publishing = (context: Parameters<FlatServer["publishing"]>[0]) => server.publishing(context);
const mainOf = (name: string) => server.mainOf(name);

test("both clients push, commit and publish, and clients of the repository see it", async (context) => {
  const made = await publishing(context);
  const main = await mainOf("stable");
  const counts: number[] = [];
  for (const dialect of ["python", "rust"] as const) {
    const client = clientOf(dialect);
    const dev = await develop(made, dialect);
    const build = await client.create("stable", "org.test.Hello");
    const refs = new Map([[dev.ref, dev.commit]]);
    const pushed = await client.push(build, dev.from, refs, ["org.test.Hello.Extra"]);
    counts.push(pushed.missing);
    const committed = await client.commit(build);
    assert.equal(committed.status, 2, committed.log);
    assert.match(committed.results.refs[dev.ref], /^[0-9a-f]{64}$/);
    assert.match(committed.log, /Committed app\/org\.test\.Hello\/x86_64\/stable/);
    if (dialect === "rust") await downloadsBuild(client, build, committed.results.refs[dev.ref]);
    const { job, update } = await client.publish(build);
    assert.deepEqual([job.status, update?.status], [2, 2], job.log);
    assert.equal((await published(main))?.get(dev.ref), job.results.refs[dev.ref]);
    const { body } = await client.expect(200, "GET", `/api/v1/build/${build}`);
    assert.match(body.created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/);
    const { created: _, ...shown } = body;
    assert.deepEqual(shown, {
      id: build,
      repo_state: 2,
      published_state: 2,
      commit_job_id: build * 4,
      publish_job_id: build * 4 + 1,
      repo: "stable",
      extra_ids: ["org.test.Hello.Extra"],
      app_id: "org.test.Hello",
      public_download: false,
      build_log_url: null,
      token_name: "ci",
      token_type: null,
    });
    // What clients compare, to take it for done.
    const again = client.expect(200, "POST", `/api/v1/build/${build}/publish`, {});
    await refuses(again, 400, "wrong-published-state", "Build has already been published");
    const once = client.expect(200, "POST", `/api/v1/build/${build}/commit`, {});
    await refuses(once, 400, "wrong-repo-state", "Build is already committed");
    await client.expect(200, "POST", `/api/v1/build/${build}/purge`, {});
  }
  assert.ok(counts[1]! < counts[0]!, "what is there is sent again");
  assert.equal(await made.fsck(main), undefined);
  // A client of the repository, by the gateway's own address.
  const client = await made.repository("client");
  const ostree = (...args: string[]) => made.tools.run("ostree", [`--repo=${client.root}`, ...args]);
  await ostree("remote", "add", "--no-gpg-verify", "ours", `${started.url}/repo/stable`);
  await ostree("pull", "ours", "app/org.test.Hello/x86_64/stable");
  const pulled = (await ostree("rev-parse", "ours:app/org.test.Hello/x86_64/stable")).toString("ascii").trim();
  assert.equal(pulled, (await published(main))?.get("app/org.test.Hello/x86_64/stable"));
  await repositoryFiles();

  // The same again, as something that has come to its end.
  const rust = clientOf("rust");
  const { body: asked, headers } = await rust.expect(200, "POST", "/api/v1/repo/stable/republish", {
    app: "org.test.Hello",
    endoflife: "It is over",
    endoflife_rebase: null,
  });
  assert.deepEqual([asked.kind, headers.location], [3, `${started.url}/api/v1/job/${asked.id}`]);
  const republished = await rust.follow(headers.location!);
  assert.equal(republished.status, 2, republished.log);
  await rust.follow(`/api/v1/job/${republished.results["update-repo-job"]}`);
  const latest = (await published(main))?.get("app/org.test.Hello/x86_64/stable");
  assert.ok(latest !== pulled && main.read(`${latest}.commit`)!.includes("It is over"));
  const nothing = rust.expect(200, "POST", "/api/v1/repo/stable/republish", { app: "org.test.None" });
  await refuses(nothing, 400, "generic-error");
  const prune = rust.expect(200, "POST", "/api/v1/prune", { repo: "stable" });
  await refuses(prune, 403, "token-insufficient");
  const admin = clientOf("python", token({ sub: "", scope: ["tokenmanagement"] }));
  const { body: pruning } = await admin.expect(200, "POST", "/api/v1/prune", { repo: "stable" });
  assert.equal((await admin.follow(`/api/v1/job/${pruning.id}`)).status, 2);
});

/** What a build's files are, for those who try it before it is published. */
async function downloadsBuild(client: FlatClient, build: number, commit: string): Promise<void> {
  const at = `/build-repo/${build}`;
  const without = clientOf("rust", "");
  await refuses(without.expect(200, "GET", `${at}/summary`), 401, "invalid-token");
  await refuses(clientOf("rust", "fm_x").expect(200, "GET", `${at}/summary`), 401, "invalid-token");
  const other = clientOf("rust", token({ scope: ["build"] }));
  await refuses(other.expect(200, "GET", `${at}/summary`), 403, "token-insufficient");
  for (const path of ["summary", "config", "refs/heads/app/org.test.Hello/x86_64/stable"]) {
    assert.equal((await client.send("GET", `${at}/${path}`)).status, 200, path);
  }
  const object = `${at}/objects/${commit.slice(0, 2)}/${commit.slice(2)}.commit`;
  const { status, headers } = await client.send("GET", object);
  assert.deepEqual([status, headers["cache-control"]], [200, "no-store"]);
  const ref = await client.send("GET", `${at}/org.test.Hello.flatpakref`);
  assert.match(ref.text, new RegExp(`\\nUrl=${started.url}${at}/\\n`));
  assert.match(ref.text, /\nTitle=org\.test\.Hello from stable, build nr \d+\n(?:.+\n)*GPGKey=[A-Za-z0-9+/=]+\n/);
}

/** Conditional and partial requests, and paths that lead nowhere. */
async function repositoryFiles(): Promise<void> {
  const client = clientOf("rust", "");
  const get = (path: string, headers: Record<string, string> = {}, method = "GET") =>
    client.send(method, `/repo/stable/${path}`, { headers });
  const { status, headers, text } = await get("config");
  assert.deepEqual([status, headers["accept-ranges"]], [200, "bytes"]);
  assert.equal((await get("config", { "if-none-match": headers.etag! })).status, 304);
  const part = await get("config", { range: "bytes=1-3" });
  assert.deepEqual([part.status, part.text], [206, text.slice(1, 4)]);
  assert.equal((await get("config", { range: "bytes=999999-" })).status, 416);
  assert.equal((await get("config", {}, "HEAD")).headers["content-length"], `${text.length}`);
  assert.equal((await get("config", {}, "POST")).status, 405);
  for (const [path, expected] of [
    ["", 404],
    ["objects", 404],
    ["nothing", 404],
    [".lock", 400],
    [".millrace/leases", 400],
    ["*x", 400],
    ["x:", 400],
    ["%2e%2e/%2e%2e/%2e%2e/etc/passwd", 400],
    ["refs/heads/app/%2e%2e/%2e%2e/%2e%2e/config", 200],
    ["refs/heads/app/..%2f..%2f..%2f..%2f..%2fx", 400],
    ["%00", 400],
    ["%zz", 400],
  ] as const) {
    const answer = await get(path);
    assert.equal(answer.status, expected, `${path}: ${answer.text.slice(0, 200)}`);
  }
  assert.equal((await client.send("GET", "/repo/none/config")).status, 404);
  assert.equal((await client.send("GET", "/build-repo/987654/config")).status, 404);
}

test("uploads cut at every byte, in both forms; a large delta in one request; what is wrong is refused at once", async (context) => {
  const made = await publishing(context);
  await mainOf("stable");
  const dev = await develop(made, "cut", { app: "org.test.Cut" });
  const bytes = (name: string) => ({ name, content: dev.from.read(name)! });
  for (const dialect of ["python", "rust"] as const) {
    const client = clientOf(dialect);
    const build = await client.create("stable", "org.test.Cut");
    const commit = `${dev.commit}.commit`;
    assert.deepEqual(await client.missing(build, [commit]), [commit]);
    await client.upload(build, [bytes(commit)], 1);
    assert.deepEqual(await client.missing(build, [commit]), []);
    const delta = encodeDelta({ from: undefined, to: dev.commit });
    const large = { name: `${delta}.0.delta`, content: randomBytes(6 * 1024 * 1024) };
    await client.upload(build, [large]);
    // Named so that its name has to be escaped for a header, by whoever does.
    const wrong = { ...bytes(commit), name: `${"0".repeat(64)}.commit` };
    await refuses(client.upload(build, [wrong]), 400, "generic-error", /0{64}\.commit/);
    for (const name of ["../escape", "objects/00/x.filez", `${dev.commit}.commitmeta`, "x.superblock.delta"]) {
      await refuses(
        client.upload(build, [{ name, content: Buffer.from("x") }]),
        400,
        "generic-error",
        /Invalid upload filename/,
      );
    }
    const path = `/api/v1/build/${build}/upload`;
    const whole = multipart(dialect, [bytes(commit)], "b");
    const cut = { headers: { "content-type": "multipart/mixed; boundary=b" }, body: [whole.subarray(0, -4)] };
    assert.equal((await client.send("POST", path, cut)).status, 400);
    const plain = { headers: { "content-type": "application/json" }, body: [Buffer.from("{}")] };
    assert.equal((await client.send("POST", path, plain)).status, 400);
    // Bodies of questions: a bomb, what is no name, what is no gzip.
    const asks = async (body: Buffer, encoding = "gzip") => {
      const headers = {
        "content-type": "application/json",
        "content-encoding": encoding,
        "content-length": `${body.length}`,
      };
      return (await client.send("GET", `/api/v1/build/${build}/missing_objects`, { headers, body: [body] })).status;
    };
    assert.equal(await asks(gzipSync(Buffer.alloc(64 * 1024 * 1024, " "))), 413);
    assert.equal(await asks(gzipSync('{"wanted":["../etc"]}')), 400);
    assert.equal(await asks(Buffer.from('{"wanted":[]}')), 400);
    assert.equal(await asks(Buffer.from('{"wanted":[]}'), "identity"), 200);
    // Nothing is committed while something is missing, and it is told what.
    const empty = client.expect(200, "POST", `/api/v1/build/${build}/commit`, {});
    await refuses(empty, 400, "generic-error", "No refs in build");
    await client.expect(200, "POST", `/api/v1/build/${build}/build_ref`, { ref: dev.ref, commit: dev.commit });
    const early = client.expect(200, "POST", `/api/v1/build/${build}/commit`, {});
    await refuses(early, 400, "generic-error", /objects are missing: [0-9a-f]{64}\./);
    const { body } = await client.expect(200, "POST", `/api/v1/build/${build}/purge`, {});
    assert.equal(body.repo_state, 5);
    await refuses(client.missing(build, [commit]), 400, "wrong-repo-state", "Build has been purged");
  }
});

test("who may do what: by the token's own words, and another organisation's build as if there were none", async () => {
  const all = clientOf("rust");
  const build = await all.create("stable", "org.test.May");
  const at = `/api/v1/build/${build}`;
  const get = (given: string) => clientOf("python", given).expect(200, "GET", at);
  const no = (given: string, message?: RegExp) => refuses(get(given), 401, "invalid-token", message);
  await no("", /No token/);
  await no("nonsense");
  await no(token({ exp: now() - 10 }), /expired/);
  await no(signJwt(randomBytes(32), { ...{ sub: "build", exp: now() + 60, scope: ["build"] }, ...NONE }), /signature/);
  await get(token());
  await get(started.owner);
  await get(token({ sub: `build/${build}`, scope: ["upload"], repos: ["stable"], prefixes: ["org.test"] }));
  const insufficient: Partial<Claims>[] = [
    { sub: `build/${build}0` },
    { sub: "" },
    { scope: ["jobs"] },
    { repos: [] },
    { repos: ["Beta_1"] },
    { prefixes: ["org.tes"] },
  ];
  for (const claims of insufficient)
    await refuses(get(token(claims)), 403, "token-insufficient", /^Not enough permissions: /);
  const create = (given: string, repo: string, app?: string) => clientOf("python", given).create(repo, app);
  await refuses(create(token(), "unlisted"), 400, "generic-error", "No such repo");
  await refuses(create(token(), "beta-1"), 400, "generic-error", "No such repo");
  assert.ok((await create(token(), "Beta_1")) > build);
  assert.ok((await create(started.owner, "unlisted")) > build);
  await refuses(create(token({ sub: `build/${build}` }), "stable"), 403, "token-insufficient");
  await refuses(create(token({ prefixes: ["net"] }), "stable", "org.test.May"), 403, "token-insufficient");
  const publish = clientOf("rust", token({ scope: ["build", "upload"] })).expect(200, "POST", `${at}/publish`, {});
  await refuses(publish, 403, "token-insufficient");

  // Of another organisation: what is there, and what is not, look alike.
  const { body: other } = await call("POST", "/v1/organisations", { body: { name: "other" } });
  const base = `/v1/organisations/${other.id}`;
  await call("POST", `${base}/repositories`, { body: { name: "stable" } });
  const { body: theirs } = await call("POST", `${base}/builds`, { body: { repository: "stable" } });
  const { body: mine } = await call("POST", `${base}/tokens`, { body: { name: "ci", grants: ["publishing:*"] } });
  const foreign = clientOf("rust", mine.secret);
  const { number } = theirs.status;
  await foreign.expect(200, "GET", `/api/v1/build/${number}`);
  for (const path of ["", "/extended", "/commit", "/build_ref/1"]) {
    for (const [client, id] of [
      [foreign, build],
      [all, number],
      [all, 987_654],
    ] as const) {
      await refuses(client.expect(200, "GET", `/api/v1/build/${id}${path}`), 404, "not-found", "Not found");
    }
  }
  await refuses(foreign.expect(200, "GET", `/api/v1/job/${build * 4}`), 404, "not-found");
  // A token of ours may do what its grants say.
  const { body: reader } = await call("POST", `${base}/tokens`, { body: { name: "r", grants: ["publishing:read"] } });
  const reads = clientOf("rust", reader.secret);
  await reads.expect(200, "GET", "/api/v1/build");
  await refuses(reads.expect(200, "POST", `/api/v1/build/${number}/purge`, {}), 403, "token-insufficient");
});

const NONE = { prefixes: [], apps: [], repos: [] };

test("builds, references and ids: described, listed, refused", async () => {
  const client = clientOf("rust");
  const build = await client.create("stable", "org.test.Listed");
  const at = `/api/v1/build/${build}`;
  const commit = "a".repeat(64);
  const add = (ref: unknown, more: object = {}) =>
    client.expect(200, "POST", `${at}/build_ref`, { ref, commit, ...more });
  const { body, headers } = await add("app/org.test.Listed/x86_64/stable", { "build-log-url": "https://ci.test/1" });
  assert.deepEqual(body, {
    id: 1,
    build_id: build,
    ref_name: "app/org.test.Listed/x86_64/stable",
    commit,
    build_log_url: "https://ci.test/1",
  });
  assert.equal(headers.location, `${started.url}${at}/build_ref/1`);
  await add("runtime/org.test.Listed.Locale/x86_64/stable");
  await add("screenshots/x86_64", { unknown: "fields are passed over" });
  // Again, with another commit: the same reference.
  const again = await client.expect(200, "POST", `${at}/build_ref`, { ref: body.ref_name, commit: "b".repeat(64) });
  assert.deepEqual([again.body.id, again.body.commit], [1, "b".repeat(64)]);
  assert.deepEqual((await client.expect(200, "GET", `${at}/build_ref/1`)).body, again.body);
  const { body: extended } = await client.expect(200, "GET", `${at}/extended`);
  assert.deepEqual(
    extended.build_refs.map((one: { id: number }) => one.id),
    [1, 2, 3],
  );
  for (const ref of [
    "app/x",
    "app/org.test.A/x86_64/a/b",
    "app/../x86_64/a",
    "heads/x",
    "screenshots/a/b",
    "ostree-metadata",
  ]) {
    await refuses(add(ref), 400, "generic-error");
  }
  const bound = clientOf("rust", token({ prefixes: ["org.test.Listed"] }));
  const others = bound.expect(200, "POST", `${at}/build_ref`, { ref: "app/org.test.Other/x86_64/a", commit });
  await refuses(others, 403, "token-insufficient");
  await client.expect(200, "POST", `${at}/add_extra_ids`, { ids: ["org.test.One"] });
  await refuses(client.expect(200, "POST", `${at}/add_extra_ids`, { ids: ["org/test"] }), 400, "generic-error");
  await refuses(client.expect(200, "GET", `${at}/commit`), 404, "not-found");
  await refuses(client.expect(200, "GET", `${at}/check/lint/job`), 404, "not-found");
  await refuses(client.expect(200, "POST", `${at}/publish`, {}), 400, "wrong-repo-state", "Build is not committed");
  const nameless = await client.create("stable");
  const ids = async (query: string) =>
    (await client.expect(200, "GET", `/api/v1/build${query}`)).body.map(({ id }: { id: number }) => id) as number[];
  await eventually(async () => (await ids("?app_id=org.test.Listed"))[0] === build || undefined, "it is listed");
  const without = await eventually(async () => {
    const found = await ids("");
    return found.includes(nameless) ? found : undefined;
  }, "the one without an id is listed");
  assert.ok(!without.includes(build), "one that has an id is not among those without");

  for (const [method, path, sent, status] of [
    ["POST", "/api/v1/build", { headers: { "content-type": "application/json" }, body: [Buffer.from("{")] }, 400],
    ["POST", "/api/v1/build", { body: [Buffer.from('{"repo":"stable"}')] }, 400],
    [
      "POST",
      "/api/v1/build",
      { headers: { "content-type": "application/json" }, body: [Buffer.from('{"repo":7}')] },
      400,
    ],
    ["DELETE", at, {}, 405],
    ["GET", "/api/v1/nothing", {}, 404],
    ["GET", "/api/v1/build/x", {}, 404],
    ["GET", "/api/v1/build/99999999999999999999", {}, 404],
    ["GET", "/api/v1/job/3", {}, 404],
    ["GET", "/api/v1/job/-1", {}, 404],
  ] as const) {
    const answer = await client.send(method, path, sent);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
    assert.equal(answer.body.status, status);
  }
});

test("smaller tokens, revoked ones, and those made for tokens of ours", async () => {
  const jti = `id-${randomBytes(4).toString("hex")}`;
  const parent = clientOf("python", `fm_${token({ jti })}`);
  const build = await parent.create("stable", "org.test.Sub");
  const asked = { name: "up", sub: `build/${build}`, scope: ["upload"], duration: 600, repos: ["stable"] };
  const { body } = await parent.expect(200, "POST", "/api/v1/token_subset", { ...asked, prefixes: ["org.test.Sub"] });
  assert.match(body.token, /^fm_eyJ/);
  const small = clientOf("rust", body.token);
  await small.expect(200, "GET", `/api/v1/build/${build}`);
  await refuses(small.expect(200, "POST", `/api/v1/build/${build}/commit`, {}), 403, "token-insufficient");
  const more = small.expect(200, "POST", "/api/v1/token_subset", { ...asked, scope: ["publish"], duration: 1 });
  await refuses(more, 403, "token-insufficient");

  const admin = clientOf("rust", token({ sub: "", scope: ["tokenmanagement"] }));
  await refuses(parent.expect(200, "POST", "/api/v1/tokens/revoke", { token_ids: [jti] }), 403, "token-insufficient");
  await admin.expect(204, "POST", "/api/v1/tokens/revoke", { token_ids: [jti, "never-seen"] });
  await refuses(parent.expect(200, "GET", `/api/v1/build/${build}`), 401, "invalid-token", /revoked/);
  await refuses(small.expect(200, "GET", `/api/v1/build/${build}`), 401, "invalid-token", /revoked/);
  const { body: listed } = await admin.expect(200, "POST", "/api/v1/tokens/get_list", { token_ids: [jti, "unknown"] });
  assert.deepEqual(
    listed.map((one: { token_id: string }) => one.token_id),
    [jti],
  );
  assert.match(listed[0].revoked_at, /^\d{4}-\d\d-\d\dT[\d:]+\.\d{6}$/);

  // For a token of ours: it ends with that.
  const { body: own } = await expect(201, "POST", "/tokens", { body: { name: "own", grants: ["publishing:upload"] } });
  const mine = clientOf("rust", own.secret);
  const { body: made } = await mine.expect(200, "POST", "/api/v1/token_subset", {
    ...asked,
    sub: "build",
    scope: ["build", "upload"],
  });
  const signed = clientOf("rust", made.token);
  await signed.expect(200, "GET", `/api/v1/build/${build}`);
  const publish = mine.expect(200, "POST", "/api/v1/token_subset", { ...asked, scope: ["publish"] });
  await refuses(publish, 403, "token-insufficient");
  await call("DELETE", `/v1/organisations/home/tokens/${own.id}`, { headers: { "if-match": "*" } });
  await refuses(signed.expect(200, "GET", `/api/v1/build/${build}`), 401, "invalid-token", /revoked/);
});

test.run();
