/** The holder of bytes: dies at each of its effects and loses nothing that was told; tickets; ranges; what does not fit. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { testFolder } from "../tests/harness/servers.ts";
import { deferToEndOfFile, suite } from "../tests/harness/suite.ts";
import { answerContent } from "./bytes-content.ts";
import { type BytesAct, readTicket, TICKET_MS, type Ticket, ticketKeyOf, writeTicket } from "./bytes-ticket.ts";

const test = suite("bytes", { timeoutMs: 60_000 });

const key = ticketKeyOf(randomBytes(32));
const ORG = "org_00000000000000000000000000";
const HOLDER = fileURLToPath(new URL("fixtures/bytes-holder.ts", import.meta.url));
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const ID = "upl_00000000000000000000000000";

const ticket = (act: BytesAct, resource: string, more: Partial<Ticket> = {}): Ticket => ({
  subject: "tok_00000000000000000000000000",
  organisation: ORG,
  resource,
  act,
  node: "local",
  maxBytes: 1_000_000,
  until: Date.now() + TICKET_MS,
  ...more,
});

interface Holding {
  readonly child: ChildProcess;
  readonly url: string;
}

async function hold(folder: string, dieAt?: string): Promise<Holding> {
  const env = { ...process.env, ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }) };
  const child = spawn(process.execPath, [HOLDER, folder, Buffer.from(key).toString("hex")], {
    env,
    stdio: ["pipe", "pipe", "inherit"],
  });
  deferToEndOfFile(() => void child.kill("SIGKILL"));
  const port = await new Promise<string>((resolve, reject) => {
    child.stdout!.once("data", (data: Buffer) => resolve(data.toString().trim()));
    child.once("exit", (code, signal) => reject(new Error(`ended with ${code ?? signal}`)));
  });
  return { child, url: `http://127.0.0.1:${port}` };
}

const ask = (
  at: Holding,
  method: string,
  act: BytesAct,
  id: string,
  headers: Record<string, string> = {},
  body?: Uint8Array,
  more = {},
) =>
  fetch(`${at.url}/${id}`, {
    method,
    headers: { authorization: `Ticket ${writeTicket(key, ticket(act, id, more))}`, ...headers },
    ...(body === undefined ? {} : { body: body as never }),
  });

/** As a client would: makes it, and goes on from what it is told until all is there. */
async function upload(at: () => Promise<Holding>, id: string, bytes: Uint8Array): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    try {
      const holder = await at();
      const made = await ask(holder, "POST", "reserve", id, { "upload-length": `${bytes.length}` });
      if (made.status !== 201) throw new Error(`${made.status}`);
      const head = await ask(holder, "HEAD", "offset", id);
      const offset = Number(head.headers.get("upload-offset"));
      if (offset === bytes.length) return;
      const end = offset === 0 ? 100_000 : bytes.length;
      const sent = await ask(
        holder,
        "PATCH",
        "append",
        id,
        { "upload-offset": `${offset}` },
        bytes.subarray(offset, end),
      );
      assert.ok([204, 409].includes(sent.status), `${sent.status}`);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // the connection broke
    }
  }
  throw new Error("it does not end");
}

for (const place of [
  "bytes.reserve.before",
  "bytes.reserve.after",
  "bytes.piece.before",
  "bytes.piece.during",
  "bytes.piece.synced",
  "bytes.store.before",
  "bytes.store.after",
  "bytes.told",
]) {
  test(`dies at ${place}: the upload goes on, and is whole`, async () => {
    const folder = join(testFolder("bytes"), place);
    mkdirSync(folder, { recursive: true });
    let holder = await hold(folder, place);
    const died = new Promise<string | null>((resolve) => holder.child.once("exit", (_, signal) => resolve(signal)));
    const bytes = randomBytes(250_000);
    await upload(
      async () => {
        if (holder.child.exitCode !== null || holder.child.signalCode !== null) holder = await hold(folder);
        return holder;
      },
      ID,
      bytes,
    );
    assert.is(await died, "SIGKILL");
    const told = new Set(readFileSync(join(folder, "told"), "utf8").trim().split("\n"));
    assert.equal([...told], [`${ID} ${sha(bytes)} ${bytes.length}`]);
    assert.ok(readFileSync(join(folder, "blobs", ORG, sha(bytes))).equals(bytes));
    assert.not(existsSync(join(folder, "uploads", `${ID}.part`)));
    holder.child.kill("SIGKILL");
  });
}

test("without a good ticket nothing is done", async () => {
  const folder = join(testFolder("bytes"), "tickets");
  mkdirSync(folder, { recursive: true });
  const holder = await hold(folder);
  const bytes = randomBytes(10);
  await upload(async () => holder, ID, bytes);
  const status = async (more: Partial<Ticket>, method = "GET", act: BytesAct = "read") =>
    (await ask(holder, method, act, ID, {}, undefined, more)).status;
  assert.is(await status({}), 200);
  assert.is(await status({ until: Date.now() - 1 }), 403, "over");
  assert.is(await status({ until: Date.now() + 10 * TICKET_MS }), 403, "for too long");
  assert.is(await status({ node: "other" }), 403);
  assert.is(await status({ resource: ID.replace(/0$/, "1") }), 403);
  assert.is(await status({}, "DELETE", "read"), 403, "for something else");
  assert.is(await status({ organisation: ORG.replace(/0$/, "1") }), 404, "of another organisation");
  const made = await ask(holder, "POST", "reserve", ID.replace(/0$/, "2"), { "upload-length": "2000000" });
  assert.is(made.status, 403, "more than the ticket says");
  const most = await ask(holder, "POST", "reserve", ID.replace(/0$/, "3"), { "upload-length": "10000000" }, undefined, {
    maxBytes: 1e9,
  });
  assert.is(most.status, 413, "beyond the quota");
  const good = writeTicket(key, ticket("read", ID));
  assert.ok(readTicket([key], good, Date.now()));
  const other = ticketKeyOf(randomBytes(32));
  assert.is(readTicket([other], good, Date.now()), undefined);
  for (const bad of ["", ".", "a.b", good.slice(0, -2), `x${good}`, `${good}.x`, "a".repeat(5_000)]) {
    assert.is(readTicket([key], bad, Date.now()), undefined, bad.slice(0, 50));
  }
  await ask(holder, "DELETE", "remove", ID);
  assert.equal(readdirSync(join(folder, "blobs", ORG)), []);
  holder.child.kill("SIGKILL");
});

test("ranges and conditions as RFC 9110 has them", () => {
  const of = (headers: Record<string, string>, bytes = 1_000) => {
    const { status, range } = answerContent(headers, { bytes, tag: '"t"' });
    return [status, range === undefined ? undefined : `${range.first}-${range.last}`];
  };
  assert.equal(of({}), [200, "0-999"]);
  assert.equal(of({}, 0), [200, undefined]);
  assert.equal(of({ range: "bytes=0-0" }), [206, "0-0"]);
  assert.equal(of({ range: "bytes=500-" }), [206, "500-999"]);
  assert.equal(of({ range: "bytes=-10" }), [206, "990-999"]);
  assert.equal(of({ range: "bytes=-5000" }), [206, "0-999"]);
  assert.equal(of({ range: "bytes=900-5000" }), [206, "900-999"]);
  for (const range of ["bytes=1000-", "bytes=-0"]) assert.equal(of({ range }), [416, undefined], range);
  // What is not understood is passed over.
  for (const range of ["bytes=5-1", "bytes=-", "lines=1-2", "bytes=0-1,4-5", "bytes=a-b"])
    assert.equal(of({ range }), [200, "0-999"], range);
  assert.equal(of({ range: "bytes=0-0", "if-range": '"t"' }), [206, "0-0"]);
  assert.equal(of({ range: "bytes=0-0", "if-range": '"other"' }), [200, "0-999"]);
  assert.equal(of({ "if-none-match": '"a", W/"t"' }), [304, undefined]);
  assert.equal(of({ "if-none-match": "*" }), [304, undefined]);
  assert.equal(of({ "if-none-match": '"a"' }), [200, "0-999"]);
});

test.run();
