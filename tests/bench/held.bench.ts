/**
 * Many subscriptions held at one gateway: what each takes of its memory, and what they cost those who hear. A hundred hear every event; the
 * others wait for an entity to which nothing happens, as most subscribers do most of the time.
 *
 * HELD: how many in all (10 000).
 */
import { readFileSync } from "node:fs";
import { WebSocket } from "ws";
import { inTurn, median, percentiles, ratioOf, report } from "./measure.ts";
import { bench } from "./servers.ts";
import { startProduct } from "./services.ts";

const HELD = Number(process.env.HELD ?? 10_000);
const HEARING = 100;
const EVENTS = 100;
/** A token has that many subscriptions at the most. */
const OF_A_TOKEN = 200;
const AT_ONCE = 50;

await bench(async (b) => {
  const product = await startProduct(b, await b.nats(), await b.postgres());
  const under = `${product.url}/v1/organisations/home`;
  const post = async (path: string, body: object, token = product.token) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const answer = await fetch(under + path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as { id: string; secret: string };
  };
  const tokens: string[] = [];
  for (let i = 0; i * OF_A_TOKEN < HELD + HEARING; i++) {
    tokens.push((await post("/tokens", { name: `held-${i}`, grants: ["work:read"] })).secret);
  }
  const address = `${under.replace("http", "ws")}/events?context=work&heartbeatMs=60000`;
  let next = 0;
  const socket = (query: string, onMessage: (data: Buffer) => void) =>
    new Promise<WebSocket>((resolve, reject) => {
      const headers = { authorization: `Bearer ${tokens[next++ % tokens.length]}` };
      const opened = new WebSocket(address + query, { headers, perMessageDeflate: false });
      opened.on("error", reject);
      // The first frame says that it is served.
      opened.once("message", () => resolve(opened));
      opened.on("message", onMessage);
    });

  /** Kilobytes that the gateway has in memory. */
  const memory = () =>
    Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${product.pids.gateway}/status`, "utf8"))![1]);

  let mark = "";
  let heard = (_at: number) => {};
  for (let i = 0; i < HEARING; i++) {
    await socket("", (data) => {
      if (mark !== "" && data.includes(mark)) heard(performance.now());
    });
  }
  let count = 0;
  /** Milliseconds from the request until each of the hundred had it. */
  const phase = async () => {
    const latencies: number[] = [];
    for (let n = 0; n < EVENTS; n++) {
      mark = `mark-${++count}-`;
      const from = performance.now();
      let left = HEARING;
      const all = new Promise<void>((resolve) => {
        heard = (at) => {
          latencies.push(at - from);
          if (--left === 0) resolve();
        };
      });
      await Promise.all([post("/work-items", { type: "task", title: mark }), all]);
    }
    return percentiles(latencies);
  };

  await phase();
  const held: WebSocket[] = [];
  const settle = () => new Promise((resolve) => setTimeout(resolve, 3_000));
  const grown: number[] = [];
  const hold = async () => {
    const before = memory();
    const never = `&id=itm_${"0".repeat(26)}`;
    while (held.length < HELD - HEARING) {
      const batch = Math.min(AT_ONCE, HELD - HEARING - held.length);
      held.push(...(await Promise.all(Array.from({ length: batch }, () => socket(never, () => {})))));
    }
    await settle();
    grown.push((memory() - before) / held.length);
  };
  const release = async () => {
    const closed = held.map((one) => new Promise((resolve) => one.once("close", resolve)));
    for (const one of held.splice(0)) one.terminate();
    await Promise.all(closed);
    await settle();
  };
  const measured = await inTurn(
    2,
    async () => {
      await hold();
      return phase();
    },
    async () => {
      await release();
      return phase();
    },
  );
  for (const figure of ["p50", "p99"] as const) {
    report({
      what: `request to ${HEARING} WebSocket subscribers while ${HELD} are held, ${figure}`,
      against: `${HEARING} alone`,
      ratio: ratioOf(measured, (m) => m[figure]),
      reach: "≤ 2",
      ours: `${median(measured.ours.map((m) => m[figure])).toFixed(2)} ms`,
      theirs: `${median(measured.theirs.map((m) => m[figure])).toFixed(2)} ms`,
      durability: `sync always; ${grown[0]!.toFixed(1)} kB of the gateway's memory for each that is held, when they come first`,
    });
  }
});
