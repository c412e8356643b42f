/**
 * Subscribing from a program: events as an async iterable over a WebSocket, taken up again where they were when the
 * connection is lost, without hole or double.
 *
 *     const events = subscribe({ url: "http://127.0.0.1:7400", token, organisation: "home", filter: { context: ["work"] } });
 *     for await (const event of events) {
 *       console.log(event.type, event.data);
 *       save(events.position); // Everything up to this event: give it as `after` the next time.
 *     }
 */
import type { CloudEvent } from "./events.ts";
import { BEARER_PREFIX, CLOSE, type EventFilter, type Frame, SUBPROTOCOL } from "./feed.ts";

/** What is used of a WebSocket: Node's and the browser's own has it, and that of `ws`. */
export interface SocketLike {
  addEventListener(type: "open" | "message" | "close" | "error", listener: (event: any) => void): void;
  close(code?: number, reason?: string): void;
}

export interface SubscribeOptions {
  /** Of the gateway, without a path. */
  readonly url: string;
  readonly token: string;
  /** Id or name. */
  readonly organisation: string;
  readonly filter?: EventFilter;
  /** A position: only what came after it. */
  readonly after?: string;
  /** Without `after`. Default: now. */
  readonly from?: "beginning" | "now";
  readonly heartbeatMs?: number;
  /** Told when events after the position are gone; `resume` goes on with the oldest that is left. Default: `close`. */
  readonly onGap?: (gap: Extract<Frame, { readonly type: "gap" }>) => "close" | "resume";
  /** Told when it has caught up, once a connection. */
  readonly onCaughtUp?: () => void;
  /** Told before each attempt to come back, with why it must. */
  readonly onReconnect?: (why: string) => void;
  readonly signal?: AbortSignal;
  /** Default: the runtime's own. */
  readonly WebSocket?: new (
    url: string,
    protocols: string[],
  ) => SocketLike;
  /** Asked for the reason when a socket cannot be opened. Default: the runtime's own. */
  readonly fetch?: typeof fetch;
}

export interface Subscription extends AsyncIterable<CloudEvent> {
  /** Everything that matches up to here has been handed out; "" before the first connection. */
  readonly position: string;
  /** Ends it; the iteration ends, too. */
  readonly close: () => void;
}

/** The subscription cannot go on: refused by the gateway, or a gap that was not to be resumed. */
export class SubscriptionEnded extends Error {
  readonly reason: "refused" | "gap";
  /** The problem (RFC 9457) of a refusal, or the gap frame. */
  readonly detail: unknown;
  constructor(reason: "refused" | "gap", message: string, detail: unknown) {
    super(message);
    this.name = "SubscriptionEnded";
    this.reason = reason;
    this.detail = detail;
  }
}

/** Frames that are taken from the socket before anybody asks for them; beyond, it is closed and taken up again later. */
const QUEUE_MOST = 5_000;
const BACK_OFF = { leastMs: 200, mostMs: 10_000 } as const;
/** Heartbeats that may fail to come. */
const SILENT_BEATS = 2.5;

type Item = { readonly frame: Frame } | { readonly closed: { readonly code: number; readonly reason: string } };

/** Connects when it is first iterated; to be iterated once. */
export function subscribe(options: SubscribeOptions): Subscription {
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, options.signal]);
  const state = { position: options.after ?? "" };
  return {
    get position() {
      return state.position;
    },
    close: () => stop.abort(),
    [Symbol.asyncIterator]: () => run(options, state, signal),
  };
}

async function* run(
  options: SubscribeOptions,
  state: { position: string },
  signal: AbortSignal,
): AsyncGenerator<CloudEvent, void, undefined> {
  for (let failures = 0; !signal.aborted; failures++) {
    let why = "the connection was lost";
    for await (const item of connection(options, state, signal)) {
      if ("closed" in item) {
        const { code, reason } = item.closed;
        if (reason !== "") why = reason;
        if (code === CLOSE.unauthenticated || code === CLOSE.forbidden)
          throw new SubscriptionEnded("refused", why, { code });
        break;
      }
      const { frame } = item;
      failures = 0;
      if (frame.type === "gap") {
        if (options.onGap?.(frame) !== "resume") throw new SubscriptionEnded("gap", frame.detail, frame);
        state.position = frame.oldest;
        continue;
      }
      state.position = frame.position;
      if (frame.type === "event") yield frame.event as unknown as CloudEvent;
      if (frame.type === "caught-up") options.onCaughtUp?.();
    }
    if (signal.aborted) return;
    options.onReconnect?.(why);
    await refusal(options, state.position, signal);
    await pause(Math.min(BACK_OFF.mostMs, BACK_OFF.leastMs * 2 ** failures) * (0.5 + Math.random() / 2), signal);
  }
}

/** Frames of one connection, then how it closed. */
async function* connection(
  options: SubscribeOptions,
  state: { readonly position: string },
  signal: AbortSignal,
): AsyncGenerator<Item, void, undefined> {
  const queue: Item[] = [];
  let wake: (() => void) | undefined;
  let full = false;
  const put = (item: Item) => {
    queue.push(item);
    wake?.();
  };
  const Socket =
    options.WebSocket ?? (globalThis as unknown as { WebSocket: NonNullable<SubscribeOptions["WebSocket"]> }).WebSocket;
  const address = addressOf(options, state.position).replace(/^http/, "ws");
  const socket = new Socket(address, [SUBPROTOCOL, `${BEARER_PREFIX}${options.token}`]);
  let watchdog: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(watchdog);
    const silentMs = (options.heartbeatMs ?? 15_000) * SILENT_BEATS;
    watchdog = setTimeout(() => {
      put({ closed: { code: 1006, reason: `nothing was heard for ${silentMs} ms` } });
      socket.close();
    }, silentMs);
  };
  heard();
  const end = () => {
    put({ closed: { code: 1000, reason: "" } });
    socket.close();
  };
  signal.addEventListener("abort", end);
  socket.addEventListener("message", ({ data }: { data: unknown }) => {
    heard();
    if (full) return;
    put({ frame: JSON.parse(String(data)) as Frame });
    if (queue.length <= QUEUE_MOST) return;
    full = true; // Whoever iterates is slow: what comes after stands in the feed.
    put({ closed: { code: 1000, reason: "too much was waiting to be read" } });
    socket.close();
  });
  socket.addEventListener("error", () => {});
  socket.addEventListener("close", ({ code, reason }: { code: number; reason: unknown }) =>
    put({ closed: { code, reason: String(reason ?? "") } }),
  );
  try {
    for (;;) {
      const item = queue.shift();
      if (item === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      yield item;
      if ("closed" in item) return;
    }
  } finally {
    clearTimeout(watchdog);
    signal.removeEventListener("abort", end);
    socket.close();
  }
}

function addressOf(options: SubscribeOptions, position: string): string {
  const query = new URLSearchParams();
  for (const [name, values] of Object.entries(options.filter ?? {}))
    if (values !== undefined) query.set(name, values.join(","));
  if (position !== "") query.set("after", position);
  else if (options.from !== undefined) query.set("from", options.from);
  if (options.heartbeatMs !== undefined) query.set("heartbeatMs", String(options.heartbeatMs));
  if (options.onGap !== undefined) query.set("onGap", "resume"); // Whether it goes on is then decided here.
  return `${options.url.replace(/\/+$/, "")}/v1/organisations/${encodeURIComponent(options.organisation)}/events?${query}`;
}

/**
 * A WebSocket that is refused does not say why, so the same is asked over HTTP.
 * @throws SubscriptionEnded when coming back would not help
 */
async function refusal(options: SubscribeOptions, position: string, signal: AbortSignal): Promise<void> {
  const end = new AbortController();
  try {
    const response = await (options.fetch ?? fetch)(addressOf(options, position), {
      headers: { authorization: `Bearer ${options.token}`, accept: "text/event-stream" },
      signal: AbortSignal.any([end.signal, signal, AbortSignal.timeout(5_000)]),
    });
    const { status } = response;
    if (status < 400 || status >= 500 || status === 408 || status === 429) return;
    const problem = (await response.json()) as { title?: string; detail?: string };
    throw new SubscriptionEnded("refused", problem.detail ?? problem.title ?? `refused with ${status}`, problem);
  } catch (error) {
    if (error instanceof SubscriptionEnded) throw error;
    // It cannot be reached at all: again later.
  } finally {
    end.abort();
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
