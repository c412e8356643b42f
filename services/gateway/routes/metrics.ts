/** Metrics of applications and nodes. */
import { Api } from "@millrace/contracts/api.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { INSTALLATION } from "@millrace/eventlog/series.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { type Gateway, loadOwn } from "../gateway.ts";
import { metricsHandler } from "../metrics.ts";

export const metricsRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "metrics", (handlers) =>
    handlers
      .handle(
        "metricsOfApplication",
        metricsHandler(gateway, async (asked, reference) => {
          const { id } = await loadOwn(gateway, application, asked, reference);
          return { organisation: asked.organisation!.id, context: "applications", kind: "application", id };
        }),
      )
      .handle(
        "metricsOfNode",
        metricsHandler(gateway, async (_, id) => ({ organisation: INSTALLATION, context: "system", kind: "node", id })),
      ),
  );
