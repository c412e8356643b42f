/** Repositories of Flatpaks. */
import { Api } from "@millrace/contracts/api.ts";
import type { AskDeclaration } from "@millrace/contracts/asks.ts";
import { NotFound, Refused } from "@millrace/contracts/problems.ts";
import { prunePreview, repositoryContents, repositoryStatistics } from "@millrace/contracts/publishing/asks.ts";
import { OVERLAP_DAYS } from "@millrace/contracts/publishing/repositories.ts";
import { type RepositoryState, repository } from "@millrace/domain/publishing/repository.ts";
import { repositoriesView } from "@millrace/domain/publishing/views.ts";
import type { Sealed } from "@millrace/domain/sealed.ts";
import { ask } from "@millrace/eventlog/asks.ts";
import { Erased } from "@millrace/eventlog/sealing.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { inWords, seenOf } from "../answers.ts";
import type { Asked } from "../asked.ts";
import { commands, handle, json, type Request } from "../command.ts";
import { fail, unavailable } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";
import { checkAddress } from "./destinations.ts";

const DAY_MS = 86_400_000;

/** A repository to follow is at an address that may be asked; names are judged when they are resolved, by who asks. */
function judged<P extends { readonly mirror?: { readonly url: string } | null | undefined }>(
  gateway: Gateway,
  payload: P,
): P {
  if (payload.mirror != null) checkAddress(gateway, payload.mirror.url, "/body/mirror/url");
  return payload;
}

export const repositoryRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "repositories", (handlers) => {
    const repositories = commands(gateway, repository);
    const before = past(gateway, repository);
    /** A key as it was given, sealed before anything is decided. */
    const sealed = async (asked: Asked, id: string, key: string | undefined): Promise<{ readonly key?: Sealed }> => {
      if (key === undefined) return {};
      try {
        return { key: await gateway.sealing.seal({ organisation: asked.organisation!.id, subject: id }, key) };
      } catch (error) {
        if (error instanceof Erased) return fail(new NotFound({ detail: "There is no such repository." }));
        throw error;
      }
    };
    /** What its publisher says of it at this moment. */
    const told = <R extends Request, Q extends { readonly repository: string }, A>(
      declaration: AskDeclaration<Q, A>,
      more: (request: R) => Omit<Q, "repository">,
    ) =>
      handle<R>(gateway, async (request, asked) => {
        const { id, state } = await loadOwn<RepositoryState>(
          gateway,
          repository,
          asked,
          (request.params as { id: string }).id,
        );
        const { node } = state;
        if (node === null) return fail(unavailable("the publisher", "No publisher has begun to make this repository."));
        return json(
          await ask(gateway.log.nats, declaration, node, { repository: id, ...more(request) } as unknown as Q),
        );
      });
    return handlers
      .handle(
        "createRepository",
        repositories.create(async ({ payload: { secretKey, ...payload } }, asked, id) => ({
          do: "create",
          ...judged(gateway, payload),
          ...(await sealed(asked, id, secretKey)),
        })),
      )
      .handle("listRepositories", list(gateway, repositoriesView, { query: inWords }))
      .handle("getRepository", before.get())
      .handle(
        "changeRepository",
        repositories.change(({ payload }, seen) => ({ do: "change", ...judged(gateway, payload), ...seenOf(seen) })),
      )
      .handle(
        "deleteRepository",
        repositories.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
      )
      .handle(
        "retryRepository",
        repositories.act(() => ({ do: "retry" }), { status: 202 }),
      )
      .handle(
        "rotateRepositoryKey",
        repositories.change(
          async ({ payload: { secretKey, overlapDays = OVERLAP_DAYS } }, seen, asked, id) => ({
            do: "rotateKey",
            overlapDays,
            ...seenOf(seen),
            ...(await sealed(asked, id, secretKey)),
          }),
          { status: 202 },
        ),
      )
      .handle(
        "validateRepository",
        repositories.act(() => ({ do: "validate" }), { status: 202 }),
      )
      .handle(
        "pruneRepository",
        repositories.act(() => ({ do: "prune" }), { status: 202 }),
      )
      .handle(
        "mirrorRepository",
        repositories.act(({ payload }) => ({ do: "mirror", ...payload }), { status: 202 }),
      )
      .handle(
        "previewPrune",
        told(prunePreview, () => ({})),
      )
      .handle(
        "repositoryContents",
        told(repositoryContents, () => ({})),
      )
      .handle(
        "repositoryRemote",
        handle(gateway, async (request, asked) => {
          const { state } = await loadOwn<RepositoryState>(gateway, repository, asked, request.params.id);
          return json(remoteOf(state));
        }),
      )
      .handle(
        "repositoryStatistics",
        told(repositoryStatistics, ({ query }: { readonly query: StatisticsQuery } & Request) => {
          const to = query.to ?? dayOf(Date.now());
          const from = query.from ?? dayOf(Date.parse(to) - 30 * DAY_MS);
          return { from, to, ...(query.ref === undefined ? {} : { ref: query.ref }) };
        }),
      )
      .handle("historyOfRepository", history(gateway, repository))
      .handle("diffRepository", before.diff());
  });

/** @throws Failed (refused) where nothing serves it yet */
function remoteOf({ name, url, keys, settings }: RepositoryState) {
  if (url === null) {
    const reason = "Nothing serves this repository yet.";
    const fix = "Wait until it is settled; without Caddy (`mill doctor`) repositories cannot be reached.";
    return fail(new Refused({ rule: "not-served", reason, detail: reason, fix }));
  }
  const isPrivate = settings.visibility === "private";
  const publicKey = Buffer.concat(keys.map((key) => Buffer.from(key.publicKey, "base64"))).toString("base64");
  const command = isPrivate
    ? `flatpak remote-add --if-not-exists --gpg-import=key.gpg ${name} ${url.replace("://", "://user:TOKEN@")}`
    : `flatpak remote-add --if-not-exists ${name} ${url}${name}.flatpakrepo`;
  return { name, url, private: isPrivate, publicKey, command };
}

interface StatisticsQuery {
  readonly from?: string;
  readonly to?: string;
  readonly ref?: string;
}

const dayOf = (ms: number): string => (Number.isNaN(ms) ? "" : new Date(ms).toISOString().slice(0, 10));
