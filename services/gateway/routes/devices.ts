/** Devices: what people want of them. Their tasks stand in device-tasks.ts. */
import { Api } from "@millrace/contracts/api.ts";
import { SITE_USUAL } from "@millrace/contracts/devices/values.ts";
import { device } from "@millrace/domain/devices/device.ts";
import { task } from "@millrace/domain/devices/task.ts";
import { devicesView, deviceTasksView } from "@millrace/domain/devices/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { inWords, seenOf } from "../answers.ts";
import { commands } from "../command.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";
import { sealCredentials } from "./device-credentials.ts";
import { adoptedBy, configuredBy, idsOf } from "./device-desired.ts";
import {
  asking,
  authenticating,
  cancelHandler,
  capabilitiesHandler,
  listedTask,
  liveHandler,
  planHandler,
} from "./device-tasks.ts";

/** As lists show it. */
// biome-ignore lint/suspicious/noExplicitAny: as the kind represents it
const listedDevice = ({ spec, status, ...entity }: any): unknown => {
  const { configuration: _, ...listedSpec } = spec;
  const {
    desired: __,
    observed: ___,
    applied: ____,
    resolvedOf: _____,
    revisions: ______,
    drift,
    ...listedStatus
  } = status;
  const counted = drift === undefined ? {} : { drift: { count: drift.fields.length + drift.more, since: drift.since } };
  return { ...entity, spec: listedSpec, status: { ...listedStatus, ...counted } };
};

export const deviceRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "devices", (handlers) => {
    const devices = commands(gateway, device);
    const before = past(gateway, device);
    const pastTasks = past(gateway, task);
    return handlers
      .handle(
        "addDevice",
        devices.create(async ({ payload: { host, port = 80, groups = [], ...payload } }, asked) => ({
          do: "add",
          spec: {
            name: `shelly-${payload.mac.toLowerCase()}`,
            site: SITE_USUAL,
            tags: [],
            expected: true,
            ...payload,
            groups: await idsOf(gateway, asked, "group", groups, "/body/groups"),
            ...(host === undefined
              ? {}
              : { address: { host, port, scheme: port === 443 ? "https" : "http" } as const }),
          },
        })),
      )
      .handle("listDevices", list(gateway, devicesView, { query: inWords, show: listedDevice }))
      .handle("getDevice", before.get())
      .handle(
        "changeDevice",
        devices.change(async ({ payload: { groups, ...payload } }, seen, asked) => ({
          do: "change",
          spec: {
            ...payload,
            ...(groups === undefined ? {} : { groups: await idsOf(gateway, asked, "group", groups, "/body/groups") }),
          },
          ...seenOf(seen),
        })),
      )
      .handle(
        "removeDevice",
        devices.remove((_, seen) => ({ do: "remove", ...seenOf(seen) }), {
          after: (asked, id) => gateway.sealing.erase({ organisation: asked.organisation!.id, subject: id }),
        }),
      )
      .handle("historyOfDevice", history(gateway, device))
      .handle("diffDevice", before.diff())
      .handle(
        "configureDevice",
        devices.change(async ({ payload }, seen, asked, id) => ({
          do: "configure",
          ...(await configuredBy(gateway, asked, id, payload)),
          ...seenOf(seen),
        })),
      )
      .handle(
        "adoptDevice",
        devices.act(async ({ payload: { components } }, seen, asked, id) => ({
          do: "adopt",
          ...(components === undefined ? {} : { components }),
          ...(await adoptedBy(gateway, asked, id, components)),
          ...seenOf(seen),
        })),
      )
      .handle(
        "storeCredentials",
        devices.change(async ({ payload: { password, ...payload } }, seen, asked, id) => {
          if (password === null) return { do: "removeCredentials", ...seenOf(seen) };
          const { state } = await loadOwn(gateway, device, asked, id);
          const credentials = await sealCredentials(gateway, asked, state, { password, ...payload });
          return { do: "storeCredentials", credentials, ...seenOf(seen) };
        }),
      )
      .handle(
        "trustDevice",
        devices.act((_, seen) => ({ do: "resetTrust", ...seenOf(seen) })),
      )
      .handle(
        "applyDevice",
        asking(gateway, ({ dryRun = false }) => ({ kind: "apply", dryRun })),
      )
      .handle(
        "rebootDevice",
        asking(gateway, () => ({ kind: "reboot" })),
      )
      .handle(
        "actOnDevice",
        asking(gateway, ({ expiresInMs: _, ...action }) => ({ kind: "action", ...action })),
      )
      .handle(
        "updateFirmware",
        asking(gateway, ({ expiresInMs: _, ...firmware }) => ({ kind: "firmware", ...firmware })),
      )
      .handle(
        "readDevice",
        asking(gateway, () => ({ kind: "read" })),
      )
      .handle("setAuthentication", authenticating(gateway))
      .handle("planOfDevice", planHandler(gateway))
      .handle("liveDevice", liveHandler(gateway))
      .handle("capabilitiesOfDevice", capabilitiesHandler(gateway))
      .handle("listDeviceTasks", list(gateway, deviceTasksView, { query: inWords, show: listedTask }))
      .handle("getDeviceTask", pastTasks.get())
      .handle("cancelDeviceTask", cancelHandler(gateway))
      .handle("historyOfDeviceTask", history(gateway, task));
  });
