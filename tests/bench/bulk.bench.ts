/**
 * A bulk operation over many devices against the same exchanges by hand: read, write, read back, as many at once. And a wish for as many,
 * which no device is asked for. BULK_DEVICES: how many (1,000).
 */
import { randomBytes } from "node:crypto";
import type { Asked } from "@millrace/contracts/devices/task-parts.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { bulk, isBulkOver } from "@millrace/domain/devices/bulk.ts";
import { Agent, request } from "undici";
import { openSite, type Site } from "../harness/devices.ts";
import { eventually } from "../harness/eventually.ts";
import { runFileCleanUps } from "../harness/suite.ts";
import { median, report } from "./measure.ts";
import { bench } from "./servers.ts";

const DEVICES = Number(process.env.BULK_DEVICES ?? 1_000);
const AT_ONCE = 50;
const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s, ${Math.round((DEVICES * 1_000) / ms)} devices/s`;

/** Milliseconds until all have succeeded. */
async function operate(site: Site, asked: Asked | object): Promise<number> {
  const id = makeId("blk", Date.now(), randomBytes(10));
  const devices = site.fleet.devices.map((handle) => site.idOf(handle));
  const spec = { asked, devices, atOnce: AT_ONCE, haltAtPercent: 0, expiresInMs: 3_600_000 };
  const began = performance.now();
  await site.execute([{ kind: bulk, id, command: { do: "request", ...spec } as never }]);
  const over = await eventually(
    async () => {
      const { state } = await site.log.aggregates.load(bulk, id);
      return isBulkOver(state) ? state : undefined;
    },
    "the bulk operation is over",
    900_000,
  );
  if (over.counts.succeeded !== DEVICES) throw new Error(JSON.stringify({ ...over.counts, of: over.failures[0] }));
  return performance.now() - began;
}

/** The same exchanges with each: what it is, what is written, what it is then. */
async function byHand(site: Site, name: string): Promise<number> {
  const dispatcher = new Agent({ connections: 1, pipelining: 1 });
  const call = async (host: string, port: number, method: string, params: object = {}) => {
    const { statusCode, body } = await request(`http://${host}:${port}/rpc`, {
      method: "POST",
      body: JSON.stringify({ id: 1, method, params }),
      dispatcher,
    });
    const { result } = (await body.json()) as { result: any };
    if (statusCode !== 200 || result === undefined) throw new Error(`${method}: ${statusCode}`);
    return result;
  };
  const began = performance.now();
  const left = [...site.fleet.devices];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let one = left.pop(); one !== undefined; one = left.pop()) {
        const { address, port } = one;
        await call(address, port, "Shelly.GetConfig");
        await call(address, port, "Sys.SetConfig", { config: { device: { name } } });
        const { sys } = await call(address, port, "Shelly.GetConfig");
        if (sys.device.name !== name) throw new Error(`${one.id} kept ${sys.device.name}`);
      }
    }),
  );
  const took = performance.now() - began;
  await dispatcher.close();
  return took;
}

await bench(async (b) => {
  b.defer(() => runFileCleanUps());
  const models = ["SNSW-001X16EU", "S3SW-001X16EU", "S4SW-001X16EU"].map((model) => ({ model }));
  const site = await openSite({ count: DEVICES, devices: models });
  await site.start();
  for (const handle of site.fleet.devices) await site.add(handle);
  for (const handle of site.fleet.devices) {
    const known = async () => (await site.device(site.idOf(handle))).identity ?? undefined;
    await eventually(known, `${handle.id} is known`, 300_000);
  }
  const wish = (name: string) => ({ kind: "configure", dryRun: false, configuration: { sys: { device: { name } } } });
  const [wished, applied, hand]: number[][] = [[], [], []];
  for (let round = 0; round < 3; round++) {
    wished!.push(await operate(site, wish(`bulk-${round}`)));
    applied!.push(await operate(site, { kind: "apply", dryRun: false }));
    hand!.push(await byHand(site, `hand-${round}`));
  }
  report({
    what: `bulk apply to ${DEVICES} devices, ${AT_ONCE} at once: tasks in the log, planned, written, read back, settled`,
    against: "the same reads and writes by hand, nothing recorded",
    ratio: median(applied!) / median(hand!),
    reach: "–",
    ours: seconds(median(applied!)),
    theirs: seconds(median(hand!)),
    durability: "sync always",
  });
  report({
    what: `a wish for ${DEVICES} devices, each in the log`,
    against: "the bulk apply of the same",
    ratio: median(wished!) / median(applied!),
    reach: "–",
    ours: seconds(median(wished!)),
    theirs: seconds(median(applied!)),
    durability: "sync always",
  });
});
