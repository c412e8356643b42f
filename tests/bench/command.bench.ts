/** One command over HTTP: ours with everything a command has, against a bare server that loads, appends and answers. */
import { Agent, request } from "node:http";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { ensureStreams } from "@millrace/eventlog/streams.ts";
import { inTurn, type Measured, rateOf, rates, ratioOf, report } from "./measure.ts";
import { barePublish } from "./peers/bare-publish.ts";
import { bench } from "./servers.ts";
import { startPeer, startProduct } from "./services.ts";

const ITEMS = 320;

/** One request on a kept connection. @returns the parsed body */
function send(agent: Agent, method: string, url: string, headers: Record<string, string>, body: unknown): Promise<any> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const outgoing = request(
      url,
      {
        method,
        agent,
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text), ...headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () => {
          const answer = Buffer.concat(chunks).toString("utf8");
          if (response.statusCode! >= 300) reject(new Error(`${response.statusCode} ${answer}`));
          else resolve(JSON.parse(answer));
        });
      },
    );
    outgoing.on("error", reject);
    outgoing.end(text);
  });
}

await bench(async (b) => {
  const server = await b.nats();
  const product = await startProduct(b, server, await b.postgres());
  const nats = await connectNats({ url: server.url, user: server.user, password: server.password, name: "bench" });
  b.defer(() => nats.close());
  await ensureStreams(nats, ["bare"], {});
  const peer = `http://127.0.0.1:${await startPeer(b, "./peers/bare-http.ts", [server.url, server.user, server.password])}`;
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const auth = { authorization: `Bearer ${product.token}` };
  const items = `${product.url}/v1/organisations/home/work-items`;

  // Both start from aggregates of ten commits.
  const ids: string[] = [];
  const publish = barePublish(nats.nc);
  const body = (version: number) =>
    new TextEncoder().encode(
      JSON.stringify({
        version,
        at: new Date().toISOString(),
        events: [{ type: "Retitled", v: 1, data: { title: `title ${version}` } }],
      }),
    );
  await rateOf(32, ITEMS, async (i) => {
    const { id } = await send(agent, "POST", items, auth, { type: "task", title: `item ${i}` });
    ids[i] = id;
    for (let n = 0; n < 9; n++)
      await send(agent, "PATCH", `${items}/${id}`, { ...auth, "if-match": "*" }, { title: `item ${i} ${n}` });
    let last = 0;
    for (let n = 1; n <= 10; n++) last = await publish(`evt.bare.00.item.i${i}`, body(n), `seed-${i}-${n}`, last);
  });

  let n = 0;
  for (const [width, count, reach] of [
    [1, 1_000, "≥ 0.75"],
    [32, 4_000, "≥ 1"],
  ] as const) {
    const measured = await inTurn<Measured>(
      4,
      () =>
        rateOf(width, count, () =>
          send(
            agent,
            "PATCH",
            `${items}/${ids[++n % ITEMS]}`,
            { ...auth, "if-match": "*" },
            { title: `title number ${n}` },
          ),
        ),
      () =>
        rateOf(width, count, () => send(agent, "POST", `${peer}/i${++n % ITEMS}`, {}, { title: `title number ${n}` })),
    );
    report({
      what: `command over HTTP (authenticate, decode, load, decide, append), ${width} at once`,
      against: "bare node:http, batch get of ten commits or more, publish",
      ratio: ratioOf(measured, (m) => m.rate),
      reach,
      ours: rates(measured.ours),
      theirs: rates(measured.theirs),
      durability: "sync always",
    });
  }
  agent.destroy();
});
