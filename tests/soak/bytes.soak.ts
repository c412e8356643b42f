/**
 * Two GiB up through a gateway to the node's disk, cut off on the way by a kill of the gateway and gone on with, and down again: whole,
 * with a memory that does not grow by what passes. Takes some minutes; needs 5 GiB of disk. `SOAK_MIB` for less.
 */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { ask, eventually, forkGateway, testGateway } from "../harness/gateway.ts";
import { openGrounds } from "../harness/orchestrator.ts";
import { suite } from "../harness/suite.ts";

const test = suite("two gibibytes", { timeoutMs: 60 * 60_000 });
const MIB = 1024 * 1024;
const SIZE = Number(process.env.SOAK_MIB ?? 2_048) * MIB;
/** What buffers, sockets and a collector that waits may take. */
const FLAT_MIB = 160;
const TUS = { "tus-resumable": "1.0.0" };

const masterKey = randomBytes(32).toString("base64");
const grounds = await openGrounds({
  caddy: false,
  env: { MILLRACE_MASTER_KEY: masterKey, MILLRACE_LEASE_SECONDS: "10" },
});
const {
  MILLRACE_NATS_URL: natsUrl,
  MILLRACE_NATS_USER: natsUser,
  MILLRACE_NATS_PASSWORD: natsPassword,
} = grounds.environment;
const first = await testGateway({ natsUrl: natsUrl!, natsUser, natsPassword, masterKey });
const uploads = "/v1/organisations/home/uploads";
const auth = { authorization: `Bearer ${first.owner}`, ...TUS };

/** Content by its place alone, so that nobody has to hold it. */
const PART = randomBytes(MIB);
function partAt(index: number): Buffer {
  const part = Buffer.from(PART);
  part.writeUInt32LE(index, 0);
  return part;
}

/** Resident memory in MiB, and the highest of it that `during` saw. */
async function highest<T>(pids: Readonly<Record<string, number>>, during: Promise<T>): Promise<Record<string, number>> {
  const resident = (pid: number) =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;
  const start = Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, resident(pid)]));
  const grown: Record<string, number> = Object.fromEntries(Object.keys(pids).map((name) => [name, 0]));
  let over = false;
  void during
    .catch(() => {})
    .finally(() => {
      over = true;
    });
  while (!over) {
    for (const [name, pid] of Object.entries(pids)) {
      grown[name] = Math.max(grown[name]!, Math.round(resident(pid) - start[name]!));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return grown;
}

/** Sends from an offset on. @param stopAt ends it there, without an end */
async function send(url: string, id: string, offset: number, stopAt?: () => Promise<unknown>): Promise<number> {
  const sending = request(`${url}${uploads}/${id}`, {
    method: "PATCH",
    agent: false,
    headers: {
      ...auth,
      "content-type": "application/offset+octet-stream",
      "upload-offset": offset,
      "content-length": SIZE - offset,
    },
  });
  const answered = once(sending, "response").catch(() => undefined);
  let broken = false;
  let wake = () => {};
  const end = () => {
    broken = true;
    wake();
  };
  sending
    .on("error", end)
    .on("close", end)
    .on("drain", () => wake());
  let at = offset;
  while (at < SIZE && !broken) {
    if (stopAt !== undefined && at >= SIZE / 3) break;
    const part = partAt(Math.floor(at / MIB)).subarray(at % MIB);
    at += part.length;
    const taken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    if (!sending.write(part)) await taken;
  }
  if (stopAt !== undefined) {
    await stopAt();
    sending.destroy();
    return 0;
  }
  sending.end();
  const [answer] = ((await answered) ?? []) as IncomingMessage[];
  answer?.resume();
  return answer?.statusCode ?? 0;
}

test("up, cut off in the middle, on through another gateway, and down: whole, and memory is flat", async () => {
  const holder = await grounds.start();
  await holder.ready();
  const made = await eventually(
    async () => {
      const answer = await ask(first.url, "POST", uploads, {
        token: first.owner,
        headers: { ...TUS, "upload-length": `${SIZE}` },
      });
      return answer.status === 201 ? answer : undefined;
    },
    "an upload",
    60_000,
  );
  const { id } = made.body as { id: string };
  const one = await forkGateway(first.config);
  const other = await forkGateway(first.config);
  const report = (what: string, seconds: number, mib: number, grown: Record<string, number>) => {
    const by = Object.entries(grown).map(([name, more]) => `${name} ${more} MiB`);
    console.log(
      `${what}: ${mib} MiB in ${seconds.toFixed(1)} s, ${(mib / seconds).toFixed(0)} MiB/s; grew by at the most ${by.join(", ")}`,
    );
    for (const [name, more] of Object.entries(grown)) {
      if (more > FLAT_MIB) throw new Error(`${name} grew by ${more} MiB while ${mib} MiB passed`);
    }
  };
  const timed = async <T>(
    what: string,
    mib: (result: T) => number,
    pids: Record<string, number>,
    work: () => Promise<T>,
  ) => {
    const began = performance.now();
    const running = work();
    const grown = await highest(pids, running);
    const result = await running;
    report(what, (performance.now() - began) / 1_000, mib(result), grown);
    return result;
  };
  await timed(
    "a third up, and the gateway killed",
    () => Math.round(SIZE / 3 / MIB),
    { holder: holder.pid },
    () =>
      send(one.url, id, 0, async () => {
        one.child.kill("SIGKILL");
        await once(one.child, "exit");
      }),
  );
  const offset = await eventually(async () => {
    const answer = await ask(first.url, "HEAD", `${uploads}/${id}`, { token: first.owner, headers: TUS });
    return Number(answer.headers.get("upload-offset")) || undefined;
  }, "an offset");
  const pids = { gateway: other.child.pid!, holder: holder.pid };
  const rest = Math.round((SIZE - offset) / MIB);
  const status = await timed(
    "the rest up",
    () => rest,
    pids,
    () => send(other.url, id, offset),
  );
  if (status !== 204) throw new Error(`the rest was answered ${status}`);
  const hash = createHash("sha256");
  for (let i = 0; i * MIB < SIZE; i++) hash.update(partAt(i));
  const sha256 = hash.digest("hex");
  const { body } = await ask(first.url, "GET", `${uploads}/${id}`, { token: first.owner });
  if (body.status.sha256 !== sha256) throw new Error(`it is ${body.status.sha256}, not ${sha256}`);
  const down = await timed(
    "down",
    () => SIZE / MIB,
    pids,
    async () => {
      const asking = request(`${other.url}${uploads}/${id}/content`, { agent: false, headers: auth });
      asking.end();
      const [answer] = (await once(asking, "response")) as [IncomingMessage];
      const came = createHash("sha256");
      for await (const chunk of answer) came.update(chunk as Buffer);
      if (!answer.complete) throw new Error("it was cut off");
      return came.digest("hex");
    },
  );
  if (down !== sha256) throw new Error(`it came as ${down}, not ${sha256}`);
});

test.run();
