/** What can be asked about devices and their tasks. */
import type { View } from "../view.ts";
import { type BulkState, bulk } from "./bulk.ts";
import { type DeviceState, device } from "./device.ts";
import { stateName } from "./device-state.ts";
import { type GroupState, group } from "./group.ts";
import { type ProfileState, profile } from "./profile.ts";
import { type RolloutState, rollout } from "./rollout.ts";
import { type ScanState, scan } from "./scan.ts";
import { type SyncState, sync } from "./sync.ts";
import { type TaskState, task } from "./task.ts";
import { isOver } from "./task-state.ts";

export const devicesView: View<DeviceState> = {
  name: "devices",
  version: 1,
  kind: device,
  parents: ["group"],
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    mac: { type: "text", value: (state) => state.mac, filter: true },
    site: { type: "text", value: (state) => state.site, filter: true, sort: true },
    tag: { type: "text[]", value: (state) => state.tags, filter: true },
    group: { type: "text[]", value: (state) => state.groups, filter: true },
    profile: { type: "text[]", value: (state) => state.profiles, filter: true },
    /** Every view has a column `state` of its own: the route asks for this one when it is asked for `state`. */
    stateName: { type: "text", value: stateName, filter: true, sort: true },
    model: { type: "text", value: (state) => state.identity?.model ?? null, filter: true, sort: true },
    app: { type: "text", value: (state) => state.identity?.app ?? null, filter: true },
    gen: { type: "bigint", value: (state) => state.identity?.gen ?? null, filter: true, sort: true },
    firmware: { type: "text", value: (state) => state.firmware?.version ?? null, filter: true, sort: true },
    drifted: { type: "boolean", value: (state) => state.drift !== null, filter: true },
    outdated: { type: "boolean", value: (state) => state.offered !== null, filter: true },
    managed: { type: "boolean", value: (state) => state.desired !== null, filter: true },
    host: { type: "text", value: (state) => state.address?.host ?? null, filter: true },
    capability: { type: "text[]", value: (state) => state.identity?.capabilities ?? [], filter: true },
  },
  search: ({ name, title, mac, tags, address, identity }) => ({
    title: title ?? name,
    text: [name, mac, ...tags, address?.host, identity?.model, identity?.app, identity?.hostname]
      .filter((text) => text !== undefined)
      .join("\n"),
  }),
};

export const deviceTasksView: View<TaskState> = {
  name: "device_tasks",
  version: 1,
  kind: task,
  parents: ["device"],
  columns: {
    device: { type: "text", value: (state) => state.device, filter: true, index: true },
    kind: { type: "text", value: (state) => state.asked?.kind ?? "", filter: true },
    stateName: { type: "text", value: (state) => state.state, filter: true },
    over: { type: "boolean", value: isOver, filter: true },
    bulk: { type: "text", value: (state) => state.bulk, filter: true, index: true },
    site: { type: "text", value: (state) => state.site, filter: true },
  },
};

export const deviceProfilesView: View<ProfileState> = {
  name: "device_profiles",
  version: 1,
  kind: profile,
  columns: { name: { type: "text", value: ({ spec }) => spec.name, filter: true, sort: true } },
  search: ({ spec: { name, title, configuration } }) => ({
    title: title ?? name,
    text: [name, ...Object.keys(configuration)].join("\n"),
  }),
};

export const deviceGroupsView: View<GroupState> = {
  name: "device_groups",
  version: 1,
  kind: group,
  columns: { name: { type: "text", value: ({ spec }) => spec.name, filter: true, sort: true } },
  search: ({ spec: { name, title } }) => ({ title: title ?? name, text: name }),
};

export const bulksView: View<BulkState> = {
  name: "device_bulks",
  version: 1,
  kind: bulk,
  columns: {
    stateName: { type: "text", value: ({ state }) => state, filter: true },
    rollout: { type: "text", value: ({ spec }) => spec?.rollout ?? null, filter: true },
  },
};

export const rolloutsView: View<RolloutState> = {
  name: "firmware_rollouts",
  version: 1,
  kind: rollout,
  columns: {
    name: { type: "text", value: ({ spec }) => spec?.name ?? "", filter: true, sort: true },
    stateName: { type: "text", value: ({ state }) => state, filter: true },
  },
  search: ({ spec }) => ({ title: spec?.title ?? spec?.name ?? "", text: spec?.name ?? "" }),
};

export const scansView: View<ScanState> = {
  name: "device_scans",
  version: 1,
  kind: scan,
  columns: {
    site: { type: "text", value: ({ spec }) => spec?.site ?? "", filter: true },
    stateName: { type: "text", value: ({ state }) => state, filter: true },
  },
};

export const syncsView: View<SyncState> = {
  name: "device_syncs",
  version: 1,
  kind: sync,
  columns: {
    name: { type: "text", value: ({ spec }) => spec.name, filter: true, sort: true },
    stateName: { type: "text", value: ({ state }) => state, filter: true },
  },
  search: ({ spec: { name, title, repository } }) => ({
    title: title ?? name,
    text: [name, ...Object.values(repository)].join("\n"),
  }),
};

export const devicesViews: ReadonlyArray<View> = [
  devicesView,
  deviceTasksView,
  deviceProfilesView,
  deviceGroupsView,
  bulksView,
  rolloutsView,
  scansView,
  syncsView,
];
