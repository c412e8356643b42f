/** Builds, references and jobs as flat-manager's clients read them: whole numbers for states, and for ids; times without a zone. */
import type {
  BuildRefState,
  BuildState,
  BuildStateName,
  PublishedStateName,
} from "@millrace/domain/publishing/build.ts";
import type { StoredCommit } from "@millrace/eventlog/commit.ts";

const REPO_STATES: Readonly<Record<BuildStateName, number>> = {
  // What is built here has nothing uploaded yet, either.
  queued: 0,
  building: 0,
  fetching: 0,
  uploading: 0,
  committing: 1,
  ready: 2,
  failed: 3,
  purging: 4,
  purged: 5,
  validating: 6,
  // Nothing of it is there any more.
  cancelled: 5,
};
const PUBLISHED_STATES: Readonly<Record<PublishedStateName, number>> = {
  unpublished: 0,
  // Asked for, and somebody is to decide.
  reviewing: 1,
  publishing: 1,
  published: 2,
  failed: 3,
  rejected: 3,
};

export interface BuildJson {
  readonly id: number;
  readonly created: string;
  readonly repo_state: number;
  readonly repo_state_reason?: string;
  readonly published_state: number;
  readonly published_state_reason?: string;
  readonly commit_job_id?: number;
  readonly publish_job_id?: number;
  readonly repo: string;
  readonly extra_ids: ReadonlyArray<string>;
  readonly app_id: string | null;
  readonly public_download: boolean;
  readonly build_log_url: string | null;
  readonly token_name: string | null;
  readonly token_type: string | null;
}

/** `2026-01-01T10:00:00.123456`, of RFC 3339 in UTC. */
export const plainTime = (time: string): string => {
  const [seconds, fraction = ""] = time.replace("Z", "").split(".");
  return `${seconds}.${fraction.padEnd(6, "0").slice(0, 6)}`;
};

/** @param repo what clients call its repository */
export function buildJson(state: BuildState, repo: string): BuildJson {
  const { failure, published } = state;
  const reason = failure?.reason;
  const ofPublish = failure?.step === "publish";
  return {
    id: state.number,
    created: plainTime(state.createdAt),
    repo_state: REPO_STATES[state.state!],
    ...(reason !== undefined && !ofPublish && state.state === "failed" ? { repo_state_reason: reason } : {}),
    published_state: PUBLISHED_STATES[published],
    ...(reason !== undefined && ofPublish && published === "failed" ? { published_state_reason: reason } : {}),
    ...(published === "rejected" ? { published_state_reason: rejection(state.review?.decision?.comment) } : {}),
    ...(state.commitAt === null ? {} : { commit_job_id: jobId(state.number, "commit") }),
    ...(state.publishRequestedAt === null ? {} : { publish_job_id: jobId(state.number, "publish") }),
    repo,
    extra_ids: state.extraIds,
    app_id: state.appId,
    public_download: state.publicDownload,
    build_log_url: state.logUrl,
    token_name: state.createdBy?.name ?? null,
    token_type: null,
  };
}

const rejection = (comment: unknown): string =>
  typeof comment === "string" ? `It was rejected: ${comment}` : "It was rejected";

export interface BuildRefJson {
  readonly id: number;
  readonly build_id: number;
  readonly ref_name: string;
  readonly commit: string;
  readonly build_log_url: string | null;
}

/** @param at its place among the build's references, from 0; it stays */
export const refJson = (state: BuildState, { ref, commit, logUrl }: BuildRefState, at: number): BuildRefJson => ({
  id: at + 1,
  build_id: state.number,
  ref_name: ref,
  commit,
  build_log_url: logUrl,
});

export type JobName = "commit" | "publish" | "update" | "republish";
const JOBS: ReadonlyArray<JobName> = ["commit", "publish", "update", "republish"];

/** Jobs are steps of builds here: a number for each, made of the build's. */
export const jobId = (build: number, job: JobName): number => build * 4 + JOBS.indexOf(job);

/** @returns undefined for a number that is none of a job's */
export function jobOfId(id: number): { readonly build: number; readonly job: JobName } | undefined {
  const job = JOBS[id % 4];
  const build = Math.floor(id / 4);
  return job === undefined || build < 1 ? undefined : { build, job };
}

export interface JobJson {
  readonly id: number;
  readonly kind: number;
  readonly status: number;
  readonly contents: string;
  readonly results?: string;
  readonly log: string;
  readonly start_after: null;
  readonly repo: string | null;
}

const NEW = 0;
const STARTED = 1;
const ENDED = 2;
const BROKEN = 3;

interface Told {
  status: number;
  log: string[];
  results: object | undefined;
}

/** One client counts characters of a log and the other bytes: in ASCII they agree. */
export const ascii = (text: string): string =>
  text.replaceAll(/[^\x20-\x7e\n]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

type Told1 = Readonly<Record<string, unknown>>;
const refsOf = (data: Told1): ReadonlyArray<{ readonly ref: string; readonly commit: string }> =>
  data.refs as ReadonlyArray<{ readonly ref: string; readonly commit: string }>;
const refsObject = (data: Told1): object => Object.fromEntries(refsOf(data).map(({ ref, commit }) => [ref, commit]));
const MISSING_SHOWN = 20;

/** What a job's log says, by the build's own events: it grows, and what was once read stays. */
class Job {
  readonly #told: Told = { status: NEW, log: [], results: undefined };
  #asked = false;

  get told(): Told | undefined {
    return this.#asked ? this.#told : undefined;
  }

  ask(line: string): void {
    this.#asked = true;
    Object.assign(this.#told, { status: NEW, results: undefined, log: [`${line}\n`] });
  }

  begin(data: Told1): void {
    this.#told.status = STARTED;
    this.say(`Attempt ${data.attempt}, on node ${data.node}`);
  }

  say(line: string): void {
    if (this.#asked) this.#told.log.push(`${line}\n`);
  }

  end(results: object): void {
    if (this.#asked) Object.assign(this.#told, { status: ENDED, results });
  }

  fail(reason: string): void {
    if (!this.#asked) return;
    this.say(`Job failed: ${reason}`);
    Object.assign(this.#told, { status: BROKEN, results: { "error-message": reason } });
  }
}

/** The jobs of a build, from what happened to it. */
export function jobsOf(
  commits: Iterable<Pick<StoredCommit, "events">>,
  number: number,
): Readonly<Record<JobName, Told | undefined>> {
  const [commit, publish, update, republish] = [new Job(), new Job(), new Job(), new Job()];
  let published: Told1 = { refs: [] };
  for (const { events } of commits) {
    for (const { type, data: raw } of events) {
      const data = raw as Told1;
      switch (type) {
        case "BuildCommitRequested":
          commit.ask(`Committing build ${number}`);
          if (data.publish === true) republish.ask(`Republishing by build ${number}`);
          break;
        case "BuildPublishRequested":
          publish.ask(`Publishing build ${number}`);
          update.ask("Waiting for the publish job");
          break;
        case "BuildStepBegun":
          if (data.step === "commit") for (const job of [commit, republish]) job.begin(data);
          if (data.step === "publish") publish.begin(data);
          if (data.step === "deltas") update.say("Making static deltas");
          break;
        case "BuildIncomplete": {
          const names = (data.missing as ReadonlyArray<string>).slice(0, MISSING_SHOWN).join(", ");
          for (const job of [commit, republish]) job.fail(`${data.count} objects are missing: ${names}`);
          break;
        }
        case "BuildCommitted":
          for (const { ref, commit: id } of refsOf(data)) commit.say(`Committed ${ref} (${id})`);
          commit.end({ refs: refsObject(data) });
          break;
        case "BuildReviewAsked":
          publish.say("Waiting for somebody to decide about it");
          break;
        case "BuildApproved":
          retried([publish, update]);
          publish.say("Somebody approved of it");
          break;
        case "BuildReviewRecalled":
        case "BuildRejected":
          if (data.approved === true) break;
          for (const job of [publish, update, republish]) job.fail(rejection(data.comment));
          break;
        case "BuildRefsPublished":
          published = data;
          for (const { ref, commit: id } of refsOf(data))
            for (const job of [publish, republish]) job.say(`Imported ${ref} (${id})`);
          update.say("Updating summary and AppStream branches");
          break;
        case "BuildPublished":
          publish.say("Published");
          publish.end({ refs: refsObject(published), "update-repo-job": jobId(number, "update") });
          republish.end({ "update-repo-job": jobId(number, "update") });
          update.say("Summary is updated");
          update.end({});
          break;
        case "BuildDeltasMade":
          update.say(`Made ${data.made} static deltas${typeof data.failed === "string" ? `; ${data.failed}` : ""}`);
          break;
        case "BuildFailed":
          for (const job of data.step === "publish" ? [publish, update] : [commit]) job.fail(`${data.reason}`);
          republish.fail(`${data.reason}`);
          break;
        case "BuildRetried":
          retried([commit, publish, update, republish]);
          break;
      }
    }
  }
  return { commit: commit.told, publish: publish.told, update: update.told, republish: republish.told };
}

function retried(jobs: ReadonlyArray<Job>): void {
  for (const job of jobs) {
    if (job.told?.status !== BROKEN) continue;
    job.say("Another try was asked for");
    Object.assign(job.told, { status: NEW, results: undefined });
  }
}

/**
 * @param offset what the client has of the log already, in characters
 * @param repo what clients call the build's repository
 * @returns undefined where there is no such job
 */
export function jobJson(
  state: BuildState,
  told: Told | undefined,
  job: JobName,
  { offset, repo }: { readonly offset: number; readonly repo: string },
): JobJson | undefined {
  if (told === undefined) return undefined;
  const { number, terms } = state;
  const ending = { endoflife: terms?.endOfLife ?? null, endoflife_rebase: terms?.endOfLifeRebase ?? null };
  const contents = {
    commit: { build: number, ...ending, token_type: terms?.tokenType ?? null },
    publish: { build: number },
    update: { repo },
    republish: { app: state.appId, ...ending },
  };
  return {
    id: jobId(number, job),
    kind: JOBS.indexOf(job),
    status: told.status,
    contents: JSON.stringify(contents[job]),
    ...(told.results === undefined ? {} : { results: JSON.stringify(told.results) }),
    log: ascii(told.log.join("")).slice(offset),
    start_after: null,
    repo: job === "commit" ? null : repo,
  };
}

export const isOver = (status: number): boolean => status === ENDED || status === BROKEN;
