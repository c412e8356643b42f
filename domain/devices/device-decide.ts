/** The rules of devices. What agents report stands in device-report.ts. */
import { LIMITS, PATTERNS, RESERVED_NAMES, type Values } from "@millrace/contracts/devices/values.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { type Circumstances, type Claim, type Decision, isRefusal, type Refusal, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import { nameClaims } from "../names.ts";
import { type Configuration, configurationFaults, merged } from "./configuration.ts";
import type { DeviceChange, DeviceCommand, DeviceInput, Resolved } from "./device-command.ts";
import { decideReport, driftEvents } from "./device-report.ts";
import type { DeviceEvent, DeviceState } from "./device-state.ts";
import { sameJson } from "./drift.ts";

type Answer = Decision<DeviceEvent>;
type Of<D extends DeviceCommand["do"]> = Extract<DeviceCommand, { do: D }>;

const names = nameClaims("device");
export const deviceNameClaim = names.of;

const notThere: Refusal = { refused: "not-found", reason: "There is no such device." };
export const overtaken = (reason: string): Refusal => rule("overtaken", reason, "Load it again, and see what is next.");

/** Within an organisation a device is known by its MAC, whatever its name and address. */
export const macClaim = (organisation: string, mac: string): Pick<Claim, "what" | "value"> => ({
  what: "device-mac",
  value: `${organisation}/${mac}`,
});

const holdMac = (organisation: string, mac: string, hold: boolean): Claim => ({
  ...macClaim(organisation, mac),
  hold,
  taken: {
    refused: "conflict",
    reason: `A device with the MAC ${mac} is there already.`,
    fix: "Find it with `?mac=`; remove it first if it is to be taken in anew.",
  },
});

export function decide(command: DeviceCommand, state: DeviceState, around: Circumstances): Answer {
  if (command.do === "add") return add(command.spec, state, around);
  if (!state.exists) return notThere;
  if ("seen" in command && command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  switch (command.do) {
    case "change":
      return change(command.spec, state, around);
    case "configure":
      return configure(command, state);
    case "adopt":
      return adopt(command, state);
    case "storeCredentials":
      return { events: [{ type: "CredentialsStored", data: command.credentials }] };
    case "removeCredentials":
      return { events: state.credentials === null ? [] : [{ type: "CredentialsRemoved", data: {} }] };
    case "resetTrust":
      return {
        events:
          state.fingerprint === null && state.rejected === null ? [] : [{ type: "CertificateTrustReset", data: {} }],
      };
    case "remove":
      return remove(state, around.organisation);
    case "enqueue":
    case "dequeue":
    case "begin":
    case "end":
      return decideTurn(command, state);
    case "report":
      return decideReport(command, state);
    case "resolve":
      return resolve(command, state);
    case "wish":
      return wish(command, state, around);
    case "rotateCredentials":
      return command.credentials === null
        ? { events: state.credentials === null ? [] : [{ type: "CredentialsRemoved", data: {} }] }
        : { events: [{ type: "CredentialsStored", data: command.credentials }] };
  }
}

const fits = (pattern: RegExp, detail: string) => says((text) => pattern.test(text), detail);
const TITLE = fits(PATTERNS.title, `one line of at most ${LIMITS.title} characters`);
const TAG = fits(PATTERNS.tag, "lower-case letters, digits, and . _ / -, at most 63");
const SITE = fits(PATTERNS.site, "lower-case letters, digits and hyphens, at most 63");
const NAME = says(
  (text) => PATTERNS.site.test(text) && !RESERVED_NAMES.includes(text),
  `lower-case letters, digits and hyphens, at most 63, and none of ${RESERVED_NAMES.join(", ")}`,
);
const POLL = `${LIMITS.poll.least} to ${LIMITS.poll.most} milliseconds`;

function ids(faults: Faults, pointer: string, prefix: string, all: ReadonlyArray<string>, most: number): void {
  faults.most(pointer, all.length, most).each(
    pointer,
    says((id) => isId(prefix, id), "is no id"),
    all,
  );
  if (new Set(all).size < all.length) faults.add(pointer, "names one twice");
}

function fieldFaults(
  { name, title, site, tags = [], groups = [], pollMs }: DeviceChange,
  faults = new Faults(),
): Faults {
  faults.check("/name", NAME, name).check("/title", TITLE, title).check("/site", SITE, site);
  faults.most("/tags", tags.length, LIMITS.tags).each("/tags", TAG, tags);
  ids(faults, "/groups", "grp", groups, LIMITS.groups);
  if (typeof pollMs === "number" && !(pollMs >= LIMITS.poll.least && pollMs <= LIMITS.poll.most)) {
    faults.add("/pollMs", POLL);
  }
  return faults;
}

const sorted = (texts: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(texts)].sort();

function add(spec: DeviceInput, state: DeviceState, { organisation }: Circumstances): Answer {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This device exists already.", fix: "Use another Idempotency-Key." };
  }
  const faults = fieldFaults(spec).check(
    "/mac",
    fits(PATTERNS.mac, "twelve hexadecimal digits in upper case, without separators"),
    spec.mac,
  );
  const refusal = faults.refusal();
  if (refusal !== undefined) return refusal;
  return {
    events: [{ type: "DeviceAdded", data: { ...spec, tags: sorted(spec.tags) } }],
    claims: [names.claim(organisation, spec.name, true), holdMac(organisation, spec.mac, true)],
  };
}

/** What is asked for and differs. */
const differing = <T extends object>(asked: T, now: Readonly<Record<keyof T, unknown>>): T =>
  Object.fromEntries(
    Object.entries(asked).filter(([name, value]) => value !== undefined && !sameJson(value, now[name as keyof T])),
  ) as T;

function change(spec: DeviceChange, state: DeviceState, { organisation }: Circumstances): Answer {
  const asked = spec.tags === undefined ? spec : { ...spec, tags: sorted(spec.tags) };
  const refusal = fieldFaults(asked).refusal();
  if (refusal !== undefined) return refusal;
  const changes = differing(asked, state as Required<DeviceChange>);
  if (Object.keys(changes).length === 0) return { events: [] };
  if (changes.site !== undefined && isBusy(state)) return busy(state, "moved to another site");
  const { name } = changes;
  const claims = name === undefined ? [] : names.moved(organisation, state.name, name);
  return { events: [{ type: "DeviceChanged", data: changes }], claims };
}

const isBusy = ({ active, queue }: DeviceState): boolean => active !== null || queue.length > 0;

const busy = ({ active, queue }: DeviceState, what: string): Refusal =>
  rule(
    "device-busy",
    `A device cannot be ${what} while it has tasks: ${[...(active === null ? [] : [active]), ...queue].slice(0, 3).join(", ")}.`,
    "Wait until they have ended, or cancel them.",
  );

/** A change of what is wanted, with the drift that it makes. */
function wanting(
  state: DeviceState,
  changes: Extract<DeviceEvent, { type: "DeviceConfigured" }>["data"],
  resolved: Resolved | undefined,
): Answer {
  const profiles = changes.profiles ?? state.profiles;
  const own =
    changes.configuration === undefined ? state.configuration : (changes.configuration as Configuration | null);
  const events: DeviceEvent[] = [];
  if (Object.keys(changes).length > 0) events.push({ type: "DeviceConfigured", data: changes });
  let desired = own;
  if (profiles.length > 0) {
    if (
      resolved === undefined ||
      !sameJson(
        resolved.profiles.map(({ id }) => id),
        profiles,
      )
    ) {
      return overtaken("Its profiles are others by now.");
    }
    const refusal = configurationFaults(resolved.desired, "/configuration").refusal();
    if (refusal !== undefined) return refusal;
    desired = resolved.desired;
    if (!sameJson(desired, state.desired) || !sameJson(resolved.profiles, state.resolvedOf)) {
      events.push({ type: "DesiredResolved", data: resolved });
    }
  }
  return { events: events.length === 0 ? [] : [...events, ...driftEvents(state, { desired })] };
}

function configure({ configuration, profiles, values, resolved }: Of<"configure">, state: DeviceState): Answer {
  const faults = new Faults();
  if (configuration !== undefined && configuration !== null) {
    configurationFaults(configuration, "/configuration", faults);
  }
  if (profiles !== undefined) ids(faults, "/profiles", "prf", profiles, LIMITS.profiles);
  if (values !== undefined) valueFaults(values, faults);
  const refusal = faults.refusal();
  if (refusal !== undefined) return refusal;
  const changes = differing({ configuration, profiles, values }, state);
  return wanting(state, changes as Parameters<typeof wanting>[1], resolved);
}

/** NUL and half surrogates are what no database keeps. */
function valueFaults(values: Values, faults: Faults): void {
  const entries = Object.entries(values);
  faults.most("/values", entries.length, LIMITS.values);
  for (const [name, value] of entries.slice(0, LIMITS.values)) {
    if (!PATTERNS.key.test(name)) faults.add("/values", "has a name that is none: letters and digits, at most 40");
    else if (typeof value === "string" && (value.length > LIMITS.valueCharacters || /[\p{Cc}\p{Cs}]/u.test(value))) {
      faults.add(`/values/${name}`, `one line of at most ${LIMITS.valueCharacters} characters`);
    }
  }
}

function adopt({ components, resolved }: Of<"adopt">, state: DeviceState): Answer {
  const { observed } = state;
  if (observed === null) {
    return rule("not-observed", "Nothing was read of the device yet.", "Have it read first, or wait until it answers.");
  }
  const unknown = components?.find((component) => !Object.hasOwn(observed, component));
  if (unknown !== undefined) {
    return {
      refused: "invalid",
      errors: [{ pointer: "/body/components", detail: `it has no ${unknown.slice(0, 80)}` }],
    };
  }
  const taken = adopted(state, components);
  const refusal = configurationFaults(taken, "/configuration").refusal("Take in fewer components.");
  if (refusal !== undefined) return refusal;
  return wanting(state, differing({ configuration: taken }, state) as { configuration: Configuration }, resolved);
}

/** What is wanted when these components are taken in as they are, or all. */
export function adopted(
  { configuration, observed }: Pick<DeviceState, "configuration" | "observed">,
  components: ReadonlyArray<string> = Object.keys(observed ?? {}),
): Configuration {
  const taken = Object.fromEntries(components.map((component) => [component, observed?.[component]]));
  return merged(configuration ?? {}, taken) as Configuration;
}

/** Profiles have changed. */
function resolve({ generation, resolved }: Of<"resolve">, state: DeviceState): Answer {
  if (generation !== state.generation) return overtaken("Something else is wanted of it by now.");
  return state.profiles.length === 0 ? { events: [] } : wanting(state, {}, resolved);
}

function wish(
  { configuration, profiles, values, resolved, tags, groups }: Of<"wish">,
  state: DeviceState,
  around: Circumstances,
): Answer {
  const spec = { ...(tags === undefined ? {} : { tags }), ...(groups === undefined ? {} : { groups }) };
  const changed = change(spec, state, around);
  if (isRefusal(changed) || [configuration, profiles, values].every((one) => one === undefined)) return changed;
  const wanted = configure({ do: "configure", configuration, profiles, values, resolved } as Of<"configure">, state);
  return isRefusal(wanted) ? wanted : { events: [...changed.events, ...wanted.events] };
}

function remove(state: DeviceState, organisation: string): Answer {
  if (isBusy(state)) return busy(state, "removed");
  const { mac, name } = state;
  return {
    events: [{ type: "DeviceRemoved", data: { mac, name } }],
    claims: [names.claim(organisation, name, false), holdMac(organisation, mac, false)],
  };
}

/** One task has its turn, the others wait in order. */
function decideTurn(command: Of<"enqueue" | "dequeue" | "begin" | "end">, state: DeviceState): Answer {
  const { task } = command;
  switch (command.do) {
    case "enqueue":
      if (state.queue.length >= LIMITS.queue) {
        return rule(
          "queue-full",
          `${LIMITS.queue} tasks wait for their turn on this device already.`,
          "Wait until some have ended, or cancel some.",
        );
      }
      return { events: [{ type: "TaskQueued", data: { task, kind: command.kind } }] };
    case "dequeue":
      return state.queue.includes(task)
        ? { events: [{ type: "TaskDequeued", data: { task } }] }
        : overtaken("The task does not wait any more.");
    case "begin":
      return state.active === null && state.queue[0] === task
        ? { events: [{ type: "TaskBegun", data: { task } }] }
        : overtaken("It is not its turn.");
    case "end": {
      if (state.active !== task) return overtaken("Another task has its turn.");
      const events: DeviceEvent[] = [];
      if (command.applied !== undefined) {
        events.push({ type: "ConfigurationApplied", data: { task, applied: command.applied } });
      }
      events.push({ type: "TaskEnded", data: { task, outcome: command.outcome } });
      return { events: [...events, ...driftEvents(state, { applied: command.applied ?? null })] };
    }
  }
}

export type DeviceStep = { readonly kind: "begin"; readonly task: string };

/** What is to be done about a device now: whose turn it is. */
export function nextOfDevice(state: DeviceState): undefined | { readonly do: DeviceStep } {
  const task = state.queue[0];
  return !state.exists || state.active !== null || task === undefined ? undefined : { do: { kind: "begin", task } };
}
