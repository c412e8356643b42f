/** Asking rules of events: a condition of the language against the same written by hand as a closure, over one event and over ten rules. */
import { type Happened, readyRule } from "@millrace/domain/automation/evaluate.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";

const EVENTS = 20_000;
const RULES = 10;
const ROUNDS = 5;

const events = Array.from({ length: 1_000 }, (_, i): Happened & { readonly data: any } => ({
  context: "work",
  kind: "item",
  entity: `itm_${i}`,
  id: `${i}.0`,
  type: i % 3 === 0 ? "ItemMoved" : "ItemOpened",
  atMs: 1_795_000_000_000 + i,
  actor: { kind: "token", id: "tok_a", name: "ada" },
  data: { group: i % 5 === 0 ? "completed" : "started", title: `Item ${i}`, labels: ["area/network", `l${i % 7}`] },
}));
const entities = events.map(({ data }) => ({ spec: { title: data.title, labels: data.labels, priority: "high" } }));

const rules = Array.from({ length: RULES }, (_, i) =>
  readyRule({
    when: { kind: "event", context: "work", types: ["ItemMoved", "ItemOpened"] },
    condition: `event.type == 'ItemMoved' and event.data.group == 'completed' and ('l${i % 7}' in entity.spec.labels or entity.spec.priority == 'low')`,
    timeZone: "UTC",
    commands: [{ action: "work.openItem", body: { type: "task", title: "After {{entity.spec.title}}" } }],
  }),
);
const types = new Set(["item ItemMoved", "item ItemOpened"]);
const byHand = Array.from({ length: RULES }, (_, i) => (event: Happened & { readonly data: any }, entity: any) => {
  const { labels, priority, title } = entity.spec;
  if (event.type !== "ItemMoved" || event.data.group !== "completed") return undefined;
  if (!labels.includes(`l${i % 7}`) && priority !== "low") return undefined;
  return { commands: [{ action: "work.openItem", body: { type: "task", title: `After ${title}` } }] };
});

let found = 0;
async function timed(ask: (i: number) => void): Promise<number> {
  const began = performance.now();
  for (let i = 0; i < EVENTS; i++) ask(i % events.length);
  return ((performance.now() - began) * 1_000) / EVENTS;
}

const measured = await inTurn(
  ROUNDS,
  () =>
    timed((i) => {
      const event = events[i]!;
      for (const rule of rules) {
        if (rule.wants(event.kind, event.type, event.entity) && rule.ask(event, entities[i]) !== undefined) found++;
      }
    }),
  () =>
    timed((i) => {
      const event = events[i]!;
      for (const rule of byHand)
        if (types.has(`${event.kind} ${event.type}`) && rule(event, entities[i]) !== undefined) found++;
    }),
);
if (found === 0) throw new Error("no rule held, so nothing was measured");
const us = (all: number[]) => `${median(all).toFixed(2)} µs an event`;
report({
  what: `an event asked of ${RULES} rules that look at its data and at the entity`,
  against: "the same as closures written by hand",
  ratio: ratioOf(measured, (took) => took),
  reach: "≤ 4",
  ours: us(measured.ours),
  theirs: us(measured.theirs),
  durability: "in memory",
});
