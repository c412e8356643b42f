/** A folder as one archive: without what `.millraceignore` names, and always the same for the same files. */
import { createReadStream, createWriteStream } from "node:fs";
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import ignore from "ignore";
import { pack } from "tar-stream";
import { usage } from "./failure.ts";

type Ignore = ReturnType<typeof ignore>;

interface Packed {
  readonly path: string;
  readonly kind: "file" | "link";
  readonly size: number;
  readonly executable: boolean;
}

/** What goes into the archive, sorted. The syntax of `.millraceignore` is that of `.gitignore`. */
export async function listFolder(root: string): Promise<readonly Packed[]> {
  const rules = await readFile(join(root, ".millraceignore"), "utf8").catch(() => "");
  const out = ignore().add([".git", ".millraceignore"]).add(rules);
  const found: Packed[] = [];
  await walk(root, "", out, found);
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function walk(root: string, below: string, out: Ignore, found: Packed[]): Promise<void> {
  for (const name of await readdir(join(root, below))) {
    const path = below === "" ? name : `${below}/${name}`;
    const entry = await lstat(join(root, path));
    // A rule that ends with a slash is for folders.
    if (out.ignores(entry.isDirectory() ? `${path}/` : path)) continue;
    if (entry.isDirectory()) await walk(root, path, out, found);
    else if (entry.isSymbolicLink()) found.push({ path, kind: "link", size: 0, executable: false });
    else if (entry.isFile())
      found.push({ path, kind: "file", size: entry.size, executable: (entry.mode & 0o100) !== 0 });
  }
}

/** Writes the archive. @returns how many files it has */
export async function packFolder(root: string, target: string): Promise<number> {
  const entries = await listFolder(root);
  if (entries.length === 0) throw usage(`${root} holds nothing that could be uploaded`, "Look at its .millraceignore");
  const packing = pack();
  const writing = pipeline(
    packing as unknown as NodeJS.ReadableStream,
    createGzip(),
    createWriteStream(target, { mode: 0o600 }),
  );
  // Told by `writing`, too, which is waited for below.
  writing.catch(() => {});
  // Of when it was packed, and by whom, nothing is in it: the same files are the same archive.
  const common = { mtime: new Date(0), uid: 0, gid: 0 };
  for (const { path, kind, size, executable } of entries) {
    const from = join(root, path);
    if (kind === "link") {
      packing.entry({ ...common, name: path, type: "symlink", linkname: await readlink(from) });
      continue;
    }
    const entry = packing.entry({ ...common, name: path, size, mode: executable ? 0o755 : 0o644 });
    await pipeline(createReadStream(from), entry as unknown as NodeJS.WritableStream);
  }
  packing.finalize();
  await writing;
  return entries.length;
}
