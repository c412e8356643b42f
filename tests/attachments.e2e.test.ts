/** Attachments of work items: what is kept, what is read, what is refused, and a gateway that dies between store and log. */
import { spawn } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { WorkItem } from "@millrace/contracts/work/entities.ts";
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { roleOf } from "@millrace/eventlog/backup/streams.ts";
import { connectNats, type Nats } from "@millrace/eventlog/connection.ts";
import { Objects } from "@millrace/eventlog/objects.ts";
import { letGo, nameOf, type Reserved, readKept } from "@millrace/eventlog/objects-kept.ts";
import * as assert from "uvu/assert";
import { sweep } from "./fixtures/sweep.ts";
import { type Answer, ask, eventually, forkGateway, type TestGateway, testGateway } from "./harness/gateway.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";
import { reads } from "./harness/work.ts";

const test = suite("attachments", { timeoutMs: 60_000 });
const STREAM = "OBJ_ATTACHMENTS";
const OCTETS = { "content-type": "application/octet-stream" };
const isItem = reads(WorkItem);
let gateway: TestGateway;
let nats: Nats;

test.before(async () => {
  gateway = await testGateway();
  const { natsUrl: url, natsUser: user, natsPassword: password } = gateway.config;
  nats = await connectNats({ url, user: user!, password: password!, name: "attachments" });
  deferToEndOfFile(() => nats.close());
});

const items = "/v1/organisations/home/work-items";
const call = (method: string, path: string, options: Parameters<typeof ask>[3] = {}, url = gateway.url) =>
  ask(url, method, path, { token: gateway.owner, ...options });
const open = async (): Promise<string> =>
  (await call("POST", items, { body: { type: "task", title: "With files" } })).body.id;
const attach = (item: string, body: Uint8Array, more: { name?: string; key?: string; url?: string } = {}) => {
  const { name = "front.bin", key = randomUUID(), url } = more;
  const path = `${items}/${item}/attachments?name=${encodeURIComponent(name)}`;
  return call("POST", path, { body, headers: { ...OCTETS, "idempotency-key": key } }, url);
};
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const content = (item: string, id: string, headers: Record<string, string> = {}) =>
  fetch(`${gateway.url}${items}/${item}/attachments/${id}`, {
    headers: { authorization: `Bearer ${gateway.owner}`, ...headers },
  });
const namesOf = async (item: string): Promise<string[]> => {
  const page = await call("GET", `${items}/${item}`);
  return page.body.attachments.map(({ name }: { name: string }) => name);
};
const storedBytes = async (): Promise<number> => (await nats.jsm.streams.info(STREAM)).state.bytes;
const refused = ({ status, body }: Answer) => [status, body?.rule ?? body?.errors?.[0]?.pointer];

test("what is attached is read as it came: whole, in part, or not again", async () => {
  const item = await open();
  const bytes = randomBytes(300_000);
  const made = await attach(item, bytes, { name: "front ö.jpg" });
  assert.is(made.status, 200, made.text);
  isItem(made.body);
  assert.is(made.headers.get("etag"), '"1"', "a file does not change what was asked for");
  const [file] = made.body.attachments;
  assert.equal(
    [file.name, file.bytes, file.sha256, file.mediaType, made.body.status.attachments],
    ["front ö.jpg", bytes.length, sha256(bytes), "application/octet-stream", 1],
  );
  const whole = await content(item, file.id);
  assert.is(whole.status, 200);
  assert.is(sha256(new Uint8Array(await whole.arrayBuffer())), sha256(bytes));
  const said = (name: string) => whole.headers.get(name);
  assert.equal(
    [said("etag"), said("x-content-type-options"), said("content-length"), said("accept-ranges")],
    [`"${sha256(bytes)}"`, "nosniff", "300000", "bytes"],
  );
  assert.match(said("content-disposition")!, /^attachment; filename="front _\.jpg"; filename\*=UTF-8''front%20%C3%B6/);
  assert.match(said("content-security-policy")!, /^sandbox/);
  for (const [range, from, to] of [
    ["bytes=0-9", 0, 10],
    ["bytes=131070-131075", 131_070, 131_076],
    ["bytes=-7", 299_993, 300_000],
  ] as const) {
    const part = await content(item, file.id, { range });
    assert.is(part.status, 206);
    assert.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(from, to)), range);
  }
  assert.is((await content(item, file.id, { "if-none-match": said("etag")! })).status, 304);
  assert.is((await content(item, file.id, { range: "bytes=300000-" })).status, 416);
});

test("the same content lies there once, and what was taken off cannot be read", async () => {
  const [one, other] = [await open(), await open()];
  const bytes = randomBytes(200_000);
  const first = await attach(one, bytes);
  const before = await storedBytes();
  const second = await attach(other, bytes, { name: "same.bin" });
  assert.is(second.status, 200, second.text);
  assert.ok((await storedBytes()) - before < 10_000, "the bytes are there once");
  const [file] = first.body.attachments;
  const gone = await call("DELETE", `${items}/${one}/attachments/${file.id}`);
  assert.equal([gone.status, gone.body.attachments], [200, []]);
  assert.is((await content(one, file.id)).status, 404);
  assert.is((await call("DELETE", `${items}/${one}/attachments/${file.id}`)).status, 404);
  assert.is((await content(other, second.body.attachments[0].id)).status, 200);
});

test("too large, nothing, too many, without a name, or nobody's item: refused, and nothing of it is in the log", async () => {
  const item = await open();
  assert.is((await attach(item, new Uint8Array(LIMITS.attachmentBytes + 1))).status, 413);
  const streamed = await fetch(`${gateway.url}${items}/${item}/attachments?name=x`, {
    method: "POST",
    headers: { authorization: `Bearer ${gateway.owner}`, ...OCTETS },
    body: ReadableStream.from(Array.from({ length: 9 }, () => new Uint8Array(1024 * 1024))) as never,
    duplex: "half",
  } as RequestInit);
  assert.is(streamed.status, 413, "said only when too much has come");
  assert.equal(refused(await attach(item, new Uint8Array(0))), [400, "/body"]);
  assert.is((await attach(item, randomBytes(3), { name: "../x" })).status, 400);
  assert.is((await attach("itm_00000000000000000000000000", randomBytes(3))).status, 404);
  const json = await call("POST", `${items}/${item}/attachments?name=x`, { body: {} });
  assert.is(json.status, 415);
  assert.equal(await namesOf(item), []);
  const full = await attach(item, new Uint8Array(LIMITS.attachmentBytes).fill(7), { name: "largest" });
  assert.is(full.status, 200, full.text);
  for (let n = 1; n < LIMITS.attachments; n++) assert.is((await attach(item, Buffer.from(`${n}`))).status, 200);
  assert.equal(refused(await attach(item, Buffer.from("51"))), [422, "too-many-attachments"]);
  assert.is((await namesOf(item)).length, LIMITS.attachments);
});

test("an upload that breaks off leaves no event, and no bytes", async () => {
  const item = await open();
  await attach(item, randomBytes(10));
  const before = await storedBytes();
  const sending = httpRequest(`${gateway.url}${items}/${item}/attachments?name=half`, {
    method: "POST",
    headers: { authorization: `Bearer ${gateway.owner}`, ...OCTETS, "content-length": 1_000_000 },
  });
  sending.on("error", () => {});
  sending.write(randomBytes(600_000));
  await eventually(async () => ((await storedBytes()) > before + 200_000 ? true : undefined), "some of it has arrived");
  sending.destroy();
  await eventually(async () => ((await storedBytes()) <= before ? true : undefined), "its chunks are gone");
  assert.equal(await namesOf(item), ["front.bin"]);
});

test("a gateway that dies after the bytes are kept: the repeat attaches once, and one with other bytes is refused", async () => {
  const item = await open();
  const bytes = randomBytes(150_000);
  for (const place of ["gateway.attachment.kept", "gateway.answer.before"]) {
    const key = randomUUID();
    const before = (await namesOf(item)).length;
    const { url, child } = await forkGateway(gateway.config, place);
    const ended = once(child, "exit");
    assert.instance(await attach(item, bytes, { key, url }).catch((error: unknown) => error), Error);
    await ended;
    const again = await attach(item, bytes, { key });
    assert.is(again.status, 200, again.text);
    assert.is((await attach(item, bytes, { key })).headers.get("idempotent-replayed"), "true");
    assert.is((await namesOf(item)).length, before + 1, place);
    assert.is((await attach(item, randomBytes(9), { key })).status, 422, "the same key with other bytes");
    assert.is((await content(item, again.body.attachments.at(-1).id)).status, 200);
  }
});

test("another organisation neither reads nor shares it, and a backup takes the store", async () => {
  const item = await open();
  const bytes = randomBytes(1_000);
  const [file] = (await attach(item, bytes)).body.attachments;
  const other = (await call("POST", "/v1/organisations", { body: { name: "other" } })).body.id;
  const foreign = `/v1/organisations/${other}/work-items`;
  assert.is((await call("GET", `${foreign}/${item}/attachments/${file.id}`)).status, 404);
  assert.is((await call("DELETE", `${foreign}/${item}/attachments/${file.id}`)).status, 404);
  const { config } = await nats.jsm.streams.info(STREAM);
  assert.is(roleOf({ name: config.name, storage: config.storage }), "beside");
});

const SWEEP = fileURLToPath(new URL("fixtures/sweep.ts", import.meta.url));
const access = () => {
  const { natsUrl: url, natsUser: user, natsPassword: password } = gateway.config;
  return { url, user: user!, password: password! };
};
/** A process that sweeps, and dies there. */
async function dies(place: string, days: number): Promise<void> {
  const env = { ...process.env, MILLRACE_DIE_AT: place };
  const child = spawn(process.execPath, [SWEEP, JSON.stringify({ ...access(), days })], { env, stdio: "inherit" });
  assert.is((await once(child, "exit"))[1], "SIGKILL", place);
}

test("content that nobody names goes after its time: not before, not what another item has, not what comes again that moment", async () => {
  const [one, other] = [await open(), await open()];
  const [alone, shared, again] = [randomBytes(200_000), randomBytes(1_000), randomBytes(1_500)];
  for (const bytes of [alone, shared, again]) await attach(one, bytes);
  const kept = (await attach(other, shared)).body.attachments[0].id;
  const { organisation, attachments } = (await call("GET", `${items}/${one}`)).body;
  for (const { id } of attachments) await call("DELETE", `${items}/${one}/attachments/${id}`);
  // What a gateway left that died in the middle: chunks without a place, and a place without a name.
  await nats.js.publish("$O.ATTACHMENTS.C.lost", randomBytes(9));
  const standing = (bytes: Buffer) => readKept(nats, nameOf(organisation, sha256(bytes)));
  const before = await storedBytes();
  assert.equal(await sweep(access(), 6), { objects: 0, bytes: 0, unfinished: 1 }, "only what was never whole");
  const seen = (await standing(again))!;
  const back = (await attach(other, again)).body.attachments.at(-1).id;
  assert.is(await letGo(nats, seen), false, "it was brought again since it was looked at");
  for (const place of ["attachments.sweep.before", "attachments.sweep.marked"]) await dies(place, 8);
  const swept = await sweep(access(), 8);
  assert.ok(swept.objects + swept.unfinished >= 1, JSON.stringify(swept));
  assert.ok(before - (await storedBytes()) >= alone.length, "its chunks are gone");
  assert.is((await standing(alone))!.record.deleted, true);
  for (const id of [kept, back]) assert.is((await content(other, id)).status, 200);
  const made = await attach(one, alone);
  const [{ id }] = made.body.attachments;
  assert.is(sha256(new Uint8Array(await (await content(one, id)).arrayBuffer())), sha256(alone), "it can come again");
  assert.is((await sweep(access(), 16)).objects, 0);
});

test("room is taken in the moment it is looked at, and stays taken until what came is counted", async () => {
  const objects = new Objects(nats);
  const take = () => objects.room("org-tight", 100, 1_000);
  const keep = async (bytes: Buffer) => (await objects.put("org-tight", Readable.from([bytes]))).sha256;
  const all = await Promise.all(Array.from({ length: 20 }, take));
  const given = all.filter((one) => typeof one === "function");
  assert.is(given.length, 10);
  assert.equal(new Set(all.filter((one) => typeof one === "number")), new Set([0]));
  const same = randomBytes(100);
  given.pop()!(await keep(same));
  assert.is(await take(), 0, "its bytes are counted, or still set aside");
  given.pop()!(undefined);
  const [again, more] = [await take(), await take()];
  assert.is(more, 0);
  assert.type(again, "function");
  (again as Reserved)(await keep(same));
  await eventually(async () => typeof (await take()) === "function" || undefined, "the same content takes room once");
});

test("an organisation has so much room over all gateways, and what was swept is given back", async () => {
  const tight = await testGateway({ ...gateway.config, attachmentGib: 1 / 1024 });
  const { id } = (await call("POST", "/v1/organisations", { body: { name: "tight" } })).body;
  const at = `/v1/organisations/${id}/work-items`;
  const item = (await call("POST", at, { body: { type: "task", title: "Full" } })).body.id;
  const put = (url: string, size: number) =>
    call("POST", `${at}/${item}/attachments?name=x`, { body: randomBytes(size), headers: OCTETS }, url);
  const first = await put(gateway.url, 700_000);
  assert.is(first.status, 200, first.text);
  // Other gateways hear of it a moment later. What is larger than all of the room is never taken, and told how much there is.
  const free = async () =>
    Number(/(\d+) bytes of that are free/.exec((await put(tight.url, 1_100_000)).body.detail)?.[1]);
  await eventually(async () => ((await free()) < 400_000 ? true : undefined), "it is known there");
  assert.is((await put(tight.url, 600_000)).status, 413, "it is full");
  const [two, three] = await Promise.all([put(tight.url, 200_000), put(tight.url, 200_000)]);
  assert.equal([two.status, three.status].sort(), [200, 413], "what is on its way counts");
  const full = [two, three].find(({ status }) => status === 413)!;
  assert.match(full.body.detail, /attachments; \d+ bytes of that are free/);
  await call("DELETE", `${at}/${item}/attachments/${first.body.attachments[0].id}`);
  assert.is((await put(tight.url, 600_000)).status, 413);
  await sweep(access(), 8);
  await eventually(async () => ((await put(tight.url, 600_000)).status === 200 ? true : undefined), "there is room");
});

test.run();
