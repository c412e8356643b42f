/** Links to log lines: what they show, to whom, how long, and everything that does not get in. */
import { randomBytes } from "node:crypto";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { type Logs, openLogs } from "@millrace/eventlog/logs.ts";
import * as assert from "uvu/assert";
import {
  type Answer,
  ask,
  assertProblem,
  eventually,
  type TestGateway,
  testGateway,
} from "../../../tests/harness/gateway.ts";
import { deferToEndOfFile, suite } from "../../../tests/harness/suite.ts";

const test = suite("shared logs");

const FIRST_KEY = randomBytes(32).toString("base64");
const SECOND_KEY = randomBytes(32).toString("base64");
let gateway: TestGateway;
let logs: Logs;
let org = "";
let shop = "";
let api = "";
let start = 0;

const post = async (path: string, body: object, token = gateway.owner): Promise<Answer["body"]> => {
  const answer = await ask(gateway.url, "POST", path, { token, body });
  assert.ok(answer.status < 300, answer.text);
  return answer.body;
};
const tokenOf = (grants: string[], more: object = {}) =>
  post(`/v1/organisations/${org}/tokens`, { name: `t-${randomBytes(6).toString("hex")}`, grants, ...more });
const share = (path: string, body: object, token = gateway.owner) =>
  ask(gateway.url, "POST", `/v1/organisations/${org}/${path}`, { token, body });
const open = (url: string, query = "", base = gateway.url) => ask(base, "GET", url + query);
const texts = ({ body }: Answer): string[] => body.items.map(({ text }: { text: string }) => text);

async function write(id: string, source: string, lines: ReadonlyArray<string>): Promise<void> {
  const writer = await logs.writer({ organisation: org, context: "applications", kind: "application", id, source });
  lines.forEach((text, i) => void writer.line({ text, time: start + i * 1_000 }));
  assert.is(await writer.close(), 0);
}

test.before(async () => {
  gateway = await testGateway({ masterKey: FIRST_KEY });
  const { natsUrl, natsUser, natsPassword } = gateway.config;
  const nats = await connectNats({ url: natsUrl, user: natsUser!, password: natsPassword!, name: "test" });
  deferToEndOfFile(() => nats.close());
  logs = await openLogs(nats);
  start = Date.now() - 600_000;
  org = (await post("/v1/organisations", { name: "acme" })).id;
  const make = async (name: string): Promise<string> =>
    (
      await post(`/v1/organisations/${org}/applications`, {
        name,
        source: { kind: "git", url: "https://example.test/x.git" },
        build: { kind: "static" },
      })
    ).id;
  shop = await make("shop");
  api = await make("api");
  await write(shop, "run", ["INFO one", "ERROR two", "INFO three", "ERROR four"]);
  await write(shop, "build", ["ERROR build"]);
  await write(api, "run", ["ERROR api"]);
});

test("a link shows the lines it was made for and no others, page by page, to who has no token", async () => {
  const made = await share("applications/shop/logs/share", {
    query: { level: "error", source: "run", order: "oldest" },
    expiresInMs: 60_000,
  });
  assert.is(made.status, 201, made.text);
  const { url, expiresAt } = made.body;
  assert.is(made.headers.get("location"), url);
  assert.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 60_000) < 30_000);
  assert.equal(texts(await open(url)), ["ERROR two", "ERROR four"]);
  const first = await open(url, "?limit=1");
  assert.equal(texts(first), ["ERROR two"]);
  const second = await open(url, `?limit=1&cursor=${first.body.nextCursor}`);
  assert.equal(texts(second), ["ERROR four"]);
  // Whoever has it cannot ask for anything else.
  for (const query of ["?level=info", "?q=one", "?source=build", "?since=2020-01-01T00:00:00Z", "?follow=true"]) {
    assertProblem(await open(url, query), 400, "invalid-input");
  }
  assertProblem(await open(url, "?cursor=abc"), 400, "invalid-input");
  // What comes with it is not looked at: a token adds nothing, and a wrong one is no hindrance.
  assert.is((await ask(gateway.url, "GET", url, { token: "nonsense" })).status, 200);
  assert.is((await ask(gateway.url, "DELETE", url)).status, 404);
  const both = await share("logs/share?applications=shop,api", { query: { q: "ERROR" }, expiresInMs: 60_000 });
  assert.is(texts(await open(both.body.url)).length, 4);
});

test("one that was changed, has expired, or is of another installation is none", async () => {
  const { url } = (await share("applications/shop/logs/share", { expiresInMs: 60_000 })).body;
  assert.is((await open(url)).status, 200);
  const [path, body, signed] = /^(.*\/)([^/.]+)\.([^/.]+)$/.exec(url)!.slice(1) as [string, string, string];
  const link = JSON.parse(Buffer.from(body, "base64url").toString());
  const forged = (change: object) => Buffer.from(JSON.stringify({ ...link, ...change })).toString("base64url");
  const flipped = (text: string, at: number) => text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
  for (const other of [
    `${forged({ until: link.until + 1 })}.${signed}`,
    `${forged({ of: [{ id: api }] })}.${signed}`,
    `${forged({ query: {} })}.${signed.slice(0, -1)}`,
    `${body}.${flipped(signed, 0)}`,
    `${body}.${flipped(signed, 20)}`,
    `${flipped(body, 3)}.${signed}`,
    ...[..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
      .filter((digit) => digit !== signed.at(-1))
      .map((digit) => `${body}.${signed.slice(0, -1)}${digit}`),
    `${body}.`,
    body,
    `.${signed}`,
    "none",
    `${body}.${signed}.${signed}`,
    "x".repeat(4_000),
  ]) {
    assertProblem(await open(path + other), 404, "not-found");
  }
  assertProblem(await open(`${path}${"x".repeat(5_000)}`), 404, "not-found");
  const stranger = await testGateway();
  assertProblem(await open(url, "", stranger.url), 404, "not-found");
  const brief = (await share("applications/shop/logs/share", { expiresInMs: 1_000 })).body.url;
  await eventually(async () => (await open(brief)).status === 404 || undefined, "the link has expired");
  for (const expiresInMs of [0, -1, 999, 7 * 86_400_000 + 1, 1.5]) {
    assertProblem(await share("applications/shop/logs/share", { expiresInMs }), 400, "invalid-input");
  }
  const wrong = await share("applications/shop/logs/share", { query: { regex: "(a" }, expiresInMs: 60_000 });
  assertProblem(wrong, 400, "invalid-input");
  assert.is(wrong.body.errors[0].pointer, "/body/query/regex");
});

test("it ends with the right of the token that made it, and lets nobody share what they cannot read", async () => {
  const reader = await tokenOf(["applications:logs"]);
  const narrow = await tokenOf([`applications:logs@${shop}`]);
  const other = await tokenOf(["applications:read"]);
  const body = { expiresInMs: 60_000 };
  const { url } = (await share("applications/shop/logs/share", body, reader.secret)).body;
  const ofShop = (await share("applications/shop/logs/share", body, narrow.secret)).body.url;
  assert.is((await open(url)).status, 200);
  assert.is(texts(await open(ofShop)).length, 5);
  assertProblem(await share("applications/api/logs/share", body, narrow.secret), 403, "forbidden");
  assertProblem(await share("applications/shop/logs/share", body, other.secret), 403, "forbidden");
  assertProblem(await share("applications/nothing/logs/share", body), 404, "not-found");
  const foreign = (await post("/v1/organisations", { name: "others" })).id;
  const across = await ask(gateway.url, "POST", `/v1/organisations/${foreign}/applications/${shop}/logs/share`, {
    token: gateway.owner,
    body,
  });
  assertProblem(across, 404, "not-found");
  const revoked = await ask(gateway.url, "DELETE", `/v1/organisations/${org}/tokens/${reader.id}`, {
    token: gateway.owner,
    headers: { "if-match": "*" },
  });
  assert.is(revoked.status, 204, revoked.text);
  assertProblem(await open(url), 404, "not-found");
  assert.is((await open(ofShop)).status, 200);
  const soon = await tokenOf(["applications:logs"], { expiresAt: new Date(Date.now() + 1_500).toISOString() });
  const brief = (await share("applications/shop/logs/share", body, soon.secret)).body.url;
  await eventually(async () => (await open(brief)).status === 404 || undefined, "the link ends with its token");
});

test("another master key leaves links good as long as the older one is known", async () => {
  const { url } = (await share("applications/shop/logs/share", { expiresInMs: 60_000 })).body;
  const rotated = await testGateway({ ...gateway.config, masterKey: `${SECOND_KEY}\n${FIRST_KEY}` });
  assert.is((await open(url, "", rotated.url)).status, 200);
  const fresh = await ask(rotated.url, "POST", `/v1/organisations/${org}/applications/shop/logs/share`, {
    token: gateway.owner,
    body: { expiresInMs: 60_000 },
  });
  assert.is((await open(fresh.body.url, "", rotated.url)).status, 200);
  assertProblem(await open(fresh.body.url), 404, "not-found");
});

test("one link is not read by any number at once", async () => {
  const { url } = (await share("applications/shop/logs/share", { expiresInMs: 60_000 })).body;
  const answers = await Promise.all(Array.from({ length: 40 }, () => open(url)));
  const refused = answers.filter(({ status }) => status === 429);
  assert.ok(refused.length > 0 && refused.length < 40, `${refused.length} were refused`);
  assertProblem(refused[0]!, 429, "rate-limited");
  assert.ok(Number(refused[0]!.headers.get("retry-after")) > 0);
  assert.is((await open(url)).status, 200);
});

test.run();
