/** What links of work items lead to: named by id or name, there, and for the asker's eyes. */
import { isId } from "@millrace/contracts/ids.ts";
import { LINKED, type LinkedKind } from "@millrace/contracts/work/values.ts";
import { kindOf } from "@millrace/domain/contexts.ts";
import type { GivenLink } from "@millrace/domain/work/item-command.ts";
import { readClaim } from "@millrace/eventlog/execute.ts";
import { type Asked, mayAlso } from "./asked.ts";
import { invalidInput } from "./command.ts";
import { fail } from "./failures.ts";
import { type Gateway, lineageOf } from "./gateway.ts";

type End = Pick<GivenLink, "kind" | "id">;

const kindOfLink = (linked: LinkedKind) => {
  const [context, kind] = LINKED[linked].split(".") as [string, string];
  return kindOf(context, kind)!;
};

/** By its id, whether or not it is there any more. */
export async function linkEnd({ log }: Gateway, asked: Asked, { kind: linked, id }: End): Promise<End> {
  const kind = kindOfLink(linked);
  const claim = isId(kind.prefix, id) ? undefined : kind.nameClaim?.(asked.organisation!.id, id);
  const holder = claim === undefined ? null : (await readClaim(log, kind.context, claim)).holder;
  return { kind: linked, id: holder ?? id };
}

/** @throws Failed (invalid input) where there is none, or none that the asker may see */
export function linksToOwn(
  gateway: Gateway,
  asked: Asked,
  links: ReadonlyArray<GivenLink>,
): Promise<ReadonlyArray<GivenLink>> {
  const { id: organisation } = asked.organisation!;
  return Promise.all(
    links.map(async (link, i) => {
      const kind = kindOfLink(link.kind);
      const { id } = await linkEnd(gateway, asked, link);
      const missing = () =>
        fail(invalidInput(`/body/links/${i}/id`, `there is no such ${link.kind}`, "Name one by its id or name."));
      if (!isId(kind.prefix, id)) return missing();
      const loaded = await gateway.log.aggregates.load(kind, id);
      const own = loaded.organisation === organisation && kind.exists(loaded.state);
      if (!own) return missing();
      const lineage = await lineageOf(gateway, kind, id, organisation);
      return mayAlso(asked, `${kind.context}:read`, ...lineage) ? { ...link, id } : missing();
    }),
  );
}
