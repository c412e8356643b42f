/** The guide to NATS and its examples: commands and programs run as they stand, against a gateway, a projector and a NATS server. */
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import { copyFileSync, readFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { testFolder } from "./harness/servers.ts";
import { type Credentials, connectAs, natsWithDoor, readAs } from "./harness/subscribers.ts";
import { suite, type TestContext } from "./harness/suite.ts";

const test = suite("the guide to NATS", { timeoutMs: 120_000 });
const root = resolve(import.meta.dirname, "..");
const examples = join(root, "examples/nats-subscriber");
const { nats, config: door } = await natsWithDoor();
const gateway = await testGateway(door);
await testProjector(gateway.config);
const { expect } = callerOf(gateway);
const folder = testFolder("nats-guide");

test("every command of docs/guides/nats.md does what the text says", async () => {
  const text = readFileSync(join(root, "docs/guides/nats.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  const env = {
    ...process.env,
    PATH: `${join(root, "cli")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: folder,
    XDG_STATE_HOME: folder,
    MILLRACE_URL: gateway.url,
    MILLRACE_TOKEN: gateway.owner,
    MILLRACE_ORG: "home",
  };
  const run = (commands: string) =>
    new Promise<string>((done, fail) => {
      const options = { cwd: folder, env, timeout: 110_000 };
      execFile("bash", ["-euo", "pipefail", "-c", commands], options, (error, stdout, stderr) =>
        error === null ? done(stdout) : fail(new Error(stdout + stderr, { cause: error })),
      );
    });
  const password = () => readFileSync(join(folder, "warehouse.password"), "utf8").trim();
  const told = await run(blocks[0]!);
  const { id } = (await expect(200, "GET", "/subscribers/warehouse")).body;
  for (const part of [id, `_INBOX.${id}`, `subscribers.${id}.read`, nats.url, ".work.>"])
    assert.ok(told.includes(part), told);
  const client = await connectAs(nats.url, { id, secret: password() }, { reconnect: false });
  assert.equal((await readAs(client, id)).code, "");
  const first = password();
  await run(blocks[1]!);
  assert.notEqual(password(), first);
  await client.closed();
  await assert.rejects(connectAs(nats.url, { id, secret: password() }, { reconnect: false }));
});

/** How an example is run, or why it cannot be here. */
type Way = { readonly command: string; readonly args: string[] } | { readonly missing: string };

const ends = (command: string, args: string[], options: object = {}) =>
  spawnSync(command, args, { timeout: 100_000, encoding: "utf8", ...options });

const WAYS: Readonly<Record<string, () => Way>> = {
  TypeScript: () => ({ command: process.execPath, args: [join(examples, "main.ts")] }),
  Python: () => {
    const found = ends("python3", ["-c", "import nats"]);
    if (found.error !== undefined) return { missing: "there is no python3" };
    if (found.status !== 0) return { missing: "Python has no nats-py" };
    return { command: "python3", args: [join(examples, "main.py")] };
  },
  Go: () => {
    if (ends("go", ["version"]).status !== 0) return { missing: "there is no go" };
    for (const file of ["main.go", "go.mod"]) copyFileSync(join(examples, file), join(folder, file));
    // Only with what is there already: tests bring nothing from the network.
    const modules = process.env.GO111MODULE === "off" ? {} : { GOFLAGS: "-mod=mod", GOPROXY: "off", GOSUMDB: "off" };
    const built = ends("go", ["build", "-o", "follower", "main.go"], {
      cwd: folder,
      env: { ...process.env, ...modules },
    });
    if (built.status === 0) return { command: join(folder, "follower"), args: [] };
    if (/cannot find (module|package)|not found|disabled by GOPROXY|no required module/.test(built.stderr)) {
      return { missing: "Go has no nats.go" };
    }
    throw new Error(built.stderr);
  },
};

/** Starts the program; its lines as they come. */
function start({ command, args }: { command: string; args: string[] }, { id, secret }: Credentials, file: string) {
  const env = { ...process.env, NATS_URL: nats.url, NATS_USER: id, NATS_PASSWORD: secret, POSITION_FILE: file };
  const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  const ended = new Promise<void>((done) => child.on("close", () => done()));
  const end = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  const lines = () => out.split("\n").slice(0, -1);
  return { lines, end, err: () => err, running: () => child.exitCode === null && child.signalCode === null };
}

for (const [language, way] of Object.entries(WAYS)) {
  test(`the example in ${language} follows, and goes on where it was after a break`, async (context: TestContext) => {
    const how = way();
    if ("missing" in how) return context.skip(how.missing);
    const name = `example-${language.toLowerCase()}`;
    const events = { events: { context: ["work"], type: ["ItemOpened"] } };
    const one: Credentials = (await expect(201, "POST", "/subscribers", { body: { name, ...events } })).body;
    const opened: string[] = [];
    const open = async (title: string) => {
      const { id } = (await expect(201, "POST", "/work-items", { body: { type: "task", title } })).body;
      opened.push(id);
    };
    const file = join(folder, `${name}.position`);
    const before = (await readBefore(one)).length;
    const follow = async (count: number) => {
      const program = start(how, one, file);
      context.defer(program.end);
      const lines = await eventually(
        async () => {
          assert.ok(program.running(), program.err());
          return program.lines().length >= count ? program.lines() : undefined;
        },
        `${count} lines of ${language}`,
        60_000,
      );
      // Idle again: what it has said it has kept, too.
      await eventually(async () => (await readAfter(one, file)) || undefined, "the position is kept");
      await program.end();
      return lines;
    };
    await open("First");
    const seen = await follow(before + 1);
    for (const title of ["Second", "Third"]) await open(title);
    seen.push(...(await follow(2)));
    assert.equal(seen.length, before + 3);
    assert.deepEqual(
      seen.slice(-3).map((line) => line.replace(/ \S+ \S+\//, " ")),
      opened.map((id) => `millrace.work.ItemOpened.v1 ${id}`),
    );
  });
}

/** Everything there is already. */
async function readBefore(one: Credentials): Promise<unknown[]> {
  const client = await connectAs(nats.url, one);
  const { body } = await readAs(client, one.id, { from: "beginning", most: 1_000 });
  await client.close();
  return body.events;
}

/** Whether nothing comes after the position that was kept. */
async function readAfter(one: Credentials, file: string): Promise<boolean> {
  const client = await connectAs(nats.url, one);
  try {
    const { code, body } = await readAs(client, one.id, { after: readFileSync(file, "utf8") });
    return code === "" && body.live && body.events.length === 0;
  } catch {
    return false;
  } finally {
    await client.close();
  }
}

test.run();
