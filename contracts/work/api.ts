/** Work items, their checklists and comments, and the types of work. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import { changeHeaders, entityParams, ORGANISATION, readQuery, says, textFilter } from "../http.ts";
import { Reference } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";
import { attachFile, contentOfAttachment, removeAttachment } from "./attachments.ts";
import { ListedWorkItem, Workflow, WorkItem, WorkItemGates, WorkType } from "./entities.ts";
import {
  Assignee,
  CommentText,
  Commit,
  Day,
  Gate,
  GroupName,
  Label,
  LIMITS,
  LineText,
  LinkedKindName,
  LongText,
  PriorityName,
  Reason,
  RelationName,
  StateName,
  Title,
  TypeName,
} from "./values.ts";

const { optionalKey } = Schema;
const some = <S extends Schema.Top>(schema: S, most: number) =>
  Schema.Array(schema).check(Schema.isMinLength(1), Schema.isMaxLength(most));

/** As people give it: by id or name, and how the item stands to it if that is more than to relate to it. */
export const GivenLink = Schema.Struct({
  kind: LinkedKindName,
  id: Reference,
  relation: optionalKey(RelationName),
  commit: optionalKey(Commit),
}).annotate({ identifier: "GivenWorkLink" });

export const OpenItem = Schema.Struct({
  type: TypeName,
  title: Title,
  description: optionalKey(LongText),
  notes: optionalKey(LongText),
  assignees: optionalKey(Schema.Array(Assignee).check(Schema.isMaxLength(LIMITS.assignees))),
  labels: optionalKey(Schema.Array(Label).check(Schema.isMaxLength(LIMITS.labels))),
  priority: optionalKey(PriorityName),
  dueOn: optionalKey(Day),
  links: optionalKey(Schema.Array(GivenLink).check(Schema.isMaxLength(LIMITS.links))),
}).annotate({
  identifier: "OpenWorkItem",
  examples: [{ type: "task", title: "Renew the certificate of the build server", labels: ["area/network"] }],
});

export const ChangeItem = Schema.Struct({
  title: optionalKey(Title),
  description: optionalKey(LongText),
  notes: optionalKey(LongText),
  priority: optionalKey(Schema.NullOr(PriorityName)),
  dueOn: optionalKey(Schema.NullOr(Day)),
}).annotate({
  identifier: "ChangeWorkItem",
  description: "What is left out stays as it is; `null` takes priority or due date off",
});

export const MoveItem = Schema.Struct({ to: StateName }).annotate({ identifier: "MoveWorkItem" });
export const Assignees = Schema.Struct({ assignees: some(Assignee, LIMITS.assignees) }).annotate({
  identifier: "WorkItemAssignees",
});
export const Labels = Schema.Struct({ labels: some(Label, LIMITS.labels) }).annotate({ identifier: "WorkItemLabels" });
export const LinkItem = Schema.Struct({ links: some(GivenLink, LIMITS.links) }).annotate({
  identifier: "LinkWorkItem",
});
export const UnlinkItem = Schema.Struct({
  links: some(Schema.Struct({ kind: LinkedKindName, id: Reference }), LIMITS.links),
}).annotate({ identifier: "UnlinkWorkItem" });
export const WaiveGate = Schema.Struct({ gate: Gate, reason: Reason }).annotate({ identifier: "WaiveGate" });

const Index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: LIMITS.lines })).annotate({
  description: "Place in the list, from 0; beyond the end: the end",
});
export const AddLine = Schema.Struct({
  text: LineText,
  required: optionalKey(Schema.Boolean),
  index: optionalKey(Index),
}).annotate({ identifier: "AddChecklistLine" });
export const ChangeLine = Schema.Struct({
  done: optionalKey(Schema.Boolean),
  text: optionalKey(LineText),
  index: optionalKey(Index),
}).annotate({
  identifier: "ChangeChecklistLine",
  description: "Tick a line, reword it, or give it another place; what is left out stays as it is",
});
export const WriteComment = Schema.Struct({ text: CommentText }).annotate({ identifier: "WriteComment" });

export const DefineType = Schema.Struct({
  name: Workflow.fields.name,
  title: Workflow.fields.title,
  description: optionalKey(Workflow.fields.description),
  states: Workflow.fields.states,
  initial: Workflow.fields.initial,
  transitions: Workflow.fields.transitions,
  checklist: optionalKey(Workflow.fields.checklist),
  notesTemplate: optionalKey(Workflow.fields.notesTemplate),
  notesRequired: optionalKey(Workflow.fields.notesRequired),
  gates: optionalKey(Workflow.fields.gates),
}).annotate({
  identifier: "DefineWorkType",
  description:
    "Left out: no checklist, no notes template, notes of at least one character, and before `completed` the gates `checklist_complete` and `notes_present`",
});
export const ChangeType = Schema.Struct({
  title: optionalKey(Workflow.fields.title),
  description: optionalKey(Workflow.fields.description),
  states: optionalKey(Workflow.fields.states),
  initial: optionalKey(Workflow.fields.initial),
  transitions: optionalKey(Workflow.fields.transitions),
  checklist: optionalKey(Workflow.fields.checklist),
  notesTemplate: optionalKey(Workflow.fields.notesTemplate),
  notesRequired: optionalKey(Workflow.fields.notesRequired),
  gates: optionalKey(Workflow.fields.gates),
}).annotate({
  identifier: "ChangeWorkType",
  description: "What is left out stays; lists are replaced as a whole. Items that are open go on by the new definition",
});

const items = `${ORGANISATION}/work-items` as const;
const item = `${items}/:id` as const;
const types = `${ORGANISATION}/work-types` as const;
const lineParams = { ...entityParams, line: Reference };
const commentParams = { ...entityParams, comment: Reference };
/** Of what adds to an item, or acts on it without replacing what somebody wrote: `If-Match` if the client likes. */
const act = { params: entityParams, headers: changeHeaders, success: WorkItem };

const itemEndpoints = HttpApiGroup.make("work")
  .add(
    createOf("openItem", items, OpenItem, WorkItem).annotateMerge(
      says("work:edit", "Open a work item", "State, checklist and notes begin as the type of work says."),
    ),
  )
  .add(
    listOf("listItems", items, ListedWorkItem, {
      state: textFilter("Name of its state"),
      group: optionalKey(GroupName),
      type: textFilter("Name of its type"),
      assignee: textFilter("One of its assignees"),
      label: textFilter("One of its labels"),
      link: textFilter("Id of something that it is linked to"),
      priority: optionalKey(PriorityName),
      createdBy: textFilter("Id of who opened it"),
    }).annotateMerge(
      says(
        "work:read",
        "List work items",
        "`q` finds words of title, description, notes and comments. Sorts by createdAt, updatedAt, title, priority and dueOn.",
      ),
    ),
  )
  .add(getOf("getItem", item, WorkItem).annotateMerge(says("work:read", "A work item, as it is or as it was")))
  .add(
    HttpApiEndpoint.patch("changeItem", item, { ...act, payload: ChangeItem }).annotateMerge(
      says("work:edit", "Change title, description, notes, priority or due date"),
    ),
  )
  .add(
    deleteOf("deleteItem", item).annotateMerge(says("work:delete", "Delete a work item; its past can still be read")),
  )
  .add(historyOf("historyOfItem", item).annotateMerge(says("work:read", "What happened to a work item")))
  .add(diffOf("diffItem", item).annotateMerge(says("work:read", "What differs between two moments of a work item")));

const actionEndpoints = itemEndpoints
  .add(
    HttpApiEndpoint.post("transitionItem", `${item}/transition`, { ...act, payload: MoveItem }).annotateMerge(
      says(
        "work:edit",
        "Move a work item into another state",
        "Its type says which moves there are, and which gates stand before them. A closed gate answers 422 with rule `gates-not-satisfied`, why, and what would open it. Reopening is a move, too.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("gatesOfItem", `${item}/gates`, {
      params: entityParams,
      success: WorkItemGates,
    }).annotateMerge(says("work:read", "Where a work item can go from here, and which gates stand in the way")),
  )
  .add(
    HttpApiEndpoint.post("waiveGate", `${item}/waive`, { ...act, payload: WaiveGate }).annotateMerge(
      says("work:waive", "Let a gate pass for a work item, with a reason that stays"),
    ),
  )
  .add(
    HttpApiEndpoint.post("assignItem", `${item}/assign`, { ...act, payload: Assignees }).annotateMerge(
      says("work:edit", "Give a work item to somebody"),
    ),
  )
  .add(
    HttpApiEndpoint.post("unassignItem", `${item}/unassign`, { ...act, payload: Assignees }).annotateMerge(
      says("work:edit", "Take a work item from somebody"),
    ),
  )
  .add(
    HttpApiEndpoint.post("labelItem", `${item}/label`, { ...act, payload: Labels }).annotateMerge(
      says("work:edit", "Put labels on a work item"),
    ),
  )
  .add(
    HttpApiEndpoint.post("unlabelItem", `${item}/unlabel`, { ...act, payload: Labels }).annotateMerge(
      says("work:edit", "Take labels off a work item"),
    ),
  )
  .add(
    HttpApiEndpoint.post("linkItem", `${item}/link`, { ...act, payload: LinkItem }).annotateMerge(
      says(
        "work:edit",
        "Link a work item to applications, deployments or other items",
        "An item with an open line `deployed` that is linked to an application follows its deployments: the line is ticked when the deployment of its commit (of any, without one) is verified, and an incident is opened when it fails.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("unlinkItem", `${item}/unlink`, { ...act, payload: UnlinkItem }).annotateMerge(
      says("work:edit", "Take links off a work item"),
    ),
  );

const partEndpoints = actionEndpoints
  .add(
    HttpApiEndpoint.post("addLine", `${item}/checklist`, { ...act, payload: AddLine }).annotateMerge(
      says("work:edit", "Add a line to the checklist"),
    ),
  )
  .add(
    HttpApiEndpoint.patch("changeLine", `${item}/checklist/:line`, {
      ...act,
      params: lineParams,
      payload: ChangeLine,
    }).annotateMerge(
      says(
        "work:edit",
        "Tick, untick, reword or move a line of the checklist",
        "The line by its id, or by its key where it has one.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.delete("removeLine", `${item}/checklist/:line`, { ...act, params: lineParams }).annotateMerge(
      says("work:edit", "Remove a line from the checklist; answers with the work item"),
    ),
  )
  .add(
    HttpApiEndpoint.post("writeComment", `${item}/comments`, { ...act, payload: WriteComment }).annotateMerge(
      says("work:comment", "Comment on a work item"),
    ),
  )
  .add(
    HttpApiEndpoint.patch("editComment", `${item}/comments/:comment`, {
      ...act,
      params: commentParams,
      payload: WriteComment,
    }).annotateMerge(says("work:comment", "Edit a comment of one's own")),
  )
  .add(
    HttpApiEndpoint.delete("removeComment", `${item}/comments/:comment`, {
      ...act,
      params: commentParams,
    }).annotateMerge(
      says(
        "work:comment",
        "Remove a comment; answers with the work item",
        "One's own, or with `work:delete` anybody's.",
      ),
    ),
  );

export const workApi = partEndpoints
  .add(attachFile, contentOfAttachment, removeAttachment)
  .add(
    createOf("defineType", types, DefineType, WorkType).annotateMerge(
      says("work:types", "Define a type of work", "With the name of a built-in type it takes that one's place."),
    ),
  )
  .add(
    listOf("listTypes", types, WorkType, { name: textFilter("Its name") }).annotateMerge(
      says(
        "work:read",
        "List the types of work",
        "The organisation's own; after the last of them the built-in ones that none has taken the place of, unless `q` is asked.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("getType", `${types}/:id`, {
      params: entityParams,
      query: readQuery,
      success: WorkType,
    }).annotateMerge(says("work:read", "A type of work by id or name, as it is or as it was; built-in ones too")),
  )
  .add(
    HttpApiEndpoint.patch("changeType", `${types}/:id`, {
      params: entityParams,
      headers: changeHeaders,
      payload: ChangeType,
      success: WorkType,
    }).annotateMerge(says("work:types", "Change a type of work")),
  )
  .add(
    HttpApiEndpoint.delete("deleteType", `${types}/:id`, {
      params: entityParams,
      headers: changeHeaders,
      success: HttpApiSchema.NoContent,
    }).annotateMerge(
      says(
        "work:types",
        "Delete a type of work",
        "Items of it can be read and changed, and moved again when there is a type of that name.",
      ),
    ),
  )
  .add(historyOf("historyOfType", `${types}/:id`).annotateMerge(says("work:read", "What happened to a type of work")))
  .add(
    diffOf("diffType", `${types}/:id`).annotateMerge(
      says("work:read", "What differs between two moments of a type of work"),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Work", description: "What is to be done, by whom, and how far it is" }));
