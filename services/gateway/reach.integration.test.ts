/** Who holds a permission for one application alone: what it sees of lists, search, logs, nodes and events, and what belongs to the application. */
import assert from "node:assert/strict";
import { SUBPROTOCOL } from "@millrace/contracts/feed.ts";
import { WebSocket } from "ws";
import { ask, callerOf, eventually, testGateway, testProjector } from "../../tests/harness/gateway.ts";
import { suite } from "../../tests/harness/suite.ts";

const test = suite("what one may see of many");

const gateway = await testGateway();
await testProjector(gateway.config);
const { call, expect, listed } = callerOf(gateway);

const applicationOf = async (name: string) =>
  (
    await expect(201, "POST", "/applications", {
      body: {
        name,
        title: `Findable ${name}`,
        source: { kind: "git", url: "https://git.example.org/a.git" },
        build: { kind: "static" },
      },
    })
  ).body.id as string;
const deploy = (id: string, token = gateway.owner) => call("POST", `/applications/${id}/deploy`, { body: {}, token });
const tokenWith = async (...grants: string[]) =>
  (
    await expect(201, "POST", "/tokens", {
      body: { name: `t-${grants.join().length}-${Math.random()}`.replaceAll(".", "-"), grants },
    })
  ).body.secret as string;

const mine = await applicationOf("mine");
const others = [await applicationOf("other-a"), await applicationOf("other-b")];
const token = await tokenWith(`applications:*@${mine}`);
const deployment = (await deploy(mine)).body.id as string;
const foreign = (await deploy(others[0]!)).body.id as string;
const last = await deploy(others[1]!);
await listed("/deployments", last);
await listed("/applications", last);

const ids = async (path: string, secret = token): Promise<string[]> => {
  const answer = await eventually(async () => {
    const found = await call("GET", path, { token: secret });
    return found.status === 503 ? undefined : found;
  }, path);
  assert.equal(answer.status, 200, `${path}: ${answer.text}`);
  return answer.body.items.map(({ id }: { id: string }) => id).sort();
};

test("lists answer what it may see, and nothing beside", async () => {
  assert.deepEqual(await ids("/applications"), [mine]);
  assert.deepEqual(await ids("/deployments"), [deployment]);
  assert.deepEqual(await ids(`/applications/${mine}/deployments`), [deployment]);
  assert.deepEqual(await ids("/applications?q=Findable"), [mine]);
  assert.deepEqual(await ids("/search?q=Findable"), [mine]);
  assert.deepEqual(await ids("/search?q=Findable", gateway.owner), [mine, ...others].sort());
  assert.deepEqual((await call("GET", "/nodes", { token })).body, { items: [] });
});

test("pages are pages of that: full, and to the end", async () => {
  const both = await tokenWith(`applications:read@${mine}`, `applications:read@${others[1]}`);
  const first = await call("GET", "/applications?limit=1&sort=name", { token: both });
  assert.deepEqual(
    first.body.items.map(({ id }: { id: string }) => id),
    [mine],
  );
  const second = await call("GET", `/applications?limit=1&sort=name&cursor=${first.body.nextCursor}`, { token: both });
  assert.deepEqual(
    second.body.items.map(({ id }: { id: string }) => id),
    [others[1]],
  );
  assert.equal(second.body.nextCursor, undefined);
});

test("what belongs to it can be asked for, read and made; what belongs to another cannot", async () => {
  assert.equal((await call("GET", `/deployments/${deployment}`, { token })).status, 200);
  assert.equal((await call("GET", `/deployments/${deployment}/history`, { token })).status, 200);
  assert.equal((await call("GET", `/deployments/${foreign}`, { token })).status, 403);
  assert.equal((await call("GET", `/logs?applications=mine`, { token })).status, 200);
  assert.equal((await call("GET", `/logs?applications=mine,other-a`, { token })).status, 403);
  assert.equal((await call("GET", `/logs?applications=never-was`, { token })).status, 403);
  assert.equal(
    (await call("POST", `/logs/share?applications=mine`, { token, body: { expiresInMs: 60_000 } })).status,
    201,
  );
  assert.equal(
    (await call("POST", `/logs/share?applications=other-a`, { token, body: { expiresInMs: 60_000 } })).status,
    403,
  );
  assert.equal((await deploy("mine", token)).status, 202);
  assert.equal((await deploy(others[0]!, token)).status, 403);
});

test("what is no list, and names nothing of it, is refused as ever", async () => {
  for (const path of ["/history", "/dead-letters", "/secrets", "/work-items", "/tokens"]) {
    assert.equal((await call("GET", path, { token })).status, 403, path);
  }
  assert.equal((await call("POST", "/applications", { token, body: {} })).status, 403);
});

test("grants that name a child, and what it belongs to, meet", async () => {
  const child = await tokenWith(`applications:read@${deployment}`);
  assert.deepEqual(await ids("/deployments", child), [deployment]);
  assert.deepEqual(await ids("/applications", child), []);
});

test("subscribers hear of it and of what belongs to it", async ({ defer }) => {
  const frames: string[] = [];
  const listen = async (query: string) => {
    const at = `${gateway.url.replace("http", "ws")}/v1/organisations/home/events?context=applications&${query}`;
    const socket = new WebSocket(at, [SUBPROTOCOL, `bearer.${token}`]);
    socket.on("error", () => {});
    defer(() => socket.terminate());
    socket.on("message", (data) => frames.push(String(data)));
    return new Promise<number>((resolve) => {
      socket.on("open", () => resolve(200));
      socket.on("unexpected-response", (_, { statusCode }) => resolve(statusCode!));
    });
  };
  assert.equal(await listen("from=beginning"), 200);
  const next = (await deploy(mine)).body.id as string;
  await deploy(others[0]!);
  const end = (await deploy(mine)).body.id as string;
  const told = (id: string) => frames.some((frame) => frame.includes(`/deployment/${id}"`));
  await eventually(
    async () => (told(deployment) && told(next) && told(end) ? true : undefined),
    "it is told of its deployments",
  );
  for (const id of [...others, foreign]) assert.ok(!frames.some((frame) => frame.includes(id)), id);
  assert.equal(await listen(`id=${deployment}`), 200);
  assert.equal(await listen(`id=${foreign}`), 403);
  const log = await ask(gateway.url, "GET", "/v1/organisations/home/events?context=work", { token });
  assert.equal(log.status, 403);
});

test.run();
