/** A device as folded from its events: what people want of it, and what agents found. */
import type {
  Address,
  DriftField,
  Firmware,
  Identity,
  OfferedFirmware,
  Revisions,
} from "@millrace/contracts/devices/device-parts.ts";
import type * as shape from "@millrace/contracts/devices/events.ts";
import type { Authentication, Reach, Values } from "@millrace/contracts/devices/values.ts";
import type { EventMeta } from "../decider.ts";
import type { Sealed } from "../sealed.ts";
import type { Configuration } from "./configuration.ts";

export type DeviceEventType = keyof typeof shape.deviceEvents;
type Logged<T extends DeviceEventType> = T extends "CredentialsStored"
  ? (typeof shape)[T]["Type"] & { readonly sealed: Sealed }
  : (typeof shape)[T]["Type"];
export type DeviceEvent = { [T in DeviceEventType]: { readonly type: T; readonly data: Logged<T> } }[DeviceEventType];

export interface Credentials {
  /** `digest`: `ha1`, SHA-256 of `admin:<realm>:<password>`, is what is sealed. `basic`: the password itself, which Gen1 wants to hear. */
  readonly scheme: "digest" | "basic";
  readonly sealed: Sealed;
}

export interface Drifted {
  readonly fields: ReadonlyArray<DriftField>;
  readonly more: number;
  readonly since: string;
  readonly source?: string;
}

export interface DeviceState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly mac: string;
  readonly name: string;
  readonly title: string | null;
  readonly site: string;
  readonly tags: ReadonlyArray<string>;
  readonly groups: ReadonlyArray<string>;
  readonly expected: boolean;
  readonly pollMs: number | null;
  /** Its own settings, over those of profiles. */
  readonly configuration: Configuration | null;
  readonly profiles: ReadonlyArray<string>;
  readonly values: Values;
  /** What profiles and own settings come to; null: it is only watched. */
  readonly desired: Configuration | null;
  readonly resolvedOf: ReadonlyArray<{ readonly id: string; readonly generation: number }>;
  readonly credentials: Credentials | null;
  readonly reach: Reach;
  /** RFC 3339: since when it is so. */
  readonly since: string;
  readonly lostReason: string | null;
  readonly address: Address | null;
  /** SHA-256 of the one certificate that is trusted. */
  readonly fingerprint: string | null;
  /** Another one that it has shown since. */
  readonly rejected: string | null;
  readonly identity: Identity | null;
  readonly firmware: Firmware | null;
  readonly offered: OfferedFirmware | null;
  readonly revisions: Revisions;
  readonly observed: Configuration | null;
  readonly observedAt: string | null;
  /** What was wanted when it was last written and verified. */
  readonly applied: { readonly configuration: Configuration; readonly task: string; readonly at: string } | null;
  readonly drift: Drifted | null;
  readonly authentication: { readonly state: Authentication; readonly since: string; readonly until?: string };
  /** The task that has its turn. */
  readonly active: string | null;
  /** Tasks that wait for it, the next first. */
  readonly queue: ReadonlyArray<string>;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export const initial = (id: string): DeviceState => ({
  id,
  exists: false,
  organisation: "",
  generation: 0,
  mac: "",
  name: "",
  title: null,
  site: "",
  tags: [],
  groups: [],
  expected: true,
  pollMs: null,
  configuration: null,
  profiles: [],
  values: {},
  desired: null,
  resolvedOf: [],
  credentials: null,
  reach: "new",
  since: "",
  lostReason: null,
  address: null,
  fingerprint: null,
  rejected: null,
  identity: null,
  firmware: null,
  offered: null,
  revisions: {},
  observed: null,
  observedAt: null,
  applied: null,
  drift: null,
  authentication: { state: "unknown", since: "" },
  active: null,
  queue: [],
  createdAt: "",
  updatedAt: "",
});

export function evolve(before: DeviceState, event: DeviceEvent, meta: EventMeta): DeviceState {
  const { time } = meta;
  const state = { ...before, updatedAt: time };
  const changed = { ...state, generation: before.generation + 1 };
  switch (event.type) {
    case "DeviceAdded": {
      const { title = null, pollMs = null, address = null, found: _, ...data } = event.data;
      const at = { since: time, createdAt: time, authentication: { state: "unknown", since: time } } as const;
      return { ...changed, ...data, ...at, title, pollMs, address, exists: true, organisation: meta.organisation };
    }
    case "DeviceChanged":
      return { ...changed, ...event.data };
    case "DeviceConfigured": {
      const now = { ...changed, ...event.data };
      // Nothing is said of what it comes to where it is the own settings as they stand.
      return now.profiles.length === 0 ? { ...now, desired: now.configuration, resolvedOf: [] } : now;
    }
    case "DesiredResolved":
      return { ...state, desired: event.data.desired, resolvedOf: event.data.profiles };
    case "CredentialsStored":
      return { ...changed, credentials: event.data, authentication: { state: "unknown", since: time } };
    case "CredentialsRemoved":
      return { ...changed, credentials: null };
    case "CertificateTrustReset":
      return { ...changed, fingerprint: null, rejected: null };
    case "TaskQueued":
      return { ...state, queue: [...before.queue, event.data.task] };
    case "TaskDequeued":
      return { ...state, queue: before.queue.filter((one) => one !== event.data.task) };
    case "TaskBegun":
      return { ...state, active: event.data.task, queue: before.queue.filter((one) => one !== event.data.task) };
    case "TaskEnded":
      return { ...state, active: before.active === event.data.task ? null : before.active };
    case "DeviceRemoved":
      return { ...changed, exists: false };
    default:
      return reported(state, event, time);
  }
}

/** What agents found. */
function reported(state: DeviceState, event: DeviceEvent, time: string): DeviceState {
  const reach = (name: Reach, lostReason: string | null = null) => ({ ...state, reach: name, since: time, lostReason });
  switch (event.type) {
    case "DeviceReached":
    case "DeviceReturned":
    case "DeviceWoke":
      return reach("reachable");
    case "DeviceFellAsleep":
      return reach("asleep");
    case "DeviceLost":
      return reach("lost", event.data.reason);
    case "DeviceMoved":
      return { ...state, address: event.data.address };
    case "CertificatePinned":
      return { ...state, fingerprint: event.data.fingerprint, rejected: null };
    case "CertificateRejected":
      return { ...state, rejected: event.data.fingerprint };
    case "DeviceIdentified":
      return { ...state, ...event.data };
    case "FirmwareChanged":
      return { ...state, firmware: event.data.to };
    case "FirmwareOffered":
      return { ...state, offered: event.data.offered };
    case "FirmwareOfferWithdrawn":
      return { ...state, offered: null };
    case "ConfigurationObserved": {
      const { configuration, revisions } = event.data;
      return { ...state, observed: configuration, revisions, observedAt: time };
    }
    case "RevisionsObserved":
      return { ...state, revisions: event.data.revisions };
    case "DriftDetected":
      return { ...state, drift: { ...event.data, since: state.drift?.since ?? time } };
    case "DriftResolved":
      return { ...state, drift: null };
    case "AuthenticationChanged":
      return { ...state, authentication: { ...event.data, since: time } };
    case "ConfigurationApplied":
      return { ...state, applied: { configuration: event.data.applied, task: event.data.task, at: time } };
    default:
      return state;
  }
}

/** One word for lists: its reach, unless something about it wants a person. */
export type DeviceStateName = Reach | "rejected" | "drifted";

export function stateName(state: DeviceState): DeviceStateName {
  if (state.rejected !== null || state.authentication.state === "rejected") return "rejected";
  return state.reach === "reachable" && state.drift !== null ? "drifted" : state.reach;
}

const given = <K extends string, V>(name: K, value: V | null | undefined): { readonly [P in K]?: V } =>
  (value === null || value === undefined ? {} : { [name]: value }) as { readonly [P in K]?: V };

function specAndStatus(state: DeviceState) {
  const { id, organisation, generation, mac, name, site, tags, groups, profiles, values, expected } = state;
  return {
    id,
    organisation,
    generation,
    spec: {
      mac,
      name,
      ...given("title", state.title),
      site,
      tags,
      groups,
      profiles,
      values,
      expected,
      ...given("pollMs", state.pollMs),
      credentials: state.credentials?.scheme ?? "none",
    },
    status: {
      state: stateName(state),
      reach: state.reach,
      since: state.since,
      ...given("lostReason", state.lostReason),
      ...given("address", state.address),
      ...given("fingerprint", state.fingerprint),
      ...given("rejectedFingerprint", state.rejected),
      ...given("identity", state.identity),
      ...given("firmware", state.firmware),
      ...given("offered", state.offered),
      authentication: state.authentication,
      managed: state.desired !== null,
      ...given("observedAt", state.observedAt),
      ...given("appliedAt", state.applied?.at),
      ...given("task", state.active),
      queue: state.queue,
    },
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  };
}

export function represent(state: DeviceState) {
  const brief = specAndStatus(state);
  return {
    ...brief,
    spec: { ...brief.spec, configuration: state.configuration },
    status: {
      ...brief.status,
      ...given("drift", state.drift),
      ...given("desired", state.desired),
      resolvedOf: state.resolvedOf,
      ...given("observed", state.observed),
      ...given("applied", state.applied),
      revisions: state.revisions,
    },
  };
}
