/** Settings: typed, complete faults, no secret echoed. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { testFolder } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import {
  defineSettings,
  describeSettings,
  Flag,
  IntegerBetween,
  logLimits,
  NATS_SETTINGS,
  Port,
  readSettings,
  type SettingsInvalid,
  Text,
} from "./settings.ts";

const test = suite("settings");

const settings = defineSettings({
  port: { variable: "MILLRACE_X_PORT", schema: Port, describe: "Port of X.", example: "8080" },
  most: {
    variable: "MILLRACE_X_MOST",
    schema: IntegerBetween(1, 10),
    describe: "How many at most.",
    example: "5",
    fallback: 5,
  },
  on: { variable: "MILLRACE_X_ON", schema: Flag, describe: "Whether.", example: "1", fallback: false },
  name: { variable: "MILLRACE_X_NAME", schema: Text, describe: "A name.", example: "home", optional: true },
  pin: {
    variable: "MILLRACE_X_PIN",
    schema: IntegerBetween(0, 9_999),
    describe: "A secret number.",
    example: "0000",
    secret: true,
  },
});

function faults(env: Record<string, string>): ReadonlyArray<string> {
  try {
    readSettings(settings, env);
  } catch (error) {
    return (error as SettingsInvalid).faults;
  }
  return [];
}

test("values are read with their types; fallbacks and absent ones are filled in", () => {
  const config = readSettings(settings, { MILLRACE_X_PORT: "8080", MILLRACE_X_ON: "yes", MILLRACE_X_PIN: "17" });
  const port: number = config.port;
  const name: string | undefined = config.name;
  assert.equal({ ...config, port, name }, { port: 8080, most: 5, on: true, name: undefined, pin: 17 });
});

test("every fault is told at once, with variable and fix", () => {
  const found = faults({ MILLRACE_X_MOST: "11", MILLRACE_X_PIN: "abcd" });
  assert.is(found.length, 3);
  assert.match(found[0]!, /MILLRACE_X_PORT is not set\. Port of X\. Set MILLRACE_X_PORT=8080\./);
  assert.match(found[1]!, /MILLRACE_X_MOST is not valid \(.*between 1 and 10.*\).*Set MILLRACE_X_MOST=5/);
  assert.match(found[2]!, /MILLRACE_X_PIN is not valid/);
});

test("a secret is never echoed, neither when it is wrong nor in the listing", () => {
  const env = { MILLRACE_X_PORT: "1", MILLRACE_X_PIN: "hunter2hunter2" };
  assert.is(faults(env).length, 1);
  assert.not.match(faults(env).join(), /hunter2/);
  const listed = describeSettings(settings, env);
  assert.not.match(JSON.stringify(listed), /hunter2/);
  assert.equal(
    listed.map(({ value }) => value),
    ["1", "5", "false", "", "(set)"],
  );
});

test("a secret may stand in a file; a file that cannot be read is told by its name", () => {
  const file = join(testFolder("settings"), "pin");
  writeFileSync(file, "42\n");
  assert.is(readSettings(settings, { MILLRACE_X_PORT: "1", MILLRACE_X_PIN_FILE: file }).pin, 42);
  assert.match(
    faults({ MILLRACE_X_PORT: "1", MILLRACE_X_PIN_FILE: `${file}.no` })[0]!,
    /MILLRACE_X_PIN_FILE names .*ENOENT/,
  );
});

test("numbers, ports and replicas have limits", () => {
  for (const port of ["-1", "65536", "80.5", "eighty", " "])
    assert.is(faults({ MILLRACE_X_PORT: port, MILLRACE_X_PIN: "1" }).length, 1, port);
  assert.is(readSettings(NATS_SETTINGS, { MILLRACE_REPLICAS: "3" }).replicas, 3);
  assert.throws(() => readSettings(NATS_SETTINGS, { MILLRACE_REPLICAS: "2" }), /MILLRACE_REPLICAS/);
});

test("days and GiB of log lines, or what is usual", () => {
  assert.equal(logLimits(readSettings(NATS_SETTINGS, {})), {});
  const set = readSettings(NATS_SETTINGS, { MILLRACE_LOG_DAYS: "7", MILLRACE_LOG_GIB: "2" });
  assert.equal(logLimits(set), { maxAgeMs: 604_800_000, maxBytes: 2_147_483_648 });
  assert.throws(() => readSettings(NATS_SETTINGS, { MILLRACE_LOG_DAYS: "0" }), /MILLRACE_LOG_DAYS/);
});

test.run();
