/** What can be asked about integrations. */
import type { View } from "../view.ts";
import { type ChannelState, channel } from "./channel.ts";
import type { DestinationState } from "./destination.ts";
import { type SubscriberState, subscriber } from "./subscriber.ts";
import { type WebhookState, webhook } from "./webhook.ts";

type Named = { readonly name: string; readonly description: string };

const columns = {
  name: {
    type: "text",
    value: ({ spec }: DestinationState<Named>) => spec?.name ?? "",
    filter: true,
    sort: true,
  },
  /** Every view has a column `state` of its own: the route asks for this one when it is asked for `state`. */
  stateName: { type: "text", value: ({ state }: DestinationState<Named>) => state, filter: true },
} as const;

export const webhooksView: View<WebhookState> = {
  name: "webhooks",
  version: 1,
  kind: webhook,
  columns,
  search: ({ spec }) => ({
    title: spec?.name ?? "",
    text: [spec?.description, spec?.url].filter((text) => text !== "").join("\n"),
  }),
};

export const channelsView: View<ChannelState> = {
  name: "channels",
  version: 1,
  kind: channel,
  columns,
  search: ({ spec }) => ({
    title: spec?.name ?? "",
    text: [spec?.description, spec?.address].filter((text) => text !== "").join("\n"),
  }),
};

export const subscribersView: View<SubscriberState> = {
  name: "subscribers",
  version: 1,
  kind: subscriber,
  columns: { name: { type: "text", value: ({ spec }) => spec?.name ?? "", filter: true, sort: true } },
  search: ({ spec }) => ({ title: spec?.name ?? "", text: spec?.description ?? "" }),
};

export const integrationsViews: ReadonlyArray<View> = [webhooksView, channelsView, subscribersView];
