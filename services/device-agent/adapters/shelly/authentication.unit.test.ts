/**
 * The login of Gen2+ devices: the rules one by one, and a property over random lives of a device. The model of the device is made from
 * what is known of firmware 1.x and 2.0: 32 nonces for all clients, uses that must begin at one and rise, eviction after a throttle of
 * two seconds, lock-outs by failed logins; and from the pessimistic reading of what is not known.
 */
import fc from "fast-check";
import * as assert from "uvu/assert";
import { suite } from "../../../../tests/harness/suite.ts";
import {
  advise,
  afresh,
  type Heard,
  LONGEST_STEP_MS,
  learn,
  NEW_SESSION,
  type Sending,
  type Session,
} from "./authentication.ts";
import type { Challenge } from "./digest.ts";

const test = suite("authentication");

const challengeWith = (nonce: string, stale = false): Challenge => ({
  realm: "d",
  nonce,
  numeric: false,
  stale,
  algorithm: true,
  countAsText: false,
});
const VIA = "http" as const;

/** One call as a driver makes it. @returns what was sent, and how it ended */
function call(session: Session, nowMs: number, answer: (sent: Sending, nth: number) => Heard) {
  const sent: Sending[] = [];
  for (let proofs = 0; ; ) {
    const advice = advise(session, { nowMs, via: VIA });
    if (!("send" in advice)) return { session, sent, outcome: advice };
    if (advice.send === "authorised") proofs += 1;
    sent.push(advice);
    const heard = answer(advice, sent.length);
    const learned = learn(session, advice, heard, { nowMs, via: VIA }, proofs, 0.5);
    session = learned.session;
    if (learned.next === "done") return { session, sent, outcome: "done" as const };
    if (learned.next === "give-up") return { session, sent, outcome: advise(session, { nowMs, via: VIA }) };
  }
}

const ok: Heard = { heard: "accepted" };
const challenge = (nonce: string, stale = false): Heard => ({
  heard: "challenge",
  challenge: challengeWith(nonce, stale),
});
const logged = (nonce: string, nowMs = 0) =>
  call(NEW_SESSION, nowMs, (sent) => (sent.send === "bare" ? challenge(nonce) : ok)).session;

test("one nonce for many calls, its count from one on; asked for anew before its hour is over", () => {
  let session = logged("AAAAAGoN/xPq4w==");
  for (const nc of [2, 3, 4]) {
    const next = call(session, 60_000 * nc, () => ok);
    assert.equal(next.sent, [{ send: "authorised", challenge: challengeWith("AAAAAGoN/xPq4w=="), nc }]);
    session = next.session;
  }
  assert.equal(call(session, 56 * 60_000, () => ok).sent, [{ send: "bare" }]);
});

test("firmware before 2.0 reckons with the count one, and its nonces are not carried from HTTP into frames", () => {
  const session = logged("1694692867");
  assert.is((call(session, 1, () => ok).sent[0] as { nc: number }).nc, 1);
  assert.equal(advise(session, { nowMs: 1, via: "frame" }), { send: "bare" });
});

test("another nonce is taken and the call sent once more; stale is no wrong password", () => {
  for (const stale of [true, false]) {
    const next = call(logged("AAAAAGoN/xPq4w=="), 1, (_, nth) =>
      nth === 1 ? challenge("BBBBAGoN/xPq4w==", stale) : ok,
    );
    assert.is(next.outcome, "done");
    assert.equal(
      next.sent.map((one) => (one as { nc: number }).nc),
      [2, 1],
    );
    assert.is(next.session.failuresAtMs.length, stale ? 0 : 1);
  }
});

test("a fresh nonce refused is doubted once, then nothing is sent until something changes", () => {
  let nonce = 0;
  const wrong = () => {
    nonce += 1;
    return challenge(`AAAAAGoN/xPq${String(nonce).padStart(4, "0")}==`);
  };
  const first = call(NEW_SESSION, 0, wrong);
  assert.is(first.sent.length, 2);
  assert.ok("waitMs" in (first.outcome as object));
  const second = call(first.session, 10_000, wrong);
  assert.equal(second.outcome, { refused: true });
  assert.is(call(second.session, 90_000_000, wrong).sent.length, 0);
  assert.is(second.session.failuresAtMs.length, 2);
  assert.equal(
    call(afresh(second.session), 90_000_000, (sent) => (sent.send === "bare" ? challenge("C".repeat(24)) : ok)).outcome,
    "done",
  );
});

test("429 of both kinds: the nonce is dropped, and after the step one call goes without a proof", () => {
  const busy = call(logged("AAAAAGoN/xPq4w=="), 0, () => ({ heard: "too-many", what: "requests" }));
  assert.equal(
    busy.sent.map(({ send }) => send),
    ["authorised", "bare"],
  );
  assert.equal(busy.outcome, { waitMs: 2_500, why: "too-busy" });
  assert.equal(advise(busy.session, { nowMs: 2_500, via: VIA }), { send: "bare" });
  let session = logged("AAAAAGoN/xPq4w==");
  let now = 0;
  for (const step of [10_500, 31_500, 63_000, 315_000, 315_000]) {
    const locked = call(session, now, () => ({ heard: "too-many", what: "failures" }));
    assert.equal(locked.outcome, { waitMs: step, why: "locked-out" });
    now += step;
    session = locked.session;
  }
  const asked = call(NEW_SESSION, 0, () => ({ heard: "too-many", what: "requests", retryAfterMs: 20_000 }));
  assert.equal(asked.outcome, { waitMs: 20_500, why: "too-busy" });
});

test("a use that may have been lost: a proven nonce goes on, a fresh one is given up", () => {
  const proven = call(logged("AAAAAGoN/xPq4w=="), 1, () => ({ heard: "nothing" }));
  assert.is((advise(proven.session, { nowMs: 2, via: VIA }) as { nc: number }).nc, 3);
  const fresh = call(NEW_SESSION, 0, (sent) =>
    sent.send === "bare" ? challenge("AAAAAGoN/xPq4w==") : { heard: "nothing" },
  );
  assert.equal(advise(fresh.session, { nowMs: 2, via: VIA }), { send: "bare" });
});

/** What of a firmware is one way or the other. */
interface Firmware {
  /** 2.0.0 gives up a slot only for a request without a proof. */
  readonly evictsForBareOnly: boolean;
  /** What comes for a proof with a nonce that it does not know. */
  readonly unknown: "failure" | "stale" | "too-many";
  /** Slots of nonces that are over stay taken. */
  readonly leaks: boolean;
}

const HOUR = 3_600_000;
const SLOTS = 32;

class ModelDevice {
  readonly #firmware: Firmware;
  #slots = new Map<string, { readonly since: number; used: number; uses: number }>();
  #throttledUntil: number | undefined;
  #made = 0;
  #failures: number[] = [];
  lockedUntil = 0;
  readonly ours: number[] = [];

  constructor(firmware: Firmware) {
    this.#firmware = firmware;
  }

  reboot(): void {
    this.#slots.clear();
    this.#throttledUntil = undefined;
  }

  /** Others log in, each with a nonce of its own. */
  crowd(many: number, now: number): void {
    for (let i = 0; i < many; i++) this.#issue(now, false);
  }

  /** Others try passwords. */
  attack(many: number, now: number): void {
    for (let i = 0; i < many; i++) if (now >= this.lockedUntil) this.#fail(now);
  }

  /** @param right the proof is what it should be */
  answer(sent: Sending, now: number, right = true): Heard {
    if (now < this.lockedUntil) return { heard: "too-many", what: "failures" };
    if (sent.send === "bare") return this.#issue(now, true);
    const slot = this.#slots.get(sent.challenge.nonce);
    if (slot === undefined) return this.#unknown(now);
    if (now - slot.since > HOUR) {
      if (!this.#firmware.leaks) this.#slots.delete(sent.challenge.nonce);
      return this.#issue(now, false, true);
    }
    if (sent.nc <= slot.used || (slot.used === 0 && sent.nc !== 1) || !right) {
      this.#countOurs(now);
      return this.#issue(now, false);
    }
    slot.used = sent.nc;
    slot.uses += 1;
    return { heard: "accepted" };
  }

  #unknown(now: number): Heard {
    switch (this.#firmware.unknown) {
      case "stale":
        return this.#issue(now, false, true);
      case "too-many":
        // Read pessimistically: each of them is a failed login as well.
        this.#countOurs(now);
        return { heard: "too-many", what: "requests" };
      case "failure":
        this.#countOurs(now);
        return this.#issue(now, false);
    }
  }

  #countOurs(now: number): void {
    this.ours.push(now);
    this.#fail(now);
  }

  #fail(now: number): void {
    this.#failures = [...this.#failures.filter((at) => now - at < 600_000), now];
    const many = this.#failures.length;
    if (many > 10) this.lockedUntil = now + (many > 40 ? 300_000 : many > 30 ? 60_000 : many > 20 ? 30_000 : 10_000);
  }

  #issue(now: number, bare: boolean, stale = false): Heard {
    if (now < this.lockedUntil) return { heard: "too-many", what: "failures" };
    if (!this.#firmware.leaks) {
      for (const [nonce, { since }] of this.#slots) if (now - since > HOUR) this.#slots.delete(nonce);
    }
    if (this.#slots.size >= SLOTS) {
      if (this.#throttledUntil === undefined && (bare || !this.#firmware.evictsForBareOnly))
        this.#throttledUntil = now + 2_000;
      if (
        this.#throttledUntil === undefined ||
        now < this.#throttledUntil ||
        (!bare && this.#firmware.evictsForBareOnly)
      ) {
        return { heard: "too-many", what: "requests" };
      }
      const [least] = [...this.#slots].sort(([, a], [, b]) => a.uses - b.uses)[0]!;
      this.#slots.delete(least);
      this.#throttledUntil = undefined;
    }
    this.#made += 1;
    const nonce = `AAAAAGoN/${String(this.#made).padStart(13, "0")}==`;
    this.#slots.set(nonce, { since: now, used: 0, uses: 0 });
    return { heard: "challenge", challenge: challengeWith(nonce, stale) };
  }
}

type Act =
  | { readonly act: "poll" }
  /** The answer is lost; the device has or has not heard the call. */
  | { readonly act: "lost"; readonly heard: boolean }
  /** It begins anew between asking for a proof and getting it. */
  | { readonly act: "cut" }
  | { readonly act: "pass"; readonly ms: number }
  | { readonly act: "reboot" }
  | { readonly act: "crowd"; readonly many: number }
  | { readonly act: "attack"; readonly many: number };

const acts: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Act>({ act: "poll" }) },
  {
    weight: 4,
    arbitrary: fc
      .oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 2 * HOUR }))
      .map((ms) => ({ act: "pass" as const, ms })),
  },
  { weight: 1, arbitrary: fc.boolean().map((heard) => ({ act: "lost" as const, heard })) },
  { weight: 1, arbitrary: fc.constantFrom<Act>({ act: "cut" }, { act: "reboot" }) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 40 }).map((many) => ({ act: "crowd" as const, many })) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 15 }).map((many) => ({ act: "attack" as const, many })) },
);

const firmwares: fc.Arbitrary<Firmware> = fc.record({
  evictsForBareOnly: fc.boolean(),
  unknown: fc.constantFrom("failure", "stale", "too-many"),
  leaks: fc.boolean(),
});

test("no life of a device leaves it out of reach for more than a step, or brings its failed logins to ten", () => {
  let reached = 0;
  fc.assert(
    fc.property(firmwares, fc.array(acts, { maxLength: 60 }), (firmware, life) => {
      const device = new ModelDevice(firmware);
      let session = NEW_SESSION;
      let now = 1_000;
      // Between two calls that went well at most one is cut in its middle.
      let mayCut = true;
      const poll = (answer: (sent: Sending, nth: number) => Heard = (sent) => device.answer(sent, now)) => {
        const made = call(session, now, answer);
        session = made.session;
        if (made.outcome === "done") mayCut = true;
        return made.outcome;
      };
      for (const act of life) {
        now += 10;
        if (act.act === "poll") poll();
        else if (act.act === "pass") now += act.ms;
        else if (act.act === "reboot") device.reboot();
        else if (act.act === "crowd") device.crowd(act.many, now);
        else if (act.act === "attack") device.attack(act.many, now);
        else if (act.act === "lost") {
          poll((sent) => {
            if (act.heard) device.answer(sent, now);
            return { heard: "nothing" };
          });
        } else if (mayCut) {
          mayCut = false;
          poll((sent) => {
            const answer = device.answer(sent, now);
            device.reboot();
            return answer;
          });
        }
      }
      // Everybody else is quiet now, and what was waited for is over. Of what others have tried, an own call may be the last straw.
      let first: ReturnType<typeof poll>;
      do {
        now = Math.max(now, device.lockedUntil, session.notBeforeMs) + 10;
        first = poll();
      } while (device.lockedUntil > now);
      if (first !== "done") {
        const wait = (first as { waitMs?: number }).waitMs;
        assert.ok(wait !== undefined && wait <= LONGEST_STEP_MS, `out of reach: ${JSON.stringify(first)}`);
        now += wait;
        assert.is(poll(), "done", "not even after a step");
      }
      reached += 1;
      for (const at of device.ours) {
        const within = device.ours.filter((other) => other >= at && other - at < 600_000).length;
        assert.ok(within < 10, `${within} failed logins of ours within ten minutes`);
      }
    }),
    { numRuns: 1_500 },
  );
  assert.ok(reached >= 1_500);
});

test("with a wrong password the device is asked twice, however long it is polled", () => {
  fc.assert(
    fc.property(
      firmwares,
      fc.array(fc.integer({ min: 0, max: HOUR }), { minLength: 5, maxLength: 40 }),
      (firmware, waits) => {
        const device = new ModelDevice(firmware);
        let session = NEW_SESSION;
        let now = 0;
        for (const ms of waits) {
          now += ms;
          session = call(session, now, (sent) => device.answer(sent, now, false)).session;
        }
        assert.ok(device.ours.length <= 2);
      },
    ),
    { numRuns: 200 },
  );
});

test.run();
