/** Alerts. */
import { Api } from "@millrace/contracts/api.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { alert } from "@millrace/domain/automation/alert.ts";
import { alertsView } from "@millrace/domain/automation/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { forbidden } from "../access.ts";
import { inWords, seenOf } from "../answers.ts";
import { type Asked, mayAlso } from "../asked.ts";
import { commands } from "../command.ts";
import { fail } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";

type On = { readonly kind: "application" | "node"; readonly id: string };

/** What it is about, there and for the asker's eyes: an alert tells of its values. */
async function seenOn(gateway: Gateway, asked: Asked, { kind, id }: On): Promise<On> {
  const found = kind === "node" ? id : (await loadOwn(gateway, application, asked, id)).id;
  const lineage = kind === "node" ? [] : [found];
  return mayAlso(asked, "applications:read", ...lineage) ? { kind, id: found } : fail(forbidden("applications:read"));
}

export const alertRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "alerts", (handlers) => {
    const alerts = commands(gateway, alert);
    const seen = past(gateway, alert);
    return handlers
      .handle(
        "createAlert",
        alerts.create(async ({ payload: { forMs = 0, on, ...payload } }, asked) => ({
          do: "create",
          spec: { ...payload, on: await seenOn(gateway, asked, on), forMs },
        })),
      )
      .handle("listAlerts", list(gateway, alertsView, { query: inWords }))
      .handle("getAlert", seen.get())
      .handle(
        "changeAlert",
        alerts.change(({ payload }, seen) => ({ do: "change", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "deleteAlert",
        alerts.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
      )
      .handle(
        "acknowledgeAlert",
        alerts.act((_, seen) => ({ do: "acknowledge", ...seenOf(seen) })),
      )
      .handle(
        "silenceAlert",
        alerts.act(({ payload }, seen) => ({ do: "silence", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "unsilenceAlert",
        alerts.act((_, seen) => ({ do: "unsilence", ...seenOf(seen) })),
      )
      .handle("historyOfAlert", history(gateway, alert))
      .handle("diffAlert", seen.diff());
  });
