/** `mill up` from its first start to its end, however it ends: nothing is left running, no port held, nothing lost. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isPortFree } from "@millrace/local/ports.ts";
import { isAlive, waitFor } from "@millrace/local/process.ts";
import * as assert from "uvu/assert";
import { leftOn, type Mill, testMill } from "./harness/mill.ts";
import { suite } from "./harness/suite.ts";

const test = suite("mill up", { timeoutMs: 240_000 });

const ANY_PORT = ["--port", "0"];
const IN_ONE = [...ANY_PORT, "--processes", "one"];

const portsOf = (mill: Mill): number[] => mill.services().flatMap(({ ports }) => Object.values(ports));
const pidsOf = (mill: Mill): number[] => mill.services().flatMap(({ pid }) => (pid === undefined ? [] : [pid]));

async function freed(ports: readonly number[]): Promise<boolean> {
  return waitFor(async () => (await Promise.all(ports.map((port) => isPortFree(port)))).every(Boolean), 30_000);
}

test("the first start alone shows the token; kill -9: no orphan, no port held, the next start is clean and knows everything; Ctrl-C stops all in order", async ({
  defer,
}) => {
  const mill = testMill({ defer });
  const first = await mill.up();
  const token = readFileSync(join(mill.data, "secrets", "owner.token"), "utf8").trim();
  assert.match(first.out(), token);
  const said = first.out().match(/^ {2}\S*mill .*$/gm)!;
  assert.is(said.length, 3, "three commands to try");
  assert.match(said[0]!, / tour$/);
  const second = await mill.run(["up", "--port", "0"]);
  assert.is(second.code, 5, "two on one folder");
  assert.match(second.err, "mill down");

  const opened = [(await mill.out(["work", "open", "Before it dies", "-o", "name"])).trim()];
  const [ports, pids] = [portsOf(mill), pidsOf(mill)];
  assert.is(pids.length, 8, "NATS, PostgreSQL, Caddy, projector, orchestrator, publisher, device agent, gateway");
  assert.ok(ports.length >= 4, `${ports}`);
  // One is still being written when it dies.
  const late = mill.start(["work", "open", "While it dies", "-o", "name", "--timeout", "2"]);
  first.child.kill("SIGKILL");
  await first.ended;
  const acknowledged = await late.ended;
  if (acknowledged.code === 0) opened.push(acknowledged.out.trim());
  assert.ok(await waitFor(() => pids.every((pid) => !isAlive(pid)), 30_000), `alive: ${pids.filter(isAlive)}`);
  assert.equal(await leftOn(mill.data, 10_000), []);
  assert.ok(await freed(ports), `held: ${ports}`);
  assert.is((await mill.run(["status"])).code, 1);

  const up = await mill.up(IN_ONE);
  assert.not.match(up.out(), token, "it is shown once");
  // One by one they come from the log and are there at once; the list follows when the new projector has taken over from the
  // one that was killed.
  for (const id of opened) assert.is((await mill.run(["work", "show", id])).code, 0, id);
  const listed = async () => {
    const ids = (await mill.out(["work", "list", "-o", "name"])).trim().split("\n");
    return opened.every((id) => ids.includes(id));
  };
  assert.ok(await waitFor(listed, 60_000), "all are listed again");
  assert.is((await mill.run(["status"])).code, 0);
  const [portsNow, pidsNow] = [portsOf(mill), pidsOf(mill)];
  up.child.kill("SIGINT");
  assert.is((await up.ended).code, 0);
  assert.equal(pidsNow.filter(isAlive), []);
  assert.ok(await freed(portsNow));
  assert.is((await mill.run(["status"])).code, 1);
});

test("two installations beside each other: another folder, another port, a context each; `mill down` stops one", async ({
  defer,
}) => {
  const mill = testMill({ defer });
  const first = await mill.up(IN_ONE);
  const data = join(mill.data, "..", "second");
  const second = await mill.up([...IN_ONE, "--data", data]);
  const contexts = JSON.parse(await mill.out(["context", "list", "-o", "json"])) as { name: string; data: string }[];
  assert.equal(
    contexts.map(({ name, data: folder }) => [name, folder]),
    [
      ["local", mill.data],
      ["second", data],
    ],
  );
  await mill.out(["work", "open", "In the second", "--context", "second"]);
  assert.is(await mill.out(["work", "list", "-o", "name"]), "");
  assert.match(await mill.out(["work", "list", "-o", "name", "--context", "second"]), "itm_");
  second.child.kill("SIGTERM");
  assert.is((await second.ended).code, 0);
  assert.is((await mill.run(["status"])).code, 0, "the other one goes on");
  const { code, err } = await mill.run(["down"]);
  assert.is(code, 0, err);
  assert.is((await first.ended).code, 0);
  assert.is((await mill.run(["down"])).code, 0, "nothing runs: nothing to do");
});

test.run();
