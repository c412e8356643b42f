/** Bytes up and down through the gateway to the node's disk, against bare node:http streaming to a file. MiB/s of one stream. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inTurn, median, ratioOf, report } from "./measure.ts";
import { bench } from "./servers.ts";
import { startOrchestratorOf, startPeer, startProduct } from "./services.ts";

const MIB = 1024 * 1024;
/** `BENCH_MIB=64` for a quick look on a machine that is busy. */
const SIZE = Number(process.env.BENCH_MIB ?? 256) * MIB;
const PART = randomBytes(MIB);

/** Sends `SIZE` bytes. @returns seconds until the answer */
async function send(method: string, url: string, headers: Record<string, string | number>): Promise<number> {
  const began = performance.now();
  const sending = request(url, { method, agent: false, headers: { ...headers, "content-length": SIZE } });
  const answered = once(sending, "response");
  for (let sent = 0; sent < SIZE; sent += PART.length) if (!sending.write(PART)) await once(sending, "drain");
  sending.end();
  const [answer] = await answered;
  answer.resume();
  if (answer.statusCode !== 204) throw new Error(`${method} ${url}: ${answer.statusCode}`);
  return (performance.now() - began) / 1_000;
}

/** Reads all of it. @returns seconds */
async function receive(url: string, headers: Record<string, string>): Promise<number> {
  const began = performance.now();
  const asking = request(url, { agent: false, headers });
  asking.end();
  const [answer] = await once(asking, "response");
  let size = 0;
  answer.on("data", (chunk: Buffer) => {
    size += chunk.length;
  });
  await once(answer, "end");
  if (size !== SIZE) throw new Error(`${size} bytes came, of ${SIZE}`);
  return (performance.now() - began) / 1_000;
}

const highest = (pid: number): number =>
  Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;

await bench(async (b) => {
  const server = await b.nats();
  const folder = mkdtempSync(join(tmpdir(), "millrace-bytes-"));
  b.defer(async () => rmSync(folder, { recursive: true, force: true }));
  const product = await startProduct(b, server, await b.postgres());
  const holder = await startOrchestratorOf(b, product, folder);
  const peer = `http://127.0.0.1:${await startPeer(b, "./peers/bare-bytes.ts", [folder])}/`;
  const hopping = `http://127.0.0.1:${await startPeer(b, "./peers/bare-bytes-hop.ts", [folder])}/`;
  const auth = { authorization: `Bearer ${product.token}`, "tus-resumable": "1.0.0" };
  const uploads = `${product.url}/v1/organisations/home/uploads`;
  const make = async (): Promise<string> => {
    for (let tries = 0; ; tries++) {
      const made = await fetch(uploads, { method: "POST", headers: { ...auth, "upload-length": `${SIZE}` } });
      if (made.status === 201) return ((await made.json()) as { id: string }).id;
      if (tries > 600) throw new Error(`no upload can be made: ${made.status} ${await made.text()}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  let last = await make();
  const before = { gateway: highest(product.pids.gateway!), holder: highest(holder) };
  const mibs = (seconds: number) => SIZE / MIB / seconds;
  const shown = (all: ReadonlyArray<number>) => `${Math.round(median(all.map(mibs)))} MiB/s`;
  const piece = { ...auth, "content-type": "application/offset+octet-stream", "upload-offset": 0 };
  const ours = async () => {
    last = await make();
    return send("PATCH", `${uploads}/${last}`, piece);
  };
  const compare = async (
    what: string,
    against: string,
    durability: string,
    us: () => Promise<number>,
    them: () => Promise<number>,
  ) => {
    const measured = await inTurn<number>(4, us, them);
    report({
      ...{ what, against, durability },
      ratio: ratioOf(measured, mibs),
      reach: "≥ 0.8",
      ours: shown(measured.ours),
      theirs: shown(measured.theirs),
    });
  };
  const [upwards, downwards] = [
    `upload of ${SIZE / MIB} MiB: authorised, sent on by the gateway, hashed, synced, told the log`,
    `download of ${SIZE / MIB} MiB through the gateway`,
  ];
  const synced = "synced before the answer";
  await compare(upwards, "bare node:http to a file, synced", synced, ours, () => send("PUT", peer, {}));
  await compare(upwards, "bare node:http in two processes: sent on, hashed, synced", synced, ours, () =>
    send("PUT", hopping, {}),
  );
  const cached = "from the page cache";
  const read = () => receive(`${uploads}/${last}/content`, auth);
  await compare(downwards, "bare node:http from a file", cached, read, () => receive(peer, {}));
  await compare(downwards, "bare node:http in two processes: sent on", cached, read, () => receive(hopping, {}));
  const grown = Math.max(highest(product.pids.gateway!) - before.gateway, highest(holder) - before.holder);
  console.log(
    `memory of gateway and holder grew by ${Math.round(grown)} MiB at the most, for ${(20 * SIZE) / MIB} MiB that passed`,
  );
});
