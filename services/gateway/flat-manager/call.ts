/** One request of flat-manager's API, and what all its handlers share: finding builds and repositories, changing them, addresses. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { makeId } from "@millrace/contracts/ids.ts";
import {
  type BuildCommand,
  type BuildState,
  build,
  NUMBER_TAKEN,
  numberClaim,
} from "@millrace/domain/publishing/build.ts";
import { type RepositoryState, repository } from "@millrace/domain/publishing/repository.ts";
import { type Change, type CommandContext, type Executed, execute, readClaim } from "@millrace/eventlog/execute.ts";
import type { FreeNumbers } from "@millrace/eventlog/free-numbers.ts";
import { PASSING } from "@millrace/eventlog/remembered.ts";
import type { Asked } from "../asked.ts";
import { type Gateway, resolve } from "../gateway.ts";
import type { BuildUploads } from "../publishing/uploads.ts";
import { accepted, away, notFound, refuse } from "./answers.ts";
import { type Caller, type Callers, check, checkClaims, type FlatScope } from "./callers.ts";

/** What outlives a request. */
export interface FlatParts {
  readonly gateway: Gateway;
  readonly callers: Callers;
  readonly numbers: FreeNumbers;
  readonly uploads: BuildUploads;
  /** Where clients reach the gateway, without a slash at the end; undefined: where they say that they did. */
  readonly baseUrl: string | undefined;
}

export interface Call<C extends Caller | undefined = Caller> extends FlatParts {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly asked: Asked;
  readonly caller: C;
  /** What the path's pattern caught. */
  readonly path: ReadonlyArray<string>;
  readonly query: URLSearchParams;
}

export interface FoundRepository {
  readonly id: string;
  readonly state: RepositoryState;
  /** As clients call it. */
  readonly name: string;
}

export interface FoundBuild {
  readonly id: string;
  readonly state: BuildState;
  /** How many events it has. */
  readonly version: number;
  readonly repository: FoundRepository;
}

/** Absolute, of a path that begins with a slash. */
export function urlOf(
  { baseUrl, gateway, request }: Pick<Call, "baseUrl" | "gateway" | "request">,
  path: string,
): string {
  if (baseUrl !== undefined) return `${baseUrl}${path}`;
  const { limits } = gateway;
  const { host = "localhost" } = request.headers;
  const forwarded = limits.isForwarded(request) ? request.headers["x-forwarded-host"] : undefined;
  const name = (typeof forwarded === "string" ? forwarded.split(",")[0]!.trim() : "") || host;
  return `${limits.isSecure(request) ? "https" : "http"}://${name}${path}`;
}

/** @returns undefined where there is none that the caller may know of */
export async function findRepository(call: Call<Caller>, clientName: string): Promise<FoundRepository | undefined> {
  const { gateway, callers, caller } = call;
  const name = callers.nameOf(caller, clientName);
  if (name === undefined) return undefined;
  const organisation = caller.organisation.id;
  const id = await resolve(gateway, repository, organisation, name).catch(() => undefined);
  if (id === undefined) return undefined;
  return (await repositoryOf(call, id)) ?? undefined;
}

async function repositoryOf(
  { gateway, callers, caller }: Call<Caller>,
  id: string,
): Promise<FoundRepository | undefined> {
  const { state, organisation } = await gateway.log.aggregates.load(repository, id);
  if (organisation !== caller.organisation.id || !repository.exists(state)) return undefined;
  const name = callers.clientNameOf(state.name);
  return callers.nameOf(caller, name) === undefined ? undefined : { id, state, name };
}

const NUMBER = /^[1-9][0-9]{0,9}$/;

/**
 * A build by its number. Another organisation's is as if there were none.
 * @throws FlatRefused (404)
 */
export async function findBuild(call: Call<Caller>, text: string | number): Promise<FoundBuild> {
  const { gateway, caller } = call;
  if (!NUMBER.test(`${text}`)) throw notFound();
  const { holder } = await readClaim(gateway.log, build.context, numberClaim(text));
  const found = holder === null ? undefined : await loadBuild(call, holder);
  if (found === undefined || found.state.organisation !== caller.organisation.id) throw notFound();
  return found;
}

/** By its id. @returns undefined for one that the caller may not know of */
export async function loadBuild(call: Call<Caller>, id: string): Promise<FoundBuild | undefined> {
  const { state, version } = await call.gateway.log.aggregates.load(build, id);
  if (state.organisation !== call.caller.organisation.id) return undefined;
  const repository = await repositoryOf(call, state.repository);
  return repository === undefined ? undefined : { id, state, version, repository };
}

/** A build that the caller may do this with. @throws FlatRefused (403, 404) */
export async function allowedBuild(
  call: Call<Caller>,
  scopes: ReadonlyArray<FlatScope>,
  number: string | number = call.path[0]!,
): Promise<FoundBuild> {
  // What a token says of builds counts before anybody looks whether there is one.
  checkClaims(call.caller, { sub: `build/${number}`, scopes });
  const found = await findBuild(call, number);
  const { id, state, repository: into } = found;
  check(call.caller, { sub: `build/${number}`, scopes, lineage: [id, into.id], repo: into.name, app: state.appId });
  return found;
}

export const contextOf = ({ caller, asked }: Call<Caller>): CommandContext => ({
  organisation: caller.organisation.id,
  actor: caller.actor,
  commandId: `${PASSING}${randomBytes(24).toString("base64url")}`,
  digest: "",
  correlation: asked.requestId,
  causation: asked.requestId,
  now: new Date().toISOString(),
  trace: asked.span.traceparent,
});

/** @throws FlatRefused for what the rules refuse */
export async function change<S, C>(call: Call<Caller>, what: Change<S, C>): Promise<Executed<S>> {
  call.callers.mayChange(call.caller);
  return accepted(await execute(call.gateway.log, what, contextOf(call))).ok;
}

export const changeBuild = (call: Call<Caller>, found: FoundBuild, command: BuildCommand): Promise<FoundBuild> =>
  change(call, { kind: build, id: found.id, command }).then(({ loaded: { state, version } }) => ({
    ...found,
    state,
    version,
  }));

const NUMBERS_TRIED = 20;

/** A new build, of the next number that is free. @throws FlatRefused */
export async function createBuild(
  call: Call<Caller>,
  into: FoundRepository,
  asked: Omit<Extract<BuildCommand, { do: "create" }>, "do" | "number" | "repository">,
): Promise<FoundBuild> {
  call.callers.mayChange(call.caller);
  const id = makeId(build.prefix, Date.now(), randomBytes(10));
  for (let tried = 0; tried < NUMBERS_TRIED; tried++) {
    const number = await call.numbers.next();
    const command: BuildCommand = { ...asked, do: "create", number, repository: into.id };
    const outcome = await execute(call.gateway.log, { kind: build, id, command }, contextOf(call));
    if (!("refusal" in outcome)) {
      const { state, version } = outcome.ok.loaded;
      return { id, state, version, repository: into };
    }
    const { refusal } = outcome;
    if (refusal.refused !== "rule" || refusal.rule !== NUMBER_TAKEN) refuse(refusal);
    call.numbers.overtaken();
  }
  throw away("Many builds are begun at this moment; try again");
}
