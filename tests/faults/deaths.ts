/** Workers that die by SIGKILL at one place after the other of the same deployment, and what must be true when it is over. */
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { PHASES } from "@millrace/contracts/applications/values.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import type { DeploymentState } from "@millrace/domain/applications/deployment-state.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import * as assert from "uvu/assert";
import { eventsOf, type Grounds, type OrchestratorProcess } from "../harness/orchestrator.ts";

export const POINTS = ["before", "during", "after", "recorded"] as const;

/** All four places of each of these effects. */
export const placesOf = (...effects: ReadonlyArray<string>): string[] =>
  effects.flatMap((effect) => POINTS.map((point) => `deployment.${effect}.${point}`));

export const PHASE_PLACES = placesOf(...PHASES);
/** A static site has nothing built: nothing is under way there. */
const hasMiddle = (place: string): boolean => place !== "deployment.BUILDING.during";

/** Everywhere on the way of a deployment that succeeds, in the order in which they are come to. */
export const SUCCESS_PLACES = [
  "deployment.activate.before",
  "deployment.activate.recorded",
  ...PHASE_PLACES,
  "deployment.finish.before",
  "deployment.finish.recorded",
  ...placesOf("CLEANUP"),
];
export const SITE_PLACES = SUCCESS_PLACES.filter(hasMiddle);

/** Of one repair: what the second repaired, the third finds well again, and says so. */
export const HEAL_PLACES = ["before", "after", "recorded"].map((point) => `application.heal.${point}`);

/**
 * Starts a worker that dies at the first place, another that dies at the second, and so on; then one that lives.
 * @param begin called when the first one has been started
 */
export async function dieAtEach(
  grounds: Grounds,
  places: ReadonlyArray<string>,
  begin: () => Promise<void>,
): Promise<OrchestratorProcess> {
  let begun = false;
  for (const place of places) {
    const worker = await grounds.start(place);
    if (!begun) await begin();
    begun = true;
    await worker.died();
  }
  return grounds.start();
}

/** Numbered attempts may repeat; what came of them may not. */
export async function assertOnce({ log }: { readonly log: EventLog }, id: string): Promise<DeploymentState> {
  const { state } = await log.aggregates.load(deployment, id);
  const events = await eventsOf(log, deployment, id);
  const outcomes = new Map<string, number>();
  for (const { type, data } of events) {
    const { phase, step } = data as { phase?: string; step?: string };
    const isOutcome =
      type === "PhaseCompleted" || type === "CompensationCompleted" || /^Deployment(?!Waiting)/.test(type);
    if (!isOutcome) continue;
    const key = [type, phase ?? step].filter(Boolean).join(" ");
    outcomes.set(key, (outcomes.get(key) ?? 0) + 1);
  }
  assert.equal(
    [...outcomes].filter(([, times]) => times !== 1),
    [],
    "each outcome stands in the log once",
  );
  const ends = [...outcomes.keys()].filter((key) =>
    /^Deployment(Succeeded|Failed|Cancelled|Superseded|RolledBack)/.test(key),
  );
  assert.is(ends.length, 1, `one end, not ${ends}`);
  return state;
}

/** What an application has on the disk, with what differs from one to another left out. */
export function diskOf(
  { data, node }: { readonly data: string; readonly node: string },
  application: string,
): string[] {
  const root = join(data, "orchestrator", node, "apps", application);
  if (!existsSync(root)) return [];
  const found: string[] = [];
  const look = (path: string, name: string) => {
    const stat = lstatSync(path);
    if (stat.isSymbolicLink()) found.push(`${name} -> ${plain(readlinkSync(path))}`);
    else if (stat.isDirectory()) {
      found.push(`${name}/`);
      for (const entry of readdirSync(path).sort()) look(join(path, entry), plain(`${name}/${entry}`));
    } else if (name === "/generation") found.push(`${name}: ${readFileSync(path, "utf8")}`);
    else found.push(name);
  };
  for (const entry of readdirSync(root).sort()) look(join(root, entry), `/${entry}`);
  return found.sort();
}

/** The second part of a route's name is a hash that the deployment's id is in. */
const plain = (path: string): string => path.replace(/(routes\/\d+)-[0-9a-f]{16}/, "$1");
