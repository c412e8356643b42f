/**
 * A build carried from the first byte to its end by publishers that are killed: as often as one dies another takes its place, and the
 * client tries again as clients do. At the end everything is as if nobody had died.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { build } from "@millrace/domain/publishing/build.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { parseCommit } from "@millrace/publisher/adapters/ostree/objects.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import type { callerOf, TestGateway } from "../harness/gateway.ts";
import { type Developed, spawnPublisher, type TestPublisher } from "../harness/publisher.ts";
import type { TestPublishing } from "../harness/publishing.ts";
import { pushObjects, untilBuild } from "../harness/pushes.ts";

export interface Mortal {
  readonly gateway: TestGateway;
  readonly caller: ReturnType<typeof callerOf>;
  readonly log: EventLog;
  readonly data: string;
  readonly publishing: TestPublishing;
  /** Of the publishers, beside what leads them to the log and the tools. */
  readonly env?: Readonly<Record<string, string>>;
  /** Id of the repository, which is called `stable`. */
  readonly repository: string;
}

/** Publishers one after another: the first ones die at their points, the last one lives. */
export class Publishers {
  readonly #world: Omit<Mortal, "repository">;
  readonly #points: string[];
  #now: TestPublisher | undefined;
  #watching: Promise<void> = Promise.resolve();
  readonly died: string[] = [];
  /** By `kill`. */
  killed = 0;

  constructor(world: Omit<Mortal, "repository">, points: ReadonlyArray<string>) {
    this.#world = world;
    this.#points = [...points];
  }

  said = (): string => `${this.died.join(", ")}: ${this.#now?.said()}`;

  start(): void {
    const point = this.#points.shift();
    const { gateway, data, publishing, env } = this.#world;
    this.#now = spawnPublisher(gateway.config, data, {
      MILLRACE_PUBLISHING_TOOLS: JSON.stringify(publishing.programs.env),
      ...env,
      ...(point === undefined ? {} : { MILLRACE_DIE_AT: point }),
    });
    this.#watching = this.#now.ended.then((how) => {
      if (how !== "SIGKILL") return;
      if (point === undefined) this.killed++;
      else this.died.push(point);
      this.start();
    });
  }

  /** The one that acts now, wherever it is; another takes its place. */
  async kill(): Promise<void> {
    const watching = this.#watching;
    this.#now!.child.kill("SIGKILL");
    await watching;
  }

  async stop(): Promise<void> {
    const now = this.#now!;
    now.child.kill("SIGTERM");
    // One that has just taken another's place may not have begun to listen.
    assert.ok([0, "SIGTERM"].includes((await now.ended)!), now.said());
    await this.#watching;
  }
}

const ONCE = [
  "BuildCommitted",
  "BuildRefsPublished",
  "BuildPublished",
  "BuildReleased",
  "BuildDeltasMade",
  "BuildPurged",
];

/** From the first byte to its end. @returns the commit that clients see */
export async function carry(world: Mortal, dev: Developed, publishers: Publishers): Promise<string> {
  const { caller, repository, data, publishing } = world;
  const { expect } = caller;
  const { said } = publishers;
  const main = await Repository.open(join(data, "publisher/local/repositories", repository, "repo"));
  const before = await main.ref(dev.ref);
  const created = (await expect(201, "POST", "/builds", { body: { repository: "stable" } })).body;
  const { number } = created.status;
  await pushObjects(world, number, dev);
  await expect(200, "POST", `/builds/${number}/refs`, { body: { refs: [{ ref: dev.ref, commit: dev.commit }] } });
  await expect(202, "POST", `/builds/${number}/commit`, { body: {} });
  await untilBuild(world, number, ({ state }) => state === "ready", said);
  assert.equal(await main.ref(dev.ref), before, "nothing is published before it is asked for");
  await expect(202, "POST", `/builds/${number}/publish`, { body: {} });
  await untilBuild(world, number, (status) => status.published === "published", said);
  await untilBuild(world, number, ({ deltas }) => deltas !== undefined, said);
  await expect(202, "POST", `/builds/${number}/purge`, { body: {} });
  const end = await untilBuild(world, number, ({ state }) => state === "purged", said);
  const commit = await main.ref(dev.ref);
  assert.equal(end.status.refs[0].published, commit);
  assert.equal((await published(main))?.get(dev.ref), commit);
  assert.equal(parseCommit(main.read(`${commit}.commit`)!, "").parent, before, "it was published twice");
  assert.equal(await publishing.fsck(main), undefined);
  assert.ok(!existsSync(join(data, "publisher/local/repositories", repository, "builds", created.id)));
  await assertOnce(world.log, created.id, ONCE);
  return commit!;
}

/** What is to happen once has happened once, however often it was tried. */
export async function assertOnce(log: EventLog, id: string, once: ReadonlyArray<string> = ONCE.slice(0, -1)) {
  const types: string[] = [];
  for await (const { events } of readCommits(log.nats, build, id)) types.push(...events.map(({ type }) => type));
  for (const type of once) assert.equal(types.filter((each) => each === type).length, 1, `${type}: ${types.join(" ")}`);
}

/** At every effect of a build: before it, within it, after it, and when it is in the log. */
export const POINTS: ReadonlyArray<string> = [
  "ostree.lease.during",
  "ostree.lease.written",
  "ostree.intake.during",
  "ostree.intake.before",
  "ostree.intake.placed:3",
  "ostree.intake.settled",
  "build.commit.begun",
  "publish.commit.before",
  "publish.commit.made",
  "build.commit.made",
  "build.commit.recorded",
  "build.publish.begun",
  "publish.commit.before:2",
  "publish.commit.made:2",
  "build.publish.made",
  "build.publish.recorded",
  "publish.summary.before",
  "publish.summary.made",
  "repository.announced",
  "repository.snapshot.before",
  "build.published.recorded",
  "build.release.before",
  "publish.end.removed",
  "ostree.lease.released",
  "build.release.after",
  "build.release.recorded",
  "build.deltas.begun",
  "publish.delta.before",
  "publish.delta.made",
  "build.deltas.made",
  "build.deltas.recorded",
  "build.purge.before",
  "build.purge.after",
  "build.purge.recorded",
];
