/** Builds by flat-manager's API: begun, described, committed, published, purged. */
import { type BuildState, build } from "@millrace/domain/publishing/build.ts";
import { buildsView } from "@millrace/domain/publishing/views.ts";
import * as Schema from "effect/Schema";
import { readPage } from "../queries.ts";
import { type Answer, away, generic, notFound } from "./answers.ts";
import { jsonOf } from "./body.ts";
import {
  allowedBuild,
  type Call,
  changeBuild,
  createBuild,
  type FoundBuild,
  findRepository,
  loadBuild,
  urlOf,
} from "./call.ts";
import { check, checkClaims } from "./callers.ts";
import { coversApp, coversRepo } from "./claims.ts";
import { jobAnswer } from "./jobs.ts";
import { mustBePublishable, mustBeUploading } from "./states.ts";
import { answered, senderOf } from "./uploads.ts";
import { type BuildJson, buildJson, refJson } from "./wire.ts";

const { optionalKey, NullOr } = Schema;
const optional = <S extends Schema.Top>(schema: S) => optionalKey(NullOr(schema));
const Text = Schema.String;

const Creating = Schema.Struct({
  repo: Text,
  "app-id": optional(Text),
  "public-download": optional(Schema.Boolean),
  "build-log-url": optional(Text),
});
const RefAsked = Schema.Struct({ ref: Text, commit: Text, "build-log-url": optional(Text) });
const IdsAsked = Schema.Struct({ ids: Schema.Array(Text) });
const CommitAsked = Schema.Struct({
  endoflife: optional(Text),
  endoflife_rebase: optional(Text),
  token_type: optional(Schema.Int),
});
/** Whatever is sent along. */
const Nothing = Schema.Struct({});

const shown = ({ state, repository }: FoundBuild): BuildJson => buildJson(state, repository.name);
const location = (call: Call, path: string) => ({ location: urlOf(call, path) });
const pathOfBuild = ({ state }: FoundBuild): string => `/api/v1/build/${state.number}`;

export async function create(call: Call): Promise<Answer> {
  const asked = await jsonOf(call.request, Creating, true);
  const appId = asked["app-id"] ?? undefined;
  checkClaims(call.caller, { sub: "build", scopes: ["build"], repo: asked.repo, app: appId ?? null });
  const into = await findRepository(call, asked.repo);
  if (into === undefined) throw generic("No such repo");
  check(call.caller, { sub: "build", scopes: ["build"], lineage: [into.id] });
  const found = await createBuild(call, into, {
    appId,
    source: { type: "upload" },
    publicDownload: asked["public-download"] ?? appId === undefined,
    logUrl: asked["build-log-url"] ?? undefined,
    priority: 0,
  });
  return { body: shown(found), headers: location(call, pathOfBuild(found)) };
}

/** Newest first; older ones than these are not listed. */
const LISTED_MOST = 1_000;
const PAGE = 200;

export async function list(call: Call): Promise<Answer> {
  const { gateway, caller, query } = call;
  const organisation = caller.organisation.id;
  const scopes = ["build", "download"] as const;
  checkClaims(caller, { sub: "build", scopes });
  const reach = caller.powers?.reach("publishing:read", organisation) ?? [];
  if (caller.powers !== undefined && caller.powers.reach("publishing:read", organisation) === undefined) {
    check(caller, { sub: "build", scopes });
  }
  const builds: BuildJson[] = [];
  let cursor: string | undefined;
  for (let seen = 0; seen < LISTED_MOST; seen += PAGE) {
    const asked = {
      request: undefined as never,
      headers: {},
      query: { limit: PAGE, appId: query.get("app_id"), ...(cursor === undefined ? {} : { cursor }) },
    };
    const page = await readPage(gateway, buildsView, asked, organisation, { reach, show: ({ id }) => ({ id }) });
    const found = await Promise.all((page.items as { id: string }[]).map(({ id }) => loadBuild(call, id)));
    for (const one of found) if (one !== undefined && isListed(call, one)) builds.push(shown(one));
    cursor = page.nextCursor;
    if (cursor === undefined) break;
  }
  return { body: builds };
}

function isListed({ caller: { claims } }: Call, { state, repository }: FoundBuild): boolean {
  if (["purged", "cancelled"].includes(state.state!)) return false;
  if (claims === undefined) return true;
  const { appId } = state;
  return coversRepo(claims, repository.name) && (appId === null || coversApp(claims, appId));
}

export const get = async (call: Call): Promise<Answer> => ({
  body: shown(await allowedBuild(call, ["build", "upload"])),
});

export async function getExtended(call: Call): Promise<Answer> {
  const found = await allowedBuild(call, ["build", "upload"]);
  const { state } = found;
  return {
    body: { build: shown(found), build_refs: state.refs.map((ref, at) => refJson(state, ref, at)), checks: [] },
  };
}

const REF = /^(?:(app|runtime)\/([^/]+)\/([^/]+)\/([^/]+)|screenshots\/([^/]+))$/;

/** Of an application's reference its id has to be allowed; of screenshots that of the build, or of its one application. */
function checkRef(call: Call, { state }: FoundBuild, ref: string): void {
  const [, , id, , , arch] = REF.exec(ref) ?? [];
  if (id === undefined && arch === undefined) throw generic(`Invalid ref_name ${ref.slice(0, 200)}`);
  const ofArch = state.refs.filter(({ ref: known }) => known.startsWith("app/") && known.split("/")[2] === arch);
  const single = ofArch.length === 1 ? ofArch[0]!.ref.split("/")[1] : undefined;
  const app = id ?? state.appId ?? single;
  const need = { sub: `build/${state.number}`, scopes: ["upload"] as const };
  checkClaims(call.caller, app === undefined ? { ...need, everyApp: true } : { ...need, app });
}

export async function createRef(call: Call): Promise<Answer> {
  const found = await allowedBuild(call, ["upload"]);
  const { ref, commit, "build-log-url": logUrl } = await jsonOf(call.request, RefAsked, true);
  checkRef(call, found, ref);
  mustBeUploading(found.state);
  const declared = { ref, commit, ...(logUrl === null || logUrl === undefined ? {} : { logUrl }) };
  const after = await changeBuild(call, found, { do: "declareRefs", refs: [declared] });
  const at = after.state.refs.findIndex((one) => one.ref === ref);
  const path = `${pathOfBuild(found)}/build_ref/${at + 1}`;
  return { body: refJson(after.state, after.state.refs[at]!, at), headers: location(call, path) };
}

export async function getRef(call: Call): Promise<Answer> {
  const { state } = await allowedBuild(call, ["build"]);
  const at = Number(call.path[1]) - 1;
  const ref = state.refs[at];
  if (ref === undefined) throw notFound();
  return { body: refJson(state, ref, at) };
}

export async function addExtraIds(call: Call): Promise<Answer> {
  const found = await allowedBuild(call, ["upload"]);
  const { ids } = await jsonOf(call.request, IdsAsked, true);
  const wrong = ids.find((id) => !/^[A-Za-z0-9]+(\.[A-Za-z0-9]+)*$/.test(id));
  if (wrong !== undefined) throw generic(`Invalid extra id ${wrong.slice(0, 200)}`);
  mustBeUploading(found.state);
  const after = ids.length === 0 ? found : await changeBuild(call, found, { do: "addExtraIds", ids });
  return { body: shown(after), headers: location(call, `${pathOfBuild(found)}/add_extra_ids`) };
}

/** Of missing objects. */
const NAMED = 20;

export async function commit(call: Call): Promise<Answer> {
  const found = await allowedBuild(call, ["build"]);
  const { endoflife, endoflife_rebase: rebase, token_type: tokenType } = await jsonOf(call.request, CommitAsked, true);
  mustBeUploading(found.state);
  if (found.state.refs.length === 0) throw generic("No refs in build");
  const { count, missing } = answered(await call.uploads.check(senderOf(call), found.state));
  if (count > 0) throw generic(`${count} objects are missing: ${missing.slice(0, NAMED).join(", ")}`);
  const after = await changeBuild(call, found, {
    do: "commit",
    ...(endoflife ? { endOfLife: endoflife } : {}),
    ...(rebase ? { endOfLifeRebase: rebase } : {}),
    ...(tokenType === null || tokenType === undefined ? {} : { tokenType }),
  });
  return { ...(await jobAnswer(call, after, "commit", 0)), headers: location(call, `${pathOfBuild(found)}/commit`) };
}

export async function publish(call: Call): Promise<Answer> {
  const found = await allowedBuild(call, ["publish"]);
  await jsonOf(call.request, Nothing, true);
  mustBePublishable(found.state);
  const after = await changeBuild(call, found, { do: "publish" });
  return { ...(await jobAnswer(call, after, "publish", 0)), headers: location(call, `${pathOfBuild(found)}/publish`) };
}

/** How long the files' going is waited for, in milliseconds. */
const PURGE_MS = 60_000;
const IN_USE = "Can't prune build while in use";

export async function purge(call: Call): Promise<Answer> {
  const found = await allowedBuild(call, ["build"]);
  await jsonOf(call.request, Nothing, true);
  const { state, published } = found.state;
  if (["committing", "purging", "validating"].includes(state!) || published === "publishing") throw generic(IN_USE);
  const after = await changeBuild(call, found, { do: "purge" });
  const isGone = (now: BuildState) => now.state !== "purging";
  const { loaded } = isGone(after.state)
    ? { loaded: after }
    : await call.gateway.waits.until(build, found.id, (now) => isGone(now.state), PURGE_MS);
  if (!isGone(loaded.state)) throw away("The build's files are going; its publisher takes its time", 5);
  return { body: shown({ ...found, state: loaded.state }), headers: location(call, pathOfBuild(found)) };
}
