/** What is done for a deployment, as lines that people can follow: its build's output, and a line for each phase. */
import type { LogWriter } from "@millrace/eventlog/logs.ts";
import type { OrchestratorNode } from "../node.ts";

export interface Journal {
  readonly say: (line: string) => void;
  /** Values that are not to stand in it, from now on. */
  readonly redact: (values: ReadonlyArray<string>) => void;
  close(): Promise<void>;
}

/** How long a phase waits for its last lines, in milliseconds. */
const CLOSE_MS = 2_000;

/** Never fails: a deployment is not held up by its log. What could not be written is told in the process's own log. */
export async function openJournal(
  node: OrchestratorNode,
  work: { readonly id: string; readonly organisation: string },
  application: string,
): Promise<Journal> {
  let writer: LogWriter | undefined;
  const source = {
    organisation: work.organisation,
    context: "applications",
    kind: "application",
    id: application,
    source: "build",
    group: work.id,
  };
  const lost = (error: unknown) => {
    if (writer !== undefined) node.logger.warn({ err: error, deployment: work.id }, "lines of a deployment are lost");
    writer = undefined;
  };
  try {
    writer = await node.logs.writer(source, { full: "drop", ansi: "keep" });
  } catch (error) {
    node.logger.warn({ err: error, deployment: work.id }, "no lines are kept of this step");
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
