/**
 * A real server of SSH on loopback, for Git: Debian's sshd, of this machine or unpacked beside the other programs of the tests. As root it
 * wants a user and a folder of its own; it finds both in mounts that only it sees.
 */
import { execFile, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder } from "@millrace/local/binaries.ts";
import { bringFromDebian, debianSuite } from "@millrace/local/debian.ts";
import { freePort } from "@millrace/local/ports.ts";
import { eventually } from "./eventually.ts";
import { deferToEndOfFile } from "./suite.ts";

const run = promisify(execFile);

interface Program {
  readonly sshd: string;
  /** Folders of what it is linked with. */
  readonly libraries: string;
  /** Where its parts lie, when it is newer than 9.7. */
  readonly parts: string;
}

function programIn(root: string): Program | undefined {
  const sshd = join(root, "usr/sbin/sshd");
  if (!existsSync(sshd)) return undefined;
  const libraries = ["lib", "usr/lib"].flatMap((lib) => {
    const folder = join(root, lib);
    if (!existsSync(folder)) return [];
    const own = readdirSync(folder).filter((name) => name.endsWith("-linux-gnu"));
    return own.map((name) => join(folder, name));
  });
  return { sshd, libraries: root === "/" ? "" : libraries.join(":"), parts: join(root, "usr/lib/openssh") };
}

const works = async ({ sshd, libraries }: Program): Promise<string | undefined> => {
  // A version is asked for by what is no option in older ones: the words are there all the same.
  const said = await run(sshd, ["-V"], { env: { LD_LIBRARY_PATH: libraries } }).then(
    ({ stderr }) => stderr,
    (error: { stderr?: string }) => error.stderr ?? "",
  );
  return /OpenSSH_\d/.test(said) ? undefined : `it does not run: ${said.slice(0, 200)}`;
};

/** @returns the program, or why there is none */
async function found(): Promise<Program | string> {
  const installed = programIn("/");
  if (installed !== undefined) return installed;
  const folder = join(cacheFolder(), "debian", `openssh-server-${debianSuite()}`);
  const check = async (root: string) => {
    const program = programIn(root);
    return program === undefined ? "no sshd is in the packages" : works(program);
  };
  if (!existsSync(folder)) {
    mkdirSync(join(folder, ".."), { recursive: true });
    const wanted = { names: ["openssh-server"], withDependencies: true } as const;
    const problem = await bringFromDebian(wanted, folder, () => {}, check);
    if (problem !== undefined) return problem;
  }
  return programIn(folder) ?? "no sshd is in the packages";
}

export interface Sshd {
  readonly user: string;
  readonly port: number;
  /** What it has said so far. */
  said(): string;
  stop(): Promise<void>;
}

/** A pair of keys. @returns the file of the private one; the public one lies beside, `.pub` */
export function sshKey(file: string): string {
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", file]);
  return file;
}

/**
 * @param folder of its own @param hostKey file of its private key @param authorized files of public keys
 * @returns the server, or why there can be none here
 */
export async function startSshd(
  folder: string,
  hostKey: string,
  authorized: ReadonlyArray<string>,
  port?: number,
): Promise<Sshd | string> {
  const program = await found();
  if (typeof program === "string") return program;
  const at = port ?? (await freePort());
  const keys = join(folder, "authorized");
  writeFileSync(keys, authorized.map((file) => readFileSync(file, "utf8")).join(""));
  const { parts } = program;
  const part = (name: string, option: string) =>
    existsSync(join(parts, name)) && parts !== "/usr/lib/openssh" ? [`${option} ${join(parts, name)}`] : [];
  const config = join(folder, "sshd_config");
  const lines = [
    `Port ${at}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${keys}`,
    "PidFile none",
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    "LogLevel VERBOSE",
    ...part("sshd-session", "SshdSessionPath"),
    ...part("sshd-auth", "SshdAuthPath"),
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const passwd = join(folder, "passwd");
  writeFileSync(passwd, `${readFileSync("/etc/passwd", "utf8")}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n`);
  const words = [program.sshd, "-D", "-e", "-f", config];
  const quoted = words.map((word) => `'${word}'`).join(" ");
  const script = `set -e; mount -t tmpfs none /run; mkdir -m 755 /run/sshd; grep -q ^sshd: /etc/passwd || mount --bind '${passwd}' /etc/passwd; exec ${quoted}`;
  const [command, args] =
    process.getuid?.() === 0 ? ["unshare", ["-m", "sh", "-c", script]] : [words[0]!, words.slice(1)];
  const env = { PATH: process.env.PATH, LD_LIBRARY_PATH: program.libraries };
  const child = spawn(command as string, args as string[], { env, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk) => {
    said = (said + chunk).slice(-65_536);
  });
  const over = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", (error) => {
      said += error.message;
      resolve();
    });
  });
  const stop = async () => {
    child.kill("SIGTERM");
    await over;
  };
  deferToEndOfFile(stop);
  const listening = async () => {
    if (child.exitCode !== null || child.pid === undefined) return false;
    return /Server listening/.test(said) ? true : undefined;
  };
  if (!(await eventually(listening, "sshd listens"))) return `sshd does not run here: ${said.slice(0, 300)}`;
  return { user: userInfo().username, port: at, said: () => said, stop };
}
