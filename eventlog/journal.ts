/** What is done for an entity, as lines that people can follow. */
import type { Logger } from "./logging.ts";
import type { LogSource, Logs, LogWriter } from "./logs.ts";

export interface Journal {
  readonly say: (line: string) => void;
  /** Values that are not to stand in it, from now on. */
  readonly redact: (values: ReadonlyArray<string>) => void;
  close(): Promise<void>;
}

/** How long the last lines are waited for, in milliseconds. */
const CLOSE_MS = 2_000;

/**
 * Never fails: nothing is held up by its log. What could not be written is told in the process's own log.
 * @param about what it is for, as that log names it: `{ deployment: "dep_…" }`
 */
export async function openJournal(
  { logs, logger }: { readonly logs: Logs; readonly logger: Logger },
  source: LogSource,
  about: Readonly<Record<string, string>>,
): Promise<Journal> {
  let writer: LogWriter | undefined;
  const lost = (err: unknown) => {
    if (writer !== undefined) logger.warn({ err, ...about }, "lines of what is done are lost");
    writer = undefined;
  };
  try {
    writer = await logs.writer(source, { full: "drop", ansi: "keep" });
  } catch (err) {
    logger.warn({ err, ...about }, "no lines are kept of what is done");
  }
  return {
    say: (text) => {
      try {
        void writer?.line({ text, time: Date.now() });
      } catch (error) {
        lost(error); // Another worker writes now: it has taken over.
      }
    },
    redact: (values) => writer?.redact(values),
    close: async () => {
      try {
        await writer?.close(CLOSE_MS);
      } catch (error) {
        lost(error);
      }
    },
  };
}
