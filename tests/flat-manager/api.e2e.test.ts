/** flat-manager's API by what its two clients send: pushed to the real publisher, published, seen; refused in its words. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Claims } from "@millrace/gateway/flat-manager/claims.ts";
import { signJwt } from "@millrace/gateway/flat-manager/jwt.ts";
import { encodeDelta } from "@millrace/publisher/adapters/ostree/names.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { eventually } from "../harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "../harness/gateway.ts";
import { develop, spawnPublisher } from "../harness/publisher.ts";
import { type TestPublishing, testPublishing } from "../harness/publishing.ts";
import { testFolder, testNats } from "../harness/servers.ts";
import { deferToEndOfFile, suite } from "../harness/suite.ts";
import { type Dialect, FlatClient, FlatFailure, multipart } from "./client.ts";

const test = suite("flat-manager's API", { timeoutMs: 240_000 });

const SECRET = randomBytes(32);
const CONFIG = {
  secret: SECRET.toString("base64"),
  "token-prefix": "fm_",
  repos: { stable: { path: "repo", subsets: {} }, Beta_1: { path: "beta", subsets: {} } },
};
const nats = await testNats();
const started = await testGateway({
  natsUrl: nats.url,
  natsUser: nats.user,
  natsPassword: nats.pass,
  flatManagerConfig: JSON.stringify(CONFIG),
});
await testProjector(started.config);
const { expect, call } = callerOf(started);
const data = testFolder("publisher");

const now = () => Math.floor(Date.now() / 1_000);
const token = (claims: Partial<Claims> = {}): string =>
  signJwt(SECRET, {
    sub: "build",
    exp: now() + 3_600,
    name: "ci",
    scope: ["build", "upload", "download", "publish", "jobs", "republish"],
    prefixes: [""],
    apps: [],
    repos: [""],
    ...claims,
  });
const clientOf = (dialect: Dialect, given = `fm_${token()}`): FlatClient => {
  const client = new FlatClient(started.url, given, dialect);
  deferToEndOfFile(() => client.close());
  return client;
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

for (const name of ["stable", "beta-1", "unlisted"]) await expect(201, "POST", "/repositories", { body: { name } });

let said = () => "";
async function publishing(context: Parameters<typeof testPublishing>[0]): Promise<TestPublishing> {
  const made = await testPublishing(context);
  if (said() === "") {
    const env = { MILLRACE_PUBLISHING_TOOLS: JSON.stringify(made.programs.env) };
    const publisher = spawnPublisher(started.config, data, env);
    said = () => publisher.said() || "it said nothing";
  }
  return made;
}
const mainOf = (name: string): Promise<Repository> =>
  eventually(
    async () => {
      const { body } = await expect(200, "GET", `/repositories/${name}`);
      if (body.status.state !== "ready") return undefined;
      return Repository.open(join(data, "publisher/local/repositories", body.id, "repo"));
    },
    `${name} is ready: ${said()}`,
    60_000,
  );

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
});

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
      await refuses(client.upload(build, [{ name, content: Buffer.from("x") }]), 400, "generic-error", /Invalid upload filename/);
    }
    const path = `/api/v1/build/${build}/upload`;
    const whole = multipart(dialect, [bytes(commit)], "b");
    const cut = { headers: { "content-type": "multipart/mixed; boundary=b" }, body: [whole.subarray(0, -4)] };
    assert.equal((await client.send("POST", path, cut)).status, 400);
    const plain = { headers: { "content-type": "application/json" }, body: [Buffer.from("{}")] };
    assert.equal((await client.send("POST", path, plain)).status, 400);
    // Bodies of questions: a bomb, what is no name, what is no gzip.
    const asks = async (body: Buffer, encoding = "gzip") => {
      const headers = { "content-type": "application/json", "content-encoding": encoding };
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

test.run();
