/** Scans: an agent looks for devices; what it found is taken into the fleet at once, or when somebody says so. */
import * as shape from "@millrace/contracts/devices/scans.ts";
import { LIMITS, PATTERNS } from "@millrace/contracts/devices/values.ts";
import { type Actor, type Decider, type Decision, type EventMeta, type Refusal, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import type { Kind } from "../kind.ts";
import { excerpt, first } from "../sentences.ts";
import type { DeviceInput } from "./device-command.ts";
import { overtaken } from "./device-decide.ts";
import { sameJson } from "./drift.ts";

type Finding = shape.Finding;
export type ScanSpec = (typeof shape.ScanRequested)["Type"];

export interface ScanState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly spec: ScanSpec | null;
  readonly state: (typeof shape.SCAN_STATES)[number];
  readonly attempt: number;
  readonly worker: string;
  /** By MAC. */
  readonly findings: Readonly<Record<string, Finding>>;
  readonly probed: number;
  readonly failure: (typeof shape.ScanFailed)["Type"] | null;
  readonly requestedBy: Actor | null;
  readonly finishedAt: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export type ScanCommand =
  | { readonly do: "request"; readonly spec: ScanSpec }
  | { readonly do: "cancel" }
  | { readonly do: "start"; readonly attempt: number; readonly worker: string }
  /** As often as something is found; what is known already says nothing. */
  | {
      readonly do: "found";
      readonly attempt: number;
      readonly worker: string;
      readonly findings: ReadonlyArray<Finding>;
    }
  | { readonly do: "complete"; readonly attempt: number; readonly worker: string; readonly probed: number }
  | ({ readonly do: "fail"; readonly attempt: number } & (typeof shape.ScanFailed)["Type"]);

type Event = {
  [T in keyof typeof shape.scanEvents]: { readonly type: T; readonly data: (typeof shape)[T]["Type"] };
}[keyof typeof shape.scanEvents];

const ATTEMPTS = 5;
const isOver = ({ state }: Pick<ScanState, "state">): boolean => state !== "requested" && state !== "running";

function evolve(before: ScanState, event: Event, { time, organisation, actor }: EventMeta): ScanState {
  const state = { ...before, updatedAt: time };
  switch (event.type) {
    case "ScanRequested":
      return { ...state, spec: event.data, exists: true, organisation, requestedBy: actor, createdAt: time };
    case "ScanStarted":
      return { ...state, ...event.data, state: "running" };
    case "DevicesFound": {
      const found = Object.fromEntries(event.data.findings.map((finding) => [finding.mac, finding]));
      return { ...state, findings: { ...before.findings, ...found } };
    }
    case "ScanCompleted":
      return { ...state, state: "completed", probed: event.data.probed, finishedAt: time };
    case "ScanFailed":
      return { ...state, state: "failed", failure: event.data, finishedAt: time };
    case "ScanCancelled":
      return { ...state, state: "cancelled", finishedAt: time };
  }
}

/** Where an address is, as a number; undefined: it is none. */
function numberOf(address: string): number | undefined {
  const parts = address.split(".").map(Number);
  return parts.length === 4 && parts.every((part) => part <= 255)
    ? parts.reduce((sum, part) => sum * 256 + part, 0)
    : undefined;
}

export interface AddressRange {
  /** IPv4 as a number. */
  readonly from: number;
  readonly to: number;
  readonly port: number;
}

/** Of a network all but its own address and everybody's. @param text as in `StartScan`. @returns undefined: it is none */
export function rangeOf(text: string): AddressRange | undefined {
  const [, a = "", bits, b, portText = "80"] =
    /^([0-9.]+)(?:\/([0-9]{1,2})|-([0-9.]+))?(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  const [first, last, port] = [numberOf(a), b === undefined ? undefined : numberOf(b), Number(portText)];
  if (first === undefined || port < 1 || port > 65_535 || (b !== undefined && last === undefined)) return undefined;
  if (bits === undefined) {
    const to = last ?? first;
    return to < first ? undefined : { from: first, to, port };
  }
  if (Number(bits) > 32) return undefined;
  const size = 2 ** (32 - Number(bits));
  const from = Math.floor(first / size) * size;
  const ends = size > 2 ? 1 : 0;
  return { from: from + ends, to: from + size - 1 - ends, port };
}

function request(spec: ScanSpec, state: ScanState): Decision<Event> {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This scan exists already.", fix: "Use another Idempotency-Key." };
  }
  const faults = new Faults().most("/ranges", spec.ranges.length, LIMITS.ranges);
  faults.check(
    "/site",
    says((text) => PATTERNS.site.test(text), "lower-case letters, digits and hyphens"),
    spec.site,
  );
  let addresses = 0;
  for (const [i, text] of spec.ranges.entries()) {
    const range = rangeOf(text);
    if (range === undefined) faults.add(`/ranges/${i}`, "is no range of IPv4 addresses: 192.168.1.0/24");
    else addresses += range.to - range.from + 1;
  }
  if (addresses > LIMITS.addresses) faults.add("/ranges", `have ${addresses} addresses; at most ${LIMITS.addresses}`);
  if (!spec.mdns && spec.ranges.length === 0) faults.add("/ranges", "are needed where mDNS is not asked");
  return faults.refusal() ?? { events: [{ type: "ScanRequested", data: spec }] };
}

const notThere: Refusal = { refused: "not-found", reason: "There is no such scan." };

const decider: Decider<ScanState, ScanCommand, Event> = {
  initial: (id) => ({
    id,
    exists: false,
    organisation: "",
    spec: null,
    state: "requested",
    attempt: 0,
    worker: "",
    findings: {},
    probed: 0,
    failure: null,
    requestedBy: null,
    finishedAt: null,
    createdAt: "",
    updatedAt: "",
  }),
  evolve,
  decide: (command, state): Decision<Event> => {
    if (command.do === "request") return request(command.spec, state);
    if (!state.exists) return notThere;
    if (command.do === "cancel") {
      if (state.state === "cancelled") return { events: [] };
      return isOver(state)
        ? rule("scan-over", `The scan is ${state.state}.`, "Start another.")
        : { events: [{ type: "ScanCancelled", data: {} }] };
    }
    const { attempt } = command;
    if (isOver(state)) return overtaken("The scan is over.");
    if (command.do === "start") {
      const isNext = attempt === state.attempt + 1 && attempt <= ATTEMPTS;
      const data = { attempt, worker: excerpt(command.worker) };
      return isNext ? { events: [{ type: "ScanStarted", data }] } : overtaken("Another attempt is under way.");
    }
    if (command.do === "fail") {
      const { code, message, fix } = command;
      const data = { code: PATTERNS.code.test(code) ? code : "UNKNOWN", message: excerpt(message), fix: excerpt(fix) };
      return attempt === state.attempt
        ? { events: [{ type: "ScanFailed", data }] }
        : overtaken("Another attempt is under way.");
    }
    if (attempt !== state.attempt || command.worker !== state.worker) return overtaken("Another attempt is under way.");
    if (command.do === "complete") {
      const data = { found: Object.keys(state.findings).length, probed: command.probed };
      return { events: [{ type: "ScanCompleted", data }] };
    }
    const room = LIMITS.findings - Object.keys(state.findings).length;
    const others = command.findings.filter(
      (finding) => PATTERNS.mac.test(finding.mac) && !sameJson(finding, state.findings[finding.mac]),
    );
    const findings = others.filter(({ mac }, i) => Object.hasOwn(state.findings, mac) || i < room);
    return { events: findings.length === 0 ? [] : [{ type: "DevicesFound", data: { findings } }] };
  },
};

export type ScanStep = { readonly kind: "scan"; readonly attempt: number } | { readonly kind: "giveUp" };

/** What is to be done about a scan now: all of it; what was found before a crash is found again, and says nothing. */
export function nextOfScan(state: ScanState): undefined | { readonly do: ScanStep } {
  if (!state.exists || isOver(state)) return undefined;
  const attempt = state.attempt + 1;
  return { do: attempt > ATTEMPTS ? { kind: "giveUp" } : { kind: "scan", attempt } };
}

/** A name that nobody else has. */
export const plainNameOf = (mac: string): string => `shelly-${mac.toLowerCase()}`;

/** What a finding is added to the fleet as. */
export function inputOf(
  { id, spec }: Pick<ScanState, "id" | "spec">,
  { mac, address, hostname, name }: Finding,
  tags: ReadonlyArray<string> = spec!.tags,
): DeviceInput {
  const own = /^[a-z0-9][a-z0-9-]{0,62}$/.test(hostname) ? hostname : plainNameOf(mac);
  const titled = name !== undefined && PATTERNS.title.test(name) ? { title: name } : {};
  return { mac, name: own, ...titled, site: spec!.site, tags, groups: [], expected: true, address, found: id };
}

const exampleFinding: Finding = {
  mac: "C4D8D5517C68",
  address: { host: "192.168.1.40", port: 80, scheme: "http" },
  gen: 2,
  model: "SNSW-102P16EU",
  hostname: "shellyplus2pm-c4d8d5517c68",
  name: "Hall",
  firmware: { version: "1.7.5", build: "20260311-095847/1.7.5-g9979d16" },
  authentication: false,
  by: "mdns",
};
const worker = "attic:4711:x";
const many = (n: number): string => (n === 1 ? "one device" : `${n} devices`);

export const scan: Kind<ScanState, ScanCommand, Event> = {
  context: "devices",
  kind: "scan",
  prefix: "scn",
  collection: "device-scans",
  decider,
  events: {
    ScanRequested: first(
      shape.ScanRequested,
      { site: "home", mdns: true, ranges: ["192.168.1.0/24"], adopt: false, tags: [] },
      ({ site, mdns, ranges }) =>
        `asked for devices to be looked for at ${site}: ${excerpt([...(mdns ? ["mDNS"] : []), ...ranges].join(", "))}`,
    ),
    ScanStarted: first(
      shape.ScanStarted,
      { attempt: 1, worker },
      ({ attempt }) => `began to look${attempt > 1 ? `, attempt ${attempt}` : ""}`,
    ),
    DevicesFound: first(
      shape.DevicesFound,
      { findings: [exampleFinding] },
      ({ findings }) => `found ${many(findings.length)}`,
    ),
    ScanCompleted: first(
      shape.ScanCompleted,
      { found: 1, probed: 254 },
      ({ found, probed }) => `finished it: ${many(found)}${probed > 0 ? ` at ${probed} addresses` : ""}`,
    ),
    ScanFailed: first(
      shape.ScanFailed,
      { code: "NO_NETWORK", message: "multicast is not allowed", fix: "Give ranges of addresses." },
      ({ code, message }) => `could not do it (${code}: ${excerpt(message)})`,
    ),
    ScanCancelled: first(shape.ScanCancelled, {}, () => "cancelled it"),
  },
  publicEvents: shape.scanEvents,
  generation: () => 1,
  exists: (state) => state.exists,
  over: isOver,
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    generation: 1,
    spec: state.spec!,
    status: {
      state: state.state,
      probed: state.probed,
      findings: Object.values(state.findings),
      ...(state.failure === null ? {} : { failure: state.failure }),
      ...(state.finishedAt === null ? {} : { finishedAt: state.finishedAt }),
    },
    requestedBy: state.requestedBy!,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  stateVersion: 1,
};
