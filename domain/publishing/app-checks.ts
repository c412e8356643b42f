/** What was built, looked at before anybody installs it: desktop files, AppStream, what it exports. Pure; the tools' words come in as text. */
import { type Finding, type Json, readManifestText, Unreadable } from "./manifest-text.ts";
import { parseKeyFile } from "./metadata.ts";

/** Files of a built application that matter to clients and stores, by their paths from `/app`. */
export interface AppFiles {
  readonly id: string;
  /** All paths below `share/`, and those that are exported, `export/share/…`. */
  readonly paths: ReadonlyArray<string>;
  /** Texts of `.desktop` and `.service` files that are exported. */
  readonly desktop: ReadonlyMap<string, string>;
  /** What `appstreamcli validate --format=yaml` says of each metainfo file; its text where the tool is not there. */
  readonly appstream: ReadonlyMap<string, { readonly text: string; readonly said?: string }>;
  /** Lines of `desktop-file-validate`, where it is there. */
  readonly said?: ReadonlyArray<string>;
}

const MOST = 100;
const say = (severity: Finding["severity"], code: string, path: string, message: string, fix: string): Finding => ({
  severity,
  code,
  path,
  message,
  fix,
});

export function checkApp(app: AppFiles): ReadonlyArray<Finding> {
  const found: Finding[] = [];
  const metainfo = [...app.appstream];
  if (metainfo.length === 0) {
    const fix = `Install share/metainfo/${app.id}.metainfo.xml.`;
    found.push(say("warning", "NO_APPSTREAM", "", "It has no AppStream data, so stores do not show it.", fix));
  }
  if (!app.paths.some((path) => path.startsWith(`export/share/icons/`) && path.includes(app.id))) {
    const fix = `Install an icon named ${app.id} below share/icons/hicolor.`;
    if (app.desktop.size > 0) found.push(say("warning", "NO_ICON", "", "It exports no icon of its name.", fix));
  }
  for (const [path, { text, said }] of metainfo) {
    found.push(...(said === undefined ? [] : appstreamFindings(path, said)), ...checkComponent(path, text, app.id));
  }
  for (const [path, text] of app.desktop) found.push(...checkDesktopFile(path, text, app.id));
  for (const line of app.said ?? []) {
    const [, path, level, message] = /^(.*?): (error|warning|hint): (.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    const severity = level === "error" ? "warning" : "note";
    found.push(say(severity, "DESKTOP_FILE", path.slice(0, 300), message!.slice(0, 300), "Correct it there."));
  }
  return found.slice(0, MOST);
}

const SEVERITIES: Readonly<Record<string, Finding["severity"]>> = {
  error: "warning",
  warning: "warning",
  info: "note",
};

/** What appstreamcli finds; pedantry is left out. A store may turn an application away for its errors; it can be installed all the same. */
export function appstreamFindings(path: string, said: string): ReadonlyArray<Finding> {
  let report: Json;
  try {
    report = readManifestText(said, "report.yml");
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return [
      say("warning", "APPSTREAM", path, "What appstreamcli says of it cannot be read.", "Run appstreamcli validate."),
    ];
  }
  const issues = (report as { readonly Issues?: Json } | null)?.Issues;
  if (!Array.isArray(issues)) return [];
  return (issues as ReadonlyArray<Readonly<Record<string, Json>>>).flatMap((issue) => {
    const severity = SEVERITIES[String(issue.severity)];
    if (severity === undefined) return [];
    const line = issue.line === undefined ? "" : `:${String(issue.line)}`;
    const hint = issue.hint === undefined ? "" : ` (${String(issue.hint).slice(0, 100)})`;
    const why = String(issue.explanation ?? "Look at what appstreamcli says.").slice(0, 400);
    return [say(severity, "APPSTREAM", `${path}${line}`, `${String(issue.tag)}${hint}`, why)];
  });
}

function checkComponent(path: string, text: string, id: string): Finding[] {
  const named = /<id>\s*([^<]*?)\s*<\/id>/.exec(text)?.[1];
  if (named === undefined) return [say("warning", "APPSTREAM", path, "It names no component.", `Say <id>${id}</id>.`)];
  if (named === id || named === `${id}.desktop`) return [];
  const message = `It describes ${named.slice(0, 100)}, not ${id}.`;
  return [say("warning", "APPSTREAM_ID", path, message, `Say <id>${id}</id>.`)];
}

/** The group and keys that clients read of it. */
export function checkDesktopFile(path: string, text: string, id: string): ReadonlyArray<Finding> {
  if (path.endsWith(".service")) return [];
  const entry = parseKeyFile(text).get("Desktop Entry");
  const wrong = (message: string, fix: string) => say("warning", "DESKTOP_FILE", path, message, fix);
  if (entry === undefined) return [wrong("It has no group [Desktop Entry].", "Begin it with [Desktop Entry].")];
  const found: Finding[] = [];
  for (const key of ["Type", "Name"]) {
    if ((entry.get(key) ?? "") === "") found.push(wrong(`It says no ${key}.`, `Add ${key}=….`));
  }
  if (entry.get("Type") !== "Application") return found;
  const exec = entry.get("Exec");
  const activated = entry.get("DBusActivatable") === "true";
  if (exec === undefined && !activated) found.push(wrong("It says no Exec.", "Add Exec=…."));
  const icon = entry.get("Icon");
  if (icon !== undefined && icon !== id && !icon.startsWith(`${id}.`) && !icon.startsWith(`${id}-`)) {
    const fix = `Name it ${id}, or say rename-icon in the manifest.`;
    found.push(wrong(`Its icon ${icon.slice(0, 100)} is not named after it, so it is not exported.`, fix));
  }
  return found;
}
