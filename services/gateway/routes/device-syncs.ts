/** Configurations in Git: which are kept where, runs, and plans approved. */
import { Api } from "@millrace/contracts/api.ts";
import type { Selection } from "@millrace/contracts/devices/selection.ts";
import { type SyncSpec, sync } from "@millrace/domain/devices/sync.ts";
import { syncsView } from "@millrace/domain/devices/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { inWords, seenOf } from "../answers.ts";
import type { Asked } from "../asked.ts";
import { commands } from "../command.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";
import { mayName, type NamesSecrets } from "./application-secrets.ts";
import { idsOf } from "./device-desired.ts";

type Place = Partial<Pick<SyncSpec, "repository" | "credentials">>;

/** Whose credentials are sent where. */
const secretsOf = ({ repository = {}, credentials = null }: Place): NamesSecrets => ({
  source: { url: repository.url ?? "", ...(credentials === null ? {} : { credentials }) },
});

/** With profiles by id. */
async function selectOf(gateway: Gateway, asked: Asked, { select }: { readonly select?: Selection | null }) {
  if (!select?.profile) return {};
  const [profile] = await idsOf(gateway, asked, "profile", [select.profile], "/body/select/profile");
  return { select: { ...select, profile: profile! } };
}

// biome-ignore lint/suspicious/noExplicitAny: as the kind represents it
const listedSync = ({ status: { plan: _, failure: __, ...status }, ...entity }: any): unknown => ({
  ...entity,
  status,
});

export const deviceSyncRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "deviceSyncs", (handlers) => {
    const syncs = commands(gateway, sync);
    const before = past(gateway, sync);
    return handlers
      .handle(
        "createSync",
        syncs.create(async ({ payload }, asked) => {
          mayName(asked, secretsOf(payload));
          return { do: "create", spec: { ...payload, ...(await selectOf(gateway, asked, payload)) } };
        }),
      )
      .handle("listSyncs", list(gateway, syncsView, { query: inWords, show: listedSync }))
      .handle("getSync", before.get())
      .handle(
        "changeSync",
        syncs.change(async ({ payload }, seen, asked, id) => {
          const { spec } = (await loadOwn(gateway, sync, asked, id)).state;
          mayName(asked, secretsOf({ ...spec, ...payload }), secretsOf(spec));
          const select = await selectOf(gateway, asked, payload);
          return { do: "change", spec: { ...payload, ...select }, ...seenOf(seen) };
        }),
      )
      .handle(
        "deleteSync",
        syncs.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
      )
      .handle(
        "runSync",
        syncs.act(() => ({ do: "run" }), { status: 202 }),
      )
      .handle(
        "approveSync",
        syncs.act(({ payload: { commit } }) => ({ do: "approve", commit }), { status: 202 }),
      )
      .handle("historyOfSync", history(gateway, sync));
  });
