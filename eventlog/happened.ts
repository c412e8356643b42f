/** Events as rules look at them: in their public form, and beside them the entity as it was right after. */
import type { Actor } from "@millrace/domain/decider.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { StoredCommit } from "./commit.ts";
import type { EventLog } from "./eventlog.ts";
import { upcast } from "./upcast.ts";

export interface PublicHappening {
  readonly context: string;
  readonly kind: string;
  /** Id of the entity that it happened to. */
  readonly entity: string;
  /** `<sequence>.<index>`, its id as a CloudEvent. */
  readonly id: string;
  readonly type: string;
  /** The log's own time, milliseconds since 1970. */
  readonly atMs: number;
  readonly actor: Actor;
  readonly data: unknown;
}

/** @returns undefined when the event is not public. @throws UnknownEvent */
export function happenedIn(kind: Kind, commit: StoredCommit, index: number): PublicHappening | undefined {
  const event = upcast(kind, commit, commit.events[index]!);
  const { toPublic } = kind.events[event.type]!;
  if (toPublic === null) return undefined;
  const { context, aggregate: entity, seq, time: atMs, actor } = commit;
  const data = toPublic === undefined ? event.data : toPublic(event.data);
  return { context, kind: commit.kind, entity, id: `${seq}.${index}`, type: event.type, atMs, actor, data };
}

/** The entity as the API showed it right after a commit. @throws LogUnavailable, UnknownEvent */
export async function entityAfter(log: EventLog, kind: Kind, { aggregate, version }: StoredCommit): Promise<unknown> {
  const now = await log.aggregates.load(kind, aggregate);
  const then = now.version === version ? now : await log.aggregates.loadUntil(kind, aggregate, { version });
  return kind.represent(then.state);
}
