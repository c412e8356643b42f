/** Work items and their types. */
import { oneLine } from "../io.ts";
import { type Command, command, SEEN, WAIT } from "../table.ts";
import { listing, showing } from "./entity.ts";

const work = () => import("../actions/work.ts");
const files = () => import("../actions/attachments.ts");
const types = () => import("../actions/work-types.ts");

const ITEM = { item: { summary: "Id of the work item", names: { collection: "work-items" } } } as const;
const TYPE = { type: { summary: "Name or id of the type", names: { collection: "work-types" } } } as const;
const REMOVE = { remove: { type: "boolean", summary: "Take away instead" } } as const;
const ID = "itm_01kajzq4v0e8r9t2m5x7c3d6fg";

/** What may be said of an item when it is opened and when it is changed. */
const FIELDS = {
  description: { type: "string", value: "TEXT", summary: "Markdown; `-` reads it from standard input" },
  priority: {
    type: "string",
    value: "PRIORITY",
    summary: "How urgent: urgent, high, medium, low; `none` takes it off",
  },
  due: { type: "string", value: "DAY", summary: "2027-01-31; `none` takes it off" },
} as const;

const itemCommands: readonly Command[] = [
  listing({
    path: "work list",
    operation: "listItems",
    collection: "work-items",
    shown: [
      { title: "id", value: (row) => row.id },
      { title: "state", value: (row) => row.status.state },
      { title: "type", value: (row) => row.spec.type },
      { title: "title", value: (row) => row.spec.title },
      { title: "for", value: (row) => row.spec.assignees },
      { title: "labels", value: (row) => row.spec.labels },
      { title: "priority", value: (row) => row.spec.priority },
      { title: "due", value: (row) => row.spec.dueOn },
      { title: "checklist", value: ({ status: { checklist } }) => `${checklist.done}/${checklist.lines}` },
    ],
    nameOf: (row) => row.id,
    nothing: "There is no such work item. `mill work open` makes one",
    examples: [
      { line: "mill work list --group started --assignee ada", says: "What Ada works on" },
      { line: 'mill work list --search "certificate" -o name', says: "Ids for a script" },
      { line: "mill work list --watch", says: "And what changes from now on" },
    ],
  }),
  showing({
    path: "work show",
    operation: "getItem",
    collection: "work-items",
    argument: "item",
    people: async (item) => (await work()).itemText(item),
    examples: [
      { line: `mill work show ${ID}`, says: "With checklist, notes and comments" },
      { line: `mill work show ${ID} --at v3`, says: "As it was after its third event" },
      { line: `mill work show ${ID} --wait state=done --timeout 600`, says: "When somebody has done it" },
    ],
  }),
  command({
    path: "work open",
    summary: "Open a work item",
    description: "State, checklist and notes begin as its type says. `-o name` prints its id alone.",
    arguments: { title: { summary: "What is to be done, in one line" } },
    flags: {
      type: { type: "string", value: "TYPE", names: { collection: "work-types" }, summary: "Its type (default task)" },
      ...FIELDS,
      notes: { type: "string", value: "TEXT", summary: "Its notes; `-` reads them from standard input" },
      assign: { type: "strings", value: "WHO", summary: "Who is to do it" },
      label: { type: "strings", value: "LABEL", summary: "A label" },
      application: {
        type: "string",
        value: "APP",
        names: { collection: "applications" },
        summary: "Application that it changes: its deployments tick the line `deployed`, or open an incident",
      },
      commit: { type: "string", value: "HASH", summary: "The commit that is to be deployed (default any)" },
    },
    examples: [
      { line: 'mill work open "Dark mode" --type change --application site', says: "Done when it is deployed" },
      { line: 'mill work open "Renew the certificate" --label area/network --due 2027-01-31', says: "A task" },
      { line: 'item=$(mill work open "Login fails" --type bug -o name)', says: "Keep its id" },
    ],
    impact: "write",
    run: async (call) => (await work()).open(call),
  }),
  command({
    path: "work change",
    summary: "Change title, description, priority or due date",
    arguments: ITEM,
    flags: { title: { type: "string", value: "TEXT", summary: "The new title" }, ...FIELDS, ...SEEN },
    examples: [{ line: `mill work change ${ID} --priority high --due none`, says: "What is left out stays" }],
    impact: "write",
    run: async (call) => (await work()).change(call),
  }),
  command({
    path: "work move",
    summary: "Move a work item into another state",
    description:
      "Its type says which moves there are, and which gates stand before them: a closed gate answers with exit code 6, why, and what " +
      "would open it. `mill work gates` shows them all.",
    arguments: { ...ITEM, state: { summary: "Name of the state" } },
    flags: { ...SEEN, ...WAIT },
    examples: [{ line: `mill work move ${ID} done`, says: "If its gates are open" }],
    impact: "write",
    run: async (call) => (await work()).move(call),
  }),
  command({
    path: "work gates",
    summary: "Show where a work item can go from here, and what stands in the way",
    arguments: ITEM,
    flags: { to: { type: "string", value: "STATE", summary: "Only this move; exit code 6 when it is not allowed" } },
    examples: [{ line: `mill work gates ${ID} --to done`, says: "May it be done?" }],
    impact: "read",
    run: async (call) => (await work()).gates(call),
  }),
  command({
    path: "work waive",
    summary: "Let a gate pass for a work item, with a reason that stays",
    arguments: { ...ITEM, gate: { summary: "Name of the gate, as `mill work gates` shows it" } },
    flags: { reason: { type: "string", value: "TEXT", summary: "Why" }, ...SEEN },
    examples: [
      { line: `mill work waive ${ID} checklist_complete --reason "Confirmed by telephone"`, says: "Needs work:waive" },
    ],
    impact: "write",
    run: async (call) => (await work()).waive(call),
  }),
  command({
    path: "work delete",
    aliases: ["rm"],
    summary: "Delete a work item; its past can still be read",
    arguments: ITEM,
    flags: SEEN,
    examples: [{ line: `mill work delete ${ID} --yes`, says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await work()).remove(call),
  }),
];

const partCommands: readonly Command[] = [
  command({
    path: "work assign",
    summary: "Give a work item to somebody, or take it away",
    arguments: { ...ITEM, who: { summary: "Names of people or teams", many: true } },
    flags: { ...REMOVE, ...SEEN },
    examples: [{ line: `mill work assign ${ID} ada grace`, says: "To two" }],
    impact: "write",
    run: async (call) => (await work()).assign(call),
  }),
  command({
    path: "work label",
    summary: "Put labels on a work item, or take them off",
    arguments: { ...ITEM, label: { summary: "Labels", many: true } },
    flags: { ...REMOVE, ...SEEN },
    examples: [{ line: `mill work label ${ID} area/network --remove`, says: "Take one off" }],
    impact: "write",
    run: async (call) => (await work()).label(call),
  }),
  command({
    path: "work link",
    summary: "Link a work item to an application, a deployment or another item, or take a link off",
    description:
      "A change that is linked to an application follows its deployments: the line `deployed` of its checklist is ticked when one is " +
      "verified, and an incident is opened when one fails.",
    arguments: {
      ...ITEM,
      kind: { summary: "application, deployment or item" },
      id: { summary: "Id or name of what it is linked to" },
    },
    flags: {
      commit: { type: "string", value: "HASH", summary: "Only deployments of this commit count" },
      relation: { type: "string", value: "RELATION", summary: "changes, caused-by or relates-to (the default)" },
      ...REMOVE,
      ...SEEN,
    },
    examples: [
      { line: `mill work link ${ID} application site --relation changes --commit 8f1b2c3`, says: "What it changes" },
      { line: `mill work link ${ID} application site --remove`, says: "It does not after all" },
    ],
    impact: "write",
    run: async (call) => (await work()).link(call),
  }),
  command({
    path: "work check",
    summary: "Tick lines of the checklist",
    arguments: {
      ...ITEM,
      line: { summary: "Number, id, or beginning of the text of a line", many: true, optional: true },
    },
    flags: { all: { type: "boolean", summary: "All that are open" } },
    examples: [
      { line: `mill work check ${ID} 1 3`, says: "The first and the third" },
      { line: `mill work check ${ID} --all`, says: "All of them" },
    ],
    impact: "write",
    run: async (call) => (await work()).check(call, true),
  }),
  command({
    path: "work uncheck",
    summary: "Untick lines of the checklist",
    arguments: {
      ...ITEM,
      line: { summary: "Number, id, or beginning of the text of a line", many: true, optional: true },
    },
    flags: { all: { type: "boolean", summary: "All that are done" } },
    examples: [{ line: `mill work uncheck ${ID} 2`, says: "It was not done after all" }],
    impact: "write",
    run: async (call) => (await work()).check(call, false),
  }),
  command({
    path: "work add-line",
    summary: "Add a line to the checklist",
    arguments: { ...ITEM, text: { summary: "One line" } },
    flags: {
      required: { type: "boolean", summary: "It must be done before the item is" },
      at: { type: "integer", value: "N", range: [1, 200], summary: "As the n-th line (default the last)" },
      ...SEEN,
    },
    examples: [{ line: `mill work add-line ${ID} "Tell the people who use it" --required`, says: "At the end" }],
    impact: "write",
    run: async (call) => (await work()).addLine(call),
  }),
  command({
    path: "work remove-line",
    summary: "Remove a line from the checklist",
    arguments: { ...ITEM, line: { summary: "Number, id, or beginning of the text of a line" } },
    examples: [{ line: `mill work remove-line ${ID} 2`, says: "The second" }],
    impact: "write",
    run: async (call) => (await work()).removeLine(call),
  }),
  command({
    path: "work note",
    summary: "Write the notes of a work item: what was done, for whoever comes after",
    arguments: { ...ITEM, text: { summary: "Markdown; `-` reads it from standard input" } },
    flags: { append: { type: "boolean", summary: "After what is there" }, ...SEEN },
    examples: [
      { line: `mill work note ${ID} "The certificate is in place until 2028."`, says: "Replaces what is there" },
      { line: `mill work note ${ID} - --append < notes.md`, says: "From a file, after what is there" },
    ],
    impact: "write",
    run: async (call) => (await work()).note(call),
  }),
  command({
    path: "work comment",
    summary: "Comment on a work item",
    arguments: { ...ITEM, text: { summary: "Markdown; `-` reads it from standard input" } },
    examples: [{ line: `mill work comment ${ID} "The new one is in place."`, says: "Everybody sees it" }],
    impact: "write",
    run: async (call) => (await work()).comment(call),
  }),
];

const attachmentCommands: readonly Command[] = [
  command({
    path: "work attach",
    summary: "Attach a file to a work item",
    arguments: { ...ITEM, file: { summary: "A file of at most 8 MiB" } },
    examples: [{ line: `mill work attach ${ID} front.jpg`, says: "Under the name it has" }],
    impact: "write",
    run: async (call) => (await files()).attach(call),
  }),
  command({
    path: "work attachments",
    summary: "List the files that are attached to a work item",
    arguments: ITEM,
    examples: [{ line: `mill work attachments ${ID} -o name`, says: "Their ids alone" }],
    impact: "read",
    run: async (call) => (await files()).list(call),
  }),
  command({
    path: "work attachment download",
    summary: "Write an attachment of a work item into a file",
    description: "Its hash is checked first; a file that is there already is left alone.",
    arguments: { ...ITEM, attachment: { summary: "Its id, or its name where only one has it" } },
    flags: { to: { type: "string", value: "FILE", summary: "Where it is written; its own name if left out" } },
    examples: [{ line: `mill work attachment download ${ID} front.jpg --to /tmp/front.jpg`, says: "Elsewhere" }],
    impact: "read",
    run: async (call) => (await files()).download(call),
  }),
  command({
    path: "work detach",
    summary: "Take an attachment off a work item",
    arguments: { ...ITEM, attachment: { summary: "Its id, or its name where only one has it" } },
    examples: [{ line: `mill work detach ${ID} front.jpg`, says: "The item's history still tells of it" }],
    impact: "write",
    run: async (call) => (await files()).detach(call),
  }),
];

const FILE = {
  file: { type: "string", short: "f", value: "FILE", summary: "JSON; `-` reads it from standard input" },
} as const;

const typeCommands: readonly Command[] = [
  listing({
    path: "work types list",
    operation: "listTypes",
    collection: "work-types",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "title", value: (row) => row.spec.title },
      { title: "states", value: (row) => row.spec.states.map((state: { name: string }) => oneLine(state.name)) },
      { title: "built in", value: (row) => (row.status.builtIn ? "yes" : "") },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no type of work",
    examples: [{ line: "mill work types list", says: "With the built-in ones" }],
  }),
  showing({
    path: "work types show",
    operation: "getType",
    collection: "work-types",
    argument: "type",
    people: async (type) => (await types()).typeText(type),
    examples: [
      { line: "mill work types show task", says: "States, moves, checklist and gates" },
      { line: "mill work types show task -o json > task.json", says: "To begin one's own from" },
    ],
  }),
  command({
    path: "work types create",
    summary: "Define a type of work; with the name of a built-in one it takes that one's place",
    description: "The file holds the definition: `spec` as `mill work types show -o json` prints it, or that alone.",
    flags: FILE,
    examples: [{ line: "mill work types create --file chore.json", says: "States, transitions, checklist, gates" }],
    impact: "write",
    run: async (call) => (await types()).create(call),
  }),
  command({
    path: "work types change",
    summary: "Change a type of work; what the file leaves out stays, lists are replaced as a whole",
    arguments: TYPE,
    flags: { ...FILE, ...SEEN },
    examples: [{ line: "mill work types change chore --file chore.json", says: "Open items go on by it" }],
    impact: "write",
    run: async (call) => (await types()).change(call),
  }),
  command({
    path: "work types delete",
    aliases: ["rm"],
    summary: "Delete a type of work",
    description: "Items of it can be read and changed, and moved again when there is a type of that name.",
    arguments: TYPE,
    flags: SEEN,
    examples: [{ line: "mill work types delete chore --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await types()).remove(call),
  }),
];

export const workCommands: readonly Command[] = [
  ...itemCommands,
  ...partCommands,
  ...attachmentCommands,
  ...typeCommands,
];
