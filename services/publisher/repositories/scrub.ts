/**
 * Reads all repositories of the node through, slowly, for ever: a disk that loses something is noticed before a client is. Where it was is
 * remembered in the repository, so a restart costs one folder of objects. What it finds is told at once, and the end of each round.
 */
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { repository as kind } from "@millrace/domain/publishing/repository.ts";
import { writeWhole } from "@millrace/eventlog/durable-files.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { type PublisherNode, repositoryFolder } from "../places.ts";
import { type Finding, Findings, lookAt } from "./validate.ts";

export interface ScrubOptions {
  readonly node: PublisherNode;
  readonly log: EventLog;
  readonly bytesPerSecond: number;
  /** How long after a round the next one begins. */
  readonly everyMs: number;
  /** How often it is looked whether one is due. */
  readonly lookMs: number;
}

interface Round {
  /** The first two digits of the objects that are next; 256: over. */
  readonly next: number;
  readonly objects: number;
  readonly bytes: number;
  readonly found: number;
  readonly findings: ReadonlyArray<Finding>;
  /** Milliseconds since 1970. */
  readonly endedAt: number | null;
}

const FRESH: Round = { next: 0, objects: 0, bytes: 0, found: 0, findings: [], endedAt: null };

export async function scrubAll(options: ScrubOptions, signal: AbortSignal): Promise<void> {
  const { node, lookMs } = options;
  while (!signal.aborted) {
    for (const id of await readdir(node.folder).catch(() => [])) {
      if (signal.aborted) return;
      if (/^rep_[0-9a-hjkmnp-tv-z]{26}$/.test(id)) await scrub(options, id, signal);
    }
    await pause(lookMs, signal);
  }
}

async function scrub(
  { node, log, bytesPerSecond, everyMs }: ScrubOptions,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  const { state } = await log.aggregates.load(kind, id);
  if (state.state !== "ready") return;
  const repository = await Repository.open(repositoryFolder(node, id));
  const tell = async (found: Omit<Round, "next" | "endedAt">) => {
    const refs = (await repository.refs()).size;
    const command = { do: "validated", by: "scrub", request: 0, refs, ...found } as const;
    await execute(log, { kind, id, command }, ownContext("publisher", state.organisation));
  };
  await scrubRepository(repository, { bytesPerSecond, everyMs, tell }, signal);
}

export interface ScrubOne extends Pick<ScrubOptions, "bytesPerSecond" | "everyMs"> {
  /** What was read so far, when the first thing is found; all of it, at the end of the round. */
  readonly tell: (round: Omit<Round, "next" | "endedAt">) => Promise<void>;
}

/** From where the last process was, to the end of the round; nothing, when none is due. */
export async function scrubRepository(
  repository: Repository,
  { bytesPerSecond, everyMs, tell }: ScrubOne,
  signal: AbortSignal,
): Promise<void> {
  const path = join(repository.root, ".millrace", "scrub.json");
  let round = (await readFile(path, "utf8").then(JSON.parse, () => FRESH)) as Round;
  if (round.endedAt !== null && round.endedAt + everyMs > Date.now()) return;
  if (round.endedAt !== null) round = FRESH;
  const told = ({ next: _, endedAt: __, ...found }: Round) => tell(found);
  await mkdir(join(repository.root, ".millrace"), { recursive: true });
  while (round.next < 256) {
    const before = round;
    round = await scrubFolder(repository, before, bytesPerSecond, signal);
    if (signal.aborted) return;
    if (before.found === 0 && round.found > 0) await told(round);
    await writeWhole(path, JSON.stringify(round));
    faultPoint("scrub.folder");
  }
  await told(round);
  await writeWhole(path, JSON.stringify({ ...round, endedAt: Date.now() }));
}

async function scrubFolder(
  repository: Repository,
  { next, ...round }: Round,
  bytesPerSecond: number,
  signal: AbortSignal,
): Promise<Round> {
  const folder = next.toString(16).padStart(2, "0");
  const findings = new Findings();
  findings.found = round.found;
  findings.kept.push(...round.findings);
  let { objects, bytes } = round;
  const began = performance.now();
  let read = 0;
  for (const rest of await readdir(join(repository.root, "objects", folder)).catch(() => [])) {
    if (signal.aborted) break;
    if (!/^[0-9a-f]{62}\.(commit|dirtree|dirmeta|filez)$/.test(rest)) continue;
    const size = await lookAt(repository, folder + rest, findings);
    objects++;
    bytes += size;
    read += size;
    const ahead = (read / bytesPerSecond) * 1_000 - (performance.now() - began);
    if (ahead > 20) await pause(ahead, signal);
  }
  return { ...round, next: next + 1, objects, bytes, found: findings.found, findings: findings.kept };
}
