/**
 * No secret in clear where the whole product runs on one machine: tokens, secrets, passwords and keys are looked for in the
 * data folder, in every log, answer and frame, and in what the system tells of its processes. secrets.e2e.test.ts looks at the
 * values of stored secrets more closely.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { SUBPROTOCOL } from "@millrace/contracts/feed.ts";
import { type Platform, startPlatform } from "@millrace/local/platform.ts";
import { commandLine, processesWhere } from "@millrace/local/process.ts";
import { readSettings } from "@millrace/local/settings.ts";
import { WebSocket } from "ws";
import { talk } from "./fuzz/wire.ts";
import { type Answer, ask } from "./harness/gateway.ts";
import { testFolder } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("no secret in clear on one machine", { timeoutMs: 240_000 });

const data = join(testFolder("platform"), "data");
const MARK = `seen-${randomBytes(8).toString("hex")}`;
/** What was answered, sent and logged. */
const told: string[] = [];
/** Every secret there is, by what it is. */
const secrets = new Map<string, string>();
let platform: Platform;
let owner = "";

/** Where a secret may stand in clear: its own file, which only its owner may read. */
const OWN_FILES: Readonly<Record<string, ReadonlyArray<string>>> = {
  "master key": ["secrets/master.key"],
  "owner's token": ["secrets/owner.token"],
  "password of NATS": ["secrets/nats.json", "nats/nats.conf"],
  "password of PostgreSQL": ["secrets/postgres.password"],
};

const read = (name: string): string => readFileSync(join(data, name), "utf8").trim();

test.before(async () => {
  const flags = { data, port: "0", logLevel: "trace" };
  platform = await startPlatform({
    settings: readSettings({ folder: testFolder("empty"), env: {}, flags }).values,
    log: (line) => told.push(line),
  });
  deferToEndOfFile(() => platform.stop());
  owner = read("secrets/owner.token");
  secrets.set("owner's token", owner);
  secrets.set("master key", read("secrets/master.key"));
  secrets.set("password of NATS", JSON.parse(read("secrets/nats.json")).password);
  secrets.set("password of PostgreSQL", read("secrets/postgres.password"));
});

async function call(method: string, path: string, options: Parameters<typeof ask>[3] = {}): Promise<Answer> {
  const answer = await ask(platform.url, method, path, { token: owner, ...options });
  told.push(`${answer.text}\n${[...answer.headers].join("\n")}`);
  assert.ok(answer.status < 500, `${method} ${path}: ${answer.status} ${answer.text}`);
  return answer;
}

const HOME = "/v1/organisations/home";

/** A token, whose one showing is taken out of what was told. */
async function makeToken(name: string): Promise<{ id: string; secret: string }> {
  const headers = { "idempotency-key": `make-${name}` };
  const answer = await call("POST", `${HOME}/tokens`, { body: { name, grants: ["*"] }, headers });
  assert.equal(answer.status, 201, answer.text);
  told.pop();
  secrets.set(`token ${name}`, answer.body.secret);
  await call("POST", `${HOME}/tokens`, { body: { name, grants: ["*"] }, headers }); // the repeat shows it no more
  return { id: answer.body.id, secret: answer.body.secret };
}

test("tokens are made and used, secrets stored, changed and erased, events subscribed to", async ({ defer }) => {
  const socket = new WebSocket(`${platform.url.replace("http", "ws")}${HOME}/events?from=beginning`, [
    SUBPROTOCOL,
    `bearer.${owner}`,
  ]);
  defer(() => socket.terminate());
  let frames = "";
  socket.on("message", (frame) => {
    frames += `${frame}\n`;
  });
  for (const name of ["used", "revoked"]) await makeToken(name);
  const revoked = (await call("GET", `${HOME}/tokens?name=revoked`)).body.items?.[0];
  for (const what of ["used", "revoked"]) await call("GET", "/v1/whoami", { token: secrets.get(`token ${what}`) });
  await call("POST", `${HOME}/work-items`, { body: { type: "task", title: MARK }, token: secrets.get("token used") });
  if (revoked !== undefined) await call("DELETE", `${HOME}/tokens/${revoked.id}`, { headers: { "if-match": "*" } });
  for (const name of ["kept", "replaced", "erased"]) {
    secrets.set(`value ${name}`, `${randomBytes(24).toString("base64")}/ü`);
    const body = { name, value: secrets.get(`value ${name}`) };
    const { id } = (await call("POST", `${HOME}/secrets`, { body })).body;
    if (name === "kept") continue;
    secrets.set("new value", randomBytes(30).toString("base64url"));
    const headers = { "if-match": "*" };
    if (name === "replaced")
      await call("PUT", `${HOME}/secrets/${id}`, { body: { value: secrets.get("new value") }, headers });
    else await call("DELETE", `${HOME}/secrets/${id}`, { headers });
  }
  const deadline = Date.now() + 60_000;
  for (const text of [MARK, "SecretErased"]) {
    while (!frames.includes(text)) {
      assert.ok(Date.now() < deadline, `the subscriber was not told of ${text}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  for (const path of ["tokens", "secrets", "history", `search?q=${MARK}`]) {
    for (let answer = await call("GET", `${HOME}/${path}`); !answer.text.includes("items"); ) {
      assert.ok(Date.now() < deadline, answer.text);
      answer = await call("GET", `${HOME}/${path}`);
    }
  }
  told.push(frames);
});

test("errors are provoked, with tokens and values in places where they should not be", async () => {
  const port = Number(new URL(platform.url).port);
  const token = secrets.get("token used")!;
  const value = secrets.get("value kept")!;
  for (const half of [
    `GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nbroken header\r\n\r\n`,
    `GET /v1/whoami HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    `GET /v1/whoami HTTP/9.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    `POST ${HOME}/secrets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n${value}`,
    `GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic ${btoa(`x:${token}`)}\r\n\r\n`,
    `GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${token}x\r\n\r\n`,
    `GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: token=${token}\r\nReferer: http://x/?${token}\r\n\r\n`,
    `Authorization: Bearer ${token}\r\n\r\n`,
  ]) {
    const { text } = await talk(port, half, 5_000);
    assert.match(text, /^HTTP\/1\.1 4\d\d /);
    told.push(text);
  }
  for (const path of [
    `/v1/whoami?token=${token}`,
    `/v1/organisations/${token}`,
    `${HOME}/events?token=${token}`,
    `/${token}`,
  ]) {
    await call("GET", path, { token: undefined });
    told.pop(); // an answer may repeat the path to whoever sent it; logs may not
  }
  const bodies = [
    { name: "x", value: { deep: value } },
    { name: "x", value, more: value },
    `{"value": "${value}`,
    { value },
  ];
  for (const body of bodies) await call("POST", `${HOME}/secrets`, { body });
  await call("POST", `${HOME}/secrets`, { body: { name: "kept", value } });
  await call("PUT", `${HOME}/secrets/kept`, { body: { value }, headers: { "if-match": '"99"' } });
});

/** Every form in which a text might have been written: in clear, escaped, in hexadecimal, in base 64 wherever it begins. */
function formsOf(text: string): string[] {
  const bytes = Buffer.from(text);
  const inBase64 = [0, 1, 2].flatMap((skip) => {
    // Of what follows whole groups of three bytes, nothing depends on what comes after.
    const whole = bytes.subarray(skip, skip + 3 * Math.floor((bytes.length - skip) / 3));
    return [whole.toString("base64"), whole.toString("base64url")];
  });
  const clear = [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text)];
  return [...new Set([...clear, bytes.toString("hex"), bytes.toString("hex").toUpperCase(), ...inBase64])];
}

test("the forms that are looked for are found where they are", () => {
  for (const before of ["", "x", "xy"]) {
    for (const encoding of ["utf8", "hex", "base64", "base64url"] as const) {
      const written = Buffer.from(`${before}the secret itself, of some length, and more`).toString(encoding);
      assert.ok(
        formsOf("the secret itself, of some length").some((form) => written.includes(form)),
        `${encoding} ${before}`,
      );
    }
  }
});

/** Ours: the supervisor's children and theirs. */
function descendants(): number[] {
  const parents = new Map<number, number>();
  for (const pid of processesWhere(() => true)) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      parents.set(pid, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const isOurs = (pid: number): boolean => {
    const parent = parents.get(pid);
    return parent !== undefined && (parent === process.pid || isOurs(parent));
  };
  return [...parents.keys()].filter(isOurs);
}

test("the system's list of processes tells none of them", ({ skip }) => {
  if (process.platform !== "linux") skip("there is no /proc here");
  const pids = descendants();
  const lines = pids.map((pid) => commandLine(pid));
  for (const name of ["nats-server", "postgres", "gateway/main.ts", "projector/main.ts"]) {
    assert.ok(
      lines.some((line) => line.includes(name)),
      `${name} does not run: ${lines.join("\n")}`,
    );
  }
  const found: string[] = [];
  for (const pid of pids) {
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
    for (const [what, secret] of secrets) {
      const forms = formsOf(secret);
      if (forms.some((form) => commandLine(pid).includes(form)))
        found.push(`${what} in the arguments of ${commandLine(pid)}`);
      for (const variable of environment) {
        if (forms.some((form) => variable.includes(form))) found.push(`${what} in ${variable.split("=", 1)[0]}`);
      }
    }
  }
  // The environment of a process is read by its user and root alone. The servers' passwords are given to services so.
  assert.deepEqual([...new Set(found)].sort(), [
    "password of NATS in MILLRACE_NATS_PASSWORD",
    "password of PostgreSQL in MILLRACE_POSTGRES_URL",
  ]);
});

test("none of it is in the data folder, in a log, or in what was told", async () => {
  await platform.stop();
  const files = readdirSync(data, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const wrong: string[] = [];
  const marked = new Set<string>();
  for (const file of files) {
    const name = relative(data, file);
    const bytes = readFileSync(file);
    if (bytes.includes(MARK)) marked.add(name.split("/", 1)[0]!);
    for (const [what, secret] of secrets) {
      if (OWN_FILES[what]?.includes(name)) {
        assert.equal(statSync(file).mode & 0o077, 0, `${name} can be read by others`);
        continue;
      }
      const form = formsOf(secret).find((text) => bytes.includes(text));
      if (form !== undefined) wrong.push(`${what} in ${name}`);
    }
  }
  assert.deepEqual([...marked].sort(), ["nats", "postgres"], "the search sees what both servers wrote");
  for (const log of ["gateway", "projector", "nats", "postgres"]) {
    assert.ok(files.includes(join(data, "logs", `${log}.log`)), `there is no log of ${log}`);
  }
  const everything = told.join("\n");
  assert.ok(everything.includes(MARK));
  for (const [what, secret] of secrets) {
    if (formsOf(secret).some((form) => everything.includes(form)))
      wrong.push(`${what} in an answer, a frame or a line`);
  }
  assert.deepEqual(wrong, []);
});

test.run();
