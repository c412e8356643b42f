/** Files that belong to work items. */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { Failure, usage } from "../failure.ts";
import { bodyOf, gatewayOf, pathOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { OPERATIONS } from "../operations.ts";
import { printList } from "../output.ts";
import { styleOf } from "../run.ts";
import { save } from "../save.ts";
import { type AnyCall, type Call, EXIT, type None } from "../table.ts";
import type { Answer } from "../typed.ts";

type Item = Answer<"getItem">;
type Attachment = Item["attachments"][number];
type Args<K extends string> = { readonly [P in K]: { readonly summary: string } };

/** What the endings of files say; of all others nothing is said. */
const MEDIA_TYPES: Readonly<Record<string, string>> = {
  ".csv": "text/csv",
  ".gif": "image/gif",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".json": "application/json",
  ".log": "text/plain",
  ".md": "text/markdown",
  ".pdf": "application/pdf",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain",
  ".webp": "image/webp",
  ".zip": "application/zip",
};

const shown = [
  { title: "id", value: ({ id }: Attachment) => id },
  { title: "name", value: ({ name }: Attachment) => oneLine(name) },
  { title: "bytes", value: ({ bytes }: Attachment) => bytes },
  { title: "type", value: ({ mediaType }: Attachment) => mediaType },
  { title: "added", value: ({ addedAt }: Attachment) => addedAt },
  { title: "by", value: ({ addedBy }: Attachment) => oneLine(addedBy.name) },
];

const print = (call: AnyCall, attachments: ReadonlyArray<Attachment>) =>
  printList(call.io, styleOf(call), attachments, shown, ({ id }) => id);

export async function attach(call: Call<None, Args<"item" | "file">>): Promise<void> {
  const { io, args } = call;
  const place = resolve(io.cwd, args.file);
  const found = await stat(place).catch(() => undefined);
  if (found?.isFile() !== true) throw usage(`There is no file ${args.file}`);
  if (found.size === 0) throw usage(`${args.file} is empty`);
  if (found.size > LIMITS.attachmentBytes) {
    throw usage(`${args.file} has ${found.size} bytes, an attachment at most ${LIMITS.attachmentBytes}`);
  }
  const gateway = gatewayOf(call);
  const mediaType = MEDIA_TYPES[extname(place).toLowerCase()];
  const { method, path } = OPERATIONS.attachFile;
  const answer = await gateway.raw({
    method,
    path: pathOf(path, { org: await gateway.org(), id: args.item }, { name: basename(place), mediaType }),
    headers: { "content-type": "application/octet-stream" },
    body: await readFile(place),
  });
  await print(call, (bodyOf(answer) as Item).attachments.slice(-1));
}

export async function list(call: Call<None, Args<"item">>): Promise<void> {
  const { attachments } = await gatewayOf(call).call("getItem", { params: { id: call.args.item } });
  if (attachments.length === 0) call.io.err("It has no attachments\n");
  await print(call, attachments);
}

/** One of an item's, by id or by a name that only one has. @throws Failure (not-found) */
async function named(call: AnyCall, item: string, wanted: string): Promise<Attachment> {
  const { attachments } = await gatewayOf(call).call("getItem", { params: { id: item } });
  const found = attachments.filter(({ id, name }) => id === wanted || name === wanted);
  if (found.length === 1) return found[0]!;
  const what = found.length === 0 ? "no attachment" : "more than one attachment";
  throw new Failure("not-found", EXIT.notFound, `There is ${what} "${wanted}"`, {
    fix: `Their ids: \`mill work attachments ${item}\``,
  });
}

/** What others have called a file must not say where it lies here. */
const plainName = (name: string, id: string): string => {
  const plain = basename(name.replaceAll("\\", "/")).replaceAll(/\p{Cc}/gu, "_");
  return /^\.*$/.test(plain) ? id : plain;
};

export async function download(
  call: Call<{ readonly to: { readonly type: "string"; readonly summary: string } }, Args<"item" | "attachment">>,
): Promise<void> {
  const { io, args, flags } = call;
  const { id, name, sha256 } = await named(call, args.item, args.attachment);
  const gateway = gatewayOf(call);
  const { method, path } = OPERATIONS.contentOfAttachment;
  const answer = await gateway.raw({
    method,
    path: pathOf(path, { org: await gateway.org(), id: args.item, attachment: id }, {}),
    headers: { accept: "*/*" },
  });
  if (answer.status !== 200) bodyOf(answer);
  if (answer.bytes === undefined || createHash("sha256").update(answer.bytes).digest("hex") !== sha256) {
    throw new Failure("damaged", EXIT.failure, `What came is not ${oneLine(name)}: its hash is another`, {
      fix: "Try again",
    });
  }
  await save(io, flags.to ?? plainName(name, id), answer.bytes);
}

export async function detach(call: Call<None, Args<"item" | "attachment">>): Promise<void> {
  const { io, args } = call;
  const { id, name } = await named(call, args.item, args.attachment);
  await gatewayOf(call).call("removeAttachment", { params: { id: args.item, attachment: id } });
  io.err(`Took ${oneLine(name)} off ${args.item}\n`);
}
