/** The step of builds that take what another repository has. */
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Verdict } from "@millrace/eventlog/worker.ts";
import { Refusal } from "../adapters/ostree/refusal.ts";
import { UpstreamFailed } from "../adapters/upstream.ts";
import { fetchCommits } from "../fetching.ts";
import { inLane } from "../lanes.ts";
import { openUpstream } from "../repositories/mirror.ts";
import type { BuildNode, BuildWork } from "./build.ts";

const AGAIN: Verdict = { again: true };
const FETCH_MS = 6 * 3_600_000;

/** What is taken from another repository; its commits of ours are made by the next step. */
export async function fetchStep(node: BuildNode, work: BuildWork, attempt: number): Promise<Verdict> {
  const { state } = work.loaded;
  if (state.source.type !== "mirror") return { skip: true };
  const { url } = state.source;
  return inLane(node.fetchLanes, work, { since: state.stepSince }, async () => {
    const { worker } = work;
    await work.record({ do: "begin", step: "fetch", attempt, worker, node: node.place.name });
    faultPoint("build.fetch.begun");
    const upstream = openUpstream(node.mirrors, url);
    const signal = AbortSignal.any([work.signal, AbortSignal.timeout(FETCH_MS)]);
    try {
      const upload = await node.store.upload(state.repository, state.id);
      const { leases } = await node.store.main(state.repository);
      const commits = state.refs.map(({ commit }) => commit);
      const what = { upstream, upload, leases, build: state.id, commits, budget: node.mirrorBytes, signal };
      const fetched = await work.aside(() => fetchCommits(what));
      faultPoint("build.fetch.made");
      await work.record({ do: "fetched", attempt, worker, ...fetched });
      faultPoint("build.fetch.recorded");
    } catch (error) {
      throw error instanceof Refusal ? new UpstreamFailed(error.message, false) : error;
    } finally {
      await upstream.close();
    }
    return AGAIN;
  });
}
