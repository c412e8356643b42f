/** Reading a stream message by message as it is stored, for as long as it takes. */
import type { ConsumerConfig } from "@nats-io/jetstream";
import { createInbox, type Msg, type MsgHdrs, nanos } from "@nats-io/transport-node";
import type { Nats } from "../connection.ts";
import { LogUnavailable } from "../failures.ts";
import type { StreamRecord } from "./records.ts";

export interface ReadOptions {
  readonly stream: string;
  /** First sequence wanted. */
  readonly fromSeq: number;
  /** Last sequence wanted; what of it is deleted is not waited for. */
  readonly toSeq: number;
  readonly signal: AbortSignal;
}

const NONE = new Uint8Array(0);

/** The headers as they go over the wire, written anew. */
export function wireHeaders(h: MsgHdrs | undefined): Uint8Array {
  if (h === undefined) return NONE;
  let text = "NATS/1.0\r\n";
  for (const name of h.keys()) for (const value of h.values(name)) text += `${name}: ${value}\r\n`;
  return Buffer.from(`${text}\r\n`);
}

/**
 * The headers as they came. The client has them, and shows them only parsed: parsing and writing them again is most of the work of a
 * backup, so they are taken where they lie, as long as they lie there.
 */
export function headersOf(message: Msg): Uint8Array {
  const { _rdata: bytes, _msg: { hdr } = {} } = message as unknown as {
    readonly _rdata?: Uint8Array;
    readonly _msg?: { readonly hdr?: number };
  };
  if (bytes === undefined || hdr === undefined) return wireHeaders(message.headers);
  return hdr > 0 ? bytes.subarray(0, hdr) : NONE;
}

/** How often a consumer that ended is made again without having got on. */
const TRIES = 20;

/**
 * Every message in order. Lost consumers and servers that were away for a while are got over.
 * @throws LogUnavailable
 */
export async function* readStream(nats: Nats, options: ReadOptions): AsyncGenerator<StreamRecord> {
  const { stream, toSeq, signal } = options;
  let next = options.fromSeq;
  let failures = 0;
  while (next <= toSeq && !signal.aborted) {
    const before = next;
    try {
      for await (const record of readOnce(nats, { ...options, fromSeq: next })) {
        if (record === "end") return;
        next = record.seq + 1;
        yield record;
      }
    } catch (cause) {
      if (failures >= TRIES) throw new LogUnavailable({ what: "NATS", cause });
    }
    failures = next > before ? 0 : failures + 1;
    if (failures > TRIES)
      throw new LogUnavailable({ what: "NATS", cause: `${stream} gives nothing after ${next - 1}` });
    if (failures > 0) await new Promise((resolve) => setTimeout(resolve, 250));
  }
  signal.throwIfAborted();
}

/** Sequence, time and place of a delivery, as its reply subject says; two forms of it are in use. */
function deliveryOf(reply: string) {
  const tokens = reply.split(".");
  const at = tokens.length === 9 ? 5 : 7;
  const [seq, delivered, time, pending] = tokens.slice(at, at + 4) as [string, string, string, string];
  return { seq: Number(seq), delivered: Number(delivered), time: BigInt(time), pending: Number(pending) };
}

const isFlowControl = ({ data, reply = "" }: Msg): boolean => data.length === 0 && reply.startsWith("$JS.FC.");

/** What the server may send ahead. */
const AHEAD_BYTES = 32 * 1024 * 1024;
/** Nothing at all for so long, not even a heartbeat: the consumer is lost. */
const SILENCE_MS = 15_000;
const HEARTBEAT_MS = 5_000;

/**
 * A push consumer with flow control: the server sends ahead as far as we keep up. (Pulling waits for the server again and again: a quarter
 * of the speed.) Ends early when something was lost.
 */
async function* readOnce(
  nats: Nats,
  { stream, fromSeq, toSeq, signal }: ReadOptions,
): AsyncGenerator<StreamRecord | "end"> {
  const inbox = createInbox();
  let arrived: Msg[] = [];
  let bytes = 0;
  let wake = () => {};
  const sub = nats.nc.subscribe(inbox, {
    callback: (error, message) => {
      if (error !== null) return wake();
      bytes += message.data.length;
      // Answered at once while there is room, so that the server need not wait for us; else when that much has been worked through.
      if (isFlowControl(message) && bytes < AHEAD_BYTES) message.respond();
      else arrived.push(message);
      wake();
    },
  });
  const stop = () => wake();
  signal.addEventListener("abort", stop);
  let name: string | undefined;
  try {
    const consumer = await nats.jsm.consumers.add(stream, {
      deliver_subject: inbox,
      deliver_policy: "by_start_sequence",
      opt_start_seq: fromSeq,
      ack_policy: "none",
      max_deliver: 1,
      flow_control: true,
      idle_heartbeat: nanos(HEARTBEAT_MS),
      inactive_threshold: nanos(60_000),
      mem_storage: true,
      num_replicas: 1,
    } as Partial<ConsumerConfig>);
    name = consumer.name;
    if (consumer.num_pending === 0 && consumer.delivered.consumer_seq === 0) return void (yield "end");
    for (let delivered = 0; !signal.aborted; ) {
      if (arrived.length === 0) {
        const silent = await new Promise<boolean>((resolve) => {
          const timer = setTimeout(() => resolve(true), SILENCE_MS);
          wake = () => {
            clearTimeout(timer);
            resolve(false);
          };
        });
        if (silent) return;
        continue;
      }
      const batch = arrived;
      arrived = [];
      bytes = 0;
      for (const message of batch) {
        const { data, reply = "" } = message;
        if (data.length === 0 && message.headers?.code === 100) {
          if (isFlowControl(message)) message.respond();
          else if (Number(message.headers.get("Nats-Last-Consumer") || delivered) !== delivered) return;
          continue;
        }
        const place = deliveryOf(reply);
        if (place.delivered !== delivered + 1) return;
        delivered = place.delivered;
        if (place.seq > toSeq) return void (yield "end");
        yield { seq: place.seq, time: place.time, subject: message.subject, headers: headersOf(message), data };
        if (place.seq === toSeq || place.pending === 0) return void (yield "end");
      }
    }
  } finally {
    signal.removeEventListener("abort", stop);
    sub.unsubscribe();
    if (name !== undefined) await nats.jsm.consumers.delete(stream, name).catch(() => {});
  }
}
