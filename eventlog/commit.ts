/** One message = one commit = 1…n events of one aggregate. */
import type { Actor } from "@millrace/domain/decider.ts";

/** An event as it is stored: never rewritten, read through upcasts. */
export interface StoredEvent {
  readonly type: string;
  readonly v: number;
  readonly data: unknown;
}

/** The body of one message on the log. */
export interface Commit {
  /** Deterministic from command and aggregate; also its `Nats-Msg-Id`. */
  readonly id: string;
  readonly organisation: string;
  /** How many events the aggregate has, these included. */
  readonly version: number;
  readonly actor: Actor;
  /** Id of the command that caused it, and a digest of its input: what makes a repeat answer like the first time. */
  readonly command: string;
  readonly digest: string;
  readonly correlation: string;
  readonly causation: string;
  /** How many rules stand between this and what somebody outside asked for; left out: none. By it no circle of rules goes on for ever. */
  readonly hops?: number;
  /** When it was decided, RFC 3339. The log's own time is the stream's. */
  readonly at: string;
  /** W3C traceparent of the command. */
  readonly trace?: string;
  readonly events: ReadonlyArray<StoredEvent>;
}

/** A commit as read back. */
export interface StoredCommit extends Commit {
  readonly context: string;
  readonly kind: string;
  readonly aggregate: string;
  readonly subject: string;
  readonly seq: number;
  /** Milliseconds since 1970, as JetStream stamped it. */
  readonly time: number;
}

/** The body of a claim's message: who holds the value, or null when it was given up. */
export interface ClaimRecord {
  readonly holder: string | null;
  readonly commit: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const encodeBody = (body: Commit | ClaimRecord): Uint8Array => encoder.encode(JSON.stringify(body));
export const decodeCommitBody = (data: Uint8Array): Commit => JSON.parse(decoder.decode(data)) as Commit;
export const decodeClaimBody = (data: Uint8Array): ClaimRecord => JSON.parse(decoder.decode(data)) as ClaimRecord;
