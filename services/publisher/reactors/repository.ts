/** The reactor of repositories: made once; then what clients see of it, its keys, its checks, its end, as the log says. */
import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import {
  nextOfRepository,
  type RepositoryCommand,
  type RepositoryFailure,
  type RepositoryKey,
  type RepositoryState,
  type RepositoryStep,
  repository,
} from "@millrace/domain/publishing/repository.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { type GpgKey, generateKey, importKey } from "../adapters/ostree/keys.ts";
import { Refusal } from "../adapters/ostree/refusal.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { ToolFailed } from "../adapters/ostree/tools.ts";
import { failureOf as failureOfAct } from "../failure.ts";
import { NoMasterKey, type PublisherNode, repositoriesUrl, repositoryFolder, repositoryPlace } from "../places.ts";
import { isLinked, unlinkRepository } from "../repositories/links.ts";
import { lookAtMirror, type Mirrors } from "../repositories/mirror.ts";
import { presentRepository } from "../repositories/present.ts";
import { pruneRepository } from "../repositories/pruning.ts";
import { remakeDeltas } from "../repositories/signing.ts";
import { validate } from "../repositories/validate.ts";

type RepositoryWork = Work<RepositoryState, RepositoryCommand>;

const AGAIN: Verdict = { again: true };

export const repositoryReactor = (
  node: PublisherNode,
  mirrors: Mirrors,
): Reactor<RepositoryState, RepositoryCommand, RepositoryStep> => ({
  kind: repository,
  mine: (state) => state.node === null || state.node === node.name,
  next: (state, nowMs) => nextHere(node, state, nowMs),
  // Looking through all of it waits for nobody, and nobody for it.
  interrupts: (state, step) =>
    ["validate", "prune", "deltas", "mirror"].includes(step.kind) &&
    (state.state === "deleted" || state.rotation !== null || state.carried < state.revision),
  async perform(step, work) {
    try {
      if (step.kind === "mirror") await lookAtMirror(mirrors, step, work);
      else await act(node, step, work);
    } catch (error) {
      const away = awayOf(error);
      if (step.kind === "begin" || step.kind === "giveUp" || away === undefined) throw error;
      work.log.warn({ err: error, repository: work.id }, "a repository waits for what its node lacks");
      return { retryAfterMs: AWAY_MS, reason: away };
    }
    return AGAIN;
  },
});

/**
 * Also when it is reached at another address since the publisher was started anew: files of it name that; and after it was restored. And what
 * another publisher may have left when it died: deltas that it had put aside.
 */
function nextHere({ publicUrl, served, repositories }: PublisherNode, state: RepositoryState, nowMs: number) {
  const next = nextOfRepository(state, nowMs);
  if ((next !== undefined && "do" in next) || state.state !== "ready") return next;
  const isThere =
    isLinked(served, state.id) &&
    (publicUrl === undefined ? state.url === null : state.url?.startsWith(repositoriesUrl(publicUrl)) === true);
  if (!isThere) return { do: { kind: "configure", revision: state.revision } as const };
  return repositories.remade.has(state.id) ? next : { do: { kind: "deltas" } as const };
}

const AWAY_MS = 60_000;

/** What is not here now and may come; undefined: something else. */
const awayOf = (error: unknown): string | undefined =>
  error instanceof NoMasterKey || (error instanceof ToolFailed && error.how === "missing")
    ? failureOf(error)!.reason
    : undefined;

async function act(
  node: PublisherNode,
  step: Exclude<RepositoryStep, { kind: "mirror" }>,
  work: RepositoryWork,
): Promise<void> {
  const { id, signal, loaded } = work;
  const { state } = loaded;
  switch (step.kind) {
    case "begin":
    case "giveUp":
      return begin(node, step, work);
    case "rotate":
      return rotate(node, work);
    case "retireKey":
      await work.record({ do: "retireKey", fingerprint: step.fingerprint });
      return;
    case "configure": {
      node.repositories.remade.delete(id);
      const url = await presentRepository(node, state, { signal, signsAll: true });
      await work.record({ do: "configured", revision: step.revision, url });
      faultPoint("repository.configured.recorded");
      return;
    }
    case "deltas":
      return remake(node, work);
    case "validate": {
      const found = await validate(await Repository.open(repositoryFolder(node, id)), signal);
      faultPoint("repository.validated");
      await work.record({ do: "validated", by: "command", request: step.request, ...found });
      return;
    }
    case "prune": {
      const pruned = await pruneRepository(node, state, signal);
      faultPoint("repository.pruned");
      // What deltas there are stands in the summary.
      if (pruned.deltas > 0) await presentRepository(node, state, { signal });
      await work.record({ do: "pruned", by: step.by, request: step.request, ...pruned });
      return;
    }
    case "remove":
      return remove(node, work);
  }
}

async function begin(
  node: PublisherNode,
  step: Extract<RepositoryStep, { readonly attempt: number }>,
  work: RepositoryWork,
): Promise<void> {
  const { worker } = work;
  const { attempt } = step;
  if (step.kind === "giveUp") {
    const reason = `Making it broke off ${attempt} times.`;
    const failure = { code: "BROKE_OFF", reason, fix: "Look at the publisher's log, then try again." };
    await work.record({ do: "fail", attempt, worker: work.loaded.state.worker, failure });
    return;
  }
  await work.record({ do: "begin", attempt, worker, node: node.name });
  try {
    await make(node, work, attempt);
  } catch (error) {
    const failure = failureOf(error);
    if (failure === undefined) throw error;
    await work.record({ do: "fail", attempt, worker, failure });
    return;
  }
  await work.record({ do: "finish", attempt, worker });
  faultPoint("repository.made.recorded");
}

async function make(node: PublisherNode, work: RepositoryWork, attempt: number): Promise<void> {
  const { id, worker, loaded } = work;
  const { collectionId, keys } = loaded.state;
  if (keys.length === 0) {
    const key = await newKey(node, work);
    await work.record({ do: "keepKey", attempt, worker, key });
    faultPoint("repository.key.recorded");
  }
  const folder = repositoryFolder(node, id);
  await mkdir(dirname(folder), { recursive: true, mode: 0o755 });
  faultPoint("repository.made.before");
  await Repository.init(node.tools, folder, collectionId === null ? {} : { collectionId });
  faultPoint("repository.made.after");
}

/** The key that was given, or a new one; sealed. @throws KeyRefused where that is none */
async function newKey({ tools, sealing }: PublisherNode, { id, loaded }: RepositoryWork): Promise<RepositoryKey> {
  const { name, settings, organisation, rotation } = loaded.state;
  if (sealing === undefined) throw new NoMasterKey();
  faultPoint("repository.key.before");
  let made: GpgKey;
  let user: string;
  if (rotation === null || rotation.sealed === null) {
    // Only what a name may hold: it is the user of a key.
    user = (settings.title ?? name).replaceAll(/[<>()]/g, " ").trim() || name;
    made = await generateKey(tools, user);
  } else {
    const given = await sealing.unseal(rotation.sealed, { organisation, purpose: "importing a key" });
    try {
      made = await importKey(tools, given);
    } catch (error) {
      throw error instanceof Refusal ? new KeyRefused(error) : error;
    }
    user = made.user.slice(0, 200);
  }
  const { fingerprint, publicKey, secretKey } = made;
  const sealed = await sealing.seal({ organisation, subject: id }, secretKey);
  faultPoint("repository.key.made");
  return { fingerprint, user, publicKey: publicKey.toString("base64"), sealed };
}

async function rotate(node: PublisherNode, work: RepositoryWork): Promise<void> {
  let key: RepositoryKey;
  try {
    key = await newKey(node, work);
    const twice = work.loaded.state.keys.some(({ fingerprint }) => fingerprint === key.fingerprint);
    if (twice) throw new KeyRefused(new Refusal("bad-name", "key", "it is one that signs already"));
  } catch (error) {
    if (!(error instanceof KeyRefused)) throw error;
    await work.record({ do: "refuseKey", failure: failureOf(error)! });
    return;
  }
  await work.record({ do: "rotated", key });
  faultPoint("repository.rotated.recorded");
}

/** What cannot be made again is done without: deltas make updates smaller, nothing more. */
async function remake(node: PublisherNode, { id, signal, loaded, log }: RepositoryWork): Promise<void> {
  try {
    const remade = await remakeDeltas(node.tools, await Repository.open(repositoryFolder(node, id)), signal);
    if (remade > 0) await presentRepository(node, loaded.state, { signal });
  } catch (error) {
    if (!(error instanceof ToolFailed && error.how === "failed")) throw error;
    log.warn({ err: error, repository: id }, "deltas that another key has to sign are done without");
  }
  node.repositories.remade.add(id);
}

/** First nobody reaches it, then it goes, then the keys can no longer be read. */
async function remove(node: PublisherNode, work: RepositoryWork): Promise<void> {
  const { id, loaded } = work;
  await unlinkRepository(node.served, id);
  node.repositories.forget(id);
  await rm(repositoryPlace(node, id), { recursive: true, force: true });
  faultPoint("repository.removed.files");
  await node.sealing?.erase({ organisation: loaded.state.organisation, subject: id });
  faultPoint("repository.removed.keys");
  await work.record({ do: "removed" });
}

class KeyRefused extends Error {
  readonly why: Refusal;
  constructor(why: Refusal) {
    super(why.message);
    this.why = why;
  }
}

/** What is told to people; undefined: it is tried again by the worker. */
function failureOf(error: unknown): RepositoryFailure | undefined {
  if (!(error instanceof KeyRefused)) return failureOfAct(error);
  const fix = "Export a secret key without a passphrase: `gpg --export-secret-keys --armor <fingerprint>`.";
  return { code: "KEY_REFUSED", reason: error.why.reason, fix };
}
