/** One device's login: the session, the credentials as they are known now, and the exchange that a call becomes. */
import { randomInt } from "node:crypto";
import {
  type Advice,
  advise,
  afresh,
  type Heard,
  learn,
  NEW_SESSION,
  type Session,
  type Via,
} from "./authentication.ts";
import type { Proof } from "./digest.ts";
import { DeviceFailure, failure } from "./failures.ts";

/** What is known of how to log in; Gen2+ keep the hash, Gen1 needs the password itself. Never logged, never in an error. */
export type Credentials = { readonly ha1: string } | { readonly username: string; readonly password: string };

/** Asked when a device wants a login, and again after `forget`. @returns undefined: none is known */
export type CredentialsOf = () => Promise<Credentials | undefined>;

/** What one sending came to: how the device took the proof, and the rest for the caller. */
export interface Taken<T> {
  readonly heard: Heard;
  readonly value: T;
}

export interface LoginOptions {
  /** The device's id, which is the realm. Another realm is another device's. */
  readonly realm: () => string | undefined;
  readonly credentials: CredentialsOf;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
  /** 0 to 1 */
  readonly chance?: () => number;
}

const BARE: Advice = { send: "bare" };
const sinceStart = (): number => performance.now();

/** Of one device at a time only: callers go through its turns. */
export class Login {
  #session: Session = NEW_SESSION;
  #known: Credentials | undefined;
  #asked = false;
  readonly #options: LoginOptions;
  readonly #now: () => number;
  readonly #chance: () => number;

  constructor(options: LoginOptions) {
    this.#options = options;
    this.#now = options.now ?? sinceStart;
    this.#chance = options.chance ?? Math.random;
  }

  get session(): Session {
    return this.#session;
  }

  /** As it is known now. @throws what `credentials` throws */
  async credentials(): Promise<Credentials | undefined> {
    if (!this.#asked) {
      this.#known = await this.#options.credentials();
      this.#asked = true;
    }
    return this.#known;
  }

  /** The device took these; they count until `forget`. */
  adopt(credentials: Credentials | undefined): void {
    this.#known = credentials;
    this.#asked = true;
    this.#session = afresh(this.#session);
  }

  /** Credentials were changed here, the device began anew, or a person wants it tried. */
  forget(): void {
    this.#asked = false;
    this.#known = undefined;
    this.#session = afresh(this.#session);
  }

  /**
   * One call with the password itself, as Gen1 wants it. Refused once, it is not shown again until something changes.
   * @throws DeviceFailure wrong-credentials, and what `send` throws
   */
  async basic<T>(send: (authorization: string) => Promise<T>): Promise<T> {
    if (this.#session.refused) throw heldBack({ refused: true });
    const known = await this.credentials();
    if (known === undefined || !("password" in known)) {
      throw failure("wrong-credentials", "It asks for a login, and none is known.", { code: 401 });
    }
    const { username, password } = known;
    try {
      return await send(`Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`);
    } catch (error) {
      if (error instanceof DeviceFailure && error.kind === "wrong-credentials") {
        this.#session = { ...this.#session, refused: true };
      }
      throw error;
    }
  }

  /**
   * One call: sends it as the session says, once more where the device wants another proof.
   * @throws DeviceFailure wrong-credentials, locked-out, too-busy; and what `send` throws, which counts as no answer
   */
  async exchange<T>(via: Via, send: (proof: Proof | undefined) => Promise<Taken<T>>): Promise<T> {
    for (let proofs = 0; ; ) {
      const isNew = this.#session === NEW_SESSION;
      const advice = isNew ? BARE : advise(this.#session, { nowMs: this.#now(), via });
      if (!("send" in advice)) throw heldBack(advice);
      const proof = advice.send === "bare" ? undefined : await this.#prove(advice);
      if (proof !== undefined) proofs += 1;
      let taken: Taken<T>;
      try {
        taken = await send(proof);
      } catch (error) {
        this.#learn(advice, { heard: "nothing" }, via, proofs);
        throw error;
      }
      // Who never asked for a login, and does not now: there is nothing to learn.
      if (isNew && taken.heard.heard === "accepted") return taken.value;
      const next = this.#learn(advice, taken.heard, via, proofs);
      if (next === "done") return taken.value;
      if (next === "again") continue;
      const after = advise(this.#session, { nowMs: this.#now(), via });
      throw heldBack("send" in after ? { waitMs: 1_000, why: "too-busy" } : after);
    }
  }

  #learn(sent: Parameters<typeof learn>[1], heard: Heard, via: Via, proofs: number) {
    const learned = learn(this.#session, sent, heard, { nowMs: this.#now(), via }, proofs, this.#chance());
    this.#session = learned.session;
    return learned.next;
  }

  async #prove({ challenge, nc }: Extract<Advice, { send: "authorised" }>): Promise<Proof> {
    const realm = this.#options.realm();
    if (realm !== undefined && challenge.realm !== realm) {
      this.#session = afresh(this.#session);
      throw failure("another-device", "It asks for the login of another device.");
    }
    const known = await this.credentials();
    if (known === undefined || !("ha1" in known)) {
      throw failure("wrong-credentials", "It asks for a login, and none is known.", { code: 401 });
    }
    return { challenge, nc, cnonce: randomInt(1, 2 ** 31), ha1: known.ha1 };
  }
}

function heldBack(advice: Exclude<Advice, { send: string }>) {
  if ("refused" in advice)
    return failure("wrong-credentials", "It does not take the login that is known.", { code: 401 });
  const ms = Math.ceil(advice.waitMs);
  const again = { when: "after", ms } as const;
  switch (advice.why) {
    case "doubt":
      return failure("wrong-credentials", "It refused the login that is known; it is asked once more.", {
        again,
        code: 401,
      });
    case "locked-out":
      return failure("locked-out", "It answers nobody after too many failed logins.", { again, code: 429 });
    case "too-busy":
      return failure("too-busy", "It has no login free for another client.", { again, code: 429 });
  }
}
