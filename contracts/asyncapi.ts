/**
 * The AsyncAPI 3.1 document, made from the public events of all contexts; `asyncapi.json` is the committed copy, and a
 * test keeps the two alike. A context adds its events here.
 */
import * as JsonSchema from "effect/JsonSchema";
import * as Schema from "effect/Schema";
import { applicationEvents, deploymentEvents } from "./applications/events.ts";
import { uploadEvents } from "./applications/uploads.ts";
import { alertEvents } from "./automation/alerts.ts";
import { scheduleEvents } from "./automation/events.ts";
import { processEvents } from "./automation/processes.ts";
import { ruleEvents } from "./automation/rule-events.ts";
import { deviceEvents } from "./devices/events.ts";
import { bulkEvents, rolloutEvents } from "./devices/operation-events.ts";
import { scanEvents } from "./devices/scans.ts";
import { groupEvents, profileEvents } from "./devices/sets.ts";
import { syncEvents } from "./devices/syncs.ts";
import { taskEvents } from "./devices/task-events.ts";
import type { PublicEvent, PublicEvents } from "./events.ts";
import {
  CaughtUpFrame,
  CLOSE,
  EventFrame,
  GapFrame,
  HeartbeatFrame,
  HelloFrame,
  PARAMETERS,
  SUBPROTOCOL,
} from "./feed.ts";
import { invitationEvents, memberEvents, roleEvents } from "./identity/access-events.ts";
import { organisationEvents, secretEvents, tokenEvents } from "./identity/events.ts";
import { channelEvents } from "./integrations/channels.ts";
import { webhookEvents } from "./integrations/events.ts";
import { subscriberEvents } from "./integrations/subscribers.ts";
import { buildEvents } from "./publishing/build-events.ts";
import { clientTokenEvents } from "./publishing/client-tokens.ts";
import { repositoryEvents } from "./publishing/repository-events.ts";
import { itemEvents, typeEvents } from "./work/events.ts";

/** Every public event there is, by context and kind. */
export const PUBLIC_EVENTS: Readonly<Record<string, Readonly<Record<string, PublicEvents>>>> = {
  identity: {
    organisation: organisationEvents,
    member: memberEvents,
    invitation: invitationEvents,
    role: roleEvents,
    token: tokenEvents,
    secret: secretEvents,
  },
  work: { item: itemEvents, type: typeEvents },
  applications: { application: applicationEvents, deployment: deploymentEvents, upload: uploadEvents },
  automation: { schedule: scheduleEvents, rule: ruleEvents, process: processEvents, alert: alertEvents },
  integrations: { webhook: webhookEvents, channel: channelEvents, subscriber: subscriberEvents },
  devices: {
    device: deviceEvents,
    task: taskEvents,
    profile: profileEvents,
    group: groupEvents,
    bulk: bulkEvents,
    rollout: rolloutEvents,
    scan: scanEvents,
    sync: syncEvents,
  },
  publishing: { repository: repositoryEvents, build: buildEvents, clienttoken: clientTokenEvents },
};

type Json = Record<string, unknown>;

const ref = (path: string): Json => ({ $ref: `#/${path}` });
const byName = <A>(entries: ReadonlyArray<readonly [string, A]>): Record<string, A> => Object.fromEntries(entries);

/** As draft 7, which is what AsyncAPI's own schemas are made of; named parts stand inside. */
function jsonSchema(schema: Schema.Top): Json {
  const { schema: root, definitions } = JsonSchema.toDocumentDraft07(Schema.toJsonSchemaDocument(schema));
  return inline(root, definitions) as Json;
}

function inline(node: unknown, definitions: Readonly<Record<string, unknown>>): unknown {
  if (Array.isArray(node)) return node.map((item) => inline(item, definitions));
  if (typeof node !== "object" || node === null) return node;
  const { $ref, ...rest } = node as Json;
  const target = typeof $ref === "string" ? definitions[$ref.slice($ref.lastIndexOf("/") + 1)] : undefined;
  const inlined = byName(Object.entries(rest).map(([name, value]) => [name, inline(value, definitions)]));
  return target === undefined ? inlined : { ...(inline(target, definitions) as Json), ...inlined };
}

const text = (description: string, example?: string): Json => ({
  type: "string",
  description,
  ...(example === undefined ? {} : { examples: [example] }),
});

/** CloudEvents 1.0, binary mode of the NATS binding: percent-encoded as it says. */
const CLOUD_EVENT_HEADERS: Json = {
  type: "object",
  required: [
    ...["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-datacontenttype"],
    ...["ce-actor", "ce-correlationid", "ce-causationid", "ce-position"],
  ],
  properties: {
    "ce-specversion": { type: "string", const: "1.0" },
    "ce-id": text("`<log sequence>.<index in its commit>`; unique in the context, rising", "1204.0"),
    "ce-source": text("`/organisations/<org>/<context>/<kind>/<id>`"),
    "ce-type": text("`millrace.<context>.<Type>.v<n>`"),
    "ce-time": text("The log's own time, RFC 3339 with milliseconds", "2026-11-21T08:00:00.000Z"),
    "ce-datacontenttype": { type: "string", const: "application/json" },
    "ce-actor": text("`<kind>:<id>:<name>` of who did it"),
    "ce-correlationid": text("Of everything that one request brought about"),
    "ce-causationid": text("Of what caused it"),
    "ce-position": text("Opaque: everything of this context up to and including this event"),
    "ce-traceparent": text("W3C trace context of the command"),
    "Millrace-Previous": text(
      "`ce-id` of the event before it in the context's feed: a reader that knows another one has missed some",
    ),
  },
};

const eventMessage = (context: string, type: string, { version, data, description }: PublicEvent): Json => ({
  name: `millrace.${context}.${type}.v${version}`,
  title: type,
  summary: description,
  contentType: "application/json",
  headers: {
    allOf: [
      ref("components/schemas/CloudEventHeaders"),
      {
        type: "object",
        properties: { "ce-type": { type: "string", const: `millrace.${context}.${type}.v${version}` } },
      },
    ],
  },
  payload: { schemaFormat: "application/schema+json;version=draft-07", schema: jsonSchema(data) },
});

const eachKind = <A>(make: (context: string, kind: string, events: PublicEvents) => A): A[] =>
  Object.entries(PUBLIC_EVENTS).flatMap(([context, kinds]) =>
    Object.entries(kinds).map(([kind, events]) => make(context, kind, events)),
  );

const channelName = (context: string, kind: string) => `${context}-${kind}`;
const messageName = (context: string, type: string) => `${context}.${type}`;

const feedChannel = (context: string, kind: string, events: PublicEvents): Json => ({
  address: `feed.{organisation}.${context}.${kind}.{id}.{type}`,
  title: `Events of ${context}.${kind}`,
  servers: [ref("servers/nats")],
  parameters: {
    organisation: { description: "Id of the organisation; access is granted by it" },
    id: { description: "Id of the aggregate" },
    type: { description: "Type of the event", enum: Object.keys(events) },
  },
  messages: byName(Object.keys(events).map((type) => [type, ref(`components/messages/${messageName(context, type)}`)])),
  "x-jetstream": {
    stream: `FEED_${context.toUpperCase()}`,
    description: "One stream a context, in the order of the log; each event once. Kept 30 days or 10 GiB (settings).",
  },
});

const FRAMES = { HelloFrame, EventFrame, CaughtUpFrame, HeartbeatFrame, GapFrame } as const;

/** The same feed through the gateway. */
const subscriptions: Json = {
  address: "/v1/organisations/{organisation}/events",
  title: "Subscription over WebSocket; over Server-Sent Events with `Accept: text/event-stream`",
  description: `A browser offers the subprotocols \`${SUBPROTOCOL}\` and \`bearer.<token>\`. Closed with ${Object.entries(
    CLOSE,
  )
    .map(([name, code]) => `${code} (${name})`)
    .join(", ")}.`,
  servers: [ref("servers/gateway")],
  parameters: { organisation: { description: "Id or name" } },
  messages: byName(Object.keys(FRAMES).map((name) => [name, ref(`components/messages/${name}`)])),
  bindings: {
    ws: {
      method: "GET",
      query: {
        type: "object",
        additionalProperties: false,
        properties: byName(
          Object.entries(PARAMETERS).map(([name, { pattern, most, description }]) => [
            name,
            most === 1
              ? { type: "string", pattern: pattern.source, description }
              : { type: "array", maxItems: most, items: { type: "string", pattern: pattern.source }, description },
          ]),
        ),
      },
      bindingVersion: "0.1.0",
    },
  },
};

/** The document as plain JSON. */
export function asyncapi(): Json {
  const feedChannels = eachKind(
    (context, kind, events) => [channelName(context, kind), feedChannel(context, kind, events)] as const,
  );
  const operations = eachKind((context, kind) => {
    const operation: Json = {
      action: "send",
      channel: ref(`channels/${channelName(context, kind)}`),
      title: `Tell of ${context}.${kind}`,
    };
    return [`tell-${channelName(context, kind)}`, operation] as const;
  });
  const messages = eachKind((context, _, events) =>
    Object.entries(events).map(
      ([type, event]) => [messageName(context, type), eventMessage(context, type, event)] as const,
    ),
  ).flat();
  const frames = Object.entries(FRAMES).map(([name, schema]) => {
    const payload = { schemaFormat: "application/schema+json;version=draft-07", schema: jsonSchema(schema) };
    return [name, { name, contentType: "application/json", payload }] as const;
  });
  const document: Json = {
    asyncapi: "3.1.0",
    info: {
      title: "Millrace events",
      version: "1.0.0",
      description:
        "Every public event as a CloudEvent 1.0, once and in the order of its context's log. The same feed is read over NATS, WebSocket and Server-Sent Events, and positions mean the same in all of them.",
      license: { name: "Apache-2.0" },
    },
    defaultContentType: "application/json",
    servers: {
      nats: {
        host: "localhost:4222",
        protocol: "nats",
        description: "JetStream; binary mode of the CloudEvents binding",
      },
      gateway: {
        host: "localhost:7400",
        protocol: "ws",
        description: "The gateway",
        security: [ref("components/securitySchemes/bearer")],
      },
    },
    channels: { ...byName(feedChannels), subscriptions },
    operations: {
      ...byName(operations),
      subscribe: { action: "send", channel: ref("channels/subscriptions"), title: "Tell a subscriber" },
    },
    components: {
      messages: { ...byName(messages), ...byName(frames) },
      schemas: { CloudEventHeaders: CLOUD_EVENT_HEADERS },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "A token, `mrt_…` or the owner's `mrp_…`" },
      },
    },
  };
  return JSON.parse(JSON.stringify(document)) as Json;
}
