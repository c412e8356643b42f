/** What is sent by mistake or malice: a typed answer each, in time, and nothing changed. */
import { connect, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import * as assert from "uvu/assert";
import { type Answer, ask, type TestGateway, testGateway } from "../../tests/harness/gateway.ts";
import { suite } from "../../tests/harness/suite.ts";

const test = suite("hostile input");

let gateway: TestGateway;
test.before(async () => {
  gateway = await testGateway();
});

const call = (method: string, path: string, options: Parameters<typeof ask>[3] = {}): Promise<Answer> =>
  ask(gateway.url, method, path, { token: gateway.owner, ...options });
const make = (body: unknown, headers: Record<string, string> = {}) =>
  call("POST", "/v1/organisations", { body, headers });

function assertProblem({ status, headers, body, text }: Answer, expected: number): void {
  assert.is(status, expected, text.slice(0, 300));
  assert.is(headers.get("content-type"), "application/problem+json");
  assert.is(body.status, expected);
  assert.ok(body.requestId);
  assert.not.match(text, /node_modules|\.ts:\d|\bat [A-Za-z]+ \(/);
}

const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;

const bodies: ReadonlyArray<[string, string | Uint8Array, number, Record<string, string>?]> = [
  ["no JSON", "{", 400],
  ["nothing", "", 400],
  ["null", "null", 400],
  ["an array", "[]", 400],
  ["a number", "1e999", 400],
  ["a text", '"name"', 400],
  ["two documents", '{"name":"a"}{"name":"b"}', 400],
  ["a number as name", '{"name":1}', 400],
  ["an object as name", '{"name":{"$gt":""}}', 400],
  ["a name that leads up", '{"name":"../../etc"}', 400],
  ["a name with a dot", '{"name":"a.b"}', 400],
  ["a name with a star", '{"name":"a*"}', 400],
  ["a name with >", '{"name":">"}', 400],
  ["a name with a line end", '{"name":"a\\nb"}', 400],
  ["a name with NUL", '{"name":"a\\u0000"}', 400],
  ["a name in capitals", '{"name":"ACME"}', 400],
  ["an empty name", '{"name":""}', 400],
  ["a name of 64", `{"name":"${"a".repeat(64)}"}`, 400],
  ["a name of a megabyte", `{"name":"${"a".repeat(1_000_000)}"}`, 400],
  ["a title with NUL", '{"name":"nul","title":"a\\u0000b"}', 400],
  ["a title with half a surrogate pair", '{"name":"half","title":"\\ud800"}', 400],
  ["a field called __proto__", '{"name":"proto","__proto__":{"x":1}}', 400],
  ["a field called constructor", '{"name":"proto","constructor":{"prototype":{}}}', 400],
  ["33 levels", nested(33), 400],
  ["100,000 levels", nested(100_000), 400],
  ["100,000 open brackets", "[".repeat(100_000), 400],
  ["bytes that are no UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]), 400],
  ["a byte order mark and UTF-16", new Uint8Array(Buffer.from('\ufeff{"name":"utf16"}', "utf16le")), 400],
  ["more than a megabyte", `{"name":"${"a".repeat(1_100_000)}"}`, 413],
  ["a form", "name=acme", 415, { "content-type": "application/x-www-form-urlencoded" }],
  ["text", "acme", 415, { "content-type": "text/plain" }],
  ["JSON in another charset", '{"name":"a"}', 415, { "content-type": "application/json; charset=utf-16" }],
  ["a type that is none", '{"name":"a"}', 415, { "content-type": "json" }],
  ["a lying encoding", '{"name":"a"}', 415, { "content-encoding": "gzip" }],
  ["a compressed body", gzipSync('{"name":"a"}'), 415, { "content-encoding": "gzip" }],
  ["a compressed body that says nothing of it", gzipSync('{"name":"a"}'), 400],
];
for (const [what, body, status, headers] of bodies) {
  test(`a body: ${what}`, async () => assertProblem(await make(body, headers), status));
}

const paths: ReadonlyArray<[string, number]> = [
  ["/v1/organisations/..%2f..%2fetc", 404],
  ["/v1/organisations/%2e%2e", 404],
  ["/v1/organisations/a.b", 404],
  ["/v1/organisations/*", 404],
  ["/v1/organisations/%3E", 404],
  ["/v1/organisations/home%00", 404],
  ["/v1/organisations/home%0d%0ax-evil:1", 404],
  ["/v1/organisations/%zz", 404],
  ["/v1/organisations/%ff", 404],
  ["/v1/organisations/%F0%9F%92%A9", 404],
  [`/v1/organisations/${"a".repeat(5_000)}`, 404],
  ["/v1/organisations/home/tokens/evt.identity.00.token.x", 404],
  ["/v1/organisations/home/tokens/tok_00000000000000000000000000", 404],
  ["/v1/organisations/home/tokens/tok_", 404],
  ["/v1/organisations/home/tokens/__proto__", 404],
  ["/v1/organisations/constructor", 404],
  ["//v1/organisations", 404],
  ["/v1//organisations", 404],
  ["/v1/organisations/", 404],
  ["/V1/organisations", 404],
  ["/v1/organisations/home?at=v99999999999", 400],
  ["/v1/organisations/home?at=", 400],
  ["/v1/organisations/home?at=v1&at=v2", 400],
  ["/v1/organisations/home?__proto__=1", 400],
  ["/v1/organisations/home?x[y]=1", 400],
  ["/v1/organisations/home/tokens?q=%00", 404],
  ["/v1/organisations/home/tokens?limit=9e99", 400],
  ["/v1/organisations/home/tokens?limit=-1", 400],
  ["/v1/organisations/home/tokens?sort=name;drop", 400],
  ["/v1/organisations/home/tokens?cursor=../..", 400],
  ["/problems/../../etc/passwd", 404],
  ["/problems/__proto__", 404],
];
for (const [path, status] of paths) {
  test(`a path: ${path.slice(0, 80)}`, async () => {
    // Sent as it stands: fetch would tidy it first.
    const [head, body] = await raw(
      `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${gateway.owner}\r\nConnection: close\r\n\r\n`,
    );
    assert.match(head, new RegExp(`^HTTP/1.1 ${status} `), body.slice(0, 300));
    assert.match(head, /content-type: application\/problem\+json/i);
    assert.not.match(head, /x-evil/i);
  });
}

const headers: ReadonlyArray<[string, Record<string, string>, number]> = [
  ["no token", { authorization: "" }, 401],
  ["another scheme", { authorization: "Basic b3duZXI6b3duZXI=" }, 401],
  ["a cut-off token", { authorization: "Bearer mrp_abc" }, 401],
  ["a token of a megabyte's worth", { authorization: `Bearer ${"a".repeat(8_000)}` }, 401],
  ["two tokens", { authorization: "Bearer a, Bearer b" }, 401],
  ["a position that is none", { "millrace-position": "!!!" }, 400],
];
for (const [what, sent, status] of headers) {
  test(`headers: ${what}`, async () => {
    const path = status === 401 ? "/v1/whoami" : "/v1/organisations/home/tokens";
    const answer = await call("GET", path, { headers: sent });
    assertProblem(answer, status);
    if (status === 401) assert.match(answer.headers.get("www-authenticate")!, /^Bearer/);
  });
}

/** Sends bytes as they are. @returns head and body of what came before the end of the connection */
function raw(request: string, then: (socket: Socket) => void = () => {}): Promise<[head: string, body: string]> {
  const { hostname, port } = new URL(gateway.url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(request);
      then(socket);
    });
    let text = "";
    socket.setTimeout(30_000, () => socket.destroy(new Error("no end of the connection")));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", (error: NodeJS.ErrnoException) =>
      error.code === "ECONNRESET" || error.code === "EPIPE" ? undefined : reject(error),
    );
    socket.on("close", () => {
      const at = text.indexOf("\r\n\r\n");
      resolve(at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 4)]);
    });
  });
}

const wire: ReadonlyArray<[string, string, RegExp]> = [
  ["no HTTP at all", "hello\r\n\r\n", /^HTTP\/1.1 400 /],
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", /^HTTP\/1.1 400 /],
  ["a head of 20 kB", `GET / HTTP/1.1\r\nHost: x\r\nX-A: ${"a".repeat(20_000)}\r\n\r\n`, /^HTTP\/1.1 413 /],
  [
    "two lengths",
    "POST /v1/organisations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    /^HTTP\/1.1 400 /,
  ],
  [
    "a length and chunks",
    "POST /v1/organisations HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    /^HTTP\/1.1 400 /,
  ],
  ["a header with a line end inside", "GET / HTTP/1.1\r\nHost: x\r\nX-A: a\nb\r\n\r\n", /^HTTP\/1.1 400 /],
  [
    "an upgrade to nowhere",
    "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    /^HTTP\/1.1 404 /,
  ],
];
for (const [what, request, expected] of wire) {
  test(`on the wire: ${what}`, async () => {
    const [head, body] = await raw(request);
    assert.match(head, expected);
    assert.match(head, /application\/problem\+json/i);
    assert.ok(JSON.parse(body).type);
  });
}

test("on the wire: a body that says it is large is refused before it is sent", async () => {
  const head = `POST /v1/organisations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${gateway.owner}\r\nContent-Type: application/json\r\n`;
  const [announced] = await raw(`${head}Content-Length: 900000000\r\n\r\n`);
  assert.match(announced, /^HTTP\/1.1 413 /);
  assert.match(announced, /connection: close/i);
});

test("on the wire: an endless body is cut when it is too large", async () => {
  const head = `POST /v1/organisations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${gateway.owner}\r\nContent-Type: application/json\r\n`;
  let sent = 0;
  const [answer] = await raw(`${head}Transfer-Encoding: chunked\r\n\r\n`, (socket) => {
    const chunk = `10000\r\n${"a".repeat(65_536)}\r\n`;
    const more = () => {
      if (socket.destroyed || sent > 50_000_000) return;
      sent += 65_536;
      if (socket.write(chunk)) setImmediate(more);
      else socket.once("drain", more);
    };
    more();
  });
  assert.match(answer, /^HTTP\/1.1 413 /);
  assert.ok(sent < 50_000_000, `cut after ${sent} bytes`);
});

test("on the wire: half a head and half a body are given up in time", { timeoutMs: 90_000 }, async () => {
  const half = "POST /v1/organisations HTTP/1.1\r\nHost: x\r\n";
  const [head] = await raw(half, (socket) => socket.setTimeout(60_000));
  assert.match(head, /^HTTP\/1.1 400 /);
});

test("a client that goes away in the middle leaves nothing behind", async () => {
  const { hostname, port } = new URL(gateway.url);
  for (let i = 0; i < 20; i++) {
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(
          `POST /v1/organisations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${gateway.owner}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name"`,
        );
        setTimeout(() => socket.destroy(), 5);
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve());
    });
  }
  assert.is((await call("GET", "/v1/whoami")).status, 200);
});

test("after all of it: nothing was made, and nothing answered 500", async () => {
  const metrics = (await call("GET", "/metrics")).text;
  assert.not.match(metrics, /millrace_http_requests_total\{[^}]*status="5\d\d"/);
  for (const name of ["a", "nul", "half", "proto", "utf16"]) {
    assert.is((await call("GET", `/v1/organisations/${name}`)).status, 404);
  }
});

test.run();
