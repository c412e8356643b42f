/** Builds on their way into repositories. */
import type { IncomingMessage } from "node:http";
import { within } from "@millrace/contracts/access.ts";
import { Api } from "@millrace/contracts/api.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { type BuildState, build, NUMBER_TAKEN } from "@millrace/domain/publishing/build.ts";
import { repository } from "@millrace/domain/publishing/repository.ts";
import { buildsView } from "@millrace/domain/publishing/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { inWords, seenOf } from "../answers.ts";
import { type Asked, reachOf } from "../asked.ts";
import { carryOutAll, commands, type Handle, handle, json, pathOf, type Request } from "../command.ts";
import { fail, problemOf } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { Places } from "../places.ts";
import { BuildNumbers } from "../publishing/numbers.ts";
import { answered, BuildUploads, refuseMissing } from "../publishing/uploads.ts";
import { list } from "../queries.ts";

interface Creating extends Request {
  readonly payload: {
    readonly repository: string;
    readonly appId?: string;
    readonly source?: { readonly type: "upload" };
    readonly publicDownload?: boolean;
    readonly logUrl?: string;
    readonly priority?: number;
  };
}

const create = <R extends Creating>(gateway: Gateway, numbers: BuildNumbers): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { repository: named, source = { type: "upload" }, priority = 0, ...payload } = request.payload;
    const reach = reachOf(asked);
    const into = await loadOwn(gateway, repository, asked, named);
    if (!within(reach, [into.id])) fail(new NotFound({ detail: "There is no such repository." }));
    const { publicDownload = payload.appId === undefined, ...asks } = payload;
    const { loaded, headers } = await carryOutAll(gateway, request, asked, {
      target: request.request.url,
      plan: async ({ makeId, isRepeat }) => {
        const id = makeId(build.prefix);
        // What was made before has its number.
        const number = isRepeat(await gateway.log.aggregates.load(build, id)) ? 0 : await numbers.next();
        const command = {
          do: "create",
          number,
          repository: into.id,
          source,
          publicDownload,
          priority,
          ...asks,
        } as const;
        return [{ kind: build, id, command }];
      },
      isOvertaken: (refusal) => {
        const isTaken = refusal.refused === "rule" && refusal.rule === NUMBER_TAKEN;
        if (isTaken) numbers.overtaken();
        return isTaken;
      },
    });
    const [made] = loaded;
    const location = pathOf(build, made!.organisation!, made!.id);
    const etag = `"${build.generation(made!.state)}"`;
    return json(build.represent(made!.state), { status: 201, headers: { ...headers, location, etag } });
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

export const buildRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "builds", (handlers) => {
    const uploads = new BuildUploads(gateway);
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
      .handle("createBuild", create(gateway, new BuildNumbers(gateway.log)))
      .handle("listBuilds", list(gateway, buildsView, { query: inWords }))
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
      .handle("publishBuild", steer("publish"))
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
      .handle("historyOfBuild", history(gateway, build))
      .handle("diffBuild", before.diff());
  });
