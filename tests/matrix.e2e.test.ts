/**
 * Who may do what, for every endpoint and every kind of caller, as the contracts say it; over HTTP, Server-Sent Events and
 * WebSocket. And that another organisation's things answer as if they had never been.
 *
 * A new endpoint is in it by being in the contracts; a new kind of caller is a line in `CALLERS`. NATS is asked by the credentials that each caller can
 * make (more of it: subscribers.e2e.test.ts). Webhooks have the same callers asked of them where they are tested.
 */
import assert from "node:assert/strict";
import { SUBPROTOCOL } from "@millrace/contracts/feed.ts";
import { BUILT_IN_ROLES } from "@millrace/contracts/identity/roles.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { allows, PERMISSIONS } from "@millrace/contracts/permissions.ts";
import { makeToken } from "@millrace/contracts/token.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import * as fc from "fast-check";
import { WebSocket } from "ws";
import { OPERATIONS, type Operation } from "./fuzz/document.ts";
import { validOf } from "./fuzz/values.ts";
import { fillerOf, type Things } from "./harness/filled.ts";
import { type Answer, testGateway, testProjector } from "./harness/gateway.ts";
import { type Credentials, connectAs, natsWithDoor, readAs } from "./harness/subscribers.ts";
import { socketTo, subscribedTo } from "./harness/subscriptions.ts";
import { suite } from "./harness/suite.ts";

const test = suite("who may do what", { timeoutMs: 120_000 });
const { nats, config: door } = await natsWithDoor();
const { url, owner, config } = await testGateway(door);
await testProjector(config);

const { fill, joined: joinedUnder, call, expect } = fillerOf({ url, owner, config });

/** Of collections that nothing was made in: an id of the right form, so that what it takes to ask is seen all the same. */
function idIn(collection: string, { byCollection }: Pick<Things, "byCollection">): string {
  const kinds = Object.values(CONTEXTS).flatMap((context) => Object.values(context.kinds));
  const prefix = kinds.find((kind) => kind.collection === collection)?.prefix ?? "nil";
  return byCollection[collection] ?? makeId(prefix, 1, new Uint8Array(10));
}

const ours = await fill("home");
const theirs = await fill("theirs");
const joined = (name: string, role: string, at?: string) =>
  joinedUnder(`/v1/organisations/${ours.org}`, name, role, at);

async function tokenWith(grants: ReadonlyArray<string>, more: object = {}): Promise<string> {
  const name = `m-${Math.random().toString(36).slice(2)}`;
  return (await expect(201, owner, "POST", `/v1/organisations/${ours.org}/tokens`, { body: { name, grants, ...more } }))
    .body.secret;
}

/** The lists answer when the views have been built for the first time. */
async function settled(path: string, token = owner): Promise<Answer> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const answer = await call(token, "GET", path);
    if (answer.status !== 503 || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Path and options of a request that is in order, and changes nothing that is there: it was made for a state that never was. */
function requestFor(operation: Operation, things: Things) {
  const { org, byCollection, line, comment, attachment } = things;
  const collection = /\/([a-z-]+)\/\{id\}/.exec(operation.path)?.[1];
  const values: Record<string, string | undefined> = {
    org,
    id: collection === undefined ? undefined : idIn(collection, things),
    line,
    comment,
    attachment,
    name: "tokens",
    link: "none",
  };
  const query = operation.parameters
    .filter((one) => one.in === "query" && one.required)
    .map(
      ({ name }) =>
        `${name}=${{ q: "Marked", from: "v1", name: "x.txt", why: "because", permission: "work:read", applications: byCollection.applications, format: "json" }[name]}`,
    );
  const path = operation.path.replaceAll(/\{([a-z]+)\}/g, (_, name) => values[name]!);
  assert.ok(!/undefined/.test(path + query), `${operation.id}: ${path}`);
  const takesTag = operation.parameters.some(({ name }) => name === "if-match");
  const body = operation.body === undefined ? {} : { body: bodyFor(operation.id, operation.body) };
  return {
    path: query.length === 0 ? path : `${path}?${query.join("&")}`,
    options: { ...body, ...(takesTag ? { headers: { "if-match": '"999999"' } } : {}) },
  };
}

const bodies = new Map<string, unknown>();
function bodyFor(id: string, schema: NonNullable<Operation["body"]>): unknown {
  if (!bodies.has(id)) bodies.set(id, fc.sample(validOf(schema), { seed: 7, numRuns: 40 }).find(plain));
  return bodies.get(id);
}

/** To name a secret takes a permission of its own (services/gateway/access.integration.test.ts). */
const plain = (body: unknown): boolean => !JSON.stringify(body).includes('"secret"');

const send = (operation: Operation, token: string | undefined, things: Things): Promise<Answer> => {
  const { path, options } = requestFor(operation, things);
  return call(token, operation.method, path, options);
};

/** What concerns the whole installation takes its owner's token, whatever else was granted. */
const ofInstallation = ({ permission, path }: Operation): boolean =>
  permission === "identity:install" || (permission.startsWith("system:") && !path.includes("{org}"));

type Outcome = "may" | 401 | 403 | 404;

const outcomeOf = ({ status, body }: Answer, { permission }: Operation): Outcome => {
  // A further one is asked for beside the endpoint's own, by what the request holds.
  if (status === 403 && body?.permission !== undefined && body.permission !== permission) return "may";
  if (status === 401 || status === 403) return status;
  // The answer to HEAD has no body that would say what there is none of.
  if (status === 404 && body === undefined) return 404;
  return status === 404 && body?.detail === "There is no such organisation." ? 404 : "may";
};

const everything = Object.keys(PERMISSIONS);
const expired = await tokenWith(["*"], { expiresAt: new Date(Date.now() + 1_500).toISOString() });
const revoked = await tokenWith(["*"]);
const { id: revokedId } = (await call(revoked, "GET", "/v1/whoami")).body.token;
await expect(204, owner, "DELETE", `/v1/organisations/${ours.org}/tokens/${revokedId}`, {
  headers: { "if-match": "*" },
});
const viewer = await tokenWith(everything.filter((permission) => permission.endsWith(":read")));
const powerless = await tokenWith([]);
const narrow = await tokenWith([`work:*@${ours.byCollection["work-items"]}`]);
const oneApplication = await tokenWith([`applications:*@${ours.byCollection.applications}`]);
const ownerMember = await joined("an-owner", "owner");
const viewerMember = await joined("a-viewer", "viewer");
const workViewer = await joined("a-work-viewer", "viewer", "work");
const operatorOfOne = await joined("an-operator", "operator", ours.byCollection.applications);
const removedMember = await joined("removed", "admin");
await expect(204, owner, "DELETE", `/v1/organisations/${ours.org}/members/${removedMember.id}`, {
  headers: { "if-match": "*" },
});
const held = await expect(201, ownerMember.token, "POST", `/v1/organisations/${ours.org}/profile/tokens`, {
  body: { name: "only-reads-work", grants: ["work:read"] },
});
const robot = (
  await expect(201, owner, "POST", `/v1/organisations/${ours.org}/tokens`, { body: { name: "robot", grants: [] } })
).body;
await expect(200, owner, "POST", `/v1/organisations/${ours.org}/tokens/${robot.id}/bind`, {
  body: { role: "developer" },
});
const exactly = new Map<string, string>();
const allBut = new Map<string, string>();
for (const permission of everything) {
  exactly.set(permission, await tokenWith([permission]));
  allBut.set(permission, await tokenWith(everything.filter((other) => other !== permission)));
}
const ofContext = new Map<string, string>();
for (const context of new Set(everything.map((permission) => permission.split(":")[0]!))) {
  ofContext.set(context, await tokenWith([`${context}:*`]));
}
while ((await call(expired, "GET", "/v1/whoami")).status === 200)
  await new Promise((resolve) => setTimeout(resolve, 50));
const lists = [
  "members",
  "invitations",
  "work-items",
  "tokens",
  "secrets",
  "work-types",
  "applications",
  "deployments",
  "history",
  "search?q=x",
];
for (const path of lists) {
  for (const { org } of [ours, theirs]) await settled(`/v1/organisations/${org}/${path}`);
}
await settled("/v1/organisations");

interface Caller {
  readonly name: string;
  readonly token: (operation: Operation) => string | undefined;
  readonly expected: (operation: Operation) => Outcome;
}

const anyone = ({ permission }: Operation) => permission === "authenticated" || permission === "public";
const holds =
  (yes: (operation: Operation) => boolean) =>
  (operation: Operation): Outcome =>
    anyone(operation) || (yes(operation) && !ofInstallation(operation)) ? "may" : 403;
const roleHolds =
  (name: string) =>
  ({ permission }: Operation): boolean =>
    allows(BUILT_IN_ROLES.find((role) => role.name === name)!.grants, permission, []);
/** Every member may do for themselves what concerns nobody else. */
const oneself = ({ permission }: Operation): boolean => permission === "identity:self";
/** Names the application or what belongs to it; or answers about many, of which it is one. */
const ofTheApplication = ({ id, method, path }: Operation): boolean =>
  /\/(applications|deployments)\/\{id\}/.test(path) ||
  (method === "GET" && !path.includes("{id}")) ||
  id === "logs.shareLogsOfApplications";
const nobody = ({ permission }: Operation): Outcome => (permission === "public" ? "may" : 401);

const CALLERS: ReadonlyArray<Caller> = [
  { name: "the owner", token: () => owner, expected: () => "may" },
  {
    name: "exactly the permission",
    token: ({ permission }) => exactly.get(permission) ?? powerless,
    expected: holds(() => true),
  },
  {
    name: "all of the context",
    token: ({ permission }) => ofContext.get(permission.split(":")[0]!) ?? powerless,
    expected: holds(() => true),
  },
  {
    name: "all but the permission",
    token: ({ permission }) => allBut.get(permission) ?? powerless,
    expected: holds(() => false),
  },
  { name: "all, of the organisation", token: () => ours.all, expected: holds(() => true) },
  { name: "who may read", token: () => viewer, expected: holds(({ permission }) => permission.endsWith(":read")) },
  { name: "no permission", token: () => powerless, expected: holds(() => false) },
  {
    name: "all of one work item",
    token: () => narrow,
    expected: holds(
      ({ permission, path, method }) =>
        permission.startsWith("work:") &&
        (path.includes("/work-items/{id}") || (method === "GET" && !path.includes("{id}"))),
    ),
  },
  {
    name: "all of one application",
    token: () => oneApplication,
    expected: holds((operation) => operation.permission.startsWith("applications:") && ofTheApplication(operation)),
  },
  { name: "a member who is an owner", token: () => ownerMember.token, expected: holds(() => true) },
  {
    name: "a member who is a viewer",
    token: () => viewerMember.token,
    expected: holds((one) => oneself(one) || roleHolds("viewer")(one)),
  },
  {
    name: "a viewer of one context",
    token: () => workViewer.token,
    expected: holds((one) => oneself(one) || (one.permission.startsWith("work:") && roleHolds("viewer")(one))),
  },
  {
    name: "an operator of one application",
    token: () => operatorOfOne.token,
    expected: holds(
      (one) =>
        oneself(one) ||
        (one.permission.startsWith("applications:") && roleHolds("operator")(one) && ofTheApplication(one)),
    ),
  },
  {
    name: "an owner's token that only reads work",
    token: () => held.body.secret,
    expected: holds(({ permission }) => permission === "work:read"),
  },
  { name: "a token that is a developer", token: () => robot.secret, expected: holds(roleHolds("developer")) },
  { name: "a member who was removed", token: () => removedMember.token, expected: nobody },
  {
    name: "all, of another organisation",
    token: () => theirs.all,
    expected: (operation) => (operation.path.includes("{org}") ? 404 : holds(() => true)(operation)),
  },
  { name: "revoked", token: () => revoked, expected: nobody },
  { name: "expired", token: () => expired, expected: nobody },
  { name: "nobody", token: () => undefined, expected: nobody },
  { name: "nonsense", token: () => "nonsense", expected: nobody },
  {
    name: "well formed, never made",
    token: () => makeToken("mrt", (size) => crypto.getRandomValues(new Uint8Array(size))),
    expected: nobody,
  },
];

for (const { name, token, expected } of CALLERS) {
  test(`HTTP, ${OPERATIONS.length} endpoints: ${name}`, async () => {
    const wrong: string[] = [];
    for (const operation of OPERATIONS) {
      const answer = await send(operation, token(operation), ours);
      const [found, wanted] = [outcomeOf(answer, operation), expected(operation)];
      // Of HEAD there is only the status to see.
      const silent = operation.method === "HEAD" && answer.status === 404 && (wanted === 404 || wanted === "may");
      // A type that is not taken is told before it is looked at which resource it is about.
      const early = answer.status === 415 && wanted === 403;
      if (found !== wanted && !silent && !early)
        wrong.push(
          `${operation.id} (${operation.permission}): ${answer.status}, wanted ${wanted}: ${answer.text.slice(0, 200)}`,
        );
      // What only a worker can tell is unavailable here, where there is none.
      if (answer.status >= 500 && answer.body?.what === undefined && operation.method !== "HEAD")
        wrong.push(`${operation.id}: ${answer.status} ${answer.text.slice(0, 200)}`);
      if (found === 403 && operation.method !== "HEAD") assert.equal(answer.body.permission, operation.permission);
      if (found === 401) assert.match(answer.headers.get("www-authenticate") ?? "", /^Bearer/);
    }
    assert.deepEqual(wrong, []);
  });
}

const contexts = Object.keys(CONTEXTS);
console.log(
  `the matrix: ${OPERATIONS.length} endpoints by ${CALLERS.length} callers over HTTP, ${contexts.length} contexts by ${CALLERS.length} over SSE and twice over WebSocket: ${CALLERS.length * (OPERATIONS.length + 3 * contexts.length)} cells`,
);

test("subscriptions: the permission to read the context, over SSE and WebSocket", async () => {
  for (const context of contexts) {
    const path = `/v1/organisations/${ours.org}/events?context=${context}`;
    const may = { permission: `${context}:read`, path: "/v1/organisations/{org}/events", method: "GET" } as Operation;
    for (const { name, token, expected } of CALLERS) {
      const wanted = { may: 200, 401: 401, 403: 403, 404: 404 }[expected(may)];
      const secret = token(may);
      const found = [
        await subscribedTo(url + path, secret),
        await socketTo(url + path, secret, false),
        await socketTo(url + path, secret, true),
      ];
      assert.deepEqual(found, [wanted, wanted, wanted], `${name}, ${context}`);
    }
  }
});

test("NATS subjects: each caller's credentials hear and read what the caller may read; foreign is silent", async ({
  defer,
}) => {
  const make: Operation = OPERATIONS.find(({ id }) => id === "subscribers.createSubscriber")!;
  const reads = (context: string) =>
    ({ permission: `${context}:read`, path: "/v1/organisations/{org}/x", method: "POST" }) as Operation;
  const under = (path: string) => `/v1/organisations/${ours.org}/subscribers${path}`;
  let cells = 0;
  for (const [i, { name, token, expected }] of CALLERS.entries()) {
    const readable = contexts.filter(
      (context) => expected(reads(context)) === "may" && token(reads(context)) === token(make),
    );
    const wanted = expected(make) === "may" ? (readable.length > 0 ? 201 : 403) : expected(make);
    const { status, body } = await call(token(make), "POST", under(""), { body: { name: `matrix-${i}` } });
    assert.equal(status, wanted, `${name}: ${JSON.stringify(body)}`);
    if (status !== 201) continue;
    const credentials: Credentials = body;
    const client = await connectAs(nats.url, credentials, { reconnect: false });
    defer(() => client.close());
    const forbidden = new Set<string>();
    const hears = (subject: string) =>
      client.subscribe(subject, { callback: (error) => void (error && forbidden.add(subject)) });
    const cellsOf = [ours.org, theirs.org].flatMap((org) =>
      contexts.map((context) => ({ org, context, subject: `feed.${org}.${context}.>` })),
    );
    for (const { subject } of cellsOf) hears(subject);
    for (const subject of [">", "feed.>", "_INBOX.>", "evt.>", "$SYS.>", "$JS.>"]) hears(subject);
    await client.flush();
    for (const { org, context, subject } of cellsOf) {
      const may = org === ours.org && readable.includes(context);
      assert.equal(!forbidden.has(subject), may, `${name}: ${subject}`);
    }
    assert.equal(forbidden.size, cellsOf.length - readable.length + 6, name);
    const read = await readAs(client, credentials.id, { from: "beginning", most: 1_000 });
    const sources = new Set(
      read.body.events.map(({ source }: { source: string }) => source.split("/").slice(2, 4).join(" ")),
    );
    assert.ok(sources.size > 0, name);
    for (const source of sources)
      assert.ok(
        readable.some((context) => source === `${ours.org} ${context}`),
        `${name}: ${source}`,
      );
    cells += cellsOf.length;
    await expect(204, owner, "DELETE", under(`/${credentials.id}`), { headers: { "if-match": "*" } });
    await client.closed();
    await assert.rejects(connectAs(nats.url, credentials, { reconnect: false }));
  }
  await assert.rejects(connectAs(nats.url, { id: "", secret: "" }, { reconnect: false }));
  console.log(`the matrix: ${CALLERS.length} callers over NATS, ${cells} cells of subjects`);
});

const withoutId = ({ status, text, body }: Answer) => {
  const { requestId: _, ...rest } = (body ?? {}) as Record<string, unknown>;
  return { status, rest: Object.keys(rest).length === 0 ? text : rest };
};

/** An id of the same form that was never given out. */
const neverMade = (id: string): string => id.replace(/.{6}$/, "zzzzzz");

test("another organisation answers as one that never was", async () => {
  const unknown: Things = { ...ours, org: neverMade(ours.org) };
  for (const operation of OPERATIONS.filter(({ path }) => path.includes("{org}"))) {
    for (const org of [ours.org, "home"]) {
      const foreign = await send(operation, theirs.all, { ...ours, org });
      assert.deepEqual(
        withoutId(foreign),
        withoutId(await send(operation, theirs.all, unknown)),
        `${operation.id} ${org}`,
      );
      assert.equal(foreign.status, 404);
    }
  }
});

test("another organisation's ids and names answer as such that never were", async () => {
  const names = {
    "work-types": "type-home",
    tokens: "token-home",
    secrets: "secret-home",
    "work-items": "home",
    roles: "role-home",
    invitations: "home",
    members: "member-home",
    applications: "app-home",
    uploads: "home",
    deployments: "home",
    "dead-letters": "home",
  };
  const never = Object.fromEntries(
    Object.entries(ours.byCollection).map(([collection, id]) => [collection, neverMade(id)]),
  );
  const nameless = Object.fromEntries(Object.keys(names).map((collection) => [collection, "never-made"]));
  const under = (byCollection: Things["byCollection"]): Things => ({ ...ours, org: theirs.org, byCollection });
  for (const operation of OPERATIONS.filter(({ path }) => path.includes("{org}") && path.includes("{id}"))) {
    for (const [theirOwn, unknown] of [
      [ours.byCollection, never],
      [names, nameless],
    ] as const) {
      const foreign = withoutId(await send(operation, theirs.all, under(theirOwn)));
      const other = withoutId(await send(operation, theirs.all, under(unknown)));
      const same = (value: unknown) =>
        JSON.stringify(value)
          .replaceAll("never-made", "NAME")
          .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
          .replaceAll(/(type|token|secret|app|role|member)-home|"home"/g, "NAME");
      const listed = (rest: unknown) =>
        Object.values(rest as { items?: unknown[]; series?: unknown[] }).find(Array.isArray);
      assert.equal(same(foreign), same(other), operation.id);
      assert.ok(
        [400, 404, 412, 415, 503].includes(foreign.status) || listed(foreign.rest)?.length === 0,
        `${operation.id}: ${foreign.status}`,
      );
    }
  }
});

test("nothing of another organisation stands in any list, history, search or error", async () => {
  const foreign = [
    ours.org,
    ours.line,
    ours.comment,
    ...Object.values(ours.byCollection),
    "Marked home",
    "type-home",
    "token-home",
    "secret-home",
    "label-home",
    "app-home",
  ];
  const mine = `/v1/organisations/${theirs.org}`;
  const paths = OPERATIONS.filter(
    ({ id, method, path }) =>
      method === "GET" && path.includes("{org}") && !path.includes("{id}") && id !== "members.getProfile",
  ).map((operation) => requestFor(operation, theirs).path);
  const more = [
    "/v1/organisations",
    "/v1/whoami",
    `${mine}/search?q=home`,
    `${mine}/search?q=Marked`,
    `${mine}/work-items?label=label-home`,
  ];
  const audit = ["id", "actor"].map((field) => `${mine}/history?${field}=${ours.byCollection.tokens}`);
  for (const path of [...paths, ...more, ...audit]) {
    const answer = await expect(200, theirs.all, "GET", path);
    for (const text of foreign)
      assert.ok(!answer.text.includes(text), `${path} shows ${text}: ${answer.text.slice(0, 500)}`);
  }
  // The same questions of one's own do find something: this test can see.
  const own = await expect(200, theirs.all, "GET", `${mine}/search?q=Marked`);
  assert.equal(own.body.items.length, 2);
});

test("cursors of another organisation lead to nothing of it", async () => {
  for (let i = 0; i < 2; i++)
    await expect(201, ours.all, "POST", `/v1/organisations/${ours.org}/work-items`, {
      body: { type: "task", title: `Marked home ${i}` },
    });
  for (const path of ["work-items", "history", "tokens"]) {
    const page = await settled(`/v1/organisations/${ours.org}/${path}?limit=1`, ours.all);
    assert.ok(page.body.nextCursor, path);
    const answer = await call(
      theirs.all,
      "GET",
      `/v1/organisations/${theirs.org}/${path}?cursor=${page.body.nextCursor}`,
    );
    assert.ok([200, 400].includes(answer.status), answer.text);
    for (const { organisation } of answer.body.items ?? [])
      if (organisation !== undefined) assert.equal(organisation, theirs.org);
    assert.ok(!answer.text.includes("home"), answer.text);
  }
});

test("an Idempotency-Key means nothing to others", async () => {
  const request = { headers: { "idempotency-key": "one-key" }, body: { type: "task", title: "Keyed" } };
  const first = await expect(201, ours.all, "POST", `/v1/organisations/${ours.org}/work-items`, request);
  const others = [
    await expect(201, theirs.all, "POST", `/v1/organisations/${theirs.org}/work-items`, {
      ...request,
      body: { ...request.body, title: "Other" },
    }),
    await expect(201, exactly.get("work:edit"), "POST", `/v1/organisations/${ours.org}/work-items`, {
      ...request,
      body: { ...request.body, title: "Third" },
    }),
  ];
  for (const other of others) {
    assert.equal(other.headers.get("idempotent-replayed"), null);
    assert.notEqual(other.body.id, first.body.id);
  }
});

test("subscribers are told of their own organisation alone", async ({ defer }) => {
  const listen = async (token: string, org: string) => {
    const socket = new WebSocket(
      `${url.replace("http", "ws")}/v1/organisations/${org}/events?from=beginning&heartbeatMs=1000`,
      [SUBPROTOCOL, `bearer.${token}`],
    );
    defer(() => socket.terminate());
    const frames: string[] = [];
    socket.on("message", (data) => frames.push(String(data)));
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return frames;
  };
  const [mine, other] = [await listen(theirs.all, theirs.org), await listen(ours.all, ours.org)];
  const title = `Live ${Date.now()}`;
  await expect(201, ours.all, "POST", `/v1/organisations/${ours.org}/work-items`, { body: { type: "task", title } });
  await expect(201, theirs.all, "POST", `/v1/organisations/${theirs.org}/work-items`, {
    body: { type: "task", title: `Mine ${title}` },
  });
  const deadline = Date.now() + 30_000;
  while (!(mine.some((frame) => frame.includes(`Mine ${title}`)) && other.some((frame) => frame.includes(title)))) {
    assert.ok(Date.now() < deadline, `not told of in time: ${mine.length} and ${other.length} frames`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(
    mine.filter((frame) => frame.includes(ours.org)),
    [],
  );
  assert.deepEqual(
    other.filter((frame) => frame.includes(`"/organisations/${theirs.org}/`)),
    [],
  );
});

test.run();
