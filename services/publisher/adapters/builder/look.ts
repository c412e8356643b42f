/** What a built application shows to clients and stores, read from its folder and checked by the tools, inside. */
import { lstatSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type AppFiles, checkApp } from "@millrace/domain/publishing/app-checks.ts";
import type { Manifest } from "@millrace/domain/publishing/manifest.ts";
import type { Finding } from "@millrace/domain/publishing/manifest-text.ts";
import { type BuildAsked, placesOf } from "./asked.ts";
import { runInside } from "./sandbox.ts";

const FILE_MOST = 1024 * 1024;
const FILES_MOST = 5_000;
const CHECKED_MOST = 20;

export async function lookAtApp(asked: BuildAsked, { id, kind }: Manifest): Promise<ReadonlyArray<Finding>> {
  if (kind !== "app") return [];
  const root = join(asked.folder, asked.name, "app");
  const paths = [...(await below(root, "export")), ...(await below(root, "files/share"))].slice(0, FILES_MOST);
  const texts = (pattern: RegExp) =>
    paths
      .filter((path) => pattern.test(path))
      .flatMap((path): [string, string][] => textOf(root, path))
      .slice(0, CHECKED_MOST);
  const desktop = new Map(texts(/^export\/share\/applications\/[^/]+\.desktop$/));
  const metainfo = texts(/^files\/share\/(metainfo|appdata)\/[^/]+\.xml$/);
  const appstream = new Map<string, { text: string; said?: string }>();
  for (const [path, text] of metainfo) {
    const said = await told(asked, [
      "appstreamcli",
      "validate",
      "--no-net",
      "--no-color",
      "--format=yaml",
      inside(asked, path),
    ]);
    appstream.set(path, said === undefined ? { text } : { text, said: said.join("\n") });
  }
  const files: AppFiles = { id, paths, desktop, appstream };
  if (desktop.size === 0) return checkApp(files);
  const said = await told(asked, ["desktop-file-validate", ...[...desktop.keys()].map((path) => inside(asked, path))]);
  return checkApp(
    said === undefined ? files : { ...files, said: said.map((line) => line.replace(inside(asked, ""), "")) },
  );
}

const inside = ({ name }: BuildAsked, path: string) => `/build/${name}/app/${path}`;

/** Lines that a tool says; undefined where it is not there, or was ended. */
async function told(asked: BuildAsked, args: string[]): Promise<string[] | undefined> {
  const lines: string[] = [];
  const limits = { ...asked.limits, timeoutMs: 30_000, logBytes: 256 * 1024 };
  const { tools, signal } = asked;
  const ran = await runInside(tools, placesOf(asked), { args, limits, signal, onLine: (line) => lines.push(line) });
  return "failed" in ran || ran.code >= 126 ? undefined : lines;
}

/** Plain files, by their paths from the root; no link is followed. */
async function below(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true, recursive: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

function textOf(root: string, path: string): [string, string][] {
  const at = join(root, path);
  const { size } = lstatSync(at);
  return size > FILE_MOST ? [] : [[path, readFileSync(at, "utf8")]];
}
