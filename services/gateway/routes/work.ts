/** Work items, their checklists and comments, and the types of work. */
import { randomBytes } from "node:crypto";
import { Api } from "@millrace/contracts/api.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { Refused } from "@millrace/contracts/problems.ts";
import type { Workflow } from "@millrace/contracts/work/entities.ts";
import type { Priority } from "@millrace/contracts/work/values.ts";
import { BUILT_IN_TYPES, representBuiltIn } from "@millrace/domain/work/builtin.ts";
import { movesWithGates } from "@millrace/domain/work/gates.ts";
import { item } from "@millrace/domain/work/item.ts";
import { itemWithWorkflow, planOpening } from "@millrace/domain/work/plan.ts";
import { type, typeNameClaim } from "@millrace/domain/work/type.ts";
import { rankOf, workItems, workTypes } from "@millrace/domain/work/views.ts";
import { readClaim, readsOf } from "@millrace/eventlog/execute.ts";
import * as Effect from "effect/Effect";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { type Asked, mayAlso, reachOf } from "../asked.ts";
import { commands, type Handle, handle, json, positionOf, type Request } from "../command.ts";
import { Failed, fail, problemOfRefusal } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { linkEnd, linksToOwn } from "../links.ts";
import { past } from "../past.ts";
import { answerPage, decodeCursor, encodeCursor, type ListQuery, list, readPage, sparse } from "../queries.ts";
import { attachments } from "./attachments.ts";

const DEFAULT_GATES: Workflow["gates"] = { completed: ["checklist_complete", "notes_present"] };
const LIST_DEFAULT = 50;

const seenOf = (seen: number | undefined) => (seen === undefined ? {} : { seen });
const newId = (prefix: string): string => makeId(prefix, Date.now(), randomBytes(10));

/** Id of the organisation's own type of a name, or null. */
const ownTypeId = async ({ log }: Gateway, organisation: string, name: string): Promise<string | null> =>
  (await readClaim(log, "work", typeNameClaim(organisation, name))).holder;

/** An item and the definition of its type. @throws Failed (not-found; refused when there is no such type any more) */
async function itemAndWorkflow(gateway: Gateway, asked: Asked, id: string) {
  const found = await itemWithWorkflow(readsOf(gateway.log), asked.organisation!.id, id);
  return "refused" in found ? fail(problemOfRefusal(found)) : found;
}

/** The list's query in the view's words: `state` is a column of every view, and priorities sort by rank. */
function itemQuery({ state, priority, ...query }: ListQuery): ListQuery {
  return {
    ...query,
    ...(state === undefined ? {} : { stateName: state }),
    ...(priority === undefined ? {} : { priority: rankOf(priority as Priority) }),
  };
}

const listed = ({ comments: _, attachments: __, ...entity }: Record<string, unknown>) => entity;

export const workRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "work", (handlers) => {
    const items = commands(gateway, item);
    const types = commands(gateway, type);
    const files = attachments(gateway, newId);
    const pastItems = past(gateway, item);
    const pastTypes = past(gateway, type);
    const workflowOf = async (asked: Asked, id: string) => (await itemAndWorkflow(gateway, asked, id)).workflow;
    return handlers
      .handle(
        "openItem",
        items.create(async ({ payload: { type: name, ...payload } }, asked) => {
          const { links, ...rest } = payload;
          const given = links === undefined ? {} : { links: await linksToOwn(gateway, asked, links) };
          const spec = { type: name, ...rest, ...given };
          const plan = await planOpening(readsOf(gateway.log), asked.organisation!.id, spec, () => newId("lin"));
          return "refused" in plan ? fail(problemOfRefusal(plan)) : plan;
        }),
      )
      .handle("listItems", list(gateway, workItems, { query: itemQuery, show: listed }))
      .handle("getItem", pastItems.get())
      .handle("historyOfItem", history(gateway, item))
      .handle("diffItem", pastItems.diff())
      .handle("gatesOfItem", gatesOfItem(gateway))
      .handle(
        "changeItem",
        items.change(({ payload }, seen) => ({ do: "change", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "deleteItem",
        items.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
      )
      .handle(
        "transitionItem",
        items.act(async ({ payload }, seen, asked, id) => ({
          do: "transition",
          ...payload,
          workflow: await workflowOf(asked, id),
          ...seenOf(seen),
        })),
      )
      .handle(
        "waiveGate",
        items.act(async ({ payload }, seen, asked, id) => ({
          do: "waive",
          ...payload,
          workflow: await workflowOf(asked, id),
          ...seenOf(seen),
        })),
      )
      .handle(
        "assignItem",
        items.act(({ payload }, seen) => ({ do: "assign", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "unassignItem",
        items.act(({ payload }, seen) => ({ do: "unassign", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "labelItem",
        items.act(({ payload }, seen) => ({ do: "label", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "unlabelItem",
        items.act(({ payload }, seen) => ({ do: "unlabel", ...payload, ...seenOf(seen) })),
      )
      .handle(
        "linkItem",
        items.act(async ({ payload }, seen, asked, id) => {
          await loadOwn(gateway, item, asked, id);
          return { do: "link", links: await linksToOwn(gateway, asked, payload.links), ...seenOf(seen) };
        }),
      )
      .handle(
        "unlinkItem",
        items.act(async ({ payload: { links } }, seen, asked) => ({
          do: "unlink",
          links: await Promise.all(links.map((link) => linkEnd(gateway, asked, link))),
          ...seenOf(seen),
        })),
      )
      .handle(
        "addLine",
        items.act(({ payload }, seen) => ({ do: "addLine", line: newId("lin"), ...payload, ...seenOf(seen) })),
      )
      .handle(
        "changeLine",
        items.act(({ params, payload }, seen) => ({
          do: "changeLine",
          line: params.line,
          ...payload,
          ...seenOf(seen),
        })),
      )
      .handle(
        "removeLine",
        items.act(({ params }, seen) => ({ do: "removeLine", line: params.line, ...seenOf(seen) })),
      )
      .handle(
        "writeComment",
        items.act(({ payload }, seen) => ({ do: "comment", comment: newId("cmt"), ...payload, ...seenOf(seen) })),
      )
      .handle(
        "editComment",
        items.act(({ params, payload }, seen) => ({
          do: "editComment",
          comment: params.comment,
          ...payload,
          ...seenOf(seen),
        })),
      )
      .handle(
        "removeComment",
        items.act(({ params }, seen, asked, id) => ({
          do: "removeComment",
          comment: params.comment,
          moderator: mayAlso(asked, "work:delete", id),
          ...seenOf(seen),
        })),
      )
      .handle("attachFile", files.attach)
      .handle("contentOfAttachment", files.content)
      .handle("removeAttachment", files.remove)
      .handle(
        "defineType",
        types.create(({ payload }) => ({
          do: "define",
          spec: {
            description: "",
            checklist: [],
            notesTemplate: "",
            notesRequired: { minLength: 1 },
            gates: DEFAULT_GATES,
            ...payload,
          },
        })),
      )
      .handle("listTypes", listTypes(gateway))
      .handle("getType", unlessBuiltIn(gateway, pastTypes.get(), showBuiltIn))
      .handle(
        "changeType",
        unlessBuiltIn(
          gateway,
          types.change(({ payload: spec }, seen) => ({ do: "change", spec, ...seenOf(seen) })),
          refuseBuiltIn,
        ),
      )
      .handle(
        "deleteType",
        unlessBuiltIn(
          gateway,
          types.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
          refuseBuiltIn,
        ),
      )
      .handle("historyOfType", history(gateway, type))
      .handle("diffType", pastTypes.diff());
  });

const gatesOfItem = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async ({ params }, asked) => {
    const { id } = params as { id: string };
    const { state, workflow } = await itemAndWorkflow(gateway, asked, id);
    const { seq } = await gateway.log.aggregates.load(item, id);
    const headers = { etag: `"${state.generation}"`, "millrace-position": positionOf(item.context, seq) };
    return json({ transitions: movesWithGates(state, workflow) }, { headers });
  });

type OfBuiltIn = (workflow: Workflow, organisation: string) => ReturnType<typeof json>;

/** Not an answer: the organisation has a type of this name, or there is no built-in one. */
const OWN = HttpServerResponse.empty();

/** A built-in type is meant by its name where the organisation has none of that name. */
const unlessBuiltIn = <R extends Request>(gateway: Gateway, own: Handle<R>, builtIn: OfBuiltIn): Handle<R> => {
  const first = handle<R>(gateway, async ({ params }, asked) => {
    const workflow = BUILT_IN_TYPES.get((params as { id: string }).id);
    const organisation = asked.organisation!.id;
    if (workflow === undefined || (await ownTypeId(gateway, organisation, workflow.name)) !== null) return OWN;
    return builtIn(workflow, organisation);
  });
  return (request) =>
    Effect.flatMap(first(request), (answer) => (answer === OWN ? own(request) : Effect.succeed(answer)));
};

const showBuiltIn: OfBuiltIn = (workflow, organisation) =>
  json(representBuiltIn(workflow, organisation), { headers: { etag: '"0"' } });

const refuseBuiltIn: OfBuiltIn = ({ name }) => {
  const reason = `"${name}" comes with the product, and does not change.`;
  return fail(
    new Refused({
      rule: "built-in-type",
      reason,
      detail: reason,
      fix: `Define a type of your own with the name "${name}": it takes the built-in one's place.`,
    }),
  );
};

const isBuiltInMark = (mark: { readonly builtIn?: unknown }): boolean => Number.isSafeInteger(mark.builtIn);

/** Where among the built-in types a cursor stands; undefined: still among the organisation's own. */
function builtInMark(cursor: string | undefined): number | undefined {
  if (cursor === undefined) return undefined;
  try {
    return Math.max(0, decodeCursor<{ readonly builtIn: number }>(cursor, isBuiltInMark).builtIn);
  } catch (error) {
    if (error instanceof Failed) return undefined; // Not ours: the list itself says what is wrong with it.
    throw error;
  }
}

/** The organisation's own types, as the query sorts them; after the last of them the built-in ones. */
const listTypes = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const organisation = asked.organisation!.id;
    const { limit = LIST_DEFAULT, cursor, name, q, fields } = (request.query ?? {}) as ListQuery;
    const from = builtInMark(cursor);
    const reach = reachOf(asked);
    // Past the own ones the position is asked for all the same, of a page that is not shown.
    const own = await readPage(
      gateway,
      workTypes,
      from === undefined ? request : { ...request, query: { limit: 1 } },
      organisation,
      { reach },
    );
    if (from === undefined && own.nextCursor !== undefined) return answerPage(own);
    const first = from === undefined ? own.items : [];
    const candidates = [...BUILT_IN_TYPES.values()].filter(
      (workflow) => q === undefined && (name === undefined || workflow.name === name),
    );
    const taken = await Promise.all(candidates.map((workflow) => ownTypeId(gateway, organisation, workflow.name)));
    const builtIn = candidates.filter((_, i) => taken[i] === null);
    const end = (from ?? 0) + limit - first.length;
    const shown = builtIn
      .slice(from ?? 0, end)
      .map((workflow) => sparse(representBuiltIn(workflow, organisation), fields));
    return answerPage({
      items: [...first, ...shown],
      position: own.position,
      ...(end < builtIn.length ? { nextCursor: encodeCursor({ builtIn: end }) } : {}),
    });
  });
