/** From words to a call. */
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { COMMANDS } from "./commands.ts";
import { Failure } from "./failure.ts";
import { type HelpAsked, type Parsed, parse } from "./parse.ts";
import { distance, suggestions } from "./suggest.ts";

const test = suite("parse");

const parsed = (line: string): Parsed => {
  const result = parse(COMMANDS, line.split(" "));
  assert.ok("command" in result, `${line} is a command`);
  return result as Parsed;
};
const help = (line: string): readonly string[] => (parse(COMMANDS, line.split(" ")) as HelpAsked).help;

/** What it says when it cannot be understood. */
function refused(line: string): { message: string; fix: string | undefined } {
  try {
    parse(COMMANDS, line.split(" "));
  } catch (error) {
    assert.ok(error instanceof Failure, String(error));
    assert.is((error as Failure).exit, 2);
    return error as Failure;
  }
  return assert.unreachable(`${line} is understood`) as never;
}

test("a command, its arguments and flags in any order", () => {
  for (const line of [
    "work move itm_1 done --seen 3 -o json",
    "work move --seen 3 itm_1 -o json done",
    "-o json work --org lab move itm_1 done --seen=3",
    "--output=json work move itm_1 done --seen 3",
  ]) {
    const { command, args, flags } = parsed(line);
    assert.is(command.path, "work move");
    assert.equal(args, { item: "itm_1", state: "done" });
    assert.is(flags.seen, 3);
    assert.is(flags.output, "json");
  }
});

test("the version is told as every program tells it", () => {
  for (const line of ["--version", "-V", "version"]) assert.is(parsed(line).command.path, "version");
  assert.is(parsed("--version -o json").flags.output, "json");
});

test("the longest path wins, and words after it are arguments", () => {
  assert.is(parsed("work types list").command.path, "work types list");
  assert.is(parsed("work open types").command.path, "work open");
  assert.is(parsed("show item list").args.id, "list");
});

test("aliases, flags given several times, switches joined, and what follows --", () => {
  assert.is(parsed("work ls").command.path, "work list");
  assert.equal(parsed("tokens create ci -g work:read -g work:comment").flags.grant, ["work:read", "work:comment"]);
  const { flags } = parsed("work delete itm_1 -yqv");
  assert.equal([flags.yes, flags.quiet, flags.verbose], [true, true, true]);
  assert.is(parsed("work open -- --odd").args.title, "--odd");
  assert.is(parsed("work note itm_1 -").args.text, "-");
  assert.equal(parsed("work check itm_1 1 3").args.line, ["1", "3"]);
  assert.equal(parsed("work check itm_1 --all").args.line, []);
});

test("help is asked for by flag, by noun, or by nothing", () => {
  assert.equal(parse(COMMANDS, []), { help: [] });
  assert.equal(help("--help"), []);
  assert.equal(help("work --help"), ["work"]);
  assert.equal(help("work types -h"), ["work", "types"]);
  assert.equal(help("work move --help"), ["work", "move"]);
  assert.equal(help("work move itm_1 --help"), ["work", "move"]);
});

test("what is mistyped is told with what was probably meant", () => {
  assert.match(refused("wrok list").fix!, "`mill work`");
  assert.match(refused("work lst").fix!, "`mill work list`");
  assert.match(refused("work opne x").fix!, "`mill work open`");
  assert.match(refused("work type list").fix!, "`mill work types`");
  assert.match(refused("list work").fix!, "`mill work list`");
  assert.match(refused("work list --sate done").fix!, "`--state`");
  assert.match(refused("--ouptut json work list").fix!, "`--output`");
  assert.match(refused("work list -o jsno").fix!, "`json`");
  assert.match(refused("completions bsh").fix!, "`bash`");
  assert.match(refused("frobnicate").fix!, "mill --help");
});

test("what is missing or too much is told by name", () => {
  assert.match(refused("work").message, "one word more");
  assert.match(refused("work move itm_1").message, "<state> is missing");
  assert.match(refused("work assign itm_1").message, "<who> is missing");
  assert.match(refused("work move itm_1 done now").message, 'there is "now"');
  assert.match(refused("whoami me").message, "takes no argument");
  assert.match(refused("work list --state").message, "needs a value");
  assert.match(refused("work delete itm_1 --yes=no").message, "takes no value");
  for (const number of ["0", "-1", "1.5", "x", "1e3", "999999999"]) {
    assert.match(refused(`work list --limit=${number}`).message, "whole number from 1 to 100000");
  }
});

test("names of the object's own machinery are no flags", () => {
  for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
    assert.match(refused(`work list --${name}`).message, "There is no flag");
  }
});

test("suggestions: near ones only, nearest first", () => {
  assert.is(distance("list", "lsit"), 1);
  assert.is(distance("", "abc"), 3);
  assert.is(distance("kitten", "sitting"), 3);
  assert.equal(suggestions("lit", ["list", "label", "light"])[0], "list");
  assert.equal(suggestions("zzz", ["list", "label"]), []);
  assert.ok(suggestions("x".repeat(10_000), ["list"]).length === 0);
});

test.run();
