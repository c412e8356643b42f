/** Events of a device in the log: today's version, an example of each, and how a person would say it. */
import * as shape from "@millrace/contracts/devices/events.ts";
import * as Schema from "effect/Schema";
import type { EventDeclaration } from "../kind.ts";
import { Sealed } from "../sealed.ts";
import { excerpt, first, listed } from "../sentences.ts";
import type { DeviceEventType } from "./device-state.ts";

const task = "tsk_01kajzq4v0e8r9t2m5x7c3d6fg";
const profile = "prf_01kajzq4v0e8r9t2m5x7c3d6fg";
const address = { host: "192.168.1.40", port: 80, scheme: "http" } as const;
const firmware = { version: "1.7.5", build: "20260311-095847/1.7.5-g9979d16" };
export const exampleIdentity = {
  hostname: "shellyplus2pm-c4d8d5517c68",
  model: "SNSW-102P16EU",
  app: "Plus2PM",
  gen: 2,
  profile: "switch",
  sleeps: false,
  capabilities: ["switch:0", "switch:1", "input:0", "input:1", "sys", "wifi"],
};
const configuration = { "switch:0": { name: "Lamp", auto_off: true } };
const fingerprint = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const sealed = {
  v: 1,
  key: "k1",
  subject: "dev_01kajzq4v0e8r9t2m5x7c3d6fg",
  iv: "AAAAAAAAAAAAAAAA",
  data: "AAAA",
} as const;

const timed = (at: string): string => `${at.slice(0, 16).replace("T", " ")} UTC`;
const places = (count: number): string => (count === 1 ? "one field" : `${count} fields`);

function changeSentence(data: (typeof shape.DeviceChanged)["Type"]): string {
  const { name, title, site, tags, groups, expected, pollMs } = data;
  return listed([
    ...(name === undefined ? [] : [`renamed it "${name}"`]),
    ...(title === undefined ? [] : [title === null ? "took its title off" : `titled it "${excerpt(title)}"`]),
    ...(site === undefined ? [] : [`moved it to the site ${site}`]),
    ...(tags === undefined ? [] : [tags.length === 0 ? "took its tags off" : `tagged it ${excerpt(tags.join(", "))}`]),
    ...(groups === undefined ? [] : [`put it into ${groups.length === 1 ? "one group" : `${groups.length} groups`}`]),
    ...(expected === undefined ? [] : [expected ? "expects it to answer" : "does not expect it to answer"]),
    ...(pollMs === undefined ? [] : [pollMs === null ? "has it polled as usual" : `has it polled every ${pollMs} ms`]),
  ]);
}

function configuredSentence(data: (typeof shape.DeviceConfigured)["Type"]): string {
  const { configuration, profiles, values } = data;
  return listed([
    ...(configuration === undefined
      ? []
      : [
          configuration === null
            ? "took its own settings off"
            : `set ${excerpt(Object.keys(configuration).join(", ") || "nothing")}`,
        ]),
    ...(profiles === undefined
      ? []
      : [
          profiles.length === 0
            ? "took its profiles off"
            : `gave it ${profiles.length === 1 ? "a profile" : `${profiles.length} profiles`}`,
        ]),
    ...(values === undefined ? [] : ["changed its values"]),
  ]);
}

const stored = Schema.Struct({ ...shape.CredentialsStored.fields, sealed: Sealed });

export const deviceEventDeclarations: Readonly<Record<DeviceEventType, EventDeclaration>> = {
  DeviceAdded: first(
    shape.DeviceAdded,
    {
      mac: "C4D8D5517C68",
      name: "hall-lamp",
      title: "Lamp in the hall",
      site: "home",
      tags: ["floor/1"],
      groups: [],
      expected: true,
      address,
    },
    ({ name, mac }) => `added the device "${name}" (${mac})`,
  ),
  DeviceChanged: first(shape.DeviceChanged, { title: "Lamp", tags: ["floor/2"] }, changeSentence),
  DeviceConfigured: first(
    shape.DeviceConfigured,
    { configuration, profiles: [profile], values: { room: "Hall" } },
    configuredSentence,
  ),
  DesiredResolved: first(
    shape.DesiredResolved,
    { desired: configuration, profiles: [{ id: profile, generation: 2 }] },
    ({ profiles }) => `took ${profiles.length === 1 ? "its profile" : `its ${profiles.length} profiles`} into account`,
  ),
  CredentialsStored: {
    version: 1,
    data: stored,
    examples: { 1: { scheme: "digest", sealed } },
    sentence: () => "stored its password, sealed",
    toPublic: ({ scheme }) => ({ scheme }),
  },
  CredentialsRemoved: first(shape.CredentialsRemoved, {}, () => "had its password forgotten"),
  CertificateTrustReset: first(shape.CertificateTrustReset, {}, () => "has the next certificate trusted that it shows"),
  DeviceReached: first(shape.DeviceReached, {}, () => "reached it for the first time"),
  DeviceLost: first(shape.DeviceLost, { reason: "no answer in 10 s" }, ({ reason }) => `lost it: ${excerpt(reason)}`),
  DeviceReturned: first(
    shape.DeviceReturned,
    { awaySince: "2026-11-21T08:00:00.000Z" },
    ({ awaySince }) => `reached it again, which had been lost since ${timed(awaySince)}`,
  ),
  DeviceFellAsleep: first(shape.DeviceFellAsleep, {}, () => "saw it fall asleep"),
  DeviceWoke: first(shape.DeviceWoke, {}, () => "saw it wake up"),
  DeviceMoved: first(
    shape.DeviceMoved,
    { address },
    ({ address: { host, port, scheme } }) =>
      `found it at ${scheme}://${host}${port === (scheme === "http" ? 80 : 443) ? "" : `:${port}`}`,
  ),
  CertificatePinned: first(
    shape.CertificatePinned,
    { fingerprint },
    () => "trusts the certificate that it showed, and from now on no other",
  ),
  CertificateRejected: first(
    shape.CertificateRejected,
    { fingerprint },
    () => "sends nothing to it any more: it shows another certificate",
  ),
  DeviceIdentified: first(
    shape.DeviceIdentified,
    { identity: exampleIdentity, firmware },
    ({ identity, firmware: { version } }) =>
      `learned that it is a ${excerpt(identity.model)} with firmware ${excerpt(version)}`,
  ),
  FirmwareChanged: first(
    shape.FirmwareChanged,
    { from: firmware, to: { version: "2.0.1", build: "20260901-101010/2.0.1-gabcdef0" } },
    ({ from, to }) => `saw its firmware go from ${excerpt(from.version)} to ${excerpt(to.version)}`,
  ),
  FirmwareOffered: first(
    shape.FirmwareOffered,
    { offered: { version: "2.0.1", stage: "stable" } },
    ({ offered: { version, stage } }) =>
      `found newer firmware for it: ${excerpt(version)}${stage === "beta" ? ", a beta" : ""}`,
  ),
  FirmwareOfferWithdrawn: first(shape.FirmwareOfferWithdrawn, {}, () => "found no newer firmware for it any more"),
  ConfigurationObserved: first(
    shape.ConfigurationObserved,
    { configuration, revisions: { cfg: 14 }, source: "http" },
    ({ source }) =>
      `read a configuration that is new${source === undefined ? "" : `, changed over ${excerpt(source)}`}`,
  ),
  RevisionsObserved: first(shape.RevisionsObserved, { revisions: { cfg: 15 } }, () => "saw its counters move"),
  DriftDetected: first(
    shape.DriftDetected,
    {
      fields: [
        { component: "switch:0", path: "/auto_off", cause: "device", desired: true, applied: true, observed: false },
      ],
      more: 0,
      source: "http",
    },
    ({ fields, more }) => {
      const places_ = fields.slice(0, 3).map(({ component, path }) => component + path);
      return `found that ${places(fields.length + more)} are not as wanted: ${excerpt(places_.join(", "))}`.replace(
        "one field are",
        "one field is",
      );
    },
  ),
  DriftResolved: first(shape.DriftResolved, {}, () => "found it as wanted again"),
  AuthenticationChanged: first(
    shape.AuthenticationChanged,
    { state: "locked-out", until: "2026-11-21T08:00:30.000Z" },
    ({ state, until }) =>
      ({
        unknown: "does not know whether it takes its password",
        open: "found that it asks for no password",
        accepted: "found that it takes its password",
        rejected: "found that it does not take the password that is stored for it",
        "locked-out": `found that it refuses everybody${until === undefined ? "" : ` until ${until.slice(11, 19)} UTC`}`,
      })[state],
  ),
  ConfigurationApplied: first(
    shape.ConfigurationApplied,
    { task, applied: configuration },
    ({ applied }) => `wrote and verified ${excerpt(Object.keys(applied).join(", ") || "nothing")}`,
  ),
  TaskQueued: first(shape.TaskQueued, { task, kind: "apply" }, ({ kind }) => `asked for a task: ${kind}`),
  TaskDequeued: first(shape.TaskDequeued, { task }, () => "cancelled a task that waited for its turn"),
  TaskBegun: first(shape.TaskBegun, { task }, () => "began the task whose turn it was"),
  TaskEnded: first(shape.TaskEnded, { task, outcome: "succeeded" }, ({ outcome }) => `saw a task end: ${outcome}`),
  DeviceRemoved: first(
    shape.DeviceRemoved,
    { mac: "C4D8D5517C68", name: "hall-lamp" },
    ({ name, mac }) => `removed the device "${name}" (${mac})`,
  ),
};
