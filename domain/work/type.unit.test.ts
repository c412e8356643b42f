/** The rules of types of work, and the types that come with the product. */
import assert from "node:assert/strict";
import { type Workflow, Workflow as WorkflowSchema } from "@millrace/contracts/work/entities.ts";
import * as Schema from "effect/Schema";
import { suite } from "../../tests/harness/suite.ts";
import { given, ORGANISATION, type Told } from "../testing.ts";
import { BUILT_IN_TYPES, representBuiltIn } from "./builtin.ts";
import { evaluateGates } from "./gates.ts";
import { initial } from "./item-state.ts";
import { type } from "./type.ts";
import { checkWorkflow } from "./type-check.ts";

const test = suite("types of work");

const spec: Workflow = {
  name: "chore",
  title: "Chore",
  description: "",
  states: [
    { name: "todo", title: "To do", group: "unstarted" },
    { name: "done", title: "Done", group: "completed" },
  ],
  initial: "todo",
  transitions: [{ from: "todo", to: "done" }],
  checklist: [{ text: "Try it", required: true }],
  notesTemplate: "",
  notesRequired: { minLength: 10 },
  gates: { completed: ["notes_present"] },
};
const defined: Told = ["TypeDefined", spec];
const name = { what: "type-name", value: `${ORGANISATION}/chore` };

test("a type is defined once, and takes its name in the organisation", () => {
  const made = given(type, []).when({ do: "define", spec });
  made.happens(defined);
  made.claims({ ...name, hold: true });
  given(type, [defined]).when({ do: "define", spec }).isRefused({ refused: "conflict" });
});

test("a change tells what belongs together, and only what changed", () => {
  given(type, [defined])
    .when({ do: "change", spec: { title: "Chore", checklist: spec.checklist } })
    .happens();
  const states = [...spec.states, { name: "off", title: "Off", group: "cancelled" }] as const;
  const transitions = [...spec.transitions, { from: "todo", to: "off" }];
  given(type, [defined])
    .when({
      do: "change",
      spec: { title: "Small", states, transitions, checklist: [], notesTemplate: "x", gates: {} },
    })
    .happens(
      ["TypeRetitled", { title: "Small", description: "" }],
      ["WorkflowChanged", { states, initial: "todo", transitions }],
      ["ChecklistTemplateChanged", { checklist: [] }],
      ["NotesTemplateChanged", { notesTemplate: "x", notesRequired: { minLength: 10 } }],
      ["GatesChanged", { gates: {} }],
    );
  given(type, [defined])
    .when({ do: "change", spec: { description: "Small things" }, seen: 1 })
    .leads((state) => assert.deepEqual([state.generation, state.spec], [2, { ...spec, description: "Small things" }]));
  given(type, [defined])
    .when({ do: "change", spec: { title: "x" }, seen: 2 })
    .isRefused({ refused: "precondition" });
  given(type, [defined])
    .when({ do: "change", spec: { initial: "gone" } })
    .isRefused({ pointers: ["/body/initial"] });
});

test("a deleted type gives its name back, and is not there any more", () => {
  const deleted: Told = ["TypeDeleted", { name: "chore" }];
  const gone = given(type, [defined]).when({ do: "delete" });
  gone.happens(deleted);
  gone.claims({ ...name, hold: false });
  given(type, [defined, deleted]).when({ do: "change", spec: {} }).isRefused({ refused: "not-found" });
  given(type, [defined, deleted]).when({ do: "delete" }).isRefused({ refused: "not-found" });
  given(type, [defined]).when({ do: "delete", seen: 9 }).isRefused({ refused: "precondition" });
});

test("a type that makes no sense is refused with the places and a fix", () => {
  const state = (n: string, group: Workflow["states"][number]["group"]) => ({ name: n, title: n, group });
  const rows: ReadonlyArray<readonly [string, Partial<Workflow>, ReadonlyArray<string>, RegExp]> = [
    ["no name", { name: "My Type" }, ["/body/name"], /Change/],
    ["no title", { title: "" }, ["/body/title"], /Change/],
    ["two of a name", { states: [...spec.states, state("todo", "started")] }, ["/body/states/2/name"], /own/],
    ["a bad name", { states: [...spec.states, state("To Do", "started")] }, ["/body/states/2/name"], /own/],
    ["unknown initial", { initial: "gone" }, ["/body/initial"], /"todo", "done"/],
    ["closed initial", { initial: "done" }, ["/body/initial"], /Begin/],
    ["nothing completed", { states: [state("todo", "unstarted")], transitions: [] }, ["/body/states"], /completed/],
    [
      "unknown ends",
      { transitions: [{ from: "a", to: "b" }] },
      ["/body/transitions/0/from", "/body/transitions/0/to"],
      /Transitions lead/,
    ],
    ["itself", { transitions: [{ from: "todo", to: "todo" }] }, ["/body/transitions/0/to"], /Transitions lead/],
    ["twice", { transitions: [...spec.transitions, ...spec.transitions] }, ["/body/transitions/1"], /each once/],
    ["unreachable", { states: [...spec.states, state("lost", "started")] }, ["/body/states/2"], /lead there/],
    ["unreachable end", { transitions: [] }, ["/body/states/1"], /lead there/],
    ["bad line", { checklist: [{ text: "a\nb", required: true }] }, ["/body/checklist/0"], /Change/],
    ["bad length", { notesRequired: { minLength: -1 } }, ["/body/notesRequired/minLength"], /Change/],
    ["unknown gate", { gates: { started: ["magic" as never] } }, ["/body/gates/started/0"], /Change/],
    ["gate twice", { gates: { completed: ["notes_present", "notes_present"] } }, ["/body/gates/completed/1"], /Change/],
    [
      "inherited name as gate",
      { gates: { completed: ["constructor" as never] } },
      ["/body/gates/completed/0"],
      /Change/,
    ],
  ];
  for (const [, fields, pointers, fix] of rows) {
    given(type, [])
      .when({ do: "define", spec: { ...spec, ...fields } })
      .isRefused({ pointers, fix });
  }
});

test("the built-in types make sense, read as the contract says, and can be completed only when written up", () => {
  const names = ["service", "integration", "platform", "change", "documentation", "incident", "task"];
  assert.deepEqual([...BUILT_IN_TYPES.keys()], names);
  for (const workflow of BUILT_IN_TYPES.values()) {
    assert.equal(checkWorkflow(workflow), undefined, workflow.name);
    Schema.decodeUnknownSync(WorkflowSchema, { onExcessProperty: "error" })(workflow);
    assert.ok(
      workflow.checklist.some((line) => line.required),
      `${workflow.name} requires nothing`,
    );
    const untouched = { ...initial("itm"), notes: workflow.notesTemplate, notesTemplate: workflow.notesTemplate };
    const gates = evaluateGates(untouched, workflow, "completed");
    assert.deepEqual(
      gates.map(({ gate }) => gate),
      ["checklist_complete", "notes_present"],
    );
    assert.equal(gates[1]!.ok, false, `the template of ${workflow.name} counts as notes`);
    assert.ok(workflow.states.some(({ group }) => group === "cancelled"));
    assert.equal(representBuiltIn(workflow, ORGANISATION).status.builtIn, true);
  }
});

test.run();
