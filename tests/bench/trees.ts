/** Repositories of a benchmark's own: with many objects, or with many references. */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import type { Tools } from "@millrace/publisher/adapters/ostree/tools.ts";

/** Files of 1 to 8 KB of text that packs to about a half, none twice; not synced. @returns references with their commits */
export async function fillObjects(
  tools: Tools,
  root: string,
  { refs, files, tree }: { readonly refs: number; readonly files: number; readonly tree: string },
): Promise<{ readonly repository: Repository; readonly refs: ReadonlyMap<string, string> }> {
  const repository = await Repository.init(tools, root);
  const made = new Map<string, string>();
  for (let part = 0; part < 10; part++) mkdirSync(join(tree, `part-${part}`), { recursive: true });
  for (let at = 0; at < refs; at++) {
    for (let file = 0; file < files; file++) {
      const words = Array.from(
        { length: 40 + ((file * 7) % 600) },
        (_, i) => ((at * files + file) * 7919 * (i + 1)) % 1_000_003,
      );
      writeFileSync(join(tree, `part-${file % 10}`, `file-${file}`), words.join(" "));
    }
    const ref = `app/org.test.A${at}/x86_64/stable`;
    const args = [`--repo=${root}`, "commit", `--branch=${ref}`, "--no-xattrs", "--fsync=false", tree];
    made.set(ref, (await tools.run("ostree", args)).toString("ascii").trim());
  }
  return { repository, refs: made };
}

/** One commit of an application with the metadata that flatpak looks for. @returns its reference and id */
export async function commitApp(
  tools: Tools,
  root: string,
  { app, tree, content }: { readonly app: string; readonly tree: string; readonly content: string },
): Promise<{ readonly ref: string; readonly commit: string }> {
  const ref = `app/${app}/x86_64/stable`;
  const metadata = `[Application]\nname=${app}\nruntime=org.test.Platform/x86_64/1\n`;
  for (const folder of ["files", "export"]) mkdirSync(join(tree, folder), { recursive: true });
  writeFileSync(join(tree, "metadata"), metadata);
  writeFileSync(join(tree, "files/content"), content);
  const more = [`--add-metadata-string=xa.metadata=${metadata}`, `--add-metadata-string=xa.ref=${ref}`];
  const args = [`--repo=${root}`, "commit", `--branch=${ref}`, "--no-xattrs", "--fsync=false", ...more, tree];
  return { ref, commit: (await tools.run("ostree", args)).toString("ascii").trim() };
}

/**
 * Adds references with a commit each, until there are so many: commits of one tree that differ in the name of their application, which
 * always has the same length, so that a commit is another's bytes with the name replaced.
 */
export async function addRefs(tools: Tools, repository: Repository, count: number, folder: string): Promise<void> {
  const name = (at: number): string => `org.test.N${`${at}`.padStart(6, "0")}`;
  const first = await commitApp(tools, repository.root, {
    app: name(0),
    tree: join(folder, "first"),
    content: "first",
  });
  const bytes = repository.read(`${first.commit}.commit`)!.toString("latin1");
  const there = (await repository.refs("app")).size;
  for (let at = there; at < count; at++) {
    const commit = Buffer.from(bytes.replaceAll(name(0), name(at)), "latin1");
    const id = createHash("sha256").update(commit).digest("hex");
    put(repository.path(`${id}.commit`), commit);
    put(join(repository.root, "refs/heads", first.ref.replace(name(0), name(at))), `${id}\n`);
  }
}

function put(path: string, content: Buffer | string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}
