/** A thousand webhooks, ten of them bad: slow, dead, lying, redirecting, without an end. The rest is not held up by them. */
import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { callerOf, eventually, testGateway, testProjector } from "../harness/gateway.ts";
import { startReceiver } from "../harness/receiver.ts";
import { deferToEndOfFile, suite } from "../harness/suite.ts";

const test = suite("a thousand webhooks", { timeoutMs: 900_000 });

const HOOKS = 1_000;
const BAD = 10;
const EVENTS = 20;

test("ten bad receivers do not hold up the rest", async () => {
  const { url, owner, config } = await testGateway({ webhookAllow: "127.0.0.0/8" });
  await testProjector(config);
  const { expect } = callerOf({ url, owner });
  const receiver = await startReceiver();
  // Takes connections, and never says anything.
  const silent = createServer((socket) => void socket.on("error", () => {}));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  deferToEndOfFile(() => silent.close());
  const silentUrl = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  let areBad = false;
  receiver.answer(({ path }, response) => {
    const bad = areBad && path.startsWith("/bad-") ? Number(path.slice(5)) % 5 : -1;
    if (bad === 0) return void setTimeout(() => response.writeHead(204).end(), 15_000);
    if (bad === 1) return void response.socket?.end("220 not HTTP\r\n");
    if (bad === 2) return void response.writeHead(302, { location: "http://169.254.169.254/" }).end();
    if (bad === 3) {
      response.writeHead(200);
      const more = setInterval(() => response.write("x".repeat(1_000)), 10);
      response.on("close", () => clearInterval(more));
      return undefined;
    }
    return bad === 4 ? 503 : 204;
  });
  const names = Array.from({ length: HOOKS }, (_, i) => (i < BAD ? `bad-${i}` : `good-${i}`));
  for (let i = 0; i < HOOKS; i += 20) {
    await Promise.all(
      names.slice(i, i + 20).map((name) =>
        expect(201, "POST", "/webhooks", {
          body: {
            name,
            url: name === "bad-9" ? silentUrl : `${receiver.url}/${name}`,
            events: { context: ["work"], type: ["ItemOpened"] },
          },
        }),
      ),
    );
  }
  /** Milliseconds from each event to its arrival at the last good receiver. */
  const round = async (word: string) => {
    const lateness: number[] = [];
    for (let n = 0; n < EVENTS; n++) {
      const title = `${word} ${n}`;
      const from = receiver.received.length;
      const began = performance.now();
      await expect(201, "POST", "/work-items", { body: { type: "task", title } });
      await eventually(
        async () => {
          const good = receiver.received
            .slice(from)
            .filter((one) => one.path.startsWith("/good-") && one.body.data.title === title);
          return good.length >= HOOKS - BAD || undefined;
        },
        `${title} at all of the good`,
        60_000,
      );
      lateness.push(performance.now() - began);
    }
    return lateness.toSorted((a, b) => a - b)[EVENTS >> 1]!;
  };
  const before = await round("all good");
  areBad = true;
  const after = await round("ten bad");
  console.log(JSON.stringify({ before: Math.round(before), after: Math.round(after), ratio: after / before }));
  // One that waited for a bad one would be seconds late.
  assert.ok(after < before * 3 + 500, `${after} ms with ten bad, ${before} ms without`);
});

test.run();
