/**
 * The types of work that come with the product. An organisation uses one by its name, until it defines a type of its own
 * of that name. They are data: whoever wants another way of working copies one and changes it.
 */
import type { Workflow } from "@millrace/contracts/work/entities.ts";
import { DEPLOYED } from "@millrace/contracts/work/values.ts";

type State = Workflow["states"][number];
type Transition = Workflow["transitions"][number];

const todo: State = { name: "todo", title: "To do", group: "unstarted" };
const planning: State = { name: "planning", title: "Planning", group: "unstarted" };
const inProgress: State = { name: "in-progress", title: "In progress", group: "started" };
const review: State = { name: "review", title: "In review", group: "started" };
const done: State = { name: "done", title: "Done", group: "completed" };
const cancelled: State = { name: "cancelled", title: "Cancelled", group: "cancelled" };

/**
 * Forward and back along the way, cancelled from every open state, and reopened from the closed ones to where work begins.
 * @param way open states in order, at least two
 */
function along(
  way: ReadonlyArray<State>,
  end: State,
  off: State,
): Pick<Workflow, "states" | "initial" | "transitions"> {
  const transitions: Transition[] = [];
  for (const [i, { name: from }] of way.entries()) {
    const before = way[i - 1];
    const after = way[i + 1] ?? end;
    transitions.push({ from, to: after.name, title: i === 0 ? "Start" : after === end ? "Finish" : after.title });
    if (before !== undefined)
      transitions.push({ from, to: before.name, title: `Back to ${before.title.toLowerCase()}` });
    transitions.push({ from, to: off.name, title: off === cancelled ? "Cancel" : off.title });
  }
  const again = way[1]!.name;
  transitions.push({ from: end.name, to: again, title: "Reopen" }, { from: off.name, to: again, title: "Reopen" });
  return { states: [...way, end, off], initial: way[0]!.name, transitions };
}

const required = (...texts: ReadonlyArray<string>) => texts.map((text) => ({ text, required: true }));
const optional = (...texts: ReadonlyArray<string>) => texts.map((text) => ({ text, required: false }));

const gates: Workflow["gates"] = { completed: ["checklist_complete", "notes_present"] };

const service: Workflow = {
  name: "service",
  title: "Service",
  description: "A service is set up, changed or taken down.",
  ...along([planning, inProgress, review], done, cancelled),
  checklist: [
    ...required(
      "What it is for, and who owns it, is written down",
      "Where it runs, and what it needs, is decided",
      "Its configuration is kept under version control",
      "It is deployed and answers",
      "It is watched: somebody is told when it fails",
      "Its data is in the backup, and a restore was tried",
    ),
    ...optional("Who uses it knows about it"),
  ],
  notesTemplate:
    "## What it does\n\n## Where it runs\n\n## How to start, stop and update it\n\n## How to tell that it is well\n\n## What to do when it fails\n",
  notesRequired: { minLength: 120 },
  gates,
};

const integration: Workflow = {
  name: "integration",
  title: "Integration",
  description: "Two systems are connected, or their connection is changed.",
  ...along([planning, inProgress, review], done, cancelled),
  checklist: [
    ...required(
      "What goes from where to where is written down",
      "Its credentials are kept as secrets, and may do no more than needed",
      "It was tried with real data",
      "It was seen to fail well: the other side away, a wrong answer, a slow one",
      "It is watched: somebody is told when it stops",
    ),
    ...optional("How to switch it off is written down"),
  ],
  notesTemplate:
    "## What is connected\n\n## What goes over it, and how often\n\n## Credentials: where they are, when they run out\n\n## What happens when one side is away\n",
  notesRequired: { minLength: 100 },
  gates,
};

const platform: Workflow = {
  name: "platform",
  title: "Platform",
  description: "What others stand on is changed: machines, networks, clusters, shared tools.",
  ...along([planning, inProgress, review], done, cancelled),
  checklist: [
    ...required(
      "Who is affected knows when it happens",
      "The way back is written down and was tried",
      "There is a backup from before",
      "The change was made",
      "What stands on it was checked afterwards",
    ),
    ...optional("What could be automated of it is noted"),
  ],
  notesTemplate:
    "## What was changed, and why\n\n## Who is affected\n\n## The way back\n\n## What was checked afterwards\n",
  notesRequired: { minLength: 100 },
  gates,
};

const change: Workflow = {
  name: "change",
  title: "Change",
  description: "Something that people use is changed, and deployed.",
  ...along([todo, inProgress, review], done, cancelled),
  checklist: [
    ...required("Somebody else has looked at it", "It was tried before it went live"),
    { text: "It is deployed, and was found well", required: true, key: DEPLOYED },
    ...optional("Who uses it knows what is different"),
  ],
  notesTemplate: "## What is different\n\n## Why\n\n## The way back\n",
  notesRequired: { minLength: 60 },
  gates,
};

const documentation: Workflow = {
  name: "documentation",
  title: "Documentation",
  description: "Something is written down for others.",
  ...along([todo, inProgress, review], done, cancelled),
  checklist: [
    ...required(
      "It is written",
      "Every command in it was run as it stands",
      "Somebody who did not write it has read it",
    ),
    ...optional("It is linked from where people look first"),
  ],
  notesTemplate: "## Where it is\n\n## For whom it is\n\n## What is still missing\n",
  notesRequired: { minLength: 40 },
  gates,
};

const incident: Workflow = {
  name: "incident",
  title: "Incident",
  description: "Something does not work that should.",
  ...along(
    [
      { name: "open", title: "Open", group: "unstarted" },
      { name: "investigating", title: "Investigating", group: "started" },
      { name: "mitigated", title: "Mitigated", group: "started" },
    ],
    { name: "resolved", title: "Resolved", group: "completed" },
    { name: "false-alarm", title: "False alarm", group: "cancelled" },
  ),
  checklist: [
    ...required(
      "Who is affected, and since when, is known",
      "Who is affected was told",
      "It works again, and was checked from outside",
      "The cause is known",
      "What keeps it from happening again is done, or has a work item",
    ),
    ...optional("The alert that should have come first is there"),
  ],
  notesTemplate:
    "## What happened\n\n## Who was affected, from when to when\n\n## Cause\n\n## What was done\n\n## What keeps it from happening again\n",
  notesRequired: { minLength: 120 },
  gates,
};

const taskWay = along([todo, inProgress], done, cancelled);

const task: Workflow = {
  name: "task",
  title: "Task",
  description: "Anything else that is to be done.",
  ...taskWay,
  // What is done as soon as it is begun need not be begun first.
  transitions: [{ from: todo.name, to: done.name, title: "Finish" }, ...taskWay.transitions],
  checklist: required("It is done, and was checked"),
  notesTemplate: "## What was done\n",
  notesRequired: { minLength: 20 },
  gates,
};

export const BUILT_IN_TYPES: ReadonlyMap<string, Workflow> = new Map(
  [service, integration, platform, change, documentation, incident, task].map((workflow) => [workflow.name, workflow]),
);

/** A built-in type as the API shows it. */
export const representBuiltIn = (workflow: Workflow, organisation: string) => ({
  id: workflow.name,
  organisation,
  generation: 0,
  spec: workflow,
  status: { builtIn: true },
});
