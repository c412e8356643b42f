/**
 * The real tools of publishing for a test file: those installed, or Debian's, brought once into the cache; skips with the reason where
 * there are none. Homes and folders of its own, gone at the end of the test.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type PublishingPrograms, publishingPrograms } from "@millrace/local/flatpak.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { Tools } from "@millrace/publisher/adapters/ostree/tools.ts";
import type { TestContext } from "./suite.ts";

export interface TestPublishing {
  readonly tools: Tools;
  readonly folder: string;
  readonly programs: PublishingPrograms;
  /** A new repository in archive mode. */
  repository(name?: string): Promise<Repository>;
  /** Commits a folder's content as one file tree. @returns the commit */
  commit(repository: Repository, tree: string, ref: string, more?: ReadonlyArray<string>): Promise<string>;
  /** Whether `ostree fsck` finds nothing wrong; what it says otherwise. */
  fsck(repository: Repository): Promise<string | undefined>;
}

let known: ReturnType<typeof publishingPrograms> | undefined;

export async function testPublishing(context: Pick<TestContext, "skip" | "defer">): Promise<TestPublishing> {
  known ??= publishingPrograms({ bring: true });
  const programs = await known;
  if (!("env" in programs)) return context.skip(programs.why);
  const folder = mkdtempSync(join(tmpdir(), "millrace-publishing-"));
  context.defer(() => rmSync(folder, { recursive: true, force: true }));
  const tools = await Tools.open({ env: programs.env, home: join(folder, "home") });
  let count = 0;
  return {
    tools,
    folder,
    programs,
    repository: (name = `repo-${++count}`) => Repository.init(tools, join(folder, name)),
    commit: async (repository, tree, ref, more = []) => {
      const args = [`--repo=${repository.root}`, "commit", `--branch=${ref}`, "--no-xattrs", ...more, tree];
      return (await tools.run("ostree", args)).toString("ascii").trim();
    },
    fsck: (repository) =>
      tools.run("ostree", [`--repo=${repository.root}`, "fsck", "--quiet"]).then(
        () => undefined,
        (error: Error) => error.message,
      ),
  };
}
