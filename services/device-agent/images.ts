/**
 * Firmware images, fetched once and served to devices over plain HTTP in their own network: they need no internet. A file is named by its
 * content, and looked at again before it is served.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { FirmwareIndex, type IndexOptions, type Offered, type Wanted } from "./adapters/firmware-index.ts";
import { listenOf } from "./config.ts";

export interface ImagesOptions extends IndexOptions {
  /** Below which the images are kept. */
  readonly folder: string;
  /** `0.0.0.0:7482` */
  readonly listen: string;
  /** As devices reach this agent; left out: the address from which it would talk to them. */
  readonly host?: string | undefined;
}

const MOST_IMAGES = 100;
const CONNECTIONS = 512;
const NAME = /^\/firmware\/([0-9a-f]{64})\.zip$/;

export class Images {
  readonly #options: ImagesOptions;
  readonly #index: FirmwareIndex;
  readonly #server: Server;
  readonly #fetching = new Map<string, Promise<string>>();

  private constructor(options: ImagesOptions) {
    this.#options = options;
    this.#index = new FirmwareIndex(options);
    this.#server = createServer((request, response) => {
      const sha256 =
        request.method === "GET" || request.method === "HEAD" ? NAME.exec(request.url ?? "")?.[1] : undefined;
      if (sha256 === undefined) return end(response, 404);
      void this.#serve(sha256, response, request.method === "HEAD");
    });
    this.#server.maxConnections = CONNECTIONS;
    this.#server.requestTimeout = 10_000;
    this.#server.headersTimeout = 10_000;
  }

  /** @throws what listening throws: a port that is taken, say */
  static async open(options: ImagesOptions): Promise<Images> {
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    const images = new Images(options);
    const { host, port } = listenOf(options.listen);
    await new Promise<void>((resolve, reject) => {
      images.#server.once("error", reject);
      images.#server.listen(port, host, () => resolve());
    });
    images.#server.on("error", () => {});
    return images;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** What the maker has for it. @throws DeviceFailure device-error: the index could not be had */
  offered(wanted: Wanted, signal: AbortSignal): Promise<Offered | undefined> {
    return this.#index.find(wanted, signal);
  }

  /** Where a device fetches this image from us. @param host of the device @throws DeviceFailure */
  async served(url: string, host: string | undefined, signal: AbortSignal): Promise<string> {
    const sha256 = await this.#kept(url, signal);
    const own = this.#options.host ?? (await addressTowards(host ?? "127.0.0.1"));
    return `http://${own.includes(":") ? `[${own}]` : own}:${this.port}/firmware/${sha256}.zip`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await Promise.all([new Promise((resolve) => this.#server.close(resolve)), this.#index.close()]);
  }

  /** Whoever wants it at the same moment waits for the same. */
  #kept(url: string, signal: AbortSignal): Promise<string> {
    const before = this.#fetching.get(url);
    if (before !== undefined) return before;
    const fetching = this.#fetch(url, signal).finally(() => this.#fetching.delete(url));
    this.#fetching.set(url, fetching);
    return fetching;
  }

  async #fetch(url: string, signal: AbortSignal): Promise<string> {
    const { folder } = this.#options;
    const note = join(folder, `of-${createHash("sha256").update(url).digest("hex")}`);
    const known = await readFile(note, "utf8").catch(() => "");
    if (/^[0-9a-f]{64}$/.test(known) && (await this.#read(known)) !== undefined) return known;
    const { bytes, sha256 } = await this.#index.image(url, signal);
    faultPoint("image.before");
    await put(join(folder, sha256), bytes);
    faultPoint("image.during");
    await put(note, Buffer.from(sha256));
    faultPoint("image.after");
    await this.#tidy();
    return sha256;
  }

  /** @returns undefined: it is not there, or not what its name says */
  async #read(sha256: string): Promise<Buffer | undefined> {
    const file = join(this.#options.folder, sha256);
    const bytes = await readFile(file).catch(() => undefined);
    if (bytes === undefined) return undefined;
    if (createHash("sha256").update(bytes).digest("hex") === sha256) return bytes;
    await rm(file, { force: true });
    return undefined;
  }

  async #serve(sha256: string, response: ServerResponse, isHead: boolean): Promise<void> {
    const bytes = await this.#read(sha256).catch(() => undefined);
    if (bytes === undefined) return end(response, 404);
    const now = new Date();
    await utimes(join(this.#options.folder, sha256), now, now).catch(() => {});
    response.writeHead(200, { "content-type": "application/zip", "content-length": bytes.length, connection: "close" });
    response.end(isHead ? undefined : bytes);
  }

  /** Those that were used longest ago go. */
  async #tidy(): Promise<void> {
    const { folder } = this.#options;
    const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{64}$/.test(name));
    if (names.length <= MOST_IMAGES) return;
    const aged = await Promise.all(
      names.map(async (name) => ({ name, at: (await stat(join(folder, name)).catch(() => undefined))?.mtimeMs ?? 0 })),
    );
    aged.sort((a, b) => a.at - b.at);
    for (const { name } of aged.slice(0, aged.length - MOST_IMAGES)) await rm(join(folder, name), { force: true });
  }
}

/** Whole or not at all. */
async function put(file: string, bytes: Buffer): Promise<void> {
  const mine = `${file}.${process.pid}`;
  await writeFile(mine, bytes, { mode: 0o600, flush: true });
  await rename(mine, file);
}

const end = (response: ServerResponse, status: number): void =>
  void response.writeHead(status, { connection: "close" }).end();

/** The address that this machine would talk to a host from; nothing is sent. */
const addressTowards = (host: string): Promise<string> =>
  new Promise((resolve) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    const done = (address: string) => {
      socket.close();
      resolve(address);
    };
    socket.once("error", () => done("127.0.0.1"));
    socket.connect(9, host, () => done(socket.address().address));
  });
