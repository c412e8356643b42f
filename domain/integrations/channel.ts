/** Channels: where people are told of what happens. */
import type { ChannelSpec } from "@millrace/contracts/integrations/channels.ts";
import * as shape from "@millrace/contracts/integrations/channels.ts";
import * as Schema from "effect/Schema";
import { Faults } from "../faults.ts";
import type { EventDeclaration, Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { Sealed } from "../sealed.ts";
import { type DestinationCommand, type DestinationState, destinationDecider } from "./destination.ts";
import { filterText, SEALED, sharedDeclarations } from "./destination-events.ts";
import { TEMPLATE, templateFault } from "./notification.ts";
import { quietFault } from "./pace.ts";
import { statusOf } from "./webhook.ts";

export type ChannelState = DestinationState<ChannelSpec>;
export type ChannelCommand = DestinationCommand<ChannelSpec>;

function check({ templates, pace }: ChannelSpec) {
  const faults = new Faults().most("/templates", Object.keys(templates).length, TEMPLATE.most);
  for (const [type, text] of Object.entries(templates)) faults.check(`/templates/${type}`, templateFault, text);
  if (faults.any) return faults.refusal("Write a text with {{path}} where values belong.");
  const wrong = pace?.quiet === undefined ? undefined : quietFault(pace.quiet);
  return wrong === undefined
    ? undefined
    : faults.add("/pace/quiet", wrong).refusal("Give hours and a zone as these: 22:00, 07:00, Europe/Berlin.");
}

const Created = Schema.Struct({ ...shape.ChannelCreated.fields, sealed: Sealed });
const Changed = Schema.Struct({ ...shape.ChannelChanged.fields, sealed: Schema.optionalKey(Sealed) });
const withoutSealed = ({ sealed: _, ...rest }: { readonly sealed?: unknown }): unknown => rest;

/** `had it quiet from 22:00 to 07:00 (Europe/Berlin), capped it at 10 messages in 5 minutes` */
const paceText = ({ quiet, digestMinutes, flood }: shape.Pace): string =>
  [
    ...(quiet === undefined ? [] : [`had it quiet from ${quiet.from} to ${quiet.to} (${quiet.zone})`]),
    ...(digestMinutes === undefined ? [] : [`had it gather for ${digestMinutes} minutes`]),
    ...(flood === undefined ? [] : [`capped it at ${flood.messages} messages in ${flood.minutes} minutes`]),
  ].join(", ") || "had it speak at once";

const declarations: Readonly<Record<string, EventDeclaration>> = {
  ChannelCreated: {
    version: 1,
    data: Created,
    examples: {
      1: {
        name: "team",
        service: "slack",
        address: "slack://T0001/…",
        description: "",
        events: { context: ["work"] },
        templates: { ItemOpened: "{{actor}} opened {{data.title}}" },
        pace: { quiet: { from: "22:00", to: "07:00", zone: "Europe/Berlin" } },
        from: { position: "MTs" },
        sealed: SEALED,
      },
    },
    sentence: ({ name, service, events }) => `created the channel "${name}" (${service}) for ${filterText(events)}`,
    toPublic: withoutSealed,
  },
  ChannelChanged: {
    version: 1,
    data: Changed,
    examples: { 1: { events: {} } },
    sentence: ({ address, events, templates, pace, description }) =>
      [
        ...(address === undefined ? [] : [`sent it to ${address}`]),
        ...(events === undefined ? [] : [`chose ${filterText(events)}`]),
        ...(templates === undefined ? [] : ["changed its templates"]),
        ...(pace === undefined ? [] : [paceText(pace)]),
        ...(description === undefined ? [] : ["described it"]),
      ].join(", ") || "changed it",
    toPublic: withoutSealed,
  },
  ...sharedDeclarations("Channel", "channel"),
};

export const channel: Kind<ChannelState, ChannelCommand> = {
  context: "integrations",
  kind: "channel",
  prefix: "chn",
  collection: "channels",
  decider: destinationDecider<ChannelSpec>({ noun: "Channel", word: "channel", check }),
  events: declarations,
  publicEvents: shape.channelEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent: (state) => {
    const { id, organisation, generation, spec, createdAt, updatedAt } = state;
    return { id, organisation, generation, spec, status: statusOf(state), createdAt, updatedAt };
  },
  nameClaim: nameClaims("channel").of,
  stateVersion: 1,
};
