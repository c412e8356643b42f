/** People as members: invited, let in, given and taken roles, removed; and that all of it holds at once, wherever they are connected. */
import assert from "node:assert/strict";
import { SUBPROTOCOL } from "@millrace/contracts/feed.ts";
import { WebSocket } from "ws";
import { type Answer, ask, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { suite } from "./harness/suite.ts";

const test = suite("members", { timeoutMs: 90_000 });

const one = await testGateway();
await testProjector(one.config);
// A second one beside it: what is done here holds there.
const two = await testGateway({ ...one.config });

let serial = 0;
const fresh = (word = "n") => `${word}-${++serial}`;
const made = await ask(one.url, "POST", "/v1/organisations", { token: one.owner, body: { name: "acme" } });
const org: string = made.body.id;

type Options = {
  readonly token?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  at?: string;
};
const call = (
  method: string,
  path: string,
  { at = one.url, token = one.owner, ...rest }: Options = {},
): Promise<Answer> =>
  ask(at, method, path.startsWith("/v1") ? path : `/v1/organisations/${org}${path}`, { token, ...rest });
async function expect(status: number, method: string, path: string, options: Options = {}): Promise<Answer> {
  const answer = await call(method, path, options);
  assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
  return answer;
}
const MATCH = { "if-match": "*" };

interface Person {
  readonly id: string;
  readonly name: string;
  readonly token: string;
  readonly tokenId: string;
}

async function join(role: string, more: object = {}, by = one.owner): Promise<Person> {
  const name = fresh(role.slice(0, 20));
  const invited = await expect(201, "POST", "/invitations", { token: by, body: { name, role, ...more } });
  const { secret } = invited.body;
  const { body } = await expect(201, "POST", "/v1/invitations/accept", { token: "", body: { secret } });
  return { id: body.member.id, name, token: body.secret, tokenId: body.token.id };
}
const give = (to: string, role: string, at?: string, token = one.owner, word = "bind") =>
  call("POST", `/members/${to}/${word}`, { token, body: { role, ...(at === undefined ? {} : { at }) } });
const take = (from: string, role: string, at?: string, token = one.owner) => give(from, role, at, token, "unbind");

const root = await join("owner");
const item = async () =>
  (await expect(201, "POST", "/work-items", { body: { type: "task", title: "A thing" } })).body.id as string;
const comment = async (id: string, token: string, at = one.url) =>
  (await call("POST", `/work-items/${id}/comments`, { token, at, body: { text: "Hm" } })).status;

test("an invitation lets in once: a member with the role, and a token of their own", async () => {
  const invited = await expect(201, "POST", "/invitations", {
    body: { name: "ada", title: "Ada L.", email: "ada@example.org", role: "developer" },
  });
  const { secret, ...invitation } = invited.body;
  assert.match(secret, /^mri_/);
  assert.equal(invitation.status.last8, secret.slice(-8));
  const shown = await expect(200, "GET", `/invitations/${invitation.id}`);
  assert.ok(!shown.text.includes(secret) && !/hash/.test(shown.text));
  assert.equal((await call("GET", "/v1/whoami", { token: secret })).status, 401, "it is no token");

  const accepted = await expect(201, "POST", "/v1/invitations/accept", { token: "", body: { secret } });
  assert.deepEqual(accepted.body.member.spec.roles, [{ role: "developer" }]);
  const me = (await expect(200, "GET", "/v1/whoami", { token: accepted.body.secret })).body;
  assert.equal(me.member.name, "ada");
  assert.equal(me.organisation.id, org);
  const again = await expect(404, "POST", "/v1/invitations/accept", { token: "", body: { secret } });
  assert.match(again.body.detail, /used/);
  assert.equal((await expect(200, "GET", `/invitations/${invitation.id}`)).body.status.state, "accepted");
  assert.equal(
    (await call("DELETE", `/invitations/${invitation.id}`, { headers: MATCH })).body.rule,
    "invitation-accepted",
  );
});

test("revoked, expired, mistyped, or of a maker who may no more: it lets nobody in", async () => {
  const invite = (body: object, token = one.owner) =>
    call("POST", "/invitations", { token, body: { name: fresh("guest"), role: "viewer", ...body } });
  const accept = async (secret: string) =>
    await call("POST", "/v1/invitations/accept", { token: "", body: { secret } });
  const revoked = (await invite({})).body;
  await expect(204, "DELETE", `/invitations/${revoked.id}`, { headers: MATCH });
  assert.equal((await accept(revoked.secret)).status, 404);
  const short = (await invite({ expiresAt: new Date(Date.now() + 400).toISOString() })).body;
  await eventually(async () => (Date.now() > Date.parse(short.spec.expiresAt) ? true : undefined), "it has expired");
  assert.equal((await accept(short.secret)).status, 404);
  assert.equal((await accept(`${short.secret.slice(0, -1)}0`)).status, 404);
  assert.equal((await invite({ expiresAt: "2020-01-01T00:00:00Z" })).status, 400);
  assert.equal((await invite({ role: "nothing-such" })).body.errors[0].pointer, "/body/role");
  assert.equal((await invite({ at: "nothing" })).body.errors[0].pointer, "/body/at");

  const admin = await join("admin");
  const back = (await invite({ role: "admin" }, admin.token)).body;
  await expect(204, "DELETE", `/members/${admin.id}`, { headers: MATCH });
  const late = await accept(back.secret);
  assert.equal(late.body.rule, "invitation-outlived", late.text);
});

test("a token does what its member may now, and its own grants allow", async () => {
  const person = await join("viewer");
  const id = await item();
  assert.equal((await call("GET", `/work-items/${id}`, { token: person.token })).status, 200);
  assert.equal(await comment(id, person.token), 403);
  assert.equal((await give(person.id, "developer", "work")).status, 200);
  assert.equal(await comment(id, person.token), 200);
  assert.equal((await call("POST", "/applications", { token: person.token, body: {} })).status, 403, "work alone");
  const own = await expect(201, "POST", "/profile/tokens", {
    token: person.token,
    body: { name: fresh("own"), grants: ["work:read"] },
  });
  assert.equal(await comment(id, own.body.secret), 403, "less than the member");
  assert.equal((await call("GET", `/work-items/${id}`, { token: own.body.secret })).status, 200);
  assert.equal((await take(person.id, "developer", "work")).status, 200);
  assert.equal(await comment(id, person.token), 403);
  await eventually(async () => ((await comment(id, person.token, two.url)) === 403 ? true : undefined), "there, too");
});

test("a role for one resource holds for that one, and what belongs to it", async () => {
  const app = await expect(201, "POST", "/applications", {
    body: {
      name: fresh("app"),
      source: { kind: "git", url: "https://git.example.org/a.git" },
      build: { kind: "static" },
    },
  });
  const person = await join("operator", { at: app.body.id });
  const deployed = await expect(202, "POST", `/applications/${app.body.id}/deploy`, { token: person.token, body: {} });
  await expect(200, "GET", `/deployments/${deployed.body.id}`, { token: person.token });
  assert.equal((await call("GET", "/work-items", { token: person.token })).status, 403);
});

test("nobody gives, takes or makes what they do not have", async () => {
  const admin = await join("admin");
  const viewer = await join("viewer");
  const helper = await expect(201, "POST", "/roles", {
    body: { name: fresh("helper"), grants: ["identity:members", "work:read"] },
  });
  const inviter = await join(helper.body.spec.name);
  const refused = async (answer: Promise<Answer>) => assert.equal((await answer).body.rule, "grant-beyond-own");
  await refused(give(viewer.id, "owner", undefined, admin.token));
  await refused(give(admin.id, "owner", undefined, admin.token));
  await refused(take(root.id, "owner", undefined, admin.token));
  await refused(call("DELETE", `/members/${root.id}`, { token: admin.token, headers: MATCH }));
  await refused(give(inviter.id, "admin", undefined, inviter.token));
  await refused(give(inviter.id, "operator", "applications", inviter.token));
  await refused(call("POST", "/invitations", { token: inviter.token, body: { name: fresh(), role: "viewer" } }));
  await refused(call("POST", "/roles", { token: admin.token, body: { name: fresh(), grants: ["*"] } }));
  await refused(call("POST", "/tokens", { token: admin.token, body: { name: fresh(), grants: ["*"] } }));
  assert.equal((await give(viewer.id, helper.body.spec.name, undefined, inviter.token)).status, 200);
  await refused(give(viewer.id, "operator", undefined, viewer.token));

  // A narrow token of an owner makes no wide one.
  const narrow = await expect(201, "POST", "/profile/tokens", {
    token: root.token,
    body: { name: fresh(), grants: ["identity:self", "work:read"] },
  });
  const wide = { name: fresh(), grants: ["*"] };
  await refused(call("POST", "/profile/tokens", { token: narrow.body.secret, body: wide }));
  assert.equal((await call("POST", "/tokens", { token: narrow.body.secret, body: wide })).status, 403);
});

test("an organisation keeps an owner, also when two remove each other at the same moment", async () => {
  const { body } = await ask(one.url, "POST", "/v1/organisations", { token: one.owner, body: { name: fresh("org") } });
  const at = `/v1/organisations/${body.id}`;
  const owners: { id: string; token: string }[] = [];
  for (let i = 0; i < 2; i++) {
    const { secret } = (await expect(201, "POST", `${at}/invitations`, { body: { name: fresh(), role: "owner" } }))
      .body;
    const accepted = (await expect(201, "POST", "/v1/invitations/accept", { token: "", body: { secret } })).body;
    owners.push({ id: accepted.member.id, token: accepted.secret });
  }
  const [a, b] = owners as [{ id: string; token: string }, { id: string; token: string }];
  const both = await Promise.all([
    call("DELETE", `${at}/members/${b.id}`, { token: a.token, headers: MATCH }),
    call("POST", `${at}/members/${a.id}/unbind`, { at: two.url, token: b.token, body: { role: "owner" } }),
  ]);
  const left = [];
  for (const { id } of owners) {
    const { status, body: shown } = await call("GET", `${at}/members/${id}`);
    if (status === 200 && shown.spec.roles.length === 1) left.push(id);
  }
  assert.equal(left.length, 1, both.map(({ text }) => text).join("\n"));
  assert.equal((await call("DELETE", `${at}/members/${left[0]}`, { headers: MATCH })).body.rule, "last-owner");
  const demoted = await call("POST", `${at}/members/${left[0]}/unbind`, { body: { role: "owner" } });
  assert.equal(demoted.body.rule, "last-owner");
});

test("a role of one's own: changed, it holds at once for all who have it; deleted, it gives nothing", async () => {
  const name = fresh("role");
  const { id } = (await expect(201, "POST", "/roles", { body: { name, grants: ["work:read"] } })).body;
  const person = await join(name);
  const thing = await item();
  assert.equal(await comment(thing, person.token), 403);
  await expect(200, "PATCH", `/roles/${name}`, { headers: MATCH, body: { grants: ["work:read", "work:comment"] } });
  assert.equal(await comment(thing, person.token), 200);
  await expect(204, "DELETE", `/roles/${id}`, { headers: MATCH });
  assert.equal((await call("GET", `/work-items/${thing}`, { token: person.token })).status, 403);
  assert.equal((await call("POST", "/roles", { body: { name: "viewer", grants: [] } })).status, 409);
  assert.equal(
    (await call("PATCH", "/roles/viewer", { headers: MATCH, body: { grants: [] } })).body.rule,
    "built-in-role",
  );
  const names = (await expect(200, "GET", "/roles")).body.items.map((one: { spec: { name: string } }) => one.spec.name);
  assert.deepEqual(names.slice(0, 5), ["owner", "admin", "operator", "developer", "viewer"]);
});

test("a token that is nobody's has roles, too", async () => {
  const { id, secret } = (await expect(201, "POST", "/tokens", { body: { name: fresh("robot"), grants: [] } })).body;
  const thing = await item();
  assert.equal(await comment(thing, secret), 403);
  const given = await expect(200, "POST", `/tokens/${id}/bind`, { body: { role: "developer", at: thing } });
  assert.deepEqual(given.body.spec.roles, [{ role: "developer", at: thing }]);
  assert.equal(given.headers.get("etag"), '"2"');
  assert.equal(await comment(thing, secret), 200);
  assert.equal(await comment(await item(), secret), 403);
  const person = await join("viewer");
  const refused = await call("POST", `/tokens/${person.tokenId}/bind`, { body: { role: "viewer" } });
  assert.equal(refused.body.rule, "token-of-somebody");
  assert.equal((await call("GET", "/profile", { token: secret })).status, 403);
});

test("one's own profile", async () => {
  const person = await join("viewer");
  const before = await expect(200, "GET", "/profile", { token: person.token });
  const body = {
    title: "Grace",
    email: "grace@example.org",
    avatar: `sha256:${"a".repeat(64)}`,
    settings: { timeZone: "Europe/Berlin", theme: "dark" },
  };
  const changed = await expect(200, "PATCH", "/profile", {
    token: person.token,
    body,
    headers: { "if-match": before.headers.get("etag")! },
  });
  assert.equal(changed.body.spec.title, "Grace");
  assert.equal(
    (await call("PATCH", "/profile", { token: person.token, body, headers: { "if-match": '"1"' } })).status,
    412,
  );
  await expect(200, "PATCH", "/profile", { token: person.token, body: { email: null }, headers: MATCH });
  const shown = (await expect(200, "GET", `/members/${person.name}`)).body.spec;
  assert.deepEqual([shown.email, shown.avatar, shown.settings.theme], [undefined, body.avatar, "dark"]);
  assert.equal((await call("GET", "/v1/whoami", { token: one.owner })).body.member, undefined);
  assert.equal((await call("GET", "/profile")).status, 404);
});

/** A subscription, and how it ended. */
async function listening(token: string, at: string): Promise<{ ended: () => number | undefined; end: () => void }> {
  const socket = new WebSocket(`${at.replace("http", "ws")}/v1/organisations/${org}/events?heartbeatMs=1000`, [
    SUBPROTOCOL,
    `bearer.${token}`,
  ]);
  let code: number | undefined;
  socket.on("close", (given) => {
    code = given;
  });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  return { ended: () => code, end: () => socket.terminate() };
}

test("what is taken holds within a moment for who is connected, here and at another gateway", async ({ defer }) => {
  const person = await join("developer");
  await eventually(
    async () =>
      (await call("GET", "/v1/whoami", { token: person.token, at: two.url })).status === 200 ? true : undefined,
    "the other has heard",
  );
  const sockets = [await listening(person.token, one.url), await listening(person.token, two.url)];
  for (const { end } of sockets) defer(end);
  assert.equal((await give(person.id, "operator")).status, 200);
  const stop = new AbortController();
  defer(() => stop.abort());
  await eventually(
    async () => (sockets.every(({ ended }) => ended() === 4403) ? true : undefined),
    "told to come back",
  );

  const again = await listening(person.token, two.url);
  defer(again.end);
  const stream = await fetch(`${one.url}/v1/organisations/${org}/events`, {
    headers: { authorization: `Bearer ${person.token}`, accept: "text/event-stream" },
    signal: stop.signal,
  });
  await expect(204, "DELETE", `/members/${person.id}`, { headers: MATCH });
  assert.equal((await call("GET", "/v1/whoami", { token: person.token })).status, 401);
  const text = await stream.text();
  assert.match(text, /event: closing\ndata: .*4401/);
  await eventually(async () => (again.ended() === 4401 ? true : undefined), "the other has ended it");
  await eventually(
    async () =>
      (await call("GET", "/v1/whoami", { token: person.token, at: two.url })).status === 401 ? true : undefined,
    "and refuses",
  );
});

test("who waits for something is told nothing that may not be told by then", async () => {
  const person = await join("developer");
  const thing = await item();
  const waiting = call("GET", `/work-items/${thing}?wait=state=done&timeout=20000`, { token: person.token });
  await expect(204, "DELETE", `/members/${person.id}`, { headers: MATCH });
  await expect(200, "POST", `/work-items/${thing}/checklist`, { body: { text: "A line" } });
  await expect(200, "POST", `/work-items/${thing}/transition`, { body: { to: "in-progress" } });
  await expect(200, "POST", `/work-items/${thing}/waive`, { body: { gate: "notes_present", reason: "No need" } });
  await call("POST", `/work-items/${thing}/waive`, { body: { gate: "checklist_complete", reason: "No need" } });
  await expect(200, "POST", `/work-items/${thing}/transition`, { body: { to: "done" } });
  assert.equal((await waiting).status, 401);
});

test("why one may, and why not", async () => {
  const app = await expect(201, "POST", "/applications", {
    body: {
      name: fresh("why"),
      source: { kind: "git", url: "https://git.example.org/a.git" },
      build: { kind: "static" },
    },
  });
  const person = await join("operator", { at: app.body.id });
  const deployed = await expect(202, "POST", `/applications/${app.body.id}/deploy`, { body: {} });
  const why = async (query: string, token = person.token) =>
    (await expect(200, "GET", `/permissions/explain?${query}`, { token })).body;

  const may = await why(`permission=applications:deploy&resource=${deployed.body.id}`);
  assert.equal(may.allowed, true);
  assert.deepEqual(may.lineage, [deployed.body.id, app.body.id, org]);
  assert.deepEqual(
    may.because.map(({ layer, role, at, grant }: Record<string, string>) => [layer, role, at, grant]),
    [
      ["member", "operator", app.body.id, `applications:deploy@${app.body.id}`],
      ["token", undefined, undefined, "*"],
    ],
  );
  const mayNot = await why("permission=applications:delete");
  assert.equal(mayNot.allowed, false);
  assert.deepEqual(mayNot.missing[0].roles, ["owner", "admin"]);
  assert.deepEqual(mayNot.missing[0].grants, ["applications:delete", `applications:delete@${org}`]);
  assert.equal(
    (await call("DELETE", `/applications/${app.body.id}`, { token: person.token, headers: MATCH })).status,
    403,
  );

  assert.equal((await why(`subject=${person.id}&permission=work:read`, one.owner)).allowed, false);
  assert.equal((await why(`subject=${person.tokenId}&permission=work:read`, one.owner)).missing[0].layer, "member");
  assert.equal(
    (await call("GET", `/permissions/explain?subject=${root.id}&permission=work:read`, { token: person.token })).status,
    403,
  );
  assert.equal((await call("GET", "/permissions/explain?permission=no:such")).status, 400);
  assert.equal(
    (await call("GET", "/permissions/explain?permission=work:read&resource=itm_00000000000000000000000000")).status,
    404,
  );
});

test("lists, history and search know members and invitations", async () => {
  const person = await join("viewer", { title: "Findable Person" });
  const last = await expect(200, "GET", `/members/${person.id}`);
  const headers = { "millrace-position": last.headers.get("millrace-position")! };
  const listed = await eventually(async () => {
    const answer = await call("GET", `/members?name=${person.name}`, { headers });
    return answer.status === 503 ? undefined : answer;
  }, "the list");
  assert.deepEqual(
    listed.body.items.map(({ id }: { id: string }) => id),
    [person.id],
  );
  assert.equal((await expect(200, "GET", "/search?q=Findable", { headers })).body.items.length >= 1, true);
  const history = await expect(200, "GET", `/members/${person.id}/history`, { headers });
  assert.match(history.body.items[0].sentence, /joined as Findable Person, with the role viewer/);
  assert.equal((await expect(200, "GET", "/invitations?state=accepted&limit=1", { headers })).body.items.length, 1);
});

test.run();
