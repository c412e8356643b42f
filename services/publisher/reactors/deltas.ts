/** The last step of a build: static deltas to what it published, when nothing else waits. */
import type { RepositoryState } from "@millrace/domain/publishing/repository.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Verdict } from "@millrace/eventlog/worker.ts";
import { ensureDelta, type RefCommit } from "../adapters/ostree/builds.ts";
import { isWhole } from "../adapters/ostree/closure.ts";
import { parseFlatpakRef } from "../adapters/ostree/names.ts";
import { parseCommit } from "../adapters/ostree/objects.ts";
import type { Repository } from "../adapters/ostree/repository.ts";
import { inLane } from "../lanes.ts";
import type { BuildNode, BuildWork } from "./build.ts";
import { tellClients } from "./tell-clients.ts";

/** Static deltas to what was published, unless something newer was. */
export function deltasStep(node: BuildNode, work: BuildWork, into: RepositoryState, attempt: number): Promise<Verdict> {
  const { state } = work.loaded;
  return inLane(node.deltaLanes, work, { since: state.publishedAt }, async () => {
    const { worker, signal } = work;
    await work.record({ do: "begin", step: "deltas", attempt, worker, node: node.place.name });
    faultPoint("build.deltas.begun");
    const { repository: main } = await node.store.main(state.repository);
    const { tools, repositories } = node.place;
    let made = 0;
    for (const { ref, published } of state.refs) {
      if (published === null || parseFlatpakRef(ref).kind === "screenshots") continue;
      // What was pruned comes back for it: while nothing is pruned, and not to be pruned again before the delta is there.
      const { sources, letGo } = await repositories.writing([state.repository], async () => {
        const sources = await sourcesOf(main, { ref, commit: published }, node.deltaDepth);
        const commits = sources.filter((from) => from !== undefined);
        return { sources, letGo: repositories.keep(state.repository, [published, ...commits]) };
      });
      try {
        for (const from of sources) {
          signal.throwIfAborted();
          if ((await main.ref(ref)) !== published) break;
          await ensureDelta(tools, main, { from, to: published }, signal);
          made++;
        }
      } finally {
        letGo();
      }
    }
    if (made > 0) await tellClients(node, into, true);
    faultPoint("build.deltas.made");
    await work.record({ do: "deltasMade", attempt, worker, made });
    faultPoint("build.deltas.recorded");
    return { again: true };
  });
}

/** From nothing, and from so many commits before it, as far as they are whole; none where something newer was published. */
async function sourcesOf(main: Repository, { ref, commit }: RefCommit, depth: number): Promise<(string | undefined)[]> {
  if ((await main.ref(ref)) !== commit) return [];
  const sources: (string | undefined)[] = depth > 0 ? [undefined] : [];
  for (let at = commit; sources.length < depth; ) {
    const bytes = main.read(`${at}.commit`);
    const parent = bytes === undefined ? undefined : parseCommit(bytes, at).parent;
    if (parent === undefined || !(await isWhole(main, parent))) break;
    sources.push(parent);
    at = parent;
  }
  return sources;
}
