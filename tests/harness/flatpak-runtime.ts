/**
 * A runtime and an SDK for builds in tests: a shell and the usual small programs of this machine with their libraries, as
 * `org.test.Platform` and `org.test.Sdk` in a repository. Made once, kept in the cache beside the tools; whoever needs another
 * architecture gets the same programs under its name, for what is labelled is all that matters here.
 */
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "@millrace/local/binaries.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { buildUpdateRepo } from "@millrace/publisher/adapters/ostree/tools.ts";
import type { TestPublishing } from "./publishing.ts";
import type { TestContext } from "./suite.ts";

export const RUNTIME = { platform: "org.test.Platform", sdk: "org.test.Sdk", branch: "1" } as const;

/** As flatpak names it. */
export const HERE = process.arch === "arm64" ? "aarch64" : "x86_64";

const PROGRAMS =
  "cat ls sed grep mkdir cp mv rm ln chmod install env true false test touch find tar gzip id uname sleep head tr dd date wc seq".split(
    " ",
  );

/** flatpak-builder has the SDK make the catalogue of an application's AppStream data. */
const COMPOSE = `#!/bin/sh
set -eu
origin=flatpak; prefix=/app; out=/app/share/app-info/xmls; name=
for word in "$@"; do case "$word" in
  --basename=*) name=\${word#*=} ;; --prefix=*) prefix=\${word#*=} ;; --origin=*) origin=\${word#*=} ;; --*) ;; *) name=$word ;;
esac; done
out=$prefix/share/app-info/xmls; mkdir -p "$out"
{ printf '<?xml version="1.0" encoding="UTF-8"?>\\n<components version="0.8" origin="%s">\\n' "$origin"
  for dir in metainfo appdata; do for file in "$prefix/share/$dir"/*.xml; do [ -f "$file" ] && grep -v '^<?xml' "$file"; done; done
  printf '</components>\\n'; } | gzip -9n > "$out/$name.xml.gz"
`;

function programs(): Map<string, string> | string {
  const found = new Map<string, string>();
  const path = ["/usr/bin", "/bin", ...(process.env.PATH ?? "").split(delimiter)];
  for (const name of ["dash", ...PROGRAMS]) {
    const folder = path.find((each) => existsSync(join(each, name)));
    if (folder === undefined) return name;
    found.set(name, realpathSync(join(folder, name)));
  }
  return found;
}

/** Libraries that a program is linked with, the loader among them. */
const librariesOf = (program: string): string[] =>
  [...execFileSync("ldd", [program], { encoding: "utf8" }).matchAll(/(?:=>\s+|^\s+)(\/\S+)/gm)].map(
    ([, path]) => path!,
  );

function makeTree(folder: string, id: string, arch: string, found: ReadonlyMap<string, string>): void {
  const usr = join(folder, "usr");
  for (const part of ["files", "usr/bin", "usr/lib"]) mkdirSync(join(folder, part), { recursive: true });
  const at = (name: string) => `${name}/${arch}/${RUNTIME.branch}`;
  writeFileSync(
    join(folder, "metadata"),
    `[Runtime]\nname=${id}\nruntime=${at(RUNTIME.platform)}\nsdk=${at(RUNTIME.sdk)}\n`,
  );
  const libraries = new Set<string>();
  for (const [name, program] of found) {
    copyFileSync(program, join(usr, "bin", name));
    chmodSync(join(usr, "bin", name), 0o755);
    for (const library of librariesOf(program)) libraries.add(library);
  }
  symlinkSync("dash", join(usr, "bin/sh"));
  for (const library of libraries) {
    // Where its program looks for it: the loader at its own path, the others in the usual folder.
    const place = basename(library).startsWith("ld-")
      ? dirname(library).replace(/^\/(usr\/)?/, "")
      : "lib/x86_64-linux-gnu";
    mkdirSync(join(usr, place), { recursive: true });
    copyFileSync(realpathSync(library), join(usr, place, basename(library)));
    chmodSync(join(usr, place, basename(library)), 0o755);
  }
  if (id === RUNTIME.sdk) writeFileSync(join(usr, "bin/appstream-compose"), COMPOSE, { mode: 0o755 });
}

/**
 * A repository with the runtime and the SDK; never written to.
 * @param arch default: this machine's
 */
export async function testRuntime(
  context: Pick<TestContext, "skip">,
  publishing: TestPublishing,
  arch: string = HERE,
): Promise<Repository> {
  const found = programs();
  if (typeof found === "string") return context.skip(`the program ${found} is not here, of which a runtime is made`);
  const made =
    readFileSync(fileURLToPath(import.meta.url), "utf8") + JSON.stringify([...found, publishing.programs.versions]);
  const key = createHash("sha256").update(made).digest("hex").slice(0, 16);
  const root = join(cacheFolder(process.env), "test-runtime", `${arch}-${key}`);
  if (existsSync(root)) return Repository.open(root);
  const scratch = mkdtempSync(join(tmpdir(), "millrace-runtime-"));
  const fresh = `${root}.new-${randomBytes(4).toString("hex")}`;
  try {
    mkdirSync(dirname(root), { recursive: true });
    const repository = await Repository.init(publishing.tools, fresh);
    for (const id of [RUNTIME.platform, RUNTIME.sdk]) {
      const tree = join(scratch, id);
      makeTree(tree, id, arch, found);
      const args = ["build-export", "--runtime", "--no-update-summary", "--disable-sandbox", `--arch=${arch}`];
      await publishing.tools.run("flatpak", [...args, fresh, tree, RUNTIME.branch]);
    }
    await buildUpdateRepo(publishing.tools, repository.root, {});
    // Another test file may have been faster.
    if (!existsSync(root)) renameSync(fresh, root);
    return Repository.open(root);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    rmSync(fresh, { recursive: true, force: true });
  }
}
