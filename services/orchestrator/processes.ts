/**
 * What wakes processes: every type of process listens to its contexts, and what it takes of an event is noted in the process that the event
 * is for, once. Acting is the worker's (reactors/process.ts).
 */
import { createHash } from "node:crypto";
import { makeId } from "@millrace/contracts/ids.ts";
import { type NoteEvents, processKind } from "@millrace/domain/automation/process.ts";
import type { Heard, ProcessType, ProcessTypes } from "@millrace/domain/automation/process-type.ts";
import { kindOf } from "@millrace/domain/contexts.ts";
import type { Loaded } from "@millrace/eventlog/aggregate.ts";
import type { StoredCommit } from "@millrace/eventlog/commit.ts";
import type { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Leases } from "@millrace/eventlog/leases.ts";
import { type Listener, listen } from "@millrace/eventlog/listener.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { PASSING } from "@millrace/eventlog/remembered.ts";
import { upcast } from "@millrace/eventlog/upcast.ts";

export interface ProcessesOptions {
  readonly log: EventLog;
  readonly leases: Leases;
  readonly deadLetters: DeadLetters;
  readonly logger: Logger;
  /** As it stands in the log for who noted it. */
  readonly service: string;
  readonly types: ProcessTypes;
  readonly signal: AbortSignal;
}

/** The process that a key names; the same for ever. */
export function processId(organisation: string, type: string, key: string): string {
  return makeId("prc", 0, createHash("sha256").update([organisation, type, key].join("\n")).digest());
}

/** One listener for each type and context that it hears. */
export const listenForProcesses = (options: ProcessesOptions): ReadonlyArray<Listener> =>
  Object.values(options.types).flatMap((type) =>
    Object.keys(type.hears).map((context) =>
      listen({
        ...options,
        name: `process-${type.name}`,
        context,
        from: type.from,
        wants: ({ kind, events }) => events.some((event) => type.hears[context]?.[kind]?.includes(event.type)),
        hear: (commit, { late }) => noteIn(options, type, commit, late),
      }),
    ),
  );

/** @throws LogUnavailable, UnknownEvent, Error when a process cannot take note of it */
async function noteIn(
  options: ProcessesOptions,
  type: ProcessType,
  commit: StoredCommit,
  late: boolean,
): Promise<void> {
  const { log, service, types } = options;
  const kind = processKind(types);
  for (const [key, { notes, events }] of await notesOf(log, type, commit)) {
    const command: NoteEvents = {
      do: "note",
      type: type.name,
      key,
      context: commit.context,
      seq: commit.seq,
      atMs: commit.time,
      late,
      events,
      notes,
      correlation: commit.correlation,
      causation: commit.id,
      hops: commit.hops ?? 0,
    };
    faultPoint("process.note.before");
    const outcome = await execute(
      log,
      { kind, id: processId(commit.organisation, type.name, key), command },
      {
        ...ownContext(service, commit.organisation, `${PASSING}${commit.context}.${commit.seq}`),
        correlation: commit.correlation,
        causation: commit.id,
        ...(commit.trace === undefined ? {} : { trace: commit.trace }),
      },
    );
    faultPoint("process.note.after");
    if ("refusal" in outcome) throw new Error(`the process ${type.name} of ${key}: ${JSON.stringify(outcome.refusal)}`);
  }
}

interface Noted {
  readonly notes: unknown[];
  readonly events: string[];
}

/** What a commit is to which process, by its key. */
async function notesOf(log: EventLog, type: ProcessType, commit: StoredCommit): Promise<Map<string, Noted>> {
  const { context, kind: name, aggregate, organisation, actor, time, version, events } = commit;
  const kind = kindOf(context, name);
  const noted = new Map<string, Noted>();
  if (kind === undefined) return noted;
  let source: Loaded<unknown> | undefined = log.aggregates.cached(kind, aggregate);
  // As it was then, so that the same comes of it however often it is heard.
  if (source?.version !== version) source = await log.aggregates.loadUntil(kind, aggregate, { version });
  for (const event of events) {
    if (!type.hears[context]?.[name]?.includes(event.type)) continue;
    const { data } = upcast(kind, commit, event);
    const about = { context, kind: name, id: aggregate, organisation, actor, at: time };
    const heard: Heard = { ...about, type: event.type, data, source: source.state };
    for (const { key, note } of type.correlate(heard)) {
      const known = noted.get(key) ?? { notes: [], events: [] };
      known.notes.push(note);
      if (known.events.at(-1) !== event.type) known.events.push(event.type);
      noted.set(key, known);
    }
  }
  return noted;
}
