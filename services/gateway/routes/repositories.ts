/** Repositories of Flatpaks. */
import { Api } from "@millrace/contracts/api.ts";
import { repository } from "@millrace/domain/publishing/repository.ts";
import { repositoriesView } from "@millrace/domain/publishing/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { inWords, seenOf } from "../answers.ts";
import { commands } from "../command.ts";
import type { Gateway } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";

export const repositoryRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "repositories", (handlers) => {
    const repositories = commands(gateway, repository);
    const before = past(gateway, repository);
    return handlers
      .handle(
        "createRepository",
        repositories.create(({ payload }) => ({ do: "create", ...payload })),
      )
      .handle("listRepositories", list(gateway, repositoriesView, { query: inWords }))
      .handle("getRepository", before.get())
      .handle(
        "changeRepository",
        repositories.change(({ payload }, seen) => ({ do: "change", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "retryRepository",
        repositories.act(() => ({ do: "retry" }), { status: 202 }),
      )
      .handle("historyOfRepository", history(gateway, repository))
      .handle("diffRepository", before.diff());
  });
