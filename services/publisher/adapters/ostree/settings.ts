/**
 * What clients are told of a repository beside its references: flatpak's own keys in the repository's `config`, which every summary carries.
 * Written whole, by us: the tool takes them one by one, and can take none off.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder, writeWhole } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Repository } from "./repository.ts";

export interface ToldSettings {
  readonly title?: string | undefined;
  readonly comment?: string | undefined;
  readonly description?: string | undefined;
  readonly homepage?: string | undefined;
  readonly icon?: string | undefined;
  readonly defaultBranch?: string | undefined;
  readonly redirectUrl?: string | undefined;
  /** Public keys, binary, one after the other: clients that trust the one of before learn these. Undefined: none are told. */
  readonly keys?: Buffer | undefined;
}

/** As flatpak 1.14 reads them (`flatpak build-update-repo --title` and so on write the same). */
const NAMES: Readonly<Record<Exclude<keyof ToldSettings, "keys">, string>> = {
  title: "title",
  comment: "comment",
  description: "description",
  homepage: "homepage",
  icon: "icon",
  defaultBranch: "default-branch",
  redirectUrl: "redirect-url",
};

/** A value of a key file: no line of its own, no space at its ends that is lost. */
const escaped = (value: string): string =>
  value
    .replaceAll("\\", "\\\\")
    .replaceAll("\n", "\\n")
    .replaceAll("\r", "\\r")
    .replaceAll("\t", "\\t")
    .replace(/^ /, "\\s");

/** The text with exactly these keys in its group `[flatpak]`, of those that are ours; all else stays. */
export function withSettings(config: string, settings: ToldSettings): string {
  const ours = new Set([...Object.values(NAMES), "gpg-keys"]);
  const lines = Object.entries(NAMES).flatMap(([field, name]) => {
    const value = settings[field as keyof typeof NAMES];
    return value === undefined ? [] : [`${name}=${escaped(value)}`];
  });
  if (settings.keys !== undefined) lines.push(`gpg-keys=${settings.keys.toString("base64")}`);
  let group = "";
  const kept: string[] = [];
  const others: string[] = [];
  for (const line of config.split("\n")) {
    const opened = /^\[(.*)\]$/.exec(line)?.[1];
    if (opened !== undefined) group = opened;
    if (group !== "flatpak") kept.push(line);
    else if (opened === undefined && line.trim() !== "" && !ours.has(line.slice(0, line.indexOf("="))))
      others.push(line);
  }
  while (kept.at(-1)?.trim() === "") kept.pop();
  const own = [...others, ...lines];
  return `${[...kept, ...(own.length === 0 ? [] : ["", "[flatpak]", ...own])].join("\n")}\n`;
}

/** @returns whether anything changed */
export async function writeSettings(repository: Repository, settings: ToldSettings): Promise<boolean> {
  const path = join(repository.root, "config");
  const before = await readFile(path, "utf8");
  const after = withSettings(before, settings);
  if (after === before) return false;
  faultPoint("repository.settings.before");
  await writeWhole(path, after, 0o644);
  await syncFolder(repository.root);
  faultPoint("repository.settings.written");
  return true;
}
