/** A Gen2+ device over HTTP and WebSocket with its login, against a device of this test's own, and what is no device. */
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import * as assert from "uvu/assert";
import { type WebSocket, WebSocketServer } from "ws";
import { eventually } from "../../../../tests/harness/eventually.ts";
import { suite, type TestContext } from "../../../../tests/harness/suite.ts";
import type { Address } from "./address.ts";
import { type Identity, identityOf } from "./device.ts";
import { HA2_OF_FRAMES, ha1Of, ha2OfRequest, parseChallengeHeader, responseOf } from "./digest.ts";
import { DeviceFailure, type DeviceFailureKind } from "./failures.ts";
import { Gate } from "./gate.ts";
import type { JsonObject } from "./json.ts";
import { RpcDevice } from "./rpc-device.ts";
import type { Notice } from "./rpc-peer.ts";

const test = suite("rpc device");

const ID = "shellyplus1-aabbccddeeff";
const SHELLY = {
  id: ID,
  mac: "AABBCCDDEEFF",
  model: "SNSW-001X16EU",
  gen: 2,
  fw_id: "x",
  ver: "2.0.1",
  app: "Plus1",
  auth_en: true,
  auth_domain: ID,
};
const HA1 = ha1Of(ID, "right");

/** Answers, counts challenges, and checks each proof for itself. */
class TinyDevice {
  nonce = "AAAAAGoN/xPq4w==";
  used = 0;
  challenges = 0;
  calls: string[] = [];
  sockets: WebSocket[] = [];

  #right(nonce: unknown, nc: string, cnonce: unknown, response: unknown, ha2: string): boolean {
    const count = Number.parseInt(nc, 16);
    if (nonce !== this.nonce || count <= this.used) return false;
    if (response !== responseOf(HA1, this.nonce, nc, String(cnonce), ha2)) return false;
    this.used = count;
    return true;
  }

  http: RequestListener = (request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      const frame = JSON.parse(body) as JsonObject & { method: string };
      const sent = parseChallengeHeader(request.headers.authorization ?? "x")!.parameters;
      const of = (name: string) => sent.get(name);
      const right = this.#right(
        of("nonce"),
        of("nc") ?? "",
        of("cnonce"),
        of("response"),
        ha2OfRequest("POST", "/rpc"),
      );
      if (frame.method !== "Shelly.GetDeviceInfo" && !right) {
        this.challenges += 1;
        const challenge = `Digest qop="auth", realm="${ID}", nonce="${this.nonce}", algorithm=SHA-256`;
        response.writeHead(401, { "www-authenticate": challenge, connection: "close" }).end();
        return;
      }
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(this.#answer(frame)));
    });
  };

  socket(socket: WebSocket): void {
    this.sockets.push(socket);
    socket.on("message", (data) => {
      const frame = JSON.parse(String(data)) as JsonObject & { method: string };
      if (frame.method === undefined) return void this.calls.push(`answer ${JSON.stringify(frame.error)}`);
      const auth = (frame.auth ?? {}) as JsonObject;
      const right = this.#right(auth.nonce, String(auth.nc ?? ""), auth.cnonce, auth.response, HA2_OF_FRAMES);
      if (frame.method === "Shelly.GetDeviceInfo" || right) return socket.send(JSON.stringify(this.#answer(frame)));
      this.challenges += 1;
      const message = JSON.stringify({
        auth_type: "digest",
        nonce: this.nonce,
        nc: 1,
        realm: ID,
        algorithm: "SHA-256",
      });
      socket.send(JSON.stringify({ id: frame.id!, src: ID, dst: frame.src!, error: { code: 401, message } }));
    });
  }

  #answer({ id, src, method }: JsonObject & { method: string }): JsonObject {
    this.calls.push(method);
    const to = { id: id!, src: ID, ...(src === undefined ? {} : { dst: src }) };
    if (method === "Shelly.GetDeviceInfo") return { ...to, result: SHELLY };
    if (method === "Shelly.GetStatus") return { ...to, result: { sys: { mac: SHELLY.mac, uptime: 7 } } };
    if (method === "Cover.Close") return { ...to, result: null };
    return { ...to, error: { code: 404, message: `No handler for ${method}` } };
  }
}

async function serve(
  { defer }: TestContext,
  http: RequestListener,
  onSocket?: (socket: WebSocket) => void,
): Promise<Address> {
  const server = createServer(http);
  const sockets = new WebSocketServer({ server, path: "/rpc", perMessageDeflate: false });
  if (onSocket !== undefined) sockets.on("connection", onSocket);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  defer(() => {
    for (const one of sockets.clients) one.terminate();
    server.closeAllConnections();
    server.close();
  });
  return { host: "127.0.0.1", port: (server.address() as AddressInfo).port, scheme: "http" };
}

function open(
  context: TestContext,
  address: Address,
  ha1: string | null = HA1,
  identity: Identity = identityOf(SHELLY),
): RpcDevice {
  const credentials = async () => (ha1 === null ? undefined : { ha1 });
  const device = new RpcDevice({ address, identity, gate: new Gate(4), credentials });
  context.defer(() => device.close());
  return device;
}

async function failsAs(promise: Promise<unknown>, kind: DeviceFailureKind): Promise<DeviceFailure> {
  const error = await promise.then(
    () => new Error("it did not fail"),
    (raised: unknown) => raised,
  );
  assert.ok(error instanceof DeviceFailure, String(error));
  assert.is(error.kind, kind, error.message);
  return error;
}

test("over HTTP: one challenge for many calls, each use counted, one call at a time", async (context) => {
  const tiny = new TinyDevice();
  let [under, most] = [0, 0];
  const device = open(
    context,
    await serve(context, (request, response) => {
      under += 1;
      most = Math.max(most, under);
      response.on("finish", () => (under -= 1));
      tiny.http(request, response);
    }),
  );
  const statuses = await Promise.all([1, 2, 3, 4].map(() => device.status()));
  assert.equal(statuses[3], { sys: { mac: SHELLY.mac, uptime: 7 } });
  assert.is(await device.call({ method: "Cover.Close", params: { id: 0 } }), null);
  assert.is(tiny.challenges, 1);
  assert.is(tiny.used, 5);
  assert.is(most, 1);
  await failsAs(device.call({ method: "Light.Fly", params: {} }), "not-found");
});

test("over a WebSocket: the same session, notifications, its calls to us, its end", async (context) => {
  const tiny = new TinyDevice();
  const address = await serve(context, tiny.http, (socket) => tiny.socket(socket));
  const cuts: DeviceFailure[] = [];
  const device = new RpcDevice({
    address,
    identity: identityOf(SHELLY),
    gate: new Gate(4),
    credentials: async () => ({ ha1: HA1 }),
    onCut: (why) => cuts.push(why),
  });
  context.defer(() => device.close());
  const notices: Notice[] = [];
  device.subscribe((notice) => notices.push(notice));
  await device.link();
  await device.status();
  await device.status();
  assert.equal([tiny.challenges, tiny.used], [1, 2]);
  const socket = tiny.sockets[0]!;
  const tell = (frame: object) => socket.send(JSON.stringify({ src: ID, dst: "m", ...frame }));
  tell({ method: "NotifyStatus", params: { ts: 1, "switch:0": { output: true } } });
  tell({
    method: "NotifyEvent",
    params: { ts: 1, events: [{ component: "sys", event: "config_changed", cfg_rev: 8 }, 7] },
  });
  tell({ id: 99, method: "Sys.Hello", params: {} });
  socket.send("no frame");
  await eventually(async () => tiny.calls.find((call) => call.startsWith("answer")), "an answer to its call");
  assert.equal(
    notices.map(({ notice }) => notice),
    ["status", "events"],
  );
  socket.terminate();
  await eventually(async () => cuts[0], "being told of the end");
  assert.not.ok(device.linked);
  // What it cannot get by the one, it gets by the other, with the nonce that it has.
  await device.status();
  assert.is(tiny.challenges, 1);
});

test("a wrong password is shown twice in all, then no more; the right one opens", async (context) => {
  const tiny = new TinyDevice();
  const device = open(context, await serve(context, tiny.http), ha1Of(ID, "wrong"));
  const first = await failsAs(device.status(), "wrong-credentials");
  assert.is(first.again.when, "after");
  const asked = tiny.challenges;
  await failsAs(device.status(), "wrong-credentials");
  assert.is(tiny.challenges, asked);
  const unknown = open(context, await serve(context, tiny.http), null);
  await failsAs(unknown.status(), "wrong-credentials");
});

test("another device, nonsense, too much, nothing, elsewhere, an end in the middle: each by its name", async (context) => {
  const identity = identityOf({ ...SHELLY, mac: "000000000001" });
  await failsAs(open(context, await serve(context, new TinyDevice().http), HA1, identity).status(), "another-device");
  const answers: ReadonlyArray<
    readonly [DeviceFailureKind, (request: IncomingMessage, response: Parameters<RequestListener>[1]) => void]
  > = [
    ["garbled", (_, response) => response.end("<html>router</html>")],
    ["garbled", (_, response) => response.end(`{"id":1,"result":${"[".repeat(100)}${"]".repeat(100)}}`)],
    ["garbled", (_, response) => void response.socket!.end("what is this\r\n\r\n")],
    ["too-large", (_, response) => response.writeHead(200, { "content-length": 100_000_000 }).write("x")],
    [
      "too-large",
      (_, response) => {
        const more = () => response.write("x".repeat(65_536), () => response.destroyed || setImmediate(more));
        more();
      },
    ],
    ["unreachable", (_, response) => void response.socket!.destroy()],
    ["redirected", (_, response) => response.writeHead(302, { location: "http://192.0.2.1/rpc" }).end()],
    ["too-busy", (_, response) => response.writeHead(503).end()],
    ["device-error", (_, response) => response.writeHead(500).end("out of memory")],
  ];
  for (const [kind, answer] of answers) await failsAs(open(context, await serve(context, answer)).identify(), kind);
  const silent = open(context, await serve(context, () => {}));
  await failsAs(silent.call({ method: "Shelly.GetDeviceInfo", params: {} }, 100), "timeout");
  await failsAs(open(context, { host: "127.0.0.1", port: 1, scheme: "http" }).identify(), "unreachable");
});

test.run();
