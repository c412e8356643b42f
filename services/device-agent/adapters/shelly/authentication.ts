/**
 * When to show which proof to a Gen2+ device: a pure machine over one session a device, whatever it is reached by. Firmware 2.0 has 32
 * nonces for all its clients together and locks everybody out who answers wrongly too often, so a client that asks for a nonce with each
 * call, or goes on with one that is gone, takes the device away from itself and from others. The rules:
 *
 * 1. One session a device. A nonce that is held and young is used again, its count rising; nothing is asked without a proof meanwhile.
 * 2. 401 with another nonce, or `stale`: that nonce is taken, and the call sent once more.
 * 3. 401 for a nonce that was fresh: wrong credentials. Once it is doubted (the device may have begun anew in that very moment) and
 *    tried again after a step; the second time nothing is sent until somebody changes something.
 * 4. 429: the nonce is dropped. A call without proof goes at once, for only that makes the device look for a nonce to give up; when that
 *    gets 429 as well, or failed logins are the reason, nothing is sent for a step, and then one call without proof.
 * 5. A proof for a nonce that is gone may be counted as a failed login. From the fourth within ten minutes on only fresh nonces are
 *    used, and there is never a ninth: the device locks from the eleventh on.
 */
import { type Challenge, isCounted } from "./digest.ts";

/** By what a call goes: nonces of firmware before 2.0.0 are written differently in the two. */
export type Via = "http" | "frame";

export interface Session {
  readonly held?: {
    readonly challenge: Challenge;
    readonly via: Via;
    readonly issuedAtMs: number;
    /** The count of its last use; 0: fresh. */
    readonly used: number;
    /** The device has accepted it at least once. */
    readonly proven: boolean;
  };
  /** Nothing is sent before. */
  readonly notBeforeMs: number;
  readonly waitingFor?: "too-busy" | "locked-out" | "doubt";
  /** Lock-outs in a row. */
  readonly lockOuts: number;
  /** Fresh nonces refused in a row. */
  readonly doubts: number;
  /** The device does not take what we know. */
  readonly refused: boolean;
  /** When the device may have counted a failed login of ours, within its window. */
  readonly failuresAtMs: ReadonlyArray<number>;
}

export const NEW_SESSION: Session = { notBeforeMs: 0, lockOuts: 0, doubts: 0, refused: false, failuresAtMs: [] };

export type Sending =
  | { readonly send: "bare" }
  | { readonly send: "authorised"; readonly challenge: Challenge; readonly nc: number };

export type Advice =
  | Sending
  /** Nothing is to be sent before. */
  | { readonly waitMs: number; readonly why: "too-busy" | "locked-out" | "doubt" }
  | { readonly refused: true };

export type Heard =
  /** Anything but 401 and 429: who asks is known, or nobody has to be. */
  | { readonly heard: "accepted" }
  | { readonly heard: "challenge"; readonly challenge: Challenge }
  | { readonly heard: "too-many"; readonly what: "requests" | "failures"; readonly retryAfterMs?: number }
  /** No answer came: the device may have counted the use, or not. */
  | { readonly heard: "nothing" };

export type Next =
  | "done"
  /** Ask again for advice at once: it is another. */
  | "again"
  /** Not this time. */
  | "give-up";

export interface Moment {
  /** Of a clock that never goes back. */
  readonly nowMs: number;
  readonly via: Via;
}

/** The device keeps a nonce an hour by its own clock, and 30,000 uses. */
const YOUNG_MS = 55 * 60_000;
const USES = 29_000;
/** The device's window of failed logins. */
const WINDOW_MS = 600_000;
const CAREFUL_FROM = 4;
const NEVER_BEYOND = 8;
const BUSY_MS = 2_000;
const DOUBT_MS = 2_000;
const LOCKED_MS = [10_000, 30_000, 60_000, 300_000] as const;
/** The longest step of all: until an own failed login is forgotten. */
export const LONGEST_STEP_MS = WINDOW_MS;
/** Proofs shown for one call. */
const PROOFS = 2;

function recent({ failuresAtMs }: Session, nowMs: number): ReadonlyArray<number> {
  const isRecent = (at: number) => nowMs - at < WINDOW_MS;
  return failuresAtMs.every(isRecent) ? failuresAtMs : failuresAtMs.filter(isRecent);
}

/** What to send now, if anything. */
export function advise(session: Session, { nowMs, via }: Moment): Advice {
  if (session.refused) return { refused: true };
  if (nowMs < session.notBeforeMs) {
    return { waitMs: session.notBeforeMs - nowMs, why: session.waitingFor ?? "too-busy" };
  }
  const failures = recent(session, nowMs);
  if (failures.length >= NEVER_BEYOND) return { waitMs: failures[0]! + WINDOW_MS - nowMs, why: "locked-out" };
  const { held } = session;
  if (held === undefined) return { send: "bare" };
  const { challenge, used } = held;
  const counted = isCounted(challenge);
  const usable =
    nowMs - held.issuedAtMs < YOUNG_MS &&
    used < USES &&
    (counted || held.via === via) &&
    (used === 0 || failures.length < CAREFUL_FROM);
  return usable ? { send: "authorised", challenge, nc: counted ? used + 1 : 1 } : { send: "bare" };
}

/**
 * What came of it.
 * @param proofs how many proofs were sent for this call, with this one
 * @param chance 0 to 1, for the spread of waits
 */
export function learn(
  session: Session,
  sent: Sending,
  heard: Heard,
  { nowMs, via }: Moment,
  proofs: number,
  chance: number,
): { readonly session: Session; readonly next: Next } {
  const failuresAtMs = recent(session, nowMs);
  const now: Session = failuresAtMs === session.failuresAtMs ? session : { ...session, failuresAtMs };
  switch (heard.heard) {
    case "accepted":
      return { session: accepted(now, sent), next: "done" };
    case "nothing":
      return { session: unanswered(now, sent), next: "give-up" };
    case "too-many": {
      const locked = heard.what === "failures";
      if (!locked && sent.send === "authorised") return { session: dropped(now), next: "again" };
      const step = locked ? LOCKED_MS[Math.min(now.lockOuts, LOCKED_MS.length - 1)]! : BUSY_MS;
      const least = Math.min(Math.max(step, heard.retryAfterMs ?? 0), LOCKED_MS.at(-1)!);
      const spread = locked ? least / 10 : 1_000;
      return {
        session: {
          ...dropped(now),
          notBeforeMs: nowMs + least + chance * spread,
          waitingFor: locked ? "locked-out" : "too-busy",
          lockOuts: locked ? now.lockOuts + 1 : now.lockOuts,
        },
        next: "give-up",
      };
    }
    case "challenge":
      return challenged(now, sent, heard.challenge, { nowMs, via }, proofs, chance);
  }
}

function accepted(session: Session, sent: Sending): Session {
  const { lockOuts, doubts, notBeforeMs } = session;
  const isPlain = lockOuts === 0 && doubts === 0 && notBeforeMs === 0;
  const known: Session = isPlain ? session : { ...session, lockOuts: 0, doubts: 0, notBeforeMs: 0 };
  if (sent.send === "bare") return known;
  const { held } = session;
  if (held === undefined || held.challenge.nonce !== sent.challenge.nonce) return known;
  return { ...known, held: { ...held, used: Math.max(held.used, sent.nc), proven: true } };
}

/** A use that may not have arrived: of a fresh nonce the count must begin at 1, which is now known to nobody. */
function unanswered(session: Session, sent: Sending): Session {
  const { held } = session;
  if (sent.send === "bare" || held === undefined) return session;
  return held.proven ? { ...session, held: { ...held, used: Math.max(held.used, sent.nc) } } : dropped(session);
}

function challenged(
  session: Session,
  sent: Sending,
  challenge: Challenge,
  { nowMs, via }: Moment,
  proofs: number,
  chance: number,
): { readonly session: Session; readonly next: Next } {
  const adopted: Session = { ...session, held: { challenge, via, issuedAtMs: nowMs, used: 0, proven: false } };
  if (sent.send === "bare") {
    // A device that asks again and again without ever looking at a proof is left alone for a step.
    return proofs < PROOFS ? { session: adopted, next: "again" } : later(adopted, nowMs, chance);
  }
  if (challenge.stale) return proofs < PROOFS ? { session: adopted, next: "again" } : later(adopted, nowMs, chance);
  const counted: Session = { ...adopted, failuresAtMs: [...session.failuresAtMs, nowMs] };
  const wasFresh = session.held === undefined || !session.held.proven;
  const wasKnown = challenge.nonce === sent.challenge.nonce;
  if (!wasFresh && !wasKnown && proofs < PROOFS) return { session: counted, next: "again" };
  if (!wasFresh && !wasKnown) return later(counted, nowMs, chance);
  const doubts = session.doubts + 1;
  if (doubts > 1) return { session: { ...dropped(counted), doubts, refused: true }, next: "give-up" };
  const step = { notBeforeMs: nowMs + DOUBT_MS * (1 + chance), waitingFor: "doubt" as const };
  return { session: { ...dropped(counted), doubts, ...step }, next: "give-up" };
}

const later = (session: Session, nowMs: number, chance: number): { session: Session; next: Next } => ({
  session: { ...session, notBeforeMs: nowMs + BUSY_MS + chance * 1_000, waitingFor: "too-busy" },
  next: "give-up",
});

function dropped({ held: _, ...rest }: Session): Session {
  return rest;
}

/**
 * Other credentials, a device that began anew, or a person who wants it tried: nothing that was found out holds any more, but for the
 * failed logins that the device may remember.
 */
export const afresh = ({ failuresAtMs }: Session): Session => ({ ...NEW_SESSION, failuresAtMs });
