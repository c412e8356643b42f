/** Streams on a disk on which not all of them have the room that they would have otherwise. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import * as assert from "uvu/assert";
import { startOwnNats } from "../tests/harness/servers.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { connectNats, type Nats } from "./connection.ts";
import { ensureDeliveries } from "./deliveries.ts";
import { ensureLogs } from "./logs-stream.ts";
import { ensureTelemetry } from "./series.ts";
import { ensureStreams } from "./streams.ts";

const test = suite("small disks", { timeoutMs: 60_000 });
const GIB = 1024 ** 3;

async function disk(storeBytes: number, defer: TestContext["defer"], connections = 1): Promise<[Nats, ...Nats[]]> {
  const { url, user, password } = await startOwnNats({ storeBytes });
  const opened: Nats[] = [];
  for (let i = 0; i < connections; i++) opened.push(await connectNats({ url, user, password, name: "small" }));
  defer(() => Promise.all(opened.map((nats) => nats.close())));
  return opened as [Nats, ...Nats[]];
}

for (const bytes of [60 * GIB, 47 * GIB, 12 * GIB, GIB]) {
  test(`${bytes / GIB} GiB: every stream finds a place, whichever comes first, however many add them at once`, async ({
    defer,
  }) => {
    const opened = await disk(bytes, defer, 6);
    const contexts = Object.keys(CONTEXTS);
    await Promise.all(
      opened.map(async (nats, i) => {
        await ensureStreams(nats, [...contexts.slice(i), ...contexts.slice(0, i)], {});
        await ensureLogs(nats, {});
        await ensureTelemetry(nats);
        await ensureDeliveries(nats);
      }),
    );
    const [nats] = opened;
    for await (const { config } of nats.jsm.streams.list()) assert.ok(config.max_bytes !== 0, config.name);
  });
}

test("processes die while it is their turn to add streams, one after the other: the next one goes on from there at once", async ({
  defer,
}) => {
  const { url, user, password } = await startOwnNats({ storeBytes: 1_024 * GIB });
  const program = fileURLToPath(new URL("./fixtures/streams-process.ts", import.meta.url));
  const add = async (dieAt?: string) => {
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      ...{ MILLRACE_TEST_NATS_URL: url, MILLRACE_TEST_NATS_USER: user, MILLRACE_TEST_NATS_PASSWORD: password },
      ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }),
    };
    const child = spawn(process.execPath, [program], { env, stdio: ["ignore", "inherit", "inherit"] });
    defer(() => child.kill("SIGKILL"));
    const [code, signal] = await once(child, "exit");
    return signal ?? code;
  };
  // A log and its feed in turn: the last one dies while a feed has more than it is to have.
  for (const place of ["before:2", "made:2", "after:2", "made"])
    assert.is(await add(`streams.add.${place}`), "SIGKILL", place);
  const nats = await connectNats({ url, user, password, name: "small" });
  defer(() => nats.close());
  // Who died is seen to be dead: nobody waits until what it held is over.
  const about = async () => (await nats.jsm.streams.getMessage("KV_LEASES", { last_by_subj: "$KV.LEASES.>" }))?.data;
  assert.match(new TextDecoder().decode(await about()), /adding streams/);
  assert.is(await add(), 0);
  const names = Object.keys(CONTEXTS).flatMap((context) => [`EVT_${context}`, `FEED_${context}`]);
  const sizes = new Set<string>();
  for (const name of names) {
    const { config } = await nats.jsm.streams.info(name.toUpperCase());
    sizes.add(`${name.slice(0, name.indexOf("_"))} ${config.max_bytes}`);
  }
  assert.is(sizes.size, 2, `what was begun is as large as the others: ${[...sizes]}`);
});

test("one that came first and took all of it gives of what it has not used", async ({ defer }) => {
  const [nats] = await disk(12 * GIB, defer);
  await nats.jsm.streams.add({ name: "FEED_OLD", subjects: ["old.>"], max_bytes: 12 * GIB });
  await ensureDeliveries(nats);
  assert.is((await nats.jsm.streams.info("FEED_OLD")).config.max_bytes, 6 * GIB);
});

test("a disk that something else has filled since the last start: what was set aside still fits, and new streams find a place", async ({
  defer,
}) => {
  const before = await startOwnNats({ storeBytes: 1024 * 1024 * GIB });
  const first = await connectNats({ ...before, name: "before" });
  // More than any disk that a test has.
  await first.jsm.streams.add({ name: "FEED_OLD", subjects: ["old.>"], max_bytes: 1024 * 1024 * GIB });
  await first.close();
  await before.stop();
  const after = await startOwnNats({ dataDir: dirname(before.logFile) });
  const nats = await connectNats({ ...after, name: "after" });
  defer(() => nats.close());
  await ensureStreams(nats, Object.keys(CONTEXTS), {});
  assert.is((await nats.jsm.streams.info("FEED_OLD")).config.max_bytes < 1024 * 1024 * GIB, true);
});

test.run();
