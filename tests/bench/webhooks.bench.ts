/** Webhooks a second to one receiver: ours (feed, order for each entity, signature, record, log of deliveries) and bare undici. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { item } from "@millrace/domain/work/item.ts";
import { type CommandContext, execute } from "@millrace/eventlog/execute.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";
import { bench } from "./servers.ts";
import { startPeer, startProduct } from "./services.ts";

const ITEMS = 200;
const EACH = 20;
const EVENTS = ITEMS * EACH;
const BODY_BYTES = 700;

await bench(async (b) => {
  process.env.MILLRACE_WEBHOOK_ALLOW = "127.0.0.0/8";
  const server = await b.nats();
  const product = await startProduct(b, server, await b.postgres());
  const log = await b.log(server, ["work"]);
  const sink = `http://127.0.0.1:${await startPeer(b, "./peers/http-sink.ts", [])}`;
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${product.url}/v1/organisations/home${path}`, {
      method,
      headers: { authorization: `Bearer ${product.token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()) as { id: string };
  };
  const { id: organisation } = await ask("GET", "");
  const ids = await Promise.all(
    Array.from(
      { length: ITEMS },
      async () => (await ask("POST", "/work-items", { type: "task", title: "measured" })).id,
    ),
  );
  await ask("POST", "/webhooks", { name: "bench", url: sink, events: { context: ["work"], type: ["ItemCommented"] } });
  let sent = 0;
  const contextOf = (n: number): CommandContext => ({
    organisation,
    actor: { kind: "token", id: "tok_bench", name: "bench" },
    commandId: `bench-${n}`,
    digest: "",
    correlation: `bench-${n}`,
    causation: `bench-${n}`,
    now: new Date().toISOString(),
  });
  const comment = async (id: string) => {
    const n = ++sent;
    const command = { do: "comment", comment: `cmt_${n.toString(36).padStart(26, "0")}`, text: "x".repeat(200) };
    const outcome = await execute(log, { kind: item, id, command: command as never }, contextOf(n));
    if ("refusal" in outcome) throw new Error(JSON.stringify(outcome.refusal));
  };
  for (let i = 0; i < EACH; i++) await Promise.all(ids.map(comment));

  /** What the sink had from its first to its last, a second. */
  const rate = async (begin?: () => Promise<unknown>) => {
    if (begin !== undefined) await fetch(sink, { method: "DELETE" });
    await begin?.();
    for (const deadline = Date.now() + 120_000; ; ) {
      const { count, ms } = (await (await fetch(sink)).json()) as { count: number; ms: number };
      if (count >= EVENTS) return { rate: (count / ms) * 1_000 };
      if (Date.now() > deadline) throw new Error(`${count} of ${EVENTS} came`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  await rate(); // What is sent as it happens.
  const peer = fileURLToPath(new URL("./peers/bare-undici.ts", import.meta.url));
  const measured = await inTurn(
    3,
    () => rate(() => ask("POST", "/webhooks/bench/replay", {})),
    () => rate(() => promisify(execFile)(process.execPath, [peer, sink, String(EVENTS), String(BODY_BYTES)])),
  );
  const shown = (all: ReadonlyArray<{ rate: number }>) => `${Math.round(median(all.map((one) => one.rate)))}/s`;
  report({
    what: `webhooks to one receiver, ${EVENTS} events of ${ITEMS} entities`,
    against: "bare undici, sixteen at once",
    ratio: ratioOf(measured, (one) => one.rate),
    reach: "≥ 0.6",
    ours: shown(measured.ours),
    theirs: shown(measured.theirs),
    durability: "sync always; at least once",
  });
});
