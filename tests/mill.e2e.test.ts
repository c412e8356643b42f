/** `mill` against the product as `mill up` runs it: what each command does, prints and ends with. */
import { spawnSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, connect as dial, type Socket } from "node:net";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { CHECKOUT, type Mill, ONE_PROCESS, testMill } from "./harness/mill.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("mill", { timeoutMs: 120_000 });

const mill = testMill({ defer: deferToEndOfFile }, ONE_PROCESS);
await mill.up();
const url = JSON.parse(await mill.out(["context", "list", "-o", "json"]))[0].url as string;
const owner = readFileSync(join(mill.data, "secrets", "owner.token"), "utf8").trim();

const json = async (...args: string[]) => JSON.parse(await mill.out([...args, "-o", "json"]));
const open = async (title: string, ...flags: string[]) =>
  (await mill.out(["work", "open", title, "-o", "name", ...flags])).trim();

/** Exit code, and the error as `-o json` prints it. */
async function fails(...args: string[]) {
  const { code, out, err } = await mill.run([...args, "-o", "json"]);
  assert.is(out, "", "an error prints nothing on stdout");
  const last = err.trimEnd().split("\n").at(-1)!;
  const { error } = JSON.parse(last);
  assert.type(error.code, "string");
  assert.type(error.message, "string");
  return { code, error };
}

test("an installation on this machine is found without login, and says who one is", async () => {
  const who = await json("whoami");
  assert.equal([who.organisation.name, who.grants, who.installation], ["home", ["*"], true]);
  const [context] = await json("context", "list");
  assert.equal([context.name, context.selected, context.data], ["local", true, mill.data]);
  const status = await json("status");
  assert.equal([status.running, status.well, status.url], [true, true, url]);
  const names = status.services.map(({ name }: { name: string }) => name).sort();
  assert.equal(names, ["caddy", "nats", "postgres", "services"]);
  assert.ok(status.projections.some(({ name }: { name: string }) => name === "work_items"));
});

test("a work item, through every command that changes one", async () => {
  const id = await open(
    "Move the house",
    "--assign",
    "ada",
    "--label",
    "area/house",
    "--priority",
    "high",
    "--due",
    "2027-01-31",
  );
  await mill.out(["work", "assign", id, "grace", "alan"]);
  await mill.out(["work", "assign", id, "alan", "--remove"]);
  await mill.out(["work", "label", id, "big", "old"]);
  await mill.out(["work", "label", id, "old", "--remove"]);
  await mill.out(
    ["work", "change", id, "--title", "Move the whole house", "--priority", "none", "--description", "-"],
    "By truck.\n",
  );
  await mill.out(["work", "add-line", id, "Pack", "--required", "--at", "1"]);
  await mill.out(["work", "add-line", id, "Sing"]);
  await mill.out(["work", "check", id, "--all"]);
  await mill.out(["work", "uncheck", id, "sing"]);
  await mill.out(["work", "remove-line", id, "3"]);
  await mill.out(["work", "comment", id, "Half of it is there."]);
  await mill.out(["work", "note", id, "-"], "Everything is in its place.\n");
  await mill.out(["work", "note", id, "The cat, too.", "--append"]);
  await mill.out(["work", "move", id, "in-progress"]);
  await mill.out(["work", "waive", id, "checklist_complete", "--reason", "It is all there"]);
  await mill.out(["work", "move", id, "done", "--wait", "state=done"]);
  const item = await json("work", "show", id);
  const { type, links, ...spec } = item.spec;
  assert.equal(links, []);
  assert.equal(spec, {
    title: "Move the whole house",
    description: "By truck.",
    notes: "Everything is in its place.\n\nThe cat, too.",
    assignees: ["ada", "grace"],
    labels: ["area/house", "big"],
    dueOn: "2027-01-31",
  });
  assert.equal(
    item.checklist.map(({ text, done }: { text: string; done: boolean }) => [text, done]),
    [
      ["Pack", true],
      ["It is done, and was checked", true],
    ],
  );
  assert.equal([type, item.status.state, item.comments.length, item.waivers.length], ["task", "done", 1, 1]);
  const people = await mill.out(["work", "show", id]);
  for (const said of [
    "Move the whole house",
    "1. [x] Pack",
    "By truck.",
    "Half of it is there.",
    "waived checklist_complete",
  ]) {
    assert.match(people, said);
  }
  await mill.out(["work", "delete", id, "--yes"]);
  assert.is((await fails("work", "show", id)).code, 3);
  assert.match(await mill.out(["history", "item", id]), "deleted");
});

test("exit codes say what happened", async () => {
  const id = await open("Exit well");
  const codes = async (...calls: string[][]) => Promise.all(calls.map(async (args) => (await fails(...args)).code));
  assert.equal(
    await codes(["work", "shwo", id], ["work", "open", ""], ["work", "delete", id, "--no-input"]),
    [2, 2, 2],
  );
  assert.equal(await codes(["work", "show", "itm_00000000000000000000000000"], ["orgs", "show", "nowhere"]), [3, 3]);
  assert.is((await fails("work", "change", id, "--title", "x", "--seen", "7")).code, 5);
  assert.is((await fails("work", "move", id, "done")).code, 6);
  assert.is((await mill.run(["work", "gates", id, "--to", "done"])).code, 6);
  assert.is((await fails("work", "show", id, "--wait", "state=done", "--timeout", "1")).code, 124);
  assert.is((await fails("whoami", "--url", "http://127.0.0.1:1")).code, 1);
  const refused = await fails("work", "move", id, "done");
  assert.is(refused.error.code, "refused");
  assert.type(refused.error.fix, "string");
  assert.match(refused.error.requestId, "req_");
});

test("what one process wrote the next one reads", async () => {
  for (let round = 0; round < 5; round++) {
    const id = await open(`Round ${round}`, "--label", "round");
    const ids = (await mill.out(["work", "list", "--label", "round", "-o", "name", "--limit", "200"])).split("\n");
    assert.ok(ids.includes(id), `round ${round}`);
  }
});

test("lists: filters of the contract, pages, and forms of output", async () => {
  for (let each = 0; each < 7; each++)
    await open(`Paged ${each}`, "--label", "paged", "--type", each === 0 ? "documentation" : "task");
  const list = (...flags: string[]) => mill.out(["work", "list", "--label", "paged", ...flags]);
  assert.is((await list("-o", "name")).trimEnd().split("\n").length, 7);
  assert.is((await list("-o", "name", "--limit", "3")).trimEnd().split("\n").length, 3);
  assert.is((await list("-o", "name", "--type", "documentation")).trimEnd().split("\n").length, 1);
  const lines = (await list("-o", "jsonl", "--sort", "title")).trimEnd().split("\n");
  assert.equal(
    lines.map((line) => JSON.parse(line).spec.title),
    [0, 1, 2, 3, 4, 5, 6].map((each) => `Paged ${each}`),
  );
  assert.match(await mill.out(["search", "Paged", "-o", "jsonl"]), '"kind":"item"');
  assert.is(await list("--group", "cancelled", "-o", "json"), "[]\n");
});

/** A way to the gateway that breaks the first connections: after the request went through, before the answer came. */
async function brokenWay(breaks: number): Promise<{ url: string; close: () => void }> {
  const to = new URL(url);
  let left = breaks;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = dial(Number(to.port), to.hostname);
    const isCut = left-- > 0;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.on("data", (chunk) => (isCut ? client.destroy() : client.write(chunk)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { url: `http://127.0.0.1:${port}`, close };
}

test("a write whose answer is lost is sent again with the same key, and done once", async ({ defer }) => {
  const way = await brokenWay(2);
  defer(way.close);
  const there = testMill({ defer }, { MILLRACE_TOKEN: owner, MILLRACE_ORG: "home", MILLRACE_URL: way.url });
  const { code, out, err } = await there.run([
    "work",
    "open",
    "Only once",
    "-o",
    "name",
    "--label",
    "once",
    "--verbose",
  ]);
  assert.is(code, 0, err);
  assert.is(err.match(/no answer/g)?.length, 2, err);
  const ids = (await mill.out(["work", "list", "--label", "once", "-o", "name"])).trimEnd().split("\n");
  assert.equal(ids, [out.trim()]);
});

test("login keeps a token that was tried, in a file of its own, and logout forgets it", async ({ defer }) => {
  const token = (
    await mill.out(["tokens", "create", "reader", "--grant", "work:read", "--expires", "1d", "-o", "name"])
  ).trim();
  const other = testMill({ defer });
  const config = other.env.XDG_CONFIG_HOME!;
  const login = (input: string) => other.run(["login", "--context", "office", "--url", url, "--token-stdin"], input);
  assert.is((await login("no token")).code, 2);
  assert.is((await login(`${token.slice(0, -1)}${token.endsWith("0") ? "1" : "0"}`)).code, 2, "the checksum tells");
  const { code, err } = await login(`${token}\n`);
  assert.is(code, 0, err);
  const kept = join(config, "millrace", "tokens", "office");
  assert.is(readFileSync(kept, "utf8").trim(), token);
  for (const file of [kept, join(config, "millrace", "contexts.json")]) assert.is(statSync(file).mode & 0o777, 0o600);
  assert.not.match(readFileSync(join(config, "millrace", "contexts.json"), "utf8"), token);
  assert.match(await other.out(["whoami"]), "reader");
  assert.match(await other.out(["work", "list", "-o", "json"]), "[");
  assert.is((await other.run(["work", "open", "Not mine to open"])).code, 4);
  assert.is((await other.run(["tokens", "list"])).code, 4);
  await mill.out(["tokens", "revoke", "reader", "--yes"]);
  const deadline = Date.now() + 5_000;
  while ((await other.run(["whoami"])).code === 0) assert.ok(Date.now() < deadline, "a revoked token is refused");
  assert.is((await other.run(["whoami"])).code, 4);
  await other.out(["logout"]);
  assert.throws(() => statSync(kept));
  assert.is((await other.run(["whoami"])).code, 4);
});

test("a keyring that is there is used, and never sees a token in its arguments", async ({ defer }) => {
  // A stand-in for libsecret's program, which asks a keyring service of the desktop; it keeps what it is given in a file.
  const other = testMill({ defer }, { DBUS_SESSION_BUS_ADDRESS: "unix:path=/nowhere", MILLRACE_KEYRING: "" });
  const folder = join(other.data, "..");
  const program = join(folder, "secret-tool");
  writeFileSync(
    program,
    `#!/bin/sh\necho "$@" >> "${folder}/arguments"\ncase $1 in store) cat > "${folder}/kept";; lookup) cat "${folder}/kept";; clear) rm -f "${folder}/kept";; esac\n`,
    { mode: 0o755 },
  );
  other.env.PATH = `${folder}:${other.env.PATH}`;
  await other.out(["login", "--context", "office", "--url", url, "--token-stdin"], owner);
  assert.is(readFileSync(join(folder, "kept"), "utf8"), owner);
  assert.throws(() => statSync(join(other.env.XDG_CONFIG_HOME!, "millrace", "tokens", "office")));
  assert.match(await other.out(["whoami"]), "home");
  await other.out(["logout"]);
  assert.throws(() => statSync(join(folder, "kept")));
  assert.not.match(readFileSync(join(folder, "arguments"), "utf8"), owner);
});

test("secrets come from standard input, are replaced under their name, and never shown", async () => {
  await mill.out(["secrets", "set", "deploy-key"], "first-value-7f3a");
  await mill.out(["secrets", "set", "deploy-key"], "second-value-7f3a\n");
  const listed = await json("secrets", "list");
  assert.equal(
    listed.map(({ spec, generation }: { spec: { name: string }; generation: number }) => [spec.name, generation]),
    [["deploy-key", 2]],
  );
  const all = await Promise.all([
    mill.out(["secrets", "list", "-o", "json"]),
    mill.out(["show", "secret", "deploy-key", "-o", "json"]),
    mill.out(["history", "secret", listed[0].id, "-o", "json"]),
  ]);
  assert.not.match(all.join(""), "value-7f3a");
  await mill.out(["secrets", "erase", "deploy-key", "--yes"]);
  assert.equal(await json("secrets", "list"), []);
});

test("types of work from a file: defined, changed, in force, deleted", async ({ defer }) => {
  const folder = join(mill.data, "..");
  const file = join(folder, "chore.json");
  const task = await json("work", "types", "show", "task");
  writeFileSync(file, JSON.stringify({ ...task, spec: { ...task.spec, name: "chore", title: "Chore", gates: {} } }));
  defer(() => mill.run(["work", "types", "delete", "chore", "--yes"]));
  await mill.out(["work", "types", "create", "--file", file]);
  const id = await open("Sweep", "--type", "chore");
  await mill.out(["work", "move", id, "in-progress"]);
  await mill.out(["work", "move", id, "done"]);
  await mill.out(["work", "types", "change", "chore", "--file", "-"], JSON.stringify({ title: "Chores" }));
  assert.is((await json("work", "types", "show", "chore")).spec.title, "Chores");
  assert.is((await mill.run(["work", "types", "create", "--file", "-"], "{")).code, 2);
  assert.is((await mill.run(["work", "types", "create", "--file", join(folder, "none.json")])).code, 2);
});

test("organisations: created, renamed, worked in, archived", async () => {
  await mill.out(["orgs", "create", "lab", "--title", "The laboratory"]);
  await mill.out(["orgs", "rename", "lab", "workshop", "--seen", "1"]);
  assert.is((await mill.run(["orgs", "rename", "workshop", "other", "--seen", "1"])).code, 5);
  const id = (await mill.out(["work", "open", "In the workshop", "--org", "workshop", "-o", "name"])).trim();
  assert.is((await fails("work", "show", id)).code, 3, "what belongs to another organisation is not here");
  assert.match(await mill.out(["history", "organisation", "workshop"]), 'from "lab" to "workshop"');
  await mill.out(["orgs", "archive", "workshop", "--yes"]);
  assert.is((await fails("work", "open", "Too late", "--org", "workshop")).code, 6);
});

test("the raw way: any operation, its headers, its problems as exit codes", async () => {
  assert.is(JSON.parse(await mill.out(["api", "GET", "/v1/whoami"])).organisation.name, "home");
  const body = JSON.stringify({ type: "task", title: "Raw" });
  const made = JSON.parse(await mill.out(["api", "POST", "/v1/organisations/{org}/work-items", "-d", "-"], body));
  const { code, err } = await mill.run([
    "api",
    "PATCH",
    `/v1/organisations/{org}/work-items/${made.id}`,
    "-d",
    '{"title":"x"}',
    "-i",
    "-o",
    "json",
  ]);
  assert.is(code, 5, err);
  assert.match(err, "precondition-required");
  assert.is((await mill.run(["api", "FETCH", "/v1/whoami"])).code, 2);
});

test("completions know commands, flags, values, and what is there", async () => {
  const id = await open("To be completed");
  const offers = async (...words: string[]) => (await mill.out(["__complete", ...words])).split("\n");
  assert.ok((await offers("wo")).includes("work"));
  assert.ok((await offers("work", "m")).includes("move"));
  assert.ok((await offers("work", "list", "--st")).includes("--state"));
  assert.ok((await offers("work", "list", "-o", "js")).includes("jsonl"));
  assert.ok((await offers("work", "show", "itm_")).includes(id));
  assert.ok((await offers("show", "it")).includes("item"));
  assert.ok((await offers("--context", "")).includes("local"));
  const script = `eval "$(mill completions bash)"; COMP_WORDS=(mill work types sh); COMP_CWORD=3; _mill; echo "\${COMPREPLY[*]}"`;
  const { stdout, stderr } = spawnSync("bash", ["-c", script], {
    env: { ...mill.env, PATH: `${join(CHECKOUT, "cli")}:${process.env.PATH}` },
    encoding: "utf8",
  });
  assert.is(stdout.trim(), "show", stderr);
});

test("projections: listed, rebuilt and switched; dead letters: none", async () => {
  const before = (await json("projections", "list")).find(({ name }: { name: string }) => name === "work_items");
  await mill.out(["projections", "rebuild", "work_items", "--wait"]);
  const after = (await json("projections", "list")).find(
    ({ name, shown }: { name: string; shown: boolean }) => name === "work_items" && shown,
  );
  assert.ok(after.build > before.build, `${after.build} after ${before.build}`);
  assert.equal(await json("dead-letters", "list"), []);
  assert.is((await fails("projections", "rebuild", "nothing")).code, 3);
});

test("settings with their origin, and no secret among them", async ({ defer }) => {
  const other: Mill = testMill({ defer }, { MILLRACE_PORT: "7001", MILLRACE_NATS_PASSWORD: "hush-7f3a" });
  const out = await other.out(["config", "-o", "json"]);
  assert.not.match(out, "hush-7f3a");
  const settings = JSON.parse(out) as { key: string; value: string; origin: string }[];
  const port = settings.find(({ key }) => key === "port")!;
  assert.equal([port.value, port.origin], ["7001", "MILLRACE_PORT"]);
  const bad = await testMill({ defer }, { MILLRACE_PORT: "x" }).run(["config"]);
  assert.is(bad.code, 2);
  assert.match(bad.err, "MILLRACE_PORT");
});

test.run();
