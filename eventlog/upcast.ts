/** Reading events of older versions: upcasts stand beside the schema, are checked at start, and never rewrite the log. */
import type { DomainEvent } from "@millrace/domain/decider.ts";
import type { ContextDeclaration, EventDeclaration, Kind } from "@millrace/domain/kind.ts";
import * as Schema from "effect/Schema";
import type { StoredCommit, StoredEvent } from "./commit.ts";
import { UnknownEvent } from "./failures.ts";

/** @throws UnknownEvent for a type or version that this release does not know */
export function upcast(kind: Kind, commit: StoredCommit, event: StoredEvent): DomainEvent {
  const declared: EventDeclaration | undefined = kind.events[event.type];
  if (declared === undefined || event.v > declared.version || event.v < 1) throw unknown(commit, event);
  let data = event.data;
  for (let v = event.v; v < declared.version; v++) {
    const step = declared.upcasts?.[v];
    if (step === undefined) throw unknown(commit, event);
    data = step(data);
  }
  return { type: event.type, data };
}

const unknown = (commit: StoredCommit, event: StoredEvent) =>
  new UnknownEvent({
    context: commit.context,
    kind: commit.kind,
    aggregate: commit.aggregate,
    seq: commit.seq,
    type: event.type,
    version: event.v,
  });

/**
 * Every declared event has an example of each version that reads as today's schema says, and none is missing.
 * @returns what is wrong, one line each; empty when all is well
 */
export function checkUpcasts(contexts: ReadonlyArray<ContextDeclaration>): string[] {
  const wrong: string[] = [];
  for (const context of contexts) {
    for (const kind of Object.values(context.kinds)) {
      for (const [type, declared] of Object.entries(kind.events)) {
        const name = `${context.name}.${kind.kind}.${type}`;
        const decode = Schema.decodeUnknownSync(declared.data, { onExcessProperty: "error" });
        for (let v = 1; v <= declared.version; v++) {
          let data = declared.examples[v];
          if (data === undefined) {
            wrong.push(`${name} has no example of version ${v}`);
            continue;
          }
          try {
            for (let from = v; from < declared.version; from++) {
              const step = declared.upcasts?.[from];
              if (step === undefined) throw new Error(`no upcast from version ${from}`);
              data = step(data);
            }
            decode(data);
          } catch (error) {
            wrong.push(`${name} version ${v}: ${(error as Error).message}`);
          }
        }
        if (declared.toPublic !== null && kind.publicEvents[type] === undefined) {
          wrong.push(`${name} is public but has no public form in contracts`);
        }
      }
    }
  }
  return wrong;
}
