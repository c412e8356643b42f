/** Builds on their way into repositories. */
import type { IncomingMessage } from "node:http";
import { within } from "@millrace/contracts/access.ts";
import { Api } from "@millrace/contracts/api.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { buildRetention, RETENTION_MOST } from "@millrace/contracts/publishing/asks.ts";
import {
  type BuildCommand,
  type BuildState,
  build,
  HELD,
  holdClaim,
  NUMBER_TAKEN,
  numberClaim,
  REVIEW_TAKEN,
  reviewClaim,
} from "@millrace/domain/publishing/build.ts";
import { repository } from "@millrace/domain/publishing/repository.ts";
import { buildsView } from "@millrace/domain/publishing/views.ts";
import { ask } from "@millrace/eventlog/asks.ts";
import { holdersOf } from "@millrace/eventlog/execute.ts";
import { FreeNumbers } from "@millrace/eventlog/free-numbers.ts";
import { listNodes } from "@millrace/eventlog/presence.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { forbidden } from "../access.ts";
import { accepted, inWords, seenOf } from "../answers.ts";
import { type Asked, mayAlso, reachOf } from "../asked.ts";
import { down, Holders } from "../bytes.ts";
import { carryOutAll, commands, type Handle, handle, invalidInput, json, pathOf, type Request } from "../command.ts";
import { sendDown } from "../content.ts";
import { fail, problemOf, problemOfRefusal } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { Places } from "../places.ts";
import { type AskedSource, sourceOf } from "../publishing/manifests.ts";
import { statistics } from "../publishing/statistics.ts";
import { answered, BuildUploads, refuseMissing } from "../publishing/uploads.ts";
import { list } from "../queries.ts";

type Asking = Omit<Extract<BuildCommand, { do: "create" }>, "do" | "number">;

interface Creating extends Request {
  readonly payload: {
    readonly repository: string;
    readonly appId?: string;
    readonly source?: AskedSource;
    readonly publicDownload?: boolean;
    readonly logUrl?: string;
    readonly priority?: number;
  };
}

/** A build with the next number. */
const begin = (gateway: Gateway, numbers: FreeNumbers, request: Request, asked: Asked, asking: Asking) =>
  carryOutAll(gateway, request, asked, {
    target: request.request.url,
    plan: async ({ makeId, isRepeat }) => {
      const id = makeId(build.prefix);
      // What was made before has its number.
      const number = isRepeat(await gateway.log.aggregates.load(build, id)) ? 0 : await numbers.next();
      return [{ kind: build, id, command: { do: "create", number, ...asking } }];
    },
    isOvertaken: (refusal) => {
      const isTaken = refusal.refused === "rule" && refusal.rule === NUMBER_TAKEN;
      if (isTaken) numbers.overtaken();
      return isTaken;
    },
  });

/** A repository that the caller may publish in. @throws Failed (not-found) */
async function ownRepository(gateway: Gateway, asked: Asked, named: string): Promise<string> {
  const reach = reachOf(asked);
  const { id } = await loadOwn(gateway, repository, asked, named);
  return within(reach, [id]) ? id : fail(new NotFound({ detail: "There is no such repository." }));
}

const create = <R extends Creating>(gateway: Gateway, numbers: FreeNumbers): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { repository: named, source: wanted, priority = 0, ...payload } = request.payload;
    const into = await ownRepository(gateway, asked, named);
    const source = await sourceOf(gateway, asked, wanted);
    const { publicDownload = payload.appId === undefined, ...asks } = payload;
    const asking = { repository: into, source, publicDownload, priority, ...asks } as const;
    const { loaded, headers } = await begin(gateway, numbers, request, asked, asking);
    const [made] = loaded;
    const location = pathOf(build, made!.organisation!, made!.id);
    const etag = `"${build.generation(made!.state)}"`;
    return json(build.represent(made!.state), { status: 201, headers: { ...headers, location, etag } });
  });

interface Following extends Request {
  readonly payload: {
    readonly refs?: ReadonlyArray<string>;
    readonly hold?: string;
    readonly priority?: number;
    /** Of a promotion. */
    readonly repository?: string;
  };
}

/** What a build published: again, elsewhere, or taken away. It is a build of its own, published at once. */
const follow = <R extends Following>(
  gateway: Gateway,
  numbers: FreeNumbers,
  type: "rollback" | "promotion" | "unpublish",
): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { id } = request.params as { readonly id: string };
    const { refs: only, hold, priority = 0, repository: named } = request.payload;
    const { state: of } = await loadOwn(gateway, build, asked, id);
    const from = of.repository;
    const into = named === undefined ? from : (await loadOwn(gateway, repository, asked, named)).id;
    if (into !== from && !mayAlso(asked, "publishing:publish", into)) fail(forbidden("publishing:publish"));
    const unknown =
      only?.findIndex((ref) => of.refs.every((each) => each.ref !== ref || each.published === null)) ?? -1;
    if (unknown >= 0) fail(invalidInput(`/body/refs/${unknown}`, "was not published by this build"));
    const refs = of.refs.flatMap(({ ref, published: commit }) =>
      commit !== null && only?.includes(ref) !== false ? [{ ref, commit }] : [],
    );
    const source = type === "promotion" ? { type, build: of.id, from } : { type, build: of.id };
    const { appId, publicDownload } = of;
    const { loaded, headers } = await begin(gateway, numbers, request, asked, {
      repository: into,
      source,
      publicDownload,
      priority,
      refs,
      ...(appId === null ? {} : { appId }),
      ...(hold === undefined ? {} : { hold }),
    });
    return accepted(build, loaded[0]!, headers);
  });

/** About a build, and for the permissions about which nothing is remembered yet: about those from now on. */
const decide = <R extends Request & { readonly payload: { readonly comment?: string } }>(
  gateway: Gateway,
  verb: "approve" | "reject",
): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { id } = await loadOwn(gateway, build, asked, (request.params as { readonly id: string }).id);
    const { loaded, headers } = await carryOutAll(gateway, request, asked, {
      target: `${asked.route} ${id}`,
      plan: async () => {
        const { state } = await gateway.log.aggregates.load(build, id);
        const sets = [...new Set(state.review?.changes.map(({ set }) => set))];
        const claims = sets.map((set) => reviewClaim(state.repository, set));
        const holders = await holdersOf(gateway.log, build.context, claims);
        const take = sets.filter((_, at) => holders[at] === null);
        return [{ kind: build, id, command: { do: verb, take, ...request.payload } }];
      },
      isOvertaken: (refusal) => refusal.refused === "rule" && refusal.rule === REVIEW_TAKEN,
    });
    const [made] = loaded;
    if (verb === "approve") return accepted(build, made!, headers);
    return json(build.represent(made!.state), { headers: { ...headers, etag: `"${build.generation(made!.state)}"` } });
  });

/** The publisher is asked for what is missing. Where it is away, it looks when it is back. */
async function checkWhole(gateway: Gateway, uploads: BuildUploads, asked: Asked, id: string): Promise<void> {
  const { state, organisation } = await gateway.log.aggregates.load(build, id);
  // Refused by the rules, or as if it were not there.
  if (organisation !== asked.organisation!.id || state.state !== "uploading" || state.refs.length === 0) return;
  const answer = await uploads.check(asked, state).catch((error: unknown) => {
    if (problemOf(error)?.status === 503) return undefined;
    throw error;
  });
  if (answer !== undefined && ("ok" in answer || answer.fault.fault === "refused")) refuseMissing(answered(answer));
}

/** Nothing is published to what another build holds. @throws Failed (refused) */
async function checkFree({ log }: Gateway, asked: Asked, id: string): Promise<void> {
  const { state, organisation } = await log.aggregates.load(build, id);
  if (organisation !== asked.organisation!.id) return;
  const claims = state.refs.map(({ ref }) => holdClaim(state.repository, ref));
  const at = (await holdersOf(log, build.context, claims)).findIndex((holder) => holder !== null && holder !== id);
  if (at >= 0) fail(problemOfRefusal(HELD(state.refs[at]!.ref)));
}

/** Of every publisher that is there; within what the token reaches. */
const retention = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (_, asked) => {
    const { nats } = gateway.log;
    const nodes = (await listNodes(nats)).filter(({ service }) => service === "publisher").map(({ node }) => node);
    const organisation = asked.organisation!.id;
    const told = await Promise.all(
      [...new Set(nodes)].map((node) => ask(nats, buildRetention, node, { organisation })),
    );
    const reach = reachOf(asked);
    const all = told
      .flatMap(({ builds }) => builds)
      .filter((each) => within(reach, [each.build, each.repository, organisation]))
      .sort((a, b) => (a.at < b.at ? -1 : 1));
    const builds = all.slice(0, RETENTION_MOST);
    const more = all.length > builds.length || told.some((each) => each.more);
    return json({ builds, ...(more ? { more } : {}) });
  });

/** What is kept of a build that failed, as it comes from the publisher that has it. */
const artefacts = <R extends Request>(gateway: Gateway, places: Places): Handle<R> => {
  const holders = new Holders(gateway, "publisher");
  return handle(gateway, async (request, asked) => {
    const { id } = request.params as { readonly id: string };
    const { arch: named } = request.query as { readonly arch?: string };
    const { state } = await loadOwn(gateway, build, asked, id);
    const kept = state.failure?.artefacts ?? [];
    if (named === undefined && kept.length > 1) {
      const all = kept.map(({ arch }) => arch).join(", ");
      fail(invalidInput("/query/arch", `must say which, one of ${all}`));
    }
    const found = kept.find(({ arch }) => named === undefined || arch === named);
    const lost = new NotFound({
      detail: "Nothing is kept of this build.",
      fix: "Only what failed while it was built leaves something, until the build's files go. Retry it to see it again.",
    });
    if (found === undefined || state.node === null) return fail(lost);
    const { arch } = found;
    const headers = { ...passedOn(request), "x-artefact": arch };
    const leave = places.enter(asked.token!.id);
    try {
      const holder = await holders.of(state.node);
      const answer = await down(gateway, holders, holder, asked, { act: "read", resource: state.id, headers });
      return await sendDown(answer, { name: `build-${state.number}-${arch}.tar.gz`, node: state.node, lost }, asked);
    } finally {
      leave();
    }
  });
};

/** What says which part of it is wanted. */
const passedOn = ({ request }: Request): Readonly<Record<string, string | undefined>> => {
  const { range, "if-range": ifRange, "if-none-match": ifNoneMatch } = request.headers;
  return { range, "if-range": ifRange, "if-none-match": ifNoneMatch };
};

export const buildRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "builds", (handlers) => {
    const uploads = new BuildUploads(gateway);
    const numbers = new FreeNumbers(gateway.log, build.context, numberClaim);
    const places = new Places({
      each: 32,
      all: 500,
      tooMany: (mine) => `This token moves ${mine} streams of bytes already.`,
      full: "This gateway moves as many streams of bytes as it can.",
      fix: "Wait until some have ended.",
    });
    /** What is brought, or asked of the publisher, for a build of the organisation. */
    const bring = <R extends Request>(
      act: (request: R, asked: Asked, state: BuildState) => Promise<unknown>,
    ): Handle<R> =>
      handle(gateway, async (request, asked) => {
        const { id } = request.params as { readonly id: string };
        const { state } = await loadOwn(gateway, build, asked, id);
        const leave = places.enter(asked.token!.id);
        try {
          return json(await act(request, asked, state));
        } finally {
          leave();
        }
      });
    const builds = commands(gateway, build);
    const before = past(gateway, build);
    const steer = (verb: "publish" | "cancel" | "purge" | "retry") => builds.act(() => ({ do: verb }), { status: 202 });
    return handlers
      .handle("createBuild", create(gateway, numbers))
      .handle("rollBackToBuild", follow(gateway, numbers, "rollback"))
      .handle("promoteBuild", follow(gateway, numbers, "promotion"))
      .handle("unpublishBuild", follow(gateway, numbers, "unpublish"))
      .handle(
        "releaseHold",
        builds.act(() => ({ do: "releaseHold" })),
      )
      .handle("listBuilds", list(gateway, buildsView, { query: inWords }))
      .handle("buildRetention", retention(gateway))
      .handle("buildStatistics", statistics(gateway))
      .handle("getBuild", before.get())
      .handle(
        "changeBuild",
        builds.change(({ payload }, seen) => ({ do: "change", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "declareRefs",
        builds.act(({ payload }) => ({ do: "declareRefs", ...payload })),
      )
      .handle(
        "addExtraIds",
        builds.act(({ payload }) => ({ do: "addExtraIds", ...payload })),
      )
      .handle(
        "commitBuild",
        builds.act(
          async ({ payload }, _, asked, id) => {
            await checkWhole(gateway, uploads, asked, id);
            return { do: "commit", ...payload };
          },
          { status: 202 },
        ),
      )
      .handle(
        "publishBuild",
        builds.act(
          async (_, __, asked, id) => {
            await checkFree(gateway, asked, id);
            return { do: "publish" };
          },
          { status: 202 },
        ),
      )
      .handle("cancelBuild", steer("cancel"))
      .handle("purgeBuild", steer("purge"))
      .handle("retryBuild", steer("retry"))
      .handle(
        "missingObjects",
        bring(async (request: Request, asked, state) =>
          answered(await uploads.missing(asked, state, Buffer.from(JSON.stringify(request.payload)))),
        ),
      )
      .handle(
        "uploadObjects",
        bring(async (request: Request, asked, state) => ({
          sizes: answered(await uploads.send(asked, state, request.request.source as IncomingMessage)),
        })),
      )
      .handle(
        "reviewBuild",
        bring(async (_: Request, asked, state) => answered(await uploads.review(asked, state))),
      )
      .handle("artefactsOfBuild", artefacts(gateway, places))
      .handle("approveBuild", decide(gateway, "approve"))
      .handle("rejectBuild", decide(gateway, "reject"))
      .handle("historyOfBuild", history(gateway, build))
      .handle("diffBuild", before.diff());
  });
