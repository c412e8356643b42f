/** Workers for minutes: killed, frozen, with the server killed beside, on one server and on three. */
import * as assert from "uvu/assert";
import { type MarchResult, runMarches } from "../faults/marches.ts";
import { sleep } from "../harness/marching.ts";
import { startOwnNats, testFolder, threeServers } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("workers, for long", { timeoutMs: 900_000 });

const marches = 1_000;

function assertExact(result: MarchResult): void {
  const { wrong, ...figures } = result;
  console.log(JSON.stringify(figures));
  assert.equal(wrong, []);
  assert.is(figures.finished, marches);
  assert.ok(figures.kills >= 10 && figures.freezes >= 5, JSON.stringify(figures));
}

test("one server, and it is killed now and then", async () => {
  const server = await startOwnNats();
  const result = await runMarches({
    nats: { url: server.url, user: server.user, password: server.password, name: "marching" },
    world: testFolder("march"),
    workers: 4,
    marches,
    everyMs: [400, 1_500],
    pauseMs: 250,
    sweepEveryMs: 10_000,
    deadlineMs: 600_000,
    beside: async (over) => {
      for (let running = server; !over(); ) {
        await sleep(15_000 + Math.random() * 10_000);
        if (over()) return;
        await running.kill();
        await sleep(Math.random() * 3_000);
        running = await running.restart();
      }
    },
  });
  assertExact(result);
});

test("three servers, one after the other killed", async () => {
  const { urls, user, pass: password, cluster } = await threeServers();
  const result = await runMarches({
    nats: { url: urls.join(","), user, password, name: "marching", replicas: 3 },
    world: testFolder("march"),
    workers: 4,
    marches,
    everyMs: [400, 1_500],
    pauseMs: 250,
    sweepEveryMs: 10_000,
    deadlineMs: 600_000,
    beside: async (over) => {
      for (let n = 0; !over(); n++) {
        await sleep(20_000 + Math.random() * 10_000);
        if (over()) return;
        await cluster.servers[n % 3]!.kill();
        await sleep(3_000);
        await cluster.restart(n % 3);
      }
    },
  });
  assertExact(result);
});

test.run();
