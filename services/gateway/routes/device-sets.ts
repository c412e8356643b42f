/** Profiles and groups of devices. */
import { Api } from "@millrace/contracts/api.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { profile } from "@millrace/domain/devices/profile.ts";
import { deviceGroupsView, deviceProfilesView } from "@millrace/domain/devices/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { seenOf } from "../answers.ts";
import { commands } from "../command.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";
import { mayNameSecrets } from "./device-desired.ts";

export const deviceSetRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "deviceSets", (handlers) => {
    const profiles = commands(gateway, profile);
    const groups = commands(gateway, group);
    const before = { profile: past(gateway, profile), group: past(gateway, group) };
    return handlers
      .handle(
        "createDeviceProfile",
        profiles.create(({ payload }, asked) => {
          mayNameSecrets(asked, payload.configuration, {});
          return { do: "create", spec: payload };
        }),
      )
      .handle("listDeviceProfiles", list(gateway, deviceProfilesView))
      .handle("getDeviceProfile", before.profile.get())
      .handle(
        "changeDeviceProfile",
        profiles.change(async ({ payload }, seen, asked, id) => {
          const { state } = await loadOwn(gateway, profile, asked, id);
          mayNameSecrets(asked, payload.configuration ?? {}, state.spec.configuration);
          return { do: "change", spec: payload, ...seenOf(seen) };
        }),
      )
      .handle(
        "deleteDeviceProfile",
        profiles.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
      )
      .handle("historyOfDeviceProfile", history(gateway, profile))
      .handle("diffDeviceProfile", before.profile.diff())
      .handle(
        "createDeviceGroup",
        groups.create(({ payload }) => ({ do: "create", spec: payload })),
      )
      .handle("listDeviceGroups", list(gateway, deviceGroupsView))
      .handle("getDeviceGroup", before.group.get())
      .handle(
        "changeDeviceGroup",
        groups.change(({ payload }, seen) => ({ do: "change", spec: payload, ...seenOf(seen) })),
      )
      .handle(
        "deleteDeviceGroup",
        groups.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
      )
      .handle("historyOfDeviceGroup", history(gateway, group));
  });
