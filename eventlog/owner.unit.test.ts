/** Whether another process is surely dead: never said of one that may live. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { surelyDead, thisOwner } from "./owner.ts";

const test = suite("owner");

test("this process lives; each owner is another", () => {
  const one = thisOwner();
  assert.not.ok(surelyDead(one));
  assert.is.not(one.name, thisOwner().name);
  assert.match(one.name, new RegExp(`^[^:]+:${process.pid}:`));
});

test("a process that has ended is dead; one elsewhere, or of an unknown place, is not known to be", async ({
  skip,
}) => {
  if (thisOwner().place === "") skip("this system has no /proc");
  const child = spawn(process.execPath, ["-e", ""]);
  await once(child, "exit");
  const owner = { ...thisOwner(), pid: child.pid! };
  assert.ok(surelyDead(owner));
  assert.not.ok(surelyDead({ ...owner, place: "another boot" }));
  assert.not.ok(surelyDead({ ...owner, place: "" }));
  assert.not.ok(surelyDead({ ...owner, place: "" }, ""));
});

test("a pid that is used again is not its former holder; a frozen process lives", async ({ skip, defer }) => {
  if (thisOwner().place === "") skip("this system has no /proc");
  assert.ok(surelyDead({ ...thisOwner(), began: "1" }), "another process has this pid now");
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  defer(() => child.kill("SIGKILL"));
  child.kill("SIGSTOP");
  assert.not.ok(surelyDead({ ...thisOwner(), pid: child.pid!, began: "" }));
});

test.run();
