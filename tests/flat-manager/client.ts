/**
 * What flat-manager's two clients send, byte for byte as far as servers can tell them apart, for tests against ours:
 *
 *     python   to 0.4.6: `multipart/mixed` without names, file names escaped for headers, gzip by chunks
 *     rust     from 0.5: `multipart/form-data`, what is missing asked again after the upload, counts checked
 *
 * Both send bodies with GET, want exactly 200 and `application/json`, try again what answers 500 and above, and give up at the rest.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { walk } from "@millrace/publisher/adapters/ostree/closure.ts";
import { encodeDelta } from "@millrace/publisher/adapters/ostree/names.ts";
import type { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";

export type Dialect = "python" | "rust";

export interface FlatAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server says
  readonly body: any;
}

export interface Sent {
  readonly headers?: Readonly<Record<string, string>>;
  /** In these pieces, each written by itself. */
  readonly body?: ReadonlyArray<Buffer> | AsyncIterable<Buffer>;
}

/** Said by a server in its own form. */
export class FlatFailure extends Error {
  readonly answer: FlatAnswer;
  constructor(method: string, path: string, answer: FlatAnswer) {
    super(`${method} ${path}: ${answer.status} ${answer.text.slice(0, 500)}`);
    this.answer = answer;
  }
}

/** Names of what a push sends, and how much of it. */
export interface Pushed {
  readonly build: number;
  readonly missing: number;
  readonly uploads: number;
  readonly refs: ReadonlyMap<string, string>;
}

export interface PushFiles {
  readonly name: string;
  readonly content: Buffer;
}

/** Objects go in requests of about so many bytes, a larger one alone. */
const BATCH_BYTES = 4 * 1024 * 1024;
const NAMES_AT_ONCE = 2_000;
const UPLOADING = 0;
const COMMITTING = 1;

/** The body of an upload. */
export function multipart(dialect: Dialect, files: ReadonlyArray<PushFiles>, boundary: string): Buffer {
  const head = ({ name, content }: PushFiles, index: number): string =>
    dialect === "python"
      ? `--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="${encodeURIComponent(name)}"\r\nContent-Length: ${content.length}\r\n\r\n`
      : `--${boundary}\r\nContent-Disposition: form-data; name="file${index}"; filename="${name}"\r\nContent-Type: application/octet-stream\r\n\r\n`;
  return Buffer.concat([
    ...files.flatMap((file, index) => [Buffer.from(head(file, index)), file.content, Buffer.from("\r\n")]),
    Buffer.from(`--${boundary}--\r\n`),
  ]);
}

export class FlatClient {
  readonly url: string;
  readonly token: string;
  readonly dialect: Dialect;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 });

  constructor(url: string, token: string, dialect: Dialect) {
    this.url = url;
    this.token = token;
    this.dialect = dialect;
  }

  close(): void {
    this.#agent.destroy();
  }

  /** @param path from the server's root, or a whole address as the server gave it */
  send(method: string, path: string, { headers = {}, body }: Sent = {}): Promise<FlatAnswer> {
    const own = {
      accept: "*/*",
      "user-agent": this.dialect === "python" ? "Python/3.11 aiohttp/3.8.4" : "flat-manager-client/0.5.3",
      ...(this.token === "" ? {} : { authorization: `Bearer ${this.token}` }),
    };
    return new Promise((resolve, reject) => {
      // As it is written: an address would be put in order.
      const raw = path.startsWith("/") ? { path } : {};
      const sending = httpRequest(new URL(path, this.url), {
        ...raw,
        method,
        agent: this.#agent,
        headers: { ...own, ...headers },
      });
      sending.once("error", reject);
      sending.once("response", (response) => {
        const pieces: Buffer[] = [];
        response.on("data", (piece: Buffer) => pieces.push(piece));
        response.once("error", reject);
        response.once("end", () => {
          const text = Buffer.concat(pieces).toString("utf8");
          const isJson = response.headers["content-type"] === "application/json";
          const { statusCode: status = 0 } = response;
          resolve({ status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined });
        });
      });
      if (body === undefined) return void sending.end();
      writeAll(sending, body).catch(reject);
    });
  }

  json(method: string, path: string, value: unknown): Promise<FlatAnswer> {
    const text = Buffer.from(JSON.stringify(value));
    const headers = { "content-type": "application/json", "content-length": `${text.length}` };
    return this.send(method, path, { headers, body: [text] });
  }

  async expect(status: number, method: string, path: string, value?: unknown): Promise<FlatAnswer> {
    const answer = await (value === undefined ? this.send(method, path) : this.json(method, path, value));
    if (answer.status !== status) throw new FlatFailure(method, path, answer);
    // Nothing else is read by aiohttp's `json()`.
    if (status !== 204) assert.equal(answer.headers["content-type"], "application/json", path);
    return answer;
  }

  async create(repo: string, appId?: string): Promise<number> {
    const asked = this.dialect === "python" ? { repo } : { repo, "public-download": null, "build-log-url": null };
    const { body, headers } = await this.expect(200, "POST", "/api/v1/build", {
      ...asked,
      ...(appId === undefined ? {} : { "app-id": appId }),
    });
    assert.ok(headers.location?.endsWith(`/api/v1/build/${body.id}`), `Location is ${headers.location}`);
    return body.id as number;
  }

  async missing(build: number, names: ReadonlyArray<string>): Promise<string[]> {
    const missing: string[] = [];
    for (let at = 0; at < names.length; at += NAMES_AT_ONCE) {
      const packed = gzipSync(JSON.stringify({ wanted: names.slice(at, at + NAMES_AT_ONCE) }));
      const path = `/api/v1/build/${build}/missing_objects`;
      // Node sends no body with GET unless it is told how long it is.
      const framing: Record<string, string> =
        this.dialect === "python" ? { "transfer-encoding": "chunked" } : { "content-length": `${packed.length}` };
      const headers = { "content-type": "application/json", "content-encoding": "gzip", ...framing };
      const answer = await this.send("GET", path, { headers, body: [packed] });
      if (answer.status !== 200) throw new FlatFailure("GET", path, answer);
      missing.push(...(answer.body.missing as string[]));
    }
    return missing;
  }

  /** @param pieces bytes that are written at once; left out: all of it */
  async upload(build: number, files: ReadonlyArray<PushFiles>, pieces?: number): Promise<number[]> {
    const boundary = randomBytes(16).toString("hex");
    const type =
      this.dialect === "python" ? `multipart/mixed; boundary=${boundary}` : `multipart/form-data; boundary=${boundary}`;
    const whole = multipart(this.dialect, files, boundary);
    const size = pieces ?? whole.length;
    const path = `/api/v1/build/${build}/upload`;
    const body = Array.from({ length: Math.ceil(whole.length / size) }, (_, at) =>
      whole.subarray(at * size, (at + 1) * size),
    );
    const answer = await this.send("POST", path, { headers: { "content-type": type }, body });
    if (answer.status !== 200) throw new FlatFailure("POST", path, answer);
    const sizes = answer.body as number[];
    // The newer client sends all of it again where one is missing.
    assert.deepEqual(
      sizes,
      files.map(({ content }) => content.length),
    );
    return sizes;
  }

  async uploadAll(build: number, files: Iterable<PushFiles>): Promise<number> {
    let batch: PushFiles[] = [];
    let bytes = 0;
    let count = 0;
    const flush = async () => {
      if (batch.length > 0) await this.upload(build, batch);
      count += batch.length > 0 ? 1 : 0;
      [batch, bytes] = [[], 0];
    };
    for (const file of files) {
      if (bytes + file.content.length > BATCH_BYTES) await flush();
      batch.push(file);
      bytes += file.content.length;
    }
    await flush();
    return count;
  }

  /** What `push` does, in its order. */
  async push(
    build: number,
    from: Repository,
    refs: ReadonlyMap<string, string>,
    extraIds: string[] = [],
  ): Promise<Pushed> {
    const { objects } = await walk(
      from,
      [...refs.values()].map((commit) => `${commit}.commit`),
    );
    const isFile = (name: string) => name.endsWith(".filez");
    const metadata = [...objects].filter((name) => !isFile(name));
    const file = (name: string): PushFiles => ({ name, content: readFileSync(from.path(name)) });
    let missing = await this.missing(build, metadata);
    missing.push(...(await this.missing(build, [...objects].filter(isFile))));
    const count = missing.length;
    let uploads = 0;
    for (let round = 0; missing.length > 0; round++) {
      assert.ok(round < 3, `what was uploaded is missing still: ${missing[0]}`);
      const sorted = [...missing.filter(isFile), ...missing.filter((name) => !isFile(name))];
      uploads += await this.uploadAll(build, sorted.map(file));
      if (this.dialect === "python") break;
      missing = await this.missing(build, missing);
    }
    const deltas = [...refs.values()].flatMap((commit) => deltaFiles(from, commit));
    if (deltas.length > 0) {
      await this.upload(build, deltas);
      uploads++;
    }
    for (const [ref, commit] of refs) {
      const path = `/api/v1/build/${build}/build_ref`;
      const { body } = await this.expect(200, "POST", path, { ref, commit, "build-log-url": null });
      assert.deepEqual([body.build_id, body.ref_name, body.commit], [build, ref, commit]);
    }
    if (extraIds.length > 0) await this.expect(200, "POST", `/api/v1/build/${build}/add_extra_ids`, { ids: extraIds });
    return { build, missing: count, uploads, refs };
  }

  /** Follows a job as `follow-job` does. @returns its log and what came of it */
  async follow(
    location: string,
  ): Promise<{ readonly log: string; readonly status: number; readonly results: any; readonly polls: number }> {
    let log = "";
    for (let polls = 1; ; polls++) {
      const { body } = await this.expect(200, "GET", location, { "log-offset": log.length });
      log += body.log;
      assert.equal(Buffer.byteLength(log), log.length, "clients count bytes, or characters");
      assert.ok(body.start_after === null && [0, 1, 2, 3].includes(body.status));
      if (body.status > 1) {
        assert.equal(typeof body.results, "string");
        return { log, status: body.status, results: JSON.parse(body.results), polls };
      }
      assert.ok(!("results" in body), "a job that runs has no results");
      assert.ok(polls < 300, `the job does not end: ${log}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async commit(build: number, terms: object = {}) {
    const asked = { endoflife: null, endoflife_rebase: null, ...terms };
    const { headers } = await this.expect(200, "POST", `/api/v1/build/${build}/commit`, asked);
    assert.ok(headers.location?.endsWith(`/api/v1/build/${build}/commit`));
    for (;;) {
      const { body } = await this.expect(200, "GET", `/api/v1/build/${build}/extended`);
      assert.deepEqual(body.checks, []);
      if (body.build.repo_state !== COMMITTING) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return this.follow(headers.location!);
  }

  /** With the job that updates the summary, as `--wait-update` does. */
  async publish(build: number) {
    const { headers } = await this.expect(200, "POST", `/api/v1/build/${build}/publish`, {});
    assert.ok(headers.location?.endsWith(`/api/v1/build/${build}/publish`));
    const job = await this.follow(headers.location!);
    const update = job.results["update-repo-job"];
    return { job, update: update === undefined ? undefined : await this.follow(`/api/v1/job/${update}`) };
  }
}

export { UPLOADING };

async function writeAll(sending: ReturnType<typeof httpRequest>, body: NonNullable<Sent["body"]>): Promise<void> {
  for await (const piece of body) {
    if (sending.destroyed) return;
    if (!sending.write(piece))
      await new Promise<void>((resolve) => void sending.once("drain", resolve).once("close", resolve));
  }
  sending.end();
}

/** Static deltas from nothing, as they lie in a client's repository. */
function deltaFiles(from: Repository, commit: string): PushFiles[] {
  const name = encodeDelta({ from: undefined, to: commit });
  const folder = join(from.root, "deltas", name.slice(0, 2), name.slice(2));
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((part) => ({
    name: `${name}.${part}.delta`,
    content: readFileSync(join(folder, part)),
  }));
}
