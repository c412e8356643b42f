/**
 * A device of the first generation: HTTP with a query, Basic authentication, no parallel requests, and a pause between two of them
 * (shellyscanner leaves 59 ms; the vendor gives no number).
 */
import type { Call, QueryValue, Report, Write } from "@millrace/domain/devices/model/report.ts";
import type { Address } from "./address.ts";
import { Breaker } from "./backoff.ts";
import { assertSame, type Device, type Identity, identityOf, type Update, type Written } from "./device.ts";
import { DeviceFailure, type DeviceFailureKind, failure, printable } from "./failures.ts";
import { Turns } from "./gate.ts";
import { DeviceHttp, type HttpAnswer } from "./http.ts";
import { type Json, parseJson, textAt } from "./json.ts";
import { type Credentials, Login } from "./login.ts";
import type { DeviceOptions } from "./rpc-device.ts";
import type { Notice } from "./rpc-peer.ts";

const PAUSE_MS = 60;
/** A password goes to nobody who was not recognised this short ago. */
const KNOWN_MS = 30_000;

const KINDS: ReadonlyMap<number, DeviceFailureKind> = new Map([
  [400, "invalid-argument"],
  [403, "refused"],
  [404, "not-found"],
  [429, "too-busy"],
  [503, "too-busy"],
]);

export class Gen1Device implements Device {
  #identity: Identity;
  #knownAt = Number.NEGATIVE_INFINITY;
  readonly #address: Address;
  readonly #http: DeviceHttp;
  readonly #login: Login;
  readonly #turns = new Turns(PAUSE_MS);
  readonly #breaker = new Breaker();

  constructor({ address, identity, gate, credentials, onAddress }: DeviceOptions) {
    this.#identity = identity;
    this.#address = address;
    this.#http = new DeviceHttp({ address, gate, onPin: (pin) => onAddress?.({ ...address, pin }) });
    this.#login = new Login({ realm: () => undefined, credentials });
  }

  get identity(): Identity {
    return this.#identity;
  }

  get address(): Address {
    return this.#address;
  }

  async identify(): Promise<Identity> {
    return this.#take(async () => this.#know(await this.#read("/shelly", undefined)));
  }

  async report(): Promise<Report> {
    const { shelly } = await this.identify();
    const settings = await this.#get("/settings", {});
    const status = await this.#get("/status", {});
    const actions = await this.#get("/settings/actions", {}).catch((error: unknown) => {
      if (error instanceof DeviceFailure && error.kind === "not-found") return undefined;
      throw error;
    });
    return { generation: 1, shelly, settings, status, ...(actions === undefined ? {} : { actions }) };
  }

  async status(): Promise<Json> {
    const status = await this.#get("/status", {});
    const mac = textAt(status, "mac");
    if (mac !== undefined) assertSame(this.#identity.mac, { ...this.#identity, mac });
    return status;
  }

  call(call: Call, timeoutMs?: number): Promise<Json> {
    if (!("path" in call)) throw failure("invalid-argument", "A device of this generation takes calls by path.");
    return this.#get(call.path, call.query, timeoutMs);
  }

  async write({ call, needsReboot, cutsOff }: Write): Promise<Written> {
    try {
      return { answer: await this.call(call), restartRequired: needsReboot === "always", cut: false };
    } catch (error) {
      if (!cutsOff || !(error instanceof DeviceFailure) || !error.maybeDone) throw error;
      return { answer: null, restartRequired: false, cut: true };
    }
  }

  async reboot(): Promise<void> {
    await this.#get("/reboot", {});
  }

  async update(what: Update): Promise<void> {
    if ("url" in what) await this.#get("/ota", { url: what.url });
    else await this.#get("/ota", what.stage === "beta" ? { beta: "true" } : { update: "true" });
  }

  async setAuthentication(login: Credentials | null): Promise<void> {
    if (login !== null && "ha1" in login)
      throw failure("invalid-argument", "A device of this generation takes a password.");
    await this.#get(
      "/settings/login",
      login === null ? { enabled: "false" } : { enabled: "true", username: login.username, password: login.password },
    );
    this.#login.adopt(login ?? undefined);
    this.#knownAt = Number.NEGATIVE_INFINITY;
  }

  assume(login: Credentials | null): void {
    this.#login.adopt(login ?? undefined);
  }

  forgetCredentials(): void {
    this.#login.forget();
    this.#knownAt = Number.NEGATIVE_INFINITY;
  }

  heardOf(): void {
    this.#breaker.reset();
  }

  /** Devices of this generation tell by CoIoT alone, which is heard elsewhere. */
  subscribe(_: (notice: Notice) => void): () => void {
    return () => {};
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  /** One at a time, and not at all while nobody answers there. */
  #take<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.take(() => this.#breaker.guard(work));
  }

  #get(path: string, query: Readonly<Record<string, QueryValue>>, timeoutMs?: number): Promise<Json> {
    const uri = pathOf(path, query);
    return this.#take(async () => {
      if (performance.now() - this.#knownAt > KNOWN_MS) this.#know(await this.#read("/shelly", undefined));
      if (!this.#identity.login) return this.#read(uri, undefined, timeoutMs);
      return this.#login.basic((authorization) => this.#read(uri, authorization, timeoutMs));
    });
  }

  async #read(path: string, authorization: string | undefined, timeoutMs?: number): Promise<Json> {
    const answer = await this.#http.request({
      method: "GET",
      path,
      again: path === "/shelly",
      ...(authorization === undefined ? {} : { headers: { authorization } }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    return jsonOf(answer, path);
  }

  #know(answer: Json): Identity {
    const found = assertSame(this.#identity.mac, identityOf(answer));
    if (found.login !== this.#identity.login) this.#login.forget();
    this.#identity = found;
    this.#knownAt = performance.now();
    return found;
  }
}

/** @throws DeviceFailure */
function jsonOf({ status, body }: HttpAnswer, path: string): Json {
  const where = path.replace(/\?.*$/s, "");
  if (status === 401) throw failure("wrong-credentials", "It does not take the login that is known.", { code: 401 });
  if (status >= 400) {
    const said = printable(body).slice(0, 200);
    throw failure(KINDS.get(status) ?? "device-error", `${where}: ${said === "" ? "an error" : said} (${status})`, {
      code: status,
      maybeDone: status >= 500,
    });
  }
  return parseJson(body);
}

/** Path and query as they are sent. @throws DeviceFailure invalid-argument, for a path that is none */
export function pathOf(path: string, query: Readonly<Record<string, QueryValue>>): string {
  if (!/^\/[A-Za-z0-9_./-]{0,200}$/.test(path)) throw failure("invalid-argument", "The path is none.");
  const pairs = Object.entries(query).flatMap(([key, value]) =>
    (typeof value === "string" ? [value] : value).map((one) => `${encodeURIComponent(key)}=${encodeURIComponent(one)}`),
  );
  return pairs.length === 0 ? path : `${path}?${pairs.join("&")}`;
}
