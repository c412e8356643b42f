/**
 * A manifest built by flatpak-builder: checked, its runtimes brought, run inside, its references taken from what came out. May be done again
 * after any crash: what was built before is in the application's state, what was half done goes.
 *
 *     <folder>/state/             what flatpak-builder keeps between builds of the application
 *     <folder>/<name>/manifest.json, app/, repo/      of one build
 *     <folder>/<name>/failed/     folders of modules that could not be built, with their logs
 */
import { existsSync, lstatSync, readFileSync, realpathSync } from "node:fs";
import { mkdir, rm, utimes, writeFile } from "node:fs/promises";
import { join, sep } from "node:path";
import { type Checked, checkManifest, type Manifest } from "@millrace/domain/publishing/manifest.ts";
import { type Finding, MANIFEST_LIMITS } from "@millrace/domain/publishing/manifest-text.ts";
import { SOURCE_FOLDER } from "@millrace/domain/publishing/manifest-walk.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { diskFailure, fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import type { RefCommit } from "../ostree/builds.ts";
import { Repository } from "../ostree/repository.ts";
import { type BuildAsked, placesOf } from "./asked.ts";
import type { Used } from "./installation.ts";
import { lookAtApp } from "./look.ts";
import { redate } from "./redate.ts";
import { runInside } from "./sandbox.ts";
import type { Usage } from "./watch.ts";

export type { BuildAsked } from "./asked.ts";

export interface BuiltApp {
  /** In archive mode, with the references. */
  readonly repository: Repository;
  readonly refs: ReadonlyArray<RefCommit>;
  readonly manifest: Manifest;
  readonly findings: ReadonlyArray<Finding>;
  readonly used: ReadonlyArray<Used>;
  readonly usage: Usage;
}

/** A file of a source, if it is one: no link leads out of there. */
export function readSource(source: string, path: string): string | undefined {
  const root = realpathSync(source);
  const at = join(root, path);
  try {
    const real = realpathSync(at);
    if (real !== root && !real.startsWith(root + sep)) return undefined;
    const { size } = lstatSync(real);
    return lstatSync(real).isFile() && size <= MANIFEST_LIMITS.jsonBytes ? readFileSync(real, "utf8") : undefined;
  } catch {
    return undefined;
  }
}

/** The manifest of a source, checked; that its files are there, too. */
export function checkSource(source: string, path: string): Checked {
  const checked = checkManifest(path, (file) => readSource(source, file));
  const missing = (checked.manifest?.files ?? []).filter((file) => !existsSync(join(source, file)));
  const findings = missing.map((file): Finding => {
    const message = `The manifest names ${file.slice(0, 200)}, which is not in the source.`;
    return { severity: "error", code: "FILE_MISSING", path: "", message, fix: "Add it, or correct its path." };
  });
  return findings.length === 0
    ? checked
    : { manifest: undefined, findings: [...checked.findings, ...findings].slice(0, MANIFEST_LIMITS.findings) };
}

const shown = ({ severity, code, file, path, message }: Finding) =>
  `${severity}: ${code}${file === undefined ? "" : ` ${file}`}${path === "" ? "" : ` ${path}`}: ${message}`;

/** Never rejects. */
export async function buildManifest(asked: BuildAsked): Promise<Outcome<BuiltApp>> {
  const { arch, signal, onLine, name } = asked;
  if (!/^[A-Za-z0-9_-]{1,100}$/.test(name)) throw new RangeError(`"${name.slice(0, 100)}" is no name of a build`);
  try {
    const { manifest, findings } = checkSource(asked.source, asked.manifest);
    for (const finding of findings) onLine(shown(finding));
    if (manifest === undefined) {
      const wrong = findings.find(({ severity }) => severity === "error")!;
      return fail("permanent", "MANIFEST_INVALID", shown(wrong), wrong.fix);
    }
    if (asked.id !== undefined && manifest.id !== asked.id) {
      const message = `The manifest builds ${manifest.id}, and the build is one of ${asked.id}.`;
      return fail("permanent", "OTHER_APPLICATION", message, "Make a build for that application.");
    }
    const installed = await asked.installation.ensure(manifest.needs, arch, asked.supplies, { signal, onLine });
    if ("failed" in installed) return installed;
    const ran = await run(asked, manifest);
    if ("failed" in ran) return ran;
    const { repository, refs } = await dated(asked);
    if (refs.length === 0) {
      return fail("permanent", "NOTHING_BUILT", "The build gave no references.", "Look at its log.");
    }
    const looked = await lookAtApp(asked, manifest);
    for (const finding of looked) onLine(shown(finding));
    return { repository, refs, manifest, findings: [...findings, ...looked], used: installed.used, usage: ran.usage };
  } catch (error) {
    if (signal.aborted)
      return fail("cancelled", "CANCELLED", "The build was interrupted.", "Nothing: it was asked for.");
    return diskFailure(error, "building");
  }
}

/** What came out, as commits of the build's time: flatpak-builder takes that of its clock. */
async function dated({ folder, name, time }: BuildAsked) {
  const repository = await Repository.open(join(folder, name, "repo"));
  const refs: RefCommit[] = [];
  for (const [ref, commit] of await repository.refs()) {
    if (/^(app|runtime)\//.test(ref)) refs.push({ ref, commit: await redate(repository, ref, commit, time) });
  }
  return { repository, refs };
}

async function run(asked: BuildAsked, manifest: Manifest): Promise<Outcome<{ readonly usage: Usage }>> {
  const { folder, name, arch, tools, time, limits, signal, onLine } = asked;
  const own = join(folder, name);
  await rm(own, { recursive: true, force: true });
  await mkdir(join(own, SOURCE_FOLDER), { recursive: true, mode: 0o755 });
  const file = join(own, "manifest.json");
  await writeFile(file, JSON.stringify(manifest.build, null, 2));
  // flatpak-builder takes the manifest's time for that of all it makes.
  await utimes(file, time, time);
  const args = [
    ...["sh", "-c", SCRIPT, "sh", name, asked.fresh ? "state" : "state/build"],
    ..."flatpak-builder --sandbox --disable-download --disable-updates --disable-rofiles-fuse --force-clean".split(" "),
    ...["--state-dir=/build/state", `--repo=/build/${name}/repo`, `--arch=${arch}`, `--default-branch=${asked.branch}`],
    ...[`--jobs=${asked.jobs}`, `--subject=${manifest.id}`, `/build/${name}/app`, `/build/${name}/manifest.json`],
  ];
  faultPoint("builder.run.before");
  let lines = 0;
  const ran = await runInside(tools, placesOf(asked), {
    args,
    limits,
    signal,
    onLine: (line) => {
      onLine(line);
      if (++lines === DURING) faultPoint("builder.run.during");
    },
  });
  faultPoint("builder.run.made");
  if (!("failed" in ran) && ran.code === 0) return { usage: ran.usage };
  if ("failed" in ran) return ran;
  const said = ran.last.findLast((line) => /^(error|fb error|.*: error)/i.test(line)) ?? ran.last.at(-1) ?? "nothing";
  const fix = "Look at the log of the build, and correct the manifest or its source.";
  return fail("permanent", "BUILD_FAILED", `flatpak-builder ended with ${ran.code}: ${said.slice(0, 300)}`, fix);
}

/**
 * Under the lock of the application: what somebody left who was ended in the middle of a module goes. Modules are built in the build's own
 * folder, so that what could not be built is there however it ended: its logs tell more.
 */
const SCRIPT = `
name=$1; rm -rf -- "$2"; shift 2
mkdir -p state "$name/failed" && ln -s "/build/$name/failed" state/build && exec "$@"`;

/** Into the middle of a module. */
const DURING = 8;

/** What a build keeps goes: that it was, stays in the log. */
export async function removeBuild(folder: string, name: string): Promise<void> {
  await rm(join(folder, name), { recursive: true, force: true });
  faultPoint("builder.removed");
}
