/** Processes: what goes on by itself across contexts. */
import { oneLine } from "../io.ts";
import { facts } from "../output.ts";
import type { Command } from "../table.ts";
import type { Answer } from "../typed.ts";
import { listing, showing } from "./entity.ts";

const ID = "prc_00000000000v0e8r9t2m5x7c3d";

function processText({ id, spec, status, updatedAt }: Answer<"getProcess">): string {
  const { pending, last } = status;
  const about = ({ step, outcome, reason }: NonNullable<typeof last>) =>
    `${oneLine(step)}: ${outcome}${reason === undefined ? "" : `, ${oneLine(reason)}`}`;
  return `${facts([
    ["process", spec.type],
    ["id", id],
    ["about", spec.key],
    ["state", status.state],
    ["heard", status.heard],
    ["done", status.done],
    ["refused", status.refused],
    ["doing", pending === undefined ? undefined : oneLine(pending.step)],
    ["last", last === undefined ? undefined : about(last)],
    ["changed", updatedAt],
  ])}\nmemory\n${JSON.stringify(status.memory, null, 2).replaceAll(/^/gm, "  ")}\n`;
}

export const processCommands: readonly Command[] = [
  listing({
    path: "process list",
    operation: "listProcesses",
    collection: "processes",
    shown: [
      { title: "id", value: (row) => row.id },
      { title: "process", value: (row) => row.spec.type },
      { title: "about", value: (row) => row.spec.key },
      { title: "state", value: (row) => row.status.state },
      { title: "done", value: (row) => row.status.done },
      { title: "refused", value: (row) => row.status.refused },
    ],
    nameOf: (row) => row.id,
    nothing: "No process has anything to look after",
    examples: [{ line: "mill process list --type change-follows-deployment", says: "Changes that follow deployments" }],
  }),
  showing({
    path: "process show",
    operation: "getProcess",
    collection: "processes",
    argument: "process",
    people: async (process) => processText(process),
    examples: [{ line: `mill process show ${ID}`, says: "What it knows, and what it did last" }],
  }),
];
