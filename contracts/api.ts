/** The whole HTTP API. A context adds its group here and its routes in the gateway. */
import * as HttpApi from "effect/http-api/HttpApi";
import * as OpenApi from "effect/http-api/OpenApi";
import { applicationsApi } from "./applications/api.ts";
import { logsApi } from "./applications/logs.ts";
import { metricsApi } from "./applications/metrics.ts";
import { uploadsApi } from "./applications/uploads.ts";
import { alertsApi } from "./automation/alerts.ts";
import { automationApi } from "./automation/api.ts";
import { processesApi } from "./automation/processes.ts";
import { rulesApi } from "./automation/rules.ts";
import { devicesApi } from "./devices/api.ts";
import { deviceExportsApi } from "./devices/exports.ts";
import { deviceOperationsApi } from "./devices/operations.ts";
import { deviceScansApi } from "./devices/scans.ts";
import { deviceSetsApi } from "./devices/sets.ts";
import { deviceSyncsApi } from "./devices/syncs.ts";
import { Authorization } from "./http.ts";
import { identityApi } from "./identity/api.ts";
import { membersApi } from "./identity/members.ts";
import { secretsApi } from "./identity/secrets.ts";
import { webhooksApi } from "./integrations/api.ts";
import { channelsApi } from "./integrations/channels.ts";
import { subscribersApi } from "./integrations/subscribers.ts";
import { buildsApi } from "./publishing/builds.ts";
import { repositoriesApi } from "./publishing/repositories.ts";
import { systemApi } from "./system/api.ts";
import { workApi } from "./work/api.ts";

export class Api extends HttpApi.make("millrace")
  .add(identityApi)
  .add(membersApi)
  .add(secretsApi)
  .add(systemApi)
  .add(workApi)
  .add(applicationsApi)
  .add(logsApi)
  .add(uploadsApi)
  .add(webhooksApi)
  .add(channelsApi)
  .add(subscribersApi)
  .add(automationApi)
  .add(rulesApi)
  .add(processesApi)
  .add(alertsApi)
  .add(metricsApi)
  .add(devicesApi)
  .add(deviceSetsApi)
  .add(deviceOperationsApi)
  .add(deviceScansApi)
  .add(deviceSyncsApi)
  .add(deviceExportsApi)
  .add(repositoriesApi)
  .add(buildsApi)
  .middleware(Authorization)
  .annotate(HttpApi.QueryParseOptions, { onExcessProperty: "error", errors: "all" })
  .annotate(HttpApi.PayloadParseOptions, { onExcessProperty: "error", errors: "all" })
  .annotateMerge(
    OpenApi.annotations({
      title: "Millrace",
      version: "1.0.0",
      description:
        "A self-hosted control plane on one stream of events. Errors are problems (RFC 9457) of a closed set; see `/problems/`.",
      license: { name: "Apache-2.0" },
    }),
  ) {}
