/** Signatures of all references' commits by all keys that are valid: after a key came, commits and what was made of them are signed anew. */
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { ensureDelta } from "../adapters/ostree/builds.ts";
import { isWhole } from "../adapters/ostree/closure.ts";
import { parseCommitMeta } from "../adapters/ostree/objects.ts";
import { retireDeltasTo, retiredOf } from "../adapters/ostree/prune.ts";
import type { Repository } from "../adapters/ostree/repository.ts";
import { type Signer, signCommits, type Tools } from "../adapters/ostree/tools.ts";

/** Whether a commit has a signature of a key: OpenPGP names the key by its fingerprint (RFC 9580, 5.2.3.35; gpg 2.1 and later write it). */
function isSignedBy(repository: Repository, commit: string, fingerprint: string): boolean {
  const bytes = repository.read(`${commit}.commitmeta`);
  if (bytes === undefined) return false;
  const signatures = parseCommitMeta(bytes, `${commit}.commitmeta`)["ostree.gpgsigs"]?.value;
  const wanted = Buffer.from(fingerprint, "hex");
  return Array.isArray(signatures) && signatures.some((each) => Buffer.isBuffer(each) && each.includes(wanted));
}

/** @returns the commits that got another signature */
export async function signAll(
  tools: Tools,
  repository: Repository,
  signer: Signer,
  signal?: AbortSignal,
): Promise<ReadonlySet<string>> {
  const signed = new Set<string>();
  for (const commit of new Set((await repository.refs()).values())) {
    const fingerprints = signer.fingerprints.filter((each) => !isSignedBy(repository, commit, each));
    if (fingerprints.length === 0) continue;
    // Before: a delta that is left with the old signatures would be offered for good.
    signed.add(commit);
    await retireDeltasTo(repository, new Set([commit]));
    await signCommits(tools, repository.root, [commit], { ...signer, fingerprints }, { signal });
    faultPoint("repository.signed");
  }
  return signed;
}

/** Deltas that were put aside because their commits were signed anew are made again. @returns how many */
export async function remakeDeltas(tools: Tools, repository: Repository, signal?: AbortSignal): Promise<number> {
  let made = 0;
  for (const delta of await retiredOf(repository, new Set((await repository.refs()).values()))) {
    signal?.throwIfAborted();
    // From what was pruned meanwhile nobody updates.
    if (delta.from !== undefined && !(await isWhole(repository, delta.from))) continue;
    if (!(await ensureDelta(tools, repository, delta, signal))) made++;
  }
  return made;
}
