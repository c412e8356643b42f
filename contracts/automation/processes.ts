import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { getOf, listOf } from "../endpoints.ts";
import type { PublicEvents } from "../events.ts";
import { booleanFilter, entity, ORGANISATION, says, Time, textFilter } from "../http.ts";
import { Id } from "../ids.ts";
import { historyOf } from "../past.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

const place = {
  context: text("Context of what was heard"),
  seq: Schema.Int.annotate({ description: "The log's sequence there" }),
};
const step = text("What it is about, in the process's own words");
const subject = Schema.Struct({ context: Schema.String, kind: Schema.String, id: Schema.String });

export const ProcessBegan = Schema.Struct({ type: text("Name of its type"), key: text("What it is about") });
export const EventHeard = Schema.Struct({ ...place, events: Schema.Array(Schema.String) });
export const CommandDecided = Schema.Struct({
  step,
  command: text("Id of the command: the same however often it is tried"),
  action: text("What is done, as its operation in OpenAPI"),
  on: optionalKey(text("Id of what it is done to")),
});
export const CommandDone = Schema.Struct({
  step,
  command: Schema.String,
  subject,
  made: optionalKey(text("Id of what it made")),
});
export const CommandRefused = Schema.Struct({
  step,
  command: Schema.String,
  rule: optionalKey(text("The rule that said no")),
  reason: Schema.String,
  fix: optionalKey(Schema.String),
});

export const processEvents = {
  ProcessBegan: { version: 1, data: ProcessBegan, description: "A process has something to look after." },
  EventHeard: { version: 1, data: EventHeard, description: "A process took note of what happened in another context." },
  CommandDecided: { version: 1, data: CommandDecided, description: "A process is about to do something." },
  CommandDone: { version: 1, data: CommandDone, description: "A process did something." },
  CommandRefused: { version: 1, data: CommandRefused, description: "What a process wanted was refused." },
} satisfies PublicEvents;

const Spec = Schema.Struct({ type: ProcessBegan.fields.type, key: ProcessBegan.fields.key });
const Status = Schema.Struct({
  state: Schema.Literals(["waiting", "acting"]),
  heard: Schema.Int.annotate({ description: "Events it took note of" }),
  done: Schema.Int.annotate({ description: "Commands that were carried out" }),
  refused: Schema.Int,
  pending: optionalKey(CommandDecided),
  last: optionalKey(
    Schema.Struct({
      step: Schema.String,
      outcome: Schema.Literals(["done", "refused"]),
      reason: optionalKey(Schema.String),
      at: Time,
    }),
  ),
  memory: Schema.Unknown.annotate({ description: "What it knows, by its type" }),
}).annotate({ identifier: "ProcessStatus" });

export const Process = entity(Id("prc", "Process id"), Spec, Status).annotate({ identifier: "Process" });

const all = `${ORGANISATION}/processes` as const;
const one = `${all}/:id` as const;

export const processesApi = HttpApiGroup.make("processes")
  .add(
    listOf("listProcesses", all, Process, {
      type: textFilter("Name of its type"),
      key: textFilter("What it is about, e.g. the id of an application"),
      acting: booleanFilter("Whether it is about to do something"),
    }).annotateMerge(says("automation:read", "List what goes on by itself across contexts")),
  )
  .add(getOf("getProcess", one, Process).annotateMerge(says("automation:read", "A process, as it is or as it was")))
  .add(historyOf("historyOfProcess", one).annotateMerge(says("automation:read", "What a process heard and did")))
  .annotateMerge(OpenApi.annotations({ title: "Processes", description: "What goes on by itself across contexts" }));
