/**
 * Earlier publications: what clients were told then, kept beside the repository so that it is a remote of its own, `<name>@<snapshot>`. Some
 * thirty kilobytes each; what their references lead to is not pruned. A snapshot is called by the time of its publication.
 *
 *     <place>/snapshots/20261121t080000z/{summary, summary.sig, summary.idx, summary.idx.sig, summaries/…}
 */
import { createHash } from "node:crypto";
import { copyFile, link, mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { parseSummaryIndex, published } from "../adapters/ostree/summary.ts";

export interface Snapshot {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

const NAME = /^(\d{4})(\d{2})(\d{2})t(\d{2})(\d{2})(\d{2})z(-\d+)?$/;
const nameOf = (time: Date): string =>
  time.toISOString().slice(0, 19).replaceAll(/[-:]/g, "").toLowerCase().concat("z");
const FILES = ["summary", "summary.sig", "summary.idx", "summary.idx.sig"];

/** Newest first. */
export async function snapshotsOf(place: string): Promise<Snapshot[]> {
  const names = await readdir(join(place, "snapshots")).catch(() => []);
  return names
    .flatMap((name) => {
      const [, year, month, day, hour, minute, second] = NAME.exec(name) ?? [];
      if (second === undefined) return [];
      return [{ name, at: Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`) }];
    })
    .sort((a, b) => (a.name < b.name ? 1 : -1));
}

/** Every publication but the one of now; what that was stays readable when the next comes. */
export async function keepSnapshot(place: string, now: Date): Promise<string | undefined> {
  const repo = join(place, "repo");
  const index = await readFile(join(repo, "summary.idx")).catch(() => undefined);
  if (index === undefined) return undefined;
  const [newest] = await snapshotsOf(place);
  if (newest !== undefined) {
    const before = await readFile(join(place, "snapshots", newest.name, "summary.idx")).catch(() => undefined);
    if (before?.equals(index)) return newest.name;
  }
  const root = join(place, "snapshots");
  await mkdir(root, { recursive: true });
  const name = await free(root, nameOf(now));
  const fresh = join(root, `.new-${process.pid}`);
  await rm(fresh, { recursive: true, force: true });
  await mkdir(join(fresh, "summaries"), { recursive: true });
  for (const file of FILES) await take(join(repo, file), join(fresh, file), true);
  const { summaries } = parseSummaryIndex(index);

  const wanted = [
    ...summaries.map(({ checksum }) => `${checksum}.gz`),
    `${createHash("sha256").update(index).digest("hex")}.idx.sig`,
  ];
  for (const file of wanted) await take(join(repo, "summaries", file), join(fresh, "summaries", file), false);
  faultPoint("repository.snapshot.before");
  await rename(fresh, join(root, name));
  await syncFolder(root);
  faultPoint("repository.snapshot.kept");
  return name;
}

async function free(root: string, name: string): Promise<string> {
  for (let number = 1; ; number++) {
    const tried = number === 1 ? name : `${name}-${number}`;
    const there = await stat(join(root, tried)).catch(() => undefined);
    if (there === undefined) return tried;
  }
}

/** Copied where it is written anew in place; linked where it is named by its content. */
async function take(from: string, to: string, copies: boolean): Promise<void> {
  try {
    if (copies) await copyFile(from, to);
    else await link(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return;
    if (copies) throw error;
    await copyFile(from, to);
  }
}

/** Those that are one too many, oldest first. */
export const surplusOf = (snapshots: ReadonlyArray<Snapshot>, most: number): Snapshot[] =>
  // The newest is what is there now.
  snapshots.slice(most + 1).reverse();

export async function dropSnapshot(place: string, { name }: Snapshot): Promise<void> {
  await rm(join(place, "snapshots", name), { recursive: true, force: true });
  faultPoint("repository.snapshot.dropped");
}

/** Commits that snapshots offer: none of them is pruned. */
export async function pinnedBy(place: string, snapshots: ReadonlyArray<Snapshot>): Promise<Set<string>> {
  const commits = new Set<string>();
  for (const { name } of snapshots) {
    const offered = await published(new Repository(join(place, "snapshots", name)));
    for (const commit of offered?.values() ?? []) commits.add(commit);
  }
  return commits;
}
