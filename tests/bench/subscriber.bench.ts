/** From the commit to its WebSocket subscribers: ours (log, relay, feed, hub, filter, authorisation) and a bare consumer with `ws`. */
import { item } from "@millrace/domain/work/item.ts";
import { execute } from "@millrace/eventlog/execute.ts";
import { WebSocket } from "ws";
import { inTurn, median, percentiles, ratioOf, report } from "./measure.ts";
import { bench } from "./servers.ts";
import { startPeer, startProduct } from "./services.ts";

const EVENTS = 150;

await bench(async (b) => {
  const server = await b.nats();
  const product = await startProduct(b, server, await b.postgres());
  const log = await b.log(server, ["work"]);
  const port = await startPeer(b, "./peers/bare-hub.ts", [server.url, server.user, server.password, "EVT_WORK"]);
  const answer = await fetch(`${product.url}/v1/organisations/home`, {
    headers: { authorization: `Bearer ${product.token}` },
  });
  const { id: organisation } = (await answer.json()) as { id: string };
  // A token has 200 subscriptions at the most.
  const tokens: string[] = [];
  for (let i = 0; i < 7; i++) {
    const created = await fetch(`${product.url}/v1/organisations/home/tokens`, {
      method: "POST",
      headers: { authorization: `Bearer ${product.token}`, "content-type": "application/json" },
      body: JSON.stringify({ name: `bench-${i}`, grants: ["work:read"] }),
    });
    tokens.push(((await created.json()) as { secret: string }).secret);
  }

  let id = "";
  /** A fresh item a phase: an item takes 2000 comments, and is slower to fold the more it has. */
  const openItem = async () => {
    const made = await fetch(`${product.url}/v1/organisations/home/work-items`, {
      method: "POST",
      headers: { authorization: `Bearer ${product.token}`, "content-type": "application/json" },
      body: JSON.stringify({ type: "task", title: "measured" }),
    });
    ({ id } = (await made.json()) as { id: string });
  };

  let sent = 0;
  /** Appends one comment and says when the log had acknowledged it. */
  const commit = async (text: string) => {
    const n = ++sent;
    const comment = `cmt_${n.toString(36).padStart(26, "0")}`;
    await execute(
      log,
      { kind: item, id, command: { do: "comment", comment, text } as never },
      {
        organisation,
        actor: { kind: "token", id: "tok_bench", name: "bench" },
        commandId: `bench-${n}`,
        digest: "",
        correlation: `bench-${n}`,
        causation: `bench-${n}`,
        now: new Date().toISOString(),
      },
    ).then((outcome) => {
      if ("refusal" in outcome) throw new Error(JSON.stringify(outcome.refusal));
    });
  };

  /** Latencies in ms from just before the append to each subscriber's receipt. */
  const phase = async (subscribers: number, address: string, headersOf: (i: number) => Record<string, string>) => {
    await openItem();
    const latencies: number[] = [];
    let from = 0;
    let mark = "";
    let left = 0;
    let done = () => {};
    const sockets = await Promise.all(
      Array.from(
        { length: subscribers },
        (_, i) =>
          new Promise<WebSocket>((resolve, reject) => {
            const socket = new WebSocket(address, { headers: headersOf(i), perMessageDeflate: false });
            socket.on("error", reject);
            socket.on("open", () => setTimeout(resolve, 500, socket));
            socket.on("message", (data: Buffer) => {
              if (mark === "" || !data.includes(mark)) return;
              latencies.push(performance.now() - from);
              if (--left === 0) done();
            });
          }),
      ),
    );
    for (let n = 0; n < EVENTS; n++) {
      left = subscribers;
      mark = `mark-${sent}-of-${subscribers}-`;
      const arrived = new Promise<void>((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`${left} of ${subscribers} did not get event ${n}`)), 10_000);
        done = () => {
          clearTimeout(late);
          resolve();
        };
      });
      from = performance.now();
      await Promise.all([commit(mark), arrived]);
      await new Promise((resolve) => setTimeout(resolve, subscribers > 1 ? 40 : 10));
    }
    for (const socket of sockets) socket.terminate();
    return percentiles(latencies);
  };

  for (const subscribers of [1, 1_000]) {
    const measured = await inTurn(
      3,
      () =>
        phase(subscribers, `${product.url.replace("http", "ws")}/v1/organisations/home/events?context=work`, (i) => ({
          authorization: `Bearer ${tokens[i % tokens.length]}`,
        })),
      () => phase(subscribers, `ws://127.0.0.1:${port}`, () => ({})),
    );
    for (const figure of ["p50", "p99"] as const) {
      report({
        what: `commit to WebSocket, ${subscribers} subscriber${subscribers > 1 ? "s" : ""}, ${figure}`,
        against: "bare ordered consumer and ws",
        ratio: ratioOf(measured, (m) => m[figure]),
        reach: "≤ 3",
        ours: `${median(measured.ours.map((m) => m[figure])).toFixed(2)} ms`,
        theirs: `${median(measured.theirs.map((m) => m[figure])).toFixed(2)} ms`,
        durability: "sync always, for the log and for the feed",
      });
    }
  }
});
