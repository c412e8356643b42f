/**
 * How long a publication takes until a client sees it: from the request to the summary and the commit by HTTP through Caddy, with few and
 * many references in the repository; against the same by hand (`flatpak build-commit-from`, `flatpak build-update-repo`, signed) in a
 * repository of the same size. And ten at once. `BENCH_SIZES` references in the repository (10,200; 10,200,4000 for all of it).
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { servedPlaces } from "@millrace/eventlog/served.ts";
import { findCaddy } from "@millrace/local/binaries.ts";
import { startCaddy } from "@millrace/local/caddy.ts";
import { loadCaddy, renderCaddy } from "@millrace/orchestrator/adapters/caddy.ts";
import { nodeDisk } from "@millrace/orchestrator/adapters/disk.ts";
import { generateKey, withSigner } from "@millrace/publisher/adapters/ostree/keys.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { parseSummary, parseSummaryIndex } from "@millrace/publisher/adapters/ostree/summary.ts";
import { buildCommitFrom, buildUpdateRepo, type Signer } from "@millrace/publisher/adapters/ostree/tools.ts";
import { median, report } from "./measure.ts";
import { type Publishing, seconds, startPublishing } from "./publishing.ts";
import { type Bench, bench } from "./servers.ts";
import { addRefs, commitApp } from "./trees.ts";

const SIZES = (process.env.BENCH_SIZES ?? "10,200").split(",").map(Number);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const AT_ONCE = 10;
const DURABILITY = "signed; objects, references and events synced";

const shown = (all: ReadonlyArray<number>): string => `${median(all).toFixed(2)} s`;
const [app, tree] = ["org.test.Published", "tree"];

/** A commit that nobody has yet. */
const develop = async (b: Bench, { tools }: Publishing, dev: Repository, name = app) =>
  commitApp(tools, dev.root, { app: name, tree: join(b.folder, tree), content: `${performance.now()}` });

/** A build that is ready to be published. */
async function ready({ client }: Publishing, dev: Repository, made: { ref: string; commit: string }): Promise<number> {
  const build = await client.create("stable");
  await client.push(build, dev, new Map([[made.ref, made.commit]]));
  const { status, log } = await client.commit(build);
  if (status !== 2) throw new Error(log);
  return build;
}

/** What a client sees of a repository by HTTP. */
class Seen {
  readonly #url: string;
  #tag = "";
  #refs = new Map<string, string>();
  constructor(url: string) {
    this.#url = url;
  }

  async #get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    const answer = await fetch(`${this.#url}/${path}`, { headers });
    if (answer.status !== 200 && answer.status !== 304) throw new Error(`${path}: ${answer.status}`);
    return answer;
  }

  /** References with the commits that it could load. */
  async refs(): Promise<ReadonlyMap<string, string>> {
    const index = await this.#get("summary.idx", this.#tag === "" ? {} : { "if-none-match": this.#tag });
    if (index.status === 304) {
      await index.arrayBuffer();
      return this.#refs;
    }
    const found = new Map<string, string>();
    const bytes = Buffer.from(await index.arrayBuffer());
    const digest = createHash("sha256").update(bytes).digest("hex");
    await (await this.#get(`summaries/${digest}.idx.sig`)).arrayBuffer();
    for (const { checksum } of parseSummaryIndex(bytes).summaries) {
      const packed = Buffer.from(await (await this.#get(`summaries/${checksum}.gz`)).arrayBuffer());
      for (const { ref, commit } of parseSummary(gunzipSync(packed)).refs) found.set(ref, commit);
    }
    for (const [ref, commit] of found) {
      if (!ref.startsWith(`app/${app}`) || this.#refs.get(ref) === commit) continue;
      await (await this.#get(`objects/${commit.slice(0, 2)}/${commit.slice(2)}.commit`)).arrayBuffer();
    }
    [this.#tag, this.#refs] = [index.headers.get("etag") ?? "", found];
    return found;
  }

  /** Until each of these is at another commit than before. */
  async until(refs: ReadonlyArray<string>, before: ReadonlyMap<string, string>): Promise<void> {
    for (const deadline = Date.now() + 120_000; ; ) {
      const now = await this.refs();
      if (refs.every((ref) => now.has(ref) && now.get(ref) !== before.get(ref))) return;
      if (Date.now() > deadline) throw new Error("the publication is not seen");
      await pause(5);
    }
  }
}

/** Our Caddy before the repositories of the publisher's node. @returns where the repository `stable` is reached */
async function serve(b: Bench, data: string): Promise<string> {
  const found = await findCaddy({ bring: true });
  if (found.path === undefined) throw new Error("there is no Caddy");
  const caddy = await startCaddy({ dataDir: join(b.folder, "caddy") });
  b.defer(() => caddy.stop());
  const { admin, address: listen, storage } = caddy;
  const node = { disk: nodeDisk(b.folder, "local"), listen, admin, storage, tls: "off" } as const;
  const repositories = { places: servedPlaces(data, "local"), gateway: undefined };
  const loaded = await loadCaddy(admin, renderCaddy([], { ...node, repositories }));
  if ("failed" in loaded) throw new Error(loaded.failed.message);
  return `http://${listen}/repo/stable`;
}

interface Sides {
  readonly b: Bench;
  readonly publishing: Publishing;
  readonly dev: Repository;
  readonly seen: Seen;
  readonly hand: Repository;
  readonly signer: Signer;
}

async function byHand({ publishing: { tools }, dev, hand, signer }: Sides, commits: ReadonlyArray<string>) {
  for (const [at, commit] of commits.entries()) {
    const ref = `app/${app}${at === 0 ? "" : at}/x86_64/stable`;
    const what = { from: dev.root, to: hand.root, sourceRef: commit, refs: [ref], timestamp: new Date(), force: true };
    await buildCommitFrom(tools, { ...what, signer });
  }
  await buildUpdateRepo(tools, hand.root, { signer });
}

/** One after the other, ours and by hand in turn. */
async function one(sides: Sides): Promise<{ readonly ours: number[]; readonly theirs: number[] }> {
  const { b, publishing, dev, seen } = sides;
  const measured = { ours: [] as number[], theirs: [] as number[] };
  for (let round = 0; round <= ROUNDS; round++) {
    const made = await develop(b, publishing, dev);
    const build = await ready(publishing, dev, made);
    const before = await seen.refs();
    const ours = await seconds(async () => {
      await publishing.client.expect(200, "POST", `/api/v1/build/${build}/publish`, {});
      await seen.until([made.ref], before);
    });
    const theirs = await seconds(() => byHand(sides, [made.commit]));
    if (round === 0) continue;
    measured.ours.push(ours);
    measured.theirs.push(theirs);
  }
  return measured;
}

async function tenAtOnce(sides: Sides, size: number): Promise<void> {
  const { b, publishing, dev, seen } = sides;
  const made: { readonly ref: string; readonly commit: string }[] = [];
  for (let at = 0; at < AT_ONCE; at++) made.push(await develop(b, publishing, dev, `${app}${at === 0 ? "" : at}`));
  const builds = await Promise.all(made.map((each) => ready(publishing, dev, each)));
  const before = await seen.refs();
  const ours = await seconds(async () => {
    const publish = (build: number) => publishing.client.expect(200, "POST", `/api/v1/build/${build}/publish`, {});
    await Promise.all(builds.map(publish));
    await seen.until(
      made.map(({ ref }) => ref),
      before,
    );
  });
  const commits = made.map(({ commit }) => commit);
  const theirs = await seconds(() => byHand(sides, commits));
  report({
    what: `${AT_ONCE} publications at once with ${size} references, until a client sees all of them`,
    against: `${AT_ONCE} × flatpak build-commit-from and one build-update-repo`,
    ratio: ours / theirs,
    reach: "≤ 1.15",
    ours: `${ours.toFixed(2)} s`,
    theirs: `${theirs.toFixed(2)} s`,
    durability: DURABILITY,
  });
}

await bench(async (b) => {
  const publishing = await startPublishing(b);
  if (publishing === undefined) return;
  const { tools } = publishing;
  const main = await publishing.repository("stable");
  const seen = new Seen(await serve(b, publishing.data));
  const dev = await Repository.init(tools, join(b.folder, "dev"));
  const hand = await Repository.init(tools, join(b.folder, "hand"));
  const key = await generateKey(tools, "By hand");
  await withSigner(tools, [key], async (signer) => {
    const sides = { b, publishing, dev, seen, hand, signer };
    const medians = new Map<number, number>();
    for (const [at, size] of SIZES.entries()) {
      for (const repository of [main, hand]) await addRefs(tools, repository, size, b.folder);
      const measured = await one(sides);
      medians.set(size, median(measured.ours));
      const row = { durability: DURABILITY, ours: shown(measured.ours), theirs: shown(measured.theirs) };
      const what = `publication of one build with ${size} references, until a client sees summary and commit`;
      const against = "flatpak build-commit-from and build-update-repo by hand";
      report({ what, against, reach: "≤ 1.15", ratio: median(measured.ours) / median(measured.theirs), ...row });
      if (size === 200)
        report({ what: `${what}: seconds`, against, reach: "≤ 1 s", ratio: median(measured.ours), ...row });
      const smaller = SIZES[at - 1];
      if (smaller !== undefined) {
        const ratio = medians.get(size)! / medians.get(smaller)! / (size / smaller);
        const grown = `growth from ${smaller} to ${size} references`;
        report({ what: grown, against: "growing as the references do", reach: "≤ 1", ratio, ...row, theirs: "–" });
      }
      if (at === SIZES.length - 1) await tenAtOnce(sides, size);
    }
  });
});
