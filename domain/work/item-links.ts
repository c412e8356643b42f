/** The rules of what a work item is linked to. */
import type { Link } from "@millrace/contracts/work/entities.ts";
import { LIMITS, linkedId } from "@millrace/contracts/work/values.ts";
import { type Decision, rule } from "../decider.ts";
import * as field from "./fields.ts";
import type { GivenLink, LinkCommand } from "./item-command.ts";
import type { ItemEvent, ItemState } from "./item-state.ts";

/** Where two links lead to the same. */
export const sameEnd = (a: Pick<Link, "kind" | "id">, b: Pick<Link, "kind" | "id">): boolean =>
  a.kind === b.kind && a.id === b.id;

export function faultsOfLinks(links: ReadonlyArray<GivenLink>, item: string, faults: field.Faults): field.Faults {
  faults.most("/links", links.length, LIMITS.links);
  for (const [i, { kind, id, commit }] of links.entries()) {
    if (!linkedId(kind).test(id))
      faults.add(`/links/${i}/id`, `the id of ${kind === "item" ? "an item" : `a ${kind}`}`);
    if (kind === "item" && id === item) faults.add(`/links/${i}/id`, "another item than this one");
    faults.check(`/links/${i}/commit`, field.commit, commit);
  }
  return faults;
}

/** As they are kept; of two that lead to the same the later one holds. */
export function linksOf(given: ReadonlyArray<GivenLink>): Link[] {
  const links = new Map<string, Link>();
  for (const { kind, id, relation = "relates-to", commit } of given) {
    links.set(`${kind} ${id}`, { kind, id, relation, ...(commit === undefined ? {} : { commit }) });
  }
  return [...links.values()];
}

export function decideLinks(command: LinkCommand, state: ItemState): Decision<ItemEvent> {
  if (command.do === "unlink") {
    const gone = state.links.filter((link) => command.links.some((one) => sameEnd(one, link)));
    if (gone.length === 0) return { events: [] };
    return { events: [{ type: "ItemUnlinked", data: { links: gone.map(({ kind, id }) => ({ kind, id })) } }] };
  }
  const refusal = faultsOfLinks(command.links, state.id, new field.Faults()).refusal();
  if (refusal !== undefined) return refusal;
  const links = linksOf(command.links).filter((link) => {
    const known = state.links.find((one) => sameEnd(one, link));
    return known === undefined || known.relation !== link.relation || known.commit !== link.commit;
  });
  if (links.length === 0) return { events: [] };
  const more = links.filter((link) => !state.links.some((one) => sameEnd(one, link))).length;
  if (state.links.length + more > LIMITS.links) {
    return rule("too-many-links", `A work item has at most ${LIMITS.links} links.`, "Take some links off first.");
  }
  return { events: [{ type: "ItemLinked", data: { links } }] };
}
