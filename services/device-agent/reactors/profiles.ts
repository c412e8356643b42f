/**
 * A profile that has changed reaches its devices: each is to want what the profile says now, and where the profile says so it is written to
 * them, by a bulk operation. Begun again after a death it finds those that want it already.
 */
import { LIMITS } from "@millrace/contracts/devices/values.ts";
import { bulk } from "@millrace/domain/devices/bulk.ts";
import { desiredOf, type ProfileUsed } from "@millrace/domain/devices/configuration.ts";
import { type DeviceState, device } from "@millrace/domain/devices/device.ts";
import {
  nextOfProfile,
  type ProfileCommand,
  type ProfileState,
  type ProfileStep,
  profile,
} from "@millrace/domain/devices/profile.ts";
import { HALT_AT_PERCENT } from "@millrace/domain/devices/request-many.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { madeId } from "./made-id.ts";

const INDEX_MS = 10_000;
const RETRY_MS = 2_000;
/** Appends under way at once: they go together as one group. */
const AT_ONCE = 64;

type ProfileWork = Work<ProfileState, ProfileCommand>;

export const profileReactor = (
  log: EventLog,
  index: LiveIndex,
): Reactor<ProfileState, ProfileCommand, ProfileStep> => ({
  kind: profile,
  next: nextOfProfile,
  perform: async ({ generation }, work): Promise<Verdict> => {
    if (!(await index.reached(await log.head(device.context), INDEX_MS))) {
      return { retryAfterMs: RETRY_MS, reason: "Which devices have it is not read yet." };
    }
    const having = [...index.all(device)].filter(
      ({ organisation, state }) => organisation === work.organisation && state.profiles.includes(work.id),
    );
    for (let at = 0; at < having.length; at += AT_ONCE) {
      await Promise.all(having.slice(at, at + AT_ONCE).map(({ id }) => resolveDevice(log, id, work)));
    }
    faultPoint("profile.reached.before");
    const { spec, updatedAt } = work.loaded.state;
    const devices = spec.reapply ? having.map(({ id }) => id) : [];
    const bulks = [];
    for (let at = 0; at < devices.length; at += LIMITS.selected) {
      const id = madeId(bulk.prefix, updatedAt, work.id, `${generation}`, `${at}`);
      bulks.push({ kind: bulk, id, command: requestOf(work.id, devices.slice(at, at + LIMITS.selected)) });
    }
    const [first] = bulks;
    const made = first === undefined ? {} : { bulk: first.id };
    await work.record({ do: "reached", generation, devices: having.length, ...made }, bulks);
    faultPoint("profile.reached.recorded");
    return { again: true };
  },
});

const requestOf = (of: string, devices: ReadonlyArray<string>) => ({
  do: "request",
  asked: { kind: "apply", dryRun: false },
  devices,
  atOnce: LIMITS.atOnce.usual,
  haltAtPercent: HALT_AT_PERCENT,
  expiresInMs: LIMITS.expires.usual,
  profile: of,
});

/** How often a device is looked at again that somebody changes at the same moment. */
const TRIES = 5;

async function resolveDevice(log: EventLog, id: string, work: ProfileWork): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    const { state } = await log.aggregates.load(device, id);
    if (!state.exists || !state.profiles.includes(work.id)) return;
    const resolved = await resolvedOf(log, state);
    if ("missing" in resolved) {
      work.log.warn({ device: id, values: resolved.missing }, "a profile uses values that a device does not have");
      return;
    }
    const command = { do: "resolve" as const, generation: state.generation, resolved };
    const outcome = await execute(log, { kind: device, id, command }, ownContext("device-agent", work.organisation));
    faultPoint("profile.resolve.after");
    if ("ok" in outcome) return;
    if (outcome.refusal.refused !== "rule" || outcome.refusal.rule !== "overtaken") {
      work.log.warn({ device: id, refusal: outcome.refusal }, "a profile does not fit a device");
      return;
    }
  }
}

/** What profiles as they are now, and own settings over them, come to. */
export async function resolvedOf(
  log: EventLog,
  { profiles, configuration, values }: Pick<DeviceState, "profiles" | "configuration" | "values">,
) {
  const used = await Promise.all(
    profiles.map(async (id): Promise<ProfileUsed> => {
      const { state } = await log.aggregates.load(profile, id);
      return { id, generation: state.generation, configuration: state.spec.configuration };
    }),
  );
  const { desired, missing } = desiredOf(used, configuration, values);
  if (missing.length > 0) return { missing };
  return { desired: desired ?? {}, profiles: used.map(({ id, generation }) => ({ id, generation })) };
}
