/** Subscribers over WebSocket and Server-Sent Events that come back with their position whenever the connection breaks. */
import type { StoredCommit } from "@millrace/eventlog/commit.ts";
import { WebSocket } from "ws";
import { pause } from "./house.ts";
import { isPublic } from "./truth.ts";

export interface SubscriberOptions {
  readonly urls: ReadonlyArray<string>;
  readonly token: string;
  readonly transport: "websocket" | "sse";
  readonly contexts?: ReadonlyArray<string>;
  /** Types of events. */
  readonly types?: ReadonlyArray<string>;
  /** Milliseconds after which it hangs up by itself, now and then. */
  readonly moodyMs?: number;
}

/** Longer without a frame than this, and the connection is given up. */
const SILENT_MS = 6_000;

export class Subscriber {
  readonly options: SubscriberOptions;
  /** Ids of events by context, in the order they came. */
  readonly seen = new Map<string, string[]>();
  readonly wrong = new Set<string>();
  connections = 0;
  #position: string | undefined;
  #stopping = new AbortController();
  readonly #work: Promise<void>;

  /** Begins at once, with the oldest event there is. */
  constructor(options: SubscriberOptions) {
    this.options = options;
    this.#work = this.#run();
  }

  get count(): number {
    let count = 0;
    for (const ids of this.seen.values()) count += ids.length;
    return count;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#work;
  }

  async #run(): Promise<void> {
    for (let attempt = 0; !this.#stopping.signal.aborted; attempt++) {
      const { urls, transport, contexts, types } = this.options;
      const query = new URLSearchParams({ heartbeatMs: "1000" });
      if (this.#position === undefined) query.set("from", "beginning");
      else query.set("after", this.#position);
      for (const context of contexts ?? []) query.append("context", context);
      for (const type of types ?? []) query.append("type", type);
      const url = `${urls[attempt % urls.length]}/v1/organisations/home/events?${query}`;
      const hangUp = new AbortController();
      const { moodyMs } = this.options;
      const mood =
        moodyMs === undefined ? undefined : setTimeout(() => hangUp.abort(), moodyMs * (0.5 + Math.random()));
      const signal = AbortSignal.any([this.#stopping.signal, hangUp.signal]);
      try {
        await (transport === "websocket" ? this.#overWebSocket(url, signal) : this.#overSse(url, signal));
      } catch {
        // The connection broke.
      }
      clearTimeout(mood);
      if (!this.#stopping.signal.aborted) await pause(100 + Math.random() * 200);
    }
  }

  #overWebSocket(url: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const socket = new WebSocket(url.replace("http", "ws"), "millrace.v1", {
        headers: { authorization: `Bearer ${this.options.token}` },
        handshakeTimeout: 10_000,
      });
      const end = () => socket.terminate();
      let watch = setTimeout(end, 15_000);
      signal.addEventListener("abort", end);
      socket.on("open", () => this.connections++);
      socket.on("message", (data: Buffer) => {
        clearTimeout(watch);
        watch = setTimeout(end, SILENT_MS);
        if (signal.aborted) return;
        const frame = JSON.parse(data.toString()) as Frame;
        this.#take(frame.type, frame.position, frame.type === "event" ? frame.event : frame);
      });
      socket.on("unexpected-response", (_, response) => {
        this.#refused(response.statusCode ?? 0);
        end();
      });
      socket.on("error", () => {});
      socket.on("close", (code) => {
        clearTimeout(watch);
        signal.removeEventListener("abort", end);
        if (![1000, 1005, 1006, 1012, 4408].includes(code)) this.wrong.add(`closed with ${code}`);
        resolve();
      });
    });
  }

  async #overSse(url: string, signal: AbortSignal): Promise<void> {
    const silent = new AbortController();
    let watch = setTimeout(() => silent.abort(), 15_000);
    try {
      const response = await fetch(url, {
        headers: { authorization: `Bearer ${this.options.token}`, accept: "text/event-stream" },
        signal: AbortSignal.any([signal, silent.signal]),
      });
      if (response.status !== 200) {
        this.#refused(response.status);
        await response.body?.cancel();
        return;
      }
      this.connections++;
      const decoder = new TextDecoder();
      let text = "";
      for await (const chunk of response.body!) {
        clearTimeout(watch);
        watch = setTimeout(() => silent.abort(), SILENT_MS);
        text += decoder.decode(chunk as Uint8Array, { stream: true });
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          this.#takeBlock(text.slice(0, end));
          text = text.slice(end + 2);
        }
      }
    } finally {
      clearTimeout(watch);
    }
  }

  #takeBlock(block: string): void {
    const fields = new Map(
      block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
    );
    const event = fields.get("event");
    if (event === undefined || event === "closing") return;
    this.#take(event.startsWith("millrace.") ? "event" : event, fields.get("id"), JSON.parse(fields.get("data")!));
  }

  #take(type: string, position: string | undefined, body: object): void {
    if (type === "gap") this.wrong.add(`a gap: ${JSON.stringify(body)}`);
    if (type === "event") {
      const { id, source } = body as { id: string; source: string };
      const context = source.split("/")[3]!;
      const ids = this.seen.get(context);
      if (ids === undefined) this.seen.set(context, [id]);
      else ids.push(id);
    }
    if (position !== undefined) this.#position = position;
  }

  #refused(status: number): void {
    if (status !== 503) this.wrong.add(`refused with ${status}`);
  }

  /** How many it must see of these commits. */
  expected(commits: ReadonlyMap<string, ReadonlyArray<StoredCommit>>, organisation: string): Map<string, string[]> {
    const expected = new Map<string, string[]>();
    for (const [context, all] of commits) {
      if (this.options.contexts?.includes(context) === false) continue;
      const ids = all.flatMap((commit) =>
        commit.organisation !== organisation
          ? []
          : commit.events.flatMap((event, index) =>
              isPublic(commit, event.type) && this.options.types?.includes(event.type) !== false
                ? [`${commit.seq}.${index}`]
                : [],
            ),
      );
      if (ids.length > 0) expected.set(context, ids);
    }
    return expected;
  }
}

interface Frame {
  readonly type: string;
  readonly position: string;
  readonly event: object;
}

export interface Difference {
  readonly holes: number;
  readonly doubles: number;
  readonly disorder: number;
  readonly foreign: number;
}

export function differenceOf(seen: ReadonlyArray<string>, expected: ReadonlyArray<string>): Difference {
  const wanted = new Set(expected);
  const had = new Set<string>();
  let doubles = 0;
  let foreign = 0;
  for (const id of seen) {
    if (had.has(id)) doubles++;
    if (!wanted.has(id)) foreign++;
    had.add(id);
  }
  const holes = expected.filter((id) => !had.has(id)).length;
  const places = new Map(expected.map((id, at) => [id, at]));
  let last = -1;
  let disorder = 0;
  for (const id of seen) {
    const at = places.get(id) ?? -1;
    if (at < last) disorder++;
    last = Math.max(last, at);
  }
  return { holes, doubles, disorder, foreign };
}
