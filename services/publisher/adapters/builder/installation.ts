/**
 * The runtimes that builds of one organisation use: a flatpak installation of its own, filled from repositories that lie on this disk. What
 * it does not find there may be in the installation of the machine, which its operator fills.
 *
 *     <folder>/flatpak/…        as flatpak keeps a user's installation
 */
import { existsSync, readlinkSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";
import { Repository } from "../ostree/repository.ts";
import type { ToolsEnvironment } from "./sandbox.ts";

export interface Need {
  readonly kind: "runtime" | "app";
  readonly id: string;
  readonly branch: string;
}

/** A repository on this disk in which runtimes are looked for. */
export interface Supply {
  /** Its name among the remotes of the installation. */
  readonly name: string;
  readonly root: string;
}

export interface Used {
  readonly ref: string;
  /** Undefined: it is the machine's own. */
  readonly commit: string | undefined;
}

const MINUTE = 60_000;

export interface InstallationOptions {
  readonly tools: ToolsEnvironment;
  readonly folder: string;
  /** `/var/lib/flatpak`; undefined: the machine has none that is used. */
  readonly system: string | undefined;
}

export class Installation {
  readonly folder: string;
  readonly #options: InstallationOptions;

  constructor(options: InstallationOptions) {
    this.#options = options;
    this.folder = options.folder;
  }

  /**
   * Makes sure that what a build needs is there, as new as the supplies have it.
   * @param supplies the first that has it is taken
   * @returns what is used, in the order of the needs
   */
  async ensure(
    needs: ReadonlyArray<Need>,
    arch: string,
    supplies: ReadonlyArray<Supply>,
    how: { readonly signal: AbortSignal; readonly onLine: (line: string) => void },
  ): Promise<Outcome<{ readonly used: ReadonlyArray<Used> }>> {
    // It is seen by every build, though all that is used may be the machine's.
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const used: Used[] = [];
    const missing: string[] = [];
    for (const { kind, id, branch } of needs) {
      const ref = `${kind}/${id}/${arch}/${branch}`;
      const found = await this.#supplied(ref, supplies);
      if (found === undefined) {
        if (this.#isOfMachine(ref)) used.push({ ref, commit: undefined });
        else missing.push(ref);
        continue;
      }
      const { supply, commit } = found;
      if (this.installed(ref) !== commit) {
        how.onLine(`installing ${ref}`);
        const failed = await this.#install(ref, supply, how);
        if (failed !== undefined) return failed;
        if (this.installed(ref) === undefined) missing.push(ref);
      }
      used.push({ ref, commit });
    }
    if (missing.length === 0) return { used };
    const fix =
      "Publish it in a repository of the organisation on this node, or install it in the machine's installation (MILLRACE_FLATPAK_INSTALLATION).";
    return fail("permanent", "RUNTIME_MISSING", `The build needs ${missing.join(", ")}, which is not here.`, fix);
  }

  /** The commit that is installed here; undefined: none. */
  installed(ref: string): string | undefined {
    return activeIn(join(this.folder, "flatpak"), ref);
  }

  #isOfMachine(ref: string): boolean {
    const { system } = this.#options;
    return system !== undefined && activeIn(system, ref) !== undefined;
  }

  async #supplied(ref: string, supplies: ReadonlyArray<Supply>) {
    for (const supply of supplies) {
      const commit = await new Repository(supply.root).ref(ref);
      if (commit !== undefined) return { supply, commit };
    }
    return undefined;
  }

  async #install(ref: string, { name, root }: Supply, how: { signal: AbortSignal; onLine: (line: string) => void }) {
    // From this disk, by this process: what lies there was verified when it came, and signed here.
    const remote = ["remote-add", "--user", "--if-not-exists", "--no-gpg-verify", name, `file://${root}`];
    const install = ["install", "--user", "--noninteractive", "-y", "--or-update", "--no-deps", "--no-related"];
    faultPoint("builder.install.before");
    for (const args of [remote, [...install, name, ref]]) {
      const ended = await runCommand({
        program: "flock",
        args: ["--no-fork", join(this.folder, ".lock"), "flatpak", ...args],
        env: {
          ...this.#options.tools,
          LC_ALL: "C.UTF-8",
          HOME: this.folder,
          XDG_DATA_HOME: this.folder,
          XDG_CACHE_HOME: join(this.folder, "cache"),
          XDG_RUNTIME_DIR: this.folder,
          FLATPAK_SYSTEM_DIR: join(this.folder, "none"),
          FLATPAK_CONFIG_DIR: join(this.folder, "none"),
          DBUS_SESSION_BUS_ADDRESS: "disabled:",
          GSETTINGS_BACKEND: "memory",
          GIO_USE_VFS: "local",
        },
        timeoutMs: 10 * MINUTE,
        signal: how.signal,
        bound: true,
      });
      if (ended.code === 0) continue;
      if (ended.notStarted !== undefined) {
        return fail("permanent", "TOOLS_MISSING", "flatpak is not installed.", "Run `mill setup`, then try again.");
      }
      const said = ended.stderr.trim().slice(-300) || (ended.why ?? `code ${ended.code}`);
      const fix = "Look whether the repository is published and whole (fsck), then try again.";
      return fail("transient", "RUNTIME_INSTALL", `${ref} could not be installed: ${said}`, fix);
    }
    faultPoint("builder.install.made");
    return undefined;
  }
}

/** What `active` of a reference leads to; undefined where it is not installed. */
function activeIn(installation: string, ref: string): string | undefined {
  const link = join(installation, ref, "active");
  if (!existsSync(join(link, "metadata"))) return undefined;
  return readlinkSync(link).split("/").at(-1);
}
