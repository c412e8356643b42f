/** Limits, headers that every answer has, and what is refused before anybody looks at it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { SUBPROTOCOL } from "@millrace/contracts/feed.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { WebSocket } from "ws";
import { ask, assertProblem, testGateway } from "../../tests/harness/gateway.ts";
import { suite } from "../../tests/harness/suite.ts";

const test = suite("limits and headers");

const at = await testGateway({
  limitRead: 20,
  limitWrite: 5,
  limitExpensive: 3,
  limitTries: 4,
  limitStreams: 2,
  limitConnections: 40,
  trustedProxies: "127.0.0.1",
  origins: "https://console.example.org",
});
const home = `${at.url}/v1/organisations/home`;
let serial = 0;
const tokenWith = async (...grants: string[]) => {
  const made = await ask(at.url, "POST", "/v1/organisations/home/tokens", {
    token: at.owner,
    body: { name: `t-${++serial}`, grants },
  });
  assert.equal(made.status, 201, made.text);
  return made.body.secret as string;
};
/** As if from another address. */
const from = (address: string) => ({ "x-forwarded-for": address });
const get = (token: string, path: string, headers: Record<string, string> = {}) =>
  ask(at.url, "GET", path, { token, headers });

const reader = await tokenWith("identity:read", "work:*");
const streamer = await tokenWith("work:read");

test("a token may ask so often a minute; what is left stands in every answer, and 429 says when again", async () => {
  for (let left = 19; left >= 0; left--) {
    const { status, headers } = await get(reader, "/v1/organisations/home");
    assert.equal(status, 200);
    assert.equal(headers.get("ratelimit-policy"), '"read";q=20;w=60');
    assert.match(headers.get("ratelimit")!, new RegExp(`^"read";r=${left};t=\\d+$`));
  }
  const refused = await get(reader, "/v1/organisations/home");
  assertProblem(refused, 429, "rate-limited");
  const wait = Number(refused.headers.get("retry-after"));
  assert.ok(wait >= 1 && wait <= 60, `${wait}`);
  assert.match(refused.headers.get("ratelimit")!, /^"read";r=0;t=\d+$/);
  assert.equal(refused.body.retryAfterSeconds, wait);
});

test("changes, and what is expensive, are counted apart; and every token for itself", async () => {
  const change = (token: string) =>
    ask(at.url, "POST", "/v1/organisations/home/work-items", { token, body: { type: "task", title: "A" } });
  for (let i = 0; i < 5; i++) assert.equal((await change(reader)).status, 201);
  assert.equal((await change(reader)).status, 429);
  for (let i = 0; i < 3; i++) assert.notEqual((await get(streamer, "/v1/organisations/home/search?q=a")).status, 429);
  const search = await get(streamer, "/v1/organisations/home/search?q=a");
  assert.equal(search.headers.get("ratelimit-policy"), '"expensive";q=3;w=60');
  assert.equal(search.status, 429);
  assert.equal((await get(streamer, "/v1/whoami")).status, 200);
});

test("tries that let nobody in are counted by address, which only a trusted proxy may tell", async () => {
  for (let i = 0; i < 4; i++) assert.equal((await get("nonsense", "/v1/whoami", from("192.0.2.7"))).status, 401);
  assert.equal((await get("nonsense", "/v1/whoami", from("192.0.2.7"))).status, 429);
  assert.equal((await get("nonsense", "/v1/whoami", from("192.0.2.8, 192.0.2.7, 127.0.0.1"))).status, 429);
  assert.equal((await get("nonsense", "/v1/whoami", from("192.0.2.9"))).status, 401);
  assert.equal((await get(streamer, "/v1/whoami", from("192.0.2.7"))).status, 200, "who has a token is not held up");
  const secret = `mri_${"0".repeat(46)}`;
  const accept = await ask(at.url, "POST", "/v1/invitations/accept", { body: { secret }, headers: from("192.0.2.7") });
  assert.equal(accept.status, 429);
});

test("a token holds so many subscriptions at once", async ({ defer }) => {
  const open = async () => {
    const socket = new WebSocket(`${home.replace("http", "ws")}/events`, [SUBPROTOCOL, `bearer.${streamer}`]);
    socket.on("error", () => {});
    defer(() => socket.terminate());
    return new Promise<number>((resolve) => {
      socket.on("open", () => resolve(200));
      socket.on("unexpected-response", (_, { statusCode }) => resolve(statusCode!));
    });
  };
  assert.deepEqual([await open(), await open(), await open()], [200, 200, 429]);
});

const SECURITY = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

test("every answer has the headers that keep it where it belongs", async () => {
  const answers = [
    await get(streamer, "/v1/whoami"),
    await get("", "/v1/whoami"),
    await get(streamer, "/nothing"),
    await get("", "/problems/forbidden"),
    await get("", "/livez"),
    await get("", "/openapi.json"),
    await ask(at.url, "POST", "/v1/organisations", { token: at.owner, body: "{" }),
  ];
  for (const { headers, text } of answers) {
    for (const [name, value] of Object.entries(SECURITY)) assert.equal(headers.get(name), value, text);
    assert.match(headers.get("content-security-policy")!, /^default-src 'none'; frame-ancestors 'none'/);
    assert.ok(headers.get("permissions-policy"));
    assert.equal(headers.get("strict-transport-security"), null);
    for (const name of headers.keys()) assert.ok(!name.startsWith("access-control-"), name);
  }
  const secure = await get(streamer, "/v1/whoami", { "x-forwarded-proto": "https" });
  assert.match(secure.headers.get("strict-transport-security")!, /^max-age=31536000/);
});

/** The answer to bytes as they are. */
async function raw(text: string): Promise<string> {
  const { hostname, port } = new URL(at.url);
  const socket = connect(Number(port), hostname);
  socket.end(text.replaceAll("\n", "\r\n"));
  let answer = "";
  socket.setEncoding("utf8").on("data", (chunk: string) => {
    answer += chunk;
  });
  await once(socket, "close");
  return answer;
}

test("TRACE echoes nothing, CORS opens nothing, and what is no HTTP has the headers, too", async () => {
  const traced = await raw("TRACE /v1/whoami HTTP/1.1\nHost: x\nX-Private: hush\nConnection: close\n\n");
  assert.match(traced, /^HTTP\/1\.1 404 /);
  assert.ok(!traced.includes("hush"));
  const preflight = await raw(
    "OPTIONS /v1/whoami HTTP/1.1\nHost: x\nOrigin: https://evil.example\nAccess-Control-Request-Method: POST\nConnection: close\n\n",
  );
  assert.match(preflight, /^HTTP\/1\.1 404 /);
  assert.ok(!/access-control/i.test(preflight));
  assert.match(await raw("nonsense\n\n"), /x-content-type-options: nosniff/i);
});

test("one connection more than there may be is told so, WebSockets as well; and who is there stays", async ({
  defer,
}) => {
  const { hostname, port } = new URL(at.url);
  const open = async () => {
    const socket = connect(Number(port), hostname);
    defer(() => socket.destroy());
    let said = "";
    socket.setEncoding("utf8").on("data", (chunk) => {
      said += chunk;
    });
    const closed = once(socket, "close");
    await once(socket, "connect");
    return {
      closed,
      said: () => said,
      isRefused: await Promise.race([closed.then(() => true), pause(50).then(() => false)]),
    };
  };
  const held: Awaited<ReturnType<typeof open>>[] = [];
  let last = await open();
  for (; !last.isRefused && held.length <= 40; last = await open()) held.push(last);
  assert.ok(last.isRefused && held.length > 20, `${held.length}`);
  assert.match(last.said(), /^HTTP\/1\.1 503 [\s\S]*Retry-After: 5\r\n[\s\S]*MILLRACE_LIMIT_CONNECTIONS/);
  const socket = new WebSocket(`${home.replace("http", "ws")}/events`, [SUBPROTOCOL, `bearer.${streamer}`]);
  assert.match(String(await once(socket, "error")), /503|hang up|ECONNRESET/);
  assert.ok(held.every(({ said }) => said() === ""));
});

test("a page of another site changes nothing, and opens no WebSocket", async ({ defer }) => {
  const other = await tokenWith("work:*");
  const own = new URL(at.url).host;
  const change = async (headers: Record<string, string>) =>
    (await ask(at.url, "POST", "/v1/organisations/home/work-items", { token: other, body: {}, headers })).status;
  // 400: it was looked at; the body is none.
  for (const [headers, status] of [
    [{}, 400],
    [{ "sec-fetch-site": "same-origin", origin: `http://${own}` }, 400],
    [{ origin: "https://console.example.org", "sec-fetch-site": "cross-site" }, 400],
    [{ "sec-fetch-site": "cross-site" }, 403],
    [{ "sec-fetch-site": "same-site", origin: "https://other.example" }, 403],
    [{ origin: "https://evil.example" }, 403],
    [{ origin: "null" }, 403],
  ] as const) {
    assert.equal(await change(headers), status, JSON.stringify(headers));
  }
  assert.equal((await get(streamer, "/v1/whoami", { origin: "https://evil.example" })).status, 200);
  const connected = (origin: string) => {
    const socket = new WebSocket(`${home.replace("http", "ws")}/events`, [SUBPROTOCOL, `bearer.${other}`], { origin });
    socket.on("error", () => {});
    defer(() => socket.terminate());
    return new Promise<number>((resolve) => {
      socket.on("open", () => resolve(200));
      socket.on("unexpected-response", (_, { statusCode }) => resolve(statusCode!));
    });
  };
  assert.equal(await connected("https://evil.example"), 403);
  assert.equal(await connected(`http://${own}`), 200);
});

test.run();
