/** What goes wrong between us and a device: a closed set of kinds, each saying whether the same may succeed later, and what to do. */
import * as Data from "effect/Data";

export type DeviceFailureKind =
  /** Nobody answers at the address, or the connection broke. */
  | "unreachable"
  /** Connected, and no whole answer until the deadline. */
  | "timeout"
  /** The device refuses what we know as its login. Not tried again by a timer: each try feeds its lock-out. */
  | "wrong-credentials"
  /** Too many failed logins, whoever's: the device answers nobody for a while. */
  | "locked-out"
  /** All of its 32 nonces, or its few sockets, are taken; or it is busy with others (429, 503). */
  | "too-busy"
  /** No such method, endpoint or component on this firmware (404, −105). */
  | "not-found"
  /** It does not take these values (400, −103). */
  | "invalid-argument"
  /** It will not do this now: a precondition is missing, or something is used up (−108, −109, −114). */
  | "refused"
  /** It failed while doing it (500 and others). */
  | "device-error"
  /** Another device answers at this address. */
  | "another-device"
  /** What came is no answer in this protocol. */
  | "garbled"
  /** More came than anything of a device is large. */
  | "too-large"
  /** It sends us to another host; nobody is followed there. */
  | "redirected"
  /** Its certificate is not the one that was pinned. */
  | "certificate-changed"
  /** Too much waits for this device already, or this side is ending. */
  | "not-sent";

/** When the same may be tried again. */
export type Again =
  | { readonly when: "after"; readonly ms: number }
  /** Not before its credentials are changed here, or it is known to have begun anew. */
  | { readonly when: "credentials" }
  /** Not before it is found at another address, or a person has looked. */
  | { readonly when: "address" }
  /** Not without another request. */
  | { readonly when: "never" };

const after = (ms: number): Again => ({ when: "after", ms });

const KINDS: Readonly<Record<DeviceFailureKind, { readonly again: Again; readonly fix: string }>> = {
  unreachable: { again: after(1_000), fix: "Look whether it has power and network; it is tried again by itself." },
  timeout: { again: after(1_000), fix: "Its network may be weak, or it is busy; it is tried again by itself." },
  "wrong-credentials": { again: { when: "credentials" }, fix: "Give the password that the device has now." },
  "locked-out": { again: after(10_000), fix: "Find who logs in with a wrong password; it opens by itself." },
  "too-busy": {
    again: after(2_000),
    fix: "Let fewer programs and browser windows talk to it; it is tried again by itself.",
  },
  "not-found": { again: { when: "never" }, fix: "Its model or firmware does not have this." },
  "invalid-argument": { again: { when: "never" }, fix: "Change the values to what this model takes." },
  refused: { again: after(30_000), fix: "Change what stands in the way on the device, or wait until it allows it." },
  "device-error": { again: after(5_000), fix: "Restart the device if it goes on." },
  "another-device": { again: { when: "address" }, fix: "Find the device's present address, by a scan for example." },
  garbled: { again: after(30_000), fix: "Look whether a proxy or another product stands at this address." },
  "too-large": { again: { when: "never" }, fix: "Look whether a device stands at this address." },
  redirected: { again: { when: "address" }, fix: "Look what stands at this address; a device sends nobody elsewhere." },
  "certificate-changed": {
    again: { when: "address" },
    fix: "If the device was reset or its certificate renewed, accept the new one; else somebody stands in between.",
  },
  "not-sent": { again: after(1_000), fix: "Nothing: it was not sent. Ask again." },
};

export interface DeviceFailureFields {
  readonly kind: DeviceFailureKind;
  /** One sentence without secrets. */
  readonly reason: string;
  readonly again: Again;
  readonly fix: string;
  /** Whether the device may have done what was asked. */
  readonly maybeDone: boolean;
  /** The device's own code: an HTTP status, or that of an RPC error. */
  readonly code?: number;
  /** Of `certificate-changed`: SHA-256 of the one that it shows. */
  readonly fingerprint?: string;
  readonly cause?: unknown;
}

export class DeviceFailure extends Data.TaggedError("DeviceFailure")<DeviceFailureFields> {
  override get message(): string {
    return this.reason;
  }
}

export interface FailureDetails {
  readonly again?: Again;
  readonly maybeDone?: boolean;
  readonly code?: number;
  readonly fingerprint?: string;
  readonly cause?: unknown;
}

export function failure(kind: DeviceFailureKind, reason: string, details: FailureDetails = {}): DeviceFailure {
  const { again, fix } = KINDS[kind];
  return new DeviceFailure({ kind, reason, again, fix, maybeDone: false, ...details });
}

/** Milliseconds until the same may be tried again; undefined: not by a timer. */
export const retryAfterMs = ({ again }: DeviceFailure): number | undefined =>
  again.when === "after" ? again.ms : undefined;

/** Errors of sockets and of what is built on them. */
export function failureOf(error: unknown, maybeDone: boolean): DeviceFailure {
  if (error instanceof DeviceFailure) return error;
  const { code, message, name: of } = error as NodeJS.ErrnoException;
  const told = printable(message ?? String(error)).slice(0, 200);
  const name = code ?? "";
  if (/TIMEOUT|ETIMEDOUT/.test(name)) return failure("timeout", told, { maybeDone, cause: error });
  if (/RES_EXCEEDED|HEADERS_OVERFLOW/.test(name)) return failure("too-large", told, { maybeDone, cause: error });
  // It ended in the middle.
  if (/^(HPE_INVALID_EOF_STATE|UND_ERR_RES_CONTENT_LENGTH_MISMATCH)$/.test(name))
    return failure("unreachable", told, { maybeDone, cause: error });
  if (of === "HTTPParserError" || /^HPE_|UND_ERR_RES_CONTENT/.test(name))
    return failure("garbled", told, { maybeDone, cause: error });
  return failure("unreachable", told, { maybeDone, cause: error });
}

/** What devices say, as it may be shown: one line, without what moves a cursor. */
export const printable = (text: string): string => text.replaceAll(/[^\x20-\x7e\u00a0-\ufffc]+/g, " ").trim();
