/** Whole repositories by flat-manager's API: an application published again under other terms, and pruning. */
import { createHash } from "node:crypto";
import { repositoryContents } from "@millrace/contracts/publishing/asks.ts";
import { repository } from "@millrace/domain/publishing/repository.ts";
import { repositoriesView } from "@millrace/domain/publishing/views.ts";
import { ask } from "@millrace/eventlog/asks.ts";
import * as Schema from "effect/Schema";
import { readPage } from "../queries.ts";
import { type Answer, away, generic, insufficient, notFound } from "./answers.ts";
import { jsonOf } from "./body.ts";
import { type Call, change, changeBuild, createBuild, type FoundRepository, findRepository, urlOf } from "./call.ts";
import { check, checkClaims } from "./callers.ts";
import * as jobs from "./jobs.ts";
import { answered, senderOf } from "./uploads.ts";
import { ascii, type JobJson, jobId } from "./wire.ts";

const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema));
const RepublishAsked = Schema.Struct({
  app: Schema.String,
  endoflife: optional(Schema.String),
  endoflife_rebase: optional(Schema.String),
});
const PruneAsked = Schema.Struct({ repo: Schema.String });

/** A build of what is published now, committed under these terms, and published as soon as it is ready. */
export async function republish(call: Call): Promise<Answer> {
  const name = call.path[0]!;
  const { app, endoflife, endoflife_rebase: rebase } = await jsonOf(call.request, RepublishAsked, true);
  checkClaims(call.caller, { sub: "build", scopes: ["republish"], repo: name, app });
  const into = await findRepository(call, name);
  if (into === undefined) throw generic("No such repo");
  check(call.caller, { sub: "build", scopes: ["republish"], lineage: [into.id] });
  const { node } = into.state;
  if (node === null) throw away("The repository is being made; its publisher has not begun");
  const { refs } = await ask(call.gateway.log.nats, repositoryContents, node, { repository: into.id });
  const published = refs.filter(({ ref }) => ref.startsWith(`app/${app}/`)).map(({ ref, commit }) => ({ ref, commit }));
  if (published.length === 0) throw generic(`Nothing of ${app.slice(0, 255)} is published in this repository`);
  const source = { type: "upload" } as const;
  const made = await createBuild(call, into, { appId: app, source, publicDownload: false, priority: 0 });
  const declared = await changeBuild(call, made, { do: "declareRefs", refs: published });
  // Held from now on: nothing prunes it meanwhile.
  const { count } = answered(await call.uploads.check(senderOf(call), declared.state));
  if (count > 0) throw generic(`${count} objects of what is published are missing: have the repository validated`);
  const committing = await changeBuild(call, declared, {
    do: "commit",
    ...(endoflife ? { endOfLife: endoflife } : {}),
    ...(rebase ? { endOfLifeRebase: rebase } : {}),
    publish: true,
  });
  const location = urlOf(call, `/api/v1/job/${jobId(made.state.number, "republish")}`);
  return { ...(await jobs.jobAnswer(call, committing, "republish", 0)), headers: { location } };
}

/** Jobs of pruning have numbers of their own, behind those of builds: made of the repository's id. */
const PRUNING_FROM = 2 ** 30;
const PRUNE_KIND = 5;
const pruneId = (id: string): number =>
  PRUNING_FROM + (createHash("sha256").update(id).digest().readUInt32BE() % PRUNING_FROM);

function pruneJob({ id, state }: FoundRepository, offset: number): JobJson {
  const { asked, done, last } = state.pruning;
  const isDone = done >= asked;
  const said = isDone && last !== null ? `Pruned at ${last.at}\n` : "";
  return {
    id: pruneId(id),
    kind: PRUNE_KIND,
    status: isDone ? 2 : 1,
    contents: "{}",
    ...(isDone ? { results: "{}" } : {}),
    log: ascii(`Pruning ${state.name}\n${said}`).slice(offset),
    start_after: null,
    repo: null,
  };
}

export async function prune(call: Call): Promise<Answer> {
  const { claims, powers, organisation } = call.caller;
  checkClaims(call.caller, { sub: claims?.sub ?? "", scopes: ["tokenmanagement"] });
  const { repo } = await jsonOf(call.request, PruneAsked, true);
  const found = await findRepository(call, repo);
  if (found === undefined) throw generic("No such repo");
  if (powers?.allows("publishing:edit", organisation.id, [found.id]) === false) {
    throw insufficient("It takes the permission publishing:edit");
  }
  const { loaded } = await change(call, { kind: repository, id: found.id, command: { do: "prune" } });
  const after = { ...found, state: loaded.state };
  return { body: pruneJob(after, 0), headers: { location: urlOf(call, `/api/v1/job/${pruneId(found.id)}`) } };
}

/** A job of a build, or of pruning. @throws FlatRefused (404) where nothing of the caller's has this number */
export async function getJob(call: Call): Promise<Answer> {
  const id = jobs.idOf(call);
  if (id < PRUNING_FROM) return jobs.get(call);
  const offset = await jobs.offsetOf(call);
  const asked = { request: undefined as never, headers: {}, query: { limit: 200 } };
  const { id: organisation } = call.caller.organisation;
  const show = ({ spec }: { readonly spec: { readonly name: string } }) => ({ name: spec.name });
  const { items } = await readPage(call.gateway, repositoriesView, asked, organisation, { show });
  for (const { name } of items as ReadonlyArray<{ readonly name: string }>) {
    const found = await findRepository(call, call.callers.clientNameOf(name));
    if (found === undefined || pruneId(found.id) !== id) continue;
    check(call.caller, {
      sub: call.caller.claims?.sub ?? "",
      scopes: ["jobs", "tokenmanagement"],
      lineage: [found.id],
    });
    return { body: pruneJob(found, offset) };
  }
  throw notFound();
}
