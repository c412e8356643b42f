/** Secrets: sealed here, before anything of them reaches the log. */
import { Api } from "@millrace/contracts/api.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { secret, secretNames } from "@millrace/domain/identity/secret.ts";
import { secrets as view } from "@millrace/domain/identity/views.ts";
import { readClaim } from "@millrace/eventlog/execute.ts";
import { Erased } from "@millrace/eventlog/sealing.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { commands } from "../command.ts";
import { fail, problemOfRefusal } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";

const NOT_THERE = new NotFound({ detail: "There is no such secret." });

const given = (seen: number | undefined) => (seen === undefined ? {} : { seen });

export const secretsRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "secrets", (handlers) => {
    const secrets = commands(gateway, secret);
    const before = past(gateway, secret);
    const seal = async (organisation: string, subject: string, value: string) => {
      try {
        return await gateway.sealing.seal({ organisation, subject }, value);
      } catch (error) {
        // Erased a moment ago: for a subject that was erased nothing is ever sealed again.
        if (error instanceof Erased) return fail(NOT_THERE);
        throw error;
      }
    };
    // Sealing makes a key where there is none: only for what is there, or may come to be.
    const free = async (organisation: string, name: string, id: string) => {
      const { holder } = await readClaim(gateway.log, "identity", secret.nameClaim!(organisation, name));
      if (holder !== null && holder !== id) fail(problemOfRefusal(secretNames.taken(name)));
    };
    const there = async (organisation: string, id: string) => {
      const loaded = await gateway.log.aggregates.load(secret, id);
      if (loaded.organisation !== organisation || !secret.exists(loaded.state)) fail(NOT_THERE);
    };
    return handlers
      .handle(
        "storeSecret",
        secrets.create(async ({ payload: { name, value } }, asked, id) => {
          await free(asked.organisation!.id, name, id);
          return { type: "StoreSecret", name, sealed: await seal(asked.organisation!.id, id, value) };
        }),
      )
      .handle("listSecrets", list(gateway, view))
      .handle("getSecret", before.get())
      .handle(
        "replaceSecret",
        secrets.change(async ({ payload: { value } }, seen, asked, id) => {
          await there(asked.organisation!.id, id);
          return { type: "ReplaceSecret", ...given(seen), sealed: await seal(asked.organisation!.id, id, value) };
        }),
      )
      .handle(
        "eraseSecret",
        secrets.remove((_, seen) => ({ type: "EraseSecret", ...given(seen) }), {
          after: (asked, id) => gateway.sealing.erase({ organisation: asked.organisation!.id, subject: id }),
        }),
      )
      .handle("historyOfSecret", history(gateway, secret))
      .handle("diffSecret", before.diff());
  });
