/** The maker's indexes of firmware (reference, 2.6; both are undocumented), and images fetched over HTTP: bounded in size and time. */
import { createHash } from "node:crypto";
import { Agent, request } from "undici";
import { DeviceFailure, failure, printable } from "./shelly/failures.ts";
import { isObject, type Json, parseJson, textAt } from "./shelly/json.ts";

export interface IndexOptions {
  /** Gen2 and later: `<index>/<app>`. */
  readonly rpcIndex: string;
  readonly gen1Index: string;
  /** PEM of the authority of the maker's servers, where the system does not know it. */
  readonly ca?: string | undefined;
}

export interface Offered {
  readonly version: string;
  readonly build?: string;
  readonly url: string;
}

export interface Wanted {
  readonly generation: number;
  readonly model: string;
  readonly app?: string;
  readonly stage: "stable" | "beta";
}

const INDEX_BYTES = 512 * 1024;
export const IMAGE_BYTES = 32 * 1024 * 1024;
const TIMEOUT_MS = 30_000;
/** An index is asked again after this. */
const FRESH_MS = 300_000;
const KEPT = 500;
const NOTHING = Buffer.from("{}");

export class FirmwareIndex {
  readonly #options: IndexOptions;
  readonly #agent: Agent;
  readonly #known = new Map<string, { readonly at: number; readonly answer: Promise<Json> }>();

  constructor(options: IndexOptions) {
    this.#options = options;
    const { ca } = options;
    this.#agent = new Agent({ connections: 4, ...(ca === undefined ? {} : { connect: { ca } }) });
  }

  /** @returns undefined: it has none for this device @throws DeviceFailure: the index could not be had */
  async find({ generation, model, app, stage }: Wanted, signal: AbortSignal): Promise<Offered | undefined> {
    const { rpcIndex, gen1Index } = this.#options;
    if (generation === 1) {
      const all = await this.#index(gen1Index, signal);
      const data = isObject(all) ? all.data : undefined;
      const found = isObject(data) && Object.hasOwn(data, model) ? data[model] : undefined;
      const [version, url] = stage === "beta" ? ["beta_ver", "beta_url"] : ["version", "url"];
      return offeredOf(textAt(found, version), textAt(found, version), textAt(found, url));
    }
    if (app === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(app)) return undefined;
    const all = await this.#index(`${rpcIndex.replace(/\/$/, "")}/${app}`, signal);
    const found = isObject(all) ? all[stage] : undefined;
    return offeredOf(textAt(found, "version"), textAt(found, "build_id"), textAt(found, "url"));
  }

  /** @throws DeviceFailure */
  async image(url: string, signal: AbortSignal): Promise<{ readonly bytes: Buffer; readonly sha256: string }> {
    const bytes = await this.#get(url, IMAGE_BYTES, signal);
    return { bytes, sha256: createHash("sha256").update(bytes).digest("hex") };
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  #index(url: string, signal: AbortSignal): Promise<Json> {
    const before = this.#known.get(url);
    if (before !== undefined && performance.now() - before.at < FRESH_MS) return before.answer;
    // What the maker has no firmware for is no failure.
    const answer = this.#get(url, INDEX_BYTES, signal, NOTHING).then((bytes) => parseJson(bytes.toString("utf8")));
    this.#known.delete(url);
    this.#known.set(url, { at: performance.now(), answer });
    if (this.#known.size > KEPT) this.#known.delete(this.#known.keys().next().value!);
    answer.catch(() => this.#known.delete(url));
    return answer;
  }

  /** @param absent what is answered where nothing is there; left out: that is a failure */
  async #get(url: string, most: number, signal: AbortSignal, absent?: Buffer): Promise<Buffer> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
    try {
      const { statusCode, headers, body } = await request(url, { dispatcher: this.#agent, signal: within });
      if (statusCode !== 200) {
        await body.dump();
        if (statusCode === 404 && absent !== undefined) return absent;
        throw missing(url, `answers ${statusCode}`);
      }
      const pieces: Buffer[] = [];
      let bytes = 0;
      for await (const piece of body) {
        bytes += piece.length;
        if (bytes > most) throw missing(url, `sends more than ${most} bytes`);
        pieces.push(piece);
      }
      const told = Number(headers["content-length"]);
      if (Number.isFinite(told) && told !== bytes) throw missing(url, "broke off");
      return Buffer.concat(pieces);
    } catch (error) {
      if (error instanceof DeviceFailure) throw error;
      throw missing(url, printable((error as Error).message).slice(0, 200));
    }
  }
}

const FIX =
  "See whether this agent reaches it; a certificate of the maker's own authority is given by MILLRACE_FIRMWARE_CA.";

function missing(url: string, why: string): DeviceFailure {
  const { reason, again, maybeDone } = failure("device-error", `${URL.parse(url)?.host ?? "The address"} ${why}.`);
  return new DeviceFailure({ kind: "device-error", reason, again, maybeDone, fix: FIX });
}

function offeredOf(
  version: string | undefined,
  build: string | undefined,
  url: string | undefined,
): Offered | undefined {
  if (version === undefined || version === "" || url === undefined || !/^https?:\/\//.test(url)) return undefined;
  return { version, url, ...(build === undefined ? {} : { build }) };
}
