/**
 * A push by flat-manager's API, as its newer client does it (what is missing asked, objects sent, asked again, a reference each), through
 * the gateway to the publisher, against the bare upload of the same bytes by the same client: to one process of bare node:http, and to two,
 * the first of which sends on. And again with nothing new, against `ostree pull-local` with nothing new.
 * `BENCH_REFS` references (20) of 200 files each.
 */

import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { walk } from "@millrace/publisher/adapters/ostree/closure.ts";
import { objectPath } from "@millrace/publisher/adapters/ostree/names.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";
import { seconds, startPublishing } from "./publishing.ts";
import { bench } from "./servers.ts";
import { startPeer } from "./services.ts";
import { fillObjects } from "./trees.ts";

const REFS = Number(process.env.BENCH_REFS ?? 20);
const FILES = 200;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 2);
/** As the client gathers them. */
const BATCH = 4 * 1024 * 1024;

const shown = (all: ReadonlyArray<number>): string => `${median(all).toFixed(2)} s`;

/** The bare client: it finds out what there is as the other does, and sends it in requests of the same size, one after the other. */
async function bareUpload(port: number, from: Repository, refs: ReadonlyMap<string, string>): Promise<void> {
  const { objects } = await walk(
    from,
    [...refs.values()].map((commit) => `${commit}.commit`),
  );
  let files: { path: string; content: Buffer }[] = [];
  let size = 0;
  const flush = async () => {
    if (files.length > 0) await sendBare(port, files);
    [files, size] = [[], 0];
  };
  for (const name of objects) {
    const content = readFileSync(from.path(name));
    if (size + content.length > BATCH) await flush();
    files.push({ path: objectPath(name), content });
    size += content.length;
  }
  await flush();
}

async function sendBare(port: number, files: ReadonlyArray<{ path: string; content: Buffer }>): Promise<void> {
  const list = Buffer.from(JSON.stringify(files.map(({ path, content }) => [path, content.length])));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(list.length);
  const body = Buffer.concat([length, list, ...files.map(({ content }) => content)]);
  const headers = { "content-length": body.length };
  const asked = request({ host: "127.0.0.1", port, method: "POST", agent: false, headers });
  asked.end(body);
  const [answer] = await once(asked, "response");
  answer.resume();
  await once(answer, "end");
  if (answer.statusCode !== 200) throw new Error(`answered ${answer.statusCode}`);
}

await bench(async (b) => {
  const publishing = await startPublishing(b);
  if (publishing === undefined) return;
  const { tools, client } = publishing;
  const tree = join(b.folder, "tree");
  const dev = await fillObjects(tools, join(b.folder, "dev"), { refs: REFS, files: FILES, tree });
  const main = await publishing.repository("stable");
  const count = (
    await walk(
      dev.repository,
      [...dev.refs.values()].map((commit) => `${commit}.commit`),
    )
  ).objects.size;
  const size = `${REFS} references of ${FILES} files, ${count} objects`;
  // Nothing is removed between two rounds: for minutes ext4 passes over what was just freed, one by one, whoever makes new files.
  const push = async (expected: number) => {
    const build = await client.create("stable");
    return seconds(async () => {
      const { missing } = await client.push(build, dev.repository, dev.refs);
      if (missing !== expected) throw new Error(`${missing} objects were missing, not ${expected}`);
    });
  };
  const bareTo = async (role: string) => {
    let round = 0;
    return async () => {
      const folder = join(b.folder, `bare-${role}-${round++}`);
      mkdirSync(join(folder, "objects"), { recursive: true });
      const port = await startPeer(b, "./peers/bare-objects.ts", [folder, role]);
      return seconds(() => bareUpload(port, dev.repository, dev.refs));
    };
  };
  const peers = [
    ["bare upload to one process of node:http, nothing looked at", await bareTo("holder")],
    ["bare upload to two processes of node:http, sent on by the first, nothing looked at", await bareTo("hop")],
  ] as const;
  for (const [against, theirs] of peers) {
    const measured = await inTurn(ROUNDS, () => push(count), theirs);
    report({
      what: `push: ${size}; asked what is missing, verified, each moved to its place, each reference told to the log`,
      against,
      ratio: ratioOf(measured, Number),
      reach: "≤ 1.15",
      ours: shown(measured.ours),
      theirs: shown(measured.theirs),
      durability: "synced before each request is answered",
    });
  }
  const hand = await Repository.init(tools, join(b.folder, "hand"));
  const pull = (into: string) =>
    tools.run("ostree", [`--repo=${into}`, "pull-local", dev.repository.root, ...dev.refs.keys()]);
  await pull(main.root);
  await pull(hand.root);
  const again = await inTurn(
    ROUNDS,
    () => push(0),
    () => seconds(() => pull(hand.root)),
  );
  report({
    what: `push with nothing new: ${size}; all of it held for the build, each reference told to the log`,
    against: "ostree pull-local with nothing new",
    ratio: ratioOf(again, Number),
    reach: "–",
    ours: shown(again.ours),
    theirs: shown(again.theirs),
    durability: "what is held is synced",
  });
});
