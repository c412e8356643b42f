/** Configurations in Git: how they are kept in a repository, and what became of each run. What a run does stands in the device agent. */
import { repositoryFault, repositoryPathFault, serverPathFault } from "@millrace/contracts/applications/git.ts";
import type { Selection } from "@millrace/contracts/devices/selection.ts";
import * as shape from "@millrace/contracts/devices/syncs.ts";
import { LIMITS, PATTERNS } from "@millrace/contracts/devices/values.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { type Decider, type Decision, type EventMeta, type Refusal, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { excerpt, first } from "../sentences.ts";
import { overtaken } from "./device-decide.ts";
import { sameJson } from "./drift.ts";

export interface SyncSpec {
  readonly name: string;
  readonly title: string | null;
  readonly repository: Readonly<Record<string, string>>;
  readonly credentials: { readonly secret: string; readonly kind: string; readonly user?: string } | null;
  readonly branch: string;
  readonly folder: string;
  readonly site: string;
  readonly select: Selection | null;
  readonly direction: (typeof shape.DIRECTIONS)[number];
  readonly apply: "plan" | "apply";
}
type Planned = (typeof shape.SyncPlanned)["Type"];
type Failure = (typeof shape.SyncFailed)["Type"];
type Result = (typeof shape.SyncCompleted)["Type"];

export interface SyncState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly spec: SyncSpec;
  readonly state: (typeof shape.SYNC_STATES)[number];
  readonly run: number;
  /** RFC 3339: of the run; what it commits bears this time. */
  readonly requestedAt: string;
  /** The run carries out the plan of this commit. */
  readonly approved: string | null;
  readonly attempt: number;
  readonly worker: string;
  /** The branch's commit after the last run that succeeded. */
  readonly commit: string | null;
  readonly result: (Result & { readonly finishedAt: string }) | null;
  readonly plan: Planned | null;
  readonly failure: (Failure & { readonly failedAt: string }) | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

interface Seen {
  readonly seen?: number;
}
interface Running {
  readonly run: number;
  readonly attempt: number;
  readonly worker: string;
}
export type SyncCommand =
  | { readonly do: "create"; readonly spec: Partial<SyncSpec> & Pick<SyncSpec, "name" | "repository"> }
  | (Seen & { readonly do: "change"; readonly spec: Partial<SyncSpec> })
  | (Seen & { readonly do: "delete" })
  | { readonly do: "run" }
  | { readonly do: "approve"; readonly commit: string }
  | (Running & { readonly do: "start" })
  | (Running & { readonly do: "plan"; readonly plan: Omit<Planned, "run"> })
  | (Running & { readonly do: "complete"; readonly result: Omit<Result, "run"> })
  | (Running & { readonly do: "fail"; readonly failure: Omit<Failure, "run"> });

type Event = {
  [T in keyof typeof shape.syncEvents]: { readonly type: T; readonly data: (typeof shape)[T]["Type"] };
}[keyof typeof shape.syncEvents];

const usual = { branch: "main", folder: "devices", site: "home", direction: "out", apply: "plan" } as const;
const empty: SyncSpec = { name: "", title: null, repository: {}, credentials: null, select: null, ...usual };

function evolve(before: SyncState, { type, data }: Event, { time, organisation }: EventMeta): SyncState {
  const state = { ...before, updatedAt: time };
  const generation = before.generation + 1;
  switch (type) {
    case "SyncCreated":
      return {
        ...state,
        spec: { ...empty, ...data } as SyncSpec,
        generation,
        exists: true,
        organisation,
        createdAt: time,
      };
    case "SyncChanged": {
      const elsewhere = ["repository", "branch", "folder"].some((field) => Object.hasOwn(data, field));
      // What a run found before holds for another place no more.
      const anew = elsewhere ? { commit: null, plan: null } : { plan: null };
      const waits = state.state === "waiting" ? { state: "new" as const } : {};
      return { ...state, ...anew, ...waits, spec: { ...before.spec, ...data } as SyncSpec, generation };
    }
    case "SyncDeleted":
      return { ...state, exists: false, generation };
    case "SyncRequested": {
      const { run, approved = null } = data;
      return { ...state, run, approved, state: "running", requestedAt: time, attempt: 0, worker: "" };
    }
    case "SyncStarted":
      return { ...state, attempt: data.attempt, worker: data.worker };
    case "SyncPlanned":
      return { ...state, plan: data, failure: null, state: "waiting" };
    case "SyncCompleted": {
      const { commit = null } = data;
      return { ...state, commit, plan: null, failure: null, result: { ...data, finishedAt: time }, state: "succeeded" };
    }
    case "SyncFailed":
      return { ...state, plan: null, failure: { ...data, failedAt: time }, state: "failed" };
  }
}

const names = nameClaims("sync");
const fault = (check: (text: string) => string | undefined) => check;
const BRANCH = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/u;

function faultsOf({ name, title, repository, credentials, branch, folder, site, select }: Partial<SyncSpec>) {
  const faults = new Faults();
  const one = (pattern: RegExp, detail: string) => says((text) => pattern.test(text), detail);
  faults.check("/name", one(PATTERNS.site, "lower-case letters, digits and hyphens"), name);
  faults.check("/title", one(PATTERNS.title, `one line of at most ${LIMITS.title} characters`), title);
  faults.check("/site", one(PATTERNS.site, "lower-case letters, digits and hyphens"), site);
  faults.check(
    "/branch",
    says((text) => BRANCH.test(text) && !/\.\.|\/\/|[./]$|\.lock(\/|$)|\/\./.test(text), "is no name of a branch"),
    branch,
  );
  faults.check("/folder", fault(repositoryPathFault), folder);
  if (repository !== undefined) {
    const { url, path } = repository;
    if ((url === undefined) === (path === undefined)) faults.add("/repository", "has either `url` or `path`");
    faults
      .check("/repository/url", fault(repositoryFault), url)
      .check("/repository/path", fault(serverPathFault), path);
  }
  if (credentials && !isId("sec", credentials.secret)) faults.add("/credentials/secret", "is no id of a secret");
  if (select && Object.keys(select).length === 0) faults.add("/select", "says nothing: leave it out for all devices");
  return faults.refusal();
}

const said = <T extends object>(spec: T) =>
  Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== undefined && value !== null));

function change(
  command: Extract<SyncCommand, { do: "change" }>,
  state: SyncState,
  organisation: string,
): Decision<Event> {
  const changes = Object.entries(command.spec).filter(
    ([key, value]) => value !== undefined && !sameJson(value, state.spec[key as keyof SyncSpec]),
  );
  if (changes.length === 0) return { events: [] };
  const data = Object.fromEntries(changes) as Partial<SyncSpec>;
  const claims = data.name === undefined ? [] : names.moved(organisation, state.spec.name, data.name);
  return faultsOf(data) ?? { events: [{ type: "SyncChanged", data: data as never }], claims };
}

function ended(command: Extract<SyncCommand, Running>, state: SyncState): Decision<Event> {
  const { run, attempt, worker } = command;
  if (state.state !== "running" || run !== state.run) return overtaken("The run is over.");
  if (command.do === "start") {
    const isNext = attempt === state.attempt + 1 && attempt <= shape.SYNC_LIMITS.attempts;
    return isNext
      ? { events: [{ type: "SyncStarted", data: { run, attempt, worker: excerpt(worker) } }] }
      : overtaken("Another attempt is under way.");
  }
  if (attempt !== state.attempt) return overtaken("Another attempt is under way.");
  switch (command.do) {
    case "plan":
      return { events: [{ type: "SyncPlanned", data: { run, ...command.plan } }] };
    case "complete":
      return { events: [{ type: "SyncCompleted", data: { run, ...command.result } }] };
    case "fail":
      return { events: [{ type: "SyncFailed", data: { run, ...command.failure } }] };
  }
}

const decider: Decider<SyncState, SyncCommand, Event> = {
  initial: (id) => ({
    id,
    exists: false,
    organisation: "",
    generation: 0,
    spec: empty,
    state: "new",
    run: 0,
    requestedAt: "",
    approved: null,
    attempt: 0,
    worker: "",
    commit: null,
    result: null,
    plan: null,
    failure: null,
    createdAt: "",
    updatedAt: "",
  }),
  evolve,
  decide: (command, state, { organisation }): Decision<Event> => {
    if (command.do === "create") {
      if (state.createdAt !== "") {
        return { refused: "conflict", reason: "This sync exists already.", fix: "Use another Idempotency-Key." };
      }
      const spec = { ...usual, ...said(command.spec) } as SyncSpec;
      const claims = [names.claim(organisation, spec.name, true)];
      return faultsOf(spec) ?? { events: [{ type: "SyncCreated", data: spec as never }], claims };
    }
    if (!state.exists) return notThere;
    if ("seen" in command && command.seen !== undefined && command.seen !== state.generation) {
      return { refused: "precondition", expected: command.seen, actual: state.generation };
    }
    const isRunning = state.state === "running";
    switch (command.do) {
      case "change":
        return isRunning ? busy("changed") : change(command, state, organisation);
      case "delete": {
        const { name } = state.spec;
        if (isRunning) return busy("deleted");
        return { events: [{ type: "SyncDeleted", data: { name } }], claims: [names.claim(organisation, name, false)] };
      }
      case "run":
        return { events: isRunning ? [] : [{ type: "SyncRequested", data: { run: state.run + 1 } }] };
      case "approve": {
        const { commit } = command;
        if (state.plan?.commit === commit && state.state === "waiting") {
          return { events: [{ type: "SyncRequested", data: { run: state.run + 1, approved: commit } }] };
        }
        const now = state.plan === null ? "no plan waits" : `the plan that waits is of ${state.plan.commit}`;
        return rule(
          "no-such-plan",
          `There is no plan of this commit: ${now}.`,
          "Look at it, and approve what is there.",
        );
      }
      default:
        return ended(command, state);
    }
  },
};
const notThere: Refusal = { refused: "not-found", reason: "There is no such sync." };
const busy = (what: string) =>
  rule("sync-running", `It cannot be ${what} while it runs.`, "Wait until the run has ended: `?wait=terminal`.");

export type SyncStep = { readonly kind: "run" | "giveUp"; readonly run: number; readonly attempt: number };

/** What is to be done about it now: all of the run; what was done of it before a crash is found done. */
export function nextOfSync({ exists, state, run, attempt }: SyncState): undefined | { readonly do: SyncStep } {
  if (!exists || state !== "running") return undefined;
  const isSpent = attempt >= shape.SYNC_LIMITS.attempts;
  return { do: { kind: isSpent ? "giveUp" : "run", run, attempt: isSpent ? attempt : attempt + 1 } };
}

const commit = "5f0c1d8e9a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d";
const many = (n: number, what: string): string => `${n === 1 ? `one ${what}` : `${n} ${what}s`}`;
const exampleStep = { mac: "C4D8D5517C68", name: "hall", file: "devices/hall.toml", fields: ["switch:0/in_mode"] };
const exampleFault = {
  file: "devices/hall.toml",
  line: 7,
  place: "switch:0.in_modus",
  detail: "is not known",
  fix: "Did you mean in_mode?",
};

export const sync: Kind<SyncState, SyncCommand, Event> = {
  context: "devices",
  kind: "sync",
  prefix: "syn",
  collection: "device-syncs",
  decider,
  events: {
    SyncCreated: first(
      shape.SyncCreated,
      { name: "fleet", repository: { url: "https://git.example.org/home/fleet.git" }, ...usual },
      ({ name, repository }) =>
        `keeps configurations in ${excerpt(Object.values(repository).join(""))}, as "${excerpt(name)}"`,
    ),
    SyncChanged: first(
      shape.SyncChanged,
      { direction: "both" },
      (changes) => `changed its ${excerpt(Object.keys(changes).join(", "))}`,
    ),
    SyncDeleted: first(shape.SyncDeleted, { name: "fleet" }, ({ name }) => `deleted the sync "${excerpt(name)}"`),
    SyncRequested: first(shape.SyncRequested, { run: 1 }, ({ approved }) =>
      approved === undefined ? "asked for a run" : `approved the plan of ${approved.slice(0, 12)}`,
    ),
    SyncStarted: first(
      shape.SyncStarted,
      { run: 1, attempt: 1, worker: "attic:4711:x" },
      ({ run, attempt }) => `began run ${run}${attempt > 1 ? `, attempt ${attempt}` : ""}`,
    ),
    SyncPlanned: first(
      shape.SyncPlanned,
      { run: 1, commit, steps: [{ ...exampleStep, step: "change" }], more: 0 },
      ({ steps, more, commit: of }) =>
        `found ${many(steps.length + more, "change")} in ${of.slice(0, 12)}, to be approved`,
    ),
    SyncCompleted: first(
      shape.SyncCompleted,
      { run: 1, commit, pushed: true, written: 2, removed: 0, applied: 0, same: 5 },
      ({ written, removed, applied }) =>
        `brought it together: ${many(written, "file")} written, ${removed} removed, ${many(applied, "device")} changed`,
    ),
    SyncFailed: first(
      shape.SyncFailed,
      {
        run: 1,
        code: "FILES_REFUSED",
        message: "A file is wrong.",
        fix: "Correct it.",
        faults: [exampleFault],
        more: 0,
      },
      ({ code, message }) => `could not do it (${excerpt(code)}: ${excerpt(message)})`,
    ),
  },
  publicEvents: shape.syncEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  over: (state) => state.state !== "running",
  represent: ({ id, organisation, generation, spec, state, run, commit: at, result, plan, failure, ...times }) => ({
    id,
    organisation,
    generation,
    spec: said(spec),
    status: { state, run, ...said({ commit: at, result, plan, failure }) },
    createdAt: times.createdAt,
    updatedAt: times.updatedAt,
  }),
  nameClaim: names.of,
  stateVersion: 1,
};
