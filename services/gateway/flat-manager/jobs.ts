/** Jobs by flat-manager's API: steps of builds, their logs read from where a client is. */
import { build } from "@millrace/domain/publishing/build.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import type { StoredCommit } from "@millrace/eventlog/commit.ts";
import * as Schema from "effect/Schema";
import { type Answer, notFound } from "./answers.ts";
import { jsonOf } from "./body.ts";
import { allowedBuild, type Call, type FoundBuild, findBuild } from "./call.ts";
import { check, checkClaims } from "./callers.ts";
import { isOver, type JobJson, type JobName, jobJson, jobOfId, jobsOf } from "./wire.ts";

const Polling = Schema.Struct({ "log-offset": Schema.optionalKey(Schema.NullOr(Schema.Int)) });

/** How long a poll is answered late, in milliseconds, where nothing has happened yet: clients ask rarely when logs stand still. */
const LATE_MS = 1_000;
/** Of a build; there are some dozens. */
const COMMITS_MOST = 5_000;

async function read(call: Call, { id, state, repository }: FoundBuild, job: JobName, offset: number): Promise<JobJson> {
  const commits: StoredCommit[] = [];
  for await (const commit of readCommits(call.gateway.log.nats, build, id)) {
    commits.push(commit);
    if (commits.length >= COMMITS_MOST) break;
  }
  const told = jobsOf(commits, state.number)[job];
  const found = jobJson(state, told, job, { offset, repo: repository.name });
  if (found === undefined) throw notFound();
  return found;
}

export const jobAnswer = async (call: Call, found: FoundBuild, job: JobName, offset: number): Promise<Answer> => ({
  body: await read(call, found, job, offset),
});

/** 0 for what is no number of a job. */
export const idOf = ({ path: [text = ""] }: Call): number => (/^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : 0);

export const offsetOf = async (call: Call): Promise<number> =>
  Math.max(0, (await jsonOf(call.request, Polling, false))["log-offset"] ?? 0);

/** A poll: answered when there is something new, or late. */
async function poll(call: Call, found: FoundBuild, job: JobName): Promise<Answer> {
  const offset = await offsetOf(call);
  const first = await read(call, found, job, offset);
  if (isOver(first.status) || first.log !== "") return { body: first };
  const { met, loaded } = await call.gateway.waits.until(
    build,
    found.id,
    ({ version }) => version > found.version,
    LATE_MS,
  );
  return met ? jobAnswer(call, { ...found, state: loaded.state }, job, offset) : { body: first };
}

export const ofBuild =
  (job: "commit" | "publish") =>
  async (call: Call): Promise<Answer> =>
    poll(call, await allowedBuild(call, ["build"]), job);

export async function get(call: Call): Promise<Answer> {
  const need = { sub: "build", scopes: ["jobs"] } as const;
  checkClaims(call.caller, need);
  const found = jobOfId(idOf(call));
  if (found === undefined) throw notFound();
  const of = await findBuild(call, found.build);
  check(call.caller, { ...need, lineage: [of.id, of.repository.id] });
  return poll(call, of, found.job);
}

/** Checks are none of builds' here: there is never one of this name. */
export async function getCheck(call: Call): Promise<Answer> {
  await allowedBuild(call, ["build"]);
  throw notFound();
}

export async function reviewCheck(call: Call): Promise<Answer> {
  checkClaims(call.caller, { sub: "build", scopes: ["reviewcheck"] });
  throw notFound();
}
