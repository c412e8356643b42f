/** Channels: where people are told of what happens, by mail or in the rooms where they talk. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import type { PublicEvent } from "../events.ts";
import { accepted, changeHeaders, entity, entityParams, ORGANISATION, says, textFilter } from "../http.ts";
import { Id, Name } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";
import { deliveriesQuery, Resume } from "./api.ts";
import { Deliveries, destinationStatus, Outbox } from "./entities.ts";
import { FilterShown, ReplayRequested, sharedEvents } from "./events.ts";
import { Description, EventsFilter, From, StateName } from "./values.ts";

const { optionalKey } = Schema;

export const Templates = Schema.Record(
  Schema.String.check(Schema.isPattern(/^[A-Z][A-Za-z0-9]{0,63}$/u)),
  Schema.String.check(Schema.isMaxLength(2_000)),
).annotate({
  description:
    "What is said, by type of event: a text with `{{actor}}`, `{{sentence}}`, `{{type}}`, `{{kind}}`, `{{id}}`, `{{time}}` and `{{data.…}}` in it. No code",
  examples: [{ ItemOpened: "{{actor}} opened {{data.title}}" }],
});

/** Its secrets are sealed: what is shown is where it leads. */
export const ChannelUrl = Schema.String.check(Schema.isMinLength(5), Schema.isMaxLength(2_000)).annotate({
  description:
    "`smtp://`, `mailto://`, `slack://A/B/C`, `discord://id/token`, `ntfy://topic`, `gotify://host/token`, `telegram://token@telegram?chats=`, `matrix://:token@host/?rooms=`, `generic://host/path`; sealed, and never shown again",
  examples: ["ntfy://my-topic"],
});

const minutes = (description: string) =>
  Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_440 })).annotate({ description });
const Clock = Schema.String.check(Schema.isPattern(/^([01]\d|2[0-3]):[0-5]\d$/u)).annotate({
  description: "Hours and minutes by the clock on the wall, as HH:MM",
  examples: ["22:00"],
});

/** When it speaks. */
export const Pace = Schema.Struct({
  quiet: optionalKey(
    Schema.Struct({
      from: Clock,
      to: Clock,
      zone: Schema.String.check(Schema.isPattern(/^[A-Za-z][A-Za-z0-9_+\-/]{0,63}$/u)).annotate({
        description: "Time zone of the IANA database",
        examples: ["Europe/Berlin"],
      }),
    }).annotate({
      description:
        "Quiet hours, over midnight when `from` is later than `to`: what comes in them is told together when they end",
    }),
  ),
  digestMinutes: optionalKey(
    minutes("Events are gathered for so many minutes from the first on, and told as one message"),
  ),
  flood: optionalKey(
    Schema.Struct({
      messages: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 })).annotate({
        description: "So many messages at the most",
      }),
      minutes: minutes("… in so many minutes, from the first of them on"),
    }).annotate({ description: "What is beyond it is counted, and told as one message when the window opens again" }),
  ),
}).annotate({
  identifier: "ChannelPace",
  description:
    "When it speaks; an empty object: each event at once. With any of them events are told in order, one message at a time",
  examples: [{ quiet: { from: "22:00", to: "07:00", zone: "Europe/Berlin" }, flood: { messages: 10, minutes: 5 } }],
});
export type Pace = typeof Pace.Type;

const ServiceName = Schema.Literals(["mail", "slack", "discord", "ntfy", "gotify", "telegram", "matrix", "json"]);
export const ChannelSpec = Schema.Struct({
  name: Name,
  service: ServiceName,
  address: Schema.String.annotate({ description: "Where it leads, without its secrets" }),
  description: Description,
  events: EventsFilter,
  templates: Templates,
  pace: optionalKey(Pace),
});
export type ChannelSpec = typeof ChannelSpec.Type;

export const Channel = entity(Id("chn", "Channel id"), ChannelSpec, Schema.Struct(destinationStatus)).annotate({
  identifier: "Channel",
  description: "Where people are told of what happens, without its secrets",
});

export const CreateChannel = Schema.Struct({
  name: Name,
  url: ChannelUrl,
  description: optionalKey(Description),
  events: optionalKey(EventsFilter),
  templates: optionalKey(Templates),
  pace: optionalKey(Pace),
}).annotate({ identifier: "CreateChannel" });
export const ChangeChannel = Schema.Struct({
  url: optionalKey(ChannelUrl),
  description: optionalKey(Description),
  events: optionalKey(EventsFilter),
  templates: optionalKey(Templates),
  pace: optionalKey(Pace),
}).annotate({
  identifier: "ChangeChannel",
  description: "What is left out stays; `events`, `templates` and `pace` are replaced as a whole",
});

const text = (description: string) => Schema.String.annotate({ description });
const shown = {
  service: text("Which service: mail, slack …"),
  address: text("Where it leads, without its secrets"),
  description: text("What it is for"),
  events: FilterShown,
  templates: Schema.Record(Schema.String, Schema.String).annotate({ description: "What is said, by type of event" }),
};
const PaceShown = Schema.Struct({
  quiet: optionalKey(Schema.Struct({ from: text("HH:MM"), to: text("HH:MM"), zone: text("Time zone") })),
  digestMinutes: optionalKey(Schema.Int),
  flood: optionalKey(Schema.Struct({ messages: Schema.Int, minutes: Schema.Int })),
}).annotate({ description: "When it speaks: quiet hours, digest, flood cap" });
export const ChannelCreated = Schema.Struct({
  name: text("Unique name in the organisation"),
  ...shown,
  pace: optionalKey(PaceShown),
  from: ReplayRequested.annotate({ description: "What came after it is sent" }),
});
export const ChannelChanged = Schema.Struct({
  service: optionalKey(shown.service),
  address: optionalKey(shown.address),
  description: optionalKey(shown.description),
  events: optionalKey(shown.events),
  templates: optionalKey(shown.templates),
  pace: optionalKey(PaceShown),
});
export const channelEvents: Readonly<Record<string, PublicEvent>> = {
  ChannelCreated: { version: 1, data: ChannelCreated, description: "A channel was created." },
  ChannelChanged: {
    version: 1,
    data: ChannelChanged,
    description: "A channel's address, filter, templates or pace were changed.",
  },
  ...sharedEvents("Channel", "A channel"),
};

const channels = `${ORGANISATION}/channels` as const;
const channel = `${channels}/:id` as const;
const act = { params: entityParams, headers: changeHeaders, success: Channel };
const read = (summary: string) => says("integrations:read", summary);
const edit = (summary: string, more?: string) => says("integrations:edit", summary, more);

export const channelsApi = HttpApiGroup.make("channels")
  .add(
    createOf("createChannel", channels, CreateChannel, Channel).annotateMerge(
      edit("Create a channel", "Its URL is sealed. The token needs `<context>:read` for what is sent."),
    ),
  )
  .add(
    listOf("listChannels", channels, Channel, {
      name: textFilter("Its name"),
      state: optionalKey(StateName),
    }).annotateMerge(read("List channels")),
  )
  .add(getOf("getChannel", channel, Channel).annotateMerge(read("A channel, as it is or as it was")))
  .add(
    HttpApiEndpoint.patch("changeChannel", channel, { ...act, payload: ChangeChannel }).annotateMerge(
      edit("Change where a channel leads, what is sent, or what is said"),
    ),
  )
  .add(deleteOf("deleteChannel", channel).annotateMerge(edit("Delete a channel; its secrets are destroyed")))
  .add(HttpApiEndpoint.post("pauseChannel", `${channel}/pause`, act).annotateMerge(edit("Pause a channel")))
  .add(
    HttpApiEndpoint.post("resumeChannel", `${channel}/resume`, { ...act, payload: Resume }).annotateMerge(
      edit("Resume a channel that was paused, parked or disabled"),
    ),
  )
  .add(
    HttpApiEndpoint.post("testChannel", `${channel}/test`, { ...act, success: accepted(Channel) }).annotateMerge(
      edit("Send a test, once", "Its outcome stands in the deliveries."),
    ),
  )
  .add(
    HttpApiEndpoint.post("replayChannel", `${channel}/replay`, {
      ...act,
      payload: From,
      success: accepted(Channel),
    }).annotateMerge(edit("Tell everything again from a position or time on")),
  )
  .add(
    HttpApiEndpoint.get("deliveriesOfChannel", `${channel}/deliveries`, {
      params: entityParams,
      query: deliveriesQuery,
      success: Deliveries,
    }).annotateMerge(read("What was sent to a channel, and what it answered")),
  )
  .add(
    HttpApiEndpoint.get("outboxOfChannel", `${channel}/outbox`, {
      params: entityParams,
      success: Outbox,
    }).annotateMerge(read("How far a channel has come, and what waits behind a failure")),
  )
  .add(historyOf("historyOfChannel", channel).annotateMerge(read("What happened to a channel")))
  .add(diffOf("diffChannel", channel).annotateMerge(read("What differs between two moments of a channel")))
  .annotateMerge(OpenApi.annotations({ title: "Channels", description: "People told of what happens" }));
