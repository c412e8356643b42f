/** What a build's state allows, and the words in which flat-manager says that it does not: clients compare some of them. */
import type { BuildState } from "@millrace/domain/publishing/build.ts";
import { wrongPublishedState, wrongRepoState } from "./answers.ts";

const SAYS_UPLOADING: Readonly<Record<string, readonly [current: string, message: string]>> = {
  queued: ["committing", "Build is made here, and not uploaded"],
  building: ["committing", "Build is made here, and not uploaded"],
  fetching: ["committing", "Build is made here, and not uploaded"],
  committing: ["committing", "Build is currently being committed"],
  ready: ["ready", "Build is already committed"],
  validating: ["ready", "Build is already committed"],
  failed: ["failed", "Commit already failed: "],
};

/** @throws FlatRefused where nothing may be added any more */
export function mustBeUploading({ state, failure }: BuildState): void {
  if (state === "uploading") return;
  const [current, message] = SAYS_UPLOADING[state!] ?? ["purged", "Build has been purged"];
  throw wrongRepoState(current === "failed" ? message + (failure?.reason ?? "") : message, current, "uploading");
}

const SAYS_READY: Readonly<Record<string, readonly [current: string, message: string]>> = {
  queued: ["uploading", "Build is not committed"],
  building: ["uploading", "Build is not committed"],
  fetching: ["uploading", "Build is not committed"],
  uploading: ["uploading", "Build is not committed"],
  committing: ["committing", "Build is not committed"],
  validating: ["validating", "Build is still validating"],
  failed: ["failed", "Build failed: "],
};

/** @throws FlatRefused */
export function mustBePublishable({ state, published, failure }: BuildState): void {
  const expected = "unpublished";
  if (published === "publishing" || published === "reviewing") {
    throw wrongPublishedState("Build is currently being published", "publishing", expected);
  }
  if (published === "published") throw wrongPublishedState("Build has already been published", "published", expected);
  if (published === "rejected") throw wrongPublishedState("Publishing it was rejected", "failed", expected);
  if (published === "failed") {
    throw wrongPublishedState(`Previous publish failed: ${failure?.reason ?? ""}`, "failed", expected);
  }
  if (state === "ready") return;
  const [current, message] = SAYS_READY[state!] ?? ["purged", "Build has been purged"];
  throw wrongRepoState(current === "failed" ? message + (failure?.reason ?? "") : message, current, "ready");
}
