/** How what an unfinished deployment has done is undone. Each finds out itself what is there, and may be done again. */
import type { Compensation } from "@millrace/contracts/applications/values.ts";
import type { Outcome } from "@millrace/eventlog/outcome.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { collect } from "../adapters/collect.ts";
import { imageTag } from "../adapters/docker.ts";
import { chooseRelease, revertRoute, setStopped } from "../adapters/routes.ts";
import { diskOf, fenceOfUndoing } from "./making.ts";
import { type Deploying, keptOnDisk, SETTLE_MS } from "./phases.ts";

export const COMPENSATE: {
  readonly [C in Compensation]: (deploying: Deploying) => Promise<Outcome<object>>;
} = {
  RESTORE_ROUTES: async (deploying) => {
    const { state, owner, signal } = deploying;
    const to = state.from?.generation ?? null;
    const reverted = await revertRoute(diskOf(deploying), { generation: fenceOfUndoing(state), to }, { signal });
    if ("failed" in reverted) return reverted;
    // Before it, the application may have been stopped.
    return owner.live !== null && owner.settled.wanted === "stopped" ? setStopped(diskOf(deploying), true) : reverted;
  },

  RESTORE_SYMLINKS: (deploying) => {
    const { state, signal } = deploying;
    const choice = { generation: fenceOfUndoing(state), release: state.from?.release ?? null };
    return chooseRelease(diskOf(deploying), choice, { signal });
  },

  REMOVE_CONTAINERS: async (deploying) => {
    const { node, application, state, signal, during } = deploying;
    const left = await node.docker.listContainers({ application, deployment: state.id });
    if (left.length > 0) await pause(SETTLE_MS, signal);
    for (const { id } of left) {
      await node.docker.removeContainer(id, () => node.drained(id));
      during();
    }
    if (state.from === null) await node.docker.removeNetwork(application);
    return {};
  },

  REMOVE_IMAGE: async ({ node, application, state, owner }) => {
    const tag = imageTag(application, state.id);
    if (!owner.releases.some(({ image }) => image?.tag === tag)) await node.docker.removeImage(tag);
    return {};
  },

  REMOVE_RELEASE: (deploying) => collect(diskOf(deploying), { ...keptOnDisk(deploying.owner), olderThanMs: 0 }),
};
