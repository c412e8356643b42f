/** The reactor of repositories: its key, made once; its folder, made by `ostree init`. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  nextOfRepository,
  type RepositoryCommand,
  type RepositoryFailure,
  type RepositoryState,
  type RepositoryStep,
  repository,
} from "@millrace/domain/publishing/repository.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Sealing } from "@millrace/eventlog/sealing.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { generateKey } from "../adapters/ostree/keys.ts";
import { Refusal } from "../adapters/ostree/refusal.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { ToolFailed, type Tools } from "../adapters/ostree/tools.ts";

export interface PublisherNode {
  readonly name: string;
  /** Where its repositories lie. */
  readonly folder: string;
  readonly tools: Tools;
  /** Undefined: without a master key nothing can be sealed. */
  readonly sealing: Sealing | undefined;
}

type RepositoryWork = Work<RepositoryState, RepositoryCommand>;

const AGAIN: Verdict = { again: true };

/** Where a repository lies. @throws RangeError for what is no id of one */
export function repositoryFolder({ folder }: Pick<PublisherNode, "folder">, id: string): string {
  if (!/^rep_[0-9a-hjkmnp-tv-z]{26}$/.test(id)) throw new RangeError(`"${id.slice(0, 60)}" is no id of a repository`);
  return join(folder, id, "repo");
}

export const repositoryReactor = (
  node: PublisherNode,
): Reactor<RepositoryState, RepositoryCommand, RepositoryStep> => ({
  kind: repository,
  mine: (state) => state.node === null || state.node === node.name,
  next: nextOfRepository,
  async perform(step, work) {
    const { worker } = work;
    const attempt = step.kind === "begin" ? step.attempt : step.attempt + 1;
    if (step.kind === "giveUp") {
      const reason = `Making it broke off ${step.attempt} times.`;
      const failure = { code: "BROKE_OFF", reason, fix: "Look at the publisher's log, then try again." };
      await work.record({ do: "fail", attempt: step.attempt, worker: work.loaded.state.worker, failure });
      return AGAIN;
    }
    await work.record({ do: "begin", attempt, worker, node: node.name });
    try {
      await make(node, work, attempt);
    } catch (error) {
      const failure = failureOf(error);
      if (failure === undefined) throw error;
      await work.record({ do: "fail", attempt, worker, failure });
      return AGAIN;
    }
    await work.record({ do: "finish", attempt, worker });
    faultPoint("repository.made.recorded");
    return AGAIN;
  },
});

async function make(node: PublisherNode, work: RepositoryWork, attempt: number): Promise<void> {
  const { id, worker, loaded } = work;
  const { name, title, collectionId, organisation, key } = loaded.state;
  if (key === null) {
    if (node.sealing === undefined) throw new NoMasterKey();
    faultPoint("repository.key.before");
    // Only what a name may hold: it is the user of a key.
    const user = (title ?? name).replaceAll(/[<>()]/g, " ").trim() || name;
    const { fingerprint, publicKey, secretKey } = await generateKey(node.tools, user);
    const sealed = await node.sealing.seal({ organisation, subject: id }, secretKey);
    faultPoint("repository.key.made");
    const made = { fingerprint, user, publicKey: publicKey.toString("base64"), sealed };
    await work.record({ do: "keepKey", attempt, worker, key: made });
    faultPoint("repository.key.recorded");
  }
  const folder = repositoryFolder(node, id);
  await mkdir(folder, { recursive: true });
  faultPoint("repository.made.before");
  await Repository.init(node.tools, folder, collectionId === null ? {} : { collectionId });
  faultPoint("repository.made.after");
}

class NoMasterKey extends Error {}

/** What is told to people; undefined: it is tried again by the worker. */
function failureOf(error: unknown): RepositoryFailure | undefined {
  if (error instanceof NoMasterKey) {
    const fix = "Give the publisher the master key (MILLRACE_MASTER_KEY_FILE), then try again.";
    return { code: "NO_MASTER_KEY", reason: "Its key cannot be kept without the master key.", fix };
  }
  if (error instanceof LogUnavailable) return undefined;
  if (error instanceof Refusal) return { code: "NOT_POSSIBLE", reason: error.message, fix: error.fix };
  if (!(error instanceof ToolFailed) || error.how === "cancelled") return undefined;
  if (error.how === "missing") {
    const fix = "Run `mill setup` on the publisher's machine, start it again, then try again.";
    return { code: "TOOLS_MISSING", reason: `${error.tool} is not installed.`, fix };
  }
  const fix = "Look at what it said, and at the disk, then try again.";
  return { code: "TOOL_FAILED", reason: error.message.slice(0, 1_000), fix };
}
