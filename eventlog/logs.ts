/**
 * Log lines: stream `LOGS`, kept by age and size. Not events: a message is a compressed chunk of many lines of one source.
 *
 *     const logs = await openLogs(nats);
 *     const writer = await logs.writer({ organisation, context: "applications", kind: "application", id, source: "run", group: deployment, instance: "0" });
 *     writer.line({ text: "listening", time: Date.now() });   // or writer.bytes(chunk) for what comes in pieces
 *     await writer.close();
 *     const page = await logs.read({ of: [{ organisation, context: "applications", kind: "application", id }], order: "newest", limit: 200 });
 *     for await (const news of logs.tail({ of: […], signal })) …
 *
 * Subject: `logs.<organisation>.<context>.<kind>.<id>.<source>.<group>.<instance>`, literal for a source, `-` where it has no
 * group or instance. A chunk is written with the expected last sequence of its subject, so of two collectors of one source
 * one is overtaken; and it carries the source's cursor, so that the next collector goes on behind the last line that is stored.
 */

import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import type { Level } from "./logs-level.ts";
import { readLogs } from "./logs-reader.ts";
import { shareOf } from "./logs-share.ts";
import { ensureLogs, filterSubject, LOGS, type LogLimits } from "./logs-stream.ts";
import { tailLogs } from "./logs-tail.ts";
import { openWriter } from "./logs-writer.ts";

export { LogOvertaken, LogQueryRefused } from "./logs-failures.ts";
export { LEVELS, type Level } from "./logs-level.ts";
export { StampCursor } from "./logs-resume.ts";
export type { LogLimits } from "./logs-stream.ts";

/** Where lines come from. Every part is a subject token: letters, digits, `_`, `-`, at most 128. */
export interface LogSource {
  readonly organisation: string;
  readonly context: string;
  readonly kind: string;
  readonly id: string;
  /** What of the entity speaks: `run`, `build`, … */
  readonly source: string;
  /** What its lines belong together by: of applications, the deployment's id. */
  readonly group?: string;
  /** Which of several alike: of applications, the slot. */
  readonly instance?: string;
}

/** Sources asked for: of one entity, the parts left out being any. */
export type LogFilter = Pick<LogSource, "organisation" | "context" | "kind" | "id"> &
  Partial<Pick<LogSource, "source" | "group" | "instance">>;

export interface LineIn {
  /** Without its line end; longer than 16 kB it is cut, and says so. Line ends within it make several lines of it. */
  readonly text: string;
  /** Milliseconds since 1970; left out: now. Of one source it never goes back: an earlier one is taken as that of the line before. */
  readonly time?: number;
  /** Left out: found in the line. */
  readonly level?: Level;
  readonly stderr?: boolean;
  /** Where the source goes on after this line; at most 512 printable ASCII characters. */
  readonly cursor?: string;
}

export interface WriterOptions {
  /** Values that are not to be kept: of six characters and more, also as JSON, URL and base 64 write them, also line by line. */
  readonly redact?: ReadonlyArray<string>;
  /** Colours and cursor movements; default `keep`. They are never searched. */
  readonly ansi?: "keep" | "strip";
  /** What `line` and `bytes` do when `pendingBytes` wait: make the caller wait (default), or drop lines and say how many. */
  readonly full?: "wait" | "drop";
  /** Default 4 MiB. */
  readonly pendingBytes?: number;
  /** A line is stored after so many milliseconds at the latest; default 250. */
  readonly lingerMs?: number;
}

export interface LogWriter {
  readonly source: LogSource;
  /** Of the last line that is stored, by this writer or one before it. A collector goes on there. */
  readonly cursor: string | undefined;
  /** Takes a line. @returns a promise when it should be waited for, until there is room again @throws LogOvertaken */
  line(line: LineIn): void | Promise<void>;
  /**
   * Takes a piece of output as it comes: lines and UTF-8 characters may be split anywhere; stdout and stderr are put together apart.
   * @returns as `line`
   */
  bytes(piece: Uint8Array, from?: { readonly stderr?: boolean }): void | Promise<void>;
  /** More values that are not to be kept, in what is not stored yet. */
  redact(values: ReadonlyArray<string>): void;
  /** Until everything so far is stored. @throws LogOvertaken, or what the signal was aborted with */
  flush(signal?: AbortSignal): Promise<void>;
  /** Stores what waits, half a line too, and ends. What is not stored within `deadlineMs` (default 5 000) is given up. @returns lines given up */
  close(deadlineMs?: number): Promise<number>;
}

export interface LogLine {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** null: nothing in the line tells. It is filtered as `info`. */
  readonly level: Level | null;
  readonly text: string;
  readonly stderr: boolean;
  /** Only its beginning was kept. */
  readonly cut: boolean;
  /** Not a line of the source: lines are missing here, and the text says how many and why. */
  readonly gap: boolean;
  readonly from: LogSource;
  /** Of the line in the stream: `<sequence>.<index>`. */
  readonly position: string;
}

export interface LogMatch {
  /** From this level on. */
  readonly level?: Level;
  /** Found in the line, colours left out; without capitals in it regardless of case. */
  readonly q?: string;
  /** In the syntax of RE2, so that no pattern takes more than linear time. @throws LogQueryRefused */
  readonly regex?: string;
}

export interface LogQuery extends LogMatch {
  /** Sources of one or several entities, merged by time. */
  readonly of: ReadonlyArray<LogFilter>;
  /** Milliseconds since 1970, inclusive. */
  readonly since?: number;
  /** Exclusive. */
  readonly until?: number;
  readonly order: "newest" | "oldest";
  /** Lines at the most. */
  readonly limit: number;
  /** `next` of the page before. */
  readonly after?: string;
  /** Looked through for so long at the most; default 5 000. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface LogPage {
  /** In the order asked for: by time, then by their place in the stream. */
  readonly lines: ReadonlyArray<LogLine>;
  /** Undefined at the end. A page may have fewer lines than asked for, or none, and still go on: its time was up. */
  readonly next: string | undefined;
  /** How far it looked, in milliseconds since 1970; undefined at the end. */
  readonly reached: number | undefined;
}

export interface TailQuery extends LogMatch {
  readonly of: ReadonlyArray<LogFilter>;
  /** Position of the last line seen. Goes before `since` and `last`; with none of them only what comes from now on is told. */
  readonly after?: string;
  /** Milliseconds since 1970: begins with what was stored from then on. */
  readonly since?: number;
  /** Begins with the newest so many lines, at most 10 000. */
  readonly last?: number;
  readonly signal: AbortSignal;
}

/** What a tail tells. `position`: everything up to it has been looked at. */
export type LogNews =
  | { readonly type: "lines"; readonly lines: ReadonlyArray<LogLine>; readonly position: string }
  /** Lines that came after the position asked for are no longer kept. */
  | { readonly type: "gap"; readonly from: LogSource | undefined; readonly position: string }
  /** Everything that was there when the tail began has been told. */
  | { readonly type: "caught-up"; readonly position: string };

export interface Logs {
  /** @throws LogUnavailable */
  writer(source: LogSource, options?: WriterOptions): Promise<LogWriter>;
  /** @throws LogUnavailable, LogQueryRefused */
  read(query: LogQuery): Promise<LogPage>;
  /**
   * Lines as they are stored, in that order. Whoever is slow falls behind, and is told a gap when lines were dropped meanwhile.
   * Ends when the signal is aborted. @throws LogUnavailable when the connection is lost: come back with the last position
   */
  tail(query: TailQuery): AsyncGenerator<LogNews, void, undefined>;
  /** Removes the lines of an entity, or of some of its sources. @throws LogUnavailable */
  remove(of: LogFilter): Promise<void>;
}

/** Makes sure of the stream. @throws LogUnavailable */
export async function openLogs(nats: Nats, limits: LogLimits = {}): Promise<Logs> {
  const maxBytes = await ensureLogs(nats, limits);
  const share = limits.shareBytes ?? shareOf(maxBytes);
  return {
    writer: (source, options) => openWriter(nats, source, share, options),
    read: (query) => readLogs(nats, query),
    tail: (query) => tailLogs(nats, query),
    async remove(of) {
      try {
        await nats.jsm.streams.purge(LOGS, { filter: filterSubject(of) });
      } catch (error) {
        throw new LogUnavailable({ what: "NATS", cause: error });
      }
    },
  };
}
