/** A runtime of one shell, applications that run in it, and clients with homes of their own: all by the real `flatpak`. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { type RunOptions, ToolFailed, Tools } from "@millrace/publisher/adapters/ostree/tools.ts";
import type { TestPublishing } from "./publishing.ts";

export const APP = "org.test.Hello";
const PLATFORM = "org.test.Platform";

/** One `flatpak --user` with nothing in it. */
export interface Client {
  /** @returns standard output @throws ToolFailed */
  flatpak(...args: readonly string[]): Promise<string>;
  /** What it says when it fails. @throws Error when it does not */
  refused(...args: readonly string[]): Promise<string>;
}

export async function newClient({ programs, folder }: TestPublishing, name: string): Promise<Client> {
  const tools = await Tools.open({ env: programs.env, home: join(folder, `client-${name}`) });
  const options: RunOptions = { timeoutMs: 120_000 };
  const [verbs, flags] = [new Set(["run"]), ["--noninteractive"]];
  const flatpak = async (...[verb, ...args]: readonly string[]) => {
    const quiet = verbs.has(verb!) || verb!.startsWith("remote") || verb === "list" || verb === "info" ? [] : flags;
    return (await tools.run("flatpak", [verb!, "--user", ...quiet, ...args], options)).toString();
  };
  return {
    flatpak,
    refused: async (...args) => {
      const said = await flatpak(...args).then(
        (out) => Promise.reject(new Error(`flatpak ${args.join(" ")} did not fail: ${out}`)),
        (error: unknown) => {
          if (error instanceof ToolFailed && error.how === "failed") return error.said;
          throw error;
        },
      );
      return said;
    },
  };
}

/** The shell of this machine with the libraries that it needs, as `usr` of a runtime. */
function runtimeTree(folder: string): string {
  const usr = join(folder, "usr");
  for (const each of ["files", "usr/bin", "usr/lib"]) mkdirSync(join(folder, each), { recursive: true });
  const programs = ["/bin/sh", "/bin/cat"];
  for (const program of programs) copyFileSync(realpathSync(program), join(usr, "bin", basename(program)));
  const linked = programs.map((program) => execFileSync("ldd", [program], { encoding: "utf8" })).join("\n");
  for (const [, path] of linked.matchAll(/(\/\S+\.so\S*)/g)) {
    // Loaders are named by their whole path, /lib64/ld-…: a runtime's `usr/lib64` is that.
    const to = path!.startsWith("/lib64/") ? join(usr, "lib64") : join(usr, "lib", "x86_64-linux-gnu");
    mkdirSync(to, { recursive: true });
    copyFileSync(realpathSync(path!), join(to, basename(path!)));
  }
  return folder;
}

export interface FlatpakWorld {
  /** The runtime, exported into a repository. */
  runtime(to: Repository): Promise<void>;
  /** The application, which says `says` when it is run. @returns its commit */
  app(to: Repository, says: string, more?: { readonly id?: string }): Promise<string>;
}

export function flatpakWorld({ tools, folder }: TestPublishing): FlatpakWorld {
  let count = 0;
  const place = () => join(folder, `tree-${++count}`);
  return {
    runtime: async (to) => {
      const tree = runtimeTree(place());
      const metadata = `[Runtime]\nname=${PLATFORM}\nruntime=${PLATFORM}/x86_64/1\nsdk=${PLATFORM}/x86_64/1\n`;
      writeFileSync(join(tree, "metadata"), metadata);
      await tools.run("flatpak", [
        "build-export",
        "--runtime",
        "--arch=x86_64",
        "--no-update-summary",
        to.root,
        tree,
        "1",
      ]);
    },
    app: async (to, says, { id = APP } = {}) => {
      const tree = place();
      mkdirSync(join(tree, "files", "bin"), { recursive: true });
      mkdirSync(join(tree, "export"), { recursive: true });
      writeFileSync(join(tree, "files", "bin", "hello"), `#!/bin/sh\necho ${says}\n`, { mode: 0o755 });
      // Something worth a delta.
      writeFileSync(join(tree, "files", "much"), Array.from({ length: 4_000 }, (_, n) => `${says} ${n}\n`).join(""));
      const runtime = `runtime=${PLATFORM}/x86_64/1\nsdk=${PLATFORM}/x86_64/1`;
      writeFileSync(join(tree, "metadata"), `[Application]\nname=${id}\n${runtime}\ncommand=hello\n`);
      await tools.run("flatpak", ["build-export", "--arch=x86_64", "--no-update-summary", to.root, tree, "stable"]);
      return (await to.ref(`app/${id}/x86_64/stable`))!;
    },
  };
}
