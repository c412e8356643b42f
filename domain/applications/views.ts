/** What can be asked about applications and deployments. */
import type { View } from "../view.ts";
import { type ApplicationState, application } from "./application.ts";
import { homeOf, hostsOf, isChanged, stateName } from "./application-state.ts";
import { type DeploymentState, deployment } from "./deployment.ts";
import { isOver } from "./deployment-state.ts";
import { placeOf } from "./spec.ts";
import { type UploadState, upload } from "./upload.ts";

export const applicationsView: View<ApplicationState> = {
  name: "applications",
  version: 1,
  kind: application,
  columns: {
    name: { type: "text", value: (state) => state.spec?.name ?? "", filter: true, sort: true },
    /** Every view has a column `state` of its own: the route asks for this one when it is asked for `state`. */
    stateName: { type: "text", value: stateName, filter: true },
    wanted: { type: "text", value: (state) => state.spec?.wanted ?? "running", filter: true },
    node: { type: "text", value: homeOf, filter: true },
    kind: { type: "text", value: (state) => state.spec?.build.kind ?? "", filter: true },
    changed: { type: "boolean", value: isChanged, filter: true },
    host: { type: "text[]", value: hostsOf, filter: true },
  },
  search: (state) => ({
    title: state.spec?.title ?? state.spec?.name ?? "",
    text: [state.spec?.name ?? "", state.spec == null ? "" : placeOf(state.spec.source), ...hostsOf(state)].join("\n"),
  }),
};

export const deploymentsView: View<DeploymentState> = {
  name: "deployments",
  version: 1,
  kind: deployment,
  parents: ["application"],
  columns: {
    application: { type: "text", value: (state) => state.application, filter: true, index: true },
    stateName: { type: "text", value: (state) => state.state, filter: true },
    over: { type: "boolean", value: isOver, filter: true },
    trigger: { type: "text", value: (state) => state.trigger, filter: true },
    node: { type: "text", value: (state) => state.node, filter: true },
    commit: {
      type: "text",
      value: (state) => state.phases.PULLING_SOURCE?.output?.commit ?? null,
      filter: true,
    },
    number: { type: "bigint", value: (state) => state.seq, sort: true },
  },
};

export const uploadsView: View<UploadState> = {
  name: "uploads",
  version: 1,
  kind: upload,
  columns: {
    stateName: { type: "text", value: ({ state }) => state, filter: true },
    node: { type: "text", value: ({ node }) => node, filter: true },
  },
};

export const applicationsViews: ReadonlyArray<View> = [applicationsView, deploymentsView, uploadsView];
