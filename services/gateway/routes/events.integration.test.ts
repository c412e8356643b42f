/** Subscriptions as clients have them: real sockets, a real gateway, the real relays. */

import { SubscriptionEnded, subscribe } from "@millrace/contracts/subscribe.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { connectNats, type Nats } from "@millrace/eventlog/connection.ts";
import { eventually } from "@millrace/eventlog/fixtures/feed.ts";
import { startRelay } from "@millrace/eventlog/relay.ts";
import * as assert from "uvu/assert";
import { WebSocket } from "ws";
import { ask, type TestGateway, testGateway } from "../../../tests/harness/gateway.ts";
import { deferToEndOfFile, suite } from "../../../tests/harness/suite.ts";

const test = suite("subscriptions");
let at: TestGateway;
let nats: Nats;
let serial = 0;
const fresh = (word: string) => `${word}-${++serial}-${Date.now().toString(36)}`;

test.before(async () => {
  at = await testGateway();
  const { natsUrl: url, natsUser: user, natsPassword: password } = at.config;
  nats = await connectNats({ url, user: user!, password: password!, name: "subscriptions" });
  const stop = new AbortController();
  const log = { info() {}, warn() {}, error() {} } as never;
  const relays = Object.values(CONTEXTS).map(({ name, kinds }) =>
    startRelay({ nats, context: name, kinds, signal: stop.signal, log, park: async () => {} }),
  );
  deferToEndOfFile(async () => {
    stop.abort();
    await Promise.all(relays.map(({ ended }) => ended));
    await nats.close();
  });
});

const post = async (path: string, body: object, token = at.owner) => {
  const answer = await ask(at.url, "POST", path, { token, body });
  assert.ok(answer.status < 300, answer.text);
  return answer;
};

const organisation = async (): Promise<string> =>
  (await post("/v1/organisations", { name: fresh("org"), title: "One of the tests" })).body.id;

const openItem = async (org: string, title: string, token = at.owner) =>
  (await post(`/v1/organisations/${org}/work-items`, { type: "task", title }, token)) as {
    body: { id: string };
    headers: Headers;
  };

const tokenOf = async (org: string, grants: string[], over: object = {}): Promise<{ id: string; secret: string }> =>
  (await post(`/v1/organisations/${org}/tokens`, { name: fresh("tok"), grants, ...over })).body;

interface Frame {
  readonly type: string;
  readonly position?: string;
  readonly event?: { readonly id: string; readonly type: string; readonly source: string; readonly data: any };
  readonly live?: boolean;
  readonly contexts?: string[];
}

class Socket {
  readonly frames: Frame[] = [];
  closed: { code: number; reason: string } | undefined;
  readonly socket: WebSocket;

  constructor(path: string, token: string) {
    this.socket = new WebSocket(at.url.replace("http", "ws") + path, "millrace.v1", {
      headers: { authorization: `Bearer ${token}` },
    });
    this.socket.on("message", (data) => void this.frames.push(JSON.parse(String(data))));
    this.socket.on("close", (code, reason) => {
      this.closed = { code, reason: String(reason) };
    });
    this.socket.on("error", () => {});
  }

  of(type: string): Frame[] {
    return this.frames.filter((frame) => frame.type === type);
  }

  get titles(): string[] {
    return this.of("event").map(({ event }) => event!.data.title);
  }
}

async function open(path: string, token: string, defer: (cleanUp: () => unknown) => void): Promise<Socket> {
  const socket = new Socket(path, token);
  defer(() => socket.socket.terminate());
  await eventually("it is caught up", () => socket.of("caught-up").length > 0 || socket.closed !== undefined);
  assert.is(socket.closed, undefined);
  return socket;
}

/** What an upgrade is refused with. */
const refused = (
  path: string,
  token: string | undefined,
  protocols: string[] = [],
): Promise<{ status: number; body: any; type: string }> =>
  new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const socket = new WebSocket(at.url.replace("http", "ws") + path, protocols, { headers });
    socket.on("open", () => {
      socket.terminate();
      reject(new Error("it was opened"));
    });
    socket.on("error", () => {});
    socket.on("unexpected-response", (_, response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode!, type: response.headers["content-type"]!, body: JSON.parse(text) }),
      );
    });
  });

test("events of an organisation over a WebSocket, live and from a position", async ({ defer }) => {
  const org = await organisation();
  const path = `/v1/organisations/${org}/events`;
  const live = await open(`${path}?type=ItemOpened`, at.owner, defer);
  assert.is(live.socket.protocol, "millrace.v1");
  assert.equal(live.of("hello")[0]!.contexts, Object.keys(CONTEXTS));
  const first = await openItem(org, "first");
  await openItem(org, "second");
  await eventually("both are told", () => live.titles.length === 2);
  assert.equal(live.titles, ["first", "second"]);
  const { event } = live.of("event")[0]!;
  assert.is(event!.type, "millrace.work.ItemOpened.v1");
  assert.is(event!.source, `/organisations/${org}/work/item/${first.body.id}`);
  // A command's own position is as good as a frame's.
  for (const after of [first.headers.get("millrace-position")!, live.of("event")[0]!.position!]) {
    const later = await open(`${path}?context=work&after=${after}`, at.owner, defer);
    assert.equal(later.titles, ["second"]);
  }
  const { name } = (await ask(at.url, "GET", `/v1/organisations/${org}`, { token: at.owner })).body.spec;
  const byName = await open(`/v1/organisations/${name}/events?from=beginning&type=ItemOpened`, at.owner, defer);
  assert.equal(byName.titles, ["first", "second"]);
});

test("filters by context, kind, id and type", async ({ defer }) => {
  const org = await organisation();
  const one = await openItem(org, "one");
  await openItem(org, "two");
  const path = `/v1/organisations/${org}/events?from=beginning`;
  const types = async (query: string) =>
    (await open(path + query, at.owner, defer)).of("event").map(({ event }) => event!.type.split(".")[2]);
  assert.equal(await types(`&id=${one.body.id}`), ["ItemOpened"]);
  assert.equal(await types("&context=identity&kind=organisation"), ["OrganisationCreated"]);
  assert.equal(await types("&type=OrganisationCreated,ItemOpened&context=work"), ["ItemOpened", "ItemOpened"]);
  assert.equal(await types("&kind=item&kind=organisation&type=OrganisationCreated"), ["OrganisationCreated"]);
  assert.equal(await types("&id=itm_01kajzq4v0e8r9t2m5x7c3d6fg"), []);
});

test("what is wrong is told as a problem before anything is upgraded", async () => {
  const org = await organisation();
  const path = `/v1/organisations/${org}/events`;
  const bad: ReadonlyArray<readonly [query: string, pointer: string]> = [
    ["?after=nonsense", "/query/after"],
    ["?after=%00", "/query/after"],
    ["?context=nothing", "/query/context"],
    ["?contexts=work", "/query/contexts"],
    ["?id=../x", "/query/id"],
    ["?type=*", "/query/type"],
    [`?id=${Array.from({ length: 101 }, (_, i) => `itm_${i}`).join()}`, "/query/id"],
    ["?from=yesterday", "/query/from"],
    ["?heartbeatMs=5", "/query/heartbeatMs"],
    ["?heartbeatMs=99999", "/query/heartbeatMs"],
    ["?onGap=ignore", "/query/onGap"],
    ["?__proto__=1", "/query/__proto__"],
  ];
  for (const [query, pointer] of bad) {
    for (const answer of [await refused(path + query, at.owner), await sse(path + query, at.owner)]) {
      assert.is(answer.status, 400, query);
      assert.is(answer.type, "application/problem+json");
      assert.is(answer.body.errors[0].pointer, pointer);
    }
  }
  assert.is((await refused(path, undefined)).status, 401);
  assert.is((await refused(path, undefined, ["millrace.v1", "bearer.nonsense"])).status, 401);
  assert.is((await refused("/v1/organisations/nobody/events", at.owner)).status, 404);
  assert.is((await refused("/v1/organisations/%2e%2e/events", at.owner)).status, 404);
  assert.is((await ask(at.url, "GET", path, { token: at.owner, headers: { accept: "application/json" } })).status, 415);
});

async function sse(path: string, token: string): Promise<{ status: number; type: string; body: any }> {
  const answer = await ask(at.url, "GET", path, { token, headers: { accept: "text/event-stream" } });
  return { status: answer.status, type: answer.headers.get("content-type")!, body: answer.body };
}

test("another organisation's events are never seen, and its address is not found", async ({ defer }) => {
  const [mine, other] = [await organisation(), await organisation()];
  const { secret } = await tokenOf(mine, ["*"]);
  const foreign = await openItem(other, "secret of others");
  assert.is((await refused(`/v1/organisations/${other}/events`, secret)).status, 404);
  const socket = await open(`/v1/organisations/${mine}/events?from=beginning`, secret, defer);
  const byId = await open(`/v1/organisations/${mine}/events?from=beginning&id=${foreign.body.id}`, secret, defer);
  await openItem(other, "another");
  await openItem(mine, "mine");
  await eventually("mine is told", () => socket.titles.includes("mine"));
  const sources = socket.of("event").map(({ event }) => event!.source);
  assert.ok(
    sources.every((source) => source.startsWith(`/organisations/${mine}/`)),
    sources.join(),
  );
  assert.equal(byId.of("event"), []);
});

test("a token sees the contexts it may read, and single resources where it holds those", async ({ defer }) => {
  const org = await organisation();
  const path = `/v1/organisations/${org}/events?from=beginning`;
  const [one] = [await openItem(org, "one"), await openItem(org, "two")];
  const { secret: reader } = await tokenOf(org, ["work:read"]);
  const all = await open(path, reader, defer);
  assert.equal(all.of("hello")[0]!.contexts, ["work"]);
  assert.equal(all.titles.toSorted(), ["one", "two"]);
  const forbidden = await refused(`${path}&context=identity`, reader);
  assert.is(forbidden.status, 403);
  assert.is(forbidden.body.permission, "identity:read");
  const { secret: narrow } = await tokenOf(org, [`work:read@${one!.body.id}`]);
  assert.equal((await open(path, narrow, defer)).titles, ["one"]);
  const { secret: blind } = await tokenOf(org, ["identity:tokens"]);
  assert.is((await refused(path, blind)).status, 403);
});

test("a revoked token is cut off within a second with 4401, and so is one that expires", async ({ defer }) => {
  const org = await organisation();
  const path = `/v1/organisations/${org}/events`;
  const revoked = await tokenOf(org, ["work:*"]);
  const expiring = await tokenOf(org, ["work:*"], { expiresAt: new Date(Date.now() + 2_500).toISOString() });
  const [one, two] = [await open(path, revoked.secret, defer), await open(path, expiring.secret, defer)];
  const tokenPath = `/v1/organisations/${org}/tokens/${revoked.id}`;
  const gone = await ask(at.url, "DELETE", tokenPath, { token: at.owner, headers: { "if-match": "*" } });
  assert.is(gone.status, 204, gone.text);
  const began = Date.now();
  await eventually("the revoked one is cut off", () => one.closed !== undefined, 10_000);
  assert.ok(Date.now() - began < 5_000);
  assert.is(one.closed!.code, 4401);
  await openItem(org, "not for them");
  await eventually("the expired one is cut off", () => two.closed !== undefined, 15_000);
  assert.is(two.closed!.code, 4401);
  assert.equal(one.titles, []);
  assert.is((await refused(path, revoked.secret)).status, 401);
});

test("Server-Sent Events: ids are positions, Last-Event-ID goes on, heartbeats move the position", async ({
  defer,
}) => {
  const org = await organisation();
  const path = `/v1/organisations/${org}/events?context=work&heartbeatMs=1000`;
  const first = await stream(path, {}, defer);
  await eventually("it is caught up", () => first.text.includes("event: caught-up"));
  assert.match(first.headers.get("content-type")!, "text/event-stream");
  assert.is(first.headers.get("x-accel-buffering"), "no");
  assert.match(first.text, /^retry: 2000\n\n/);
  await openItem(org, "one");
  await eventually("it is told", () => /id: (\S+)\nevent: millrace\.work\.ItemOpened\ndata: \{/.test(first.text));
  const id = /id: (\S+)\nevent: millrace\.work\.ItemOpened/.exec(first.text)![1]!;
  await eventually("a heartbeat", () => /id: \S+\nevent: position\n/.test(first.text));
  first.end();
  await openItem(org, "two");
  const second = await stream(path, { "last-event-id": id }, defer);
  await eventually("it goes on", () => second.text.includes('"two"') && second.text.includes("event: caught-up"));
  assert.not.match(second.text, /"one"/);
  assert.is((await sse(path, "mrt_wrong")).status, 401);
});

async function stream(path: string, headers: Record<string, string>, defer: (cleanUp: () => unknown) => void) {
  const abort = new AbortController();
  defer(() => abort.abort());
  const response = await fetch(at.url + path, {
    headers: { authorization: `Bearer ${at.owner}`, accept: "text/event-stream", ...headers },
    signal: abort.signal,
  });
  assert.is(response.status, 200);
  const state = { text: "", headers: response.headers, end: () => abort.abort() };
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body!) state.text += decoder.decode(chunk, { stream: true });
  })().catch(() => {});
  return state;
}

test("a client that says something is cut off, and a large frame is not even read", async ({ defer }) => {
  const org = await organisation();
  const path = `/v1/organisations/${org}/events`;
  const talker = await open(path, at.owner, defer);
  talker.socket.send("hello?");
  await eventually("it is cut off", () => talker.closed !== undefined);
  assert.is(talker.closed!.code, 1008);
  const shouter = await open(path, at.owner, defer);
  shouter.socket.send("x".repeat(100_000));
  await eventually("it is cut off", () => shouter.closed !== undefined);
  assert.is(shouter.closed!.code, 1009);
});

test("a token has 200 subscriptions at the most, and a closed one makes room", async ({ defer }) => {
  const org = await organisation();
  const path = `/v1/organisations/${org}/events?context=work`;
  const { secret } = await tokenOf(org, ["work:read"]);
  const sockets = Array.from({ length: 200 }, () => new Socket(path, secret));
  for (const { socket } of sockets) defer(() => socket.terminate());
  await eventually("all are greeted", () => sockets.every(({ frames }) => frames.length > 0), 40_000);
  const full = await refused(path, secret);
  assert.is(full.status, 429);
  assert.is(full.body.type, "/problems/rate-limited");
  assert.is((await sse(path, secret)).status, 429);
  sockets[0]!.socket.terminate();
  await eventually("there is room again", async () => {
    const next = new Socket(path, secret);
    await eventually("an answer", () => next.frames.length > 0 || next.closed !== undefined);
    next.socket.terminate();
    return next.frames.length > 0;
  });
});

test("the client comes back over any number of broken connections, and sees each event once", async ({ defer }) => {
  const org = await organisation();
  let broken = 0;
  class Fragile extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      this.on("error", () => {});
      if (broken++ < 8) setTimeout(() => this.terminate(), 30 + Math.random() * 300);
    }
  }
  const events = subscribe({
    url: at.url,
    token: at.owner,
    organisation: org,
    from: "beginning",
    filter: { type: ["ItemOpened"] },
    WebSocket: Fragile,
  });
  defer(events.close);
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { data } of events) {
      seen.push((data as { title: string }).title);
      if (seen.at(-1) === "the last") break;
    }
  })();
  const titles: string[] = [];
  const open = async (title: string) => {
    titles.push(title);
    await openItem(org, title);
  };
  while (titles.length < 60 || broken <= 4) await open(`item ${titles.length}`);
  await open("the last");
  await reading;
  assert.equal(seen, titles);
  assert.ok(broken > 3, `${broken} connections`);
});

test("the client with the runtime's own WebSocket; it ends with the problem when it is refused", async ({ defer }) => {
  const org = await organisation();
  await openItem(org, "one");
  const options = { url: at.url, token: at.owner, organisation: org, from: "beginning" } as const;
  const events = subscribe({ ...options, filter: { context: ["work"] } });
  defer(events.close);
  for await (const { type } of events) {
    assert.is(type, "millrace.work.ItemOpened.v1");
    break;
  }
  assert.match(events.position, /^[A-Za-z0-9_-]+$/);
  for (const [over, status] of [
    [{ token: "mrt_wrong" }, 401],
    [{ organisation: "nobody" }, 404],
    [{ after: "nonsense" }, 400],
  ] as const) {
    try {
      for await (const event of subscribe({ ...options, ...over })) assert.unreachable(JSON.stringify(event));
      assert.unreachable("it ends with an error");
    } catch (error) {
      assert.instance(error, SubscriptionEnded);
      assert.is(((error as SubscriptionEnded).detail as { status: number }).status, status);
    }
  }
});

test("a gateway that stops sends its subscribers elsewhere", async () => {
  const other = await testGateway({ ...at.config, ownerToken: at.owner });
  const org = await organisation();
  const socket = new WebSocket(`${other.url.replace("http", "ws")}/v1/organisations/${org}/events`, [
    "millrace.v1",
    `bearer.${at.owner}`,
  ]);
  let closed: { code: number; reason: string } | undefined;
  let greeted = false;
  socket.on("message", () => {
    greeted = true;
  });
  socket.on("error", () => {});
  socket.on("close", (code, reason) => {
    closed = { code, reason: String(reason) };
  });
  await eventually("it is greeted", () => greeted);
  await other.gateway.stop();
  await eventually("it is told", () => closed !== undefined);
  assert.equal(closed, { code: 1012, reason: "the gateway stops" });
});

test.run();
