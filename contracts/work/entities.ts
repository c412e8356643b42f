/** Work items and types of work, as the API shows them. */
import * as Schema from "effect/Schema";
import { ActorShown, entity, Time } from "../http.ts";
import { Id } from "../ids.ts";
import {
  Assignee,
  CommentText,
  Commit,
  Day,
  FileName,
  Gate,
  GroupName,
  Label,
  LIMITS,
  LineKey,
  LineText,
  LinkedKindName,
  LongText,
  MediaType,
  PriorityName,
  Reason,
  RelationName,
  Sha256,
  StateName,
  Title,
  TypeName,
} from "./values.ts";

export const ItemId = Id("itm", "Work item id");
export const TypeId = Id("wty", "Work type id");
export const LineId = Id("lin", "Checklist line id");
export const CommentId = Id("cmt", "Comment id");
export const AttachmentId = Id("att", "Attachment id");

export const ChecklistLine = Schema.Struct({
  id: LineId,
  text: LineText,
  required: Schema.Boolean,
  key: Schema.optionalKey(LineKey),
  fromType: Schema.Boolean.annotate({
    description:
      "Came with the type of work: if required, it can be ticked or its gate waived, not removed or reworded",
  }),
  done: Schema.Boolean,
  doneBy: Schema.optionalKey(ActorShown),
  doneAt: Schema.optionalKey(Time),
}).annotate({ identifier: "WorkChecklistLine" });

export const Comment = Schema.Struct({
  id: CommentId,
  author: ActorShown,
  text: CommentText,
  createdAt: Time,
  editedAt: Schema.optionalKey(Time),
}).annotate({ identifier: "WorkComment" });

export const Attachment = Schema.Struct({
  id: AttachmentId,
  name: FileName,
  bytes: Schema.Int.annotate({ description: "How many bytes it has" }),
  sha256: Sha256,
  mediaType: MediaType,
  addedBy: ActorShown,
  addedAt: Time,
}).annotate({ identifier: "WorkAttachment", description: "A file that belongs to a work item" });

export const Waiver = Schema.Struct({
  gate: Gate,
  reason: Reason,
  by: ActorShown,
  at: Time,
}).annotate({ identifier: "WorkWaiver", description: "A gate that somebody has let pass, and why" });

const Assignees = Schema.Array(Assignee).check(Schema.isMaxLength(LIMITS.assignees));
const Labels = Schema.Array(Label).check(Schema.isMaxLength(LIMITS.labels));

export const Link = Schema.Struct({
  kind: LinkedKindName,
  id: Schema.String,
  relation: RelationName,
  commit: Schema.optionalKey(Commit),
}).annotate({ identifier: "WorkLink", description: "What an item has to do with something else" });
export type Link = typeof Link.Type;
const Links = Schema.Array(Link).check(Schema.isMaxLength(LIMITS.links));

export const ItemSpec = Schema.Struct({
  type: TypeName,
  title: Title,
  description: LongText,
  notes: LongText,
  assignees: Assignees,
  labels: Labels,
  priority: Schema.optionalKey(PriorityName),
  dueOn: Schema.optionalKey(Day),
  links: Links,
}).annotate({ identifier: "WorkItemSpec", description: "What people asked for" });

export const ItemStatus = Schema.Struct({
  state: StateName,
  stateTitle: Schema.String,
  group: GroupName,
  startedAt: Schema.optionalKey(Time),
  completedAt: Schema.optionalKey(Time),
  checklist: Schema.Struct({ lines: Schema.Int, done: Schema.Int, requiredOpen: Schema.Int }),
  comments: Schema.Int,
  attachments: Schema.Int,
}).annotate({ identifier: "WorkItemStatus", description: "How far it is" });

export const WorkItem = Schema.Struct({
  ...entity(ItemId, ItemSpec, ItemStatus).fields,
  generation: Schema.Int.annotate({ description: "Counts changes of `spec` and of the checklist's lines; the ETag" }),
  createdBy: ActorShown,
  checklist: Schema.Array(ChecklistLine),
  comments: Schema.Array(Comment),
  attachments: Schema.Array(Attachment),
  waivers: Schema.Array(Waiver),
}).annotate({ identifier: "WorkItem" });

const { comments: _comments, attachments: _attachments, ...listed } = WorkItem.fields;
/** As lists show it: `status` counts the comments and attachments that the item itself holds. */
export const ListedWorkItem = Schema.Struct(listed).annotate({
  identifier: "ListedWorkItem",
  description: "A work item without its comments and attachments",
});

/** What a gate said. */
export const GateResult = Schema.Struct({
  gate: Gate,
  ok: Schema.Boolean,
  reason: Schema.String.annotate({ description: "Why it is open or closed" }),
  fix: Schema.optionalKey(Schema.String.annotate({ description: "What would open it" })),
  waived: Schema.optionalKey(Waiver),
}).annotate({ identifier: "WorkGateResult" });
export type GateResult = typeof GateResult.Type;

/** Where a work item can go from here, and what stands in the way. */
export const WorkItemGates = Schema.Struct({
  transitions: Schema.Array(
    Schema.Struct({
      to: StateName,
      title: Schema.String.annotate({ description: "What the move is called" }),
      group: GroupName,
      allowed: Schema.Boolean,
      gates: Schema.Array(GateResult),
    }),
  ),
}).annotate({ identifier: "WorkItemGates" });

export const TypeState = Schema.Struct({ name: StateName, title: Title, group: GroupName }).annotate({
  identifier: "WorkTypeState",
});
export const TypeTransition = Schema.Struct({
  from: StateName,
  to: StateName,
  title: Schema.optionalKey(Title),
}).annotate({ identifier: "WorkTypeTransition" });
export const TemplateLine = Schema.Struct({
  text: LineText,
  required: Schema.Boolean,
  key: Schema.optionalKey(LineKey),
}).annotate({
  identifier: "WorkTemplateLine",
});

/** Gates by the group of states they stand before. */
export const GatesByGroup = Schema.Struct({
  backlog: Schema.optionalKey(Schema.Array(Gate)),
  unstarted: Schema.optionalKey(Schema.Array(Gate)),
  started: Schema.optionalKey(Schema.Array(Gate)),
  completed: Schema.optionalKey(Schema.Array(Gate)),
  cancelled: Schema.optionalKey(Schema.Array(Gate)),
}).annotate({
  identifier: "WorkTypeGates",
  description: "Gates before entering a state of this group, coming from another group",
});

/** A type of work: everything that makes one kind of work item go another way than the next. */
export const Workflow = Schema.Struct({
  name: TypeName,
  title: Title,
  description: LongText,
  states: Schema.Array(TypeState).check(Schema.isMinLength(1), Schema.isMaxLength(LIMITS.states)),
  initial: StateName,
  transitions: Schema.Array(TypeTransition).check(Schema.isMaxLength(LIMITS.transitions)),
  checklist: Schema.Array(TemplateLine).check(Schema.isMaxLength(LIMITS.lines)),
  notesTemplate: LongText,
  notesRequired: Schema.Struct({
    minLength: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000 })).annotate({
      description: "Characters, white space at the ends not counted",
    }),
  }),
  gates: GatesByGroup,
}).annotate({
  identifier: "WorkTypeSpec",
  description: "States, transitions, checklist, notes and gates of a type of work",
});
export type Workflow = typeof Workflow.Type;

export const WorkType = Schema.Struct({
  id: Schema.String.annotate({ description: "Its id; of a built-in type: its name" }),
  organisation: Schema.String,
  generation: Schema.Int.annotate({ description: "Counts changes of `spec`; the ETag. 0 of a built-in type" }),
  spec: Workflow,
  status: Schema.Struct({
    builtIn: Schema.Boolean.annotate({
      description: "Comes with the product; an own type of the same name takes its place",
    }),
  }),
  createdAt: Schema.optionalKey(Time),
  updatedAt: Schema.optionalKey(Time),
}).annotate({ identifier: "WorkType" });
