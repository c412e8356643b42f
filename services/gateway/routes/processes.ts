/** Processes: people only look. */
import { Api } from "@millrace/contracts/api.ts";
import { process } from "@millrace/domain/automation/process.ts";
import { processesView } from "@millrace/domain/automation/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import type { Gateway } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";

export const processRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "processes", (handlers) =>
    handlers
      .handle("listProcesses", list(gateway, processesView))
      .handle("getProcess", past(gateway, process).get())
      .handle("historyOfProcess", history(gateway, process)),
  );
