import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { describeSettings, readSettings, SettingsError } from "./settings.ts";

const test = suite("settings");

function folderWith({ defer }: TestContext, toml?: string): string {
  const folder = mkdtempSync(join(tmpdir(), "millrace-settings-"));
  defer(() => rmSync(folder, { recursive: true }));
  if (toml !== undefined) writeFileSync(join(folder, "millrace.toml"), toml);
  return folder;
}

function problemsOf(act: () => unknown): readonly string[] {
  try {
    act();
  } catch (error) {
    if (error instanceof SettingsError) return error.problems;
    throw error;
  }
  return [];
}

test("defaults", (context) => {
  const folder = folderWith(context);
  const { values, file } = readSettings({ folder, env: {} });
  assert.is(file, undefined);
  assert.is(values.port, 7400);
  assert.is(values.host, "127.0.0.1");
  assert.is(values.data, join(folder, ".millrace"));
  assert.is(values.natsSync, "always");
  assert.is(values.natsUrl, undefined);
  assert.is(values.bring, true);
});

test("a flag wins over the environment, that over the file, that over the default; each knows where it came from", (context) => {
  const folder = folderWith(context, 'port = 1\nhost = "localhost"\n[nats]\nport = 3\nsync = "100ms"\n');
  const env = { MILLRACE_PORT: "2", MILLRACE_NATS_PORT: "4" };
  const { values, sources } = readSettings({ folder, env, flags: { port: "5" } });
  assert.is(values.port, 5);
  assert.is(sources.port.origin, "flag");
  assert.is(values.natsPort, 4);
  assert.is(sources.natsPort.origin, "MILLRACE_NATS_PORT");
  assert.is(values.natsSync, "100ms");
  assert.is(sources.natsSync.origin, `${join(folder, "millrace.toml")}: nats.sync`);
  assert.is(sources.logLevel.origin, "default");
});

test("an empty variable is one that is not set", (context) => {
  assert.is(readSettings({ folder: folderWith(context), env: { MILLRACE_PORT: "" } }).values.port, 7400);
});

test("a path in the file is meant from the file, one in the environment from where one stands", (context) => {
  const folder = folderWith(context);
  mkdirSync(join(folder, "etc"));
  writeFileSync(join(folder, "etc", "mill.toml"), 'data = "../state"\n');
  const env = { MILLRACE_CONFIG: "etc/mill.toml", MILLRACE_MASTER_KEY_FILE: "keys/master" };
  const { values } = readSettings({ folder, env });
  assert.is(values.data, join(folder, "state"));
  assert.is(values.masterKeyFile, join(folder, "keys/master"));
});

test("all that is wrong is named at once", (context) => {
  const folder = folderWith(context, 'prot = 7400\n[nats]\nsync = "sometimes"\n');
  const env = { MILLRACE_PORT: "eighty", MILLRACE_POSTGRES_PORT: "70000", MILLRACE_NATS_URL: "http://nats" };
  const problems = problemsOf(() => readSettings({ folder, env }));
  assert.is(problems.length, 5);
  const all = problems.join("\n");
  assert.match(all, 'MILLRACE_PORT: "eighty" is not a port from 0 (any free one) to 65535.');
  assert.match(all, "there is no setting prot. Did you mean port?");
  assert.match(all, 'nats.sync: "sometimes" is not always, default');
  assert.match(all, "MILLRACE_NATS_URL");
});

test("a file that is no TOML, and one that is not there", (context) => {
  assert.match(
    problemsOf(() => readSettings({ folder: folderWith(context, "port 7400"), env: {} }))[0]!,
    "millrace.toml: ",
  );
  const absent = () => readSettings({ folder: folderWith(context), env: { MILLRACE_CONFIG: "gone.toml" } });
  assert.match(problemsOf(absent)[0]!, "MILLRACE_CONFIG: there is no ");
});

test("a file that is named has to be there", (context) => {
  const folder = folderWith(context, '[git]\nknown_hosts = "hosts"\n');
  const named = () => readSettings({ folder, env: {} });
  assert.match(problemsOf(named)[0]!, `git.known_hosts: "hosts" is not a file that is there (looked for at ${folder}`);
  writeFileSync(join(folder, "hosts"), "");
  assert.is(named().values.knownHosts, join(folder, "hosts"));
});

test("a secret is shown nowhere", (context) => {
  const folder = folderWith(context);
  const good = readSettings({
    folder,
    env: { MILLRACE_POSTGRES_URL: "postgres://u:hidden@h/d", MILLRACE_NATS_PASSWORD: "hidden" },
  });
  const described = describeSettings(good);
  assert.not.match(JSON.stringify(described), "hidden");
  assert.is(described.find(({ name }) => name === "postgresUrl")?.value, "(set)");
  const wrong = problemsOf(() => readSettings({ folder, env: { MILLRACE_POSTGRES_URL: "mysql://u:hidden@h/d" } }));
  assert.is(wrong.length, 1);
  assert.not.match(wrong[0]!, "hidden");
});

test.run();
