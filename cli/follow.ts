/** Streams of the gateway (`text/event-stream`), taken up again where they were when the connection is lost. */
import { Failure, interrupted } from "./failure.ts";
import { bodyOf, type Gateway, sleep } from "./gateway.ts";
import { oneLine } from "./io.ts";
import { type AnyCall, EXIT } from "./table.ts";

export const HEARTBEAT_MS = 15_000;
/** Without a byte for so long the connection is given up, in milliseconds. */
const SILENCE_MS = 2.5 * HEARTBEAT_MS;
/** A line of the stream longer than this is none of ours. */
const LINE_CHARACTERS = 16 << 20;

export interface ServerSentEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: string;
}

/** The events of a stream in `text/event-stream` form. */
async function* serverSentEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  let fields: { event?: string; id?: string; data: string[] } = { data: [] };
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n/);
    rest = lines.pop() ?? "";
    if (rest.length > LINE_CHARACTERS) throw new Error("a line of the stream is too long");
    for (const line of lines) {
      if (line === "") {
        const { event = "message", id, data } = fields;
        if (data.length > 0) yield { event, id, data: data.join("\n") };
        fields = { data: [] };
        continue;
      }
      const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (name === "data") fields.data.push(value);
      else if (name === "event" || name === "id") fields[name] = value;
    }
  }
}

/**
 * What a stream sends, without end. A lost connection is taken up again after the last id, so nothing is missed or shown twice.
 * @param path asked for at each connection, with the last id there was
 * @throws Failure when the gateway refuses, or when interrupted
 */
export async function* followed(
  gateway: Gateway,
  call: AnyCall,
  path: (position: string | undefined) => string,
): AsyncGenerator<ServerSentEvent> {
  let position: string | undefined;
  for (let failures = 0; ; ) {
    try {
      for await (const sent of connection(gateway, call, path(position), position)) {
        failures = 0;
        if (sent.event === "closing") throw closing(JSON.parse(sent.data));
        position = sent.id ?? position;
        yield sent;
      }
    } catch (error) {
      if (error instanceof Failure) throw error;
      if (call.io.interrupted.aborted) throw interrupted();
      if (failures === 0) call.io.err(`connection lost (${reasonOf(error)}), coming back\n`);
    }
    if (call.io.interrupted.aborted) throw interrupted();
    await sleep(Math.min(5_000, 100 * 2 ** failures++) * (0.5 + Math.random() / 2), call.io.interrupted);
  }
}

const reasonOf = (error: unknown): string => {
  const cause = (error as Error).cause as NodeJS.ErrnoException | undefined;
  return oneLine(cause?.code ?? cause?.message ?? (error as Error).message);
};

/** Codes of contracts/feed.ts after which coming back would not help. */
const NOT_ALLOWED: readonly unknown[] = [4401, 4403];

function closing({ code, reason }: { readonly code?: number; readonly reason?: string }): Error {
  const why = reason === undefined ? undefined : oneLine(reason);
  if (!NOT_ALLOWED.includes(code)) return new Error(why ?? "closed by the gateway");
  return new Failure("unauthenticated", EXIT.auth, "The token may no longer read this", {
    why,
    fix: "`mill login` with another",
  });
}

/** What one connection sends, until it ends. */
async function* connection(
  gateway: Gateway,
  { io }: AnyCall,
  path: string,
  position: string | undefined,
): AsyncGenerator<ServerSentEvent> {
  const { url, token } = gateway.target;
  const silence = new AbortController();
  let watchdog = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await fetch(url + path, {
      headers: {
        accept: "text/event-stream, application/problem+json",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(position === undefined ? {} : { "last-event-id": position }),
      },
      signal: AbortSignal.any([io.interrupted, silence.signal]),
      redirect: "manual",
    });
    if (response.status !== 200 || response.body === null) {
      const text = await response.text();
      // Not now, but later: as a lost connection.
      if (response.status === 503 || response.status === 429) throw new Error(`${response.status}`);
      bodyOf({ status: response.status, headers: response.headers, text });
      throw new Failure("no-gateway", EXIT.failure, "The answer is no stream", { fix: "Look at the address" });
    }
    for await (const sent of serverSentEvents(response.body)) {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => silence.abort(), SILENCE_MS);
      yield sent;
    }
  } finally {
    clearTimeout(watchdog);
    silence.abort();
  }
}
