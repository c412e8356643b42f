/** Counts uses of tokens, and writes them down as one event per token and minute, and at the end. */
import { token as tokenKind } from "@millrace/domain/identity/token.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type Change, execute, ownContext } from "@millrace/eventlog/execute.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";

const EVERY_MS = 60_000;
/** Tokens written at the same moment; they go as one group. */
const AT_ONCE = 64;

export interface Used {
  readonly id: string;
  readonly organisation: string;
}

interface Use<T> {
  readonly token: T;
  count: number;
  lastUsedAt: number;
}

/** @param lastUsedAt RFC 3339 */
export type UseWritten<T> = (token: T, count: number, lastUsedAt: string) => Change;

const ofToken: UseWritten<Used> = ({ id }, count, lastUsedAt) => ({
  kind: tokenKind,
  id,
  command: { type: "RecordTokenUse" as const, count, lastUsedAt },
});

export class TokenUses<T extends Used = Used> {
  readonly #log: EventLog;
  readonly #logger: Logger;
  readonly #written: UseWritten<T>;
  #uses = new Map<string, Use<T>>();
  readonly #timer: NodeJS.Timeout;

  /** @param written how the uses of one are told to the log; left out: of tokens of identity */
  constructor(log: EventLog, logger: Logger, written: UseWritten<T> = ofToken) {
    this.#log = log;
    this.#logger = logger;
    this.#written = written;
    this.#timer = setInterval(() => void this.flush(), EVERY_MS).unref();
  }

  /** @param now milliseconds since 1970 */
  used(token: T, now: number): void {
    const known = this.#uses.get(token.id);
    if (known === undefined) this.#uses.set(token.id, { token, count: 1, lastUsedAt: now });
    else {
      known.count++;
      known.lastUsedAt = now;
    }
  }

  /** Writes what was counted; what cannot be written is counted on. */
  async flush(): Promise<void> {
    const due = [...this.#uses];
    this.#uses = new Map();
    for (let i = 0; i < due.length; i += AT_ONCE) {
      await Promise.all(due.slice(i, i + AT_ONCE).map(([id, use]) => this.#write(id, use)));
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #write(id: string, use: Use<T>): Promise<void> {
    const change = this.#written(use.token, use.count, new Date(use.lastUsedAt).toISOString());
    try {
      await execute(this.#log, change, ownContext("gateway", use.token.organisation));
    } catch (error) {
      this.#logger.warn({ err: error, tokenId: id }, "uses of a token could not be written; counted on");
      const newer = this.#uses.get(id);
      if (newer === undefined) this.#uses.set(id, use);
      else newer.count += use.count;
    }
  }
}
