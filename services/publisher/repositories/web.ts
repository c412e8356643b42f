/** The files beside a repository that people and clients begin with: its page, `.flatpakrepo`, keys, a `.flatpakref` for each application. */
import { readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import type { RepositorySettings } from "@millrace/domain/publishing/repository.ts";
import { writeWhole } from "@millrace/eventlog/durable-files.ts";
import { armored } from "../adapters/ostree/keys.ts";
import { parseFlatpakRef } from "../adapters/ostree/names.ts";
import type { Repository } from "../adapters/ostree/repository.ts";
import { parseSummaryIndex, subsetsIn } from "../adapters/ostree/summary.ts";
import type { Tools } from "../adapters/ostree/tools.ts";

export interface Shown {
  readonly name: string;
  readonly settings: RepositorySettings;
  /** Binary, in base64, the newest first. */
  readonly publicKeys: ReadonlyArray<string>;
  /** With a slash at its end. */
  readonly url: string;
}

/** A line of a key file cannot hold another. */
const line = (name: string, value: string | undefined): string[] =>
  value === undefined || value === ""
    ? []
    : [`${name}=${value.replaceAll("\\", "\\\\").replaceAll(/\s*\n\s*/g, "\\n")}`];

export const keysOf = ({ publicKeys }: Pick<Shown, "publicKeys">): Buffer =>
  Buffer.concat(publicKeys.map((key) => Buffer.from(key, "base64")));

/** @param subset of it; left out: all */
export function flatpakrepo(shown: Shown, subset?: string): string {
  const { settings, url, name } = shown;
  return `${[
    "[Flatpak Repo]",
    ...line("Title", `${settings.title ?? name}${subset === undefined ? "" : ` (${subset})`}`),
    ...line("Url", url),
    ...line("Homepage", settings.homepage),
    ...line("Comment", settings.comment),
    ...line("Description", settings.description),
    ...line("Icon", settings.icon),
    ...line("DefaultBranch", settings.defaultBranch),
    ...line("Subset", subset),
    ...line("GPGKey", keysOf(shown).toString("base64")),
  ].join("\n")}\n`;
}

export function flatpakref(shown: Shown, ref: string, hasRuntimes: boolean): string {
  const [kind, id, , branch] = ref.split("/");
  const { name, url, settings } = shown;
  return `${[
    "[Flatpak Ref]",
    ...line("Name", id),
    ...line("Branch", branch),
    ...line("Title", `${id} from ${settings.title ?? name}`),
    ...line("IsRuntime", kind === "runtime" ? "true" : "false"),
    ...line("Url", url),
    ...line("SuggestRemoteName", name),
    ...line("GPGKey", keysOf(shown).toString("base64")),
    ...line("RuntimeRepo", hasRuntimes ? `${url}${name}.flatpakrepo` : undefined),
  ].join("\n")}\n`;
}

/** Parts of others that nobody installs by themselves. */
const IS_PART = /\.(Debug|Locale|Sources|Docs)$/;

/** One reference of each application and runtime: the default branch's where there is one, else `stable`, else the first. */
export function offered(refs: Iterable<string>, defaultBranch = "stable"): Map<string, string> {
  const found = new Map<string, string>();
  const rank = (ref: string): number => [defaultBranch, "stable"].indexOf(ref.slice(ref.lastIndexOf("/") + 1));
  for (const ref of [...refs].sort()) {
    const parsed = parsedRef(ref);
    if (parsed === undefined || IS_PART.test(parsed)) continue;
    const known = found.get(parsed);
    const better = known !== undefined && rank(ref) >= 0 && (rank(known) < 0 || rank(ref) < rank(known));
    if (known === undefined || better) found.set(parsed, ref);
  }
  return found;
}

function parsedRef(ref: string): string | undefined {
  if (!/^(app|runtime)\//.test(ref)) return undefined;
  try {
    parseFlatpakRef(ref);
    return ref.split("/")[1];
  } catch {
    return undefined;
  }
}

const html = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

export function indexPage(shown: Shown, all: ReadonlyMap<string, string>, isPrivate: boolean): string {
  const { name, settings, url } = shown;
  const title = html(settings.title ?? name);
  const file = `${name}.flatpakrepo`;
  const rows = [...all].map(
    ([id, ref]) =>
      `<li><a href="${html(encodeURIComponent(id))}.flatpakref">${html(id)}</a> ${html(ref.split("/").slice(2).join(" "))}</li>`,
  );
  const add = isPrivate
    ? `flatpak remote-add --gpg-import=key.gpg ${name} ${url.replace("://", "://user:TOKEN@")}`
    : `flatpak remote-add --if-not-exists ${name} ${url}${file}`;
  return [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>${title}</title></head><body>`,
    `<h1>${title}</h1>`,
    ...(settings.comment === undefined ? [] : [`<p>${html(settings.comment)}</p>`]),
    ...(settings.description === undefined ? [] : [`<p>${html(settings.description)}</p>`]),
    ...(settings.homepage === undefined
      ? []
      : [`<p><a rel="noreferrer" href="${html(settings.homepage)}">${html(settings.homepage)}</a></p>`]),
    `<pre>${html(add)}</pre>`,
    `<p><a href="${html(file)}">${html(file)}</a> · <a href="key.asc">key.asc</a> · <a href="key.gpg">key.gpg</a></p>`,
    `<ul>${rows.join("\n")}</ul>`,
    "</body></html>",
    "",
  ].join("\n");
}

/** Only what has changed is written, so that tags stay what they are; what is no longer offered goes. */
export async function writeWeb(tools: Tools, repository: Repository, web: string, shown: Shown): Promise<void> {
  await mkdir(web, { recursive: true });
  const refs = await repository.refs();
  const all = offered(refs.keys(), shown.settings.defaultBranch);
  const hasRuntimes = [...refs.keys()].some((ref) => ref.startsWith("runtime/"));
  const index = await readFile(join(repository.root, "summary.idx")).catch(() => undefined);
  const subsets = index === undefined ? [] : subsetsIn(parseSummaryIndex(index));
  const files = new Map<string, string | Buffer>([
    [`${shown.name}.flatpakrepo`, flatpakrepo(shown)],
    ...subsets.map((subset) => [`${shown.name}-${subset}.flatpakrepo`, flatpakrepo(shown, subset)] as const),
    ["key.gpg", keysOf(shown)],
    ["key.asc", armored(keysOf(shown))],
    ["index.html", indexPage(shown, all, shown.settings.visibility === "private")],
    ...[...all].map(([id, ref]) => [`${id}.flatpakref`, flatpakref(shown, ref, hasRuntimes)] as const),
  ]);
  let looked = 0;
  for (const [name, content] of files) {
    const path = join(web, name);
    if (!isAs(path, content)) await writeWhole(path, content, 0o644);
    // There is one for each application: others have their turn.
    if (++looked % 64 === 0) await turn();
  }
  for (const name of await readdir(web)) {
    if (/\.(flatpakref|flatpakrepo)$/.test(name) && !files.has(name)) await rm(join(web, name), { force: true });
  }
  for (const [ref, commit] of await repository.refs("appstream")) await checkOut(tools, repository, web, ref, commit);
}

function isAs(path: string, content: string | Buffer): boolean {
  try {
    return readFileSync(path).equals(Buffer.from(content));
  } catch {
    return false;
  }
}

/** The catalogue of an architecture with its icons, as `appstream/<arch>`. */
async function checkOut(tools: Tools, repository: Repository, web: string, ref: string, commit: string): Promise<void> {
  const to = join(web, ref);
  if ((await readFile(join(to, ".commit"), "utf8").catch(() => "")) === commit) return;
  const fresh = join(web, `.new-${process.pid}`);
  await rm(fresh, { recursive: true, force: true });
  await tools.run("ostree", [`--repo=${repository.root}`, "checkout", "--user-mode", "--force-copy", commit, fresh]);
  await writeWhole(join(fresh, ".commit"), commit, 0o644);
  await mkdir(join(web, "appstream"), { recursive: true });
  await rm(to, { recursive: true, force: true });
  await rename(fresh, to);
}
