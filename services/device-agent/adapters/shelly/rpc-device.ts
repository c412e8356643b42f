/** A Gen2, Gen3 or Gen4 device: RPC over the WebSocket that stands, whoever dialled it, else over HTTP. One call at a time. */
import { randomBytes } from "node:crypto";
import type { Call, Report, Write } from "@millrace/domain/devices/model/report.ts";
import { type Address, movedToHttps } from "./address.ts";
import { Breaker } from "./backoff.ts";
import { assertSame, type Device, type Identity, identityOf, type Update, type Written } from "./device.ts";
import type { Proof } from "./digest.ts";
import { DeviceFailure, failure } from "./failures.ts";
import { type Gate, Turns } from "./gate.ts";
import { DeviceHttp } from "./http.ts";
import { isObject, type Json, numberAt, textAt } from "./json.ts";
import { type Credentials, type CredentialsOf, Login } from "./login.ts";
import { isOpen, type RpcOutcome, resultOf } from "./rpc.ts";
import { dial } from "./rpc-dial.ts";
import { callOverHttp, type RpcCall } from "./rpc-http.ts";
import type { Notice, PeerListener, RpcPeer } from "./rpc-peer.ts";
import { readReport } from "./rpc-report.ts";

export interface DeviceOptions {
  readonly address: Address;
  readonly identity: Identity;
  readonly gate: Gate;
  readonly credentials: CredentialsOf;
  /** It was found to be reached otherwise: by HTTPS, or with a certificate that is now pinned. */
  readonly onAddress?: (address: Address) => void;
  /** Milliseconds of a clock that never goes back, for tests. */
  readonly now?: () => number;
  /** The WebSocket with it is gone; not told when this side closed it. */
  readonly onCut?: (why: DeviceFailure) => void;
}

/** Over HTTP, a device that was recognised this long ago may meanwhile be another one at the same address. */
const KNOWN_MS = 30_000;
/** A status says itself whose it is; what else has become of the device is asked now and then. */
const IDENTIFIED_MS = 600_000;
const CONNECT_MS = 5_000;
const STATUS = "Shelly.GetStatus";
const NOBODY: ReadonlyArray<(notice: Notice) => void> = [];

export class RpcDevice implements Device {
  #identity: Identity;
  #address: Address;
  /** Made when it is first needed: a device with a WebSocket is asked nothing by HTTP. */
  #http: DeviceHttp | undefined;
  #peer: { readonly peer: RpcPeer; readonly exempt: boolean } | undefined;
  #knownAt = Number.NEGATIVE_INFINITY;
  #identifiedAt = Number.NEGATIVE_INFINITY;
  #closed = false;
  readonly #options: DeviceOptions;
  readonly #login: Login;
  readonly #turns = new Turns();
  readonly #breaker = new Breaker();
  #listeners: ReadonlyArray<(notice: Notice) => void> = NOBODY;
  /** Of whatever WebSocket stands. */
  readonly #listener: PeerListener = {
    onNotice: (notice) => {
      for (const listener of this.#listeners) listener(notice);
    },
    onClose: (why, peer) => {
      if (this.#peer?.peer !== peer) return;
      this.#peer = undefined;
      this.#options.onCut?.(why);
    },
  };
  readonly #src = `millrace-${randomBytes(6).toString("hex")}`;

  constructor(options: DeviceOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#address = options.address;
    const { credentials, now } = options;
    const realm = () => this.#identity.id;
    this.#login = new Login({ realm, credentials, ...(now === undefined ? {} : { now }) });
  }

  get identity(): Identity {
    return this.#identity;
  }

  get address(): Address {
    return this.#address;
  }

  /** A WebSocket stands. */
  get linked(): boolean {
    return this.#peer?.peer.open === true;
  }

  /** It dialled us. */
  get dialledIn(): boolean {
    return this.linked && this.#peer!.exempt;
  }

  /** It is reached elsewhere from now on; the connection by which it dialled in stays. */
  move(address: Address): void {
    if (!this.dialledIn) this.unlink();
    const old = this.#http;
    this.#breaker.reset();
    this.#address = address;
    this.#http = undefined;
    this.#knownAt = this.#identifiedAt = Number.NEGATIVE_INFINITY;
    void old?.close();
  }

  /** Milliseconds since anything came over it; undefined without one. */
  get silentMs(): number | undefined {
    return this.linked ? this.#peer!.peer.silentMs : undefined;
  }

  ping(): void {
    this.#peer?.peer.ping();
  }

  /** Dials its WebSocket and looks who is there. Does nothing where one stands. @throws DeviceFailure */
  async link(signal?: AbortSignal): Promise<void> {
    await this.#take(async () => {
      if (this.linked) return;
      if (this.#closed) throw failure("not-sent", "This side is ending.");
      const peer = await this.#redirected(() =>
        this.#options.gate.pass(() =>
          dial(
            {
              address: this.#address,
              timeoutMs: CONNECT_MS,
              onPin: (pin) => this.#moved({ ...this.#address, pin }),
              ...(signal === undefined ? {} : { signal }),
            },
            this.#src,
            this.#listener,
          ),
        ),
      );
      this.#peer = { peer, exempt: false };
      try {
        await this.#recognise(peer);
      } catch (error) {
        this.#peer = undefined;
        peer.close(error instanceof DeviceFailure ? error : failure("garbled", "It was not recognised."));
        throw error;
      }
    });
  }

  /** The device dialled us, and is who it should be: its calls need no login there. What stood before is closed. */
  attach(peer: RpcPeer): void {
    this.unlink();
    this.#peer = { peer, exempt: true };
    this.#breaker.reset();
    peer.handTo(this.#listener);
  }

  unlink(): void {
    const before = this.#peer;
    this.#peer = undefined;
    before?.peer.close(failure("not-sent", "This side closed the connection."));
  }

  identify(): Promise<Identity> {
    return this.#take(async () => {
      const answer = resultOf(await this.#sendOpen({ method: "Shelly.GetDeviceInfo" }), "Shelly.GetDeviceInfo");
      return this.#know(answer);
    });
  }

  async report(): Promise<Report> {
    const { shelly, generation } = await this.identify();
    if (generation === 1) throw failure("another-device", "It has become a device of the first generation.");
    return readReport(
      (method, params) => this.#call({ method, ...(params === undefined ? {} : { params }) }),
      shelly,
      generation,
    );
  }

  async status(): Promise<Json> {
    const status = await this.#call({ method: STATUS });
    const mac = textAt(isObject(status) ? status.sys : undefined, "mac");
    if (mac === undefined) this.#identifiedAt = Number.NEGATIVE_INFINITY;
    else {
      if (mac !== this.#identity.mac) assertSame(this.#identity.mac, { ...this.#identity, mac });
      this.#knownAt = performance.now();
    }
    return status;
  }

  call(call: Call, timeoutMs?: number): Promise<Json> {
    if (!("method" in call)) throw failure("invalid-argument", "A device of this generation takes calls by method.");
    const { method, params } = call;
    return this.#call({
      method,
      ...(Object.keys(params).length === 0 ? {} : { params }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  }

  async write({ call, needsReboot, cutsOff }: Write): Promise<Written> {
    try {
      const answer = await this.call(call);
      const said = isObject(answer) && answer.restart_required === true;
      return { answer, restartRequired: needsReboot === "maybe" && said, cut: false };
    } catch (error) {
      if (!cutsOff || !(error instanceof DeviceFailure) || !error.maybeDone) throw error;
      return { answer: null, restartRequired: false, cut: true };
    }
  }

  async reboot(): Promise<void> {
    await this.#call({ method: "Shelly.Reboot", params: { delay_ms: 1_000 } });
  }

  async update(what: Update): Promise<void> {
    await this.#call({ method: "Shelly.Update", params: { ...what } });
  }

  async setAuthentication(login: Credentials | null): Promise<void> {
    if (login !== null && !("ha1" in login))
      throw failure("invalid-argument", "A device of this generation takes a hash.");
    const realm = this.#identity.id!;
    await this.#call({ method: "Shelly.SetAuth", params: { user: "admin", realm, ha1: login?.ha1 ?? null } });
    this.#login.adopt(login ?? undefined);
  }

  assume(login: Credentials | null): void {
    this.#login.adopt(login ?? undefined);
  }

  forgetCredentials(): void {
    this.#login.forget();
  }

  heardOf(): void {
    this.#breaker.reset();
  }

  subscribe(listener: (notice: Notice) => void): () => void {
    this.#listeners = [...this.#listeners, listener];
    return () => {
      this.#listeners = this.#listeners.filter((one) => one !== listener);
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.unlink();
    await this.#http?.close();
  }

  /** One at a time, and not at all while nobody answers there. */
  #take<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.take(() => this.#breaker.guard(work));
  }

  #call(call: RpcCall): Promise<Json> {
    return this.#take(async () => {
      if (isOpen(call.method)) return resultOf(await this.#sendOpen(call), call.method);
      const linked = this.#linkedPeer();
      if (linked?.exempt) {
        const { value } = await linked.peer.call(call, undefined);
        // Firmware that wants a login here as well gets it.
        if (!("error" in value) || value.error.code !== 401) return resultOf(value, call.method);
      }
      if (linked !== undefined) {
        return resultOf(await this.#login.exchange("frame", (proof) => linked.peer.call(call, proof)), call.method);
      }
      const isNamed = call.method === STATUS && performance.now() - this.#identifiedAt < IDENTIFIED_MS;
      if (!isNamed && performance.now() - this.#knownAt > KNOWN_MS) {
        this.#know(resultOf(await this.#sendOpen({ method: "Shelly.GetDeviceInfo" }), "Shelly.GetDeviceInfo"));
      }
      const outcome = await this.#redirected(() =>
        this.#login.exchange("http", (proof) => this.#overHttp(call, proof)),
      );
      return resultOf(outcome, call.method);
    });
  }

  #linkedPeer() {
    return this.linked ? this.#peer : undefined;
  }

  async #sendOpen(call: RpcCall): Promise<RpcOutcome> {
    const linked = this.#linkedPeer();
    const taken =
      linked === undefined
        ? await this.#redirected(() => this.#overHttp(call, undefined))
        : await linked.peer.call(call, undefined);
    return taken.value;
  }

  /** Once more by HTTPS where that is all it speaks, and so from then on. */
  async #redirected<T>(send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (error) {
      const address = this.#address.scheme === "http" ? movedToHttps(this.#address, error) : undefined;
      if (address === undefined) throw error;
      this.#moved(address);
      return await send();
    }
  }

  #moved(address: Address): void {
    const before = this.#address;
    this.#address = address;
    if (before.scheme !== address.scheme || before.pin !== address.pin) {
      const old = this.#http;
      this.#http = undefined;
      // The connection whose certificate was just pinned is under way; it goes with its last answer.
      if (before.scheme !== address.scheme) void old?.close();
    }
    this.#options.onAddress?.(address);
  }

  #overHttp(call: RpcCall, proof: Proof | undefined) {
    const { gate } = this.#options;
    const onPin = (pin: string) => this.#moved({ ...this.#address, pin });
    this.#http ??= new DeviceHttp({ address: this.#address, gate, onPin });
    return callOverHttp(this.#http, call, proof);
  }

  async #recognise(peer: RpcPeer): Promise<void> {
    const { value } = await peer.call({ method: "Shelly.GetDeviceInfo", timeoutMs: CONNECT_MS }, undefined);
    this.#know(resultOf(value, "Shelly.GetDeviceInfo"));
  }

  #know(answer: Json): Identity {
    const found = assertSame(this.#identity.mac, identityOf(answer));
    if (this.#identity.login !== found.login) this.#login.forget();
    // What else it said of itself is of use where nothing more can be read: thousands of these are held.
    this.#identity = found.login ? found : { ...found, shelly: {} };
    this.#identifiedAt = this.#knownAt = performance.now();
    return found;
  }
}

/** Seconds since it began, of a status. */
export const uptimeOf = (status: Json): number | undefined =>
  numberAt(isObject(status) ? status.sys : undefined, "uptime");
