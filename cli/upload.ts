/** Sends a file by tus 1.0.0: in one stream, and on from where it stopped whenever that breaks off. */
import { createReadStream } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { Failure, interrupted, usage } from "./failure.ts";
import { bodyOf, type Gateway, pathOf, type RawAnswer, sleep } from "./gateway.ts";
import type { Io } from "./io.ts";
import { OPERATIONS } from "./operations.ts";
import { packFolder } from "./pack.ts";
import { EXIT } from "./table.ts";

const TUS = { "tus-resumable": "1.0.0" } as const;
const ARCHIVE = /\.(tar|tgz|tar\.gz|tar\.zst|tzst|zip)$/;
/** Failures in a row, without a byte that got there, after which it is given up. */
const ATTEMPTS = 20;
const LONGEST_PAUSE_MS = 5_000;

/** Packs a folder, and uploads that, or the archive. @returns the id of the upload, which is complete */
export async function uploadPath(gateway: Gateway, io: Io, path: string, node: string | undefined): Promise<string> {
  const place = resolve(io.cwd, path);
  const found = await stat(place).catch(() => undefined);
  if (found === undefined) throw usage(`There is no ${path}`, "Name a folder, or an archive");
  if (found.isFile()) {
    if (!ARCHIVE.test(place))
      throw usage(`${path} is no archive`, "Name a folder, or a .tar, .tar.gz, .tar.zst or .zip");
    return uploadFile(gateway, io, place, found.size, node);
  }
  const folder = await mkdtemp(join(tmpdir(), "mill-upload-"));
  try {
    const archive = join(folder, `${basename(place) || "folder"}.tar.gz`);
    const files = await packFolder(place, archive);
    const { size } = await stat(archive);
    io.err(`Packed ${files} files of ${path}: ${size} bytes\n`);
    return await uploadFile(gateway, io, archive, size, node);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function uploadFile(
  gateway: Gateway,
  io: Io,
  file: string,
  size: number,
  node: string | undefined,
): Promise<string> {
  if (size === 0) throw usage(`${file} is empty`);
  const org = await gateway.org();
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const metadata = [`filename ${base64(basename(file))}`, ...(node === undefined ? [] : [`node ${base64(node)}`])];
  const made = bodyOf(
    await gateway.raw({
      method: "POST",
      path: pathOf(OPERATIONS.createUpload.path, { org }),
      headers: { ...TUS, "upload-length": `${size}`, "upload-metadata": metadata.join(",") },
    }),
  ) as { readonly id: string };
  const path = pathOf(OPERATIONS.continueUpload.path, { org, id: made.id });
  let before = -1;
  for (let failures = 0; ; ) {
    const answer = await gateway.raw({ method: "HEAD", path, headers: TUS });
    if (answer.status !== 204 && answer.status !== 200) bodyOf(answer);
    const offset = Number(answer.headers.get("upload-offset"));
    if (offset === size) return made.id;
    failures = offset > before ? 0 : failures + 1;
    before = offset;
    if (failures > ATTEMPTS) {
      throw new Failure("unreachable", EXIT.failure, `The upload ${made.id} does not get on`, {
        why: `${offset} of ${size} bytes have arrived`,
      });
    }
    if (failures > 0) await sleep(Math.min(LONGEST_PAUSE_MS, 50 * 2 ** failures), io.interrupted);
    const sent = await send(gateway, io, path, file, offset, size).catch(() => undefined);
    if (io.interrupted.aborted) throw interrupted();
    // A place that has moved, or a node that is away for a moment: asked again, and gone on with.
    if (sent !== undefined && sent.status >= 400 && ![409, 429, 503].includes(sent.status)) bodyOf(sent);
  }
}

/** One piece: all that is left. */
function send(
  { target }: Gateway,
  io: Io,
  path: string,
  file: string,
  offset: number,
  size: number,
): Promise<RawAnswer> {
  const url = new URL(target.url + path);
  const request = url.protocol === "https:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const source = createReadStream(file, { start: offset, highWaterMark: 512 * 1024 });
    const sending = request(url, {
      method: "PATCH",
      agent: false,
      signal: io.interrupted,
      headers: {
        ...TUS,
        ...(target.token === undefined ? {} : { authorization: `Bearer ${target.token}` }),
        "content-type": "application/offset+octet-stream",
        "content-length": size - offset,
        "upload-offset": offset,
      },
    });
    const fail = (error: Error) => {
      source.destroy();
      sending.destroy();
      reject(error);
    };
    source.on("error", fail);
    sending.on("error", fail);
    sending.on("response", (answer) => {
      source.unpipe(sending);
      source.destroy();
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", fail);
      answer.on("end", () => {
        const headers = new Headers(
          Object.entries(answer.headers).map(([name, value]): [string, string] => [name, String(value)]),
        );
        resolve({ status: answer.statusCode ?? 0, headers, text: Buffer.concat(chunks).toString("utf8") });
      });
    });
    source.pipe(sending);
  });
}
