/** Public events: CloudEvents 1.0 on FEED, one message an event. The log behind it is private and may change. */
import type * as Schema from "effect/Schema";

/** How one type of event is shown to the world. */
export interface PublicEvent {
  /** Version of the public form, the `n` of `millrace.<context>.<Type>.v<n>`. */
  readonly version: number;
  readonly data: Schema.Top;
  /** One sentence for whoever reads the AsyncAPI document. */
  readonly description: string;
}

/** Public events of one kind of aggregate, by type. */
export type PublicEvents = Readonly<Record<string, PublicEvent>>;

/** A CloudEvent in structured JSON form, as WebSocket, SSE and webhooks carry it. */
export interface CloudEvent {
  readonly specversion: "1.0";
  /** `<log sequence>.<index>`; unique within `source`'s context. */
  readonly id: string;
  /** `/organisations/<org>/<context>/<kind>/<id>` */
  readonly source: string;
  /** `millrace.<context>.<Type>.v<n>` */
  readonly type: string;
  /** The log's own time, RFC 3339 with milliseconds. */
  readonly time: string;
  readonly datacontenttype: "application/json";
  /** `<kind>:<id>:<name>` of who did it. */
  readonly actor: string;
  readonly correlationid: string;
  readonly causationid: string;
  /** Opaque: everything of this context up to and including this event. */
  readonly position: string;
  readonly traceparent?: string;
  readonly data: unknown;
}

/** `feed.<organisation>.<context>.<kind>.<id>.<Type>` */
export const feedSubject = (organisation: string, context: string, kind: string, id: string, type: string): string =>
  `feed.${organisation}.${context}.${kind}.${id}.${type}`;
