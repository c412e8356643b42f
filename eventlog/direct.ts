/**
 * Reading many messages by one direct get. The client's own `getBatch` keeps its subscription for ever when it is iterated
 * (one more per call, on client and server), and waits for ever when the connection breaks in the middle; this does neither.
 */
import { createInbox, type Msg, type MsgHdrs, type Subscription } from "@nats-io/transport-node";
import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";

export interface DirectQuery {
  /** First sequence wanted. */
  readonly seq?: number;
  /** Instead of a sequence: the first that was stored at this time or later; RFC 3339. */
  readonly start_time?: string;
  /** Only messages of this subject (wildcards allowed); left out: all. */
  readonly next_by_subj?: string;
  /** Instead of a sequence: the last message of every subject that matches. */
  readonly multi_last?: ReadonlyArray<string>;
  /** Messages at the most. */
  readonly batch: number;
  /** Bytes at the most, loosely: the message that passes it is still sent. */
  readonly max_bytes?: number;
}

export interface DirectMessage {
  readonly subject: string;
  readonly seq: number;
  /** Milliseconds since 1970, as JetStream stamped it. */
  readonly time: number;
  readonly headers: MsgHdrs;
  readonly data: Uint8Array;
}

export interface DirectPage {
  /** Oldest first. */
  readonly messages: ReadonlyArray<DirectMessage>;
  /** Whether there were more of them behind: the server also cuts a page by its bytes. */
  readonly more: boolean;
}

/**
 * What any replica has; on three servers it may be behind the leader.
 * @throws LogUnavailable when the answer is not complete within `deadlineMs`
 */
export function readBatch(nats: Nats, stream: string, query: DirectQuery, deadlineMs = 5_000): Promise<DirectPage> {
  return new Promise((resolve, reject) => {
    const inbox = createInbox();
    const messages: DirectMessage[] = [];
    let more = false;
    const end = (failure?: unknown) => {
      clearTimeout(timer);
      sub?.unsubscribe();
      if (failure === undefined) resolve({ messages, more });
      else reject(new LogUnavailable({ what: "NATS", cause: failure }));
    };
    const timer = setTimeout(() => end(`no complete answer from ${stream} within ${deadlineMs} ms`), deadlineMs);
    let sub: Subscription | undefined;
    const callback = (error: Error | null, message: Msg) => {
      if (error !== null) return end(error);
      const h = message.headers;
      if (h === undefined) return end(`an answer of ${stream} without headers`);
      if (h.code === 204) more = Number(h.last("Nats-Num-Pending") || 0) > 0;
      if (h.code === 204 || h.code === 404) return end();
      if (h.code >= 300) return end(`${h.code} ${h.description}`);
      messages.push({
        subject: h.last("Nats-Subject"),
        seq: Number(h.last("Nats-Sequence")),
        time: Date.parse(h.last("Nats-Time-Stamp")),
        headers: h,
        data: message.data,
      });
    };
    try {
      sub = nats.nc.subscribe(inbox, { callback });
      nats.nc.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(query), { reply: inbox });
    } catch (error) {
      end(error);
    }
  });
}
