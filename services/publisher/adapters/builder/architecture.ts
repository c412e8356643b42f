/** Which architectures this machine can run programs of: its own, what its processor runs as well, and what an emulator is registered for. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Failed, fail } from "@millrace/eventlog/outcome.ts";

const NAMES: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64", ia32: "i386", arm: "arm" };

/** As flatpak names this machine. */
export const HERE = NAMES[process.arch] ?? process.arch;

/** By the processor itself, where the kernel was not built without it. */
const ALSO: Readonly<Record<string, ReadonlyArray<string>>> = { x86_64: ["i386"], aarch64: ["arm"] };

/** The kernel's register of emulators. */
const REGISTER = "/proc/sys/fs/binfmt_misc";

/** Undefined: it can. What is missing otherwise. */
export async function cannotRun(arch: string, machine = HERE, register = REGISTER): Promise<Failed | undefined> {
  if (arch === machine || ALSO[machine]?.includes(arch) === true) return undefined;
  const entry = await readFile(join(register, `qemu-${arch}`), "utf8").catch(() => undefined);
  if (entry === undefined || !/^enabled$/m.test(entry)) {
    const message = `The publisher's machine is ${machine}, and runs no programs of ${arch}.`;
    const fix = `Install qemu-user-static there, with binfmt-support (it registers qemu-${arch}), or build on a node that is ${arch}.`;
    return fail("permanent", "ARCH_CANNOT_RUN", message, fix);
  }
  // Within the sandbox the emulator's file is not seen: the kernel has to hold it open (F).
  if (!/^flags:.*F/m.test(entry)) {
    const message = `The emulator for ${arch} is registered so that it is not found in a sandbox.`;
    const fix = `Register qemu-${arch} with the flag F, as qemu-user-static does; \`update-binfmts --display\` shows it.`;
    return fail("permanent", "ARCH_CANNOT_RUN", message, fix);
  }
  return undefined;
}
