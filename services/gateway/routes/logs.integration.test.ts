/** Log lines over HTTP: pages, downloads, following, who may read what. */
import { connectNats } from "@millrace/eventlog/connection.ts";
import { type Logs, openLogs } from "@millrace/eventlog/logs.ts";
import * as assert from "uvu/assert";
import { ask, assertProblem, eventually, type TestGateway, testGateway } from "../../../tests/harness/gateway.ts";
import { deferToEndOfFile, suite } from "../../../tests/harness/suite.ts";

const test = suite("logs over HTTP");

let gateway: TestGateway;
let logs: Logs;
let org = "";
let app = "";
let dep = "";
const start = Date.now() - 60_000;

const call = (path: string, token = gateway.owner, headers: Record<string, string> = {}) =>
  ask(gateway.url, "GET", path, { token, headers });
const post = async (path: string, body: object) => {
  const answer = await ask(gateway.url, "POST", path, { token: gateway.owner, body });
  assert.ok(answer.status < 300, answer.text);
  return answer.body;
};
const makeApp = (organisation: string, name: string) =>
  post(`/v1/organisations/${organisation}/applications`, {
    name,
    source: { kind: "git", url: "https://example.test/shop.git" },
    build: { kind: "static" },
  });

test.before(async () => {
  gateway = await testGateway();
  const { natsUrl, natsUser, natsPassword } = gateway.config;
  const nats = await connectNats({ url: natsUrl, user: natsUser!, password: natsPassword!, name: "test" });
  deferToEndOfFile(() => nats.close());
  logs = await openLogs(nats);
  org = (await post("/v1/organisations", { name: "acme" })).id;
  app = (await makeApp(org, "shop")).id;
  dep = (await post(`/v1/organisations/${org}/applications/${app}/deploy`, {})).id;
  await write("build", 0, 10, (i) => `step ${i}`);
  await write("run", 10, 40, (i) => `${i % 5 === 0 ? "WARN" : "INFO"} request ${i}`);
});

async function write(source: string, from: number, to: number, text: (i: number) => string, id = app): Promise<void> {
  const place = { organisation: org, context: "applications", kind: "application", id, source, group: dep };
  const writer = await logs.writer(source === "run" ? { ...place, instance: "0" } : place);
  for (let i = from; i < to; i++) await writer.line({ text: text(i), time: start + i * 1_000 });
  assert.is(await writer.close(), 0);
}

// biome-ignore lint/suspicious/noExplicitAny: what the gateway answers is looked at field by field
type Json = any;

const texts = (items: Json[]): string[] => items.map(({ text }) => text);

test("pages go on with their cursor, by application, deployment, source, level, text and time", async () => {
  const path = `/v1/organisations/${org}/applications/shop/logs`;
  const first = await call(`${path}?limit=15`);
  assert.is(first.status, 200, first.text);
  assert.is(first.body.items.length, 15);
  const { text, source, deployment, instance, application, level, time } = first.body.items[0];
  assert.equal(
    { text, source, deployment, instance, application, level, time },
    {
      text: "INFO request 39",
      source: "run",
      deployment: dep,
      instance: "0",
      application: app,
      level: "info",
      time: new Date(start + 39_000).toISOString(),
    },
  );
  const second = await call(`${path}?limit=200&cursor=${first.body.nextCursor}`);
  assert.is(second.body.items.length, 25);
  assert.is(second.body.nextCursor, undefined);
  const found = async (query: string) => texts((await call(`${path}?order=oldest&${query}`)).body.items);
  assert.is((await found("source=build")).length, 10);
  assert.is((await found("level=warn")).length, 6);
  assert.equal(await found("q=request%2012"), ["INFO request 12"]);
  assert.equal(await found(`regex=${encodeURIComponent("^step [34]$")}`), ["step 3", "step 4"]);
  assert.is((await found(`since=${new Date(start + 35_000).toISOString()}`)).length, 5);
  assert.is((await found(`deployment=${dep}`)).length, 40);
  const ofDeployment = await call(`/v1/organisations/${org}/deployments/${dep}/logs?instance=0`);
  assert.is(ofDeployment.body.items.length, 30);
});

test("several applications are merged by time", async () => {
  const other = (await makeApp(org, "api")).id;
  await write("run", 20, 25, (i) => `api ${i}`, other);
  const answer = await call(`/v1/organisations/${org}/logs?applications=shop,${other}&order=oldest&regex=2[0-4]$`);
  const expected = [20, 21, 22, 23, 24].flatMap((i) => [`${i % 5 === 0 ? "WARN" : "INFO"} request ${i}`, `api ${i}`]);
  assert.equal(new Set(texts(answer.body.items)), new Set(expected));
  assert.equal(
    answer.body.items.map(({ time }: Json) => time),
    answer.body.items.map(({ time }: Json) => time).toSorted(),
  );
});

test("they are downloaded as lines of JSON and as text", async () => {
  const path = `/v1/organisations/${org}/applications/${app}/logs`;
  const ndjson = await fetch(`${gateway.url}${path}?download=ndjson`, {
    headers: { authorization: `Bearer ${gateway.owner}` },
  });
  assert.is(ndjson.headers.get("content-type"), "application/x-ndjson");
  const lines = (await ndjson.text()).trim().split("\n");
  assert.equal(texts(lines.map((line) => JSON.parse(line))).slice(0, 2), ["step 0", "step 1"]);
  assert.is(lines.length, 40);
  const text = await call(`${path}?download=text&source=build`);
  assert.match(text.headers.get("content-disposition")!, /logs\.txt/);
  assert.match(text.text.split("\n")[3]!, /^\d{4}-.*Z build\/dep_\w+ - step 3$/);
});

test("what is asked wrongly is told where", async () => {
  const path = `/v1/organisations/${org}/applications/${app}/logs`;
  for (const [query, pointer] of [
    ["regex=(a", "/query/regex"],
    ["regex=(%3F%3Da)b", "/query/regex"],
    ["cursor=abc", "/query/cursor"],
    ["level=loud", "/query/level"],
    ["limit=5000", "/query/limit"],
    ["follow=true&until=2026-11-21T08:00:00Z", "/query/until"],
  ] as const) {
    const answer = await call(`${path}?${query}`);
    assertProblem(answer, 400, "invalid-input");
    assert.is(answer.body.errors[0].pointer, pointer, query);
  }
});

test("somebody else's logs are not there, and reading takes the permission", async () => {
  const foreign = (await post("/v1/organisations", { name: "others" })).id;
  for (const path of [
    `applications/${app}/logs`,
    "applications/shop/logs",
    `deployments/${dep}/logs`,
    `logs?applications=${app}`,
  ]) {
    for (const follow of ["", `${path.includes("?") ? "&" : "?"}follow=true`]) {
      assertProblem(await call(`/v1/organisations/${foreign}/${path}${follow}`), 404, "not-found");
    }
  }
  const token = async (grants: string[]) =>
    (
      await post(`/v1/organisations/${org}/tokens`, {
        name: `t${grants.join("").replace(/\W|_/g, "").slice(-20)}`,
        grants,
      })
    ).secret;
  const logsPath = `/v1/organisations/${org}/applications/${app}/logs`;
  assertProblem(await call(logsPath, await token(["applications:read"])), 403, "forbidden");
  assert.is((await call(logsPath, await token([`applications:logs@${app}`]))).status, 200);
});

/** Frames of a stream until a condition holds; the connection is closed then. */
async function follow(query: string, until: (frames: Json[]) => boolean, headers: Record<string, string> = {}) {
  const ending = new AbortController();
  const response = await fetch(`${gateway.url}/v1/organisations/${org}/applications/${app}/logs?follow=true${query}`, {
    headers: { authorization: `Bearer ${gateway.owner}`, ...headers },
    signal: ending.signal,
  });
  assert.is(response.headers.get("content-type"), "text/event-stream");
  const frames: Json[] = [];
  let rest = "";
  const decoder = new TextDecoder();
  for await (const piece of response.body!) {
    const parts = (rest + decoder.decode(piece, { stream: true })).split("\n\n");
    rest = parts.pop()!;
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (fields.data !== undefined) frames.push({ event: fields.event, id: fields.id, ...JSON.parse(fields.data) });
    }
    if (until(frames)) break;
  }
  ending.abort();
  return frames;
}

const items = (frames: Json[]): Json[] => frames.flatMap((frame) => frame.items ?? []);

test("they are followed, and taken up again where the connection was lost", async () => {
  const past = await follow("&limit=3", (frames) => items(frames).length >= 3);
  assert.equal(texts(items(past)), ["INFO request 37", "INFO request 38", "INFO request 39"]);
  const live = follow("&q=fresh", (frames) => items(frames).length >= 2);
  let is = false;
  void live.then(() => {
    is = true;
  });
  await eventually(async () => {
    await write("run", 0, 2, (i) => `fresh ${i}`);
    return is || undefined;
  }, "the follower has two lines");
  const seen = await live;
  const position = seen.find(({ event }) => event === "lines").id;
  await write("run", 0, 3, (i) => `later ${i}`);
  const again = await follow("&q=later", (frames) => items(frames).length >= 3, { "last-event-id": position });
  assert.equal(texts(items(again)), ["later 0", "later 1", "later 2"]);
  const since = await follow(`&since=${new Date(start - 1_000).toISOString()}`, (frames) =>
    frames.some(({ event }) => event === "caught-up"),
  );
  assert.ok(items(since).length >= 45);
});

test.run();
