/** Puts what was fetched into a file that was not there. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { usage } from "./failure.ts";
import { type Io, oneLine } from "./io.ts";

/** @throws Failure where there is one already, or it cannot be written */
export async function save({ cwd, err }: Pick<Io, "cwd" | "err">, file: string, bytes: Uint8Array): Promise<void> {
  try {
    await writeFile(resolve(cwd, file), bytes, { flag: "wx" });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw usage(
      code === "EEXIST" ? `There is a file ${oneLine(file)} already` : `${oneLine(file)} cannot be written (${code})`,
      "Say where with --to",
    );
  }
  err(`Wrote ${bytes.length} bytes to ${oneLine(file)}\n`);
}
