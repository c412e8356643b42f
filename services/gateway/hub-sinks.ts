/** How frames go out: as WebSocket text frames, or as Server-Sent Events. */
import type { ServerResponse } from "node:http";
import type { ControlFrame } from "@millrace/contracts/feed.ts";
import type { FeedEvent } from "@millrace/eventlog/cloudevents.ts";
import type { WebSocket } from "ws";

/** Where a subscriber's frames go. */
export interface Sink {
  readonly transport: "websocket" | "sse" | "nats";
  /** Bytes that the other side has not taken yet. */
  readonly buffered: number;
  /** @param position token of everything up to and including the event */
  event(event: FeedEvent, position: string): void;
  frame(frame: ControlFrame): void;
  close(code: number, reason: string): void;
}

/** Reasons of close frames are limited to 123 bytes by the protocol. */
const REASON_BYTES = 123;
/** How long the other side has to answer a close frame. */
const CLOSE_MS = 5_000;

/** Frames of an event are alike for all who are live at its moment, who come one after the other. */
let last: { readonly event: FeedEvent; readonly position: string; readonly frame: Buffer } | undefined;

function eventFrame(event: FeedEvent, position: string): Buffer {
  if (last?.event === event && last.position === position) return last.frame;
  const frame = Buffer.from(`{"type":"event","position":"${position}","event":${event.json}}`);
  last = { event, position, frame };
  return frame;
}

export function webSocketSink(socket: WebSocket): Sink {
  return {
    transport: "websocket",
    get buffered() {
      return socket.bufferedAmount;
    },
    event: (event, position) => socket.send(eventFrame(event, position), { binary: false }),
    frame: (frame) => socket.send(JSON.stringify(frame)),
    close: (code, reason) => {
      socket.close(code, Buffer.from(reason).subarray(0, REASON_BYTES).toString("latin1"));
      // One that does not read will not answer either.
      setTimeout(() => socket.terminate(), CLOSE_MS).unref();
    },
  };
}

/** Milliseconds after which a browser comes back: at once after a restart, late where coming back alone does not help. */
const RETRY = { usual: 2_000, hopeless: 60_000 } as const;
const RESTART = 1012;
const SLOW = 4408;

export function sseSink(response: ServerResponse): Sink {
  const write = (event: string, position: string | undefined, data: string) =>
    void response.write(`${position === undefined ? "" : `id: ${position}\n`}event: ${event}\ndata: ${data}\n\n`);
  response.write(`retry: ${RETRY.usual}\n\n`);
  return {
    transport: "sse",
    get buffered() {
      return response.writableLength;
    },
    event: (event, position) => write(`millrace.${event.context}.${event.type}`, position, event.json),
    frame: (frame) => {
      const data = JSON.stringify(frame);
      if (frame.type === "gap") write("gap", undefined, data);
      else write(frame.type === "heartbeat" ? "position" : frame.type, frame.position, data);
    },
    close: (code, reason) => {
      const retry = code === RESTART || code === SLOW ? RETRY.usual : RETRY.hopeless;
      response.write(`retry: ${retry}\n`);
      write("closing", undefined, JSON.stringify({ type: "closing", code, reason }));
      response.end();
      setTimeout(() => response.destroy(), CLOSE_MS).unref();
    },
  };
}
