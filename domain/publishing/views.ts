/** What can be asked about repositories and builds. */
import type { View } from "../view.ts";
import { build } from "./build.ts";
import { type BuildState, commitMsOf, publishMsOf, stepOf } from "./build-state.ts";
import { type RepositoryState, repository } from "./repository.ts";

export const repositoriesView: View<RepositoryState> = {
  name: "repositories",
  version: 2,
  kind: repository,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    /** Every view has a column `state` of its own: the route asks for this one when it is asked for `state`. */
    stateName: { type: "text", value: (state) => state.state ?? "", filter: true },
    visibility: { type: "text", value: ({ settings }) => settings.visibility ?? "public", filter: true },
  },
  search: ({ name, settings: { title, comment, description }, collectionId }) => ({
    title: title ?? name,
    text: [name, collectionId, comment, description].filter((text) => text != null).join("\n"),
  }),
};

export const buildsView: View<BuildState> = {
  name: "builds",
  version: 1,
  kind: build,
  columns: {
    number: { type: "bigint", value: (state) => state.number, sort: true },
    repository: { type: "text", value: (state) => state.repository, filter: true, index: true },
    stateName: { type: "text", value: (state) => state.state ?? "", filter: true },
    published: { type: "text", value: (state) => state.published, filter: true },
    appId: { type: "text", value: (state) => state.appId, filter: true, sort: true },
    priority: { type: "bigint", value: (state) => state.priority, sort: true },
    hasFailed: {
      type: "boolean",
      value: (state) => state.state === "failed" || state.published === "failed",
    },
    waiting: { type: "boolean", value: (state) => stepOf(state) !== undefined, filter: true },
    commitMs: { type: "bigint", value: (state) => commitMsOf(state) ?? null, sort: true },
    publishMs: { type: "bigint", value: (state) => publishMsOf(state) ?? null, sort: true },
    publishedAt: { type: "timestamptz", value: (state) => state.publishedAt, sort: true },
  },
  parents: ["repository"],
  search: ({ number, appId, refs }) => ({
    title: `Build ${number}${appId === null ? "" : ` of ${appId}`}`,
    text: [appId, ...refs.slice(0, 20).map(({ ref }) => ref)].filter((text) => text !== null).join("\n"),
  }),
};

export const publishingViews: ReadonlyArray<View> = [repositoriesView, buildsView];
