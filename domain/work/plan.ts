/** What commands on work items need to know of the types of work: the definition that a name stands for. */
import { isId } from "@millrace/contracts/ids.ts";
import type { OpenItem } from "@millrace/contracts/work/api.ts";
import type { Workflow } from "@millrace/contracts/work/entities.ts";
import { invalid, type Refusal, rule } from "../decider.ts";
import type { Reads } from "../reads.ts";
import { BUILT_IN_TYPES } from "./builtin.ts";
import { type ItemState, item } from "./item.ts";
import type { ItemCommand } from "./item-command.ts";
import { type } from "./type.ts";

/** The definition that a name stands for in an organisation: its own, else the built-in one. */
export async function workflowNamed(reads: Reads, organisation: string, name: string): Promise<Workflow | undefined> {
  const id = await reads.holderOf(type, organisation, name);
  const own = id === null ? null : (await reads.load(type, id)).state;
  return own?.exists && own.spec !== null ? own.spec : BUILT_IN_TYPES.get(name);
}

/** @param lineId makes an id for a line of the checklist, by its place from 0 */
export async function planOpening(
  reads: Reads,
  organisation: string,
  { type: name, ...asked }: typeof OpenItem.Type,
  lineId: (index: number) => string,
): Promise<ItemCommand | Refusal> {
  const workflow = await workflowNamed(reads, organisation, name);
  if (workflow !== undefined) {
    return { do: "open", ...asked, workflow, lineIds: workflow.checklist.map((_, index) => lineId(index)) };
  }
  return invalid(
    "/body/type",
    `no type of work is called "${name}"`,
    `Use one of ${[...BUILT_IN_TYPES.keys()].join(", ")}, or one that the organisation has defined.`,
  );
}

/** The item as it is and the definition of its type; refused where either is gone. */
export async function itemWithWorkflow(
  reads: Reads,
  organisation: string,
  id: string,
): Promise<{ readonly state: ItemState; readonly workflow: Workflow } | Refusal> {
  const notThere: Refusal = { refused: "not-found", reason: "There is no such work item." };
  if (!isId(item.prefix, id)) return notThere;
  const { state, organisation: owner } = await reads.load(item, id);
  if (owner !== organisation || !state.exists) return notThere;
  const workflow = await workflowNamed(reads, organisation, state.type);
  if (workflow !== undefined) return { state, workflow };
  return rule(
    "type-deleted",
    `The type of work "${state.type}" was deleted, so nothing says where this item can go.`,
    `Define a type of work with the name "${state.type}".`,
  );
}
