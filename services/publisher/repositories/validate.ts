/** Whether everything of a repository is what it says: each object hashed, each reference followed, the summary and the deltas compared. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { REPOSITORY_LIMITS } from "@millrace/contracts/publishing/repository-parts.ts";
import { closure, Turns } from "../adapters/ostree/closure.ts";
import { verifyDelta } from "../adapters/ostree/delta.ts";
import { decodeDelta } from "../adapters/ostree/names.ts";
import { Refusal } from "../adapters/ostree/refusal.ts";
import type { Repository } from "../adapters/ostree/repository.ts";
import { published } from "../adapters/ostree/summary.ts";
import { verifyFile } from "../adapters/ostree/verify.ts";

export interface Finding {
  readonly what: "object" | "missing" | "ref" | "summary" | "delta" | "link";
  readonly name: string;
  readonly reason: string;
}

export interface Validation {
  readonly objects: number;
  readonly bytes: number;
  readonly refs: number;
  readonly found: number;
  readonly findings: ReadonlyArray<Finding>;
}

/** Counts all, keeps the first. */
export class Findings {
  found = 0;
  readonly kept: Finding[] = [];

  add(what: Finding["what"], name: string, reason: string): void {
    this.found++;
    if (this.kept.length < REPOSITORY_LIMITS.findings) this.kept.push({ what, name, reason: reason.slice(0, 300) });
  }

  /** What `look` refuses is found. @throws everything else that it throws */
  async look<T>(what: Finding["what"], name: string, look: () => Promise<T>): Promise<T | undefined> {
    try {
      return await look();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.add(error.code === "missing-objects" ? "missing" : what, name, error.reason);
      return undefined;
    }
  }
}

/** One object on the disk. @returns its bytes; 0 where it went meanwhile */
export async function lookAt(repository: Repository, name: string, findings: Findings): Promise<number> {
  try {
    return (await findings.look("object", name, () => verifyFile(name, repository.path(name)))) ?? 0;
  } catch (error) {
    // Pruned while we looked.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    if ((error as NodeJS.ErrnoException).code !== "EIO") throw error;
    findings.add("object", name, "the disk cannot read it");
    return 0;
  }
}

export async function validate(repository: Repository, signal?: AbortSignal): Promise<Validation> {
  const findings = new Findings();
  const turns = new Turns(signal);
  let [objects, bytes] = [0, 0];
  for await (const names of repository.objects()) {
    for (const name of names) {
      const turn = turns.next();
      if (turn !== undefined) await turn;
      if (name.endsWith(".commitmeta")) continue;
      objects++;
      bytes += await lookAt(repository, name, findings);
    }
  }
  const refs = await repository.refs();
  for (const [ref, commit] of refs) await findings.look("ref", ref, () => closure(repository, commit, { signal }));
  await checkSummary(repository, refs, findings);
  await checkDeltas(repository, findings, signal);
  return { objects, bytes, refs: refs.size, found: findings.found, findings: findings.kept };
}

async function checkSummary(
  repository: Repository,
  refs: ReadonlyMap<string, string>,
  findings: Findings,
): Promise<void> {
  const seen = await findings.look("summary", "summary.idx", () => published(repository));
  if (seen === undefined) return;
  for (const [ref, commit] of refs) {
    if (!/^(app|runtime)\//.test(ref) || seen.get(ref) === commit) continue;
    // It may be about to be announced.
    if ((await repository.ref(ref)) === commit) findings.add("summary", ref, "clients do not see its commit");
  }
}

async function checkDeltas(repository: Repository, findings: Findings, signal?: AbortSignal): Promise<void> {
  const root = join(repository.root, "deltas");
  for (const folder of await readdir(root).catch(() => [])) {
    if (!/^[A-Za-z0-9+_]{2}$/.test(folder)) continue;
    for (const rest of await readdir(join(root, folder)).catch(() => [])) {
      signal?.throwIfAborted();
      if (rest.startsWith(".")) continue;
      await findings.look("delta", folder + rest, () => verifyDelta(repository, decodeDelta(folder + rest)));
    }
  }
}
