/** Lets clients see what builds brought into a repository. */
import type { RepositoryState } from "@millrace/domain/publishing/repository.ts";
import { presentRepository } from "../repositories/present.ts";
import type { BuildNode } from "./build.ts";

/** How long a summary waits for what other builds bring into the repository: so many times what the last one took, and no longer than this. */
const SUMMARY_WAITS = { times: 4, mostMs: 30_000 } as const;

/**
 * What clients see of a repository, with whatever else is new in it.
 * @param yields a publication need not wait for it, and takes along what it would have told
 */
export async function tellClients(node: BuildNode, into: RepositoryState, yields = false): Promise<void> {
  // What others bring at this moment is told of, too: a summary of many references takes longer than to bring one.
  const { times, mostMs } = SUMMARY_WAITS;
  const ready = (tookMs: number) => node.lanes.quiet(into.id, Math.min(times * tookMs, mostMs));
  const present = async (signal?: AbortSignal) => void (await presentRepository(node.place, into, { signal }));
  await node.summaries.run(into.id, present, { ready, yields });
}
