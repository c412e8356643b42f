/**
 * What agents report of a device, and which events come of it: only what differs from what is known. A device may tell anything, so all of it
 * is checked, and bounded.
 */
import type { Identity } from "@millrace/contracts/devices/device-parts.ts";
import { LIMITS, PATTERNS } from "@millrace/contracts/devices/values.ts";
import { type Decision, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import { type Configuration, configurationFaults } from "./configuration.ts";
import type { DeviceCommand, DeviceReport } from "./device-command.ts";
import type { DeviceEvent, DeviceState } from "./device-state.ts";
import { driftOf, sameJson } from "./drift.ts";
import { isNoUpdate, updateFor } from "./model/firmware.ts";

/** Empty where a device says none. */
const line = says((text) => text === "" || PATTERNS.line.test(text), `one line of at most ${LIMITS.reason} characters`);
const host = says((text) => PATTERNS.host.test(text), "an IP address or host name");
const print = says((text) => PATTERNS.fingerprint.test(text), "SHA-256 in lower-case hexadecimal");

function identityFaults({ hostname, model, app, profile, capabilities, gen }: Identity, faults: Faults): void {
  faults.check("/identity/hostname", line, hostname).check("/identity/model", line, model);
  faults.check("/identity/app", line, app).check("/identity/profile", line, profile);
  faults.most("/identity/capabilities", capabilities.length, LIMITS.capabilities);
  faults.each("/identity/capabilities", line, capabilities.slice(0, LIMITS.capabilities));
  if (!(gen >= 1 && gen <= 4)) faults.add("/identity/gen", "1 to 4");
}

function reportFaults(report: DeviceReport): Faults {
  const faults = new Faults();
  const { identity, firmware, offered, address, configuration, revisions = {} } = report;
  faults.check("/reason", line, report.reason).check("/source", line, report.source);
  faults.check("/fingerprint", print, report.fingerprint).check("/address/host", host, address?.host);
  faults.check("/firmware/version", line, firmware?.version).check("/firmware/build", line, firmware?.build);
  faults.check("/offered/version", line, offered?.version).check("/offered/build", line, offered?.build);
  if (identity !== undefined) identityFaults(identity, faults);
  if (configuration !== undefined) configurationFaults(configuration, "/configuration", faults, LIMITS.observedBytes);
  const counters = Object.entries(revisions);
  faults.most("/revisions", counters.length, LIMITS.revisions);
  for (const [name, value] of counters.slice(0, LIMITS.revisions)) {
    if (!PATTERNS.key.test(name) || !Number.isFinite(value)) faults.add("/revisions", "are counters by name");
  }
  return faults;
}

export function decideReport(
  { mac, report }: Extract<DeviceCommand, { do: "report" }>,
  state: DeviceState,
): Decision<DeviceEvent> {
  if (mac !== state.mac) {
    return rule(
      "another-device",
      `Who answered has the MAC ${mac.slice(0, 20)}, not ${state.mac}.`,
      "Look for it elsewhere: addresses move, a MAC does not.",
    );
  }
  const refusal = reportFaults(report).refusal();
  if (refusal !== undefined) return refusal;
  const events = [...reachEvents(report, state), ...factEvents(report, state)];
  const seen = configurationEvents(report, state);
  return { events: [...events, ...seen] };
}

function reachEvents({ reach, reason }: DeviceReport, state: DeviceState): DeviceEvent[] {
  if (reach === undefined || reach === state.reach) return [];
  switch (reach) {
    case "lost":
      // Of what was never there nothing was lost, and who sleeps is not looked for.
      return state.reach === "new" || !state.expected
        ? []
        : [{ type: "DeviceLost", data: { reason: reason ?? "it does not answer" } }];
    case "asleep":
      return [{ type: "DeviceFellAsleep", data: {} }];
    case "reachable":
      if (state.reach === "lost") return [{ type: "DeviceReturned", data: { awaySince: state.since } }];
      return [state.reach === "asleep" ? { type: "DeviceWoke", data: {} } : { type: "DeviceReached", data: {} }];
  }
}

/** Everything but reach and configuration. */
function factEvents(report: DeviceReport, state: DeviceState): DeviceEvent[] {
  const { address, fingerprint, identity, firmware, authentication } = report;
  const offered = report.offered === undefined && isInstalled(state, firmware) ? null : report.offered;
  const events: DeviceEvent[] = [];
  if (address !== undefined && !sameJson(address, state.address))
    events.push({ type: "DeviceMoved", data: { address } });
  if (fingerprint !== undefined && fingerprint !== state.fingerprint && fingerprint !== state.rejected) {
    const type = state.fingerprint === null ? "CertificatePinned" : "CertificateRejected";
    events.push({ type, data: { fingerprint } });
  }
  if (identity !== undefined && !sameJson(identity, state.identity)) {
    const now = firmware ?? state.firmware;
    if (now !== null) events.push({ type: "DeviceIdentified", data: { identity, firmware: now } });
  }
  if (firmware !== undefined && state.firmware !== null && !sameJson(firmware, state.firmware)) {
    events.push({ type: "FirmwareChanged", data: { from: state.firmware, to: firmware } });
  }
  if (offered !== undefined && !sameJson(offered, state.offered)) {
    events.push(
      offered === null ? { type: "FirmwareOfferWithdrawn", data: {} } : { type: "FirmwareOffered", data: { offered } },
    );
  }
  if (authentication !== undefined) {
    const { since: _, ...known } = state.authentication;
    if (!sameJson(authentication, known)) events.push({ type: "AuthenticationChanged", data: authentication });
  }
  return events;
}

/** What was offered runs now, or something newer. */
function isInstalled({ offered, identity }: DeviceState, firmware: DeviceReport["firmware"]): boolean {
  if (offered === null || identity === null || firmware === undefined) return false;
  const generation = identity.gen as 1 | 2 | 3 | 4;
  return isNoUpdate(
    updateFor({ generation, app: identity.app ?? identity.model, firmware }, [offered], [offered.stage]),
  );
}

function configurationEvents({ configuration, revisions, source }: DeviceReport, state: DeviceState): DeviceEvent[] {
  const moved = revisions !== undefined && !sameJson(revisions, state.revisions);
  if (configuration !== undefined && !sameJson(configuration, state.observed)) {
    const by = source === undefined ? {} : { source };
    const data = { configuration, revisions: revisions ?? state.revisions, ...by };
    return [{ type: "ConfigurationObserved", data }, ...driftEvents(state, { observed: configuration, ...by })];
  }
  return moved ? [{ type: "RevisionsObserved", data: { revisions } }] : [];
}

/** What becomes of the drift when one of the three changes. */
export function driftEvents(
  state: DeviceState,
  changed: {
    readonly desired?: Configuration | null;
    readonly applied?: Configuration | null;
    readonly observed?: Configuration;
    readonly source?: string;
  },
): DeviceEvent[] {
  const { desired = state.desired, observed = state.observed, source } = changed;
  const drift = driftOf(desired, changed.applied ?? state.applied?.configuration ?? null, observed);
  if (drift.fields.length === 0) return state.drift === null ? [] : [{ type: "DriftResolved", data: {} }];
  if (state.drift !== null && sameJson(drift, { fields: state.drift.fields, more: state.drift.more })) return [];
  return [{ type: "DriftDetected", data: { ...drift, ...(source === undefined ? {} : { source }) } }];
}
