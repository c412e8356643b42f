/**
 * Configurations in Git, carried out: fetch, take in, write, push, record. A run begins anew after any crash: what was taken in is as its
 * file says by then, what was pushed is fetched, and the same files make no second commit.
 */
import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { SYNC_LIMITS, type SyncFault } from "@millrace/contracts/devices/syncs.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { device } from "@millrace/domain/devices/device.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { profile } from "@millrace/domain/devices/profile.ts";
import { nextOfSync, type SyncCommand, type SyncState, type SyncStep, sync } from "@millrace/domain/devices/sync.ts";
import {
  type Fleet,
  faultsOfRefusal,
  fileOfDevice,
  isSelected,
  type Plan,
  planOf,
} from "@millrace/domain/devices/sync-documents.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { type Credentials, checkSource, type GitRun } from "@millrace/eventlog/git/git-remote.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import { type Failed, fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { Branch, type TomlFile } from "./adapters/git-branch.ts";
import { DeviceFailure } from "./adapters/shelly/failures.ts";
import type { AgentConfig } from "./config.ts";
import type { Logins } from "./logins.ts";

export interface SyncsOptions {
  readonly log: EventLog;
  readonly index: LiveIndex;
  readonly logins: Logins;
  readonly config: Pick<AgentConfig, "site" | "data" | "knownHosts" | "localSources">;
}

/** How often it is fetched again because somebody pushed meanwhile. */
const PUSHES = 5;
const RETRY_MS = 5_000;
const INDEX_MS = 10_000;

type End = Omit<Extract<SyncCommand, { run: number }>, "run" | "attempt" | "worker">;

export function syncReactor(options: SyncsOptions): Reactor<SyncState, SyncCommand, SyncStep> {
  return {
    kind: sync,
    mine: ({ spec }) => spec.site === options.config.site,
    next: nextOfSync,
    interrupts: (state) => !state.exists,
    async perform({ kind, run, attempt }, work): Promise<Verdict> {
      const at = { run, attempt, worker: work.worker };
      if (kind === "giveUp") {
        await work.record({ do: "fail", ...at, failure: { ...spent, faults: [], more: 0 } });
        return { again: true };
      }
      await work.record({ do: "start", ...at });
      faultPoint("sync.before");
      const ended = await new Run(options, work).carryOut();
      if ("failed" in ended) {
        const { class: sort, code, message, fix } = ended.failed;
        if (sort === "cancelled") return { again: true };
        if (sort !== "permanent" && attempt < SYNC_LIMITS.attempts)
          return { retryAfterMs: RETRY_MS * attempt, reason: message };
        await work.record({ do: "fail", ...at, failure: { code, message, fix, faults: [], more: 0 } });
        return { again: true };
      }
      await work.record({ ...ended, ...at } as SyncCommand);
      faultPoint("sync.recorded");
      return { again: true };
    },
  };
}

const spent = {
  code: "GIVEN_UP",
  message: `It did not come to an end in ${SYNC_LIMITS.attempts} attempts.`,
  fix: "Look at the agent's log, then run it again.",
};

class Run {
  readonly #options: SyncsOptions;
  readonly #work: Work<SyncState, SyncCommand>;
  readonly #state: SyncState;

  constructor(options: SyncsOptions, work: Work<SyncState, SyncCommand>) {
    this.#options = options;
    this.#work = work;
    this.#state = work.loaded.state;
  }

  async carryOut(): Promise<Outcome<End>> {
    const { repository, branch, folder } = this.#state.spec;
    const { url, path } = repository;
    const roots = this.#options.config.localSources?.split(":").filter((root) => root !== "") ?? [];
    const remote = await checkSource(url === undefined ? { kind: "path", path: path! } : { kind: "git", url }, roots);
    if ("failed" in remote) return remote;
    const credentials = await this.#credentials();
    if (credentials !== undefined && "failed" in credentials) return credentials;
    const root = join(resolve(this.#options.config.data), "device-agent", this.#work.node);
    const { knownHosts: givenHosts } = this.#options.config;
    const disk = { root, tmp: join(root, "tmp"), knownHosts: join(root, "known_hosts"), givenHosts };
    const run: GitRun = { disk, credentials, signal: this.#work.signal };
    const opened = await Branch.open({ remote, branch, folder }, run);
    if ("failed" in opened) return opened;
    try {
      return await this.#together(opened.branch);
    } finally {
      await opened.branch.close();
    }
  }

  async #credentials(): Promise<Outcome<Credentials> | undefined> {
    const { spec, organisation } = this.#state;
    if (spec.credentials === null) return undefined;
    const { secret, kind, user } = spec.credentials;
    const who = user === undefined ? {} : { user };
    try {
      const value = await this.#options.logins.secret(secret, organisation, `repository of ${this.#work.id}`);
      return kind === "token" ? { kind, token: value.trim(), ...who } : { kind: "ssh-key", key: value, ...who };
    } catch (error) {
      if (!(error instanceof DeviceFailure)) throw error;
      const fix =
        "Store the secret again and name it, or give the device agent the master key (MILLRACE_MASTER_KEY_FILE).";
      return fail("permanent", "SECRET_UNREADABLE", error.message, fix);
    }
  }

  async #together(branch: Branch): Promise<Outcome<End>> {
    const { spec, approved } = this.#state;
    let applied = 0;
    let same = 0;
    for (let push = 0; push < PUSHES; push++) {
      const fetched = await branch.fetch();
      if ("failed" in fetched) return fetched;
      faultPoint("sync.fetched");
      const { head } = fetched;
      const commit = approved !== null && push === 0 ? approved : head;
      if (spec.direction !== "out" && commit !== null) {
        const taken = await this.#takeIn(branch, commit, push === 0 && approved !== null);
        if ("failed" in taken || "do" in taken) return taken;
        applied += taken.applied;
        same = taken.same;
      }
      if (spec.direction === "in")
        return completed({ ...(head === null ? {} : { commit: commit ?? head }), applied, same });
      const out = await this.#writeOut(branch, head);
      if ("failed" in out) return out;
      if ("commit" in out) return completed({ ...out, applied });
    }
    const fix = "Run it again when nobody pushes.";
    return fail("permanent", "PUSHED_MEANWHILE", `Somebody else pushed each time, ${PUSHES} times in a row.`, fix);
  }

  /** What files say becomes what is wanted. */
  async #takeIn(
    branch: Branch,
    commit: string,
    isApproved: boolean,
  ): Promise<Outcome<{ readonly applied: number; readonly same: number } | End>> {
    const { spec } = this.#state;
    const brought = isApproved ? await branch.bring(commit) : undefined;
    if (brought !== undefined) return brought;
    const listed = await branch.files(commit);
    if ("failed" in listed) return listed;
    const before = spec.direction === "both" ? await this.#filesBefore(branch) : new Map<string, TomlFile>();
    const changed = [...listed.files.values()].filter(({ name, object }) => before.get(name)?.object !== object);
    const read = await branch.texts(changed);
    if ("failed" in read) return read;
    const fleet = await this.#fleet();
    if ("failed" in fleet) return fleet;
    const plan = planOf(read.texts, fleet, spec);
    if ("faults" in plan) return this.#refused(plan.faults);
    const { steps, incoming, same } = plan;
    if (steps.length === 0) return { applied: 0, same };
    if (spec.apply === "plan" && !isApproved) {
      const told = steps.slice(0, SYNC_LIMITS.steps).map((step) => ({
        ...step,
        file: this.#path(step.file ?? ""),
        fields: step.fields.slice(0, SYNC_LIMITS.fields).map((field) => field.slice(0, 200)),
      }));
      return { do: "plan", plan: { commit, steps: told, more: steps.length - told.length } } as End;
    }
    const refused = await this.#want(commit, incoming);
    return refused.length > 0 ? this.#refused(refused) : { applied: incoming.length, same };
  }

  async #filesBefore(branch: Branch): Promise<ReadonlyMap<string, TomlFile>> {
    const { commit } = this.#state;
    if (commit === null || (await branch.bring(commit)) !== undefined) return new Map();
    const listed = await branch.files(commit);
    return "failed" in listed ? new Map() : listed.files;
  }

  /**
   * Commands bear ids made of the run, the commit that says it and the device: a second try finds them done, and what somebody pushed
   * meanwhile is not taken for what was done before.
   */
  async #want(commit: string, incoming: Plan["incoming"]): Promise<SyncFault[]> {
    const { id, organisation } = this.#work;
    const { run, requestedAt } = this.#state;
    const refused: SyncFault[] = [];
    for (const { mac, file, id: there, commands } of incoming) {
      const entropy = createHash("sha256").update(`${id}/${run}/${mac}`).digest();
      const of = there ?? makeId("dev", Date.parse(requestedAt), entropy);
      for (const command of commands) {
        const context = ownContext("device-agent", organisation, `${id}.${run}.${commit}.${mac}.${command.do}`);
        const outcome = await execute(this.#options.log, { kind: device, id: of, command }, context);
        faultPoint("sync.wanted");
        if ("ok" in outcome) continue;
        refused.push(...faultsOfRefusal(file, outcome.refusal));
        break;
      }
    }
    return refused;
  }

  #refused(faults: ReadonlyArray<SyncFault>): End {
    const told = faults.slice(0, SYNC_LIMITS.faults).map(({ file, place, detail, ...fault }) => ({
      ...fault,
      file: this.#path(file),
      place: place.slice(0, 200),
      detail: detail.slice(0, 500),
    }));
    const files = new Set(told.map(({ file }) => file)).size;
    const failure = {
      code: "FILES_REFUSED",
      message: `${files === 1 ? "A file is" : `${files} files are`} wrong: ${told[0]!.file}: ${told[0]!.place} ${told[0]!.detail}`,
      fix: "Correct what is said of each file, push, and run it again.",
      faults: told,
      more: faults.length - told.length,
    };
    return { do: "fail", failure } as End;
  }

  #path(file: string): string {
    const { folder } = this.#state.spec;
    return (folder === "." ? file : `${folder}/${file}`).slice(0, 300);
  }

  /** What is wanted becomes files. @returns without a commit: somebody pushed meanwhile */
  async #writeOut(branch: Branch, head: string | null): Promise<Outcome<Written | { readonly overtaken: true }>> {
    const listed = head === null ? { files: new Map<string, TomlFile>() } : await branch.files(head);
    if ("failed" in listed) return listed;
    const read = await branch.texts([...listed.files.values()]);
    if ("failed" in read) return read;
    const fleet = await this.#fleet();
    if ("failed" in fleet) return fleet;
    const selected = fleet.devices.filter((state) => isSelected(this.#state.spec.select, state));
    if (selected.length > SYNC_LIMITS.files) {
      const message = `${selected.length} devices are selected.`;
      return fail(
        "permanent",
        "TOO_MANY_DEVICES",
        message,
        `Select at most ${SYNC_LIMITS.files}, and have several folders.`,
      );
    }
    const wanted = new Map(selected.map((state) => fileOfDevice(state, fleet)).map(({ file, text }) => [file, text]));
    const changes = new Map<string, string | null>(
      [...wanted].filter(([file, text]) => read.texts.get(file) !== text).sort(([a], [b]) => (a < b ? -1 : 1)),
    );
    const written = changes.size;
    // Only what is a device's file goes; whatever else stands there is somebody's.
    for (const [file, text] of read.texts) if (!wanted.has(file) && /^\[device\]$/m.test(text)) changes.set(file, null);
    const counts = { written, removed: changes.size - written, same: wanted.size - written };
    if (changes.size === 0) return { ...counts, commit: head ?? undefined, pushed: false };
    const { run, requestedAt: at, spec } = this.#state;
    const message = `${spec.name}: ${written} written, ${counts.removed} removed\n\nMillrace-Run: ${this.#work.id}/${run}\n`;
    const made = await branch.commit({ parent: head, changes, message, at });
    if ("failed" in made) return made;
    faultPoint("sync.committed");
    const pushed = await branch.push(made.commit);
    if ("failed" in pushed) return pushed;
    if (pushed.done === "overtaken") return { overtaken: true };
    faultPoint("sync.pushed");
    return { ...counts, commit: made.commit, pushed: true };
  }

  /** As the log has it at this moment. */
  async #fleet(): Promise<Fleet | Failed> {
    const { index, log } = this.#options;
    const { organisation } = this.#state;
    const seq = await log.head(device.context);
    if (!(await index.reached(seq, INDEX_MS))) {
      return fail("transient", "BEHIND", "What is wanted of devices is not read yet.", "It is tried again.");
    }
    const own = <S>(entries: Iterable<{ readonly id: string; readonly organisation: string; readonly state: S }>) =>
      [...entries].filter((entry) => entry.organisation === organisation);
    return {
      organisation,
      devices: own(index.all(device)).map(({ state }) => state),
      profiles: new Map(own(index.all(profile)).map(({ id, state }) => [id, state])),
      groups: new Map(own(index.all(group)).map(({ id, state }) => [id, state.spec.name])),
    };
  }
}

interface Written {
  readonly written: number;
  readonly removed: number;
  readonly same: number;
  readonly commit: string | undefined;
  readonly pushed: boolean;
}

const completed = ({ commit, ...counts }: Partial<Written> & { readonly applied: number }): End =>
  ({
    do: "complete",
    result: { pushed: false, written: 0, removed: 0, same: 0, ...counts, ...(commit === undefined ? {} : { commit }) },
  }) as End;
