/** Bytes from a client through gateways to the node that holds them: resumed, checked, counted, taken by applications, read again. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, statSync, utimesSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { upload } from "@millrace/domain/applications/upload.ts";
import { listNodes } from "@millrace/eventlog/presence.ts";
import { tar } from "@millrace/orchestrator/adapters/fixtures/archives.ts";
import * as assert from "uvu/assert";
import { type Answer, ask, assertProblem, callerOf, eventually, forkGateway, testGateway } from "./harness/gateway.ts";
import { eventsOf, get, openGrounds } from "./harness/orchestrator.ts";
import { suite } from "./harness/suite.ts";

const test = suite("uploads", { timeoutMs: 120_000 });

const masterKey = randomBytes(32).toString("base64");
const grounds = await openGrounds({ env: { MILLRACE_MASTER_KEY: masterKey, MILLRACE_UPLOAD_GIB: "1" } });
const nats = {
  natsUrl: grounds.environment.MILLRACE_NATS_URL!,
  natsUser: grounds.environment.MILLRACE_NATS_USER,
  natsPassword: grounds.environment.MILLRACE_NATS_PASSWORD,
};
const first = await testGateway({ ...nats, masterKey });
const second = await testGateway({
  ...nats,
  masterKey,
  postgresUrl: first.config.postgresUrl,
  ownerToken: first.owner,
});
let holder = await grounds.start();
await holder.ready();

const { call, expect } = callerOf(first);
const TUS = { "tus-resumable": "1.0.0" };
const PIECE = { ...TUS, "content-type": "application/offset+octet-stream" };
const sha = (bytes: Uint8Array, as: "hex" | "base64" = "hex") => createHash("sha256").update(bytes).digest(as);
const UPLOADS = "/v1/organisations/home/uploads";

/** Until the node is there again, as a client would. */
async function patient(send: () => Promise<Answer>): Promise<Answer> {
  return eventually(
    async () => {
      const answer = await send();
      return answer.status === 503 ? undefined : answer;
    },
    "an answer from the node",
    60_000,
  );
}

const create = (bytes: number, name = "site.tar.gz", key: string = randomBytes(8).toString("hex")) =>
  patient(() =>
    call("POST", "/uploads", {
      headers: {
        ...TUS,
        "upload-length": `${bytes}`,
        "upload-metadata": `filename ${Buffer.from(name).toString("base64")}`,
        "idempotency-key": key,
      },
    }),
  );
const piece = (id: string, offset: number, body: Uint8Array, headers: Record<string, string> = {}, at = first) =>
  ask(at.url, "PATCH", `${UPLOADS}/${id}`, {
    token: first.owner,
    body,
    headers: { ...PIECE, "upload-offset": `${offset}`, ...headers },
  });
const offsetOf = async (id: string, at = first): Promise<number> => {
  const answer = await patient(() => ask(at.url, "HEAD", `${UPLOADS}/${id}`, { token: first.owner, headers: TUS }));
  assert.is(answer.status, 204, answer.text);
  assert.is(answer.headers.get("cache-control"), "no-store");
  return Number(answer.headers.get("upload-offset"));
};
async function whole(bytes: Uint8Array, name?: string): Promise<string> {
  const made = await create(bytes.length, name);
  assert.is(made.status, 201, made.text);
  const sent = await patient(() => piece(made.body.id, 0, bytes));
  assert.is(sent.status, 204, sent.text);
  return made.body.id;
}

test("what is spoken is told; who speaks otherwise is told, too", async () => {
  const spoken = await expect(204, "OPTIONS", "/uploads");
  assert.is(spoken.headers.get("tus-version"), "1.0.0");
  assert.is(spoken.headers.get("tus-extension"), "creation,expiration,checksum,termination");
  assertProblem(await call("POST", "/uploads", { headers: { "upload-length": "1" } }), 412, "precondition-failed");
  assertProblem(await call("POST", "/uploads", { headers: TUS }), 400, "invalid-input");
  assertProblem(await create(0), 400, "invalid-input");
  assertProblem(await create(5, "../evil"), 400, "invalid-input");
  const bad = { ...TUS, "upload-length": "3", "upload-metadata": "filename ***" };
  assertProblem(await call("POST", "/uploads", { headers: bad }), 400, "invalid-input");
});

test("in pieces, through two gateways, each with its checksum; complete in the log when the last is answered", async () => {
  const bytes = randomBytes(300_000);
  const made = await create(bytes.length, "größe.bin", "once");
  assert.is((await create(bytes.length, "größe.bin", "once")).body.id, made.body.id);
  const { id } = made.body;
  assert.is(made.headers.get("location"), `/v1/organisations/${made.body.organisation}/uploads/${id}`);
  assert.ok(Date.parse(made.headers.get("upload-expires")!) > Date.now());
  assert.is(await offsetOf(id), 0);
  const checksum = (part: Uint8Array) => ({ "upload-checksum": `sha256 ${sha(part, "base64")}` });
  const part = bytes.subarray(0, 100_000);
  const sent = await piece(id, 0, part, checksum(part));
  assert.equal([sent.status, sent.headers.get("upload-offset")], [204, "100000"]);
  // Not where it goes on; of another content than said; too much; of another type.
  assertProblem(await piece(id, 5, part), 409, "conflict");
  assertProblem(
    await piece(id, 100_000, part, { "upload-checksum": `sha256 ${sha(bytes, "base64")}` }),
    460,
    "invalid-input",
  );
  assertProblem(await piece(id, 100_000, bytes), 413, "too-large");
  assertProblem(await piece(id, 100_000, part, { "content-type": "text/plain" }), 415, "unsupported-type");
  assertProblem(await piece(id, 100_000, part, { "upload-checksum": "crc32 AAAA" }), 400, "invalid-input");
  assert.is(await offsetOf(id, second), 100_000);
  assert.is((await expect(200, "GET", `/uploads/${id}`)).body.status.state, "open");
  assertProblem(await call("GET", `/uploads/${id}/content`), 422, "refused");
  const last = await piece(id, 100_000, bytes.subarray(100_000), {}, second);
  assert.equal([last.status, last.headers.get("upload-offset")], [204, "300000"]);
  const { status, spec } = (await expect(200, "GET", `/uploads/${id}`)).body;
  assert.equal([status.state, status.sha256, spec.name], ["complete", sha(bytes), "größe.bin"]);
  assert.is(await offsetOf(id), bytes.length);
  assertProblem(await piece(id, bytes.length, new Uint8Array(1)), 409, "conflict");

  const content = await fetch(`${second.url}${UPLOADS}/${id}/content`, {
    headers: { authorization: `Bearer ${first.owner}` },
  });
  assert.is(sha(Buffer.from(await content.arrayBuffer())), sha(bytes));
  assert.is(
    content.headers.get("content-disposition"),
    `attachment; filename="gr__e.bin"; filename*=UTF-8''gr%C3%B6%C3%9Fe.bin`,
  );
  assert.match(content.headers.get("content-security-policy")!, /^sandbox/);
  const tag = content.headers.get("etag")!;
  assert.is(tag, `"${sha(bytes)}"`);
  const part2 = await fetch(`${first.url}${UPLOADS}/${id}/content`, {
    headers: { authorization: `Bearer ${first.owner}`, range: "bytes=1000-1999", "if-range": tag },
  });
  assert.equal([part2.status, part2.headers.get("content-range")], [206, "bytes 1000-1999/300000"]);
  assert.ok(Buffer.from(await part2.arrayBuffer()).equals(bytes.subarray(1_000, 2_000)));
  const unchanged = await call("GET", `/uploads/${id}/content`, { headers: { "if-none-match": tag } });
  assert.is(unchanged.status, 304);
  assert.is((await call("GET", `/uploads/${id}/content`, { headers: { range: "bytes=400000-" } })).status, 416);
  const head = await call("HEAD", `/uploads/${id}/content`);
  assert.equal([head.status, head.headers.get("content-length"), head.text], [200, "300000", ""]);
});

/** Sends the beginning of a piece, and goes away in the middle of it. */
async function breakOff(
  id: string,
  offset: number,
  announced: number,
  bytes: Uint8Array,
  { url = first.url, how = async (socket: Socket) => void socket.destroy() } = {},
): Promise<void> {
  const { hostname, port } = new URL(url);
  const head = Object.entries({
    host: "x",
    authorization: `Bearer ${first.owner}`,
    ...PIECE,
    "upload-offset": `${offset}`,
    "content-length": `${announced}`,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  await new Promise<void>((resolve) => {
    socket.write(`PATCH ${UPLOADS}/${id} HTTP/1.1\r\n${head.join("")}\r\n`);
    socket.write(bytes, () => resolve());
  });
  await eventually(async () => ((await partSize(id)) >= offset + bytes.length ? true : undefined), "it has arrived");
  await how(socket);
}

const bytesFolder = join(grounds.data, "orchestrator", "local", "bytes");
async function partSize(id: string): Promise<number> {
  return statSync(join(bytesFolder, "uploads", `${id}.part`), { throwIfNoEntry: false })?.size ?? 0;
}

test("a connection that breaks: what has arrived is kept, and the upload goes on from there", async () => {
  const bytes = randomBytes(200_000);
  const { id } = (await create(bytes.length)).body;
  await breakOff(id, 0, bytes.length, bytes.subarray(0, 70_000));
  const at = await eventually(async () => (await offsetOf(id)) || undefined, "an offset");
  assert.is(at, 70_000);
  const sent = await piece(id, at, bytes.subarray(at));
  assert.is(sent.status, 204, sent.text);
  assert.is((await expect(200, "GET", `/uploads/${id}`)).body.status.sha256, sha(bytes));
});

/** Reads the beginning of content, and then what comes when `then` has been done. @returns how many bytes, and whether that was said to be all */
async function readOn(url: string, id: string, then: () => Promise<unknown>): Promise<[bytes: number, whole: boolean]> {
  const asking = request(`${url}${UPLOADS}/${id}/content`, { headers: { authorization: `Bearer ${first.owner}` } });
  asking.end();
  const [answer] = (await once(asking, "response")) as [IncomingMessage];
  assert.is(answer.statusCode, 200);
  let size = 0;
  answer.on("error", () => {});
  answer.on("data", ({ length }: Buffer) => {
    size += length;
  });
  await once(answer, "data");
  answer.pause();
  await then();
  const closed = once(answer, "close").catch(() => {});
  answer.resume();
  await closed;
  return [size, answer.complete];
}

/** More than fits into what sockets hold on the way. */
const LARGE = randomBytes(24 * 1024 * 1024);
let large = "";

test("a gateway is killed in the middle of streams: the upload goes on through another, the download is cut and never taken for all", async () => {
  large = await whole(LARGE, "large.bin");
  const { url, child } = await forkGateway(first.config);
  const bytes = randomBytes(400_000);
  const { id } = (await create(bytes.length)).body;
  const [size, isWhole] = await readOn(url, large, () =>
    breakOff(id, 0, bytes.length, bytes.subarray(0, 300_000), {
      url,
      how: async () => {
        child.kill("SIGKILL");
        await once(child, "exit");
      },
    }),
  );
  assert.ok(size > 0 && size < LARGE.length, `${size}`);
  assert.is(isWhole, false);
  const at = await eventually(async () => (await offsetOf(id, second)) || undefined, "an offset");
  assert.is(at, 300_000);
  const sent = await piece(id, at, bytes.subarray(at), {}, second);
  assert.is(sent.status, 204, sent.text);
  assert.is((await expect(200, "GET", `/uploads/${id}`)).body.status.sha256, sha(bytes));
  const rest = await fetch(`${second.url}${UPLOADS}/${large}/content`, {
    headers: { authorization: `Bearer ${first.owner}`, range: `bytes=${size}-`, "if-range": `"${sha(LARGE)}"` },
  });
  assert.is(rest.status, 206);
  assert.ok(Buffer.from(await rest.arrayBuffer()).equals(LARGE.subarray(size)), "it goes on where it was cut");
});

test("the node is killed under a download, and back: what nobody went on with, and what nobody used, is gone then, and its room given back", async () => {
  const GIB = 1024 ** 3;
  const begun = (await create(GIB - 100 * 1024 * 1024)).body.id;
  await breakOff(begun, 0, 1_000_000, randomBytes(5_000));
  const unused = await whole(randomBytes(1_000));
  const young = (await create(1_000)).body.id;
  assertProblem(await create(500 * 1024 * 1024), 413, "too-large");
  const [size, isWhole] = await readOn(first.url, large, () => holder.process.kill());
  assert.ok(size > 0 && size < LARGE.length, `${size}`);
  assert.is(isWhole, false);
  const uploads = join(bytesFolder, "uploads");
  const longAgo = Date.now() / 1_000 - 25 * 3_600;
  for (const name of readdirSync(uploads)) {
    if ([begun, unused, large].some((id) => name.startsWith(id))) utimesSync(join(uploads, name), longAgo, longAgo);
  }
  holder = await grounds.start();
  for (const id of [begun, unused, large]) {
    const over = async () => ((await call("GET", `/uploads/${id}`)).status === 404 ? true : undefined);
    await eventually(over, "it is over", 60_000);
    const ended = (await eventsOf(grounds.log, upload, id)).at(-1)!;
    assert.equal([ended.type, ended.data], ["UploadRemoved", { why: "expired" }]);
    assertProblem(await piece(id, 0, randomBytes(5)), 404, "not-found");
    const left = () => readdirSync(uploads).some((name) => name.startsWith(id));
    await eventually(async () => (left() ? undefined : true), "no file");
  }
  assert.is(await offsetOf(young), 0, "what is younger stays");
  const { id } = (await create(500 * 1024 * 1024)).body;
  await expect(204, "DELETE", `/uploads/${id}`, { headers: TUS });
});

test("the node dies when the bytes are stored and the log is not told: the next one tells it, once", async () => {
  const bytes = randomBytes(150_000);
  await holder.process.stop();
  const dying = await grounds.start("bytes.store.after");
  await dying.ready();
  const { id } = (await create(bytes.length, "a.bin")).body;
  const [sent] = await Promise.all([piece(id, 0, bytes), dying.died()]);
  assertProblem(sent, 503, "unavailable");
  holder = await grounds.start();
  assert.is(await offsetOf(id), bytes.length);
  const { body } = await expect(200, "GET", `/uploads/${id}`);
  assert.equal([body.status.state, body.status.sha256], ["complete", sha(bytes)]);
  assert.is((await grounds.log.aggregates.load(upload, id)).version, 2, "opened and completed, once each");
});

const archive = async (files: Readonly<Record<string, string>>): Promise<Buffer> =>
  gzipSync(await tar(Object.entries(files).map(([name, content]) => ({ name, content, mtime: new Date(0) }))));

const deployed = async (app: string): Promise<Answer> => {
  const { body } = await expect(202, "POST", `/applications/${app}/deploy`, { body: {} });
  return expect(200, "GET", `/deployments/${body.id}?wait=terminal&timeout=60000`);
};

test("an application from an upload: deployed, changed, gone back; the same content is the same release", async () => {
  const port = Number(new URL(`http://${grounds.caddy!.address}`).port);
  const content = await archive({ "index.html": "<h1>One</h1>" });
  const one = await whole(content, "one.tar.gz");
  const same = await whole(content, "same.tar.gz");
  const two = await whole(await archive({ "index.html": "<h1>Two</h1>" }), "two.tar.gz");
  const made = await expect(201, "POST", "/applications", {
    body: { name: "site", source: { kind: "upload", upload: one }, build: { kind: "static" } },
  });
  assert.is(made.body.spec.node, "local", "it lives where its bytes lie");
  const { body: live } = await deployed("site");
  assert.is(live.status.state, "succeeded", JSON.stringify(live.status.error));
  const pulled = ({ status }: any) => status.phases[0].output;
  assert.equal(pulled(live).ref, one);
  assert.match((await get(port, made.body.status.host)).text, "One");

  const switchTo = (upload: string) =>
    expect(200, "PATCH", "/applications/site", {
      body: { source: { kind: "upload", upload } },
      headers: { "if-match": "*" },
    });
  await switchTo(same);
  const { body: again } = await deployed("site");
  assert.is(again.status.phases[0].adopted, true);
  assert.is(pulled(again).commit, pulled(live).commit);
  assert.is(again.status.phases[2].output.release, live.status.phases[2].output.release);
  await switchTo(two);
  assert.is((await deployed("site")).body.status.state, "succeeded");
  assert.match((await get(port, made.body.status.host)).text, "Two");
  const back = await expect(202, "POST", "/applications/site/rollback", { body: { to: live.id } });
  const rolled = await expect(200, "GET", `/deployments/${back.body.id}?wait=terminal&timeout=60000`);
  assert.is(rolled.body.status.state, "succeeded", JSON.stringify(rolled.body.status.error));
  assert.match((await get(port, made.body.status.host)).text, "One");
});

test("what cannot be deployed is said: foreign, incomplete, hostile, removed", async () => {
  const application = (name: string, upload: string) =>
    call("POST", "/applications", { body: { name, source: { kind: "upload", upload }, build: { kind: "static" } } });
  assertProblem(await application("none", "upl_01kajzq4v0e8r9t2m5x7c3d6fg"), 400, "invalid-input");
  const { id: open } = (await create(10)).body;
  assertProblem(await application("open", open), 422, "refused");
  const hostile = await whole(await archive({ "../evil": "x" }));
  assert.is((await application("hostile", hostile)).status, 201);
  const { status } = (await deployed("hostile")).body;
  assert.equal([status.state, status.error.code, status.error.class], ["failed", "ARCHIVE_NAME", "permanent"]);
  const gone = await whole(await archive({ "index.html": "x" }));
  assert.is((await application("gone", gone)).status, 201);
  await expect(204, "DELETE", `/uploads/${gone}`, { headers: TUS });
  await expect(404, "GET", `/uploads/${gone}`);
  assert.is((await deployed("gone")).body.status.error.code, "UPLOAD_NOT_FOUND");
});

test("the quota counts what was begun, and gives back what was deleted", async () => {
  const rest = 1024 ** 3 - 50_000_000;
  const { body: large } = await create(rest);
  assertProblem(await create(100_000_000), 413, "too-large");
  await expect(204, "DELETE", `/uploads/${large.id}`, { headers: TUS });
  await expect(404, "HEAD", `/uploads/${large.id}`, { headers: TUS });
  const { body: other } = await create(100_000_000);
  await expect(204, "DELETE", `/uploads/${other.id}`, { headers: TUS });
  await eventually(
    async () =>
      readdirSync(join(bytesFolder, "uploads")).some((name) => name.startsWith(other.id)) ? undefined : true,
    "nothing of it is left",
  );
});

test("nobody else reads it, or goes past the gateway", async () => {
  const id = await whole(randomBytes(100));
  const { body: token } = await expect(201, "POST", "/tokens", {
    body: { name: "reader", grants: ["applications:read"] },
  });
  for (const [method, path] of [
    ["GET", `/uploads/${id}/content`],
    ["HEAD", `/uploads/${id}`],
    ["PATCH", `/uploads/${id}`],
  ] as const) {
    assert.is((await call(method, path, { token: token.secret, headers: TUS })).status, 403, `${method} ${path}`);
  }
  const other = await ask(first.url, "POST", "/v1/organisations", { token: first.owner, body: { name: "other" } });
  const foreign = callerOf(first, other.body.id);
  for (const path of [`/uploads/${id}`, `/uploads/${id}/content`]) await foreign.expect(404, "GET", path);
  await foreign.expect(404, "PATCH", `/uploads/${id}`, {
    headers: { ...PIECE, "upload-offset": "0" },
    body: new Uint8Array(1),
  });
  const [{ bytes } = { bytes: "" }] = (await listNodes(grounds.log.nats)).filter((node) => node.bytes !== undefined);
  for (const headers of [{}, { authorization: "Ticket abc.def" }, { authorization: `Bearer ${first.owner}` }]) {
    assert.is((await fetch(`${bytes}/${id}`, { headers })).status, 403);
  }
});

test.run();
