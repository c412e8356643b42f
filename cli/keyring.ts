/**
 * Where a context's token is kept: the system keyring where there is one (libsecret's `secret-tool`, macOS's `security`),
 * else a file of its own under the config folder, 0600. A token is never an argument of a process on the way there.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { configFolder, writePrivate } from "./contexts.ts";
import type { Io } from "./io.ts";

const SERVICE = "millrace";
type Env = Io["env"];

interface Keyring {
  get(name: string): string | undefined;
  /** @returns whether it is kept */
  set(name: string, token: string): boolean;
  erase(name: string): void;
}

function run(env: Env, command: string, args: readonly string[], input = ""): string | undefined {
  const { status, stdout } = spawnSync(command, args, {
    input,
    encoding: "utf8",
    // A keyring that asks for its password may take a while; one without an answer must not hang a script.
    timeout: 60_000,
    env: { ...env } as NodeJS.ProcessEnv,
    stdio: ["pipe", "pipe", "ignore"],
  });
  return status === 0 ? stdout : undefined;
}

const libsecret = (env: Env): Keyring => ({
  get: (name) =>
    run(env, "secret-tool", ["lookup", "service", SERVICE, "context", name])?.replace(/\n$/, "") || undefined,
  set: (name, token) =>
    run(env, "secret-tool", ["store", `--label=Millrace: ${name}`, "service", SERVICE, "context", name], token) !==
    undefined,
  erase: (name) => void run(env, "secret-tool", ["clear", "service", SERVICE, "context", name]),
});

/** `security -i` reads its command from standard input, so that the token is in no process list. */
const macOs = (env: Env): Keyring => ({
  get: (name) =>
    run(env, "security", ["find-generic-password", "-s", SERVICE, "-a", name, "-w"])?.replace(/\n$/, "") || undefined,
  set: (name, token) => {
    // Both are of letters, digits and `_.-` alone, so nothing needs quoting.
    run(env, "security", ["-i"], `add-generic-password -U -s ${SERVICE} -a ${name} -w ${token}\n`);
    return macOs(env).get(name) === token;
  },
  erase: (name) => void run(env, "security", ["delete-generic-password", "-s", SERVICE, "-a", name]),
});

/** @returns undefined where there is none: no program, or no session bus to reach the keyring by */
function systemKeyring(env: Env, platform: NodeJS.Platform): Keyring | undefined {
  if (env.MILLRACE_KEYRING === "off") return undefined;
  if (platform === "darwin") return macOs(env);
  if (env.DBUS_SESSION_BUS_ADDRESS === undefined) return undefined;
  return libsecret(env);
}

const fileOf = (env: Env, name: string): string => join(configFolder(env), "tokens", name);

/** Keeps a token. @returns where */
export function keepToken(env: Env, name: string, token: string, platform = process.platform): "keyring" | "file" {
  const keyring = systemKeyring(env, platform);
  if (keyring?.set(name, token)) {
    rmSync(fileOf(env, name), { force: true });
    return "keyring";
  }
  writePrivate(fileOf(env, name), `${token}\n`);
  return "file";
}

export function keptToken(
  env: Env,
  name: string,
  where: "keyring" | "file",
  platform = process.platform,
): string | undefined {
  if (where === "keyring") return systemKeyring(env, platform)?.get(name);
  try {
    return readFileSync(fileOf(env, name), "utf8").trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

export function forgetToken(env: Env, name: string, platform = process.platform): void {
  systemKeyring(env, platform)?.erase(name);
  rmSync(fileOf(env, name), { force: true });
}
