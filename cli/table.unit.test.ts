/** The command table keeps its promises: every command can be called as its examples say, and the pages are generated. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { COMMANDS, GROUPS } from "./commands.ts";
import { operationsSource } from "./generate.ts";
import { commandHelp, groupHelp } from "./help.ts";
import { OPERATIONS } from "./operations.ts";
import { parse, pathsOf } from "./parse.ts";
import { referencePage } from "./reference.ts";
import { EXIT, EXIT_MEANINGS, type Flags, GLOBAL_FLAGS } from "./table.ts";

const test = suite("command table");
const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

test("every command has one path, a summary, an example, and says whether it writes", () => {
  const paths = COMMANDS.flatMap((command) => pathsOf(command).map((path) => path.join(" ")));
  assert.equal([...paths].sort(), [...new Set(paths)].sort(), "no path stands for two commands");
  for (const { path, summary, examples, impact } of COMMANDS) {
    assert.match(path, /^[a-z_-]+( [a-z-]+){0,2}$/);
    assert.ok(summary.length > 0 && !summary.endsWith("."), `${path}: one line without a full stop`);
    assert.ok(examples.length > 0, `${path}: an example`);
    assert.ok(impact === "read" || impact === "write");
  }
});

test("flags have a summary, and no letter means two of them", () => {
  for (const command of COMMANDS) {
    const flags: Flags = { ...command.flags, ...GLOBAL_FLAGS };
    for (const name of Object.keys(command.flags ?? {})) {
      assert.not(name in GLOBAL_FLAGS, `${command.path}: --${name} is every command's`);
      assert.ok(flags[name]!.summary.length > 0, `${command.path}: --${name}`);
    }
    const letters = Object.values(flags).flatMap(({ short }) => (short === undefined ? [] : [short]));
    assert.is(new Set(letters).size, letters.length, `${command.path}: letters ${letters.join(" ")}`);
  }
});

test("every example is understood, as a shell hands it over, and calls its own command", ({ defer }) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-examples-"));
  defer(() => rmSync(folder, { recursive: true }));
  for (const name of ["slack.url", "token.txt", "key.pem", "notes.md"]) writeFileSync(join(folder, name), "x");
  for (const name of [".zfunc", ".config/fish/completions"]) mkdirSync(join(folder, name), { recursive: true });
  for (const { path, examples } of COMMANDS) {
    for (const { line } of examples) {
      const words = join(folder, "words");
      const script = `mill() { printf '%s\\0' "$@" > '${words}'; }\n${line}`;
      const { status, stderr } = spawnSync("bash", ["-c", script], {
        cwd: folder,
        env: { PATH: process.env.PATH, HOME: folder },
        encoding: "utf8",
      });
      assert.is(status, 0, `${line}: ${stderr}`);
      const argv = readFileSync(words, "utf8").split("\0").slice(0, -1);
      const result = parse(COMMANDS, argv);
      assert.is("command" in result ? result.command.path : "help", path, line);
    }
  }
});

test("every help shows usage, flags and an example, in the width it is given", () => {
  for (const command of COMMANDS) {
    const text = commandHelp(command, 80);
    assert.match(text, `mill ${command.path}`);
    assert.match(text, command.examples[0]!.line);
    for (const name of Object.keys(command.flags ?? {})) assert.match(text, `--${name}`);
    const prose = text.slice(0, text.indexOf("Examples:")).split("\n");
    for (const line of prose) assert.ok(line.length <= 100, `${command.path}: ${line}`);
  }
  const all = groupHelp(GROUPS, []);
  for (const { path, hidden } of COMMANDS) assert.is(all.includes(`\n  ${path} `), hidden !== true, path);
});

test("operations.ts says what the contracts say", () => {
  const kept = readFileSync(file("./operations.ts"), "utf8");
  assert.ok(kept === operationsSource(), "the API has changed: run `node cli/generate.ts`");
});

test("docs/reference/cli.md says what the command table says", () => {
  const kept = readFileSync(file("../docs/reference/cli.md"), "utf8");
  assert.ok(kept === referencePage(), "the command table has changed: run `node cli/generate.ts`");
});

test("every exit code is documented once", () => {
  assert.equal(
    EXIT_MEANINGS.map(([code]) => code),
    Object.values(EXIT),
  );
});

test("every write of the API has a command, or is reached by `mill api`", () => {
  const folder = file("./actions");
  const text = readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), "utf8"))
    .join("\n");
  const without = Object.entries(OPERATIONS)
    .filter(([name, { method }]) => method !== "GET" && !text.includes(`"${name}"`))
    .map(([name]) => name);
  // `mill logs share` and what brings bytes call theirs by their paths.
  const byPath = without.filter((name) => /^shareLogsOfApplication$|^attachFile$|Uploads?$/.test(name));
  assert.equal(
    without.filter((name) => !byPath.includes(name)),
    ["editComment", "removeComment"],
  );
});

test.run();
