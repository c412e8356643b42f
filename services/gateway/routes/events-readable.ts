/**
 * What of the contexts a subscriber may read. Who holds the permission for single resources hears of them and of what belongs to them: of what is
 * there already as the lists know it, of what comes by the event that makes it, which names what it belongs to.
 */
import { type Reach, within } from "@millrace/contracts/access.ts";
import type { EventsQuery } from "@millrace/contracts/feed.ts";
import type { Problem } from "@millrace/contracts/problems.ts";
import { kindOfId } from "@millrace/domain/contexts.ts";
import type { View } from "@millrace/domain/view.ts";
import { VIEWS } from "@millrace/domain/views.ts";
import type { FeedEvent } from "@millrace/eventlog/cloudevents.ts";
import { type Access, forbidden } from "../access.ts";
import { type Gateway, lineageOf } from "../gateway.ts";
import { ask } from "../queries.ts";

/** What of one context is sent: these ids, or what is admitted, or, with neither, all. */
export interface Readable {
  readonly ids?: ReadonlySet<string>;
  readonly admits?: (event: FeedEvent) => boolean;
}

/** What is remembered of one subscriber's reach at the most. */
const KNOWN_MOST = 20_000;

/** @throws Failed (unavailable) when what belongs to the resources cannot be asked now */
export async function readable(
  gateway: Pick<Gateway, "log" | "postgres">,
  access: Pick<Access, "organisation" | "powers">,
  contexts: ReadonlyArray<string>,
  query: EventsQuery,
): Promise<Map<string, Readable> | Problem> {
  const organisation = access.organisation!.id;
  const found = new Map<string, Readable>();
  const asked = query.id === undefined ? undefined : new Set(query.id);
  for (const context of query.context ?? contexts) {
    const permission = `${context}:read`;
    const reach = access.powers.reach(permission, organisation);
    if (reach !== undefined && reach.length === 0) {
      found.set(context, asked === undefined ? {} : { ids: asked });
      continue;
    }
    const part =
      reach === undefined
        ? undefined
        : asked === undefined
          ? await partOf(gateway, context, reach, organisation)
          : await chosen(gateway, context, reach, asked, organisation);
    if (part !== undefined) found.set(context, part);
    else if (query.context !== undefined) return forbidden(permission);
  }
  return found.size > 0 ? found : forbidden(`${query.context?.[0] ?? contexts[0]}:read`);
}

const kindIn = (context: string, id: string) => {
  const kind = kindOfId(id);
  return kind?.context === context ? kind : undefined;
};

/** Of the ids that are asked for, those that are reached. */
async function chosen(
  gateway: Pick<Gateway, "log">,
  context: string,
  reach: Reach,
  asked: ReadonlySet<string>,
  organisation: string,
): Promise<Readable | undefined> {
  const ids = new Set<string>();
  for (const id of asked) {
    const kind = kindIn(context, id);
    const lineage = kind === undefined ? [id] : await lineageOf(gateway, kind, id, organisation);
    if (within(reach, lineage)) ids.add(id);
  }
  return ids.size > 0 ? { ids } : undefined;
}

/** All that is reached of a context. @returns undefined when none of it can be of this context */
async function partOf(
  { postgres }: Pick<Gateway, "postgres">,
  context: string,
  reach: Reach,
  organisation: string,
): Promise<Readable | undefined> {
  if (reach.some((ids) => ![...ids].some((id) => kindIn(context, id) !== undefined))) return undefined;
  const lineages = new Map<string, ReadonlyArray<string>>();
  const named = [...new Set(reach.flatMap((ids) => [...ids]))];
  const views = VIEWS.filter((view) => view.kind.context === context && view.parents !== undefined);
  for (const view of views) {
    for (const column of view.parents!) {
      const rows = await ask(() =>
        postgres.query<{ id: string; parent: string }>(
          `SELECT r.id, r."${column}" AS parent FROM v."${view.name}" AS r
           WHERE r.organisation = $1 AND r."${column}" = ANY($2::text[]) ORDER BY r.id DESC LIMIT ${KNOWN_MOST}`,
          [organisation, named],
        ),
      );
      for (const { id, parent } of rows) lineages.set(id, [...(lineages.get(id) ?? [id]), parent]);
    }
  }
  return {
    admits: (event) => {
      const view = views.find(({ kind }) => kind.kind === event.kind);
      const lineage = view === undefined ? [event.id] : (lineages.get(event.id) ?? learnt(view, event, lineages));
      return within(reach, lineage);
    },
  };
}

/** The lineage by the event itself, kept when it says what it belongs to. */
function learnt(view: View, event: FeedEvent, lineages: Map<string, ReadonlyArray<string>>): ReadonlyArray<string> {
  const { data } = JSON.parse(event.json) as { readonly data?: Readonly<Record<string, unknown>> };
  const parents = view.parents!.map((name) => data?.[name]).filter((parent) => typeof parent === "string");
  if (parents.length === 0) return [event.id];
  const lineage = [event.id, ...parents];
  if (lineages.size >= KNOWN_MOST) lineages.delete(lineages.keys().next().value!);
  lineages.set(event.id, lineage);
  return lineage;
}
