/**
 * Backups in a bucket of S3 or what speaks like it: path style unless it is AWS itself, one request per object (chunks are small), every
 * request signed with the hash of its content, tried again when the other side is busy.
 */
import { createHash } from "node:crypto";
import { faultPoint } from "../faultpoint.ts";
import { type Signing, sign, uriEncode } from "./sigv4.ts";
import { type StoredObject, type Target, TargetUnavailable } from "./target.ts";

export interface S3Credentials {
  readonly accessKey: string;
  readonly secretKey: string;
}

const REQUEST_MS = 60_000;
const TRIES = 6;
const LISTED_MOST = 16 * 1024 * 1024;
const OBJECT_MOST = 64 * 1024 * 1024;

/**
 * @param where `s3://bucket/prefix?endpoint=https://host:port&region=eu-central-1`; without an endpoint it is AWS
 * @throws TypeError
 */
export function s3Target(where: string, credentials: Partial<S3Credentials>): Target {
  const { base, signing, prefix, description } = readAddress(where, credentials);
  const send = (method: string, name: string | undefined, query: Record<string, string>, content?: Uint8Array) =>
    persist(description, async () => {
      const url = new URL(base);
      if (name !== undefined) url.pathname += (prefix + name).split("/").map(uriEncode).join("/");
      for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
      const contentSha256 = createHash("sha256")
        .update(content ?? "")
        .digest("hex");
      const headers = sign({ method, url, headers: {}, contentSha256, at: new Date() }, signing);
      // `fetch` adds them itself, and refuses to be told.
      const { host: _, ...own } = headers;
      // The query as it was signed: `+` for a blank would be another text.
      url.search = [...url.searchParams].map(([k, v]) => `${uriEncode(k)}=${uriEncode(v)}`).join("&");
      return fetch(url, {
        method,
        headers: own,
        redirect: "error",
        signal: AbortSignal.timeout(REQUEST_MS),
        ...(content === undefined ? {} : { body: Buffer.from(content) }),
      });
    });
  return {
    description,
    async put(name, content) {
      faultPoint("backup.put.written");
      const answer = await send("PUT", name, {}, content);
      await discard(answer);
      if (!answer.ok) throw refused(description, answer, name);
    },
    async get(name) {
      const answer = await send("GET", name, {});
      if (answer.status === 404) return void (await discard(answer));
      if (!answer.ok) throw refused(description, answer, name, await shortly(answer));
      return bytesOf(answer, OBJECT_MOST, description);
    },
    async has(name) {
      const answer = await send("HEAD", name, {});
      await discard(answer);
      if (answer.ok || answer.status === 404) return answer.ok;
      throw refused(description, answer, name);
    },
    async *list(below) {
      let token: string | undefined;
      do {
        const answer = await send("GET", undefined, {
          "list-type": "2",
          prefix: prefix + below,
          ...(token === undefined ? {} : { "continuation-token": token }),
        });
        if (!answer.ok) throw refused(description, answer, below, await shortly(answer));
        const page = readPage((await bytesOf(answer, LISTED_MOST, description)).toString());
        for (const { name, ...rest } of page.objects)
          if (name.startsWith(prefix)) yield { name: name.slice(prefix.length), ...rest };
        token = page.next;
      } while (token !== undefined);
    },
    async remove(name) {
      const answer = await send("DELETE", name, {});
      await discard(answer);
      if (!answer.ok && answer.status !== 404) throw refused(description, answer, name);
    },
  };
}

function readAddress(where: string, { accessKey, secretKey }: Partial<S3Credentials>) {
  if (accessKey === undefined || secretKey === undefined)
    throw new TypeError("a bucket needs MILLRACE_BACKUP_S3_ACCESS_KEY and MILLRACE_BACKUP_S3_SECRET_KEY");
  const url = new URL(where);
  const bucket = url.hostname;
  const { endpoint, region = "us-east-1", ...rest } = Object.fromEntries(url.searchParams);
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) throw new TypeError(`a bucket's address has endpoint and region, not ${unknown}`);
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) throw new TypeError(`no name of a bucket: ${bucket}`);
  let base: URL;
  if (endpoint === undefined) base = new URL(`https://${bucket}.s3.${region}.amazonaws.com/`);
  else {
    if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) throw new TypeError(`no endpoint: ${endpoint}`);
    base = new URL(`${endpoint.replace(/\/+$/, "")}/${bucket}/`);
  }
  const folder = url.pathname.replaceAll(/^\/+|\/+$/g, "");
  const signing: Signing = { accessKey, secretKey, region, service: "s3" };
  return { base, signing, prefix: folder === "" ? "" : `${folder}/`, description: `s3://${bucket}/${folder}` };
}

/** Busy and broken answers, and no answer at all, are asked again: every request here may be repeated. */
async function persist(target: string, ask: () => Promise<Response>): Promise<Response> {
  for (let tries = 1; ; tries++) {
    let reason: string;
    try {
      const answer = await ask();
      if (answer.status < 500 && answer.status !== 429) return answer;
      reason = `${answer.status} ${await shortly(answer)}`;
    } catch (error) {
      const cause = (error as { cause?: { message?: string } }).cause;
      reason = cause?.message ?? (error as Error).message;
    }
    if (tries === TRIES) throw new TargetUnavailable({ target, reason });
    await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** tries * (0.5 + Math.random() / 2)));
  }
}

function refused(target: string, { status }: Response, name: string, text = ""): TargetUnavailable {
  const code = /<Code>([^<]{1,100})<\/Code>/.exec(text)?.[1];
  const why = status === 403 ? "check the access key, its secret, and what it may do" : "check bucket and endpoint";
  return new TargetUnavailable({ target, reason: `${name}: ${status}${code ? ` ${code}` : ""}; ${why}` });
}

const discard = async (answer: Response): Promise<void> => void (await answer.body?.cancel().catch(() => {}));

const shortly = async (answer: Response): Promise<string> =>
  (await answer.text().catch(() => "")).slice(0, 2_000).replaceAll(/\s+/g, " ");

async function bytesOf(answer: Response, most: number, target: string): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const part of answer.body ?? []) {
      bytes += part.length;
      if (bytes > most) throw new Error(`an answer of more than ${most} bytes`);
      parts.push(part);
    }
  } catch (error) {
    throw new TargetUnavailable({ target, reason: `the answer broke off: ${(error as Error).message}` });
  }
  return Buffer.concat(parts, bytes);
}

/** What is needed of the XML of a listing. */
function readPage(xml: string): { readonly objects: StoredObject[]; readonly next: string | undefined } {
  const text = (within: string, tag: string) =>
    new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(within)?.[1]?.replaceAll(/&(amp|lt|gt|quot|apos);/g, entity);
  const objects = [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, one]) => ({
    name: text(one!, "Key") ?? "",
    bytes: Number(text(one!, "Size")),
    modifiedMs: Date.parse(text(one!, "LastModified") ?? ""),
  }));
  const more = text(xml, "IsTruncated") === "true";
  return { objects, next: more ? text(xml, "NextContinuationToken") : undefined };
}

const entity = (_: string, name: string): string => ({ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" })[name] ?? "";
