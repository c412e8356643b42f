/** What of a flat-manager's configuration counts here, and the repositories that it names. */
import { readFileSync } from "node:fs";
import {
  type FlatManagerConfig,
  NOT_TAKEN_OVER,
  readFlatManagerConfig,
  repositoryNameOf,
} from "@millrace/contracts/publishing/flat-manager.ts";
import { REPOSITORY_PATTERNS } from "@millrace/contracts/publishing/repository-parts.ts";
import { Failure, usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { printList } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall } from "../table.ts";

type Call = AnyCall & { readonly args: { readonly file: string } };

interface Imported {
  /** As its clients call it. */
  readonly repo: string;
  readonly repository: string;
  readonly outcome: "created" | "there already";
}

/** @throws Failure naming all that is wrong, and no value */
function read(file: string): FlatManagerConfig {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw usage(`The configuration cannot be read: ${(error as Error).message}`);
  }
  const config = readFlatManagerConfig(text);
  if (!("faults" in config)) return config;
  const faults = config.faults.map(({ pointer, detail }) => `${pointer} ${detail}`.trim());
  throw usage(`This is no configuration of flat-manager: ${faults.join("; ")}`);
}

/** Keys of the file that say something here would not follow. */
function notTakenOver(config: FlatManagerConfig): string[] {
  const isSaid = (from: object, key: string): boolean => {
    const value = (from as Readonly<Record<string, unknown>>)[key];
    const isEmpty = typeof value === "object" && value !== null && Object.keys(value).length === 0;
    return value !== undefined && value !== null && !isEmpty;
  };
  return Object.entries(NOT_TAKEN_OVER).flatMap(([key, why]) => {
    const inner = key.startsWith("repos.") ? key.slice("repos.".length) : undefined;
    const said =
      inner === undefined ? isSaid(config, key) : Object.values(config.repos).some((repo) => isSaid(repo, inner));
    return said ? [`${key}: ${why}`] : [];
  });
}

export async function importFlatManager(call: Call): Promise<void> {
  const config = read(call.args.file);
  const gateway = gatewayOf(call);
  const imported: Imported[] = [];
  for (const [repo, settings] of Object.entries(config.repos)) {
    const name = repositoryNameOf(repo)!;
    const collectionId = settings["collection-id"] ?? undefined;
    const fits = collectionId !== undefined && REPOSITORY_PATTERNS.collectionId.test(collectionId);
    if (collectionId !== undefined && !fits) call.io.err(`${repo}: its collection id is none that ostree takes\n`);
    const title = settings["suggested-repo-name"] ?? undefined;
    const payload = {
      name,
      ...(title === undefined ? {} : { title }),
      ...(fits ? { collectionId } : {}),
    };
    try {
      await gateway.call("createRepository", { payload });
      imported.push({ repo, repository: name, outcome: "created" });
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "conflict") throw error;
      imported.push({ repo, repository: name, outcome: "there already" });
    }
  }
  const shown = [
    { title: "repo", value: (row: Imported) => row.repo },
    { title: "repository", value: (row: Imported) => row.repository },
    { title: "outcome", value: (row: Imported) => row.outcome },
  ];
  await printList(call.io, styleOf(call), imported, shown, (row) => row.repository);
  for (const line of notTakenOver(config)) call.io.err(`Not taken over: ${line}\n`);
  call.io.err(
    "Next: start the gateway with MILLRACE_FLAT_MANAGER_CONFIG_FILE naming this file, so that its tokens are taken\n",
  );
}
