/** What a build from a manifest may be asked with. */

import { repositoryFault, serverPathFault } from "@millrace/contracts/applications/git.ts";
import {
  MANIFEST_SOURCE_LIMITS as LIMITS,
  type ManifestSource,
  MANIFEST_SOURCE_PATTERNS as PATTERNS,
} from "@millrace/contracts/publishing/manifest-source.ts";
import { checkCredentials, credentialsInClear } from "../applications/source-credentials.ts";
import type { Refusal } from "../decider.ts";
import { type Check, type Faults, says } from "../faults.ts";
import type { BuildState } from "./build-state.ts";

export type ManifestSourceOf = typeof ManifestSource.Type;

const check = (pattern: RegExp, detail: string) => says((text) => pattern.test(text), detail);
const manifest = says(
  (text) => PATTERNS.manifest.test(text) && !text.split("/").includes(".."),
  "the path of a .json, .yml or .yaml file in the source",
);
/** A repository on the node's own disk is named by its path. */
const url: Check = (text) => (text.startsWith("/") ? serverPathFault(text) : repositoryFault(text));
const ref = check(PATTERNS.ref, "the name of a branch, a tag or a commit");
const arch = check(PATTERNS.arch, "an architecture as flatpak names it");
const branch = check(PATTERNS.branch, "letters, digits, `.`, `-` and `_`");
const subset = check(PATTERNS.subset, "letters, digits and _, at most 64");
const needed = check(PATTERNS.build, "the id of a build");

export function checkSubsets(pointer: string, subsets: ReadonlyArray<string>, faults: Faults): void {
  faults.each(pointer, subset, subsets).most(pointer, subsets.length, LIMITS.subsets);
  if (new Set(subsets).size < subsets.length) faults.add(pointer, "each once");
}

export function checkManifestSource(source: ManifestSourceOf, faults: Faults): void {
  const { arches = [], needs = [], git } = source;
  faults
    .check("/source/manifest", manifest, source.manifest)
    .check("/source/git/url", url, source.git?.url)
    .check("/source/git/ref", ref, source.git?.ref)
    .check("/source/branch", branch, source.branch)
    .each("/source/arches", arch, arches)
    .each("/source/needs", needed, needs)
    .most("/source/arches", arches.length, LIMITS.arches)
    .most("/source/needs", needs.length, LIMITS.needs);
  if (git !== undefined) checkCredentials(faults, "/source/git/credentials", git.url, git.credentials);
  if ((git === undefined) === (source.upload === undefined)) {
    faults.add("/source", "either `git` or `upload`, and not both");
  }
  checkSubsets("/source/subsets", source.subsets ?? [], faults);
  if (new Set(arches).size < arches.length) faults.add("/source/arches", "each once");
}

/** What fits together in its form and is refused all the same. */
export const refusedSource = ({ git }: ManifestSourceOf): Refusal | undefined =>
  git === undefined ? undefined : credentialsInClear(git.url, git.credentials);

/** What was uploaded for it, as long as it may be built from it: until it is built, and while it may be tried again. */
export const uploadOfBuild = ({
  source,
  state,
}: Pick<BuildState, "source" | "state">): { readonly id: string; readonly sha256: string } | undefined =>
  source.type === "manifest" && ["queued", "building", "failed"].includes(state!) ? source.upload : undefined;
