/**
 * The programs that publishing is done with (ostree, flatpak, flatpak-builder, gpg, bubblewrap, appstreamcli): those installed, or
 * Debian's, unpacked into the cache with what they depend on, and the environment in which they run from there.
 */
import { execFile } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { atLeast, cacheFolder, type Missing, parseVersion } from "./binaries.ts";
import { bringFromDebian, debianSuite } from "./debian.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface PublishingPrograms {
  /** What their environment must hold: PATH, and where those that were brought find their parts. Nothing else of the caller's. */
  readonly env: Readonly<Record<string, string>>;
  /** Of `ostree` and of `flatpak`, such as "1.14.10". */
  readonly versions: { readonly ostree: string; readonly flatpak: string };
  readonly from: "path" | "cache" | "debian";
}

/** Name, least version; the packages that hold them stand beside the findings of `mill doctor`. */
const needed = [
  ["ostree", "2020.8"],
  ["flatpak", "1.10"],
  ["flatpak-builder", "1.0"],
  ["gpg", "2.2"],
  ["bwrap", "0.4"],
  ["appstreamcli", "0.12"],
] as const;

const packages = ["ostree", "flatpak", "flatpak-builder", "gnupg", "bubblewrap", "appstream"];
const install = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;

/** Nothing is installed. Never throws. */
export async function publishingPrograms(options: {
  readonly bring: boolean;
  readonly env?: Environment;
  readonly log?: (line: string) => void;
}): Promise<PublishingPrograms | Missing> {
  const env = options.env ?? process.env;
  const installed = { PATH: env.PATH ?? "" };
  const versions = await versionsIn(installed);
  if (typeof versions !== "string") return { env: installed, versions, from: "path" };
  const folder = join(cacheFolder(env), "debian", `flatpak-${debianSuite()}`);
  const cached = existsSync(folder) ? await versionsIn(environmentOf(folder, env)) : versions;
  if (typeof cached !== "string") return { env: environmentOf(folder, env), versions: cached, from: "cache" };
  let problem: string | undefined = versions;
  if (options.bring) {
    problem = await bringFromDebian(
      { names: packages, withDependencies: true },
      folder,
      options.log ?? (() => {}),
      async (unpacked) => {
        const found = await versionsIn(environmentOf(unpacked, env));
        return typeof found === "string" ? found : undefined;
      },
    );
    const there = environmentOf(folder, env);
    const brought = problem ?? (await versionsIn(there));
    if (typeof brought !== "string") return { env: there, versions: brought, from: "debian" };
    problem = brought;
  }
  return { why: `the programs that publishing is done with are not there: ${problem}.`, install };
}

/** Programs of these packages look for their own parts at fixed places, unless they are told. */
function environmentOf(root: string, env: Environment): Record<string, string> {
  const usr = join(root, "usr");
  const libraries = existsSync(join(usr, "lib"))
    ? readdirSync(join(usr, "lib"))
        .filter((name) => name.endsWith("-linux-gnu"))
        .map((name) => join(usr, "lib", name))
    : [];
  const part = (name: string, path: string) => (existsSync(join(usr, path)) ? { [name]: join(usr, path) } : {});
  return {
    PATH: [join(usr, "bin"), ...(env.PATH ?? "").split(delimiter).filter(Boolean)].join(delimiter),
    LD_LIBRARY_PATH: libraries.join(delimiter),
    ...part("FLATPAK_BWRAP", "bin/bwrap"),
    ...part("FLATPAK_DBUSPROXY", "bin/xdg-dbus-proxy"),
    ...part("FLATPAK_VALIDATE_ICON", "libexec/flatpak-validate-icon"),
    ...part("FLATPAK_REVOKEFS_FUSE", "libexec/revokefs-fuse"),
    ...part("FLATPAK_TRIGGERSDIR", "share/flatpak/triggers"),
  };
}

/** The versions of those that are named in results; or which one is missing, too old, or does not run. */
async function versionsIn(env: Readonly<Record<string, string>>): Promise<PublishingPrograms["versions"] | string> {
  const found: Record<string, string> = {};
  for (const [name, minimum] of needed) {
    const version = await versionOf(name, env);
    if (version === undefined) return `${name} is not there, or does not run`;
    if (!atLeast(version, minimum)) return `${name} is ${version}, needed is ${minimum} or later`;
    found[name] = version;
  }
  return { ostree: found.ostree!, flatpak: found.flatpak! };
}

function versionOf(program: string, env: Readonly<Record<string, string>>): Promise<string | undefined> {
  const options = { timeout: 10_000, env: { LC_ALL: "C", HOME: "/nonexistent", ...env } };
  return new Promise((resolve) => {
    execFile(program, ["--version"], options, (error, stdout) => {
      // ostree's is quoted: Version: '2022.7'
      const said = /version: *'?([0-9][0-9.]*)/i.exec(stdout)?.[1];
      resolve(error ? undefined : parseVersion(said ?? stdout));
    });
  });
}
