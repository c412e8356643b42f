/** Uploads what a repository in archive mode holds, as far as the build's repository does not have it, and names its references. */
import { openAsBlob } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { usage } from "../failure.ts";
import { bodyOf, gatewayOf, pathOf as pathOfOperation } from "../gateway.ts";
import { OPERATIONS } from "../operations.ts";
import type { AnyCall } from "../table.ts";

type Call = AnyCall & {
  readonly args: { readonly build: string; readonly folder: string };
  readonly flags: { readonly ref?: string | undefined };
};

/** Names in one question, bytes and files in one upload. */
const ASKED = 10_000;
const BATCH_BYTES = 8 * 1024 * 1024;
const BATCH_FILES = 2_000;
const REFS_AT_ONCE = 500;
const UPLOAD = "uploadObjects";

export async function pushBuild(call: Call): Promise<void> {
  const { build, folder } = call.args;
  const config = await readFile(join(folder, "config"), "utf8").catch(() => "");
  if (!/^mode=archive(-z2)?$/m.test(config)) {
    throw usage(`"${folder}" is no repository in archive mode`, "flatpak-builder --repo=<folder> makes one");
  }
  const all = [...(await refsOf(join(folder, "refs", "heads")))].filter(([ref]) =>
    /^(app|runtime|screenshots)\//.test(ref),
  );
  const refs = call.flags.ref === undefined ? all : all.filter(([ref]) => ref === call.flags.ref);
  if (refs.length === 0) throw usage("There is no reference to push", "ostree refs --repo=<folder> lists them");
  const gateway = gatewayOf(call);
  const missing: string[] = [];
  let names = 0;
  for (const some of pieces(await objectsOf(folder), ASKED)) {
    names += some.length;
    const answer = await gateway.call("missingObjects", { params: { id: build }, payload: { wanted: some } });
    missing.push(...answer.missing);
  }
  call.io.err(`${missing.length} of ${names} objects are to be sent\n`);
  // Metadata last: what leads somewhere comes after what it leads to.
  const inOrder = [...missing.filter(isContent), ...missing.filter((name) => !isContent(name))];
  const { method, path: template } = OPERATIONS[UPLOAD];
  const path = pathOfOperation(template, { org: await gateway.org(), id: build });
  let sent = 0;
  for await (const batch of batches(folder, inOrder)) {
    const body = await bodyOfParts(folder, batch);
    const headers = { "content-type": `multipart/mixed; boundary=${BOUNDARY}` };
    bodyOf(await gateway.raw({ method, path, headers, body }));
    sent += batch.length;
    call.io.err(`${sent} of ${missing.length} sent\n`);
  }
  const named = refs.map(([ref, commit]) => ({ ref, commit }));
  for (const some of pieces(named, REFS_AT_ONCE)) {
    await gateway.call("declareRefs", { params: { id: build }, payload: { refs: some } });
  }
  for (const [ref, commit] of refs) await call.io.out(`${commit} ${ref}\n`);
  call.io.err(`Next: mill builds commit ${build}\n`);
}

const isContent = (name: string): boolean => name.endsWith(".filez");

function* pieces<T>(all: ReadonlyArray<T>, most: number): Generator<T[]> {
  for (let at = 0; at < all.length; at += most) yield all.slice(at, at + most);
}

async function refsOf(folder: string, prefix = ""): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const ref = prefix + entry.name;
    if (entry.isDirectory()) for (const each of await refsOf(join(folder, entry.name), `${ref}/`)) found.set(...each);
    else found.set(ref, (await readFile(join(folder, entry.name), "latin1")).trim());
  }
  return found;
}

/** Names of all objects of a repository. */
async function objectsOf(folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const two of await readdir(join(folder, "objects"))) {
    if (!/^[0-9a-f]{2}$/.test(two)) continue;
    for (const rest of await readdir(join(folder, "objects", two))) names.push(two + rest);
  }
  return names.filter((name) => /^[0-9a-f]{64}\.(commit|dirtree|dirmeta|filez)$/.test(name));
}

const pathOf = (folder: string, name: string): string => join(folder, "objects", name.slice(0, 2), name.slice(2));

async function* batches(folder: string, names: ReadonlyArray<string>): AsyncGenerator<string[]> {
  let batch: string[] = [];
  let bytes = 0;
  for (const name of names) {
    const { size } = await stat(pathOf(folder, name));
    if (batch.length > 0 && (bytes + size > BATCH_BYTES || batch.length >= BATCH_FILES)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(name);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

const BOUNDARY = "millrace-objects";

/** The files as one body, read as it is sent, from its beginning when it is sent again. */
async function bodyOfParts(folder: string, parts: ReadonlyArray<string>): Promise<Blob> {
  const pieces: (string | Blob)[] = [];
  for (const name of parts) {
    pieces.push(`--${BOUNDARY}\r\nContent-Type: application/octet-stream\r\n`);
    pieces.push(`Content-Disposition: attachment; filename="${name}"\r\n\r\n`);
    pieces.push(await openAsBlob(pathOf(folder, name)), "\r\n");
  }
  return new Blob([...pieces, `--${BOUNDARY}--\r\n`]);
}
