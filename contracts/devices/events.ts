/**
 * What the world sees of devices. Only changes are events: what a poll finds as it was says nothing, and samples go to the series. Looser
 * than the API's input: what once was said stays readable when a limit changes.
 */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import {
  Address,
  AuthenticationName,
  ConfigurationShown,
  Drift,
  Firmware,
  Identity,
  OfferedFirmware,
  Revisions,
} from "./device-parts.ts";
import { OUTCOMES, TASK_KINDS } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const texts = (description: string) => Schema.Array(Schema.String).annotate({ description });
const values = Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Finite, Schema.Boolean]));

const site = text("The network in which it stands");
const tags = texts("What lists and selections find it by");
const groups = texts("Ids of the groups that it is put into by hand");
const expected = Schema.Boolean.annotate({ description: "Whether it should answer" });
const pollMs = Schema.Int.annotate({ description: "Milliseconds between polls, instead of the group's or the usual" });

export const DeviceAdded = Schema.Struct({
  mac: text("What it is known by, whatever its name and address"),
  name: text("Unique name in the organisation"),
  title: optionalKey(text("Its title")),
  site,
  tags,
  groups,
  expected,
  pollMs: optionalKey(pollMs),
  address: optionalKey(Address.annotate({ description: "Where it is looked for first" })),
  found: optionalKey(text("Id of the scan that found it")),
});
export const DeviceChanged = Schema.Struct({
  name: optionalKey(text("The new name")),
  title: optionalKey(Schema.NullOr(text("The new title"))),
  site: optionalKey(site),
  tags: optionalKey(tags),
  groups: optionalKey(groups),
  expected: optionalKey(expected),
  pollMs: optionalKey(Schema.NullOr(pollMs)),
});
export const DeviceConfigured = Schema.Struct({
  configuration: optionalKey(
    Schema.NullOr(ConfigurationShown).annotate({ description: "Its own settings, over those of profiles; null: none" }),
  ),
  profiles: optionalKey(texts("Ids of its profiles; a later one wins")),
  values: optionalKey(values.annotate({ description: "Its custom values" })),
});
/** What profiles and own settings come to; without profiles it is the own settings, and not said. */
export const DesiredResolved = Schema.Struct({
  desired: ConfigurationShown,
  profiles: Schema.Array(Schema.Struct({ id: Schema.String, generation: Schema.Int })).annotate({
    description: "Of which profiles, as they were then",
  }),
});
export const CredentialsStored = Schema.Struct({
  scheme: Schema.Literals(["digest", "basic"]).annotate({
    description:
      "`digest`: a hash of the password, which is all that the device takes. `basic`: Gen1, the password sealed",
  }),
});
export const CredentialsRemoved = Schema.Struct({});
export const CertificateTrustReset = Schema.Struct({});

export const DeviceReached = Schema.Struct({});
export const DeviceLost = Schema.Struct({ reason: text("What its last answer was, or that there was none") });
export const DeviceReturned = Schema.Struct({ awaySince: text("When it was lost; RFC 3339") });
export const DeviceFellAsleep = Schema.Struct({});
export const DeviceWoke = Schema.Struct({});
export const DeviceMoved = Schema.Struct({ address: Address });
export const CertificatePinned = Schema.Struct({ fingerprint: text("SHA-256 of the certificate, hexadecimal") });
export const CertificateRejected = Schema.Struct({ fingerprint: text("SHA-256 of the one it has shown instead") });
export const DeviceIdentified = Schema.Struct({ identity: Identity, firmware: Firmware });
export const FirmwareChanged = Schema.Struct({ from: Firmware, to: Firmware });
export const FirmwareOffered = Schema.Struct({ offered: OfferedFirmware });
export const FirmwareOfferWithdrawn = Schema.Struct({});
export const ConfigurationObserved = Schema.Struct({
  configuration: ConfigurationShown,
  revisions: Revisions,
  source: optionalKey(text("Who changed it, as the device tells: `http`, `button`, `cloud` …")),
});
export const RevisionsObserved = Schema.Struct({ revisions: Revisions });
export const DriftDetected = Schema.Struct({
  ...Drift,
  source: optionalKey(text("Who changed it, where it is known")),
});
export const DriftResolved = Schema.Struct({});
export const AuthenticationChanged = Schema.Struct({
  state: AuthenticationName,
  until: optionalKey(text("Until when it refuses everybody; RFC 3339")),
});
export const ConfigurationApplied = Schema.Struct({
  task: text("Id of the task that wrote and verified it"),
  applied: ConfigurationShown,
});
const task = text("Id of the task");
export const TaskQueued = Schema.Struct({ task, kind: Schema.Literals(TASK_KINDS) });
export const TaskDequeued = Schema.Struct({ task });
export const TaskBegun = Schema.Struct({ task });
export const TaskEnded = Schema.Struct({ task, outcome: Schema.Literals(OUTCOMES) });
export const DeviceRemoved = Schema.Struct({ mac: Schema.String, name: Schema.String });

export const deviceEvents = {
  DeviceAdded: { version: 1, data: DeviceAdded, description: "A device was taken into the fleet." },
  DeviceChanged: { version: 1, data: DeviceChanged, description: "A device's name, place, tags or groups changed." },
  DeviceConfigured: { version: 1, data: DeviceConfigured, description: "What is wanted of a device changed." },
  DesiredResolved: {
    version: 1,
    data: DesiredResolved,
    description: "What a device's profiles and own settings come to has changed.",
  },
  CredentialsStored: { version: 1, data: CredentialsStored, description: "A device's password was stored, sealed." },
  CredentialsRemoved: { version: 1, data: CredentialsRemoved, description: "A device's password was forgotten." },
  CertificateTrustReset: {
    version: 1,
    data: CertificateTrustReset,
    description: "The next certificate that a device shows is trusted.",
  },
  DeviceReached: { version: 1, data: DeviceReached, description: "A device answered for the first time." },
  DeviceLost: { version: 1, data: DeviceLost, description: "A device that should answer does not." },
  DeviceReturned: { version: 1, data: DeviceReturned, description: "A lost device answers again." },
  DeviceFellAsleep: { version: 1, data: DeviceFellAsleep, description: "A battery device went to sleep." },
  DeviceWoke: { version: 1, data: DeviceWoke, description: "A battery device woke up, for some seconds." },
  DeviceMoved: { version: 1, data: DeviceMoved, description: "A device answers at another address." },
  CertificatePinned: {
    version: 1,
    data: CertificatePinned,
    description: "A device's certificate was seen for the first time: from now on only this one is trusted.",
  },
  CertificateRejected: {
    version: 1,
    data: CertificateRejected,
    description: "A device shows another certificate than the one that is trusted: nothing is sent to it.",
  },
  DeviceIdentified: { version: 1, data: DeviceIdentified, description: "A device told what it is and has." },
  FirmwareChanged: { version: 1, data: FirmwareChanged, description: "A device runs another firmware." },
  FirmwareOffered: { version: 1, data: FirmwareOffered, description: "There is newer firmware for a device." },
  FirmwareOfferWithdrawn: {
    version: 1,
    data: FirmwareOfferWithdrawn,
    description: "A device has the newest firmware, or the offer is gone.",
  },
  ConfigurationObserved: {
    version: 1,
    data: ConfigurationObserved,
    description: "A device's configuration is another than when it was last read.",
  },
  RevisionsObserved: {
    version: 1,
    data: RevisionsObserved,
    description: "A device's counters have moved, while its configuration is the same.",
  },
  DriftDetected: { version: 1, data: DriftDetected, description: "A device's configuration is not as wanted." },
  DriftResolved: { version: 1, data: DriftResolved, description: "A device's configuration is as wanted again." },
  AuthenticationChanged: {
    version: 1,
    data: AuthenticationChanged,
    description: "A device takes, or no longer takes, the password that is stored for it.",
  },
  ConfigurationApplied: {
    version: 1,
    data: ConfigurationApplied,
    description: "What is wanted was written to a device and read back.",
  },
  TaskQueued: { version: 1, data: TaskQueued, description: "A task waits for its turn on a device." },
  TaskDequeued: { version: 1, data: TaskDequeued, description: "A task that waited for its turn was cancelled." },
  TaskBegun: { version: 1, data: TaskBegun, description: "A task has its turn on a device." },
  TaskEnded: { version: 1, data: TaskEnded, description: "A task on a device has ended." },
  DeviceRemoved: { version: 1, data: DeviceRemoved, description: "A device was taken out of the fleet." },
} as const satisfies PublicEvents;
