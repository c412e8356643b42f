/** A build's context as a tar stream, without what .dockerignore names. */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { isAbsolute, join, normalize, relative, sep } from "node:path";
import type { Readable } from "node:stream";
import dockerignore from "@balena/dockerignore";
import tar from "tar-fs";
import { DockerFailed } from "./docker-failures.ts";

/** More entries than this are no source tree. */
const mostEntries = 200_000;

/**
 * Symbolic links stay links: what lies outside the folder is never read. Owners and times are not carried, so that the
 * same tree gives the same stream.
 * @throws DockerFailed BUILD_CONTEXT
 */
export function packContext(folder: string, dockerfile: string, limitBytes: number): Readable {
  const entries = collect(folder, dockerfile, limitBytes);
  return tar.pack(folder, {
    entries,
    // The entries are all there is: folders are not walked again.
    ignore: () => true,
    map: (header) => ({
      ...header,
      uid: 0,
      gid: 0,
      mtime: new Date(0),
      mode: (header.mode ?? 0) & 0o111 ? 0o755 : 0o644,
    }),
  }) as unknown as Readable;
}

/** The text of the Dockerfile. @throws DockerFailed BUILD_DOCKERFILE, BUILD_CONTEXT */
export function readDockerfile(folder: string, dockerfile: string): string {
  const path = inside(folder, dockerfile);
  try {
    // A link could lead anywhere on this machine.
    if (!lstatSync(path).isFile()) throw new Error("it is no file");
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new DockerFailed({
      class: "permanent",
      code: "BUILD_DOCKERFILE",
      reason: `There is no Dockerfile at ${dockerfile}.`,
      fix: "Set build.dockerfile (and build.context) to where it is in the repository.",
      cause: error,
    });
  }
}

function inside(folder: string, path: string): string {
  const whole = join(folder, normalize(path));
  const from = relative(folder, whole);
  if (isAbsolute(path) || from === ".." || from.startsWith(`..${sep}`))
    throw contextFailed(`${path} leads out of the context`);
  return whole;
}

function collect(folder: string, dockerfile: string, limitBytes: number): string[] {
  const filter = readIgnore(folder);
  const always = new Set([normalize(dockerfile), ".dockerignore"]);
  const entries: string[] = [];
  let bytes = 0;
  const walk = (at: string): void => {
    for (const entry of readdirSync(join(folder, at), { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      const path = at === "" ? entry.name : `${at}/${entry.name}`;
      const excluded = !always.has(path) && filter.ignores(path);
      if (entry.isDirectory()) {
        // A folder that is left out may hold what an exception (`!`) takes in again.
        const before = entries.length;
        walk(path);
        if (!excluded || entries.length > before) entries.splice(before, 0, path);
        continue;
      }
      if (excluded || entry.isSocket()) continue;
      if (!entry.isFile() && !entry.isSymbolicLink()) throw contextFailed(`${path} is no file, folder or link`);
      if (entry.isFile()) bytes += lstatSync(join(folder, path)).size;
      if (bytes > limitBytes) throw contextFailed(`it is larger than ${Math.round(limitBytes / 2 ** 20)} MiB`);
      if (entries.push(path) > mostEntries) throw contextFailed(`it has more than ${mostEntries} files`);
    }
  };
  walk("");
  return entries;
}

function readIgnore(folder: string): { ignores(path: string): boolean } {
  const rules = dockerignore.default({ ignorecase: false });
  try {
    if (lstatSync(join(folder, ".dockerignore")).isFile())
      rules.add(readFileSync(join(folder, ".dockerignore"), "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return rules;
}

function contextFailed(why: string): DockerFailed {
  return new DockerFailed({
    class: "permanent",
    code: "BUILD_CONTEXT",
    reason: `The build's context cannot be used: ${why}.`,
    fix: "Leave out what the build does not need by .dockerignore, or set build.context to the folder it needs.",
  });
}
