/** Builds on their way into repositories. */
import { within } from "@millrace/contracts/access.ts";
import { Api } from "@millrace/contracts/api.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { build, NUMBER_TAKEN } from "@millrace/domain/publishing/build.ts";
import { repository } from "@millrace/domain/publishing/repository.ts";
import { buildsView } from "@millrace/domain/publishing/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { inWords, seenOf } from "../answers.ts";
import { reachOf } from "../asked.ts";
import { carryOutAll, commands, type Handle, handle, json, pathOf, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { BuildNumbers } from "../publishing/numbers.ts";
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

export const buildRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "builds", (handlers) => {
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
        builds.act(({ payload }) => ({ do: "commit", ...payload }), { status: 202 }),
      )
      .handle("publishBuild", steer("publish"))
      .handle("cancelBuild", steer("cancel"))
      .handle("purgeBuild", steer("purge"))
      .handle("retryBuild", steer("retry"))
      .handle("historyOfBuild", history(gateway, build))
      .handle("diffBuild", before.diff());
  });
