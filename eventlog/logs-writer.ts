/**
 * Writing the lines of one source. Lines wait in memory until there are enough for a chunk or the oldest has waited long
 * enough; one chunk is under way at a time. Each is written with the sequence of the one before it expected: who finds another's
 * chunk there has been overtaken. What is not known to be stored is sent again, and recognised by its mark when it was.
 */
import { setTimeout as after } from "node:timers/promises";
import { leaderMessage, type Nats } from "./connection.ts";
import type { LineIn, LogSource, LogWriter, WriterOptions } from "./logs.ts";
import { BEFORE_MOST, bytesOf, LONGEST_SPAN_MS, pack, readHead } from "./logs-chunk.ts";
import { LogOvertaken } from "./logs-failures.ts";
import { levelOf } from "./logs-level.ts";
import type { PackedLine } from "./logs-lines.ts";
import { Share } from "./logs-share.ts";
import { LOGS, sourceSubject } from "./logs-stream.ts";
import { cutLine, LINE_MOST, LineSplitter, Redaction, withoutAnsi } from "./logs-text.ts";

const CHUNK_LINES = 8_192;
/** Characters of a chunk's text. */
const CHUNK_CHARACTERS = 512 * 1_024;
/** Below the server's `max_payload` of 1 MiB. */
const MESSAGE_BYTES = 1_000_000;
const CURSOR = /^[\x20-\x7e]{1,512}$/;
const WRONG_SEQUENCE = new Set([10071, 10164]);
const RETRY_MS = [50, 100, 250, 500, 1_000, 2_000];
/** A caller waits no longer for room; then its lines are dropped, and counted. */
const WAIT_MS = 30_000;
/** What a waiting line costs beside its characters. */
const LINE_BYTES = 64;

interface Waiting {
  readonly time: number;
  readonly text: string;
  /** Characters left out already. */
  readonly left: number;
  readonly level: LineIn["level"];
  readonly stderr: boolean;
  readonly gap: boolean;
  readonly cursor: string | undefined;
}

const writerId = (): string => crypto.getRandomValues(Buffer.alloc(8)).toString("hex");

/** @param shareBytes what the source may keep @throws LogUnavailable, TypeError for a source that is no subject */
export async function openWriter(
  nats: Nats,
  source: LogSource,
  shareBytes: number,
  options: WriterOptions = {},
): Promise<LogWriter> {
  const subject = sourceSubject(source);
  const last = await leaderMessage(nats, LOGS, { last_by_subj: subject });
  const head = last === null ? undefined : readHead(last.header);
  return new Writer(nats, source, new Share(nats, subject, shareBytes), options, {
    seq: last?.seq ?? 0,
    time: head?.last ?? 0,
    cursor: head?.cursor,
    stored: head?.stored ?? 0,
    before: last === null ? [] : [last.seq, ...(head?.before ?? [])].slice(0, BEFORE_MOST),
  });
}

interface Begin {
  /** Of the source's last chunk; 0: none. */
  readonly seq: number;
  readonly time: number;
  readonly cursor: string | undefined;
  /** Bytes in all. */
  readonly stored: number;
  readonly before: ReadonlyArray<number>;
}

class Writer implements LogWriter {
  readonly source: LogSource;
  cursor: string | undefined;
  readonly #nats: Nats;
  readonly #subject: string;
  readonly #share: Share;
  readonly #id = writerId();
  readonly #redaction = new Redaction();
  readonly #strip: boolean;
  readonly #waits: boolean;
  readonly #most: number;
  readonly #lingerMs: number;
  readonly #splitters: { out: LineSplitter; err: LineSplitter };

  #waiting: Waiting[] = [];
  /** Of the lines that wait or are under way. */
  #bytes = 0;
  #time: number;
  #dropped = 0;
  #fullSince: number | undefined;
  #room: PromiseWithResolvers<void> | undefined;

  #expected: number;
  #before: ReadonlyArray<number>;
  /** Bytes that the source has stored. */
  #inAll: number;
  #number = 0;
  #running: Promise<void> | undefined;
  #linger: NodeJS.Timeout | undefined;
  #flushing = false;
  #failure: LogOvertaken | undefined;
  readonly #closing = new AbortController();

  constructor(nats: Nats, source: LogSource, share: Share, options: WriterOptions, begin: Begin) {
    this.#nats = nats;
    this.source = source;
    this.#subject = sourceSubject(source);
    this.#share = share;
    this.#strip = options.ansi === "strip";
    this.#waits = options.full !== "drop";
    this.#most = options.pendingBytes ?? 4 * 1024 ** 2;
    this.#lingerMs = options.lingerMs ?? 250;
    this.#time = begin.time;
    this.cursor = begin.cursor;
    this.#expected = begin.seq;
    this.#before = begin.before;
    this.#inAll = begin.stored;
    this.#redaction.add(options.redact ?? []);
    this.#splitters = { out: new LineSplitter(this.#lineMost), err: new LineSplitter(this.#lineMost) };
  }

  /** A secret that begins before the cut is seen whole. */
  get #lineMost(): number {
    return LINE_MOST + this.#redaction.longest;
  }

  line(line: LineIn): void | Promise<void> {
    const { text, cursor } = line;
    if (cursor !== undefined && !CURSOR.test(cursor)) throw new TypeError("a cursor is 1 to 512 printable characters");
    if (text.includes("\n")) {
      const parts = text.split("\n");
      for (let i = 0; i < parts.length; i++) {
        const { cursor: _, ...rest } = line;
        this.#add(i === parts.length - 1 ? { ...line, text: parts[i]! } : { ...rest, text: parts[i]! }, 0);
      }
    } else this.#add(line, 0);
    return this.#roomOrWait();
  }

  bytes(piece: Uint8Array, from: { readonly stderr?: boolean } = {}): void | Promise<void> {
    const stderr = from.stderr === true;
    this.#splitters[stderr ? "err" : "out"].push(piece, (text, left) => this.#add({ text, stderr }, left));
    return this.#roomOrWait();
  }

  redact(values: ReadonlyArray<string>): void {
    this.#redaction.add(values);
    this.#splitters.out.most = this.#lineMost;
    this.#splitters.err.most = this.#lineMost;
  }

  async flush(signal?: AbortSignal): Promise<void> {
    while (this.#failure === undefined && (this.#waiting.length > 0 || this.#running !== undefined)) {
      signal?.throwIfAborted();
      this.#flushing = true;
      const stored = this.#run();
      await (signal === undefined ? stored : Promise.race([stored, aborted(signal)]));
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  async close(deadlineMs = 5_000): Promise<number> {
    for (const [name, stderr] of [
      ["out", false],
      ["err", true],
    ] as const) {
      this.#splitters[name].end((text, left) => this.#failure === undefined && this.#add({ text, stderr }, left));
    }
    if (this.#dropped > 0) this.#tellDropped();
    await this.flush(AbortSignal.timeout(deadlineMs)).catch(() => {});
    clearTimeout(this.#linger);
    this.#closing.abort();
    this.#room?.resolve();
    await this.#running;
    const given = this.#waiting.length;
    this.#waiting = [];
    return given;
  }

  #add(line: LineIn, left: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    // Of one that does not wait as it was asked to, too, memory is bounded.
    if (this.#bytes > this.#most * (this.#waits && !this.#isLate() ? 2 : 1)) {
      this.#dropped++;
      return;
    }
    if (this.#dropped > 0) this.#tellDropped();
    const text = line.text.endsWith("\r") ? line.text.slice(0, -1) : line.text;
    const most = this.#lineMost;
    this.#push({
      time: this.#clock(line.time),
      text: text.length > most ? text.slice(0, most) : text,
      left: left + Math.max(0, text.length - most),
      level: line.level,
      stderr: line.stderr === true,
      gap: false,
      cursor: line.cursor,
    });
  }

  #push(line: Waiting): void {
    this.#waiting.push(line);
    this.#bytes += line.text.length + LINE_BYTES;
    if (this.#running === undefined) {
      if (this.#waiting.length >= CHUNK_LINES || this.#bytes >= CHUNK_CHARACTERS) this.#run();
      else this.#linger ??= setTimeout(() => this.#run(), this.#lingerMs);
    }
  }

  /** Never back, and not ahead of the machine's clock: a source that leaps would hide what follows. */
  #clock(time: number | undefined): number {
    const now = Date.now();
    this.#time = Math.max(this.#time, time === undefined || !(time <= now) ? now : Math.trunc(time));
    return this.#time;
  }

  #tellDropped(): void {
    const text = `[${this.#dropped} lines missing: they came faster than they could be stored]`;
    this.#dropped = 0;
    this.#push(this.#gapLine(text));
  }

  #gapLine(text: string): Waiting {
    return { time: this.#clock(undefined), text, left: 0, level: "warn", stderr: false, gap: true, cursor: undefined };
  }

  #isLate(): boolean {
    return this.#fullSince !== undefined && performance.now() - this.#fullSince > WAIT_MS;
  }

  #roomOrWait(): void | Promise<void> {
    if (!this.#waits || this.#bytes <= this.#most || this.#isLate()) return;
    this.#fullSince ??= performance.now();
    this.#room ??= Promise.withResolvers<void>();
    const late = new Promise<void>((resolve) => void setTimeout(resolve, WAIT_MS).unref());
    return Promise.race([this.#room.promise, late]);
  }

  #free(lines: ReadonlyArray<Waiting>): void {
    for (const { text } of lines) this.#bytes -= text.length + LINE_BYTES;
    if (this.#bytes <= this.#most / 2) {
      this.#fullSince = undefined;
      this.#room?.resolve();
      this.#room = undefined;
    }
  }

  /** Stores what waits, chunk after chunk. Never rejects: a failure is kept and told by the next call. */
  #run(): Promise<void> {
    clearTimeout(this.#linger);
    this.#linger = undefined;
    this.#running ??= this.#store()
      .catch((error: unknown) => {
        this.#failure = error instanceof LogOvertaken ? error : undefined;
        if (this.#failure === undefined && !this.#closing.signal.aborted) throw error;
        this.#room?.resolve();
      })
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  async #store(): Promise<void> {
    const began = performance.now();
    for (let first = true; this.#waiting.length > 0; first = false) {
      const enough = this.#waiting.length >= CHUNK_LINES || this.#bytes >= CHUNK_CHARACTERS;
      if (!first && !enough && !this.#flushing) {
        // Fewer, fuller chunks: what came meanwhile has time.
        const rest = this.#lingerMs - (performance.now() - began);
        if (rest > 0) await after(rest, undefined, { signal: this.#closing.signal }).catch(() => {});
      }
      const lines = this.#take();
      try {
        await this.#storeChunk(lines);
      } catch (error) {
        this.#waiting.unshift(...lines);
        throw error;
      }
      this.#free(lines);
      // Now, since no line may follow.
      if (this.#dropped > 0 && this.#bytes <= this.#most / 2) this.#tellDropped();
    }
    this.#flushing = false;
  }

  #take(): Waiting[] {
    const base = this.#waiting[0]!.time;
    let count = 0;
    for (let size = 0; count < this.#waiting.length && count < CHUNK_LINES && size < CHUNK_CHARACTERS; count++) {
      const { text, time } = this.#waiting[count]!;
      if (time - base > LONGEST_SPAN_MS) break;
      size += text.length + 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #storeChunk(lines: ReadonlyArray<Waiting>): Promise<void> {
    const cursor = lines.findLast((line) => line.cursor !== undefined)?.cursor ?? this.cursor;
    const packed = this.#clean(lines);
    const writer = `${this.#id}.${++this.#number}`;
    for (let failures = 0; ; failures++) {
      const { headers, data } = await pack(packed, { cursor, writer, before: this.#before, storedBefore: this.#inAll });
      if (data.length > MESSAGE_BYTES && lines.length > 1) {
        const half = lines.length >> 1;
        await this.#storeChunk(lines.slice(0, half));
        return this.#storeChunk(lines.slice(half));
      }
      headers.set("Nats-Expected-Last-Subject-Sequence", String(this.#expected));
      try {
        const { seq } = await this.#nats.js.publish(this.#subject, data, { headers, timeout: 5_000 });
        return await this.#stored(seq, cursor, data);
      } catch (error) {
        const found = WRONG_SEQUENCE.has((error as { code?: number }).code ?? 0) ? await this.#look(writer) : undefined;
        if (found !== undefined && found.stored > 0) return this.#stored(found.stored, cursor, data);
        if (found?.lost) packed.unshift(LOST(packed[0]!.time));
        this.#closing.signal.throwIfAborted();
        if (found === undefined || failures > 3) await this.#pause(failures);
      }
    }
  }

  async #pause(failures: number): Promise<void> {
    const ms = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]!;
    await after(ms, undefined, { signal: this.#closing.signal });
  }

  async #stored(seq: number, cursor: string | undefined, data: Uint8Array): Promise<void> {
    this.#expected = seq;
    this.#before = [seq, ...this.#before].slice(0, BEFORE_MOST);
    this.#inAll += bytesOf(data);
    this.cursor = cursor;
    const kept = await this.#share.keep(this.#inAll, seq);
    if (kept === undefined) return;
    const mib = Math.max(1, Math.round(kept / 1024 ** 2));
    this.#push(this.#gapLine(`[the oldest lines of this source are no longer kept: it has its share of ${mib} MiB]`));
  }

  /** The subject's last chunk is not the one expected. @throws LogOvertaken */
  async #look(writer: string): Promise<{ stored: number; lost: boolean } | undefined> {
    try {
      const last = await leaderMessage(this.#nats, LOGS, { last_by_subj: this.#subject });
      const head = last === null ? undefined : readHead(last.header);
      if (last !== null && head?.writer === writer) return { stored: last.seq, lost: false };
      const seq = last?.seq ?? 0;
      if (seq > this.#expected) throw new LogOvertaken({ subject: this.#subject });
      if (seq === this.#expected) return { stored: 0, lost: false };
      // Ours are gone: too old by now, or removed, or not on the disk yet when the server was killed.
      const { state } = await this.#nats.jsm.streams.info(LOGS);
      const lost = this.#expected > state.last_seq;
      this.#expected = seq;
      this.#before = last === null ? [] : [seq, ...(head?.before ?? [])].slice(0, BEFORE_MOST);
      return { stored: 0, lost };
    } catch (error) {
      if (error instanceof LogOvertaken) throw error;
      // The server cannot say: later.
      return undefined;
    }
  }

  /** Lines as they are kept. Secrets are looked for in all of them at once: nearly always there are none. */
  #clean(lines: ReadonlyArray<Waiting>): PackedLine[] {
    const texts = lines.map(({ text }) => (this.#strip ? withoutAnsi(text) : text));
    const secrets = this.#redaction.finds(texts.join("\n"));
    return lines.map((line, i) => {
      const { text, cut } = cutLine(secrets ? this.#redaction.apply(texts[i]!) : texts[i]!, line.left);
      const level = line.level ?? levelOf(withoutAnsi(text.length > 4_096 ? text.slice(0, 4_096) : text));
      return { time: line.time, level, text, stderr: line.stderr, cut, gap: line.gap };
    });
  }
}

const LOST = (time: number): PackedLine => ({
  time,
  level: "warn",
  text: "[lines missing: the log server lost what it had stored last]",
  stderr: false,
  cut: false,
  gap: true,
});

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
