/**
 * A change follows the deployments of what it changes. One process for each application: it knows the open items with an open line
 * `deployed` that are linked to it. A deployment that was verified ticks the line of those whose commit it is (or that wait for any);
 * one that failed opens an incident, once, linked to the deployment, the application and those items.
 */
import type { Link } from "@millrace/contracts/work/entities.ts";
import { DEPLOYED, LIMITS } from "@millrace/contracts/work/values.ts";
import { type DeploymentState, failureOf } from "../applications/deployment-state.ts";
import { type ItemState, isClosed } from "../work/item-state.ts";
import type { Heard, Note, ProcessType, Step } from "./process-type.ts";

interface Problem {
  readonly phase: string;
  readonly code: string;
  readonly message: string;
  readonly fix: string;
}

/** How a deployment ended. */
interface Outcome {
  readonly deployment: string;
  readonly application: string;
  readonly name: string;
  readonly seq: number;
  /** Null: it failed before it was known. */
  readonly commit: string | null;
  /** Null: it was verified. */
  readonly problem: Problem | null;
}

type Told =
  /** `commit` null: it waits for any deployment; left out: it does not wait. */
  { readonly item: string; readonly commit?: string | null } | { readonly outcome: Outcome };

interface Memory {
  /** Items that wait, since when, and for which commit. */
  readonly waiting: Readonly<Record<string, { readonly commit: string | null; readonly since: number }>>;
  /** The newest outcomes: contexts are heard beside each other, so a link may be heard after what it was waiting for. */
  readonly recent: ReadonlyArray<Outcome & { readonly at: number; readonly incident: boolean }>;
  readonly steps: ReadonlyArray<Step>;
}

const RECENT = 10;
/** Items named in one incident. */
const NAMED = 20;
const MESSAGE = 2_000;

const item = (heard: Heard<ItemState>): ReadonlyArray<Note<Told>> => {
  const { id, source, type, data } = heard;
  const line = source.checklist.find(({ key }) => key === DEPLOYED);
  const waits = source.exists && !isClosed(source.group) && line?.done === false;
  const gone = type === "ItemUnlinked" ? (data as { links: ReadonlyArray<Link> }).links : [];
  const keys = new Set([...source.links, ...gone].filter(({ kind }) => kind === "application").map((link) => link.id));
  return [...keys].map((key) => {
    const link = source.links.find((one) => one.kind === "application" && one.id === key);
    return { key, note: { item: id, ...(waits && link !== undefined ? { commit: link.commit ?? null } : {}) } };
  });
};

const deployment = ({ id, source, type }: Heard<DeploymentState>): ReadonlyArray<Note<Told>> => {
  const verified = type === "DeploymentSucceeded";
  const failure = verified ? null : failureOf(source);
  const { phase, code, message, fix } = failure ?? {
    phase: "HEALTH_CHECK",
    code: "FAILED",
    message: "It was taken back.",
    fix: "",
  };
  const outcome: Outcome = {
    deployment: id,
    application: source.application,
    name: source.name,
    seq: source.seq,
    commit: source.phases.PULLING_SOURCE?.output?.commit ?? source.release?.commit ?? null,
    problem: verified ? null : { phase, code, message: plain(message), fix: plain(fix) },
  };
  return [{ key: source.application, note: { outcome } }];
};

/** As a work item may hold it: what a build says is anything. */
const plain = (text: string): string => text.replaceAll(/[^\P{C}\p{Cf}\p{Co}\p{Cn}\t\n\r]/gu, " ").slice(0, MESSAGE);

const isOf = (wanted: string | null, { commit }: Outcome): boolean =>
  wanted === null || (commit !== null && commit.startsWith(wanted));

const tick = (on: string, { deployment }: Outcome): Step => ({
  step: `tick ${on} ${deployment}`,
  action: "work.changeLine",
  on,
  body: { line: DEPLOYED, done: true },
});

function incident(items: ReadonlyArray<string>, outcome: Outcome & { readonly problem: Problem }): Step {
  const { deployment: id, application, name, seq, commit, problem } = outcome;
  const what = commit === null ? "" : ` of commit ${commit.slice(0, 12)}`;
  const description = [
    `Deployment ${seq} of ${name}${what} failed in ${problem.phase}: ${problem.message}`,
    `Code: \`${problem.code}\``,
    ...(problem.fix === "" ? [] : [problem.fix]),
  ].join("\n\n");
  const links = [
    { kind: "deployment", id, relation: "caused-by" },
    { kind: "application", id: application, relation: "relates-to" },
    ...items
      .slice(0, Math.min(NAMED, LIMITS.links - 2))
      .map((one) => ({ kind: "item", id: one, relation: "caused-by" })),
  ];
  const body = { type: "incident", title: `Deployment ${seq} of ${name} failed`, description, links };
  return { step: `incident ${id}`, action: "work.openItem", body };
}

/** What an outcome comes to for the items that wait. */
function stepsOf(outcome: Outcome, items: ReadonlyArray<string>): ReadonlyArray<Step> {
  const { problem } = outcome;
  if (items.length === 0) return [];
  return problem === null ? items.map((one) => tick(one, outcome)) : [incident(items, { ...outcome, problem })];
}

const adding = (memory: Memory, steps: ReadonlyArray<Step>): ReadonlyArray<Step> => [
  ...memory.steps,
  ...steps.filter(({ step }) => !memory.steps.some((one) => one.step === step)),
];

function outcomeTold(memory: Memory, outcome: Outcome, at: number): Memory {
  const items = Object.entries(memory.waiting).flatMap(([id, { commit, since }]) =>
    since <= at && isOf(commit, outcome) ? [id] : [],
  );
  const steps = stepsOf(outcome, items);
  const told = { ...outcome, at, incident: outcome.problem !== null && steps.length > 0 };
  return { ...memory, recent: [...memory.recent, told].slice(-RECENT), steps: adding(memory, steps) };
}

function itemTold(memory: Memory, id: string, commit: string | null | undefined, at: number): Memory {
  const { [id]: before, ...others } = memory.waiting;
  if (commit === undefined) return { ...memory, waiting: others };
  // Another commit is another wait; a word of the same is none.
  const since = before !== undefined && before.commit === commit ? before.since : at;
  const waiting = { ...others, [id]: { commit, since } };
  if (before !== undefined && before.since === since) return { ...memory, waiting };
  // Heard late: what it waits for may have come meanwhile. A commit that is named may even be live already.
  const missed = memory.recent.findLast(
    (one) => isOf(commit, one) && (one.at >= since || (commit !== null && one.problem === null)),
  );
  if (missed === undefined || missed.incident) return { ...memory, waiting };
  const recent = memory.recent.map((one) => (one === missed ? { ...one, incident: one.problem !== null } : one));
  return { waiting, recent, steps: adding(memory, stepsOf(missed, [id])) };
}

export const changeFollowsDeployment: ProcessType<Memory, Told> = {
  name: "change-follows-deployment",
  summary:
    "Ticks the line `deployed` of a change when the deployment of its commit is verified, and opens an incident when it fails",
  hears: {
    work: {
      item: [
        "ItemOpened",
        "ItemLinked",
        "ItemUnlinked",
        "ItemMoved",
        "ItemDeleted",
        "ChecklistLineTicked",
        "ChecklistLineUnticked",
        "ChecklistLineRemoved",
      ],
    },
    applications: { deployment: ["DeploymentSucceeded", "DeploymentFailed", "DeploymentRolledBack"] },
  },
  from: "beginning",
  correlate: (heard) => (heard.kind === "item" ? item(heard) : deployment(heard)),
  initial: { waiting: {}, recent: [], steps: [] },
  note: (memory, told, at) =>
    "outcome" in told ? outcomeTold(memory, told.outcome, at) : itemTold(memory, told.item, told.commit, at),
  next: ({ steps }) => steps[0],
  settled: (memory, step) => ({ ...memory, steps: memory.steps.filter((one) => one.step !== step) }),
};
