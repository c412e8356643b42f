/** Counts uses of tokens, and writes them down as one event per token and minute, and at the end. */
import { type Token, token as tokenKind } from "@millrace/domain/identity/token.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";

const EVERY_MS = 60_000;
/** Tokens written at the same moment; they go as one group. */
const AT_ONCE = 64;

interface Use {
  readonly organisation: string;
  count: number;
  lastUsedAt: number;
}

export class TokenUses {
  readonly #log: EventLog;
  readonly #logger: Logger;
  #uses = new Map<string, Use>();
  readonly #timer: NodeJS.Timeout;

  constructor(log: EventLog, logger: Logger) {
    this.#log = log;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.flush(), EVERY_MS).unref();
  }

  /** @param now milliseconds since 1970 */
  used(token: Token, now: number): void {
    const known = this.#uses.get(token.id);
    if (known === undefined) this.#uses.set(token.id, { organisation: token.organisation, count: 1, lastUsedAt: now });
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

  async #write(id: string, use: Use): Promise<void> {
    const lastUsedAt = new Date(use.lastUsedAt).toISOString();
    const change = { kind: tokenKind, id, command: { type: "RecordTokenUse" as const, count: use.count, lastUsedAt } };
    try {
      await execute(this.#log, change, ownContext("gateway", use.organisation));
    } catch (error) {
      this.#logger.warn({ err: error, tokenId: id }, "uses of a token could not be written; counted on");
      const newer = this.#uses.get(id);
      if (newer === undefined) this.#uses.set(id, use);
      else newer.count += use.count;
    }
  }
}
