import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { REMEMBER_MS, RememberedCommands } from "./remembered.ts";

const test = suite("remembered commands");
const at = (time: number) => ({ digest: "d", seq: time, version: time, time });

test("a command that can be repeated is known for a day, one that cannot for the next 64", () => {
  const commands = new RememberedCommands();
  commands.add("key_a", at(0));
  commands.add("cmd_a", at(1));
  for (let i = 0; i < 63; i++) commands.add(`cmd_${i}`, at(2));
  assert.is(commands.get("cmd_a")!.seq, 1);
  commands.add("cmd_last", at(3));
  assert.is(commands.get("cmd_a"), undefined);
  assert.is(commands.get("key_a")!.seq, 0);
  commands.add("key_b", at(REMEMBER_MS - 1));
  assert.ok(commands.get("key_a"));
  commands.add("key_c", at(REMEMBER_MS));
  assert.is(commands.get("key_a"), undefined);
  assert.ok(commands.get("key_b"));
});

test("no more than ten thousand that can be repeated", () => {
  const commands = new RememberedCommands();
  for (let i = 0; i < 10_500; i++) commands.add(`key_${i}`, at(i));
  assert.is(commands.size, 10_000);
  assert.is(commands.get("key_499"), undefined);
  assert.ok(commands.get("key_500"));
});

test("written down and read back it knows the same", () => {
  const commands = new RememberedCommands();
  commands.add("key_a", at(1));
  commands.add("cmd_a", at(2));
  const again = new RememberedCommands(JSON.parse(JSON.stringify([...commands])));
  assert.equal([again.get("key_a"), again.get("cmd_a")], [at(1), at(2)]);
});

test.run();
