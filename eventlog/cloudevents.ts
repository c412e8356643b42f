/**
 * CloudEvents 1.0 over NATS, binary mode: each attribute a header `ce-<name>`, the body is the data. Names are written in
 * lower case always: NATS compares them exactly.
 */
import { type CloudEvent, feedSubject } from "@millrace/contracts/events.ts";
import { encodePosition, type LogPlace } from "@millrace/contracts/position.ts";
import type { Actor } from "@millrace/domain/decider.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { MsgHdrs } from "@nats-io/transport-node";
import type { StoredCommit } from "./commit.ts";
import { HeaderBlock } from "./header-block.ts";
import { upcast } from "./upcast.ts";

/** Beside the attributes: id of the event that stands before it in the context's feed. By it a reader knows that it missed none. */
export const PREVIOUS = "Millrace-Previous";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Space, quote, percent and everything outside U+0021 to U+007E, as UTF-8 in upper-case hexadecimal. */
export function encodeHeader(value: string): string {
  if (/^[!#$&-~]*$/.test(value)) return value;
  let encoded = "";
  for (const byte of encoder.encode(value)) {
    const plain = byte >= 0x21 && byte <= 0x7e && byte !== 0x22 && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** @throws TypeError when the bytes are no UTF-8 */
export function decodeHeader(value: string): string {
  if (!value.includes("%")) return value;
  const bytes: number[] = [];
  for (let i = 0; i < value.length; i++) {
    const hex = value[i] === "%" ? /^[0-9a-f]{2}/i.exec(value.slice(i + 1, i + 3)) : null;
    if (hex === null) bytes.push(...encoder.encode(value[i]!));
    else {
      bytes.push(Number.parseInt(hex[0], 16));
      i += 2;
    }
  }
  return decoder.decode(new Uint8Array(bytes));
}

export const placeText = ({ seq, index }: LogPlace): string => `${seq}.${index}`;

/** @returns undefined when the text is no place */
export function parsePlace(text: string | undefined): LogPlace | undefined {
  const match = text === undefined ? null : /^(\d{1,15})\.(\d{1,4})$/.exec(text);
  return match === null ? undefined : { seq: Number(match[1]), index: Number(match[2]) };
}

const actorText = ({ kind, id, name }: Actor): string => `${kind}:${id}:${name}`;

export interface FeedMessage {
  readonly place: LogPlace;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers: HeaderBlock;
}

/**
 * The public form of one event of a commit.
 * @returns undefined when the event is not public
 * @throws UnknownEvent for a type or version that this release does not know; whatever the mapping throws
 */
export function toFeedMessage(kind: Kind, commit: StoredCommit, index: number): FeedMessage | undefined {
  const event = upcast(kind, commit, commit.events[index]!);
  const declared = kind.events[event.type]!;
  if (declared.toPublic === null) return undefined;
  const form = kind.publicEvents[event.type];
  if (form === undefined) throw new Error(`${commit.context}.${commit.kind}.${event.type} has no public form`);
  const data = JSON.stringify(declared.toPublic === undefined ? event.data : declared.toPublic(event.data));
  const place: LogPlace = { seq: commit.seq, index };
  const { organisation, context, aggregate } = commit;
  const h = new HeaderBlock();
  const attribute = (name: string, value: string) => h.set(`ce-${name}`, encodeHeader(value));
  attribute("specversion", "1.0");
  attribute("id", placeText(place));
  attribute("source", `/organisations/${organisation}/${context}/${commit.kind}/${aggregate}`);
  attribute("type", `millrace.${context}.${event.type}.v${form.version}`);
  attribute("time", new Date(commit.time).toISOString());
  attribute("datacontenttype", "application/json");
  attribute("actor", actorText(commit.actor));
  attribute("correlationid", commit.correlation);
  attribute("causationid", commit.causation);
  attribute("position", encodePosition({ [context]: place }));
  if (commit.trace !== undefined) attribute("traceparent", commit.trace);
  return {
    place,
    subject: feedSubject(organisation, context, commit.kind, aggregate, event.type),
    data: encoder.encode(data),
    headers: h,
  };
}

/** As they were read, or as they are about to be written. */
type EventHeaders = Pick<MsgHdrs, "get"> & Iterable<[string, string[]]>;

/** An event as it stands on FEED. */
export class FeedEvent {
  /** Sequence on FEED; means nothing outside. */
  readonly seq: number;
  readonly place: LogPlace;
  /** Place of the event before it in the context's feed; undefined before the first. */
  readonly previous: LogPlace | undefined;
  readonly organisation: string;
  readonly context: string;
  readonly kind: string;
  /** Id of the aggregate. */
  readonly id: string;
  readonly type: string;
  readonly bytes: number;
  /** What it was read from; undefined once it is kept as text alone. */
  #message: { readonly headers: EventHeaders; readonly data: Uint8Array } | undefined;
  #json: string | undefined;
  /** Where the data begin in the text. */
  #dataAt = 0;

  /** @throws TypeError when the message is no event of a feed */
  constructor(subject: string, seq: number, h: EventHeaders, data: Uint8Array) {
    const parts = subject.split(".");
    const place = parsePlace(h.get("ce-id"));
    if (parts[0] !== "feed" || parts.length !== 6 || place === undefined) {
      throw new TypeError(`message ${seq} on ${subject} is no event of a feed`);
    }
    this.seq = seq;
    this.place = place;
    this.previous = parsePlace(h.get(PREVIOUS));
    this.organisation = parts[1]!;
    this.context = parts[2]!;
    this.kind = parts[3]!;
    this.id = parts[4]!;
    this.type = parts[5]!;
    this.bytes = data.length;
    this.#message = { headers: h, data };
  }

  /**
   * Holds on to its text alone from now on, for those that are kept long: what was read from the server shares its memory with all that
   * came in the same piece, ten times as much as the event.
   */
  keep(): this {
    this.#json = this.json;
    this.#message = undefined;
    return this;
  }

  /** The log's own time of it, RFC 3339. */
  get time(): string {
    return this.attribute("time");
  }

  /** One attribute of the CloudEvent; "" when it has none of this name. @param name e.g. `source` */
  attribute(name: string): string {
    if (this.#message !== undefined) return decodeHeader(this.#message.headers.get(`ce-${name}`));
    const attributes = JSON.parse(`${this.json.slice(0, this.#dataAt)}}`) as Record<string, string>;
    return attributes[name] ?? "";
  }

  /** The event in structured mode, as text: made once, however many it is sent to. */
  get json(): string {
    if (this.#json !== undefined) return this.#json;
    const { headers, data } = this.#message!;
    const attributes: Record<string, string> = {};
    // Not by `keys` and `get`: that is quadratic in the number of headers.
    for (const [name, values] of headers) {
      if (name.startsWith("ce-")) attributes[name.slice(3)] = decodeHeader(values[0]!);
    }
    const head = JSON.stringify(attributes).slice(0, -1);
    this.#dataAt = head.length;
    this.#json = `${head},"data":${decoder.decode(data)}}`;
    return this.#json;
  }

  get event(): CloudEvent {
    return JSON.parse(this.json) as CloudEvent;
  }
}
