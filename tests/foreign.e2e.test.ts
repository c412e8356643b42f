/**
 * Nothing of one organisation shows in another: a matrix made from the API's own document. For every operation, what is
 * somebody else's answers word for word like what is not there at all.
 */
import { randomBytes } from "node:crypto";
import { isId, makeId, PREFIXES } from "@millrace/contracts/ids.ts";
import { openapi } from "@millrace/contracts/openapi.ts";
import * as assert from "uvu/assert";
import { type Answer, ask, type TestGateway, testGateway, testProjector } from "./harness/gateway.ts";
import { suite } from "./harness/suite.ts";
import { openUpload } from "./harness/uploads.ts";

const test = suite("foreign organisations");

interface Operation {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly hasBody: boolean;
}

const operations: Operation[] = Object.entries<any>(openapi().paths).flatMap(([path, methods]) =>
  Object.entries<any>(methods).map(([method, { operationId, requestBody }]) => ({
    id: operationId,
    method: method.toUpperCase(),
    path,
    hasBody: requestBody?.content["application/json"] !== undefined,
  })),
);

/** Something that each operation with a body takes: without it the path would not even be looked at. */
const BODIES: Readonly<Record<string, unknown>> = {
  "identity.changeOrganisation": { title: "Taken over" },
  "identity.createToken": { name: "intruder", grants: [] },
  "members.giveRole": { role: "viewer" },
  "members.takeRole": { role: "viewer" },
  "members.giveRoleToToken": { role: "viewer" },
  "members.takeRoleFromToken": { role: "viewer" },
  "members.changeProfile": { title: "Taken over" },
  "members.createOwnToken": { name: "intruder" },
  "members.invite": { name: "intruder", role: "viewer" },
  "members.defineRole": { name: "intruder", grants: [] },
  "members.changeRole": { title: "Taken over" },
  "automation.createSchedule": {
    name: "intruder",
    when: { kind: "interval", everyMs: 3_600_000 },
    commands: [{ action: "work.openItem", body: { type: "task", title: "Intruder" } }],
  },
  "automation.changeSchedule": { title: "Taken over" },
  "rules.createRule": {
    name: "intruder",
    when: { kind: "event", context: "work", types: ["ItemOpened"] },
    commands: [{ action: "work.openItem", body: { type: "task", title: "Intruder" } }],
  },
  "rules.changeRule": { title: "Taken over" },
  "alerts.createAlert": {
    name: "intruder",
    on: { kind: "node", id: "local" },
    metric: "load_1m",
    condition: { is: "above", value: 1 },
  },
  "alerts.changeAlert": { forMs: 1 },
  "alerts.silenceAlert": { until: "2099-01-01T00:00:00Z", reason: "Taken over" },
  "secrets.storeSecret": { name: "intruder", value: "v" },
  "secrets.replaceSecret": { value: "v" },
  "work.openItem": { type: "task", title: "Intruder" },
  "work.changeItem": { title: "Taken over" },
  "work.transitionItem": { to: "done" },
  "work.waiveGate": { gate: "notes_present", reason: "I say so" },
  "work.assignItem": { assignees: ["mallory"] },
  "work.unassignItem": { assignees: ["mallory"] },
  "work.labelItem": { labels: ["taken"] },
  "work.unlabelItem": { labels: ["taken"] },
  "work.linkItem": { links: [{ kind: "item", id: "itm_00000000000000000000000000" }] },
  "work.unlinkItem": { links: [{ kind: "item", id: "itm_00000000000000000000000000" }] },
  "work.addLine": { text: "Intruder" },
  "work.changeLine": { done: true },
  "work.writeComment": { text: "Intruder" },
  "work.editComment": { text: "Taken over" },
  "work.defineType": {
    name: "intruder",
    title: "Intruder",
    states: [
      { name: "open", title: "Open", group: "unstarted" },
      { name: "done", title: "Done", group: "completed" },
    ],
    initial: "open",
    transitions: [{ from: "open", to: "done" }],
  },
  "work.changeType": { title: "Taken over" },
  "applications.createApplication": {
    name: "intruder",
    source: { kind: "git", url: "https://git.example.org/site.git" },
    build: { kind: "static" },
  },
  "applications.changeApplication": { title: "Taken over" },
  "applications.deployApplication": {},
  "applications.rollBackApplication": {},
  "applications.scaleApplication": { instances: 2 },
  "applications.cancelDeployment": {},
  // Nothing is ever sent there: no event is of this type.
  "webhooks.createWebhook": { name: "intruder", url: "https://example.com/", events: { type: ["NeverHappens"] } },
  "webhooks.changeWebhook": { description: "Taken over" },
  "webhooks.resumeWebhook": {},
  "webhooks.rotateWebhookSecret": {},
  "webhooks.replayWebhook": {},
  "subscribers.createSubscriber": { name: "intruder" },
  "subscribers.changeSubscriber": { description: "Taken over" },
  "subscribers.rotateSubscriberSecret": {},
  "channels.createChannel": { name: "intruder", url: "ntfy://canary", events: { type: ["NeverHappens"] } },
  "channels.changeChannel": { description: "Taken over" },
  "channels.resumeChannel": {},
  "channels.replayChannel": {},
  "devices.addDevice": { mac: "A8032AB636EC" },
  "devices.changeDevice": { title: "Taken over" },
  "devices.configureDevice": { configuration: { sys: {} } },
  "devices.adoptDevice": {},
  "devices.storeCredentials": { password: null },
  "devices.applyDevice": {},
  "devices.rebootDevice": {},
  "devices.actOnDevice": { component: "switch:0", action: "on" },
  "devices.updateFirmware": {},
  "devices.readDevice": {},
  "devices.setAuthentication": { password: null },
  "devices.cancelDeviceTask": {},
  "deviceSets.createDeviceProfile": { name: "intruder", configuration: { sys: {} } },
  "deviceSets.changeDeviceProfile": { title: "Taken over" },
  "deviceSets.createDeviceGroup": { name: "intruder" },
  "deviceSets.changeDeviceGroup": { title: "Taken over" },
  "deviceOperations.startBulk": { select: { where: { tag: "canary" } }, action: { kind: "reboot" } },
  "deviceOperations.startRollout": { name: "intruder", select: { where: { tag: "canary" } } },
  "deviceScans.startScan": { ranges: ["10.0.0.1"] },
  "deviceScans.importFindings": {},
  "deviceExports.importDevices": { files: {} },
  "deviceSyncs.createSync": { name: "intruder", repository: { url: "https://git.example.org/a.git" } },
  "deviceSyncs.changeSync": { title: "Taken over" },
  "deviceSyncs.approveSync": { commit: "0".repeat(40) },
  "repositories.createRepository": { name: "intruder" },
  "repositories.changeRepository": { title: "Taken over" },
  "repositories.rotateRepositoryKey": {},
  "repositories.mirrorRepository": {},
  "builds.createBuild": { repository: "canary-repository" },
  "builds.changeBuild": { priority: 9 },
  "builds.declareRefs": { refs: [{ ref: "app/org.example.Intruder/x86_64/stable", commit: "0".repeat(64) }] },
  "builds.addExtraIds": { ids: ["org.example.Intruder"] },
  "builds.commitBuild": {},
  "builds.rollBackToBuild": { hold: "Taken over" },
  "builds.promoteBuild": { repository: "canary-repository" },
  "builds.unpublishBuild": {},
  "builds.approveBuild": { comment: "Taken over" },
  "builds.rejectBuild": {},
  "builds.missingObjects": { wanted: [`${"0".repeat(64)}.commit`] },
  "logs.shareLogsOfApplication": { expiresInMs: 60_000 },
  "logs.shareLogsOfApplications": { expiresInMs: 60_000 },
};
const QUERY: Readonly<Record<string, string>> = {
  "work.attachFile": "?name=intruder.txt",
  "metrics.metricsOfNode": "?from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z",
  "members.explain": "?permission=work:read",
  "system.search": "?q=canary",
  "system.dropDeadLetter": "?why=x",
};
/** Bodies that are no JSON. */
const STREAMS: Readonly<Record<string, { readonly type: string; readonly sent?: true }>> = {
  "uploads.continueUpload": { type: "application/offset+octet-stream" },
  "work.attachFile": { type: "application/octet-stream", sent: true },
  "builds.uploadObjects": { type: "multipart/mixed; boundary=x" },
};
const queryOf = ({ id, path }: Operation): string => QUERY[id] ?? (path.endsWith("/diff") ? "?from=v1" : "");

let gateway: TestGateway;
let theirs = "";
let mine = "";
/** May do everything in `mine`, and nothing else. */
let token = "";
/** What stands in the other organisation, by collection: id, and the unique name where it has one. */
const things = new Map<string, string[]>();
const inner = { line: "", comment: "", attachment: "" };

const call = (method: string, path: string, options: Parameters<typeof ask>[3] = {}): Promise<Answer> =>
  ask(gateway.url, method, path, { token: gateway.owner, ...options });

test.before(async () => {
  gateway = await testGateway();
  await testProjector(gateway.config);
  const organisation = async (name: string): Promise<string> =>
    (await call("POST", "/v1/organisations", { body: { name, title: `${name} canary` } })).body.id;
  [theirs, mine] = [await organisation("theirs"), await organisation("mine")];
  const at = `/v1/organisations/${theirs}`;
  token = (await call("POST", `/v1/organisations/${mine}/tokens`, { body: { name: "all", grants: ["*"] } })).body
    .secret;
  const make = async (collection: string, body: object, name?: string) => {
    const made = await call("POST", `${at}/${collection}`, { body });
    assert.is(made.status, 201, made.text);
    things.set(collection, name === undefined ? [made.body.id] : [made.body.id, name]);
    return made.body;
  };
  await make("tokens", { name: "canary-token", grants: ["*"] }, "canary-token");
  await make("roles", { name: "canary-role", grants: [] }, "canary-role");
  const { secret } = await make("invitations", { name: "canary-member", role: "viewer" });
  const welcome = await call("POST", "/v1/invitations/accept", { body: { secret } });
  things.set("members", [welcome.body.member.id, "canary-member"]);
  await make("secrets", { name: "canary-secret", value: "v" }, "canary-secret");
  await make(
    "work-types",
    { ...(BODIES["work.defineType"] as object), name: "canary-type", title: "Canary" },
    "canary-type",
  );
  const item = await make("work-items", { type: "task", title: "Canary item", labels: ["canary"] });
  const changed = await call("POST", `${at}/work-items/${item.id}/checklist`, { body: { text: "Canary line" } });
  inner.line = changed.body.checklist.at(-1).id;
  const told = await call("POST", `${at}/work-items/${item.id}/comments`, { body: { text: "Canary comment" } });
  inner.comment = told.body.comments.at(-1).id;
  const attached = await call("POST", `${at}/work-items/${item.id}/attachments?name=canary.txt`, {
    body: new TextEncoder().encode("canary-bytes"),
    headers: { "content-type": "application/octet-stream" },
  });
  inner.attachment = attached.body.attachments[0].id;
  await make(
    "applications",
    { ...(BODIES["applications.createApplication"] as object), name: "canary-app", title: "Canary" },
    "canary-app",
  );
  const deployed = await call("POST", `${at}/applications/canary-app/deploy`, { body: {} });
  things.set("deployments", [deployed.body.id]);
  things.set("uploads", [await openUpload(gateway.config, theirs)]);
  const destination = (what: string) => ({ ...(BODIES[what] as object), description: "canary" });
  await make("webhooks", { ...destination("webhooks.createWebhook"), name: "canary-hook" }, "canary-hook");
  await make("channels", { ...destination("channels.createChannel"), name: "canary-channel" }, "canary-channel");
  await make("subscribers", { name: "canary-subscriber", description: "canary" }, "canary-subscriber");
  await make("alerts", { ...(BODIES["alerts.createAlert"] as object), name: "canary-alert" }, "canary-alert");
  const named = (what: string, name: string) => ({ ...(BODIES[what] as object), name });
  await make("schedules", named("automation.createSchedule", "canary-schedule"), "canary-schedule");
  await make("rules", named("rules.createRule", "canary-rule"), "canary-rule");
  const canary = await make(
    "devices",
    { mac: "C4D8D5517C68", name: "canary-device", tags: ["canary"] },
    "canary-device",
  );
  await make("device-profiles", { name: "canary-profile", configuration: { sys: {} } }, "canary-profile");
  await make("device-groups", { name: "canary-group" }, "canary-group");
  const repository = { url: "https://git.example.org/canary.git" };
  await make("device-syncs", { name: "canary-sync", repository }, "canary-sync");
  await make("repositories", { name: "canary-repository" }, "canary-repository");
  const built = { repository: "canary-repository", logUrl: "https://ci.example.org/canary" };
  await make("builds", built);
  const chosen = { select: { ids: [canary.id] } };
  for (const [collection, path, body] of [
    ["device-tasks", "devices/canary-device/read", {}],
    ["device-bulks", "devices/bulk", { ...chosen, action: { kind: "reboot" } }],
    ["firmware-rollouts", "firmware-rollouts", { ...chosen, name: "canary-rollout" }],
    ["device-scans", "device-scans", { ranges: ["10.0.0.1"] }],
  ] as const) {
    const asked = await call("POST", `${at}/${path}`, { body });
    assert.is(asked.status, 202, asked.text);
    things.set(collection, [asked.body.id]);
  }
  things.set("processes", ["prc_00000000000000000000000000"]);
  things.set("nodes", ["canary-node"]);
  things.set("dead-letters", ["dlt_00000000000000000000000000"]);
  await projected(told.headers.get("millrace-position")!);
  await projected(deployed.headers.get("millrace-position")!);
});

/** Waits until every list shows all of it. */
async function projected(position: string): Promise<void> {
  const lists = [
    ...["tokens", "secrets", "work-items", "work-types", "applications", "deployments", "uploads"],
    ...["schedules", "rules", "alerts", "webhooks", "channels", "subscribers"],
    ...[
      "devices",
      "device-tasks",
      "device-profiles",
      "device-groups",
      "device-bulks",
      "device-scans",
      "device-syncs",
      "firmware-rollouts",
      "repositories",
      "builds",
    ],
    ...["history", "search?q=canary"],
  ];
  for (const deadline = Date.now() + 45_000; ; ) {
    const headers = { "millrace-position": position };
    const answers = await Promise.all(
      lists.map((list) => call("GET", `/v1/organisations/${theirs}/${list}`, { headers })),
    );
    if (answers.every(({ status, body }) => status === 200 && body.items.length > 0)) return;
    assert.ok(Date.now() < deadline, "not all was projected in time");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** One operation as the other organisation's token would send it. */
const attempt = (operation: Operation, parameters: Readonly<Record<string, string>>): Promise<Answer> => {
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => parameters[name] ?? "x");
  const bytes = STREAMS[operation.id];
  const body = operation.hasBody ? { body: BODIES[operation.id] } : bytes?.sent ? { body: new Uint8Array([7]) } : {};
  const piece = bytes === undefined ? {} : { "content-type": bytes.type };
  const headers = { "if-match": "*", "tus-resumable": "1.0.0", "upload-offset": "0", ...piece };
  return call(operation.method, path + queryOf(operation), { token, headers, ...body });
};

/** What a client can see of an answer, without what differs anyway. */
const seen = ({ status, headers, body, text }: Answer, hide: ReadonlyArray<string>): unknown => {
  const kept = body === undefined ? text : JSON.stringify({ ...body, requestId: "" });
  const shown = ["etag", "location", "allow"].map((name) => headers.get(name));
  return { status, shown, text: hide.reduce((all, word) => all.replaceAll(word, "…"), kept) };
};

/** The same form, and nothing there. */
const absent = (reference: string): string => {
  const prefix = Object.values(PREFIXES).find((one) => isId(one, reference));
  if (prefix !== undefined) return makeId(prefix, Date.now(), randomBytes(10));
  return /^[a-z]+_/.test(reference) ? reference.replace(/.$/, "1") : `absent-${reference.length}`;
};

test("every operation with a body has one here", () => {
  const missing = operations.filter(
    ({ id, path, hasBody }) => hasBody && path.includes("{org}") && BODIES[id] === undefined,
  );
  assert.equal(
    missing.map(({ id }) => id),
    [],
  );
});

test("every collection has something of the other organisation here", () => {
  const collections = operations.flatMap(({ path }) => /\{org\}\/([a-z-]+)\/\{id\}/.exec(path)?.[1] ?? []);
  assert.equal(
    [...new Set(collections)].filter((collection) => !things.has(collection)),
    [],
  );
});

for (const operation of operations.filter(({ path }) => path.includes("{org}"))) {
  test(`${operation.id}: another organisation is as if there were none`, async () => {
    const id = things.get(/\{org\}\/([a-z-]+)\/\{id\}/.exec(operation.path)?.[1] ?? "")?.[0] ?? "x";
    const none = await attempt(operation, { ...inner, id, org: "nowhere" });
    // Installing is the owner's alone, whatever the organisation: everybody else is told so before.
    assert.ok(none.status === 404 || none.status === 403, none.text);
    for (const org of [theirs, "theirs"]) {
      assert.equal(seen(await attempt(operation, { ...inner, id, org }), []), seen(none, []));
    }
  });
}

for (const operation of operations.filter(({ path }) => /\{org\}\/[a-z-]+\/\{id\}/.test(path))) {
  test(`${operation.id}: what is another organisation's is as if it were not there`, async () => {
    const collection = /\{org\}\/([a-z-]+)\/\{id\}/.exec(operation.path)![1]!;
    for (const reference of things.get(collection)!) {
      const none = absent(reference);
      const foreign = seen(await attempt(operation, { ...inner, org: mine, id: reference }), [reference, none]);
      const nothing = seen(await attempt(operation, { ...inner, org: mine, id: none }), [reference, none]);
      assert.equal(foreign, nothing);
      assert.ok([404, 200].includes((nothing as { status: number }).status), JSON.stringify(nothing));
    }
  });
}

test("no list, no search, no history shows anything of it", async () => {
  const lists = operations.filter(({ method, path }) => method === "GET" && !path.includes("{id}"));
  assert.ok(lists.length > 6);
  for (const operation of lists) {
    const answer = await attempt(operation, { org: mine });
    const words = [theirs, ...[...things.values()].flat(), ...Object.values(inner), "canary-", "Canary item"];
    for (const word of words) {
      assert.not(answer.text.includes(word), `${operation.id} shows ${word}: ${answer.text.slice(0, 300)}`);
    }
  }
});

test("and after all of it everything stands as it did", async () => {
  const history = (await call("GET", `/v1/organisations/${theirs}/history?limit=200`)).body.items;
  assert.equal(
    [...new Set(history.map(({ actor }: any) => actor.name))].filter((name) => name === "all"),
    [],
  );
  for (const [collection, [id]] of things) {
    if (["dead-letters", "processes", "nodes"].includes(collection)) continue;
    assert.is((await call("GET", `/v1/organisations/${theirs}/${collection}/${id}`)).status, 200, collection);
  }
});

test.run();
