/** What can be asked about repositories. */
import type { View } from "../view.ts";
import { type RepositoryState, repository } from "./repository.ts";

export const repositoriesView: View<RepositoryState> = {
  name: "repositories",
  version: 1,
  kind: repository,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    /** Every view has a column `state` of its own: the route asks for this one when it is asked for `state`. */
    stateName: { type: "text", value: (state) => state.state ?? "", filter: true },
  },
  search: ({ name, title, collectionId }) => ({
    title: title ?? name,
    text: [name, collectionId].filter((text) => text !== null).join("\n"),
  }),
};

export const publishingViews: ReadonlyArray<View> = [repositoriesView];
