import { createServer } from "node:net";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { freePort, isPortFree } from "./ports.ts";

const test = suite("ports");

test("a free port is free, and below the kernel's own", async () => {
  const port = await freePort();
  assert.ok(port < 32_768 && (await isPortFree(port)));
  assert.is(await freePort(port), port);
});

test("a taken one is not given again", async ({ defer }) => {
  const port = await freePort();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  defer(() => server.close());
  assert.not.ok(await isPortFree(port));
  assert.is.not(await freePort(port), port);
});

test.run();
