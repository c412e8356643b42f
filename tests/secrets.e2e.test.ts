/**
 * No secret in clear anywhere: gateway and projector run as processes over servers whose data stand in one folder; after
 * secrets were stored, changed, asked for in every way and erased, all of the folder, every log line, every answer and the
 * whole feed are searched.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeToken } from "@millrace/contracts/token.ts";
import { secret as kind } from "@millrace/domain/identity/secret.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { connectNats, type Nats } from "@millrace/eventlog/connection.ts";
import { parseMasterKeys, type SealedValue, Sealing } from "@millrace/eventlog/sealing.ts";
import { freePort } from "@millrace/local/ports.ts";
import { startPostgres } from "@millrace/local/postgres.ts";
import * as assert from "uvu/assert";
import { type Answer, ask } from "./harness/gateway.ts";
import { fastStart, startOwnNats, testFolder } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("no secret in clear", { timeoutMs: 180_000 });

const folder = testFolder("secrets");
const outside = testFolder("secrets-outside");
const masterKey = randomBytes(32).toString("base64");
const owner = makeToken("mrp", randomBytes);
const answers: Answer[] = [];
let url = "";
let environment: NodeJS.ProcessEnv = {};
let nats: Nats;
const running: ChildProcess[] = [];

test.before(async () => {
  mkdirSync(join(folder, "logs"));
  writeFileSync(join(outside, "master.key"), `${masterKey}\n`, { mode: 0o600 });
  writeFileSync(join(outside, "owner.token"), `${owner}\n`, { mode: 0o600 });
  const server = await startOwnNats({ dataDir: join(folder, "nats") });
  const postgres = await startPostgres({ dataDir: join(folder, "postgres") });
  deferToEndOfFile(() => postgres.stop("SIGQUIT"));
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  environment = {
    ...fastStart(),
    PATH: process.env.PATH,
    MILLRACE_TEST_MARK: process.env.MILLRACE_TEST_MARK,
    MILLRACE_NATS_URL: server.url,
    MILLRACE_NATS_USER: server.user,
    MILLRACE_NATS_PASSWORD: server.password,
    MILLRACE_POSTGRES_URL: postgres.url,
    MILLRACE_MASTER_KEY_FILE: join(outside, "master.key"),
    MILLRACE_OWNER_TOKEN_FILE: join(outside, "owner.token"),
    MILLRACE_PORT: String(port),
    MILLRACE_LOG_LEVEL: "trace",
  };
  deferToEndOfFile(() => stopServices("SIGKILL"));
  nats = await connectNats({ url: server.url, user: server.user, password: server.password, name: "secrets-test" });
  deferToEndOfFile(() => nats.close());
  await startServices();
});

async function startServices(): Promise<void> {
  for (const service of ["gateway", "projector"]) {
    const log = openSync(join(folder, "logs", `${service}.log`), "a");
    const main = join(import.meta.dirname, "..", "services", service, "main.ts");
    running.push(spawn(process.execPath, [main], { env: environment, stdio: ["ignore", log, log] }));
  }
  await until(
    "the gateway is ready",
    async () => (await fetch(`${url}/readyz`).catch(() => undefined))?.status === 200,
  );
}

async function stopServices(signal: NodeJS.Signals): Promise<void> {
  await Promise.all(
    running.splice(0).map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill(signal);
      await ended;
    }),
  );
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within a minute: ${what}\n${logs()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const logs = () =>
  readdirSync(join(folder, "logs"))
    .map((name) => readFileSync(join(folder, "logs", name), "utf8"))
    .join("");

async function request(method: string, path: string, options: Parameters<typeof ask>[3] = {}): Promise<Answer> {
  const answer = await ask(url, method, path, { token: owner, ...options });
  answers.push(answer);
  assert.ok(answer.status < 500, `${method} ${path}: ${answer.status} ${answer.text}`);
  return answer;
}

/** Every form in which a text might have been written. */
function forms(text: string): Buffer[] {
  const bytes = Buffer.from(text);
  const all = [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text), bytes.toString("hex")];
  // Within a longer text base64 begins at one of three places; what lies between two of them is the same.
  for (const skip of [0, 1, 2])
    all.push(
      bytes.subarray(skip).toString("base64").slice(0, 24),
      bytes.subarray(skip).toString("base64url").slice(0, 24),
    );
  return [...new Set(all)].map((form) => Buffer.from(form));
}

/** Files below the folder that hold one of these. */
function filesWith(needles: ReadonlyArray<Buffer>): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => {
      try {
        const bytes = readFileSync(file);
        return needles.some((needle) => bytes.includes(needle));
      } catch (error) {
        if ((error as { code?: string }).code === "ENOENT") return false;
        throw error;
      }
    });
}

/** The feed as a subscriber gets it, headers and bodies. */
async function wholeFeed(): Promise<string> {
  const texts: string[] = [];
  const { state } = await nats.jsm.streams.info("FEED_IDENTITY");
  for (let seq = state.first_seq; seq > 0 && seq <= state.last_seq; seq++) {
    const message = await nats.jsm.streams.getMessage("FEED_IDENTITY", { seq });
    texts.push(
      message!.subject,
      message!.string(),
      ...(message!.header?.keys().flatMap((key) => message!.header.values(key)) ?? []),
    );
  }
  return texts.join("\n");
}

const first = `first ${randomBytes(18).toString("base64")} "quoted" ✓`;
const second = randomBytes(24).toString("hex");
const third = randomBytes(24).toString("hex");
const wrong = `wrong-${randomBytes(18).toString("hex")}`;
let organisation = "";
let kept = "";
let erased = "";

async function sealedOf(id: string): Promise<SealedValue[]> {
  const sealed: SealedValue[] = [];
  for await (const commit of readCommits(nats, kind, id)) {
    for (const { data } of commit.events)
      if ((data as { sealed?: SealedValue }).sealed) sealed.push((data as { sealed: SealedValue }).sealed);
  }
  return sealed;
}

test("secrets are stored, changed, asked for in every way, and one is erased", async () => {
  organisation = (await request("GET", "/v1/whoami")).body.organisation.id;
  const at = `/v1/organisations/${organisation}/secrets`;
  const headers = { "idempotency-key": '"store-once"' };
  const stored = await request("POST", at, { body: { name: "kept-secret", value: first }, headers });
  assert.is(stored.status, 201, stored.text);
  kept = stored.body.id;
  const again = await request("POST", at, { body: { name: "kept-secret", value: first }, headers });
  assert.equal([again.status, again.body.id], [201, kept]);
  await request("POST", at, { body: { name: "kept-secret", value: wrong }, headers });
  const replaced = await request("PUT", `${at}/${kept}`, {
    body: { value: second },
    headers: { "if-match": stored.headers.get("etag")! },
  });
  assert.is(replaced.status, 200, replaced.text);
  const gone = await request("POST", at, { body: { name: "erased-secret", value: third } });
  erased = gone.body.id;

  // What is wrong with a request must not be told by repeating the value.
  for (const body of [
    { name: "x", value: wrong, more: wrong },
    { name: "x", value: { deep: wrong } },
    { name: "x", value: [wrong] },
    { name: wrong.toUpperCase(), value: wrong },
    { name: "kept-secret", value: wrong },
    { name: "x", value: wrong.repeat(3_000) },
    `{"name": "x", "value": "${wrong}`,
    `{"name": "x", "value": ${wrong}}`,
    wrong,
  ]) {
    const answer = await request("POST", at, { body });
    assert.ok(answer.status >= 400, answer.text);
    assert.not.match(
      answer.text.toLowerCase(),
      new RegExp(wrong),
      `the answer repeats it: ${answer.text.slice(0, 500)}`,
    );
  }
  await request("POST", at, { body: wrong, headers: { "content-type": wrong } });
  await request("PUT", `${at}/${kept}`, { body: { value: wrong }, headers: { "if-match": '"77"' } });
  await request("PUT", `${at}/${kept}`, { body: { value: wrong } });
  await request("GET", "/v1/whoami", { token: `${owner.slice(0, -1)}x` });
  await request("GET", `/v1/whoami?token=${owner}`, { token: undefined });

  const position = gone.headers.get("millrace-position")!;
  for (const path of ["", `/${kept}`, `/${kept}/history`, `/${kept}/diff?from=v1&to=v2`, `/${kept}?at=v1`, "?q=kept"]) {
    await request("GET", at + path, { headers: { "millrace-position": position } });
  }
  const dropped = await request("DELETE", `${at}/${erased}`, { headers: { "if-match": gone.headers.get("etag")! } });
  assert.is(dropped.status, 204, dropped.text);
  await request("GET", `${at}/${erased}`);
  await request("GET", `${at}/${erased}?at=v1`);
});

test("what is in the log opens with the master key, and what was erased does not", async () => {
  const sealing = await Sealing.open({ nats, masterKeys: parseMasterKeys(masterKey) });
  try {
    const values = await Promise.all(
      (await sealedOf(kept)).map((one) => sealing.unseal(one, { organisation, purpose: "test" })),
    );
    assert.equal(
      values.map((bytes) => Buffer.from(bytes).toString("utf8")),
      [first, second],
    );
    const [gone] = await sealedOf(erased);
    const error = await sealing.unseal(gone!, { organisation, purpose: "test" }).catch((caught) => caught);
    assert.is(error._tag, "Erased");
  } finally {
    sealing.close();
  }
});

test("after a restart it is as it was", async () => {
  await until("the feed has it all", async () => (await wholeFeed()).includes(erased));
  await stopServices("SIGTERM");
  await startServices();
  const answer = await request("GET", `/v1/organisations/${organisation}/secrets/${kept}`);
  assert.is(answer.body.spec.name, "kept-secret");
});

test("none of it is in the data folder, a log line, an answer or the feed", async () => {
  await stopServices("SIGTERM");
  const feed = await wholeFeed();
  const written = logs();
  assert.ok(
    filesWith([Buffer.from("kept-secret")]).some((file) => file.includes("/postgres/")),
    "the search sees what PostgreSQL wrote",
  );
  assert.ok(
    filesWith([Buffer.from("kept-secret")]).some((file) => file.includes("/nats/")),
    "the search sees what NATS wrote",
  );
  assert.ok(feed.includes(kept) && written.includes('"msg":"listening"'));
  const everything = answers.map(({ text, headers }) => `${text}\n${[...headers].join("\n")}`).join("\n");
  for (const [what, text] of Object.entries({ first, second, third, wrong, masterKey, owner })) {
    const needles = forms(text);
    assert.equal(filesWith(needles), [], `${what} lies in the data folder`);
    for (const [place, lines] of Object.entries({ answers: everything, feed, logs: written })) {
      assert.not.ok(
        needles.some((needle) => lines.includes(needle.toString())),
        `${what} is in the ${place}`,
      );
    }
  }
  assert.equal(filesWith([Buffer.from(masterKey, "base64")]), [], "the master key's bytes");
  // Neither is the sealed form any business of readers.
  for (const sealed of await sealedOf(kept)) {
    for (const [place, lines] of Object.entries({ answers: everything, feed, logs: written }))
      assert.not.ok(lines.includes(sealed.data), place);
  }
});

test.run();
